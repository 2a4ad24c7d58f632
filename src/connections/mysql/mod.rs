//! MySQL and MariaDB: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::{sync::Arc, time::Duration};

use probe::Look;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    fields::{CREDENTIALS_NEEDED, Host, Port},
    text,
};
use crate::{
    net::{Endpoint, tls::Tls},
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

/// What is the same for every MySQL connection.
pub const ABOUT: About = About {
    keys: &[Key { name: USERNAME, aliases: &["user"] }, Key::plain(PASSWORD)],
    interval: Duration::from_mins(1),
    lockout: Lockout::Possible,
    permissions: &[Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "real server: MariaDB 10.11, and MySQL 9 outside CI; stand-in: a server that verifies, for what \
        MySQL alone does",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.mysql) || has(self.credentials)", CREDENTIALS_NEEDED),
    ("!has(self.mysql) || !has(self.mysql.table) || has(self.mysql.database)", DATABASE_NEEDED),
    (
        "!has(self.mysql) || has(self.mysql.table) || !has(self.permissions) || self.permissions.size() == 0",
        TABLE_NEEDED,
    ),
];

/// What a MySQL connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Host name or address of the server. A name without a dot means `NAME.<namespace of the Connection>.svc`.
    pub host: Host,
    /// Port of the server.
    #[serde(default = "default_port")]
    pub port: Port,
    /// User to log in as. It wins over the Secret's `username`, which is then not needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub username: Option<String>,
    /// Database that must exist and may be used. Absent: only the login is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub database: Option<String>,
    /// Table or view of the database that must exist. The permissions are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub table: Option<String>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let database = self.database.as_ref().map(|name| format!("/{}", text::encode(name))).unwrap_or_default();
        text::cut(&format!("mysql://{}{database}", text::authority(&self.host.0, self.port.0)))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let username = self.username.is_none().then_some(USERNAME).into_iter();
        vec![Method { name: PASSWORD, required: username.chain([PASSWORD]).collect(), optional: Vec::new() }]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&permissions)?;
        let mut take = |name| credentials.take_text(name, &secret);
        let user = match &self.username {
            Some(username) => SecretValue::new(username.clone().into_bytes()),
            None => take(USERNAME)?.ok_or_else(|| Credentials::missing(USERNAME, &secret))?,
        };
        let password = take(PASSWORD)?.ok_or_else(|| Credentials::missing(PASSWORD, &secret))?;
        let endpoint = Endpoint::of(&self.host.0, self.port.0, &namespace);
        let account = Digest::of([endpoint.host.as_bytes(), &endpoint.port.to_be_bytes(), user.expose()]);
        let probe = Look {
            endpoint,
            tls,
            user,
            password: Arc::new(password),
            database: self.database.clone(),
            table: self.table.clone(),
            permissions,
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, permissions: &[Permission]) -> Result<(), Refusal> {
        let Self { host: _, port: _, username, database, table } = self;
        if table.is_some() && database.is_none() {
            return Err(Refusal::Invalid(DATABASE_NEEDED.to_owned()));
        }
        if table.is_none() && !permissions.is_empty() {
            return Err(Refusal::Invalid(TABLE_NEEDED.to_owned()));
        }
        for (name, value) in [("username", username), ("database", database), ("table", table)] {
            if value.as_ref().is_some_and(|value| value.is_empty() || value.contains('\0')) {
                return Err(Refusal::Invalid(format!("`mysql.{name}` must not be empty and not contain a NUL")));
            }
        }
        Ok(())
    }
}

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const DATABASE_NEEDED: &str = "`mysql.table` needs `mysql.database`, which it is in";
const TABLE_NEEDED: &str = "`permissions` need `mysql.table`, which they are about";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: shop-db
stringData:
  username: reader
  password: reader-secret
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: shop-db
spec:
  type: MySQL
  mysql:
    host: shop-db
    database: orders
  credentials:
    secretRef:
      name: shop-db
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: shop-db
stringData:
  MYSQL_PASSWORD: reader-secret
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
  name: shop-db
spec:
  type: MySQL
  description: Orders of the shop
  mysql:
    host: shop-db.example.com
    port: 3306
    username: reader
    database: orders
    table: orders
  credentials:
    secretRef:
      name: shop-db
    keys:
      password: MYSQL_PASSWORD
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  permissions: [Read]
  probe:
    interval: 60s
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

