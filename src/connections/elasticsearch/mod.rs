//! Elasticsearch and OpenSearch: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::{collections::BTreeSet, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use probe::{Login, Look, Place, Scheme};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    fields::{HttpUrl, UrlParts},
    text,
};
use crate::{
    failure::{Failure, FailureClass, Setting},
    net::tls::{Mode, Tls},
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

/// What is the same for every Elasticsearch connection.
pub const ABOUT: About = About {
    keys: &[
        Key { name: USERNAME, aliases: &["user"] },
        Key::plain(PASSWORD),
        Key { name: API_KEY, aliases: &["api_key"] },
        Key::plain(BEARER_TOKEN),
    ],
    interval: Duration::from_mins(1),
    lockout: Lockout::Possible,
    permissions: &[Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "real server: Elasticsearch 8.19 and OpenSearch 2.19; stand-in: a server that verifies, for API keys \
        and what neither does",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.elasticsearch) || has(self.elasticsearch.hosts) || has(self.elasticsearch.cloudID)", PLACE_NEEDED),
    ("!has(self.elasticsearch) || !has(self.elasticsearch.hosts) || !has(self.elasticsearch.cloudID)", ONE_PLACE),
    (
        "!has(self.elasticsearch) || !has(self.elasticsearch.hosts) \
         || self.elasticsearch.hosts.all(host, host.startsWith('http://') \
         == (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable'))",
        SCHEME,
    ),
    (
        "!has(self.elasticsearch) || !has(self.elasticsearch.cloudID) || !has(self.tls) || !has(self.tls.mode) \
         || self.tls.mode != 'Disable'",
        CLOUD_SCHEME,
    ),
    ("!has(self.elasticsearch) || !has(self.elasticsearch.username) || has(self.credentials)", NOBODY),
    ("!has(self.elasticsearch) || !has(self.permissions) || !self.permissions.exists(p, p == 'List')", NO_LIST),
    (
        "!has(self.elasticsearch) || has(self.elasticsearch.index) || !has(self.permissions) \
         || self.permissions.size() == 0",
        INDEX_NEEDED,
    ),
];

/// What an Elasticsearch connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Hosts of the cluster, each as a URL, all of them with `https://`, or all with `http://` and `tls.mode` Disable. They are tried
    /// in this order until one answers. Without a port it is the scheme's, 443 or 80. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub hosts: Option<Vec<HttpUrl>>,
    /// Cloud ID of a deployment of Elastic Cloud, instead of `hosts`.
    #[serde(default, rename = "cloudID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^[^:]*:[A-Za-z0-9+/]+={0,2}$"))]
    pub cloud_id: Option<String>,
    /// User to log in as. It wins over the Secret's `username`, which is then not needed. An API key or a token says by itself whose
    /// it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), regex(pattern = "^[^:]+$"))]
    pub username: Option<String>,
    /// Index, alias or data stream that must exist: the name of one, without a wildcard. The permissions are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), regex(pattern = r#"^[^-+_\s/*?"<>|,#:%\\][^\s/*?"<>|,#:%\\]*$"#))]
    pub index: Option<String>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let hosts: Vec<String> = match (&self.hosts, self.cloud_id.as_deref().and_then(probe::cloud)) {
            (Some(hosts), _) => hosts.iter().map(shown).collect(),
            (None, Some((host, port))) => vec![text::authority(&host, port)],
            (None, None) => Vec::new(),
        };
        let scheme = if self.hosts.iter().flatten().any(HttpUrl::is_plain) { "http" } else { "https" };
        let more = hosts.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(",…+{more}") } else { String::new() };
        let index = self.index.as_deref().map(|index| format!("/{}", text::encode(index))).unwrap_or_default();
        let hosts: Vec<String> = hosts.into_iter().take(SHOWN).collect();
        text::cut(&format!("{scheme}://{}{more}{index}", hosts.join(",")))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let alone = |name, key| Method { name, required: vec![key], optional: Vec::new() };
        let username = self.username.is_none().then_some(USERNAME).into_iter();
        let password = Method { name: PASSWORD, required: username.chain([PASSWORD]).collect(), optional: Vec::new() };
        vec![password, alone("API key", API_KEY), alone("bearer token", BEARER_TOKEN)]
    }

    fn goes_without_credentials(&self) -> bool {
        // Whoever is named has a password.
        self.username.is_none()
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        let places = self.places(&namespace)?;
        self.check(&places, &tls, &permissions)?;
        let login = self.login(&mut credentials, &secret)?;
        let whose = login.as_ref().map_or(&[][..], |login| login.whose.bytes());
        // In another order they are the same cluster.
        let hosts: BTreeSet<String> = places.iter().map(|place| HttpUrl(place.url.clone()).place()).collect();
        let account = Digest::of(hosts.iter().map(String::as_bytes).chain([whose]));
        let probe = Look { places, tls, login, index: self.index.clone(), permissions };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    /// Where the cluster is.
    fn places(&self, namespace: &str) -> Result<Vec<Place>, Refusal> {
        let invalid = |sentence: &str| Refusal::Invalid(sentence.to_owned());
        match (&self.hosts, &self.cloud_id) {
            (Some(_), Some(_)) => Err(invalid(ONE_PLACE)),
            (None, None) => Err(invalid(PLACE_NEEDED)),
            (Some(hosts), None) if hosts.is_empty() => Err(invalid(PLACE_NEEDED)),
            (Some(hosts), None) => {
                let place = |url: &HttpUrl| Place::of(&url.complete(namespace)).filter(|_| url.is_valid());
                let places: Option<Vec<Place>> = hosts.iter().map(place).collect();
                places.ok_or_else(|| Refusal::Invalid(format!("`elasticsearch.hosts` {}", HttpUrl::RULE)))
            }
            (None, Some(id)) => {
                let (host, port) = probe::cloud(id).ok_or_else(|| invalid(CLOUD))?;
                Ok(vec![Place::of(&format!("https://{host}:{port}")).ok_or_else(|| invalid(CLOUD))?])
            }
        }
    }

    /// Who logs in; nobody where there is no Secret.
    fn login(&self, credentials: &mut Credentials, secret: &Setting) -> Result<Option<Login>, Failure> {
        let malformed = |key: &'static str, advice: &'static str| {
            Failure::new(FailureClass::CredentialsMalformed).about(secret.clone()).word(key).advice(advice)
        };
        if let Some(token) = credentials.take_printable(BEARER_TOKEN, secret)? {
            // Whose it is stands in the token.
            let whose = Digest::of([token.expose()]);
            return Ok(Some(Login { scheme: Scheme::Bearer, whose, value: token }));
        }
        if let Some(key) = credentials.take_printable(API_KEY, secret)? {
            let (id, value) = api_key(&key).ok_or_else(|| malformed(API_KEY, KEY_FORM))?;
            return Ok(Some(Login { scheme: Scheme::ApiKey, whose: Digest::of([id.expose()]), value }));
        }
        let Some(password) = credentials.take_text(PASSWORD, secret)? else { return Ok(None) };
        let given = credentials.take_text(USERNAME, secret)?;
        let user = self.username.as_deref().or_else(|| given.as_ref().and_then(SecretValue::text));
        let user = user.ok_or_else(|| Credentials::missing(USERNAME, secret))?;
        if user.contains(':') {
            return Err(malformed(
                USERNAME,
                "it must not contain a colon: HTTP's basic authentication ends the name there",
            ));
        }
        let pair = SecretValue::new([user.as_bytes(), b":", password.expose()].concat());
        let value = SecretValue::new(BASE64_STANDARD.encode(pair.expose()).into_bytes());
        Ok(Some(Login { scheme: Scheme::Basic, whose: Digest::of([user.as_bytes()]), value }))
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, places: &[Place], tls: &Tls, permissions: &[Permission]) -> Result<(), Refusal> {
        let Self { hosts: _, cloud_id, username, index } = self;
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        if places.iter().any(|place| place.is_plain() != (tls.mode == Mode::Disable)) {
            return invalid(if cloud_id.is_some() { CLOUD_SCHEME } else { SCHEME });
        }
        if permissions.contains(&Permission::List) {
            return invalid(NO_LIST);
        }
        if index.is_none() && !permissions.is_empty() {
            return invalid(INDEX_NEEDED);
        }
        if index.as_ref().is_some_and(|index| !is_index(index)) {
            return invalid(INDEX);
        }
        if username.as_ref().is_some_and(|name| name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()))
        {
            return invalid(USER);
        }
        Ok(())
    }
}

