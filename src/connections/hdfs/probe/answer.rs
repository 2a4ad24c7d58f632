//! What WebHDFS answers, and what it means. From "WebHDFS REST API" of Hadoop 3.4, and from what its name nodes were seen to say.

use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};
use serde_json::Value;

use crate::failure::{Code, Failure, FailureClass};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, or a link to something.
    File,
    /// A directory.
    Directory,
}

/// The exceptions that are known, and what each means to the first request.
type Row = (&'static str, FailureClass);

const TABLE: &[Row] = &[
    // Who are you?
    ("SecurityException", FailureClass::WrongCredentials),
    ("InvalidToken", FailureClass::WrongCredentials),
    ("AuthenticationException", FailureClass::WrongCredentials),
    // A name of a user that it does not take, or an operation that it does not know: who asks knows which of the two it can be.
    (ARGUMENT, FailureClass::WrongCredentials),
    // What may you do?
    ("AccessControlException", FailureClass::PermissionDenied),
    ("AuthorizationException", FailureClass::PermissionDenied),
    // Where is it?
    ("FileNotFoundException", FailureClass::TargetNotFound),
    ("ParentNotDirectoryException", FailureClass::TargetNotFound),
    // Not now, or not here.
    (STANDBY, FailureClass::ServerUnavailable),
    ("RetriableException", FailureClass::ServerUnavailable),
    ("SafeModeException", FailureClass::ServerUnavailable),
    ("IOException", FailureClass::ServerUnavailable),
    ("RuntimeException", FailureClass::ServerUnavailable),
    ("NullPointerException", FailureClass::ServerUnavailable),
    (UNSUPPORTED, FailureClass::ProtocolMismatch),
];

const STANDBY: &str = "StandbyException";
const ARGUMENT: &str = "IllegalArgumentException";
const UNSUPPORTED: &str = "UnsupportedOperationException";

/// What was said instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    by: By,
}

/// Who has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A name node, with this exception, where it is known.
    NameNode { row: Option<Row>, over: bool },
    /// What stands before it and asks who one is.
    Guard,
    /// Something that does not speak as a name node does.
    Stranger,
}

impl Refused {
    /// What an answer says that is not the one that was hoped for.
    pub fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let exception = &document["RemoteException"];
        let by = match exception["exception"].as_str() {
            Some(said) if !status.is_success() => {
                // The words are a peer's: they decide, and are not repeated. Which of the two it is has no code of its own.
                let message = exception["message"].as_str().unwrap_or_default();
                let over = message.contains(" has expired") || message.contains(" is expired");
                By::NameNode { row: TABLE.iter().find(|(known, _)| *known == said).copied(), over }
            }
            _ if status == StatusCode::UNAUTHORIZED && headers.contains_key(WWW_AUTHENTICATE) => By::Guard,
            _ => By::Stranger,
        };
        Self { status, by }
    }

    /// Whether it was asked who one is, before anything was looked at. A guard that takes any name does not count.
    pub fn asks_for_a_login(&self, headers: &HeaderMap) -> bool {
        let ways: Vec<_> = headers.get_all(WWW_AUTHENTICATE).iter().collect();
        self.by == By::Guard && !ways.iter().all(|way| way.as_bytes().eq_ignore_ascii_case(b"PseudoAuth"))
    }

    /// What it means to the first request, which says who asks.
    pub fn class(&self) -> FailureClass {
        match (self.by, self.status) {
            (By::NameNode { row: Some((_, FailureClass::WrongCredentials)), over: true }, _) => {
                FailureClass::CredentialsExpired
            }
            (By::NameNode { row: Some((_, class)), .. }, _) => class,
            (By::Guard, _) => FailureClass::WrongCredentials,
            (_, StatusCode::TOO_MANY_REQUESTS) => FailureClass::Throttled,
            (By::NameNode { row: None, .. }, _) => FailureClass::ServerUnavailable,
            (By::Stranger, status) if status.is_server_error() => FailureClass::ServerUnavailable,
            (By::Stranger, _) => FailureClass::ProtocolMismatch,
        }
    }

    /// Whether it is another name node that serves.
    pub fn is_standby(&self) -> bool {
        self.is(STANDBY)
    }

    /// Whether a part of the question is one that it does not take.
    pub fn is_about_the_question(&self) -> bool {
        self.is(ARGUMENT) || self.is(UNSUPPORTED)
    }

    fn is(&self, exception: &str) -> bool {
        matches!(self.by, By::NameNode { row: Some((known, _)), .. } if known == exception)
    }

    /// A failure of some class, with the exception or the status as a message may show it.
    pub fn failure_as(&self, class: FailureClass) -> Failure {
        let code = match self.by {
            By::NameNode { row: Some((known, _)), .. } => Code::Known(known),
            By::NameNode { row: None, .. } | By::Guard | By::Stranger => Code::Number(self.status.as_u16().into()),
        };
        Failure::new(class).code(code)
    }
}

/// What the path leads to, in an answer to `GETFILESTATUS`; `None` where it is none.
pub fn kind(status: StatusCode, body: &[u8]) -> Option<Kind> {
    let document: Value = serde_json::from_slice(body).ok()?;
    match document["FileStatus"]["type"].as_str().filter(|_| status == StatusCode::OK)? {
        "DIRECTORY" => Some(Kind::Directory),
        "FILE" | "SYMLINK" => Some(Kind::File),
        _ => None,
    }
}

