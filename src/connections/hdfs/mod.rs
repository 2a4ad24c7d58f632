//! HDFS: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{
    Look, rpc,
    rpc_child::work,
    rpc_keytab,
    token::is_token,
    web::{self, Who},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Job, Lockout, Permission, Prepared, Refusal,
    fields::{HostPort, HttpUrl},
    text,
};
use crate::{
    failure::{Failure, FailureClass, Setting},
    net::{
        Endpoint,
        tls::{Mode, Roots, Tls},
    },
    secret::{Credentials, Digest, Key, Method},
};

/// What is the same for every HDFS connection.
pub const ABOUT: About = About {
    keys: &[Key::plain(KEYTAB), Key::plain(DELEGATION_TOKEN)],
    interval: Duration::from_mins(1),
    // A KDC may count failures, and lock a principal.
    lockout: Lockout::Possible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "real server: Apache Hadoop 3.4, name nodes with and without Kerberos, whose KDC is that of \
        Hadoop's own tests; stand-in: name nodes and a KDC for what these do not say",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.hdfs) || !has(self.hdfs.nameNodes) || !has(self.hdfs.url)", ONE_WAY),
    ("!has(self.hdfs) || has(self.hdfs.nameNodes) || has(self.hdfs.url)", SOME_WAY),
    ("!has(self.hdfs) || !has(self.hdfs.nameservice) || !has(self.hdfs.url)", NAMESERVICE_ALONE),
    ("!has(self.hdfs) || !has(self.hdfs.kerberos) || !has(self.hdfs.url)", KERBEROS_ALONE),
    ("!has(self.hdfs) || !has(self.hdfs.user) || !has(self.hdfs.kerberos)", ONE_USER),
    ("!has(self.hdfs) || has(self.hdfs.user) != has(self.credentials)", LOGIN),
    (
        "!has(self.hdfs) || !has(self.hdfs.nameNodes) || has(self.hdfs.kerberos) == has(self.credentials)",
        KERBEROS_NEEDED,
    ),
    ("!has(self.hdfs) || !has(self.hdfs.nameNodes) || !has(self.tls)", NO_TLS),
    (
        "!has(self.hdfs) || !has(self.hdfs.url) || self.hdfs.url.startsWith('webhdfs://') \
         == (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        SCHEME,
    ),
    (
        "!has(self.hdfs) || has(self.hdfs.url) || !has(self.permissions) || !self.permissions.exists(p, p == 'Write')",
        NO_WRITE,
    ),
];

/// What an HDFS connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Name nodes to ask by HDFS's own protocol (RPC), each as `HOST:PORT`, an IPv6 address in brackets. They are tried in this order
    /// until an active one answers. A host without a dot means `HOST.<namespace of the Connection>.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub name_nodes: Option<Vec<HostPort>>,
    /// Name node to ask through WebHDFS instead: `swebhdfs://HOST:PORT`, or `webhdfs://HOST:PORT`, which needs `tls.mode` Disable.
    /// Without a port 9871, or 9870. A gateway may have a path, to which `/webhdfs/v1` is appended. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<WebUrl>,
    /// Name that clients know the name nodes by together. It is shown in the connection string, and nothing is asked about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})$"))]
    pub nameservice: Option<String>,
    /// File or directory that must exist. The permissions are about it.
    pub path: HdfsPath,
    /// User to look as, where name nodes trust every name. With Kerberos, or with a delegation token, it is known whose they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub user: Option<String>,
    /// Log in to the name nodes by Kerberos, with the keytab that the Secret holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kerberos: Option<Kerberos>,
}

/// A URL of WebHDFS, absolute, with nothing that could hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 512, "minLength" = 1, "x-kubernetes-validations" =
    [{"rule": "self.matches('^s?webhdfs://([^/?#@:\\\\s]+|[[][0-9A-Fa-f:.]+[]])(:[0-9]{1,5})?(/[^?#@\\\\s]*)?$')", "message": WebUrl::RULE}]))]
pub struct WebUrl(pub String);

impl WebUrl {
    /// The sentence for what is none.
    const RULE: &str = "must be a URL such as swebhdfs://host:port or webhdfs://host:port, without user information, query or fragment";

    /// Whether what is sent there can be read on the way.
    fn is_plain(&self) -> bool {
        self.0.starts_with("webhdfs://")
    }

