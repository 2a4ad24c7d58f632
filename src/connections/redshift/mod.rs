//! Redshift: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{Grant, Look, Of, Principal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::{
        aws::{self, AssumeRole, Keys, Region, sts},
        pgwire::Target,
    },
    fields::{CREDENTIALS_NEEDED, Host, HttpUrl, Port},
    text,
};
use crate::{
    net::{
        Endpoint,
        tls::{Mode, Tls},
    },
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

/// What is the same for every Redshift connection.
pub const ABOUT: About = About {
    keys: &[Key { name: USERNAME, aliases: &["user"] }, Key::plain(PASSWORD), aws::KEYS[0], aws::KEYS[1], aws::KEYS[2]],
    // A serverless workgroup is billed for what it is asked.
    interval: Duration::from_mins(5),
    // With a password; with `iam` a login says so itself.
    lockout: Lockout::Possible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "stand-in: PostgreSQL 18 with Redshift's views, for the wire; emulator: moto, of AWS with its \
        identities and policies, for clusters; stand-in: an API that verifies signatures, for workgroups",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.redshift) || has(self.credentials)", CREDENTIALS_NEEDED),
    (
        "!has(self.redshift) || has(self.redshift.table) || !has(self.permissions) \
         || !self.permissions.exists(p, p in ['Read', 'Write'])",
        TABLE_NEEDED,
    ),
    (
        "!has(self.redshift) || !has(self.redshift.iam) \
         || has(self.redshift.iam.clusterIdentifier) != has(self.redshift.iam.workgroup)",
        ONE_OF,
    ),
    (
        "!has(self.redshift) || !has(self.redshift.iam) || has(self.redshift.iam.clusterIdentifier) \
         == (has(self.redshift.iam.dbUser) || has(self.redshift.username))",
        USER_NEEDED,
    ),
    (
        "!has(self.redshift) || !has(self.redshift.username) || !has(self.redshift.iam) || !has(self.redshift.iam.dbUser) \
         || self.redshift.username == self.redshift.iam.dbUser",
        ONE_USER,
    ),
    (
        "!has(self.redshift) || !has(self.redshift.iam) || (self.redshift.database.matches('^[A-Za-z0-9_+.@-]{1,64}$') \
         && (!has(self.redshift.username) || self.redshift.username.matches('^[A-Za-z0-9_+.@-]{1,64}$')))",
        PLAIN_NAMES,
    ),
    (
        "!has(self.redshift) || !has(self.redshift.iam) || !has(self.tls) || !has(self.tls.mode) \
         || self.tls.mode != 'Disable'",
        TLS_NEEDED,
    ),
    (
        "!has(self.redshift) || !has(self.redshift.iam) || ((!has(self.redshift.iam.endpoint) \
         || self.redshift.iam.endpoint.startsWith('https://')) && (!has(self.redshift.iam.assumeRole) \
         || !has(self.redshift.iam.assumeRole.endpoint) || self.redshift.iam.assumeRole.endpoint.startsWith('https://')))",
        SCHEME,
    ),
];

/// What a Redshift connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Host name or address of the cluster or workgroup. A name without a dot means `NAME.<namespace of the Connection>.svc`.
    pub host: Host,
    /// Port of the cluster or workgroup.
    #[serde(default = "default_port")]
    pub port: Port,
    /// Database to log in to.
    #[schemars(length(min = 1, max = 127))]
    pub database: String,
    /// User of the database to log in as. It wins over the Secret's `username`, which is then not needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub username: Option<String>,
    /// Schema that must exist, by its exact name. Without it `table` is looked for along the user's search path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub schema: Option<String>,
    /// Table or view that must exist, by its exact name. The permissions Read and Write are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub table: Option<String>,
    /// Log in with a temporary password that AWS gives for an access key. The Secret then holds the access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam: Option<Iam>,
}

