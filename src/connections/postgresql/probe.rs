//! The one look at a PostgreSQL server: its own statements on the catalog, and its own reading of a refused login. The wire is
//! `family/pgwire`'s.

use async_trait::async_trait;
use tokio_postgres::{
    Client, Error,
    error::DbError,
    types::{ToSql, Type},
};

use crate::{
    connections::{
        Permission, Probe,
        family::pgwire::{
            Asked, Catalog, RELATIONS, Rights, Target, granted,
            login::{Login, Server},
        },
    },
    failure::{Failure, FailureClass, Proof},
    net::{
        Endpoint, Network,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

/// What PgBouncer puts behind 08P01, its one code for nearly everything (its `src/client.c`, `src/objects.c` and `src/janitor.c`;
/// it has no translations). The first that is found in the text decides.
const POOLER: &[(&str, FailureClass)] = &[
    // Its own login at the server behind it fails, with what that answered the last time.
    ("cached error: database \"", FailureClass::TargetNotFound),
    ("server login", FailureClass::ServerUnavailable),
    ("no such database", FailureClass::TargetNotFound),
    ("\" is disabled", FailureClass::TargetUnavailable),
    ("database \"", FailureClass::TargetNotFound),
    ("no such user", FailureClass::WrongCredentials),
    ("certificate authentication failed", FailureClass::ClientCertificateRequired),
    ("authentication failed", FailureClass::WrongCredentials),
    ("login rejected", FailureClass::SourceNotAllowed),
    ("SSL required", FailureClass::EncryptionRequired),
    ("no more connections allowed", FailureClass::ServerUnavailable),
    ("client connections exceeded", FailureClass::ServerUnavailable),
    ("shutting down", FailureClass::ServerUnavailable),
    ("timeout", FailureClass::ServerUnavailable),
];

/// Asked where nothing else is: a pooler answers the login by itself, also where there is no server behind it any longer.
const ANYTHING: &str = "SELECT 1";

const SCHEMA: &str = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";

/// Of all relations, those that are read and written like a table: tables, partitioned and foreign ones, views,
/// materialised views. The catalog answers also where the user may not use the schema, unlike `to_regclass`, which is
/// asked only where the search path decides. With `$3` also whether rows can be put into it, as `is_insertable_into` of
/// `information_schema.tables` has it; it is not asked of a materialised view, which may be locked while it is refreshed.
const TABLE: &str = "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
    pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'INSERT'), \
    CASE WHEN $3 AND c.relkind IN ('f', 'v') THEN (pg_catalog.pg_relation_is_updatable(c.oid, true) & 8) <> 0 \
    ELSE c.relkind <> 'm' END, pg_catalog.current_setting('transaction_read_only') = 'on' \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relname = $2 AND CASE WHEN $1 <> '' THEN n.nspname = $1 \
    ELSE c.oid = pg_catalog.to_regclass(pg_catalog.quote_ident($2)) END";

/// All that one look needs.
pub(super) struct Look {
    pub endpoint: Endpoint,
    pub tls: Tls,
    pub user: SecretValue,
    pub password: Option<SecretValue>,
    pub database: String,
    pub target: Target,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let login = Login {
            endpoint: &self.endpoint,
            tls: &self.tls,
            user: &self.user,
            password: self.password.as_ref(),
            database: &self.database,
        };
        let (catalog, proof) = login.look(net, self).await?;
        self.target.judge(&catalog)?;
        Ok(proof)
    }
}

#[async_trait]
impl Server for Look {
    type Found = Catalog;

    /// What the catalog says about what is asked for. At least one statement is sent.
    async fn look_up(&self, client: &Client) -> Result<Catalog, Error> {
        let mut catalog = Catalog::default();
        let schema = self.target.schema.as_deref().unwrap_or_default();
        if !schema.is_empty() {
            catalog.schema_missing = client.query_typed(SCHEMA, &[(&schema, Type::TEXT)]).await?.is_empty();
        }
        if self.target.permissions.contains(&Permission::List) {
            client.query_typed(RELATIONS, &[(&schema, Type::TEXT)]).await?;
        }
        if schema.is_empty() && self.target.table.is_none() && !self.target.permissions.contains(&Permission::List) {
            client.query_typed(ANYTHING, &[]).await?;
        }
        if let Some(table) = &self.target.table {
            let write = self.target.permissions.contains(&Permission::Write);
            let asked: &[(&(dyn ToSql + Sync), Type)] =
                &[(&schema, Type::TEXT), (table, Type::TEXT), (&write, Type::BOOL)];
            let rows = client.query_typed(TABLE, asked).await?;
            catalog.table = rows.first().map(Rights::of).transpose()?;
            catalog.read_only = rows.first().map_or(Ok(false), |row| granted(row, 4))?;
        }
        Ok(catalog)
    }

    fn means(&self, login: &Login<'_>, says: &DbError, asked: Option<Asked>) -> Option<Failure> {
        match says.code().code() {
            "28000" => Some(not_let_in(login, says.routine(), says.message(), asked)),
            "08P01" => Some(pooler_says(login, says.message(), asked)),
            _ => None,
        }
    }
}

/// SQLSTATE 08P01 is a breach of the protocol, or any word of a pooler. One that has asked for the password, or let us in without
/// one, speaks the protocol.
fn pooler_says(login: &Login<'_>, text: &str, asked: Option<Asked>) -> Failure {
    let listed = POOLER.iter().find(|(part, _)| text.contains(part)).map(|(_, class)| *class);
    let otherwise = match asked {
        Some(Asked::Password | Asked::Nothing) => FailureClass::ServerUnavailable,
        None => FailureClass::ProtocolMismatch,
    };
    match listed.unwrap_or(otherwise) {
        FailureClass::TargetNotFound => Failure::new(FailureClass::TargetNotFound).about(login.shown()),
        FailureClass::TargetUnavailable => Failure::new(FailureClass::TargetUnavailable)
            .about(login.shown())
            .advice("enable it again at the connection pooler"),
        FailureClass::ServerUnavailable => Failure::new(FailureClass::ServerUnavailable)
            .advice("look at the log of the connection pooler, which says more"),
        class => Failure::new(class),
    }
}

/// SQLSTATE 28000 has many causes. `routine` is the name of a function of the server, which no language setting
/// translates; the text is looked at where nothing else tells, and may be in another language.
fn not_let_in(login: &Login<'_>, routine: Option<&str>, text: &str, asked: Option<Asked>) -> Failure {
    let certificate_given = login.tls.identity.is_some();
    match (routine, asked, login.tls.mode) {
        (Some("InitializeSessionUserId"), _, _) => {
            Failure::new(FailureClass::SourceNotAllowed).advice("create the role at the server, or let it log in")
        }
        // LDAP, PAM and RADIUS say so for a wrong password.
        (_, Some(Asked::Password), _) => Failure::new(FailureClass::WrongCredentials),
        (Some("auth_failed"), _, _) if certificate_given => Failure::new(FailureClass::ClientCertificateRequired)
            .advice("the certificate's common name must be the user's, or be mapped to it at the server"),
        _ if text.contains("client certificate") => Failure::new(FailureClass::ClientCertificateRequired),
        (_, _, Mode::Disable) => Failure::new(FailureClass::EncryptionRequired).advice(
            "set spec.tls.mode to VerifyFull; if that does not help, allow this user from the operator's network",
        ),
        (_, _, Mode::Require | Mode::VerifyCa | Mode::VerifyFull) => Failure::new(FailureClass::SourceNotAllowed),
    }
}
