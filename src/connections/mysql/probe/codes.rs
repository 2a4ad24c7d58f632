//! What the numbers of errors mean. Pure. MySQL and MariaDB have one list up to 1900 and one each above 3000; none of the numbers
//! here means something else in the other one.

use crate::{
    failure::{Code, Failure, FailureClass, Setting},
    net::tls::{Mode, Tls},
};

/// What a server says that does not even greet us. Nothing has been said to it, so it is about nobody's password.
pub(super) fn instead_of_a_greeting(code: u16) -> Failure {
    match code {
        BLOCKED | NOT_PRIVILEGED => of_the_connection(code),
        _ => Failure::new(FailureClass::ServerUnavailable).code(number(code)),
    }
}

/// What a login is refused with.
pub(super) fn of_the_login(code: u16, tls: &Tls, database: Option<Setting>) -> Failure {
    let failure = match code {
        // ER_ACCESS_DENIED_ERROR, and ER_ACCESS_DENIED_NO_PASSWORD_ERROR of MariaDB: wrong password, unknown user, not from this address,
        // not without TLS, not without a client certificate; by a server that does not tell which.
        1045 | 1698 => Failure::new(FailureClass::WrongCredentials).advice(match (tls.mode, &tls.identity) {
            (Mode::Disable, _) => {
                "correct the Secret; the server says the same to an account that is let in with TLS only (set spec.tls.mode to VerifyFull) \
                 or not from the operator's network"
            }
            (Mode::Require | Mode::VerifyCa | Mode::VerifyFull, None) => {
                "correct the Secret; the server says the same to an account that needs a client certificate \
                 (spec.tls.clientCertificateSecretRef) or is not let in from the operator's network"
            }
            (Mode::Require | Mode::VerifyCa | Mode::VerifyFull, Some(_)) => {
                "correct the Secret; the server says the same where the client certificate is not the account's, and to an account that is \
                 not let in from the operator's network"
            }
        }),
        code => return of_the_session(code, database),
    };
    failure.code(number(code))
}

/// What a session is refused with that begins in `database`: the login, or its first statement by a proxy that lets people in itself
/// (`ProxySQL`).
pub(super) fn of_the_session(code: u16, database: Option<Setting>) -> Failure {
    let (class, database) = match (code, database) {
        // ER_DBACCESS_DENIED_ERROR: said of a database that is not there, too.
        (1044, Some(database)) => (FailureClass::TargetNotFoundOrNotPermitted, database),
        // ER_BAD_DB_ERROR, and ER_WRONG_DB_NAME: none can have this name.
        (1049 | 1102, Some(database)) => (FailureClass::TargetNotFound, database),
        (code, _) => return of_the_connection(code),
    };
    Failure::new(class).about(database).code(number(code))
}

/// What may be said of the account, the connection or the server at any time.
pub(super) fn of_the_connection(code: u16) -> Failure {
    let failure =
        match code {
            // ER_MUST_CHANGE_PASSWORD, ER_MUST_CHANGE_PASSWORD_LOGIN
            1820 | 1862 => Failure::new(FailureClass::CredentialsExpired)
                .advice("set a new password at the server, and in the Secret"),
            // ER_ACCOUNT_HAS_BEEN_LOCKED of MySQL and of MariaDB; too many wrong passwords: ER_USER_IS_BLOCKED of MariaDB,
            // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK of MySQL
            3118 | 4151 | 4150 | 3955 => Failure::new(FailureClass::AccountLocked),
            BLOCKED => Failure::new(FailureClass::SourceNotAllowed).advice(UNBLOCK),
            NOT_PRIVILEGED => Failure::new(FailureClass::SourceNotAllowed),
            // ER_SECURE_TRANSPORT_REQUIRED
            3159 => Failure::new(FailureClass::EncryptionRequired),
            // ER_NOT_SUPPORTED_AUTH_MODE, ER_SERVER_IS_IN_SECURE_AUTH_MODE, ER_PLUGIN_IS_NOT_LOADED
            1251 | 1275 | 1524 => Failure::new(FailureClass::AuthenticationMethodNotSupported),
            // ER_HANDSHAKE_ERROR, ER_NET_PACKET_TOO_LARGE, ER_NET_PACKETS_OUT_OF_ORDER, ER_MALFORMED_PACKET, ER_PARSE_ERROR: it does not
            // understand us.
            1043 | 1153 | 1156 | 1835 | 1064 => Failure::new(FailureClass::ProtocolMismatch),
            // ER_QUERY_INTERRUPTED, ER_STATEMENT_TIMEOUT of MariaDB, ER_QUERY_TIMEOUT of MySQL
            1317 | 1969 | 3024 => Failure::new(FailureClass::TimedOut)
                .advice("check the server's load, and its time limits for statements"),
            // ER_USER_LIMIT_REACHED, ER_TOO_MANY_USER_CONNECTIONS
            1226 | 1203 => Failure::new(FailureClass::ServerUnavailable).advice(
                "raise the limit of the account, or spec.probe.interval: a probe is a connection and a few statements",
            ),
            // ER_CON_COUNT_ERROR
            1040 => Failure::new(FailureClass::ServerUnavailable)
                .advice("close connections, or raise max_connections at the server"),
            _ => Failure::new(FailureClass::ServerUnavailable),
        };
    failure.code(number(code))
}