    /// The URL of HTTP that requests begin with, without a slash at its end; `None` where it is none.
    fn of_http(&self, namespace: &str) -> Option<String> {
        let (scheme, rest) = self.0.split_once("://")?;
        let (scheme, port) = match scheme {
            // The ports of Hadoop 3 (`hdfs-default.xml`).
            "webhdfs" => ("http", 9870),
            "swebhdfs" => ("https", 9871),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let url = HttpUrl(format!("{scheme}://{authority}{path}"));
        let named = url.parts().port.is_some() || !url.is_valid();
        let url = if named { url } else { HttpUrl(format!("{scheme}://{authority}:{port}{path}")) };
        url.is_valid().then(|| url.complete(namespace).trim_end_matches('/').to_owned())
    }
}

/// An absolute path in HDFS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 1024, "minLength" = 1, "x-kubernetes-validations" = [{"rule": HdfsPath::PATTERN, "message": HdfsPath::RULE}]))]
pub struct HdfsPath(pub String);

impl HdfsPath {
    /// As name nodes judge it (`DFSUtil.isValidName`).
    const PATTERN: &str =
        "self.matches('^/[^:]*$') && !self.matches('//|/[.][.]?/|/[.][.]?$') && !self.matches('[[:cntrl:]]')";
    /// The sentence for what is none.
    const RULE: &str = "must be an absolute path such as /data/orders, without a colon, an empty part, a part . or .., or a control character";

    /// Whether it obeys the schema's rule; for objects that were stored under an older one.
    fn is_valid(&self) -> bool {
        let Some(rest) = self.0.strip_prefix('/') else { return false };
        let strange = |c: char| c == ':' || c.is_control();
        let parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
        rest.is_empty() || (!rest.contains(strange) && parts.into_iter().all(|part| !["", ".", ".."].contains(&part)))
    }

    /// Without a slash at its end.
    fn bare(&self) -> &str {
        let bare = self.0.trim_end_matches('/');
        if bare.is_empty() { "/" } else { bare }
    }
}

/// A login by Kerberos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kerberos {
    /// Whom the keytab is for, without the realm: `reader`, or `reader/host.example.com`.
    #[schemars(length(max = 255), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._$-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?$"))]
    pub principal: String,
    /// Realm of the principal and of the name nodes.
    #[schemars(length(max = 255), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub realm: String,
    /// Key distribution centre of the realm, as `HOST:PORT`; its port is usually 88. It is asked by TCP. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`.
    pub kdc: HostPort,
    /// Principal that the name nodes must have, without the realm, such as `hdfs/_HOST`: `_HOST` stands for the host as `nameNodes` has
    /// it. Absent: `nn` or `hdfs` at that host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?$"))]
    pub server_principal: Option<String>,
}

impl Kerberos {
    /// What the schema refuses too. These stand in a configuration file, where a line end or a brace would begin something else.
    fn check(&self) -> Result<(), Refusal> {
        let Self { principal, realm, kdc, server_principal } = self;
        if !is_principal(principal, "$") {
            return Err(Refusal::Invalid("`hdfs.kerberos.principal` must be one, without its realm".to_owned()));
        }
        if !is_name(realm, "") || realm.starts_with('_') {
            return Err(Refusal::Invalid("`hdfs.kerberos.realm` must be the name of one".to_owned()));
        }
        if server_principal.as_deref().is_some_and(|principal| !is_principal(principal, "")) {
            return Err(Refusal::Invalid("`hdfs.kerberos.serverPrincipal` must be one, without its realm".to_owned()));
        }
        match kdc.parts() {
            Some(_) => Ok(()),
            None => Err(Refusal::Invalid(format!("`hdfs.kerberos.kdc` {}", HostPort::RULE))),
        }
    }
}

/// One name, or two with a slash between them; `more` may be in the first.
fn is_principal(text: &str, more: &str) -> bool {
    match text.split_once('/') {
        Some((name, host)) => is_name(name, more) && is_name(host, ""),
        None => is_name(text, more),
    }
}

fn is_name(text: &str, more: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    begins
        && text.len() <= 255
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || more.contains(c))
}

impl Definition for Settings {
    fn job() -> Option<Job> {
        Some(work)
    }

