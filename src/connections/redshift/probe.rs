//! The one look at an Amazon Redshift: with `iam` one signed call for a temporary password first; then one login by PostgreSQL's
//! protocol, and statements of its own on its catalog. No text of a peer leaves this file.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Error, error::DbError, types::Type};

use crate::{
    connections::{
        Permission, Probe,
        family::{
            aws::{
                Keys, Region,
                call::{Json, Service},
                codes::Refused,
                sts, xml,
            },
            pgwire::{
                Asked, Catalog, Insert, RELATIONS, Rights, Target, granted,
                login::{Login, Server},
            },
        },
    },
    failure::{Failure, FailureClass, Proof, Setting},
    net::{
        Endpoint, Network,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

/// How long a temporary password is good for, in seconds: the least that AWS allows, and more than the longest probe takes.
const DURATION: u32 = 900;

/// Longest name of a user that a service may answer with, in bytes: Redshift's names have at most 127, and a prefix.
const LONGEST_USER: usize = 255;

// Of the statements, each is about the catalogs `pg_*` alone, or about one `svv_*` view alone: functions about privileges run on the
// leader node only, where those views are not ("HAS_TABLE_PRIVILEGE" and "SQL functions supported on the leader node" of the
// Database Developer Guide). There is no `to_regclass`. Privileges are asked for by oid, and names go as parameters of a type, as
// Redshift's own drivers do it (`RedshiftDatabaseMetaData` of the JDBC driver, `Cursor.__is_valid_table` of the Python one): a
// literal would have to be quoted otherwise than in PostgreSQL, since a backslash in it escapes.

const SCHEMA: &str =
    "SELECT pg_catalog.has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = $1";

/// Rows cannot be put into a view: "SQL commands" of the same guide has no rule and no trigger that would make one take them.
const TABLE: &str = "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
    pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'INSERT'), \
    c.relkind NOT IN ('v', 'm') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relname = $2 AND n.nspname = $1";

/// The same along the search path, in its order, which the JDBC driver's `TypeInfoCache` finds out like this.
const TABLE_ON_PATH: &str = "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
    pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'INSERT'), \
    c.relkind NOT IN ('v', 'm') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN (SELECT s.r, (pg_catalog.current_schemas(false))[s.r] AS nspname \
    FROM pg_catalog.generate_series(1, pg_catalog.array_upper(pg_catalog.current_schemas(false), 1)) AS s(r)) AS p \
    ON p.nspname = n.nspname WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relname = $1 ORDER BY p.r LIMIT 1";

/// What is not in `pg_class`: tables of external schemas and of datashares.
const ELSEWHERE: &str = "SELECT table_type::text FROM pg_catalog.svv_all_tables \
    WHERE database_name = $1 AND schema_name = $2 AND table_name = $3 LIMIT 1";

const HIDDEN: &str =
    "create it, correct its name, or grant the user a right on it: with metadata security Redshift hides the rest";

const CLOSED: &str = "create it, correct its name, or grant USAGE on its schema, without which it may be hidden";

const NO_WAY: &str = "Redshift asks so for a password that was set as a digest of SHA-256, and for the token of an identity \
    provider: give this user a password that is stored as MD5, or use redshift.iam";

const READABLE: &str =
    "set spec.tls.mode to VerifyFull; if that does not help, allow this user from the operator's network";

/// All that one look needs.
pub(super) struct Look {
    pub endpoint: Endpoint,
    pub tls: Tls,
    pub database: String,
    pub principal: Principal,
    pub target: Target,
}

/// Who logs in.
pub(super) enum Principal {
    /// A user of the database, with a password.
    Password { user: SecretValue, password: SecretValue },
    /// Whoever the service names for an access key.
    Iam(Box<Grant>),
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let given;
        let (user, password) = match &self.principal {
            Principal::Password { user, password } => (user, password),
            Principal::Iam(grant) => {
                given = grant.password(net, &self.database).await?;
                (&given.0, &given.1)
            }
        };
        let login = Login {
            endpoint: &self.endpoint,
            tls: &self.tls,
            user,
            password: Some(password),
            database: &self.database,
        };
        let (found, proof) = login.look(net, self).await.map_err(|failure| match failure.class() {
            FailureClass::AuthenticationMethodNotSupported => failure.advice(NO_WAY),
            _ => failure,
        })?;
        self.judge(&found)?;
        let read = self.target.permissions.contains(&Permission::Read);
        Ok(match found.place {
            _ if self.asks_nothing() => proof.but([ANSWERS]),
            Place::External if read => proof.but([BEHIND]),
            Place::External | Place::Shared | Place::Here | Place::Nowhere => proof,
        })
    }
}

impl Look {
    /// Whether no statement is sent.
    fn asks_nothing(&self) -> bool {
        let Target { schema, table, permissions } = &self.target;
        schema.is_none() && table.is_none() && !permissions.contains(&Permission::List)
    }