/// Where a temporary password is asked for, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Iam {
    /// Cluster that the password is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = "^[a-z][a-z0-9-]{0,62}$"))]
    pub cluster_identifier: Option<String>,
    /// Serverless workgroup that the password is for, instead of a cluster. AWS names the user that belongs to the access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = "^[a-z0-9-]{3,64}$"))]
    pub workgroup: Option<String>,
    /// Region of the cluster or workgroup.
    pub region: Region,
    /// User of the cluster's database that the password is for; they must exist. Absent: `redshift.username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = "^[A-Za-z0-9_+.@-]{1,64}$"))]
    pub db_user: Option<String>,
    /// Role to assume with the keys of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// URL of the service that gives passwords, with `https`. Absent: `https://redshift.REGION.amazonaws.com`, for a workgroup
    /// `https://redshift-serverless.REGION.amazonaws.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        text::cut(&format!(
            "redshift://{}/{}",
            text::authority(&self.host.0, self.port.0),
            text::encode(&self.database)
        ))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        if self.iam.is_some() {
            return vec![aws::method()];
        }
        let username = self.username.is_none().then_some(USERNAME).into_iter();
        vec![Method { name: PASSWORD, required: username.chain([PASSWORD]).collect(), optional: Vec::new() }]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&permissions, &tls)?;
        let mut needed =
            |name| credentials.take_text(name, &secret)?.ok_or_else(|| Credentials::missing(name, &secret));
        let principal = match &self.iam {
            None => Principal::Password {
                user: match &self.username {
                    Some(username) => SecretValue::new(username.clone().into_bytes()),
                    None => needed(USERNAME)?,
                },
                password: needed(PASSWORD)?,
            },
            Some(iam) => {
                let keys = Keys::take(&mut credentials, &secret)?;
                Principal::Iam(Box::new(iam.grant(keys, self.username.as_deref(), &namespace, &tls)?))
            }
        };
        let endpoint = Endpoint::of(&self.host.0, self.port.0, &namespace);
        let account = account(&endpoint, &principal, self.iam.as_ref());
        let probe = Look {
            endpoint,
            tls,
            database: self.database.clone(),
            principal,
            target: Target { schema: self.schema.clone(), table: self.table.clone(), permissions },
        };
        let lockout = self.iam.as_ref().map(|_| Lockout::Impossible);
        Ok(Prepared { probe: Box::new(probe), account, lockout })
    }
}

/// Who logs in where: with `iam` whose key asks which service, as which role, for whom.
fn account(endpoint: &Endpoint, principal: &Principal, iam: Option<&Iam>) -> Digest {
    let port = endpoint.port.to_be_bytes();
    let place = [endpoint.host.as_bytes(), &port];
    match principal {
        Principal::Password { user, .. } => Digest::of(place.into_iter().chain([user.expose()])),
        Principal::Iam(grant) => {
            let role = iam.and_then(|iam| iam.assume_role.as_ref()).map(AssumeRole::identity).unwrap_or_default();
            let (name, user) = match &grant.of {
                Of::Cluster { identifier, user } => (identifier.as_bytes(), user.as_bytes()),
                Of::Workgroup { name } => (name.as_bytes(), &[][..]),
            };
            let asked =
                [grant.url.as_bytes(), grant.region.0.as_bytes(), grant.keys.id.expose(), role.as_bytes(), name, user];
            Digest::of(place.into_iter().chain(asked))
        }
    }
}

impl Iam {
    fn grant(&self, keys: Keys, username: Option<&str>, namespace: &str, tls: &Tls) -> Result<Grant, Refusal> {
        let user = self.db_user.as_deref().or(username);
        let (service, of) = match (&self.cluster_identifier, &self.workgroup, user) {
            (Some(identifier), None, Some(user)) => {
                ("redshift", Of::Cluster { identifier: identifier.clone(), user: user.to_owned() })
            }
            (None, Some(name), None) => ("redshift-serverless", Of::Workgroup { name: name.clone() }),
            (Some(_), None, None) | (None, Some(_), Some(_)) => return Err(Refusal::Invalid(USER_NEEDED.to_owned())),
            (Some(_), Some(_), _) | (None, None, _) => return Err(Refusal::Invalid(ONE_OF.to_owned())),
        };
        // A password comes back, so the service is verified by its name whatever is enough for the database.
        let tls = Tls { mode: Mode::VerifyFull, server_name: None, ..tls.clone() };
        Ok(Grant {
            keys,
            exchange: self.assume_role.as_ref().map(|role| sts::Exchange::of(role, &self.region, namespace, &tls)),
            region: self.region.clone(),
            url: self.region.url(service, self.endpoint.as_ref(), namespace),
            tls,
            of,
        })
    }

