//! What the numbers of SQL Server's errors say, in one table. Pure.
//!
//! From "Database engine events and errors" of SQL Server's documentation and "Troubleshoot connection issues to Azure SQL
//! Database" (2026); 42119, which is listed in neither, from what users of the free offer report.

use super::packet::Way;
use crate::failure::{Code, Failure, FailureClass};

/// What an error answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// The login.
    Login,
    /// What is asked after it.
    Question,
}

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The server, or the login.
    Server,
    /// The database.
    Database,
}

/// A number, what it says, what that is about, and a better hint than the reason's own; empty where there is none.
type Row = (u32, FailureClass, About, &'static str);

const AZURE_RULES: &str =
    "allow the operator's addresses in the firewall of the server, or connect it by a private endpoint";
const LIMITS: &str = "close connections, or raise the limit of the server, the database or its service tier";
const SEEN: &str = "create it, correct the name, or give this login a user in it";
const NOT_NOW: &str = "wait, resume or restore it, or name a replica that takes connections";
const RENEW: &str = "set a new password at the server, and in the Secret";
const BY_NAME: &str = "name the server by its DNS name in spec.sqlServer.host, or set spec.tls.serverName to it: Azure SQL finds it by that";
const PAUSED: &str = "wait, or resume the database: it is paused, starting or moving";
const FREE: &str = "wait for the next month, or let the database be billed: its free amount of this month is used up";
const OLD_TLS: &str = "look what ends TLS before the server: the version is older than the server's minimum";
const NO_USER: &str =
    "create a user for this service principal in the database: CREATE USER [its name] FROM EXTERNAL PROVIDER";

/// What a login is refused with, whatever is wrong with it.
const REJECTED: u32 = 18_456;

/// Azure's gateways say these of a database in the place of a server that would judge the login: the database is not running.
const GATEWAY: [u32; 4] = [40_613, 42_108, 42_109, 42_119];

const TABLE: &[Row] = &[
    // Who are you?
    (
        REJECTED,
        FailureClass::WrongCredentials,
        About::Server,
        "correct the Secret, or look at the server's log: it tells nobody else whether the login, its password or the server's \
         mode of authentication is the cause",
    ),
    (
        18_452,
        FailureClass::AuthenticationMethodNotSupported,
        About::Server,
        "use a login of SQL Server itself: Windows logins cannot be used here",
    ),
    (18_470, FailureClass::AccountLocked, About::Server, "enable the login at the server, then request a probe"),
    (18_486, FailureClass::AccountLocked, About::Server, ""),
    (18_487, FailureClass::CredentialsExpired, About::Server, RENEW),
    (18_488, FailureClass::CredentialsExpired, About::Server, RENEW),
    (17_892, FailureClass::SourceNotAllowed, About::Server, "a logon trigger of the server refuses it"),
    (40_615, FailureClass::SourceNotAllowed, About::Server, AZURE_RULES),
    (40_914, FailureClass::SourceNotAllowed, About::Server, AZURE_RULES),
    (47_073, FailureClass::SourceNotAllowed, About::Server, AZURE_RULES),
    // Where is it? The server does not tell whether it is there.
    (4060, FailureClass::TargetNotFoundOrNotPermitted, About::Database, SEEN),
    (4064, FailureClass::TargetNotFoundOrNotPermitted, About::Database, SEEN),
    // What may you do?
    (229, FailureClass::PermissionDenied, About::Database, ""),
    (230, FailureClass::PermissionDenied, About::Database, ""),
    (262, FailureClass::PermissionDenied, About::Database, ""),
    (297, FailureClass::PermissionDenied, About::Database, ""),
    (300, FailureClass::PermissionDenied, About::Database, ""),
    (916, FailureClass::PermissionDenied, About::Database, "give this login a user in it"),
    // Not now.
    (921, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (922, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (923, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (924, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (926, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (927, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (942, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (945, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (952, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (976, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (978, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (983, FailureClass::TargetUnavailable, About::Database, NOT_NOW),
    (40_613, FailureClass::TargetUnavailable, About::Database, PAUSED),
    (42_108, FailureClass::TargetUnavailable, About::Database, PAUSED),
    (42_109, FailureClass::TargetUnavailable, About::Database, PAUSED),
    (42_119, FailureClass::TargetUnavailable, About::Database, FREE),
    // Azure's gateway does not know the server, and has looked at no login.
    (40_531, FailureClass::ServerUnavailable, About::Server, BY_NAME),
    (40_532, FailureClass::ServerUnavailable, About::Server, BY_NAME),
    (10_928, FailureClass::ServerUnavailable, About::Server, LIMITS),
    (10_929, FailureClass::ServerUnavailable, About::Server, LIMITS),
    (17_809, FailureClass::ServerUnavailable, About::Server, LIMITS),
    (40_501, FailureClass::Throttled, About::Server, ""),
    (49_918, FailureClass::Throttled, About::Server, ""),
    (49_919, FailureClass::Throttled, About::Server, ""),
    (49_920, FailureClass::Throttled, About::Server, ""),
    // Azure's gateway looks at the version of TLS when the login is there.
    (47_072, FailureClass::TlsFailed, About::Server, OLD_TLS),
    // This is no catalog of SQL Server: a table, a column or a function of it is missing.
    (195, FailureClass::ProtocolMismatch, About::Server, ""),
    (207, FailureClass::ProtocolMismatch, About::Server, ""),
    (208, FailureClass::ProtocolMismatch, About::Server, ""),
];

/// The failure that an error of the server is, and what it is about. A number that is not listed is the server's own trouble.
pub(super) fn failure(number: u32, to: To, way: Way) -> (Failure, About) {
    let listed = TABLE.iter().find(|(listed, ..)| *listed == number);
    let (class, about, advice) = match listed {
        Some((_, _, _, advice)) if to == To::Login && GATEWAY.contains(&number) => {
            (FailureClass::ServerUnavailable, About::Server, *advice)
        }
        // The directory has just given the token, so it is not the Secret.
        Some((_, class, about, _)) if number == REJECTED && way == Way::Token => (*class, *about, NO_USER),
        Some((_, class, about, advice)) => (*class, *about, *advice),
        None => (FailureClass::ServerUnavailable, About::Server, ""),
    };
    let failure = Failure::new(class).code(Code::Number(number.into()));
    (if advice.is_empty() { failure } else { failure.advice(advice) }, about)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_number_is_listed_once() {
        let numbers: BTreeSet<u32> = TABLE.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers.len(), TABLE.len());
    }

    #[test]
    fn a_number_that_is_not_listed_is_shown_and_the_servers_own_trouble() {
        for number in [0, 1, 17_142, 40_197, u32::MAX] {
            for to in [To::Login, To::Question] {
                let (failure, about) = failure(number, to, Way::Password);
                assert_eq!((failure.class(), about), (FailureClass::ServerUnavailable, About::Server));
                assert!(failure.message().contains(&format!("({number})")), "{}", failure.message());
            }
        }
    }

    #[test]
    fn what_is_said_about_a_listed_number_fits_into_a_message() {
        for (number, ..) in TABLE {
            for (to, way) in [(To::Login, Way::Password), (To::Login, Way::Token), (To::Question, Way::Password)] {
                let message = failure(*number, to, way).0.message();
                assert!(message.contains(&format!("({number})")) && message.chars().count() < 400, "{message}");
            }
        }
    }

    #[test]
    fn a_token_that_is_refused_is_no_matter_of_the_secret() {
        let message = |way| failure(REJECTED, To::Login, way).0.message();
        assert!(message(Way::Password).contains("correct the Secret"), "{}", message(Way::Password));
        let token = message(Way::Token);
        assert!(
            token.contains("CREATE USER [its name] FROM EXTERNAL PROVIDER") && !token.contains("correct"),
            "{token}"
        );
    }
}