fn default_port() -> Port {
    Port(3306)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::failure::{Reason, Setting};

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"host": "shop-db"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare(settings: &Settings, data: &[(&str, &[u8])], permissions: &[Permission]) -> Result<Prepared, Refusal> {
        let data: BTreeMap<_, _> = data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.to_vec()))).collect();
        let secret = Setting::from_spec("Secret shop-db");
        let methods = settings.methods(&Tls::default());
        settings.prepare(Given {
            namespace: "shop".to_owned(),
            credentials: Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret)?,
            secret,
            tls: Tls::default(),
            permissions: permissions.to_vec(),
        })
    }

    const READER: &[(&str, &[u8])] = &[("username", b"reader"), ("password", b"reader-secret")];

    #[test]
    fn the_port_has_a_default() {
        assert_eq!(settings(&json!({})).port, Port(3306));
    }

    #[test]
    fn the_connection_string_is_encoded_bracketed_and_cut() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "mysql://shop-db:3306");
        assert_eq!(
            string(json!({"host": "fd00::1", "port": 3307, "database": "a/b c?", "username": "reader"})),
            "mysql://[fd00::1]:3307/a%2Fb%20c%3F"
        );
        assert_eq!(string(json!({"database": "ü".repeat(64)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn a_username_in_the_spec_wins_and_the_secrets_is_not_needed() {
        let here = settings(&json!({"username": "writer"}));
        let account = |settings: &Settings, data| prepare(settings, data, &[]).unwrap().account;
        assert_eq!(account(&here, &[("password", b"p")]), account(&here, READER));
        assert_ne!(account(&here, READER), account(&settings(&json!({})), READER));
        assert_eq!(
            account(&here, READER),
            account(&settings(&json!({})), &[("user", b"writer"), ("password", b"other")])
        );
    }

    #[test]
    fn user_and_password_are_needed() {
        for (data, missing) in [(&READER[..1], "(password)"), (&READER[1..], "(username)")] {
            let Err(Refusal::Unusable(failure)) = prepare(&settings(&json!({})), data, &[]) else {
                panic!("{missing} was not missed")
            };
            assert_eq!(failure.reason(), Reason::SecretKeyMissing);
            assert!(failure.message().contains(missing), "{}", failure.message());
        }
    }

    #[test]
    fn another_host_is_another_account_and_a_short_name_is_looked_for_in_the_namespace() {
        let account =
            |extra: serde_json::Value| prepare(&settings(&extra), READER, &[]).map(|prepared| prepared.account);
        let short = account(json!({"host": "shop-db"})).unwrap();
        assert_eq!(short, account(json!({"host": "shop-db.shop.svc"})).unwrap());
        assert_ne!(short, account(json!({"host": "shop-db.other.svc"})).unwrap());
        assert_ne!(short, account(json!({"port": 3307})).unwrap());
    }

    #[test]
    fn a_table_needs_its_database_and_a_permission_its_table() {
        let refused = |extra: serde_json::Value, permissions: &[Permission]| {
            prepare(&settings(&extra), READER, permissions).err()
        };
        let invalid = |sentence: &str| Some(Refusal::Invalid(sentence.to_owned()));
        assert_eq!(refused(json!({"table": "orders"}), &[]), invalid(DATABASE_NEEDED));
        for permission in [Permission::Read, Permission::Write] {
            assert_eq!(refused(json!({"database": "orders"}), &[permission]), invalid(TABLE_NEEDED));
            assert_eq!(refused(json!({"database": "orders", "table": "orders"}), &[permission]), None);
        }
        assert_eq!(refused(json!({}), &[]), None);
    }

    #[test]
    fn a_name_that_the_protocol_cannot_carry_is_refused() {
        for field in ["username", "database", "table"] {
            for value in ["", "a\0b"] {
                let mut all = json!({"database": "orders", "table": "orders"});
                all[field] = json!(value);
                let refusal = prepare(&settings(&all), READER, &[]).unwrap_err();
                assert!(matches!(&refusal, Refusal::Invalid(sentence) if sentence.contains(field)), "{refusal:?}");
            }
        }
    }

    #[test]
    fn a_credential_that_is_not_text_is_malformed_and_not_shown() {
        for data in [
            [("username", &b"reader"[..]), ("password", &b"hunter2\0"[..])],
            [("username", &b"reader"[..]), ("password", &b"hunter2\xff"[..])],
            [("username", &b"reader"[..]), ("password", &b""[..])],
            [("username", &b"hunter2\0"[..]), ("password", &b"p"[..])],
        ] {
            let Err(Refusal::Unusable(failure)) = prepare(&settings(&json!({})), &data, &[]) else {
                panic!("{data:?} was taken")
            };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!format!("{failure:?} {}", failure.message()).contains("hunter2"), "{}", failure.message());
        }
    }
}