    /// What the schema refuses too, but for what [`grant`](Self::grant) needs.
    fn check(&self, tls: &Tls) -> Result<(), Refusal> {
        let Self { cluster_identifier, workgroup, region, db_user, assume_role, endpoint } = self;
        region.check("redshift.iam.region")?;
        for (name, value) in [("clusterIdentifier", cluster_identifier), ("workgroup", workgroup), ("dbUser", db_user)]
        {
            if value.as_ref().is_some_and(|value| !is_plain(value)) {
                return Err(Refusal::Invalid(format!("`redshift.iam.{name}` must be the name of one")));
            }
        }
        if let Some(role) = assume_role {
            role.check("redshift.iam.assumeRole")?;
        }
        for url in endpoint.iter().chain(assume_role.as_ref().and_then(|role| role.endpoint.as_ref())) {
            if !url.is_valid() {
                return Err(Refusal::Invalid(format!("an endpoint {}", HttpUrl::RULE)));
            }
            if url.is_plain() {
                return Err(Refusal::Invalid(SCHEME.to_owned()));
            }
        }
        if tls.mode == Mode::Disable { Err(Refusal::Invalid(TLS_NEEDED.to_owned())) } else { Ok(()) }
    }
}

impl Settings {
    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, permissions: &[Permission], tls: &Tls) -> Result<(), Refusal> {
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        let Self { host: _, port: _, database, username, schema, table, iam } = self;
        let about_a_table = permissions.iter().any(|p| matches!(p, Permission::Read | Permission::Write));
        if about_a_table && table.is_none() {
            return invalid(TABLE_NEEDED);
        }
        for (name, value) in [
            ("database", Some(database)),
            ("username", username.as_ref()),
            ("schema", schema.as_ref()),
            ("table", table.as_ref()),
        ] {
            if value.is_some_and(|value| value.is_empty() || value.contains('\0')) {
                return Err(Refusal::Invalid(format!("`redshift.{name}` must not be empty and not contain a NUL")));
            }
        }
        let Some(iam) = iam else { return Ok(()) };
        if !is_plain(database) || username.as_deref().is_some_and(|username| !is_plain(username)) {
            return invalid(PLAIN_NAMES);
        }
        if username.as_ref().zip(iam.db_user.as_ref()).is_some_and(|(username, user)| username != user) {
            return invalid(ONE_USER);
        }
        iam.check(tls)
    }
}

/// Whether the services of AWS take it for a name (`GetClusterCredentials` and `GetCredentials` of their API References).
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+.@-".contains(c))
}

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const TABLE_NEEDED: &str = "`permissions` Read and Write need `redshift.table`";
const ONE_OF: &str = "`redshift.iam` needs one of `clusterIdentifier` and `workgroup`";
const USER_NEEDED: &str = "`redshift.iam` needs `dbUser` with `clusterIdentifier`, and takes no user with `workgroup`";
const ONE_USER: &str = "`redshift.username` and `redshift.iam.dbUser` must be the same";
const PLAIN_NAMES: &str =
    "with `redshift.iam` the names of database and user are 1 to 64 letters, digits and _ + . @ -";
const TLS_NEEDED: &str =
    "`redshift.iam` needs TLS: Redshift asks for a readable password, so `tls.mode` cannot be Disable";
const SCHEME: &str = "endpoints in `redshift.iam` must begin with `https://`: a secret comes back from there";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: sales
stringData:
  username: analyst
  password: analyst-secret
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: sales
spec:
  type: Redshift
  redshift:
    host: sales.cxample.eu-central-1.redshift.amazonaws.com
    database: warehouse
  credentials:
    secretRef:
      name: sales
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: sales
stringData:
  AWS_ACCESS_KEY_ID: AKIAIOSFODNN7EXAMPLE
  AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
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
  name: sales
spec:
  type: Redshift
  description: Sales, for reports
  redshift:
    host: sales.cxample.eu-central-1.redshift.amazonaws.com
    port: 5439
    database: warehouse
    username: analyst
    schema: sales
    table: orders
    iam:
      clusterIdentifier: sales
      region: eu-central-1
      dbUser: analyst
      assumeRole:
        roleARN: arn:aws:iam::123456789012:role/sales-analyst
        externalID: shop
        sessionName: connection-operator
        endpoint: https://sts.example.com
      endpoint: https://redshift.example.com
  credentials:
    secretRef:
      name: sales
    keys:
      accessKeyId: AWS_ACCESS_KEY_ID
      secretAccessKey: AWS_SECRET_ACCESS_KEY
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  permissions: [List, Read]
  probe:
    interval: 5m
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

