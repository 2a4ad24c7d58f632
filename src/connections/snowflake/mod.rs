//! Snowflake: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::{sync::Arc, time::Duration};

use http::Uri;
use probe::{Login, Look, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::jwt::{PrivateKey, Unusable},
    fields::{CREDENTIALS_NEEDED, Host, Port},
    text,
};
use crate::{
    failure::{Failure, Setting},
    net::{Endpoint, tls::Tls},
    secret::{Credentials, Digest, Key, Method},
};

/// What is the same for every Snowflake connection.
pub const ABOUT: About = About {
    keys: &[
        Key { name: USERNAME, aliases: &["user"] },
        Key { name: PRIVATE_KEY, aliases: &["private_key", "rsa_key.p8"] },
        Key::plain(PASSPHRASE),
        Key::plain(TOKEN),
    ],
    interval: Duration::from_mins(5),
    lockout: Lockout::Possible,
    permissions: &[Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "stand-in: an API that verifies what it is sent",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.snowflake) || has(self.credentials)", CREDENTIALS_NEEDED),
    ("!has(self.snowflake) || !has(self.snowflake.schema) || has(self.snowflake.database)", DATABASE_NEEDED),
    ("!has(self.snowflake) || !has(self.snowflake.table) || has(self.snowflake.schema)", SCHEMA_NEEDED),
    (
        "!has(self.snowflake) || has(self.snowflake.table) || !has(self.permissions) \
         || !self.permissions.exists(p, p in ['Read', 'Write'])",
        TABLE_NEEDED,
    ),
    ("!has(self.snowflake) || !has(self.permissions) || !self.permissions.exists(p, p == 'List')", NO_LIST),
    (
        "!has(self.snowflake) || !has(self.tls) || !has(self.tls.mode) || self.tls.mode == 'VerifyFull' \
         || (self.tls.mode == 'VerifyCA' && has(self.tls.ca))",
        VERIFIED,
    ),
];