    fn connection_string(&self) -> String {
        let path: Vec<String> = self.path.bare().split('/').map(text::encode).collect();
        let path = path.join("/");
        if let Some(url) = &self.url {
            return text::cut(&format!("{}{path}", url.0.trim_end_matches('/')));
        }
        if let Some(nameservice) = &self.nameservice {
            return text::cut(&format!("hdfs://{}{path}", text::encode(nameservice)));
        }
        let nodes: &[HostPort] = self.name_nodes.as_deref().unwrap_or_default();
        let shown: Vec<String> = nodes.iter().take(3).map(HostPort::shown).collect();
        let more = nodes.len() - shown.len();
        let more = if more > 0 { format!(",…+{more}") } else { String::new() };
        text::cut(&format!("hdfs://{}{more}{path}", shown.join(",")))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let method = |name, key| vec![Method { name, required: vec![key], optional: Vec::new() }];
        match (&self.user, &self.kerberos, &self.url) {
            (_, Some(_), _) => method("Kerberos", KEYTAB),
            (None, None, Some(_)) => method("delegation token", DELEGATION_TOKEN),
            (Some(_), None, _) | (None, None, None) => Vec::new(),
        }
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&tls, &permissions)?;
        let path = self.path.bare().to_owned();
        if let Some(url) = &self.url {
            let url = url.of_http(&namespace).ok_or_else(not_a_url)?;
            let who = self.who(&mut credentials, &secret)?;
            let name: &[u8] = match &who {
                Who::Named(user) => user.as_bytes(),
                // Whose it is stands in the token.
                Who::Token(token) => token.expose(),
            };
            let account = Digest::of([url.as_bytes(), name]);
            let probe = Look::Web(web::Plan { url, path, who, tls, permissions });
            return Ok(Prepared { probe: Box::new(probe), account, lockout: None });
        }
        let endpoints = self.name_nodes.iter().flatten().map(|node| node.endpoint(&namespace));
        let name_nodes: Vec<Endpoint> = endpoints.collect::<Option<_>>().ok_or_else(not_name_nodes)?;
        let kerberos = match &self.kerberos {
            Some(kerberos) => Some(kerberos.login(&mut credentials, &secret, &namespace)?),
            None => None,
        };
        let account: Vec<String> = match &kerberos {
            // The realm judges the key and may lock the principal, whatever it is shown to afterwards.
            Some(login) => vec![login.realm.clone(), login.principal.clone()],
            None => name_nodes.iter().map(Endpoint::to_string).chain(self.user.clone()).collect(),
        };
        let account = Digest::of(account.iter().map(String::as_bytes));
        let probe = Look::Rpc(rpc::Plan { name_nodes, path, user: self.user.clone(), kerberos, permissions });
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Kerberos {
    fn login(
        &self,
        credentials: &mut Credentials,
        secret: &Setting,
        namespace: &str,
    ) -> Result<rpc::Kerberos, Refusal> {
        let keytab = credentials.take(KEYTAB).ok_or_else(|| Credentials::missing(KEYTAB, secret))?;
        rpc_keytab::check(keytab.expose(), &self.principal, &self.realm)
            .map_err(|fault| malformed(KEYTAB, secret, fault.advice()))?;
        let kdc = self.kdc.endpoint(namespace);
        Ok(rpc::Kerberos {
            principal: self.principal.clone(),
            realm: self.realm.clone(),
            kdc: kdc.ok_or_else(|| Refusal::Invalid(format!("`hdfs.kerberos.kdc` {}", HostPort::RULE)))?,
            server_principal: self.server_principal.clone(),
            keytab,
        })
    }
}

impl Settings {
    fn who(&self, credentials: &mut Credentials, secret: &Setting) -> Result<Who, Refusal> {
        if let Some(user) = &self.user {
            return Ok(Who::Named(user.clone()));
        }
        let token = credentials.take_printable(DELEGATION_TOKEN, secret)?;
        let token = token.ok_or_else(|| Credentials::missing(DELEGATION_TOKEN, secret))?;
        if is_token(token.expose()) {
            return Ok(Who::Token(token));
        }
        Err(malformed(
            DELEGATION_TOKEN,
            secret,
            "it must be the text of a token, in base64 for URLs, not the file that holds it",
        )
        .into())
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, tls: &Tls, permissions: &[Permission]) -> Result<(), Refusal> {
        let Self { name_nodes, url, nameservice, path, user, kerberos } = self;
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        match (name_nodes, url) {
            (Some(_), Some(_)) => return invalid(ONE_WAY),
            (None, None) => return invalid(SOME_WAY),
            (Some(nodes), None) => {
                if nodes.is_empty() || nodes.iter().any(|node| node.parts().is_none()) {
                    return Err(not_name_nodes());
                }
                if !is_untouched(tls) {
                    return invalid(NO_TLS);
                }
                if permissions.contains(&Permission::Write) {
                    return invalid(NO_WRITE);
                }
                if user.is_none() && kerberos.is_none() {
                    return invalid(LOGIN);
                }
            }
            (None, Some(url)) => {
                if nameservice.is_some() {
                    return invalid(NAMESERVICE_ALONE);
                }
                if kerberos.is_some() {
                    return invalid(KERBEROS_ALONE);
                }
                if url.of_http("default").is_none() {
                    return Err(not_a_url());
                }
                if url.is_plain() != (tls.mode == Mode::Disable) {
                    return invalid(SCHEME);
                }
            }
        }
        if user.is_some() && kerberos.is_some() {
            return invalid(ONE_USER);
        }
        if !path.is_valid() {
            return Err(Refusal::Invalid(format!("`hdfs.path` {}", HdfsPath::RULE)));
        }
        if user.as_ref().is_some_and(|user| user.is_empty() || user.contains(char::is_control)) {
            return invalid("`hdfs.user` must not be empty and not contain a control character");
        }
        if nameservice.as_ref().is_some_and(|name| !is_name(name, "")) {
            return invalid("`hdfs.nameservice` must be the name of one");
        }
        kerberos.as_ref().map_or(Ok(()), Kerberos::check)
    }
}

/// Whether nothing was said about TLS.
fn is_untouched(tls: &Tls) -> bool {
    let Tls { mode, roots, identity, server_name } = tls;
    *mode == Mode::default() && matches!(roots, Roots::System) && identity.is_none() && server_name.is_none()
}

fn malformed(key: &'static str, secret: &Setting, advice: &'static str) -> Failure {
    Failure::new(FailureClass::CredentialsMalformed).about(secret.clone()).word(key).advice(advice)
}

fn not_name_nodes() -> Refusal {
    Refusal::Invalid(format!("each of `hdfs.nameNodes` {}", HostPort::RULE))
}

fn not_a_url() -> Refusal {
    Refusal::Invalid(format!("`hdfs.url` {}", WebUrl::RULE))
}

const KEYTAB: &str = "keytab";
const DELEGATION_TOKEN: &str = "delegationToken";
const ONE_WAY: &str =
    "`hdfs.nameNodes` and `hdfs.url` exclude each other: one is asked by RPC, the other one through WebHDFS";
const SOME_WAY: &str = "`hdfs` needs one of `nameNodes` and `url`";
const NAMESERVICE_ALONE: &str = "`hdfs.nameservice` cannot stand beside `hdfs.url`, which is one name node's";
const KERBEROS_ALONE: &str =
    "`hdfs.kerberos` needs `hdfs.nameNodes`: through WebHDFS one logs in with a delegation token";
const ONE_USER: &str = "`hdfs.user` and `hdfs.kerberos` exclude each other: the principal is the user";
const LOGIN: &str = "one of `hdfs.user` and `credentials` must be set, and not both: a name is trusted as it is, or a Secret says who it is";
const KERBEROS_NEEDED: &str = "with `hdfs.nameNodes` `credentials` must be set exactly where `hdfs.kerberos` is";
const NO_TLS: &str = "`tls` cannot be set with `hdfs.nameNodes`: RPC has no TLS; use `hdfs.url` for it";
const SCHEME: &str = "`hdfs.url` with `webhdfs://` and `tls.mode` Disable need each other";
const NO_WRITE: &str = "`permissions` takes only List and Read with `hdfs.nameNodes`: use `hdfs.url` for Write";

const MINIMAL: &str = "\
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-lake
spec:
  type: HDFS
  hdfs:
    nameNodes:
      - namenode:8020
    path: /data/orders
    user: reader
";

// The keytab is well-formed; its key is the text `example-key-of-a-keytab-32-bytes`.
const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-lake
data:
  reader.keytab: BQIAAABIAAEAC0VYQU1QTEUuQ09NAAZyZWFkZXIAAAABAAAAAAEAEgAgZXhhbXBsZS1rZXktb2YtYS1rZXl0YWItMzItYnl0ZXMAAAAB
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-lake
spec:
  type: HDFS
  description: Raw orders, one directory a day
  hdfs:
    nameNodes:
      - namenode-0.example.com:8020
      - namenode-1.example.com:8020
    nameservice: lake
    path: /data/orders
    kerberos:
      principal: reader
      realm: EXAMPLE.COM
      kdc: kdc.example.com:88
      serverPrincipal: hdfs/_HOST
  credentials:
    secretRef:
      name: orders-lake
    keys:
      keytab: reader.keytab
  permissions: [List, Read]
  probe:
    interval: 60s
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::{failure::Reason, secret::SecretValue};