    /// Whether what was found is enough.
    fn judge(&self, found: &Found) -> Result<(), Failure> {
        let Target { schema, table: _, permissions } = &self.target;
        let Found { catalog, usage, place } = found;
        let about = |failure: Failure| match self.target.shown() {
            Some(shown) => failure.about(shown),
            None => failure,
        };
        let open: Vec<Permission> = permissions.iter().copied().filter(|permission| place.hides(*permission)).collect();
        match (self.target.judge(catalog), place) {
            (Ok(()), _) if !open.is_empty() => Err(about(Failure::new(FailureClass::NotProvable)).words(&open)),
            (Err(_), Place::Nowhere) if schema.is_some() && !catalog.schema_missing && !usage => {
                Err(about(Failure::new(FailureClass::TargetNotFoundOrNotPermitted)).advice(CLOSED))
            }
            // Along the search path the advice that there is already is the better one.
            (Err(failure), Place::Nowhere) if schema.is_some() => Err(failure.advice(HIDDEN)),
            (judged, _) => judged,
        }
    }
}

const BEHIND: &str = "the rights behind an external table";
const ANSWERS: &str = "that the database answers statements, since none is sent";

/// What was found in the catalog.
#[derive(Debug, Default)]
pub(super) struct Found {
    catalog: Catalog,
    /// `USAGE` on the schema that is named.
    usage: bool,
    place: Place,
}

/// Where the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nowhere, or none is asked for.
    #[default]
    Nowhere,
    /// In this database.
    Here,
    /// In an external schema. Who may use the schema may read its tables: it is the only right that a user can be given on one
    /// ("GRANT" of the Database Developer Guide).
    External,
    /// In a datashare, of whose rights the catalog does not tell.
    Shared,
}

impl Place {
    /// Whether Redshift does not tell about a permission on a table there.
    const fn hides(self, permission: Permission) -> bool {
        match (self, permission) {
            (Self::External, Permission::Write) | (Self::Shared, Permission::Read | Permission::Write) => true,
            (Self::Nowhere | Self::Here, _) | (Self::External, Permission::Read) | (_, Permission::List) => false,
        }
    }

    /// By what `svv_all_tables` calls the table.
    fn of(kind: &str) -> Self {
        if kind.starts_with("EXTERNAL") { Self::External } else { Self::Shared }
    }
}

#[async_trait]
impl Server for Look {
    type Found = Found;

    /// What the catalog says about what is asked for, and nothing else: without a question no statement is sent, since a serverless
    /// workgroup is billed for statements.
    async fn look_up(&self, client: &Client) -> Result<Found, Error> {
        let Target { schema, table, permissions } = &self.target;
        let mut found = Found::default();
        if let Some(schema) = schema {
            let rows = client.query_typed(SCHEMA, &[(schema, Type::TEXT)]).await?;
            found.catalog.schema_missing = rows.is_empty();
            found.usage = rows.first().map(|row| granted(row, 0)).transpose()?.unwrap_or_default();
        }
        if permissions.contains(&Permission::List) {
            client.query_typed(RELATIONS, &[(&schema.as_deref().unwrap_or_default(), Type::TEXT)]).await?;
        }
        let Some(table) = table else { return Ok(found) };
        let rows = match schema {
            Some(schema) => client.query_typed(TABLE, &[(schema, Type::TEXT), (table, Type::TEXT)]).await?,
            None => client.query_typed(TABLE_ON_PATH, &[(table, Type::TEXT)]).await?,
        };
        found.catalog.table = rows.first().map(Rights::of).transpose()?;
        match schema {
            _ if found.catalog.table.is_some() => found.place = Place::Here,
            Some(schema) if !found.catalog.schema_missing => {
                let rows = client
                    .query_typed(ELSEWHERE, &[(&self.database, Type::TEXT), (schema, Type::TEXT), (table, Type::TEXT)])
                    .await?;
                if let Some(row) = rows.first() {
                    found.place = Place::of(row.try_get::<_, Option<&str>>(0)?.unwrap_or_default());
                    found.catalog.table = Some(Rights { usage: found.usage, select: true, insert: Insert::Granted });
                }
            }
            Some(_) | None => {}
        }
        Ok(found)
    }

    /// Redshift says 28000 where PostgreSQL says 28P01 (its `auth_failed`, as in aws/amazon-redshift-python-driver#237), and where it
    /// lets nobody in.
    fn means(&self, login: &Login<'_>, says: &DbError, asked: Option<Asked>) -> Option<Failure> {
        let advice = match (says.code().code(), &self.principal, asked) {
            ("28000", _, None) if login.tls.mode == Mode::Disable => {
                return Some(Failure::new(FailureClass::EncryptionRequired).advice(READABLE));
            }
            ("28000" | "28P01", Principal::Password { .. }, _) => {
                "correct the Secret, or let this user log in: Redshift does not tell a wrong password from an unknown user, from one \
                 whose password is no longer valid, or from one that is not let in"
            }
            ("28000" | "28P01", Principal::Iam(grant), _) => match grant.of {
                Of::Cluster { .. } => {
                    "create the database user that redshift.iam.dbUser names, or let it log in: a temporary password does not create it"
                }
                Of::Workgroup { .. } => "let the identity of these keys log in to the database",
            },
            _ => return None,
        };
        Some(Failure::new(FailureClass::WrongCredentials).advice(advice))
    }
}

