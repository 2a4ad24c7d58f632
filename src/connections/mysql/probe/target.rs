//! What is asked about a table, and what the answers mean together. Pure. No statement here reads a row or changes anything, and each
//! needs exactly the right that it proves.

use std::{fmt::Write as _, time::Duration};

use super::{
    codes::{self, Lack},
    wire::Answer,
};
use crate::{
    connections::Permission,
    failure::{Failure, FailureClass, Setting},
};

/// Who the server takes us for. It is the first statement, and the one that a session is refused that must change its password first.
pub(super) const WHO: &str = "SELECT CURRENT_USER()";

/// What servers answer to it that do not look at accounts (`--skip-grant-tables`), MariaDB and MySQL.
const NOBODY: [&[u8]; 2] = [b"@", b"skip-grants user@skip-grants host"];

/// A table and its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table<'a> {
    pub database: &'a str,
    pub name: &'a str,
}

impl Table<'_> {
    /// As messages show it.
    pub(super) fn shown(&self) -> Setting {
        Setting::from_spec(format!("table {}.{}", self.database, self.name))
    }

    /// Needs SELECT on the table or on a column of it. Without rows nothing of a view is computed either.
    pub(super) fn select(&self) -> String {
        format!("SELECT 1 FROM {} LIMIT 0", self.quoted())
    }

    /// Needs INSERT on the table or on a column of it, and nothing else. No column is named, so it is right for every table: what a row
    /// lacks is found when it is written, and it is not. No number of `AUTO_INCREMENT` is used up, and no trigger runs. MySQL 9 can
    /// show the plan of a view in the traditional form only.
    pub(super) fn explain_insert(&self) -> String {
        format!("EXPLAIN FORMAT=TRADITIONAL INSERT INTO {} () VALUES ()", self.quoted())
    }

    /// Has a row where the user has any right on the table. It is asked only of a table that may neither be read nor be written to:
    /// such a user is told the same of a table that is not there.
    pub(super) fn visible(&self) -> String {
        format!(
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(self.database),
            literal(self.name)
        )
    }

    fn quoted(&self) -> String {
        format!("{}.{}", identifier(self.database), identifier(self.name))
    }
}

/// A name between backticks, in which a backtick is doubled. No mode of a server changes that: `ANSI_QUOTES` only adds another kind of
/// quotes, and no backslash escapes anything there.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as its bytes in hexadecimal digits: nothing in it can end it, whatever the server's mode. Names in the catalog compare with it as
/// the server takes them elsewhere, folded or exact.
fn literal(text: &str) -> String {
    text.bytes().fold("X'".to_owned(), |mut literal, byte| {
        let _ = write!(literal, "{byte:02x}");
        literal
    }) + "'"
}

/// How long a statement may wait for another one's lock where so much time is left: less than that, so that the server's answer still
/// comes, and the statement ends with the look.
pub(super) fn patience(left: Duration) -> String {
    format!("SET SESSION lock_wait_timeout = {}", left.mul_f32(0.8).as_secs().clamp(1, 60))
}

/// `ER_UNKNOWN_SYSTEM_VARIABLE`: a server that has no locks of that kind.
pub(super) const UNKNOWN_VARIABLE: u16 = 1193;

/// Whether that server has looked at no password, by the answer to [`WHO`].
pub(super) fn is_nobody(who: Option<&[u8]>) -> bool {
    who.is_some_and(|who| NOBODY.contains(&who))
}

/// What is not proven then.
pub(super) const UNCHECKED: &str = "the password, which this server does not look at: it runs without its grant tables";

/// What is known about one permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// It is there.
    Granted,
    /// Something is missing, the server says by this number.
    Lacks(Lack, u16),
}

impl Right {
    /// What the answer to [`Table::select`] means.
    pub(super) fn to_read(answer: &Answer, table: &Table<'_>) -> Result<Self, Failure> {
        match answer {
            Answer::Done(_) => Ok(Self::Granted),
            Answer::Error(code) => Ok(Self::Lacks(codes::of_a_table(*code, &table.shown())?, *code)),
        }
    }

    /// What the answer to [`Table::explain_insert`] means.
    pub(super) fn to_write(answer: &Answer, table: &Table<'_>) -> Result<Self, Failure> {
        match answer {
            // ER_WRONG_VALUE_COUNT_ON_ROW: into a view MariaDB puts rows only where columns are named, which it finds after the rights.
            Answer::Done(_) | Answer::Error(1136) => Ok(Self::Granted),
            Answer::Error(code) => Ok(Self::Lacks(codes::of_an_insert(*code, &table.shown())?, *code)),
        }
    }
}

/// What was found out about the table.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// Looked at where Read is asked for, and where nothing is.
    pub read: Option<Right>,
    /// Looked at where Write is asked for; nothing where the answer is unclear.
    pub write: Option<Right>,
    /// Whether [`Table::visible`] has a row; looked at where [`Rights::tell_nothing`].
    pub visible: bool,
}

impl Rights {
    /// Whether the table may as well not be there: nothing of what was found out shows that it is.
    pub(super) fn tell_nothing(&self) -> bool {
        let mut known = self.all().peekable();
        known.peek().is_some() && known.all(|right| matches!(right, Right::Lacks(Lack::Right, _)))
    }