    const TOKEN: &[u8] = b"AWkBcAFrAA";

    fn settings(extra: &Value) -> Settings {
        let mut all = json!({"path": "/data/orders"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn rpc(extra: &Value) -> Value {
        let mut all = json!({"nameNodes": ["nn1:8020", "nn2.example.com:8020"]});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        all
    }

    fn kerberos(extra: &Value) -> Value {
        let mut all = json!({"principal": "reader", "realm": "EXAMPLE.COM", "kdc": "kdc:88"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        rpc(&json!({"kerberos": all}))
    }

    fn web(extra: &Value) -> Value {
        let mut all = json!({"url": "swebhdfs://nn1.example.com:9871"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        all
    }

    fn prepare(extra: &Value, data: &[(&str, &[u8])], tls: Tls) -> Result<Prepared, Refusal> {
        let settings = settings(extra);
        let secret = Setting::from_spec("Secret orders-lake");
        let methods = settings.methods(&tls);
        let data: BTreeMap<_, _> =
            data.iter().map(|(key, value)| ((*key).to_owned(), SecretValue::new(value.to_vec()))).collect();
        let credentials = if methods.is_empty() {
            Credentials::default()
        } else {
            Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret).unwrap()
        };
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    #[test]
    fn the_connection_string_names_the_service_or_its_nodes_or_the_url() {
        let string = |extra: Value| settings(&extra).connection_string();
        assert_eq!(string(rpc(&json!({}))), "hdfs://nn1:8020,nn2.example.com:8020/data/orders");
        assert_eq!(string(rpc(&json!({"nameservice": "lake"}))), "hdfs://lake/data/orders");
        let four = json!({"nameNodes": ["a:1", "[fd00::1]:2", "c:3", "d:4"], "path": "/"});
        assert_eq!(string(four), "hdfs://a:1,[fd00::1]:2,c:3,…+1/");
        assert_eq!(string(web(&json!({}))), "swebhdfs://nn1.example.com:9871/data/orders");
        let gateway = json!({"url": "swebhdfs://knox/gateway/default/", "path": "/a b/ü?#/"});
        assert_eq!(string(gateway), "swebhdfs://knox/gateway/default/a%20b/%C3%BC%3F%23");
        assert_eq!(string(rpc(&json!({"path": format!("/{}", "x".repeat(300))}))).chars().count(), text::LIMIT);
    }

    #[test]
    fn each_way_needs_its_own_key_and_a_name_none() {
        let required = |extra: Value| {
            let methods = settings(&extra).methods(&Tls::default());
            methods.into_iter().next().map(|method| method.required)
        };
        assert_eq!(required(rpc(&json!({"user": "reader"}))), None);
        assert_eq!(required(web(&json!({"user": "reader"}))), None);
        assert_eq!(required(kerberos(&json!({}))), Some(vec![KEYTAB]));
        assert_eq!(required(web(&json!({}))), Some(vec![DELEGATION_TOKEN]));
    }

    #[test]
    fn a_url_is_that_of_http_with_its_port_and_in_the_namespace() {
        let url = |text: &str| WebUrl(text.to_owned()).of_http("shop");
        for (text, expected) in [
            ("swebhdfs://nn1", "https://nn1.shop.svc:9871"),
            ("webhdfs://nn1.example.com/", "http://nn1.example.com:9870"),
            ("webhdfs://[fd00::1]:1", "http://[fd00::1]:1"),
            ("webhdfs://[fd00::1]", "http://[fd00::1]:9870"),
            ("swebhdfs://knox:8443/gateway/default/", "https://knox.shop.svc:8443/gateway/default"),
        ] {
            assert_eq!(url(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "nn1",
            "http://nn1",
            "hdfs://nn1",
            "webhdfs://",
            "webhdfs://:1",
            "webhdfs://u@nn1",
            "webhdfs://nn1:0",
            "webhdfs://nn1:99999",
            "webhdfs://nn1?delegation=x",
            "webhdfs://nn1/#x",
            "webhdfs://n n1",
        ] {
            assert_eq!(url(text), None, "{text}");
        }
    }

    /// A keytab with one key.
    fn keytab(principal: &str, realm: &str, key: &str) -> Vec<u8> {
        let counted = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        let entry = [
            b"\0\x01".to_vec(),
            counted(realm),
            counted(principal),
            // The kind of the name, the time, the short number of the key, its kind.
            b"\0\0\0\x01\0\0\0\0\x01\0\x12".to_vec(),
            counted(key),
        ];
        let entry = entry.concat();
        [b"\x05\x02".to_vec(), u32::try_from(entry.len()).unwrap().to_be_bytes().to_vec(), entry].concat()
    }

    #[test]
    fn another_principal_is_another_account_and_so_are_other_name_nodes_where_nobody_logs_in() {
        let account = |extra: Value, data: &[(&str, &[u8])]| prepare(&extra, data, Tls::default()).unwrap().account;
        let login = |extra: Value, nodes: &str| {
            let mut extra = kerberos(&extra);
            extra["nameNodes"] = json!([nodes]);
            let of = |name: &str| extra["kerberos"][name].as_str().unwrap().to_owned();
            account(extra.clone(), &[(KEYTAB, &keytab(&of("principal"), &of("realm"), "key"))])
        };
        let base = login(json!({}), "nn1:8020");
        let other_key: &[u8] = &keytab("reader", "EXAMPLE.COM", "other");
        let one_node = json!({"nameNodes": ["nn1:8020"], "kerberos": kerberos(&json!({}))["kerberos"]});
        assert_eq!(account(one_node, &[(KEYTAB, other_key)]), base);
        assert_ne!(login(json!({"principal": "writer"}), "nn1:8020"), base);
        assert_ne!(login(json!({"realm": "OTHER.COM"}), "nn1:8020"), base);
        // A rejection there is one of the realm, and is one more failure of the principal.
        assert_eq!(login(json!({"kdc": "kdc2:88"}), "nn1:8020"), base);
        assert_eq!(login(json!({"serverPrincipal": "hdfs/_HOST"}), "nn3:8020"), base);
        let name = |user: &str, node: &str| account(json!({"nameNodes": [node], "user": user}), &[]);
        assert_eq!(name("reader", "nn1:8020"), name("reader", "nn1:8020"));
        assert_ne!(name("reader", "nn1:8020"), name("writer", "nn1:8020"));
        assert_ne!(name("reader", "nn1:8020"), name("reader", "nn3:8020"));
        let token = |url: &str, token: &'static [u8]| account(web(&json!({"url": url})), &[(DELEGATION_TOKEN, token)]);
        assert_eq!(token("swebhdfs://a", TOKEN), token("swebhdfs://a:9871/", TOKEN));
        assert_ne!(token("swebhdfs://a", TOKEN), token("swebhdfs://b", TOKEN));
        assert_ne!(token("swebhdfs://a", TOKEN), token("swebhdfs://a", b"AWoBcAFrAA"));
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        let refused =
            |extra: &Value, tls: &Tls, permissions: &[Permission]| match settings(extra).check(tls, permissions) {
                Err(Refusal::Invalid(sentence)) => sentence,
                other => panic!("{extra}: {other:?}"),
            };
        let simple = |extra: Value| {
            let mut extra = rpc(&extra);
            extra["user"] = json!("reader");
            extra
        };
        for (extra, sentence) in [
            (json!({}), SOME_WAY),
            (simple(json!({"url": "swebhdfs://nn1"})), ONE_WAY),
            (web(&json!({"nameservice": "lake"})), NAMESERVICE_ALONE),
            (web(&json!({"kerberos": kerberos(&json!({}))["kerberos"]})), KERBEROS_ALONE),
            (simple(json!({"kerberos": kerberos(&json!({}))["kerberos"]})), ONE_USER),
            (rpc(&json!({})), LOGIN),
            (web(&json!({"url": "webhdfs://nn1"})), SCHEME),
            (simple(json!({"nameNodes": []})), "HOST:PORT"),
            (simple(json!({"nameNodes": ["nn1"]})), "HOST:PORT"),
            (simple(json!({"nameNodes": ["a b:1"]})), "HOST:PORT"),
            (web(&json!({"url": "https://nn1"})), WebUrl::RULE),
            (simple(json!({"nameservice": "a/b"})), "nameservice"),
            (rpc(&json!({"user": ""})), "user"),
            (web(&json!({"user": "a\nb"})), "user"),
            (kerberos(&json!({"principal": "reader@EXAMPLE.COM"})), "without its realm"),
            (kerberos(&json!({"principal": "a/b/c"})), "principal"),
            (kerberos(&json!({"principal": "a b"})), "principal"),
            (kerberos(&json!({"principal": ""})), "principal"),
            (kerberos(&json!({"realm": "A\n}"})), "realm"),
            (kerberos(&json!({"realm": "A = B"})), "realm"),
            (kerberos(&json!({"realm": "A{"})), "realm"),
            (kerberos(&json!({"realm": ""})), "realm"),
            (kerberos(&json!({"kdc": "kdc"})), "kdc"),
            (kerberos(&json!({"kdc": "k=c:88"})), "kdc"),
            (kerberos(&json!({"kdc": "k{c\n:88"})), "kdc"),
            (kerberos(&json!({"serverPrincipal": "hdfs/_HOST@EXAMPLE.COM"})), "serverPrincipal"),
        ] {
            let found = refused(&extra, &Tls::default(), &[]);
            assert!(found.contains(sentence), "{extra}: {found}");
        }
        let plain = Tls { mode: Mode::Disable, ..Tls::default() };
        let named = Tls { server_name: Some("nn1".to_owned()), ..Tls::default() };
        assert_eq!(refused(&simple(json!({})), &plain, &[]), NO_TLS);
        assert_eq!(refused(&simple(json!({})), &named, &[]), NO_TLS);
        assert_eq!(refused(&web(&json!({})), &plain, &[]), SCHEME);
        assert_eq!(refused(&simple(json!({})), &Tls::default(), &[Permission::Write]), NO_WRITE);
        for extra in [
            simple(json!({})),
            web(&json!({})),
            web(&json!({"user": "reader"})),
            kerberos(&json!({"principal": "HOST$", "serverPrincipal": "hdfs/_HOST"})),
            kerberos(&json!({"principal": "reader/host.example.com", "kdc": "[fd00::1]:88"})),
        ] {
            assert_eq!(settings(&extra).check(&Tls::default(), &[]), Ok(()), "{extra}");
        }
    }

    #[test]
    fn a_path_is_one_that_a_name_node_takes() {
        for path in ["/", "/data", "/data/", "/data/.hidden/a..b/...", "/a b/ü", "/.reserved/raw/x"] {
            assert!(HdfsPath(path.to_owned()).is_valid(), "{path}");
        }
        for path in ["", "data", "//", "/a//b", "/a//", "/a/./b", "/a/..", "/../a", "/.", "/a:b", "/a\nb", "/a\0b"] {
            assert!(!HdfsPath(path.to_owned()).is_valid(), "{path}");
        }
        assert_eq!(HdfsPath("/data/".to_owned()).bare(), "/data");
        assert_eq!(HdfsPath("/".to_owned()).bare(), "/");
    }

    #[test]
    fn a_keytab_or_a_token_that_is_none_is_malformed_and_not_shown() {
        let of = |principal: &str, realm: &str| keytab(principal, realm, "hunter2");
        let keytab = |value: &[u8]| prepare(&kerberos(&json!({})), &[(KEYTAB, value)], Tls::default());
        let token = |value: &[u8]| prepare(&web(&json!({})), &[(DELEGATION_TOKEN, value)], Tls::default());
        assert!(keytab(&of("reader", "EXAMPLE.COM")).is_ok() && token(TOKEN).is_ok());
        for found in [
            keytab(b""),
            keytab(b"hunter2"),
            keytab(b"\x05\x03hunter2"),
            keytab(b"\x05\x02"),
            keytab(b"\x05\x02hunter2"),
            keytab(&of("nobody", "EXAMPLE.COM")),
            keytab(&of("reader", "OTHER.COM")),
            token(b"hunter2"),
            token(b"AWkBcAFrAA\n"),
            token(b"HDTS\0hunter2"),
        ] {
            let Err(Refusal::Unusable(failure)) = found else { panic!("{found:?}") };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!failure.message().contains("hunter2"), "{}", failure.message());
        }
    }
}
