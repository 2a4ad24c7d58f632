//! Kafka: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::{collections::BTreeMap, time::Duration};

use probe::{Look, Principal, Signer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::{
        aws::{self, AssumeRole, Keys, Region, sts},
        oauth::{Grant, Shown},
    },
    fields::{HostPort, HttpUrl, words},
    text,
};
use crate::{
    failure::Setting,
    net::{Endpoint, tls::Tls},
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

/// What is the same for every Kafka connection.
pub const ABOUT: About = About {
    keys: &[
        Key { name: USERNAME, aliases: &["user"] },
        Key::plain(PASSWORD),
        Key::plain(CLIENT_SECRET),
        Key::plain(TOKEN),
        aws::KEYS[0],
        aws::KEYS[1],
        aws::KEYS[2],
    ],
    interval: Duration::from_mins(1),
    // Not with an access key; with a password it may be.
    lockout: Lockout::Possible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "real server: Apache Kafka 4.2; stand-in: an endpoint for tokens and a broker of Amazon MSK, \
        which verify",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    (
        "!has(self.kafka) || has(self.kafka.topic) || !has(self.permissions) || self.permissions.size() == 0",
        TOPIC_NEEDED,
    ),
    ("!has(self.kafka) || has(self.kafka.saslMechanism) == has(self.credentials)", LOGIN_NEEDED),
    (
        "!has(self.kafka) || !has(self.kafka.oauth) \
         || (has(self.kafka.saslMechanism) && self.kafka.saslMechanism == 'OAUTHBEARER')",
        OAUTH_ALONE,
    ),
    (
        "!has(self.kafka) || !has(self.kafka.oauth) || self.kafka.oauth.tokenEndpoint.startsWith('https://')",
        TOKEN_SCHEME,
    ),
    (
        "!has(self.kafka) || has(self.kafka.msk) \
         == (has(self.kafka.saslMechanism) && self.kafka.saslMechanism == 'AWS_MSK_IAM')",
        MSK_NEEDED,
    ),
    ("!has(self.kafka) || !has(self.kafka.oauth) || !has(self.kafka.msk)", ONE_TOKEN),
    (
        "!has(self.kafka) || !has(self.kafka.msk) || !has(self.kafka.msk.assumeRole) \
         || !has(self.kafka.msk.assumeRole.endpoint) || self.kafka.msk.assumeRole.endpoint.startsWith('https://')",
        STS_SCHEME,
    ),
];

/// What a Kafka connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Brokers to begin with, each as `HOST:PORT`, an IPv6 address in brackets. They are tried in this order until one answers. A
    /// host without a dot means `HOST.<namespace of the Connection>.svc`.
    #[schemars(length(min = 1, max = 32))]
    pub brokers: Vec<HostPort>,
    /// Topic that must exist. The permissions are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 249), regex(pattern = "^[A-Za-z0-9._-]{1,249}$"))]
    pub topic: Option<String>,
    /// Consumer group that the permission Read is about as well. It need not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub consumer_group: Option<String>,
    /// User to log in as. It wins over the Secret's `username`, which is then not needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub username: Option<String>,
    /// How one logs in: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER` or `AWS_MSK_IAM`. Absent: not at all, or by the
    /// client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl_mechanism: Option<Mechanism>,
    /// Where a token for `OAUTHBEARER` is asked for with client credentials. Absent: the Secret holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<Oauth>,
    /// Where a cluster of Amazon MSK is that is logged in to with an access key. It is set exactly with `AWS_MSK_IAM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msk: Option<Msk>,
    /// Settings of the client: `client.id`, `client.rack`, `client.dns.lookup`, `broker.address.family` and
    /// `socket.keepalive.enable`. The last three are taken and change nothing: the operator resolves and dials by itself, all
    /// addresses of a name, and hangs up when it has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 5, "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 256},
        "x-kubernetes-validations" = [{"rule": PROPERTIES_RULE, "message": PROPERTIES}]))]
    pub properties: Option<BTreeMap<String, String>>,
}

/// A mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = words)]
#[expect(missing_docs, reason = "their names are those of the mechanisms")]
pub enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
    #[serde(rename = "AWS_MSK_IAM")]
    AwsMskIam,
}