/// A host as the connection string shows it; the path of a URL is left out.
fn shown(url: &HttpUrl) -> String {
    let UrlParts { scheme, host, port, path: _ } = url.parts();
    text::authority(host, port.unwrap_or(if scheme == "http" { 80 } else { 443 }))
}

/// The id of an API key, and the key as it is sent: `id:key` in base64. It is given in this form or without base64.
fn api_key(given: &SecretValue) -> Option<(SecretValue, SecretValue)> {
    let (plain, encoded) = if given.expose().contains(&b':') {
        let encoded = BASE64_STANDARD.encode(given.expose()).into_bytes();
        (SecretValue::new(given.expose().to_vec()), SecretValue::new(encoded))
    } else {
        let plain = SecretValue::new(BASE64_STANDARD.decode(given.expose()).ok()?);
        (plain, SecretValue::new(given.expose().to_vec()))
    };
    let (id, key) = plain.text()?.split_once(':')?;
    if id.is_empty() || key.is_empty() {
        return None;
    }
    Some((SecretValue::new(id.as_bytes().to_vec()), encoded))
}

/// As the pattern of the field says it; and no name that a path would lose.
fn is_index(name: &str) -> bool {
    let strange = |c: char| "/*?\"<>|,#:%\\".contains(c) || c.is_whitespace() || c.is_control();
    !name.is_empty() && !name.starts_with(['-', '+', '_']) && !name.contains(strange) && name != "." && name != ".."
}