fn default_port() -> Port {
    Port(5439)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::failure::{Reason, Setting};

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"host": "warehouse", "database": "sales"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn cluster(extra: &serde_json::Value) -> serde_json::Value {
        let mut iam = json!({"clusterIdentifier": "sales", "region": "eu-central-1", "dbUser": "analyst"});
        json_patch::merge(&mut iam, extra);
        json!({ "iam": iam })
    }

    fn workgroup() -> serde_json::Value {
        cluster(&json!({"clusterIdentifier": null, "dbUser": null, "workgroup": "sales"}))
    }

    const PASSWORD_OF: &[(&str, &[u8])] = &[("username", b"analyst"), ("password", b"analyst-secret")];
    const KEY: &[(&str, &[u8])] = &[("accessKeyId", b"AKIA"), ("secretAccessKey", b"secret")];

    fn prepare(
        settings: &Settings,
        data: &[(&str, &[u8])],
        mode: Mode,
        permissions: &[Permission],
    ) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret sales");
        let tls = Tls { mode, ..Tls::default() };
        let data: BTreeMap<_, _> = data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.to_vec()))).collect();
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret)?;
        let permissions = permissions.to_vec();
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions })
    }

    fn refused(extra: &serde_json::Value, mode: Mode) -> String {
        let settings = settings(extra);
        let data = if settings.iam.is_some() { KEY } else { PASSWORD_OF };
        match prepare(&settings, data, mode, &[]) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_is_encoded_bracketed_and_cut() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "redshift://warehouse:5439/sales");
        assert_eq!(
            string(json!({"host": "fd00::1", "port": 5440, "database": "a/b c", "username": "analyst"})),
            "redshift://[fd00::1]:5440/a%2Fb%20c"
        );
        assert_eq!(string(json!({"database": "ü".repeat(127)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn a_password_or_an_access_key_is_needed() {
        let required = |extra: &serde_json::Value| settings(extra).methods(&Tls::default())[0].required.clone();
        assert_eq!(required(&json!({})), [USERNAME, PASSWORD]);
        assert_eq!(required(&json!({"username": "analyst"})), [PASSWORD]);
        assert_eq!(required(&cluster(&json!({}))), [aws::ACCESS_KEY_ID, aws::SECRET_ACCESS_KEY]);
        assert_eq!(required(&workgroup()), [aws::ACCESS_KEY_ID, aws::SECRET_ACCESS_KEY]);
        for (extra, data, lockout) in [
            (json!({}), PASSWORD_OF, None),
            (cluster(&json!({})), KEY, Some(Lockout::Impossible)),
            (workgroup(), KEY, Some(Lockout::Impossible)),
        ] {
            let prepared = prepare(&settings(&extra), data, Mode::VerifyFull, &[]).unwrap();
            assert_eq!(prepared.lockout, lockout, "{extra}: a temporary password locks nobody");
        }
        let Err(Refusal::Unusable(failure)) = prepare(&settings(&workgroup()), PASSWORD_OF, Mode::VerifyFull, &[])
        else {
            panic!("a password was taken for an access key")
        };
        assert_eq!(failure.reason(), Reason::SecretKeyMissing);
    }

    #[test]
    fn another_place_user_key_or_role_is_another_account() {
        let account =
            |extra: &serde_json::Value, data| prepare(&settings(extra), data, Mode::VerifyFull, &[]).unwrap().account;
        let base = account(&json!({}), PASSWORD_OF);
        assert_eq!(account(&json!({"username": "analyst", "database": "other"}), PASSWORD_OF), base);
        for other in [json!({"host": "warehouse.other.svc"}), json!({"port": 1}), json!({"username": "loader"})] {
            assert_ne!(account(&other, PASSWORD_OF), base, "{other}");
        }
        let base = account(&cluster(&json!({})), KEY);
        assert_ne!(account(&cluster(&json!({})), &[("accessKeyId", b"AKIB"), ("secretAccessKey", b"secret")]), base);
        let role = json!({"roleARN": "arn:aws:iam::123456789012:role/analyst"});
        for other in [
            json!({"region": "us-east-1"}),
            json!({"clusterIdentifier": "other"}),
            json!({"dbUser": "loader"}),
            json!({"endpoint": "https://redshift:8443"}),
            json!({"assumeRole": &role}),
            json!({"clusterIdentifier": null, "dbUser": null, "workgroup": "sales"}),
        ] {
            assert_ne!(account(&cluster(&other), KEY), base, "{other}");
        }
        let as_role = |extra: &serde_json::Value| {
            let mut role = role.clone();
            role.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            account(&cluster(&json!({"assumeRole": role})), KEY)
        };
        // Another external id may be what the role asks for.
        assert_ne!(as_role(&json!({"externalID": "ext-1"})), as_role(&json!({})));
        let by_username = cluster(&json!({"dbUser": null})).as_object().unwrap().clone();
        let mut by_username = serde_json::Value::Object(by_username);
        by_username["username"] = json!("analyst");
        assert_eq!(account(&by_username, KEY), base);
    }

    #[test]
    fn a_temporary_password_is_for_one_thing_and_one_user() {
        for (extra, sentence) in [
            (json!({"workgroup": "sales"}), ONE_OF),
            (json!({"clusterIdentifier": null}), ONE_OF),
            (json!({"dbUser": null}), USER_NEEDED),
            (json!({"clusterIdentifier": null, "workgroup": "sales"}), USER_NEEDED),
        ] {
            assert_eq!(refused(&cluster(&extra), Mode::VerifyFull), sentence, "{extra}");
        }
        let mut two = cluster(&json!({}));
        two["username"] = json!("loader");
        assert_eq!(refused(&two, Mode::VerifyFull), ONE_USER);
        let mut derived = workgroup();
        derived["username"] = json!("analyst");
        assert_eq!(refused(&derived, Mode::VerifyFull), USER_NEEDED);
    }

    #[test]
    fn a_temporary_password_comes_and_goes_encrypted_only() {
        assert_eq!(refused(&cluster(&json!({})), Mode::Disable), TLS_NEEDED);
        assert_eq!(refused(&cluster(&json!({"endpoint": "http://redshift"})), Mode::VerifyFull), SCHEME);
        let role = json!({"roleARN": "arn:aws:iam::123456789012:role/analyst", "endpoint": "http://sts"});
        assert_eq!(refused(&cluster(&json!({"assumeRole": role})), Mode::VerifyFull), SCHEME);
    }

    #[test]
    fn the_service_is_verified_by_its_name_whatever_is_enough_for_the_database() {
        for mode in [Mode::Require, Mode::VerifyCa, Mode::VerifyFull] {
            let tls = Tls { mode, server_name: Some("elsewhere".to_owned()), ..Tls::default() };
            let value = |text: &str| SecretValue::new(text.as_bytes().to_vec());
            let keys = Keys { id: value("AKIA"), secret: value("secret"), token: None };
            let iam = settings(&workgroup()).iam.unwrap();
            let grant = iam.grant(keys, None, "shop", &tls).unwrap();
            assert_eq!((grant.tls.mode, grant.tls.server_name), (Mode::VerifyFull, None));
            assert_eq!(grant.url, "https://redshift-serverless.eu-central-1.amazonaws.com/");
        }
    }

    #[test]
    fn reading_and_writing_need_a_table_and_listing_does_not() {
        let may = |extra: serde_json::Value, permission| {
            prepare(&settings(&extra), PASSWORD_OF, Mode::VerifyFull, &[permission])
        };
        assert!(may(json!({}), Permission::List).is_ok());
        for permission in [Permission::Read, Permission::Write] {
            assert_eq!(may(json!({}), permission).unwrap_err(), Refusal::Invalid(TABLE_NEEDED.to_owned()));
            assert!(may(json!({"table": "orders"}), permission).is_ok());
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        for (extra, word) in [
            (json!({"database": ""}), "database"),
            (json!({"username": "a\0b"}), "username"),
            (json!({"schema": ""}), "schema"),
            (json!({"table": "a\0b"}), "table"),
            (cluster(&json!({"clusterIdentifier": "a b"})), "clusterIdentifier"),
            (cluster(&json!({"dbUser": "a:b"})), "dbUser"),
            (cluster(&json!({"region": "evil.example/"})), "region"),
            (cluster(&json!({"endpoint": "https://user@redshift"})), "endpoint"),
            (cluster(&json!({"assumeRole": {"roleARN": ""}})), "roleARN"),
        ] {
            let sentence = refused(&extra, Mode::VerifyFull);
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
        let mut odd = cluster(&json!({}));
        odd["database"] = json!("a b");
        assert_eq!(refused(&odd, Mode::VerifyFull), PLAIN_NAMES);
    }

    #[test]
    fn a_credential_that_is_not_text_is_malformed_and_not_shown() {
        for data in [
            [("username", &b"analyst"[..]), ("password", &b"hunter2\0"[..])],
            [("username", &b"hunter2\xff"[..]), ("password", &b"p"[..])],
            [("username", &b"analyst"[..]), ("password", &b""[..])],
        ] {
            let Err(Refusal::Unusable(failure)) = prepare(&settings(&json!({})), &data, Mode::VerifyFull, &[]) else {
                panic!("{data:?} was taken")
            };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!failure.message().contains("hunter2"), "{}", failure.message());
        }
    }
}