impl Mechanism {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
            Self::AwsMskIam => "AWS_MSK_IAM",
        }
    }
}

/// Where a token is asked for, with client credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Oauth {
    /// URL of the endpoint that gives tokens, with `https`. Its certificate is verified whatever `tls.mode` says.
    pub token_endpoint: HttpUrl,
    /// Client to ask as; the Secret holds its `clientSecret`.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 256))]
    pub client_id: String,
    /// Scope to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub scope: Option<String>,
    /// Audience to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub audience: Option<String>,
    /// What is told to the brokers beside the token: `logicalCluster` and `identityPoolId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 2, "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 256},
        "x-kubernetes-validations" = [{"rule": "self.all(key, key in ['logicalCluster', 'identityPoolId'])", "message": EXTENSIONS}]))]
    pub extensions: Option<BTreeMap<String, String>>,
}

impl Oauth {
    /// Where a token is had and what it is for, beside the client.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let Self { token_endpoint, client_id: _, scope, audience, extensions } = self;
        let asked = [Some(&token_endpoint.0), scope.as_ref(), audience.as_ref()];
        let asked = asked.into_iter().map(|text| text.map_or("", String::as_str));
        let extensions = extensions.iter().flatten().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        asked.chain(extensions).map(str::as_bytes)
    }
}

/// A cluster of Amazon MSK that is logged in to with an access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Msk {
    /// Region of the cluster.
    pub region: Region,
    /// Role to assume with the keys of the Secret. An endpoint in it must begin with `https://`, and its certificate is verified
    /// whatever `tls.mode` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

impl Msk {
    fn signer(&self, keys: Keys, namespace: &str, tls: &Tls) -> Signer {
        let exchange = self.assume_role.as_ref().map(|role| sts::Exchange::of(role, &self.region, namespace, tls));
        Signer { region: self.region.clone(), keys, exchange }
    }

    /// What the schema refuses too.
    fn check(&self) -> Result<(), Refusal> {
        let Self { region, assume_role } = self;
        region.check("kafka.msk.region")?;
        let Some(role) = assume_role else { return Ok(()) };
        role.check("kafka.msk.assumeRole")?;
        match &role.endpoint {
            Some(endpoint) if !endpoint.is_valid() => {
                Err(Refusal::Invalid(format!("`kafka.msk.assumeRole.endpoint` {}", HttpUrl::RULE)))
            }
            Some(endpoint) if endpoint.is_plain() => Err(Refusal::Invalid(STS_SCHEME.to_owned())),
            Some(_) | None => Ok(()),
        }
    }
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let shown: Vec<String> = self.brokers.iter().take(3).map(HostPort::shown).collect();
        let more = self.brokers.len() - shown.len();
        let more = if more > 0 { format!(",…+{more}") } else { String::new() };
        let topic = self.topic.as_deref().map(|topic| format!("/{}", text::encode(topic))).unwrap_or_default();
        text::cut(&format!("kafka://{}{more}{topic}", shown.join(",")))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let method = |name, required| vec![Method { name, required, optional: Vec::new() }];
        match (self.sasl_mechanism, &self.oauth) {
            (None, _) => Vec::new(),
            (Some(Mechanism::OauthBearer), Some(_)) => method(CLIENT_SECRET, vec![CLIENT_SECRET]),
            (Some(Mechanism::OauthBearer), None) => method(TOKEN, vec![TOKEN]),
            (Some(Mechanism::AwsMskIam), _) => vec![aws::method()],
            (Some(Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512), _) => {
                let username = self.username.is_none().then_some(USERNAME).into_iter();
                method(PASSWORD, username.chain([PASSWORD]).collect())
            }
        }
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&permissions)?;
        let endpoints = self.brokers.iter().map(|broker| broker.endpoint(&namespace));
        let brokers: Vec<Endpoint> = endpoints.collect::<Option<_>>().ok_or_else(not_brokers)?;
        let login = self.login(&mut credentials, &secret, &namespace, &tls)?;
        let who: &[u8] = match &login {
            Principal::None => &[],
            Principal::Password { user, .. } => user.expose(),
            // Whose it is stands in the token.
            Principal::Token { token, .. } => token.expose(),
            Principal::Signed(signer) => signer.keys.id.expose(),
            Principal::Grant { grant, .. } => grant.client.expose(),
        };
        let places: Vec<String> = brokers.iter().map(Endpoint::to_string).collect();
        let role = self.msk.as_ref().and_then(|msk| msk.assume_role.as_ref());
        let role = role.map(AssumeRole::identity).unwrap_or_default();
        // One who is rejected by one way of logging in may be let in by another, or with a token that is for something else.
        let mechanism = self.sasl_mechanism.map_or("", Mechanism::as_str).as_bytes();
        let token = self.oauth.iter().flat_map(Oauth::parts);
        let parts = places.iter().map(String::as_bytes).chain([who, role.as_bytes(), mechanism]);
        let account = Digest::of(parts.chain(token));
        // No number of rejections locks an access key.
        let lockout = matches!(login, Principal::Signed(_)).then_some(Lockout::Impossible);
        let probe = Look {
            brokers,
            tls,
            login,
            properties: self.properties.clone().unwrap_or_default(),
            topic: self.topic.clone(),
            group: self.consumer_group.clone(),
            permissions,
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout })
    }
}