/// What a Snowflake connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Account identifier: `ORGANIZATION-ACCOUNT`, or the locator with its region, such as `xy12345.eu-central-1`.
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = [{"rule": ACCOUNT_RULE, "message": ACCOUNT}]))]
    pub account: String,
    /// Host name of the account, for private links. A name without a dot means `NAME.<namespace of the Connection>.svc`. Absent:
    /// `ACCOUNT.snowflakecomputing.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Port of the host.
    #[serde(default = "default_port")]
    pub port: Port,
    /// User whose key pair it is. It wins over the Secret's `username`, which is then not needed. A token says by itself whose it
    /// is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub username: Option<String>,
    /// Database that must exist, by its exact name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub database: Option<String>,
    /// Schema of the database that must exist, by its exact name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub schema: Option<String>,
    /// Table or view of the schema that must exist, by its exact name. The permissions are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub table: Option<String>,
    /// Warehouse that must exist, by its exact name. It is neither used nor resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub warehouse: Option<String>,
    /// Role to look as, by its exact name. Absent: the default role of the user or of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub role: Option<String>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let path: Vec<String> =
            self.database.iter().chain(&self.schema).map(|part| format!("/{}", text::encode(part))).collect();
        let parameter = |name, value: Option<&String>| Some(format!("{name}={}", text::encode(value?)));
        let host = self.host.as_ref().map(|host| format!("host={}", text::authority(&host.0, self.port.0)));
        let parameters: Vec<String> =
            [parameter("role", self.role.as_ref()), parameter("warehouse", self.warehouse.as_ref()), host]
                .into_iter()
                .flatten()
                .collect();
        let mark = if parameters.is_empty() { "" } else { "?" };
        let account = text::encode(&self.account);
        text::cut(&format!("snowflake://{account}{}{mark}{}", path.concat(), parameters.join("&")))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let username = self.username.is_none().then_some(USERNAME).into_iter();
        vec![
            Method { name: "key pair", required: username.chain([PRIVATE_KEY]).collect(), optional: vec![PASSPHRASE] },
            Method { name: TOKEN, required: vec![TOKEN], optional: Vec::new() },
        ]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&tls, &permissions)?;
        let endpoint = self.endpoint(&namespace);
        let url = endpoint.to_string();
        let url = format!("https://{}{}", url.strip_suffix(":443").unwrap_or(&url), probe::PATH).parse::<Uri>();
        let url = url.map_err(|_| Refusal::Invalid("`snowflake.host` must be a host name or an address".to_owned()))?;
        let login = self.login(&mut credentials, &secret)?;
        let who: &[u8] = match &login {
            Login::KeyPair { user, .. } => user.as_bytes(),
            // Whose it is stands in the token.
            Login::Token(token) => token.expose(),
        };
        let account = Digest::of([
            endpoint.host.as_bytes(),
            &endpoint.port.to_be_bytes(),
            self.account.to_uppercase().as_bytes(),
            who,
        ]);
        let probe = Look { url, tls, login, role: self.role.clone(), targets: self.targets(), permissions };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    /// Where the account is. In the name of a host hyphens stand for the underscores of the account's name.
    fn endpoint(&self, namespace: &str) -> Endpoint {
        if let Some(host) = &self.host {
            return Endpoint::of(&host.0, self.port.0, namespace);
        }
        let account = self.account.replace('_', "-").to_lowercase();
        // Regions of China have a domain of their own; what comes first in the identifier is no region.
        let in_china = account.split('.').skip(1).any(|part| part.starts_with("cn-"));
        let domain = if in_china { "snowflakecomputing.cn" } else { "snowflakecomputing.com" };
        Endpoint::exactly(&format!("{account}.{domain}"), self.port.0)
    }

    fn login(&self, credentials: &mut Credentials, secret: &Setting) -> Result<Login, Failure> {
        let Some(pem) = credentials.take_text(PRIVATE_KEY, secret)? else {
            let token = credentials.take_printable(TOKEN, secret)?;
            return Ok(Login::Token(token.ok_or_else(|| Credentials::missing(TOKEN, secret))?));
        };
        let given = credentials.take_text(USERNAME, secret)?;
        let user = self.username.as_deref().or_else(|| given.as_ref().and_then(|user| user.text()));
        let user = user.ok_or_else(|| Credentials::missing(USERNAME, secret))?.to_uppercase();
        let passphrase = credentials.take_text(PASSPHRASE, secret)?;
        let key = PrivateKey::from_pem(pem.expose(), passphrase).map_err(|unusable| match unusable {
            Unusable::NoPassphrase => Credentials::missing(PASSPHRASE, secret),
            _ => unusable.failure(PRIVATE_KEY, secret),
        })?;
        let locator = self.account.split('.').next().unwrap_or_default();
        Ok(Login::KeyPair {
            key: Arc::new(key),
            account: locator.to_uppercase(),
            user,
            secret: secret.clone(),
            name: PRIVATE_KEY,
        })
    }

    /// What must be there: the innermost of what is named, and the warehouse.
    fn targets(&self) -> Vec<Target> {
        let named = (self.database.clone(), self.schema.clone(), self.table.clone());
        let innermost = match named {
            (Some(database), Some(schema), Some(table)) => Some(Target::Table { database, schema, table }),
            (Some(database), Some(schema), None) => Some(Target::Schema { database, schema }),
            (Some(database), ..) => Some(Target::Database(database)),
            (None, ..) => None,
        };
        let targets: Vec<Target> = innermost.into_iter().chain(self.warehouse.clone().map(Target::Warehouse)).collect();
        if targets.is_empty() { vec![Target::Anything] } else { targets }
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, tls: &Tls, permissions: &[Permission]) -> Result<(), Refusal> {
        let Self { account, host: _, port: _, username, database, schema, table, warehouse, role } = self;
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        if !is_account(account) {
            return invalid(&format!("`snowflake.account` {ACCOUNT}"));
        }
        if schema.is_some() && database.is_none() {
            return invalid(DATABASE_NEEDED);
        }
        if table.is_some() && schema.is_none() {
            return invalid(SCHEMA_NEEDED);
        }
        if permissions.contains(&Permission::List) {
            return invalid(NO_LIST);
        }
        if !permissions.is_empty() && table.is_none() {
            return invalid(TABLE_NEEDED);
        }
        if !tls.peer_is_verified() {
            return invalid(VERIFIED);
        }
        for (name, value) in [
            ("username", username),
            ("database", database),
            ("schema", schema),
            ("table", table),
            ("warehouse", warehouse),
            ("role", role),
        ] {
            if value.as_ref().is_some_and(|value| value.is_empty() || value.contains(char::is_control)) {
                return Err(Refusal::Invalid(format!(
                    "`snowflake.{name}` must not be empty and not contain a control character"
                )));
            }
        }
        Ok(())
    }
}