    /// Whether that is enough.
    pub(super) fn judge(&self, table: &Table<'_>, asked: &[Permission]) -> Result<(), Failure> {
        let fails = |class, code| Err(Failure::new(class).about(table.shown()).code(codes::number(code)));
        for right in self.all() {
            match right {
                Right::Lacks(Lack::Table, code) => return fails(FailureClass::TargetNotFound, code),
                Right::Lacks(Lack::Right, code) if self.tell_nothing() && !self.visible => {
                    return fails(FailureClass::TargetNotFoundOrNotPermitted, code);
                }
                Right::Lacks(Lack::Right | Lack::Room, _) | Right::Granted => {}
            }
        }
        let lacking: Vec<(Permission, Lack, u16)> = asked
            .iter()
            .filter_map(|permission| match self.of(*permission)? {
                Right::Granted => None,
                Right::Lacks(lack, code) => Some((*permission, lack, code)),
            })
            .collect();
        let Some((_, _, code)) = lacking.first() else { return Ok(()) };
        let failure = Failure::new(FailureClass::PermissionDenied).about(table.shown());
        let failure = failure.words(lacking.iter().map(|(permission, _, _)| permission)).code(codes::number(*code));
        Err(if lacking.iter().any(|(_, lack, _)| *lack == Lack::Room) {
            failure.advice("name a table, or a view that rows can be put into")
        } else {
            failure
        })
    }

    fn all(&self) -> impl Iterator<Item = Right> {
        self.read.into_iter().chain(self.write)
    }

    fn of(&self, permission: Permission) -> Option<Right> {
        match permission {
            Permission::List => None,
            Permission::Read => self.read,
            Permission::Write => self.write,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Reason;

    const ORDERS: Table<'_> = Table { database: "orders", name: "orders" };

    #[test]
    fn no_name_can_leave_its_quotes() {
        for (name, quoted) in [
            ("orders", "`orders`"),
            ("Odd Name", "`Odd Name`"),
            ("a`b", "`a``b`"),
            ("`", "````"),
            ("x`; DROP TABLE y; -- ", "`x``; DROP TABLE y; -- `"),
            ("a\\", "`a\\`"),
            ("a\\`b", "`a\\``b`"),
            ("'\"", "`'\"`"),
            ("größe", "`größe`"),
        ] {
            assert_eq!(identifier(name), quoted);
            let table = Table { database: name, name };
            assert_eq!(table.select(), format!("SELECT 1 FROM {quoted}.{quoted} LIMIT 0"));
            assert_eq!(
                table.explain_insert(),
                format!("EXPLAIN FORMAT=TRADITIONAL INSERT INTO {quoted}.{quoted} () VALUES ()")
            );
            let literals = table.visible().split('=').skip(1).map(str::trim).collect::<Vec<_>>().join(" ");
            assert!(
                literals.bytes().all(|byte| b"X' ANDTBLEM_".contains(&byte) || byte.is_ascii_hexdigit()),
                "{literals}"
            );
        }
        assert_eq!(literal("o'r"), "X'6f2772'");
        assert_eq!(literal("ü"), "X'c3bc'");
    }

    #[test]
    fn a_lock_is_waited_for_a_little_shorter_than_we_wait() {
        for (left, seconds) in [(0, 1), (1, 1), (3, 2), (10, 8), (60, 48), (86_400, 60)] {
            assert_eq!(patience(Duration::from_secs(left)), format!("SET SESSION lock_wait_timeout = {seconds}"));
        }
    }

    fn judged(read: Option<Right>, write: Option<Right>, visible: bool, asked: &[Permission]) -> Result<(), Reason> {
        Rights { read, write, visible }.judge(&ORDERS, asked).map_err(|failure| failure.reason())
    }

    #[test]
    fn one_right_shows_that_the_table_is_there() {
        use Permission::{Read, Write};
        use Reason::{PermissionDenied, TargetNotFound, TargetNotFoundOrNotPermitted};
        let (granted, denied) = (Some(Right::Granted), Some(Right::Lacks(Lack::Right, 1142)));
        let missing = Some(Right::Lacks(Lack::Table, 1146));
        for (read, write, visible, asked, expected) in [
            (granted, None, false, &[][..], Ok(())),
            (denied, None, true, &[], Ok(())),
            (denied, None, false, &[], Err(TargetNotFoundOrNotPermitted)),
            (missing, None, false, &[], Err(TargetNotFound)),
            (granted, granted, false, &[Read, Write], Ok(())),
            (granted, denied, false, &[Read, Write], Err(PermissionDenied)),
            (denied, granted, false, &[Read, Write], Err(PermissionDenied)),
            (denied, denied, true, &[Read, Write], Err(PermissionDenied)),
            (denied, denied, false, &[Read, Write], Err(TargetNotFoundOrNotPermitted)),
            // Whoever may write to any table of a database, and read none of it.
            (denied, missing, false, &[Read, Write], Err(TargetNotFound)),
            (None, Some(Right::Lacks(Lack::Room, 1471)), false, &[Write], Err(PermissionDenied)),
            // What is not known about Write hides nothing, and shows nothing.
            (denied, None, true, &[Read, Write], Err(PermissionDenied)),
            (denied, None, false, &[Read, Write], Err(TargetNotFoundOrNotPermitted)),
            (missing, None, false, &[Read, Write], Err(TargetNotFound)),
            (None, None, false, &[Write], Ok(())),
        ] {
            assert_eq!(judged(read, write, visible, asked), expected, "{read:?} {write:?} {visible} {asked:?}");
        }
    }

    #[test]
    fn every_missing_permission_is_listed_with_one_number() {
        let denied = Some(Right::Lacks(Lack::Right, 1142));
        let rights = Rights { read: denied, write: denied, visible: true };
        let failure = rights.judge(&ORDERS, &[Permission::Read, Permission::Write]).unwrap_err();
        assert!(
            failure.message().starts_with("not permitted on table orders.orders (Read, Write, 1142):"),
            "{failure:?}"
        );
    }
}