/// Most hosts in a connection string.
const SHOWN: usize = 3;

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const API_KEY: &str = "apiKey";
const BEARER_TOKEN: &str = "bearerToken";
const KEY_FORM: &str = "it must be ID:KEY, or that in base64, as the field `encoded` of the answer that made it";
const PLACE_NEEDED: &str = "one of `elasticsearch.hosts` and `elasticsearch.cloudID` must be set";
const ONE_PLACE: &str = "`elasticsearch.hosts` and `elasticsearch.cloudID` exclude each other";
const CLOUD: &str =
    "`elasticsearch.cloudID` must be the Cloud ID of a deployment, as its page in Elastic Cloud shows it";
const SCHEME: &str = "`elasticsearch.hosts` with `http://` and `tls.mode` Disable need each other";
const CLOUD_SCHEME: &str = "`elasticsearch.cloudID` is about hosts with TLS, so `tls.mode` must not be Disable";
const NOBODY: &str = "`elasticsearch.username` needs `credentials` with the password";
const NO_LIST: &str = "`permissions` takes only Read and Write for Elasticsearch";
const INDEX_NEEDED: &str = "`permissions` need `elasticsearch.index`, which they are about";
const INDEX: &str = "`elasticsearch.index` must be the name of one index, alias or data stream";
const USER: &str = "`elasticsearch.username` must not be empty and not contain a colon or a control character";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-search
stringData:
  username: reader
  password: reader-secret
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-search
spec:
  type: Elasticsearch
  elasticsearch:
    hosts:
      - https://search-es-http:9200
    index: orders
  credentials:
    secretRef:
      name: orders-search
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-search
stringData:
  clerk: clerk-secret
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: company-ca
data:
  ca.crt: |
    -----BEGIN CERTIFICATE-----
    …
    -----END CERTIFICATE-----
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-search
spec:
  type: Elasticsearch
  description: Orders, to be searched
  elasticsearch:
    hosts:
      - https://search-0.example.com:9200
      - https://search-1.example.com:9200
    username: clerk
    index: orders
  credentials:
    secretRef:
      name: orders-search
    keys:
      password: clerk
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  permissions: [Read, Write]
  probe:
    interval: 60s
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::failure::Reason;

    fn settings(all: &serde_json::Value) -> Settings {
        serde_json::from_value(all.clone()).unwrap()
    }

    fn at(url: &str) -> Settings {
        settings(&json!({"hosts": [url], "index": "orders"}))
    }

    fn prepare(
        settings: &Settings,
        data: &[(&str, &str)],
        tls: Tls,
        permissions: &[Permission],
    ) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret orders-search");
        let data: BTreeMap<_, _> =
            data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let credentials = if data.is_empty() {
            Credentials::default()
        } else {
            Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &settings.methods(&tls), &secret)?
        };
        settings.prepare(Given {
            namespace: "shop".to_owned(),
            credentials,
            secret,
            tls,
            permissions: permissions.to_vec(),
        })
    }

    fn refused(all: &serde_json::Value, mode: Mode, permissions: &[Permission]) -> String {
        match prepare(&settings(all), &[], Tls { mode, ..Tls::default() }, permissions) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{all}: {other:?}"),
        }
    }

    const READER: &[(&str, &str)] = &[("username", "reader"), ("password", "reader-secret")];

    #[test]
    fn the_connection_string_is_encoded_bracketed_and_cut() {
        let string = |all: serde_json::Value| settings(&all).connection_string();
        assert_eq!(string(json!({"hosts": ["https://search"]})), "https://search:443");
        assert_eq!(
            string(json!({"hosts": ["http://search:9200/es/", "http://[fd00::1]"], "index": "örders"})),
            "http://search:9200,[fd00::1]:80/%C3%B6rders"
        );
        let many: Vec<String> = (0..16).map(|n| format!("https://search-{n}:9200")).collect();
        assert_eq!(string(json!({"hosts": many})), "https://search-0:9200,search-1:9200,search-2:9200,…+13");
        let cloud = format!("shop:{}", BASE64_STANDARD.encode("es.example$abc$def"));
        assert_eq!(string(json!({"cloudID": cloud, "index": "orders"})), "https://abc.es.example:443/orders");
        assert_eq!(string(json!({"hosts": ["https://a"], "index": "ü".repeat(255)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn a_username_in_the_spec_wins_and_the_secrets_is_not_needed() {
        let mut here = at("https://search:9200");
        here.username = Some("clerk".to_owned());
        assert_eq!(here.methods(&Tls::default())[0].required, [PASSWORD]);
        let account = |settings: &Settings, data| prepare(settings, data, Tls::default(), &[]).unwrap().account;
        assert_eq!(
            account(&here, &[("password", "p")]),
            account(&at("https://search:9200"), &[("user", "clerk"), ("password", "q")])
        );
        assert_ne!(account(&here, READER), account(&at("https://search:9200"), READER));
    }

    #[test]
    fn another_host_or_login_is_another_account_and_a_short_name_is_looked_for_in_the_namespace() {
        let account = |url: &str, data: &[(&str, &str)]| prepare(&at(url), data, Tls::default(), &[]).unwrap().account;
        assert_eq!(account("https://search:9200", READER), account("https://search.shop.svc:9200/", READER));
        assert_ne!(account("https://search:9200", READER), account("https://search:9201", READER));
        assert_eq!(account("https://search", READER), account("https://Search.shop.SVC:443", READER));
        assert_ne!(account("https://search/a", READER), account("https://search/b", READER));
        let hosts = |hosts: [&str; 2]| {
            let settings = settings(&json!({"hosts": hosts}));
            prepare(&settings, READER, Tls::default(), &[]).unwrap().account
        };
        assert_eq!(hosts(["https://a", "https://b"]), hosts(["https://b", "https://a:443"]));
        assert_ne!(account("https://search:9200", READER), account("https://search:9200", &[]));
        let key = |key| account("https://search:9200", &[(API_KEY, key)]);
        assert_eq!(key("id:one"), key("id:two"));
        assert_eq!(key("id:one"), key("aWQ6b25l"));
        assert_ne!(key("id:one"), key("other:one"));
    }

    #[test]
    fn a_key_is_an_id_and_a_key_whichever_way_it_is_written() {
        let text = |given: &str| {
            let (id, sent) = api_key(&SecretValue::new(given.as_bytes().to_vec()))?;
            Some((id.text()?.to_owned(), sent.text()?.to_owned()))
        };
        let expected = Some(("id".to_owned(), "aWQ6a2V5".to_owned()));
        assert_eq!(text("id:key"), expected);
        assert_eq!(text("aWQ6a2V5"), expected);
        for given in ["", "key", ":key", "id:", "!!", "a2V5", "/w=="] {
            assert_eq!(text(given), None, "{given}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_malformed() {
        for data in [
            &[("username", "a:b"), ("password", "p")][..],
            &[("username", "reader"), ("password", "")],
            &[("apiKey", "key")],
            &[("apiKey", "id:k\ney")],
            &[("bearerToken", "a b")],
        ] {
            match prepare(&at("https://search"), data, Tls::default(), &[]) {
                Err(Refusal::Unusable(failure)) => {
                    assert_eq!(failure.reason(), Reason::CredentialsMalformed, "{data:?}: {}", failure.message());
                }
                other => panic!("{data:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        use Mode::{Disable, VerifyFull};
        use Permission::{List, Read};
        let cloud = format!("shop:{}", BASE64_STANDARD.encode("es.example$abc$def"));
        let one = |url: &str| json!({"hosts": [url]});
        let url = format!("`elasticsearch.hosts` {}", HttpUrl::RULE);
        for (all, mode, permissions, sentence) in [
            (json!({}), VerifyFull, &[][..], PLACE_NEEDED),
            (json!({"hosts": []}), VerifyFull, &[], PLACE_NEEDED),
            (json!({"hosts": ["https://a"], "cloudID": cloud}), VerifyFull, &[], ONE_PLACE),
            (json!({"cloudID": "shop:eA=="}), VerifyFull, &[], CLOUD),
            (json!({"cloudID": cloud}), Disable, &[], CLOUD_SCHEME),
            (one("search:9200"), VerifyFull, &[], url.as_str()),
            (one("https://user:pass@search"), VerifyFull, &[], url.as_str()),
            (one("http://search"), VerifyFull, &[], SCHEME),
            (one("https://search"), Disable, &[], SCHEME),
            (json!({"hosts": ["https://a", "http://b"]}), VerifyFull, &[], SCHEME),
            (json!({"hosts": ["https://a", "http://b"]}), Disable, &[], SCHEME),
            (one("https://search"), VerifyFull, &[Read], INDEX_NEEDED),
            (json!({"hosts": ["https://a"], "index": "orders"}), VerifyFull, &[List], NO_LIST),
            (json!({"hosts": ["https://a"], "username": "a:b"}), VerifyFull, &[], USER),
        ] {
            assert_eq!(refused(&all, mode, permissions), sentence, "{all}");
        }
        for index in
            ["", "*", "a,b", "_all", "-a", "+a", "a/b", "a b", "<a-{now/d}>", "a:b", "..", ".", "a\n", "a%2F", "a?"]
        {
            assert_eq!(refused(&json!({"hosts": ["https://a"], "index": index}), VerifyFull, &[]), INDEX, "{index}");
        }
        for index in ["orders", ".kibana", "logs-app-default", "Orders", "ördérs", "a.b", "a_b"] {
            prepare(&settings(&json!({"hosts": ["https://a"], "index": index})), &[], Tls::default(), &[]).unwrap();
        }
    }
}