/// Whether it is an answer to `LISTSTATUS_BATCH`, or the beginning of one: who may see what is in a directory is told all of it by
/// a server that does not know where to begin.
pub fn is_listing(status: StatusCode, beginning: &[u8]) -> bool {
    let mut begins = beginning.iter().filter(|byte| !byte.is_ascii_whitespace());
    status == StatusCode::OK && b"{\"DirectoryListing\":{".iter().all(|expected| begins.next() == Some(expected))
}

/// Whether it is an answer to `CHECKACCESS`, which has nothing in it.
pub fn is_granted(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::OK && body.is_empty()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn remote(exception: &str, message: &str) -> String {
        format!(
            r#"{{"RemoteException":{{"exception":"{exception}","javaClassName":"x.{exception}","message":"{message}"}}}}"#
        )
    }

    fn refused(status: u16, asks: &str, body: &str) -> (Refused, HeaderMap) {
        let mut headers = HeaderMap::new();
        if !asks.is_empty() {
            headers.insert(WWW_AUTHENTICATE, asks.parse().unwrap());
        }
        (Refused::of(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes()), headers)
    }

    #[test]
    fn every_exception_is_listed_once() {
        let names: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn an_exception_wins_over_the_status_and_the_status_tells_where_there_is_none() {
        for (status, asks, body, class) in [
            (404, "", remote("FileNotFoundException", ""), FailureClass::TargetNotFound),
            (403, "", remote("AccessControlException", ""), FailureClass::PermissionDenied),
            (403, "", remote("SecurityException", "can't be found in cache"), FailureClass::WrongCredentials),
            (403, "", remote("SecurityException", "Token has expired, current"), FailureClass::CredentialsExpired),
            (401, "", remote("InvalidToken", "token (x) is expired"), FailureClass::CredentialsExpired),
            (403, "", remote("StandbyException", ""), FailureClass::ServerUnavailable),
            (403, "", remote("canary", ""), FailureClass::ServerUnavailable),
            (500, "", remote("canary", ""), FailureClass::ServerUnavailable),
            (401, "Negotiate", "<html>".to_owned(), FailureClass::WrongCredentials),
            (401, "", "<html>".to_owned(), FailureClass::ProtocolMismatch),
            (200, "", "<html>".to_owned(), FailureClass::ProtocolMismatch),
            (200, "", remote("AccessControlException", ""), FailureClass::ProtocolMismatch),
            (302, "", String::new(), FailureClass::ProtocolMismatch),
            (403, "", "{}".to_owned(), FailureClass::ProtocolMismatch),
            (404, "", r#"{"RemoteException":7}"#.to_owned(), FailureClass::ProtocolMismatch),
            (429, "", String::new(), FailureClass::Throttled),
            (429, "", remote("canary", ""), FailureClass::Throttled),
            (503, "", "<html>".to_owned(), FailureClass::ServerUnavailable),
        ] {
            assert_eq!(refused(status, asks, &body).0.class(), class, "{status} {body}");
        }
    }

    #[test]
    fn a_guard_that_takes_any_name_asks_for_no_login() {
        for (status, asks, expected) in [
            (401, "Negotiate", true),
            (401, "BASIC realm=\"x\"", true),
            (401, "PseudoAuth", false),
            (403, "Negotiate", false),
        ] {
            let (refused, headers) = refused(status, asks, "<html>");
            assert_eq!(refused.asks_for_a_login(&headers), expected, "{status} {asks}");
        }
    }

    #[test]
    fn an_answer_has_the_form_of_one() {
        let ok = StatusCode::OK;
        assert_eq!(kind(ok, br#"{"FileStatus":{"type":"DIRECTORY"}}"#), Some(Kind::Directory));
        assert_eq!(kind(ok, br#"{"FileStatus":{"type":"FILE"}}"#), Some(Kind::File));
        for body in
            ["", "{}", "<html>", r#"{"FileStatus":[]}"#, r#"{"FileStatus":{"type":"canary"}}"#, r#"{"type":"FILE"}"#]
        {
            assert_eq!(kind(ok, body.as_bytes()), None, "{body}");
        }
        assert_eq!(kind(StatusCode::CREATED, br#"{"FileStatus":{"type":"FILE"}}"#), None);
        assert!(is_listing(ok, br#"{"DirectoryListing":{"partialListing":{"FileStatuses":{"FileStatus":[{"acc"#));
        assert!(is_listing(ok, b"{ \"DirectoryListing\" : {\n"));
        for body in ["", "{}", "<html>", r#"{"FileStatuses":{}}"#, r#"{"DirectoryListing":7"#] {
            assert!(!is_listing(ok, body.as_bytes()), "{body}");
        }
        assert!(is_granted(ok, b"") && !is_granted(ok, b"<html>") && !is_granted(StatusCode::NO_CONTENT, b""));
    }

    #[test]
    fn an_exception_that_a_peer_made_up_is_not_shown() {
        for (body, shown) in [
            (remote("hunter2", "hunter2"), "(403)"),
            (remote("SecurityException", "hunter2"), "(SecurityException)"),
            ("hunter2".to_owned(), "(403)"),
        ] {
            let (refused, _) = refused(403, "", &body);
            let message = refused.failure_as(refused.class()).message();
            assert!(message.contains(shown) && !message.contains("hunter2"), "{message}");
        }
    }
}
