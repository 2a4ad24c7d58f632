//! PostgreSQL's protocol, for every type that speaks it: what is looked for in a catalog, and whether it is there. This file
//! decides; `login.rs` and `guard.rs` talk.

mod guard;
pub mod login;
mod messages;

pub use messages::Asked;
use tokio_postgres::{Error, Row};

use crate::{
    connections::Permission,
    failure::{Failure, FailureClass, Setting},
};

/// A look at the relations in the catalog, of the schema `$1` or, where that is empty, of all.
pub const RELATIONS: &str = "SELECT 1 FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE $1 IN ('', n.nspname::text) LIMIT 1";

/// What is asked for.
#[derive(Debug)]
pub struct Target {
    /// The schema, by its exact name.
    pub schema: Option<String>,
    /// The table, by its exact name.
    pub table: Option<String>,
    /// What must be permitted on the table.
    pub permissions: Vec<Permission>,
}

/// What the catalog says about the target.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The schema that is asked for is not in it.
    pub schema_missing: bool,
    /// What the user may do with the table, where it is in it.
    pub table: Option<Rights>,
    /// The server takes no writes, whatever is granted.
    pub read_only: bool,
}

/// What the user may do with the table, and with its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// `USAGE` on the schema.
    pub usage: bool,
    /// `SELECT` on the table.
    pub select: bool,
    /// `INSERT` on the table.
    pub insert: Insert,
}

/// Whether rows may be put into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The user has the right.
    Granted,
    /// The user lacks the right.
    NotGranted,
    /// It takes no rows, whatever is granted. Looked at where Write is asked for.
    Impossible,
}

impl Rights {
    /// Those in the first four columns of a row, in their order; the last one says whether it takes rows.
    ///
    /// # Errors
    /// Where the columns are others.
    pub fn of(row: &Row) -> Result<Self, Error> {
        let insert = match (granted(row, 2)?, granted(row, 3)?) {
            (true, true) => Insert::Granted,
            (false, true) => Insert::NotGranted,
            (_, false) => Insert::Impossible,
        };
        Ok(Self { usage: granted(row, 0)?, select: granted(row, 1)?, insert })
    }

    fn allow(self, permission: Permission) -> bool {
        match permission {
            Permission::List => true,
            Permission::Read => self.usage && self.select,
            Permission::Write => self.usage && self.insert == Insert::Granted,
        }
    }
}

impl Target {
    /// The table, as messages call it.
    pub fn shown(&self) -> Option<Setting> {
        self.table.as_deref().map(|table| named("table", self.schema.as_deref(), Some(table)))
    }

    /// Whether that is enough.
    ///
    /// # Errors
    /// What is missing.
    pub fn judge(&self, catalog: &Catalog) -> Result<(), Failure> {
        if catalog.schema_missing {
            return Err(Failure::new(FailureClass::TargetNotFound).about(named(
                "schema",
                self.schema.as_deref(),
                None,
            )));
        }
        let Some(about) = self.shown() else { return Ok(()) };
        let Some(rights) = &catalog.table else {
            let failure = Failure::new(FailureClass::TargetNotFound).about(about);
            return Err(match self.schema {
                Some(_) => failure,
                None => failure.advice(
                    "create it, correct the name, or name its schema: one that the user has no USAGE on is not searched",
                ),
            });
        };
        let missing: Vec<Permission> = self.permissions.iter().copied().filter(|p| !rights.allow(*p)).collect();
        if missing.is_empty() {
            return if catalog.read_only && self.permissions.contains(&Permission::Write) {
                Err(Failure::new(FailureClass::TargetUnavailable)
                    .about(about)
                    .word("the server takes no writes: a standby, or read-only by default")
                    .advice("name the server that does, or leave Write out of spec.permissions"))
            } else {
                Ok(())
            };
        }
        let failure = Failure::new(FailureClass::PermissionDenied).about(about).words(&missing);
        Err(match rights {
            Rights { insert: Insert::Impossible, .. } if missing.contains(&Permission::Write) => failure
                .advice("name a table, or a view that rows can be put into: this one takes none, whatever is granted"),
            Rights { usage: false, .. } => failure.advice("grant USAGE on its schema and the permission on it"),
            Rights { .. } => failure,
        })
    }
}

/// The privilege in a column. It is null where its object has gone in the meantime.
///
/// # Errors
/// Where the column is another.
pub fn granted(row: &Row, column: usize) -> Result<bool, Error> {
    row.try_get::<usize, Option<bool>>(column).map(|granted| granted == Some(true))
}

/// What the protocol calls a table or a schema of the spec, for a message.
fn named(kind: &str, schema: Option<&str>, table: Option<&str>) -> Setting {
    let name: Vec<&str> = schema.into_iter().chain(table).collect();
    Setting::from_spec(format!("{kind} {}", name.join(".")))
}