/// As [`ACCOUNT_RULE`] says it.
fn is_account(text: &str) -> bool {
    let is_part = |part: &str, more: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || more.contains(c))
    };
    let mut parts = text.split('.');
    parts.next().is_some_and(|first| is_part(first, "_"))
        && parts.clone().count() <= 3
        && parts.all(|part| is_part(part, ""))
        && !text.to_lowercase().contains(DOMAIN)
}

const USERNAME: &str = "username";
const PRIVATE_KEY: &str = "privateKey";
const PASSPHRASE: &str = "privateKeyPassphrase";
const TOKEN: &str = "token";
const DOMAIN: &str = "snowflakecomputing";

const ACCOUNT_RULE: &str =
    "self.matches('^[A-Za-z0-9_-]+([.][A-Za-z0-9-]+){0,3}$') && !self.lowerAscii().contains('snowflakecomputing')";
const ACCOUNT: &str = "must be an account identifier such as myorg-account or xy12345.eu-central-1, not a host";
const DATABASE_NEEDED: &str = "`snowflake.schema` needs `snowflake.database`, which it is in";
const SCHEMA_NEEDED: &str = "`snowflake.table` needs `snowflake.schema`, which it is in";
const TABLE_NEEDED: &str = "`permissions` Read and Write need `snowflake.table`";
const NO_LIST: &str =
    "`permissions` takes only Read and Write for Snowflake: what may not be seen does not exist there";
const VERIFIED: &str =
    "`tls.mode` must be VerifyFull for Snowflake, or VerifyCA with `tls.ca`: tokens are sent to a verified server only";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-warehouse
stringData:
  username: READER
  privateKey: |
    -----BEGIN PRIVATE KEY-----
    …
    -----END PRIVATE KEY-----
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-warehouse
spec:
  type: Snowflake
  snowflake:
    account: myorg-shop
    database: SHOP
  credentials:
    secretRef:
      name: orders-warehouse
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-warehouse
stringData:
  rsa_key.p8: |
    -----BEGIN PRIVATE KEY-----
    …
    -----END PRIVATE KEY-----
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
  name: orders-warehouse
spec:
  type: Snowflake
  description: Orders, for reports
  snowflake:
    account: xy12345.eu-central-1
    host: xy12345.eu-central-1.privatelink.snowflakecomputing.com
    port: 443
    username: READER
    database: SHOP
    schema: PUBLIC
    table: ORDERS
    warehouse: REPORTS
    role: ORDERS_READER
  credentials:
    secretRef:
      name: orders-warehouse
    keys:
      privateKey: rsa_key.p8
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  permissions: [Read]
  probe:
    interval: 5m
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