impl Settings {
    fn login(
        &self,
        credentials: &mut Credentials,
        secret: &Setting,
        namespace: &str,
        tls: &Tls,
    ) -> Result<Principal, Refusal> {
        let mut needed = |name| credentials.take_text(name, secret)?.ok_or_else(|| Credentials::missing(name, secret));
        let extensions = || self.oauth.as_ref().and_then(|oauth| oauth.extensions.clone()).unwrap_or_default();
        Ok(match (self.sasl_mechanism, &self.oauth) {
            (None, _) => Principal::None,
            (Some(Mechanism::OauthBearer), Some(oauth)) => Principal::Grant {
                grant: Grant {
                    url: oauth.token_endpoint.complete(namespace),
                    client: SecretValue::new(oauth.client_id.clone().into_bytes()),
                    secret: needed(CLIENT_SECRET)?,
                    scope: oauth.scope.clone(),
                    audience: oauth.audience.clone(),
                    shown: Shown::Header,
                    numbers: &[],
                },
                extensions: extensions(),
            },
            (Some(Mechanism::OauthBearer), None) => {
                let token = credentials.take_printable(TOKEN, secret)?;
                let token = token.ok_or_else(|| Credentials::missing(TOKEN, secret))?;
                Principal::Token { token, extensions: extensions() }
            }
            (Some(Mechanism::AwsMskIam), _) => {
                let msk = self.msk.as_ref().ok_or_else(|| Refusal::Invalid(MSK_NEEDED.to_owned()))?;
                Principal::Signed(Box::new(msk.signer(Keys::take(credentials, secret)?, namespace, tls)))
            }
            (Some(mechanism @ (Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512)), _) => {
                let user = match &self.username {
                    Some(username) => SecretValue::new(username.clone().into_bytes()),
                    None => needed(USERNAME)?,
                };
                Principal::Password { mechanism, user, password: needed(PASSWORD)? }
            }
        })
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, permissions: &[Permission]) -> Result<(), Refusal> {
        let Self { brokers, topic, consumer_group, username, sasl_mechanism, oauth, msk, properties } = self;
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        if brokers.is_empty() || brokers.iter().any(|broker| broker.parts().is_none()) {
            return Err(not_brokers());
        }
        if topic.is_none() && !permissions.is_empty() {
            return invalid(TOPIC_NEEDED);
        }
        if oauth.is_some() && *sasl_mechanism != Some(Mechanism::OauthBearer) {
            return invalid(OAUTH_ALONE);
        }
        let endpoint = oauth.as_ref().map(|oauth| &oauth.token_endpoint);
        if endpoint.is_some_and(|endpoint| !endpoint.is_valid()) {
            return Err(Refusal::Invalid(format!("`kafka.oauth.tokenEndpoint` {}", HttpUrl::RULE)));
        }
        if endpoint.is_some_and(HttpUrl::is_plain) {
            return invalid(TOKEN_SCHEME);
        }
        if let Some(msk) = msk {
            // With the mechanism and without it, `login` says the same.
            if *sasl_mechanism != Some(Mechanism::AwsMskIam) {
                return invalid(MSK_NEEDED);
            }
            msk.check()?;
        }
        let named =
            [("topic", topic.as_ref()), ("consumerGroup", consumer_group.as_ref()), ("username", username.as_ref())];
        for (name, value) in named {
            if value.is_some_and(|value| value.is_empty() || value.contains(char::is_control)) {
                return Err(Refusal::Invalid(format!(
                    "`kafka.{name}` must not be empty and not contain a control character"
                )));
            }
        }
        let extensions = oauth.iter().flat_map(|oauth| oauth.extensions.iter().flatten());
        for (name, value) in extensions {
            let known = ["logicalCluster", "identityPoolId"].contains(&name.as_str());
            // RFC 7628, section 3.1: printable characters, spaces and line ends; the last are left out.
            if !known || value.is_empty() || !value.bytes().all(|byte| (32..127).contains(&byte)) {
                return invalid(EXTENSIONS);
            }
        }
        for (name, value) in properties.iter().flatten() {
            let valid = match name.as_str() {
                "client.id" | "client.rack" => !value.is_empty() && !value.contains(char::is_control),
                "client.dns.lookup" => {
                    ["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"].contains(&value.as_str())
                }
                "broker.address.family" => ["any", "v4", "v6"].contains(&value.as_str()),
                "socket.keepalive.enable" => ["true", "false"].contains(&value.as_str()),
                _ => return invalid(PROPERTIES),
            };
            if !valid {
                return Err(Refusal::Invalid(format!("`kafka.properties` holds a value that `{name}` cannot have")));
            }
        }
        Ok(())
    }
}

