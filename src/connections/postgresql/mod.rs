//! PostgreSQL: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::Look;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::pgwire::Target,
    fields::{Host, Port},
    text,
};
use crate::{
    net::{Endpoint, tls::Tls},
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

/// What is the same for every PostgreSQL connection.
pub const ABOUT: About = About {
    keys: &[Key { name: USERNAME, aliases: &["user"] }, Key::plain(PASSWORD)],
    interval: Duration::from_mins(1),
    lockout: Lockout::Possible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "real server: PostgreSQL 18; stand-in: a server for poolers and for what no PostgreSQL says",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    (
        "!has(self.postgresql) || has(self.credentials) || (has(self.postgresql.username) && has(self.tls) \
         && has(self.tls.clientCertificateSecretRef))",
        LOGIN_NEEDED,
    ),
    (
        "!has(self.postgresql) || has(self.postgresql.table) || !has(self.permissions) \
         || !self.permissions.exists(p, p in ['Read', 'Write'])",
        TABLE_NEEDED,
    ),
];

/// What a PostgreSQL connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Host name or address of the server. A name without a dot means `NAME.<namespace of the Connection>.svc`.
    pub host: Host,
    /// Port of the server.
    #[serde(default = "default_port")]
    pub port: Port,
    /// Database to log in to.
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// User to log in as. It wins over the Secret's `username`, which is then not needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub username: Option<String>,
    /// Schema that must exist, by its exact name. Without it `table` is looked for along the user's search path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub schema: Option<String>,
    /// Table, view or foreign table that must exist, by its exact name. The permissions Read and Write are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub table: Option<String>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        text::cut(&format!(
            "postgresql://{}/{}",
            text::authority(&self.host.0, self.port.0),
            text::encode(&self.database)
        ))
    }

    fn methods(&self, tls: &Tls) -> Vec<Method> {
        let username = self.username.is_none().then_some(USERNAME).into_iter();
        let (required, optional) = match tls.identity {
            Some(_) => (username.collect(), vec![PASSWORD]),
            None => (username.chain([PASSWORD]).collect(), Vec::new()),
        };
        vec![Method { name: PASSWORD, required, optional }]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&permissions)?;
        let user = match &self.username {
            Some(username) => SecretValue::new(username.clone().into_bytes()),
            None => credentials.take_text(USERNAME, &secret)?.ok_or_else(|| Credentials::missing(USERNAME, &secret))?,
        };
        let password = credentials.take_text(PASSWORD, &secret)?;
        let endpoint = Endpoint::of(&self.host.0, self.port.0, &namespace);
        let account = Digest::of([endpoint.host.as_bytes(), &endpoint.port.to_be_bytes(), user.expose()]);
        let probe = Look {
            endpoint,
            tls,
            user,
            password,
            database: self.database.clone(),
            target: Target { schema: self.schema.clone(), table: self.table.clone(), permissions },
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, permissions: &[Permission]) -> Result<(), Refusal> {
        let about_a_table = permissions.iter().any(|p| matches!(p, Permission::Read | Permission::Write));
        if about_a_table && self.table.is_none() {
            return Err(Refusal::Invalid(TABLE_NEEDED.to_owned()));
        }
        let Self { host: _, port: _, database, username, schema, table } = self;
        for (name, value) in [
            ("database", Some(database)),
            ("username", username.as_ref()),
            ("schema", schema.as_ref()),
            ("table", table.as_ref()),
        ] {
            if value.is_some_and(|value| value.is_empty() || value.contains('\0')) {
                return Err(Refusal::Invalid(format!("`postgresql.{name}` must not be empty and not contain a NUL")));
            }
        }
        Ok(())
    }
}

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const LOGIN_NEEDED: &str =
    "`credentials` must name a Secret, or `tls` a client certificate and `postgresql.username` whose it is";
const TABLE_NEEDED: &str = "`permissions` Read and Write need `postgresql.table`";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-db
stringData:
  username: reader
  password: reader-secret
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-db
spec:
  type: PostgreSQL
  postgresql:
    host: orders-db
    database: orders
  credentials:
    secretRef:
      name: orders-db
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-db
stringData:
  PGPASSWORD: reader-secret
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
  name: orders-db
spec:
  type: PostgreSQL
  description: Orders, primary
  postgresql:
    host: orders-db.example.com
    port: 5432
    database: orders
    username: reader
    schema: public
    table: orders
  credentials:
    secretRef:
      name: orders-db
    keys:
      password: PGPASSWORD
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

