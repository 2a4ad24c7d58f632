//! SQL Server: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{Login, Look};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::azure::{self, Cloud, Principal},
    fields::{CREDENTIALS_NEEDED, Host, Port, words},
    text,
};
use crate::{
    failure::{Failure, FailureClass, Setting},
    net::{
        Endpoint,
        tls::{Mode, Tls},
    },
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

/// What is the same for every SQL Server connection.
pub const ABOUT: About = About {
    keys: &[
        Key { name: USERNAME, aliases: &["user"] },
        Key::plain(PASSWORD),
        azure::KEYS[0],
        azure::KEYS[1],
        azure::KEYS[2],
    ],
    interval: Duration::from_mins(1),
    lockout: Lockout::Possible,
    permissions: &[Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "stand-in: Microsoft's mssql-mock-tds; stand-in: a server that verifies what it is sent",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.sqlServer) || has(self.credentials)", CREDENTIALS_NEEDED),
    ("!has(self.sqlServer) || !has(self.sqlServer.port) || !has(self.sqlServer.instance)", PORT_OR_INSTANCE),
    (
        "!has(self.sqlServer) || has(self.sqlServer.table) || !has(self.permissions) || self.permissions.size() == 0",
        TABLE_NEEDED,
    ),
    ("!has(self.sqlServer) || !has(self.tls) || !has(self.tls.mode) || self.tls.mode != 'Disable'", TLS_NEEDED),
];

/// What a SQL Server connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Host name or address of the server. A name without a dot means `NAME.<namespace of the Connection>.svc`.
    pub host: Host,
    /// Port of the server. Absent: 1433, or the one that `instance` listens at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Named instance. The SQL Server Browser of the host (UDP port 1434) is asked for its port. It cannot stand beside `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^[A-Za-z_][A-Za-z0-9_$]{0,15}$"))]
    pub instance: Option<String>,
    /// Database to log in to.
    #[schemars(length(min = 1, max = 128))]
    pub database: String,
    /// User to log in as with a password. It wins over the Secret's `username`, which is then not needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub username: Option<String>,
    /// Schema that must exist. Without it `table` is looked for in the user's default schema, then in `dbo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub schema: Option<String>,
    /// Table or view that must exist. The permissions are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub table: Option<String>,
    /// When TLS begins: `Mandatory`, after the two sides have agreed on it in TDS 7, or `Strict`, before anything else is said
    /// (TDS 8, from SQL Server 2022 on). Absent: `Mandatory`. Neither lets a login go unencrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Cloud of Microsoft whose directory knows the service principal: `Public`, `USGovernment` or `China`. Absent: `Public`.
    /// With a password it means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = words)]
pub enum Encryption {
    /// After the first exchange of TDS 7.
    #[default]
    Mandatory,
    /// At once, as TDS 8 wants it.
    Strict,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let database = text::encode(&self.database);
        text::cut(&match &self.instance {
            // A name before a backslash has no port; an IPv6 address is bracketed all the same.
            Some(instance) => {
                let host = text::authority(&self.host.0, DEFAULT_PORT.0);
                let host = host.rsplit_once(':').map_or(host.as_str(), |(host, _port)| host);
                format!("sqlserver://{host}\\{};database={database}", text::encode(instance))
            }
            None => format!("sqlserver://{};database={database}", text::authority(&self.host.0, self.port().0)),
        })
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let username = self.username.is_none().then_some(USERNAME).into_iter();
        let password = Method { name: PASSWORD, required: username.chain([PASSWORD]).collect(), optional: Vec::new() };
        vec![password, azure::method()]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&tls, &permissions)?;
        let login = self.login(&mut credentials, &secret)?;
        let endpoint = Endpoint::of(&self.host.0, self.port().0, &namespace);
        let instance = self.instance.as_deref().unwrap_or_default().to_ascii_uppercase();
        let who = match &login {
            Login::Password { user, password: _ } => vec![user.expose()],
            Login::Principal(principal) => principal.who().to_vec(),
        };
        let place = [endpoint.host.as_bytes(), &endpoint.port.to_be_bytes(), instance.as_bytes()];
        let account = Digest::of(place.into_iter().chain(who));
        let probe = Look {
            endpoint,
            instance: self.instance.clone(),
            tls,
            encryption: self.encryption.unwrap_or_default(),
            login,
            cloud: self.cloud.unwrap_or_default(),
            database: self.database.clone(),
            schema: self.schema.clone(),
            table: self.table.clone(),
            permissions,
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    fn port(&self) -> Port {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    fn login(&self, credentials: &mut Credentials, secret: &Setting) -> Result<Login, Failure> {
        if let Some(principal) = Principal::take(credentials, secret, self.cloud.unwrap_or_default())? {
            return Ok(Login::Principal(principal));
        }
        let mut short = |name| match credentials.take_text(name, secret)? {
            None => Err(Credentials::missing(name, secret)),
            // What is longer no login can have, and the message of the login has no room for it.
            Some(value) if value.text().is_none_or(|text| !fits(text)) => {
                Err(Failure::new(FailureClass::CredentialsMalformed)
                    .about(secret.clone())
                    .word(name)
                    .advice("it must have at most 128 characters"))
            }
            Some(value) => Ok(value),
        };
        let user = match &self.username {
            Some(username) => SecretValue::new(username.clone().into_bytes()),
            None => short(USERNAME)?,
        };
        Ok(Login::Password { user, password: short(PASSWORD)? })
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, tls: &Tls, permissions: &[Permission]) -> Result<(), Refusal> {
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        let Self { host: _, port, instance, database, username, schema, table, encryption: _, cloud: _ } = self;
        if port.is_some() && instance.is_some() {
            return invalid(PORT_OR_INSTANCE);
        }
        if table.is_none() && !permissions.is_empty() {
            return invalid(TABLE_NEEDED);
        }
        if tls.mode == Mode::Disable {
            return invalid(TLS_NEEDED);
        }
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || "_$".contains(c);
        if instance.as_ref().is_some_and(|name| !(1..=16).contains(&name.len()) || !name.chars().all(of_a_name)) {
            return invalid("`sqlServer.instance` must be the name of an instance");
        }
        for (name, value) in [
            ("database", Some(database)),
            ("username", username.as_ref()),
            ("schema", schema.as_ref()),
            ("table", table.as_ref()),
        ] {
            if value.is_some_and(|value| value.is_empty() || value.contains('\0') || !fits(value)) {
                return Err(Refusal::Invalid(format!(
                    "`sqlServer.{name}` must have 1 to 128 characters, and no NUL among them"
                )));
            }
        }
        Ok(())
    }
}

/// Whether a name or a password is one that SQL Server can have: it counts in UTF-16.
fn fits(text: &str) -> bool {
    text.encode_utf16().count() <= 128
}

/// The port of a default instance.
const DEFAULT_PORT: Port = Port(1433);
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const PORT_OR_INSTANCE: &str =
    "`sqlServer.port` and `sqlServer.instance` cannot stand beside each other: a port is an instance's";
const TABLE_NEEDED: &str = "`permissions` need `sqlServer.table`, which they are about";
const TLS_NEEDED: &str = "`tls.mode` cannot be Disable: a login to SQL Server holds the password in readable form";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-sql
stringData:
  username: reader
  password: reader-secret
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-sql
spec:
  type: SQLServer
  sqlServer:
    host: orders-sql
    database: orders
  credentials:
    secretRef:
      name: orders-sql
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-sql
stringData:
  MSSQL_PASSWORD: reader-secret
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
  name: orders-sql
spec:
  type: SQLServer
  description: Orders, primary
  sqlServer:
    host: orders-sql.example.com
    port: 1433
    database: orders
    username: reader
    schema: dbo
    table: orders
    encryption: Strict
    cloud: Public
  credentials:
    secretRef:
      name: orders-sql
    keys:
      password: MSSQL_PASSWORD
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

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"host": "orders-sql", "database": "orders"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn select(settings: &Settings, data: &[(&str, &str)]) -> Result<Credentials, Failure> {
        let data: BTreeMap<_, _> =
            data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let methods = settings.methods(&Tls::default());
        Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &Setting::from_spec("Secret orders-sql"))
    }

    fn prepare(settings: &Settings, data: &[(&str, &str)], permissions: &[Permission]) -> Result<Prepared, Refusal> {
        settings.prepare(Given {
            namespace: "shop".to_owned(),
            credentials: select(settings, data)?,
            secret: Setting::from_spec("Secret orders-sql"),
            tls: Tls::default(),
            permissions: permissions.to_vec(),
        })
    }

    const READER: &[(&str, &str)] = &[("user", "reader"), ("password", "reader-secret")];
    const PRINCIPAL: &[(&str, &str)] =
        &[("AZURE_TENANT_ID", "contoso.com"), ("clientId", "orders-reader"), ("clientSecret", "s")];

    #[test]
    fn the_connection_string_is_encoded_bracketed_and_cut() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "sqlserver://orders-sql:1433;database=orders");
        assert_eq!(
            string(json!({"host": "fd00::1", "port": 1500, "database": "a;b c", "username": "reader"})),
            "sqlserver://[fd00::1]:1500;database=a%3Bb%20c"
        );
        assert_eq!(string(json!({"instance": "SALES$1"})), "sqlserver://orders-sql\\SALES%241;database=orders");
        assert_eq!(string(json!({"host": "fd00::1", "instance": "S"})), "sqlserver://[fd00::1]\\S;database=orders");
        assert_eq!(string(json!({"database": "ü".repeat(128)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn a_login_is_a_password_or_a_service_principal_and_not_both() {
        let bare = settings(&json!({}));
        assert!(prepare(&bare, READER, &[]).is_ok() && prepare(&bare, PRINCIPAL, &[]).is_ok());
        let both = [READER, PRINCIPAL].concat();
        let Err(Refusal::Unusable(failure)) = prepare(&bare, &both, &[]) else { panic!("both were taken") };
        assert_eq!(failure.reason(), Reason::CredentialsMalformed);
        assert!(failure.message().contains("(password, service principal)"), "{}", failure.message());
    }

    #[test]
    fn a_username_in_the_spec_wins_and_the_secrets_is_not_needed() {
        let here = settings(&json!({"username": "writer"}));
        assert_eq!(here.methods(&Tls::default())[0].required, [PASSWORD]);
        let account = |settings: &Settings, data| prepare(settings, data, &[]).unwrap().account;
        assert_eq!(account(&here, &[("password", "p")]), account(&here, READER));
        assert_ne!(account(&here, READER), account(&settings(&json!({})), READER));
    }

    #[test]
    fn another_host_port_instance_or_user_is_another_account() {
        let account = |extra: serde_json::Value, data| prepare(&settings(&extra), data, &[]).unwrap().account;
        let base = account(json!({}), READER);
        assert_eq!(account(json!({"port": 1433, "table": "orders", "host": "orders-sql.shop.svc"}), READER), base);
        assert_eq!(account(json!({"instance": "sales"}), READER), account(json!({"instance": "SALES"}), READER));
        for other in [
            account(json!({"host": "other-sql"}), READER),
            account(json!({"port": 1434}), READER),
            account(json!({"instance": "SALES"}), READER),
            account(json!({"username": "writer"}), READER),
            account(json!({}), PRINCIPAL),
        ] {
            assert_ne!(other, base);
        }
        assert_ne!(account(json!({}), PRINCIPAL), account(json!({"cloud": "China"}), PRINCIPAL));
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        let tls = Tls::default();
        for (extra, permissions, word) in [
            (json!({"port": 1433, "instance": "SALES"}), &[][..], PORT_OR_INSTANCE),
            (json!({"schema": "dbo"}), &[Permission::Read], TABLE_NEEDED),
            (json!({}), &[Permission::Write], TABLE_NEEDED),
            (json!({"instance": ""}), &[], "instance"),
            (json!({"instance": "a;b"}), &[], "instance"),
            (json!({"instance": "seventeen_letters"}), &[], "instance"),
            (json!({"database": ""}), &[], "database"),
            (json!({"database": "a\0b"}), &[], "database"),
            (json!({"username": "😀".repeat(65)}), &[], "username"),
            (json!({"schema": "x".repeat(129)}), &[], "schema"),
            (json!({"table": "\0"}), &[], "table"),
        ] {
            let found = settings(&extra).check(&tls, permissions);
            assert!(matches!(&found, Err(Refusal::Invalid(sentence)) if sentence.contains(word)), "{extra}: {found:?}");
        }
        let plain = Tls { mode: Mode::Disable, ..Tls::default() };
        assert_eq!(settings(&json!({})).check(&plain, &[]), Err(Refusal::Invalid(TLS_NEEDED.to_owned())));
        assert_eq!(settings(&json!({"table": "orders"})).check(&tls, &[Permission::Read]), Ok(()));
    }

    #[test]
    fn a_credential_that_no_login_can_have_is_malformed_and_not_shown() {
        let long = format!("hunter2{}", "x".repeat(122));
        for (user, password) in
            [("reader", &long[..]), (&long, "p"), ("reader", "hunter2\0"), ("hunter2\0", "p"), ("reader", "")]
        {
            let Err(Refusal::Unusable(failure)) =
                prepare(&settings(&json!({})), &[("username", user), ("password", password)], &[])
            else {
                panic!("{user:?} {password:?} was taken")
            };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!format!("{failure:?} {}", failure.message()).contains("hunter2"), "{}", failure.message());
        }
        assert!(prepare(&settings(&json!({})), &[("username", "r"), ("password", &long[1..])], &[]).is_ok());
    }
}
