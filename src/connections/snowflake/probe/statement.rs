//! The statements of a look: `SHOW` and `EXPLAIN`, neither of which needs a warehouse, writes, or reads a row. Pure.
//!
//! Names are exact: they stand in double quotes, or are compared with what is listed.

use crate::{connections::Permission, failure::Setting};

/// Something that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::connections::snowflake) enum Target {
    /// Nothing in particular: a look at what is listed logs in.
    Anything,
    Database(String),
    Schema {
        database: String,
        schema: String,
    },
    /// A table or a view.
    Table {
        database: String,
        schema: String,
        table: String,
    },
    Warehouse(String),
}

/// Where a name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Exactly,
    /// A name is there that differs in case only.
    InOtherCase,
    Nowhere,
}

impl Target {
    /// The statement that lists it. It lists what this role has any privilege on.
    pub(super) fn statement(&self) -> String {
        match self {
            Self::Anything => "SHOW TERSE DATABASES LIMIT 1".to_owned(),
            Self::Database(name) => format!("SHOW TERSE DATABASES LIKE {}", pattern(name)),
            Self::Schema { database, schema } => {
                format!("SHOW TERSE SCHEMAS LIKE {} IN DATABASE {}", pattern(schema), path(&[database]))
            }
            Self::Table { database, schema, table } => {
                format!("SHOW TERSE OBJECTS LIKE {} IN SCHEMA {}", pattern(table), path(&[database, schema]))
            }
            Self::Warehouse(name) => format!("SHOW WAREHOUSES LIKE {}", pattern(name)),
        }
    }

    /// The statement that is compiled only for who may do what `permission` says; `None` where the target has no such permission.
    /// What is explained is not run.
    pub(super) fn proof(&self, permission: Permission) -> Option<String> {
        let Self::Table { database, schema, table } = self else { return None };
        let table = path(&[database, schema, table]);
        match permission {
            Permission::List => None,
            Permission::Read => Some(format!("EXPLAIN USING TEXT SELECT 1 FROM {table}")),
            Permission::Write => {
                Some(format!("EXPLAIN USING TEXT INSERT INTO {table} SELECT * FROM {table} WHERE FALSE"))
            }
        }
    }

    /// Where its name is among those that are listed.
    pub(super) fn found_in(&self, listed: &[String]) -> Found {
        let name = match self {
            Self::Anything => return Found::Exactly,
            Self::Database(name) | Self::Warehouse(name) => name,
            Self::Schema { schema, .. } => schema,
            Self::Table { table, .. } => table,
        };
        let capitals = name.to_uppercase();
        if listed.contains(name) {
            Found::Exactly
        } else if listed.iter().any(|other| other.to_uppercase() == capitals) {
            Found::InOtherCase
        } else {
            Found::Nowhere
        }
    }

    /// The target, as messages call it.
    pub(super) fn shown(&self) -> Setting {
        Setting::from_spec(match self {
            Self::Anything => "the account".to_owned(),
            Self::Database(name) => format!("database {name}"),
            Self::Schema { database, schema } => format!("schema {database}.{schema}"),
            Self::Table { database, schema, table } => format!("table {database}.{schema}.{table}"),
            Self::Warehouse(name) => format!("warehouse {name}"),
        })
    }
}

/// A literal for a pattern that matches `name`, in any case, and maybe other names.
///
/// `SHOW … LIKE` has no `ESCAPE` clause, and the documentation does not say that a backslash escapes a wildcard there. So nothing
/// is escaped: a wildcard matches itself, too, and `_` stands for a backslash.
fn pattern(name: &str) -> String {
    format!("'{}'", name.replace('\\', "_").replace('\'', "''"))
}

/// A name of several parts, each in double quotes ("Identifier requirements": a double quote in it is doubled).
fn path(parts: &[&str]) -> String {
    let quoted: Vec<String> = parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    quoted.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Target {
        Target::Table { database: "SHOP".to_owned(), schema: "PUBLIC".to_owned(), table: name.to_owned() }
    }

    #[test]
    fn each_target_is_listed_by_one_statement() {
        let schema = Target::Schema { database: "a\"b".to_owned(), schema: "PUBLIC".to_owned() };
        for (target, statement) in [
            (Target::Anything, "SHOW TERSE DATABASES LIMIT 1"),
            (Target::Database("SHOP".to_owned()), "SHOW TERSE DATABASES LIKE 'SHOP'"),
            (schema, "SHOW TERSE SCHEMAS LIKE 'PUBLIC' IN DATABASE \"a\"\"b\""),
            (table("ORDERS"), "SHOW TERSE OBJECTS LIKE 'ORDERS' IN SCHEMA \"SHOP\".\"PUBLIC\""),
            (Target::Warehouse("COMPUTE".to_owned()), "SHOW WAREHOUSES LIKE 'COMPUTE'"),
        ] {
            assert_eq!(target.statement(), statement);
        }
    }

    #[test]
    fn a_name_does_not_end_the_literal_or_the_identifier_that_it_stands_in() {
        for (name, literal, identifier) in [
            ("it's", "'it''s'", "\"it's\""),
            ("a\\'; DROP TABLE x --", "'a_''; DROP TABLE x --'", "\"a\\'; DROP TABLE x --\""),
            ("a\\", "'a_'", "\"a\\\""),
            ("\"; x", "'\"; x'", "\"\"\"; x\""),
            ("A_B%", "'A_B%'", "\"A_B%\""),
        ] {
            assert_eq!(pattern(name), literal);
            assert_eq!(path(&[name]), identifier);
        }
    }

    #[test]
    fn a_permission_is_proven_by_what_is_explained_and_not_run() {
        let path = "\"SHOP\".\"PUBLIC\".\"ORDERS\"";
        let proof = |permission| table("ORDERS").proof(permission);
        assert_eq!(proof(Permission::List), None);
        assert_eq!(proof(Permission::Read).unwrap(), format!("EXPLAIN USING TEXT SELECT 1 FROM {path}"));
        assert_eq!(
            proof(Permission::Write).unwrap(),
            format!("EXPLAIN USING TEXT INSERT INTO {path} SELECT * FROM {path} WHERE FALSE")
        );
        assert_eq!(Target::Database("SHOP".to_owned()).proof(Permission::Read), None);
    }

    #[test]
    fn what_a_pattern_matches_too_is_not_the_target() {
        let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = |names: &[&str]| table("A_B").found_in(&listed(names));
        assert_eq!(found(&["AXB", "A_B", "a_b"]), Found::Exactly);
        assert_eq!(found(&["AXB", "a_b"]), Found::InOtherCase);
        assert_eq!(found(&["AXB", "A_B2"]), Found::Nowhere);
        assert_eq!(found(&[]), Found::Nowhere);
        assert_eq!(Target::Anything.found_in(&[]), Found::Exactly);
    }
}