/// What is missing where a statement about a table is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The right to it; or, of a table that the user has no right on at all, the table.
    Right,
    /// The table.
    Table,
    /// Room for a row: the view takes none, whoever asks.
    Room,
}

/// What is missing where a statement about `table` was refused.
///
/// # Errors
/// Where it was refused for another reason.
pub(super) fn of_a_table(code: u16, table: &Setting) -> Result<Lack, Failure> {
    let about = |class| Failure::new(class).about(table.clone());
    let failure = match code {
        // ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR
        1142 | 1143 => return Ok(Lack::Right),
        // ER_NO_SUCH_TABLE, and ER_WRONG_TABLE_NAME: none can have this name.
        1146 | 1103 => return Ok(Lack::Table),
        // ER_LOCK_WAIT_TIMEOUT
        1205 => about(FailureClass::TimedOut).advice("find who holds a lock on it: SHOW PROCESSLIST at the server"),
        // ER_VIEW_INVALID, ER_NO_SUCH_USER; and ER_ACCESS_DENIED_ERROR, to somebody who need not know who the definer is
        1356 | 1449 | 1045 => about(FailureClass::TargetUnavailable)
            .word("the view is broken")
            .advice("correct the view: something that it needs is gone, or its definer may not use it"),
        // ER_FILE_NOT_FOUND, ER_GET_ERRNO, ER_NOT_FORM_FILE, ER_NOT_KEYFILE, ER_CRASHED_ON_USAGE, ER_CRASHED_ON_REPAIR,
        // ER_NO_SUCH_TABLE_IN_ENGINE
        1017 | 1030 | 1033 | 1034 | 1194 | 1195 | 1932 => about(FailureClass::TargetUnavailable),
        code => return Err(of_the_connection(code)),
    };
    Err(failure.code(number(code)))
}

/// The same where an INSERT was not even explained.
///
/// # Errors
/// As [`of_a_table`].
pub(super) fn of_an_insert(code: u16, table: &Setting) -> Result<Lack, Failure> {
    let about = |class| Failure::new(class).about(table.clone());
    let failure = match code {
        // ER_NON_INSERTABLE_TABLE
        1471 => return Ok(Lack::Room),
        // ER_VIEW_NO_EXPLAIN
        1345 => about(FailureClass::NotProvable).word("Write").advice(
            "grant SELECT and SHOW VIEW on the view and SELECT on its tables, or leave Write out of spec.permissions",
        ),
        // ER_PARSE_ERROR, ER_NOT_SUPPORTED_YET: the server explains no INSERT.
        1064 | 1235 => about(FailureClass::NotProvable).word("Write"),
        // ER_OPTION_PREVENTS_STATEMENT, ER_READ_ONLY_MODE, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
        1290 | 1836 | 1792 => about(FailureClass::TargetUnavailable)
            .word("the server takes no writes")
            .advice("name the server that does, or leave Write out of spec.permissions"),
        code => return of_a_table(code, table),
    };
    Err(failure.code(number(code)))
}

/// The number as a message shows it.
pub(super) fn number(code: u16) -> Code {
    Code::Number(i64::from(code))
}

/// `ER_HOST_IS_BLOCKED`, `ER_HOST_NOT_PRIVILEGED`.
const BLOCKED: u16 = 1129;
const NOT_PRIVILEGED: u16 = 1130;

const UNBLOCK: &str = "it has seen too many broken connections from there: find who breaks them, then run \
    TRUNCATE TABLE performance_schema.host_cache (MySQL) or FLUSH HOSTS (MariaDB)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Reason, Stage};

    #[test]
    fn every_number_is_a_failure_that_shows_it() {
        let table = Setting::from_spec("table orders.orders");
        for code in 0..=u16::MAX {
            let shown = format!("{code})");
            for failure in [
                instead_of_a_greeting(code),
                of_the_login(code, &Tls::default(), None),
                of_the_session(code, Some(Setting::from_spec("database orders"))),
                of_the_connection(code),
                of_an_insert(code, &table).err().unwrap_or_else(|| of_the_connection(code)),
                of_a_table(code, &table).err().unwrap_or_else(|| of_the_connection(code)),
            ] {
                assert!(failure.message().contains(&shown), "{}", failure.message());
                assert_ne!(failure.reason(), Reason::InternalError);
            }
        }
    }

    #[test]
    fn what_comes_instead_of_a_greeting_is_about_no_password_and_no_target() {
        for code in 0..=u16::MAX {
            let row = instead_of_a_greeting(code).class().row();
            assert!(row.stage.is_none_or(|stage| stage == Stage::Authenticate), "{code}");
            assert_ne!(row.reason, Reason::AuthenticationFailed, "{code}");
        }
    }

    #[test]
    fn a_rejected_login_says_what_else_it_may_be() {
        let message = |tls: &Tls| of_the_login(1045, tls, None).message();
        let mut tls = Tls { mode: Mode::Disable, ..Tls::default() };
        assert!(message(&tls).contains("spec.tls.mode"), "{}", message(&tls));
        tls.mode = Mode::VerifyFull;
        assert!(message(&tls).contains("spec.tls.clientCertificateSecretRef"), "{}", message(&tls));
        for mode in [Mode::Disable, Mode::Require, Mode::VerifyCa, Mode::VerifyFull] {
            tls.mode = mode;
            assert!(message(&tls).contains("correct the Secret") && !message(&tls).contains('…'), "{}", message(&tls));
        }
    }
}