fn default_port() -> Port {
    Port(5432)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        failure::{Reason, Setting},
        net::tls::{Identity, Mode},
    };

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"host": "orders-db", "database": "orders"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn secret(data: &[(&str, &[u8])], methods: &[Method]) -> Credentials {
        let data: BTreeMap<_, _> = data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.to_vec()))).collect();
        Credentials::select(data, &BTreeMap::new(), ABOUT.keys, methods, &Setting::from_spec("Secret orders-db"))
            .unwrap()
    }

    fn prepare(settings: &Settings, data: &[(&str, &[u8])], permissions: &[Permission]) -> Result<Prepared, Refusal> {
        settings.prepare(Given {
            namespace: "shop".to_owned(),
            credentials: secret(data, &settings.methods(&Tls::default())),
            secret: Setting::from_spec("Secret orders-db"),
            tls: Tls::default(),
            permissions: permissions.to_vec(),
        })
    }

    const READER: &[(&str, &[u8])] = &[("username", b"reader"), ("password", b"reader-secret")];

    #[test]
    fn the_port_has_a_default() {
        assert_eq!(settings(&json!({})).port, Port(5432));
    }

    #[test]
    fn the_connection_string_is_encoded_bracketed_and_cut() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "postgresql://orders-db:5432/orders");
        assert_eq!(
            string(json!({"host": "fd00::1", "port": 5433, "database": "a/b c?", "username": "reader"})),
            "postgresql://[fd00::1]:5433/a%2Fb%20c%3F"
        );
        assert_eq!(string(json!({"database": "ü".repeat(63)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn a_username_in_the_spec_wins_and_the_secrets_is_not_needed() {
        let here = settings(&json!({"username": "writer"}));
        assert_eq!(here.methods(&Tls::default())[0].required, [PASSWORD]);
        let account = |settings: &Settings, data| prepare(settings, data, &[]).unwrap().account;
        assert_eq!(account(&here, &[("password", b"p")]), account(&here, READER));
        assert_ne!(account(&here, READER), account(&settings(&json!({})), READER));
        assert_eq!(
            account(&here, READER),
            account(&settings(&json!({})), &[("user", b"writer"), ("password", b"other")])
        );
    }

    #[test]
    fn a_password_is_needed_unless_there_is_a_client_certificate() {
        let made = rcgen::generate_simple_self_signed(["reader".to_owned()]).unwrap();
        let identity =
            Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        let tls = Tls { mode: Mode::VerifyFull, identity: Some(identity), ..Tls::default() };
        let [method] = &settings(&json!({})).methods(&tls)[..] else { panic!("one method") };
        assert_eq!((&method.required[..], &method.optional[..]), (&[USERNAME][..], &[PASSWORD][..]));
        let [method] = &settings(&json!({})).methods(&Tls::default())[..] else { panic!("one method") };
        assert_eq!((&method.required[..], &method.optional[..]), (&[USERNAME, PASSWORD][..], &[][..]));
    }

    #[test]
    fn another_host_is_another_account_and_a_short_name_is_looked_for_in_the_namespace() {
        let account = |host: &str| prepare(&settings(&json!({"host": host})), READER, &[]).unwrap().account;
        assert_eq!(account("orders-db"), account("orders-db.shop.svc"));
        assert_ne!(account("orders-db"), account("orders-db.other.svc"));
    }

    #[test]
    fn reading_and_writing_need_a_table_and_listing_does_not() {
        let bare = settings(&json!({"schema": "public"}));
        assert!(prepare(&bare, READER, &[Permission::List]).is_ok());
        for permission in [Permission::Read, Permission::Write] {
            assert_eq!(prepare(&bare, READER, &[permission]).unwrap_err(), Refusal::Invalid(TABLE_NEEDED.to_owned()));
            assert!(prepare(&settings(&json!({"table": "orders"})), READER, &[permission]).is_ok());
        }
    }

    #[test]
    fn a_name_that_the_protocol_cannot_carry_is_refused() {
        for field in ["database", "username", "schema", "table"] {
            for value in ["", "a\0b"] {
                let refusal = prepare(&settings(&json!({ field: value })), READER, &[]).unwrap_err();
                assert!(matches!(&refusal, Refusal::Invalid(sentence) if sentence.contains(field)), "{refusal:?}");
            }
        }
    }

    #[test]
    fn a_credential_that_is_not_text_is_malformed_and_not_shown() {
        for data in [
            [("username", &b"reader"[..]), ("password", &b"hunter2\0"[..])],
            [("username", &b"reader"[..]), ("password", &b"hunter2\xff"[..])],
            [("username", &b"hunter2\0"[..]), ("password", &b"p"[..])],
            [("username", &b""[..]), ("password", &b"p"[..])],
        ] {
            let Err(Refusal::Unusable(failure)) = prepare(&settings(&json!({})), &data, &[]) else {
                panic!("{data:?} was taken")
            };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!format!("{failure:?} {}", failure.message()).contains("hunter2"), "{}", failure.message());
        }
    }
}