fn not_brokers() -> Refusal {
    Refusal::Invalid(format!("each of `kafka.brokers` {}", HostPort::RULE))
}

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const CLIENT_SECRET: &str = "clientSecret";
const TOKEN: &str = "token";
const TOPIC_NEEDED: &str = "`permissions` need `kafka.topic`, which they are about";
const LOGIN_NEEDED: &str = "`credentials` must be set exactly where `kafka.saslMechanism` is";
const OAUTH_ALONE: &str = "`kafka.oauth` needs `kafka.saslMechanism` OAUTHBEARER";
const TOKEN_SCHEME: &str = "`kafka.oauth.tokenEndpoint` must begin with `https://`: a secret is sent there";
const MSK_NEEDED: &str = "`kafka.msk` must be set exactly where `kafka.saslMechanism` is AWS_MSK_IAM";
const ONE_TOKEN: &str = "`kafka.oauth` and `kafka.msk` exclude each other";
const STS_SCHEME: &str = "`kafka.msk.assumeRole.endpoint` must begin with `https://`: keys come back from there";
const EXTENSIONS: &str =
    "`kafka.oauth.extensions` takes only logicalCluster and identityPoolId, in printable characters";
const PROPERTIES_RULE: &str = "self.all(key, key in ['client.id', 'client.rack', 'client.dns.lookup', \
    'broker.address.family', 'socket.keepalive.enable'])";
const PROPERTIES: &str = "`kafka.properties` takes only client.id, client.rack, client.dns.lookup, broker.address.family and \
    socket.keepalive.enable";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-events
stringData:
  username: reader
  password: reader-secret
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-events
spec:
  type: Kafka
  kafka:
    brokers:
      - events-bootstrap:9093
    topic: orders
    saslMechanism: SCRAM-SHA-512
  credentials:
    secretRef:
      name: orders-events
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-events
stringData:
  clientSecret: reader-secret
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
  name: orders-events