fn default_port() -> Port {
    Port(443)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        failure::Reason,
        net::tls::{Mode, Roots},
        secret::SecretValue,
    };

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"account": "myorg-shop"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare(
        settings: &Settings,
        data: &[(&str, &str)],
        tls: Tls,
        permissions: &[Permission],
    ) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret orders");
        let data: BTreeMap<_, _> =
            data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret)?;
        settings.prepare(Given {
            namespace: "shop".to_owned(),
            credentials,
            secret,
            tls,
            permissions: permissions.to_vec(),
        })
    }

    const BEARER: &[(&str, &str)] = &[("token", "ver:1-hint:7-ETMs")];

    fn key() -> &'static str {
        static KEY: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem());
        &KEY
    }

    fn refused(extra: &serde_json::Value, tls: Tls, permissions: &[Permission]) -> String {
        match prepare(&settings(extra), BEARER, tls, permissions) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_port_has_a_default() {
        assert_eq!(settings(&json!({})).port, Port(443));
    }

    #[test]
    fn the_connection_string_is_encoded_and_cut_and_names_another_host() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "snowflake://myorg-shop");
        assert_eq!(
            string(json!({"database": "SHOP", "schema": "a/b", "table": "T", "role": "R S", "warehouse": "W"})),
            "snowflake://myorg-shop/SHOP/a%2Fb?role=R%20S&warehouse=W"
        );
        assert_eq!(
            string(json!({"account": "a.b", "host": "fd00::1", "port": 8443})),
            "snowflake://a.b?host=[fd00::1]:8443"
        );
        assert_eq!(string(json!({"database": "ü".repeat(255)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn where_an_account_is_follows_from_its_identifier() {
        let place = |extra: serde_json::Value| settings(&extra).endpoint("shop").to_string();
        assert_eq!(place(json!({})), "myorg-shop.snowflakecomputing.com:443");
        assert_eq!(place(json!({"account": "MyOrg-my_shop"})), "myorg-my-shop.snowflakecomputing.com:443");
        let region = json!({"account": "xy12345.eu-central-1"});
        assert_eq!(place(region), "xy12345.eu-central-1.snowflakecomputing.com:443");
        let china = json!({"account": "xy12345.cn-northwest-1.aws"});
        assert_eq!(place(china), "xy12345.cn-northwest-1.aws.snowflakecomputing.cn:443");
        assert_eq!(place(json!({"account": "cn-shop"})), "cn-shop.snowflakecomputing.com:443");
        assert_eq!(place(json!({"host": "snowflake", "port": 8443})), "snowflake.shop.svc:8443");
    }

    #[test]
    fn a_token_says_whose_it_is_and_a_key_pair_does_not() {
        let with = |extra: serde_json::Value, data: &[(&str, &str)]| {
            prepare(&settings(&extra), data, Tls::default(), &[]).map(|prepared| prepared.account)
        };
        assert!(with(json!({}), BEARER).is_ok());
        let named = with(json!({"username": "reader"}), &[("privateKey", key())]).unwrap();
        assert_eq!(with(json!({}), &[("user", "READER"), ("rsa_key.p8", key())]).unwrap(), named);
        assert_eq!(with(json!({"username": "Reader"}), &[("user", "other"), ("private_key", key())]).unwrap(), named);
        let Err(Refusal::Unusable(failure)) = with(json!({}), &[("privateKey", key())]) else { panic!("no user") };
        assert_eq!(failure.reason(), Reason::SecretKeyMissing);
        assert!(failure.message().contains("(username)"), "{}", failure.message());
        let both = [("privateKey", key()), ("username", "reader"), BEARER[0]];
        let Err(Refusal::Unusable(failure)) = with(json!({}), &both) else { panic!("two ways") };
        assert!(failure.message().contains("(key pair, token)"), "{}", failure.message());
    }

    #[test]
    fn another_host_account_or_user_is_another_account() {
        let account = |extra: serde_json::Value| {
            let data = [("username", "reader"), ("privateKey", key())];
            prepare(&settings(&extra), &data, Tls::default(), &[]).unwrap().account
        };
        let base = account(json!({}));
        assert_eq!(account(json!({"account": "MYORG-SHOP", "database": "SHOP", "role": "R"})), base);
        for other in [
            json!({"account": "myorg-other"}),
            json!({"host": "snowflake.example.com"}),
            json!({"port": 8443}),
            json!({"username": "writer"}),
        ] {
            assert_ne!(account(other.clone()), base, "{other}");
        }
    }

    #[test]
    fn the_innermost_of_what_is_named_is_looked_for_and_the_warehouse() {
        let targets = |extra: serde_json::Value| settings(&extra).targets();
        assert_eq!(targets(json!({})), [Target::Anything]);
        let warehouse = || Target::Warehouse("W".to_owned());
        assert_eq!(targets(json!({"warehouse": "W"})), [warehouse()]);
        assert_eq!(
            targets(json!({"database": "D", "warehouse": "W"})),
            [Target::Database("D".to_owned()), warehouse()]
        );
        let (database, schema, table) = ("D".to_owned(), "S".to_owned(), "T".to_owned());
        let inner = targets(json!({"database": "D", "schema": "S", "table": "T"}));
        assert_eq!(inner, [Target::Table { database: database.clone(), schema: schema.clone(), table }]);
        assert_eq!(targets(json!({"database": "D", "schema": "S"})), [Target::Schema { database, schema }]);
    }

    #[test]
    fn tokens_are_sent_to_a_verified_server_only() {
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        let own = || Roots::from_pem(ca.as_bytes()).unwrap();
        for (mode, roots, verified) in [
            (Mode::Disable, Roots::System, false),
            (Mode::Require, own(), false),
            (Mode::VerifyCa, Roots::System, false),
            (Mode::VerifyCa, own(), true),
            (Mode::VerifyFull, Roots::System, true),
        ] {
            let tls = Tls { mode, roots, ..Tls::default() };
            if verified {
                assert!(prepare(&settings(&json!({})), BEARER, tls, &[]).is_ok(), "{mode:?}");
            } else {
                assert_eq!(refused(&json!({}), tls, &[]), VERIFIED, "{mode:?}");
            }
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        use Permission::{List, Read, Write};
        let table = json!({"database": "D", "schema": "S", "table": "T"});
        for (extra, permissions, sentence) in [
            (json!({"schema": "S"}), &[][..], DATABASE_NEEDED),
            (json!({"table": "T", "database": "D"}), &[], SCHEMA_NEEDED),
            (json!({"database": "D"}), &[Read], TABLE_NEEDED),
            (json!({"database": "D"}), &[Write], TABLE_NEEDED),
            (table.clone(), &[List], NO_LIST),
            (json!({"account": ""}), &[], ACCOUNT),
            (json!({"account": "a/b"}), &[], ACCOUNT),
            (json!({"account": "a..b"}), &[], ACCOUNT),
            (json!({"account": "a.b_c"}), &[], ACCOUNT),
            (json!({"account": "a.b.c.d.e"}), &[], ACCOUNT),
            (json!({"account": "myorg-shop.snowflakecomputing.com"}), &[], ACCOUNT),
            (json!({"host": "a b"}), &[], "`snowflake.host`"),
            (json!({"username": ""}), &[], "`snowflake.username`"),
            (json!({"database": "a\nb"}), &[], "`snowflake.database`"),
            (json!({"warehouse": "a\0"}), &[], "`snowflake.warehouse`"),
            (json!({"role": ""}), &[], "`snowflake.role`"),
        ] {
            let said = refused(&extra, Tls::default(), permissions);
            assert!(said.contains(sentence), "{extra}: {said}");
        }
        assert!(prepare(&settings(&table), BEARER, Tls::default(), &[Read, Write]).is_ok());
    }

    #[test]
    fn a_credential_that_cannot_be_used_is_malformed_and_not_shown() {
        let user = ("username", "reader");
        for (data, reason) in [
            (&[("token", "hunter2 hunter2")][..], Reason::CredentialsMalformed),
            (&[("token", "hunter2\n")], Reason::CredentialsMalformed),
            (&[user, ("privateKey", "hunter2")], Reason::CredentialsMalformed),
            (&[user, ("privateKey", "-----BEGIN PRIVATE KEY-----\nhunter2\n")], Reason::CredentialsMalformed),
            (&[("username", "hunter2\0"), ("privateKey", key())], Reason::CredentialsMalformed),
            (&[user, ("privateKey", key()), ("privateKeyPassphrase", "hunter2\0")], Reason::CredentialsMalformed),
        ] {
            let Err(Refusal::Unusable(failure)) = prepare(&settings(&json!({})), data, Tls::default(), &[]) else {
                panic!("{data:?} was taken")
            };
            assert_eq!(failure.reason(), reason);
            assert!(!format!("{failure:?} {}", failure.message()).contains("hunter2"), "{}", failure.message());
        }
    }
}