/// Whom to ask for a temporary password, and what it is for.
pub(super) struct Grant {
    pub keys: Keys,
    pub exchange: Option<sts::Exchange>,
    pub region: Region,
    pub url: String,
    pub tls: Tls,
    pub of: Of,
}

/// What the password opens.
pub(super) enum Of {
    /// A cluster, as a user of its database.
    Cluster { identifier: String, user: String },
    /// A serverless workgroup, as the user that belongs to the keys.
    Workgroup { name: String },
}

/// What is sent for a workgroup's password.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    workgroup_name: &'a str,
    db_name: &'a str,
    duration_seconds: u32,
}

/// What comes back.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    db_user: String,
    db_password: String,
}

impl Grant {
    /// A user and their temporary password. It creates no user.
    async fn password(&self, net: &Network, database: &str) -> Result<(SecretValue, SecretValue), Failure> {
        let role;
        let keys = match &self.exchange {
            Some(exchange) => {
                role = exchange.keys(net, &self.keys).await?;
                &role
            }
            None => &self.keys,
        };
        let granted = match &self.of {
            Of::Cluster { identifier, user } => {
                let duration = DURATION.to_string();
                let parameters = [
                    ("Action", "GetClusterCredentials"),
                    ("Version", "2012-12-01"),
                    ("ClusterIdentifier", identifier.as_str()),
                    ("DbUser", user.as_str()),
                    ("DbName", database),
                    ("AutoCreate", "false"),
                    ("DurationSeconds", duration.as_str()),
                ];
                let document = self.service("redshift").query(net, &self.tls, keys, &parameters).await?;
                let document = document.map_err(|refused| self.explain(&refused))?;
                let text = |name| {
                    xml::text(&document, &["GetClusterCredentialsResponse", "GetClusterCredentialsResult", name])
                };
                text("DbUser").zip(text("DbPassword"))
            }
            Of::Workgroup { name } => {
                let input = Request { workgroup_name: name, db_name: database, duration_seconds: DURATION };
                let operation = "RedshiftServerless.GetCredentials";
                let service = self.service("redshift-serverless");
                let document = service.json(net, &self.tls, keys, Json::V1_1, operation, &input).await?;
                let document = document.map_err(|refused| self.explain(&refused))?;
                serde_json::from_slice(&document).ok().map(|granted: Granted| (granted.db_user, granted.db_password))
            }
        };
        let (user, password) = granted
            .map(|(user, password)| (SecretValue::new(user.into_bytes()), SecretValue::new(password.into_bytes())))
            .filter(|(user, password)| user.text().is_some() && password.text().is_some())
            .filter(|(user, _)| user.expose().len() <= LONGEST_USER)
            .ok_or_else(|| Failure::new(FailureClass::ProtocolMismatch).word("no temporary password in its answer"))?;
        Ok((user, password))
    }

    fn service(&self, name: &'static str) -> Service<'_> {
        Service { name, region: &self.region, url: &self.url }
    }

    /// What the service said instead of a password.
    fn explain(&self, refused: &Refused) -> Failure {
        let (about, action) = match &self.of {
            Of::Cluster { identifier, .. } => (format!("cluster {identifier}"), "redshift:GetClusterCredentials"),
            Of::Workgroup { name } => (format!("workgroup {name}"), "redshift-serverless:GetCredentials"),
        };
        let about = Setting::from_spec(about);
        match refused.class() {
            FailureClass::PermissionDenied => refused
                .failure()
                .about(about)
                .word(action)
                .advice("let these keys call it, for this database and, at a cluster, for this database user; or correct these names"),
            FailureClass::TargetNotFound | FailureClass::TargetUnavailable => refused.failure().about(about),
            _ if refused.is("UnsupportedOperation") => refused
                .failure_as(FailureClass::AuthenticationMethodNotSupported)
                .word(action)
                .advice("use a password instead of redshift.iam: the service gives none for this cluster"),
            _ => refused.failure(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_statement_asks_the_leader_node_and_another_place_at_once() {
        let elsewhere =
            |statement: &str| ["svv_", "stv_", "stl_", "svl_", "sys_"].iter().any(|p| statement.contains(p));
        for statement in [SCHEMA, RELATIONS, TABLE, TABLE_ON_PATH, ELSEWHERE] {
            let only_there = ["pg_class", "pg_namespace", "privilege", "current_schemas", "generate_series"];
            let leader = only_there.iter().any(|word| statement.contains(word));
            assert!(leader != elsewhere(statement), "{statement}");
            assert!(!statement.contains("regclass") && !statement.contains('\\'), "{statement}");
        }
    }

    #[test]
    fn a_table_that_is_not_known_to_be_external_promises_nothing() {
        for (kind, place) in [
            ("EXTERNAL TABLE", Place::External),
            ("EXTERNAL VIEW", Place::External),
            ("SHARED TABLE", Place::Shared),
            ("TABLE", Place::Shared),
            ("", Place::Shared),
        ] {
            assert_eq!(Place::of(kind), place, "{kind}");
        }
    }
}
