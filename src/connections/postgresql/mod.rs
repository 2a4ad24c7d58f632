//! PostgreSQL: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    fields::{Host, Port},
    text,
};
use crate::{
    failure::{Failure, FailureClass, Setting},
    net::{Endpoint, tls::Tls},
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

/// What is the same for every PostgreSQL connection.
pub const ABOUT: About = About {
    keys: &[Key { name: USERNAME, aliases: &["user"] }, Key::plain(PASSWORD)],
    interval: Duration::from_secs(60),
    lockout: Lockout::Possible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "PostgreSQL 18, real server",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[(
    "!has(self.postgresql) || has(self.postgresql.table) || !has(self.permissions) \
     || !self.permissions.exists(p, p in ['Read', 'Write'])",
    TABLE_NEEDED,
)];

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

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let username = self.username.is_none().then_some(USERNAME);
        vec![Method {
            name: PASSWORD,
            required: username.into_iter().chain([PASSWORD]).collect(),
            optional: Vec::new(),
        }]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls: _, permissions } = given;
        self.check(&permissions)?;
        let user = match &self.username {
            Some(username) => SecretValue::new(username.clone().into_bytes()),
            None => usable(&mut credentials, USERNAME, &secret)?
                .ok_or_else(|| Failure::new(FailureClass::SecretKeyMissing).about(secret.clone()).word(USERNAME))?,
        };
        let _password = usable(&mut credentials, PASSWORD, &secret)?;
        let endpoint = Endpoint::of(&self.host.0, self.port.0, &namespace);
        let _account = Digest::of([endpoint.host.as_bytes(), &endpoint.port.to_be_bytes(), user.expose()]);
        Err(Refusal::Invalid("there is no probe yet".to_owned()))
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

/// Takes the value of `name` out, if it is there; a driver and the protocol cannot carry one that is not plain text.
fn usable(credentials: &mut Credentials, name: &'static str, secret: &Setting) -> Result<Option<SecretValue>, Failure> {
    match credentials.take(name) {
        Some(value) if value.text().is_none() => Err(Failure::new(FailureClass::CredentialsMalformed)
            .about(secret.clone())
            .word(name)
            .advice("it must be UTF-8 text, not empty, without a NUL byte")),
        value => Ok(value),
    }
}