spec:
  type: Kafka
  description: Orders as they come in
  kafka:
    brokers:
      - events-0.example.com:9093
      - events-1.example.com:9093
    topic: orders
    consumerGroup: analytics
    username: reader
    saslMechanism: OAUTHBEARER
    oauth:
      tokenEndpoint: https://login.example.com/oauth2/token
      clientID: orders-reader
      scope: events
      audience: https://events.example.com
      extensions:
        logicalCluster: lkc-12345
    properties:
      client.id: orders-reader
      client.rack: a
  credentials:
    secretRef:
      name: orders-events
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  permissions: [List, Read]
  probe:
    interval: 60s
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::failure::Reason;

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"brokers": ["events-0:9093"]});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare(settings: &Settings, data: &[(&str, &str)], permissions: &[Permission]) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret orders-events");
        let methods = settings.methods(&Tls::default());
        let data: BTreeMap<_, _> =
            data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let credentials = if methods.is_empty() {
            Credentials::default()
        } else {
            Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret).unwrap()
        };
        let tls = Tls::default();
        settings.prepare(Given {
            namespace: "shop".to_owned(),
            credentials,
            secret,
            tls,
            permissions: permissions.to_vec(),
        })
    }

    const ROLE: &str = "arn:aws:iam::123456789012:role/orders-reader";
    const READER: &[(&str, &str)] = &[("user", "reader"), ("password", "reader-secret")];

    fn oauth() -> serde_json::Value {
        json!({"saslMechanism": "OAUTHBEARER", "oauth": {"tokenEndpoint": "https://login/token", "clientID": "x"}})
    }

    fn msk(extra: &serde_json::Value) -> serde_json::Value {
        let mut msk = json!({"region": "eu-central-1"});
        msk.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"saslMechanism": "AWS_MSK_IAM", "msk": msk})
    }

    #[test]
    fn the_connection_string_names_three_brokers_and_counts_the_rest() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "kafka://events-0:9093");
        let many = json!({"brokers": ["a:1", "b:2", "[fd00::1]:3", "d:4", "e:5"], "topic": "orders"});
        assert_eq!(string(many), "kafka://a:1,b:2,[fd00::1]:3,…+2/orders");
        let long = json!({"brokers": [format!("{}:1", "x".repeat(250)), format!("{}:1", "y".repeat(250))]});
        assert_eq!(string(long).chars().count(), text::LIMIT);
    }

    #[test]
    fn each_mechanism_needs_its_own_keys() {
        let required = |extra: serde_json::Value| {
            let methods = settings(&extra).methods(&Tls::default());
            methods.into_iter().next().map(|method| method.required)
        };
        assert_eq!(required(json!({})), None);
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            assert_eq!(required(json!({"saslMechanism": mechanism})), Some(vec![USERNAME, PASSWORD]));
            let named = json!({"saslMechanism": mechanism, "username": "reader"});
            assert_eq!(required(named), Some(vec![PASSWORD]));
        }
        assert_eq!(required(json!({"saslMechanism": "OAUTHBEARER"})), Some(vec![TOKEN]));
        assert_eq!(required(oauth()), Some(vec![CLIENT_SECRET]));
        assert_eq!(required(msk(&json!({}))), Some(vec![aws::ACCESS_KEY_ID, aws::SECRET_ACCESS_KEY]));
    }

    #[test]
    fn an_access_key_is_the_one_login_that_no_rejection_locks() {
        let lockout =
            |extra: serde_json::Value, data: &[(&str, &str)]| prepare(&settings(&extra), data, &[]).unwrap().lockout;
        let key = [("accessKeyId", "AKIA"), ("secretAccessKey", "secret")];
        assert_eq!(lockout(msk(&json!({})), &key), Some(Lockout::Impossible));
        assert_eq!(lockout(json!({"saslMechanism": "PLAIN"}), READER), None);
    }

    #[test]
    fn other_brokers_another_user_or_another_way_to_log_in_are_another_account() {
        let account =
            |extra: serde_json::Value, data: &[(&str, &str)]| prepare(&settings(&extra), data, &[]).unwrap().account;
        let plain = json!({"saslMechanism": "PLAIN"});
        let base = account(plain.clone(), READER);
        assert_eq!(account(json!({"saslMechanism": "PLAIN", "topic": "orders"}), READER), base);
        assert_eq!(account(json!({"saslMechanism": "PLAIN", "username": "reader"}), READER), base);
        assert_eq!(account(plain.clone(), &[("username", "reader"), ("password", "other")]), base);
        assert_ne!(account(plain, &[("username", "writer"), ("password", "reader-secret")]), base);
        assert_ne!(account(json!({"saslMechanism": "PLAIN", "brokers": ["events-1:9093"]}), READER), base);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            assert_ne!(account(json!({"saslMechanism": mechanism}), READER), base, "{mechanism}");
        }
        let secret = [("clientSecret", "secret")];
        let base = account(oauth(), &secret);
        for (name, value) in [
            ("tokenEndpoint", json!("https://login/other")),
            ("clientID", json!("y")),
            ("scope", json!("events")),
            ("audience", json!("events")),
            ("extensions", json!({"logicalCluster": "lkc-12345"})),
        ] {
            let mut other = oauth();
            other["oauth"][name] = value;
            assert_ne!(account(other, &secret), base, "{name}");
        }
        let key = |id: &'static str| [("accessKeyId", id), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let base = account(msk(&json!({})), &key("AKIA"));
        let role = msk(&json!({"assumeRole": {"roleARN": "arn:aws:iam::123456789012:role/reader"}}));
        assert_ne!(account(msk(&json!({})), &key("AKIB")), base);
        assert_ne!(account(role, &key("AKIA")), base);
    }

    #[test]
    fn a_cluster_of_msk_is_named_exactly_where_its_way_to_log_in_is() {
        let refused = |extra: serde_json::Value, data: &[(&str, &str)]| match prepare(&settings(&extra), data, &[]) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        };
        let key = [("accesskey", "AKIA"), ("secretkey", "secret")];
        assert!(prepare(&settings(&msk(&json!({}))), &key, &[]).is_ok());
        assert_eq!(refused(json!({"saslMechanism": "AWS_MSK_IAM"}), &key), MSK_NEEDED);
        let other = json!({"saslMechanism": "PLAIN", "msk": {"region": "eu-central-1"}});
        assert_eq!(refused(other, READER), MSK_NEEDED);
        assert_eq!(refused(json!({"msk": {"region": "eu-central-1"}}), &[]), MSK_NEEDED);
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        let with = |pointer: &str, value: serde_json::Value| {
            let mut extra = oauth();
            extra["oauth"][pointer] = value;
            extra
        };
        for (extra, word) in [
            (json!({"brokers": []}), "HOST:PORT"),
            (json!({"brokers": ["events"]}), "HOST:PORT"),
            (json!({"brokers": ["fd00::1:9093"]}), "HOST:PORT"),
            (json!({"brokers": ["a/b:9093"]}), "HOST:PORT"),
            (json!({"brokers": ["a:0"]}), "HOST:PORT"),
            (json!({"topic": ""}), "topic"),
            (json!({"consumerGroup": "a\nb"}), "consumerGroup"),
            (json!({"username": "a\0b"}), "username"),
            (json!({"oauth": oauth()["oauth"].clone()}), "OAUTHBEARER"),
            (with("tokenEndpoint", json!("http://login/token")), "https"),
            (with("tokenEndpoint", json!("https://user@login")), "tokenEndpoint"),
            (with("extensions", json!({"password": "x"})), "extensions"),
            (with("extensions", json!({"logicalCluster": "a\u{1}b"})), "extensions"),
            (msk(&json!({"region": "evil.example/"})), "kafka.msk.region"),
            (msk(&json!({"assumeRole": {"roleARN": ""}})), "kafka.msk.assumeRole.roleARN"),
            (msk(&json!({"assumeRole": {"roleARN": ROLE, "endpoint": "http://sts"}})), "https://"),
            (msk(&json!({"assumeRole": {"roleARN": ROLE, "endpoint": "https://user@sts"}})), "user information"),
            (json!({"properties": {"plugin.library.paths": "x"}}), "properties"),
            (json!({"properties": {"broker.address.family": "v5"}}), "broker.address.family"),
        ] {
            let found = settings(&extra).check(&[]);
            assert!(matches!(&found, Err(Refusal::Invalid(sentence)) if sentence.contains(word)), "{extra}: {found:?}");
        }
        let bare = settings(&json!({}));
        assert_eq!(bare.check(&[Permission::List]), Err(Refusal::Invalid(TOPIC_NEEDED.to_owned())));
        assert_eq!(bare.check(&[]), Ok(()));
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_malformed_and_not_shown() {
        for token in ["hunter2 two", "hunter2\n", "hunter2\u{e9}", ""] {
            let bearer = settings(&json!({"saslMechanism": "OAUTHBEARER"}));
            let Err(Refusal::Unusable(failure)) = prepare(&bearer, &[("token", token)], &[]) else {
                panic!("{token:?} was taken")
            };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!failure.message().contains("hunter2"), "{}", failure.message());
        }
    }
}
