//! What the SQL API answers: the names in a result, or the code of what went wrong. Nothing else of an answer is read. Pure.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Code, Failure, FailureClass};

/// A code, and what it says.
type Row = (&'static str, FailureClass);

/// The codes that are known, from "Key Pair Authentication: Troubleshooting" and "Snowflake SQL API reference" of Snowflake's
/// documentation, 2026, its drivers for Go, Java and Python (`errors.go`, `Constants.java` and their tests, `network.py`), and what
/// users of the API report.
const TABLE: &[Row] = &[
    // Who are you?
    ("390100", FailureClass::WrongCredentials),   // user or password
    ("390101", FailureClass::AccountLocked),      // the user is disabled
    ("390102", FailureClass::AccountLocked),      // too many rejections
    ("390112", FailureClass::CredentialsExpired), // a session's token
    ("390114", FailureClass::CredentialsExpired), // the same
    (JWT_INVALID, FailureClass::WrongCredentials),
    ("390195", FailureClass::WrongCredentials), // an id token
    // A token that is made for each look has expired.
    ("390198", FailureClass::ClockSkewed),
    ("390303", FailureClass::WrongCredentials),   // an OAuth token
    ("390309", FailureClass::WrongCredentials),   // the token is another user's
    ("390318", FailureClass::CredentialsExpired), // an OAuth token
    ("390422", FailureClass::SourceNotAllowed),   // a network policy
    (NO_POLICY, FailureClass::SourceNotAllowed),
    (JWT_UNCLEAR, FailureClass::WrongCredentials),
    // A token that is made for each look has expired, is not valid yet, or is valid for too long.
    ("394301", FailureClass::ClockSkewed),
    ("394302", FailureClass::ClockSkewed),
    ("394303", FailureClass::ClockSkewed),
    (JWT_FINGERPRINT, FailureClass::WrongCredentials),
    (JWT_ALGORITHM, FailureClass::WrongCredentials),
    (JWT_FORMAT, FailureClass::WrongCredentials),
    ("394400", FailureClass::WrongCredentials), // a programmatic access token
    // What may you do?
    (ROLE_NOT_GRANTED, FailureClass::TargetNotFoundOrNotPermitted),
    (ROLE_UNKNOWN, FailureClass::TargetNotFoundOrNotPermitted),
    ("390201", FailureClass::TargetNotFoundOrNotPermitted), // something that the session needs
    ("002003", FailureClass::TargetNotFoundOrNotPermitted),
    ("002043", FailureClass::TargetNotFoundOrNotPermitted),
    ("003001", FailureClass::PermissionDenied),
    // What we should not have sent.
    ("000008", FailureClass::Internal), // more than one statement
    ("001003", FailureClass::Internal), // a statement that does not parse
    ("391903", FailureClass::Internal), // no User-Agent
    ("391911", FailureClass::Internal), // a statement that the API does not take
];

/// The token of a key pair is not taken; the documentation lists a dozen causes, and the answer does not tell which it is.
const JWT_INVALID: &str = "390144";
/// The same without its cause, where others come with it (`network.py`): the fingerprint is not that of the user's key, the
/// algorithm, the form.
const JWT_UNCLEAR: &str = "394300";
const JWT_FINGERPRINT: &str = "394304";
const JWT_ALGORITHM: &str = "394305";
const JWT_FORMAT: &str = "394306";
/// A programmatic access token of a user without a network policy.
pub(super) const NO_POLICY: &str = "390432";
pub(super) const ROLE_NOT_GRANTED: &str = "390186";
pub(super) const ROLE_UNKNOWN: &str = "390189";

/// SQLSTATE of a statement that was cancelled, by its time limit or by somebody.
const CANCELLED: &str = "57014";

/// An answer, as far as it is read.
#[derive(Deserialize)]
struct Document {
    code: Option<String>,
    #[serde(rename = "sqlState")]
    sql_state: Option<String>,
    #[serde(rename = "resultSetMetaData")]
    metadata: Option<Metadata>,
    data: Option<Vec<Vec<Value>>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "rowType")]
    columns: Vec<Column>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

/// Whether who answers with `status` has let us in: it has taken the statement, whatever became of it.
pub(super) fn is_let_in(status: StatusCode) -> bool {
    [200, 202, 408, 422].contains(&status.as_u16())
}

/// What is in the column `name` of a result.
pub(super) fn names(status: StatusCode, body: &[u8]) -> Result<Vec<String>, Refused> {
    let document: Option<Document> = serde_json::from_slice(body).ok();
    if let (StatusCode::OK, Some(Document { metadata: Some(metadata), data, .. })) = (status, &document)
        && let Some(at) = metadata.columns.iter().position(|column| column.name == "name")
    {
        let cells = data.iter().flatten().filter_map(|row| row.get(at)?.as_str());
        return Ok(cells.map(str::to_owned).collect());
    }
    Err(Refused::of(status, document))
}

/// Whether a statement was explained.
pub(super) fn plan(status: StatusCode, body: &[u8]) -> Result<(), Refused> {
    match serde_json::from_slice(body).ok() {
        Some(Document { metadata: Some(_), .. }) if status == StatusCode::OK => Ok(()),
        document => Err(Refused::of(status, document)),
    }
}

/// What was said instead of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub status: StatusCode,
    /// Who has said so.
    pub by: By,
    row: Option<&'static Row>,
    cancelled: bool,
    sql_state: Option<Code>,
}

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Somebody who speaks as the SQL API does.
    Api,
    /// Somebody else, such as what stands before all accounts and knows none of this name.
    Stranger,
}

impl Refused {
    fn of(status: StatusCode, document: Option<Document>) -> Self {
        let (code, state) = document.map_or((None, None), |document| (document.code, document.sql_state));
        Self {
            status,
            // Where nothing is found there is no SQL API, whoever says so.
            by: if code.is_some() && status != StatusCode::NOT_FOUND { By::Api } else { By::Stranger },
            row: code.and_then(|code| TABLE.iter().find(|(known, _)| *known == code)),
            cancelled: state.as_deref() == Some(CANCELLED),
            sql_state: state.as_deref().map(Code::sql_state),
        }
    }

    /// Whether it has this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.row.is_some_and(|(known, _)| *known == code)
    }

    /// Whether the token of a key pair was not taken.
    pub(super) fn is_about_the_key(&self) -> bool {
        [JWT_FINGERPRINT, JWT_ALGORITHM, JWT_FORMAT].iter().any(|code| self.is(code)) || self.may_be_the_time()
    }

    /// Whether it was not taken, and it is not said that its time is not why.
    pub(super) fn may_be_the_time(&self) -> bool {
        self.is(JWT_INVALID) || self.is(JWT_UNCLEAR)
    }

    /// Whether a statement was refused for a reason that is not listed.
    pub(super) fn is_unclear(&self) -> bool {
        self.status == StatusCode::UNPROCESSABLE_ENTITY && self.row.is_none() && !self.cancelled
    }

    /// What it means. An answer without a listed code is judged by its status.
    pub(super) fn class(&self) -> FailureClass {
        if let Some((_, class)) = self.row {
            return *class;
        }
        match (self.status, self.by) {
            (StatusCode::ACCEPTED | StatusCode::REQUEST_TIMEOUT, By::Api) => FailureClass::TimedOut,
            (StatusCode::UNPROCESSABLE_ENTITY, By::Api) if self.cancelled => FailureClass::TimedOut,
            (StatusCode::UNPROCESSABLE_ENTITY, By::Api) => FailureClass::ServerUnavailable,
            // Whoever says so has looked at the credentials; to try them again might lock the user.
            (StatusCode::UNAUTHORIZED, _) | (StatusCode::FORBIDDEN, By::Api) => FailureClass::WrongCredentials,
            (StatusCode::TOO_MANY_REQUESTS, _) => FailureClass::Throttled,
            (status, _) if status.is_server_error() => FailureClass::ServerUnavailable,
            (status, By::Api) if status.is_client_error() => FailureClass::Internal,
            _ => FailureClass::ProtocolMismatch,
        }
    }

    /// The failure of that class, with the code as a message may show it.
    pub(super) fn failure(&self) -> Failure {
        self.failure_as(self.class())
    }

    /// A failure of another class, with the code as a message may show it.
    pub(super) fn failure_as(&self, class: FailureClass) -> Failure {
        let status = Code::Number(self.status.as_u16().into());
        let code = self.row.map(|(code, _)| Code::Known(code)).or(self.sql_state).unwrap_or(status);
        Failure::new(class).code(code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LISTED: &[u8] = br#"{"resultSetMetaData":{"numRows":2,"rowType":[{"name":"created_on","type":"timestamp_ltz"},
        {"name":"name","type":"text"}],"partitionInfo":[{"rowCount":2}]},"data":[["1.0","ORDERS"],["1.0",null],["1.0","orders"],[]],
        "code":"090001","sqlState":"00000","message":"canary"}"#;

    fn refused(status: u16, body: &str) -> Refused {
        names(StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err()
    }

    #[test]
    fn every_code_is_listed_once() {
        let codes: BTreeSet<&str> = TABLE.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), TABLE.len());
    }

    #[test]
    fn the_names_are_those_of_the_column_that_is_called_so() {
        assert_eq!(names(StatusCode::OK, LISTED).unwrap(), ["ORDERS", "orders"]);
        let empty = br#"{"resultSetMetaData":{"rowType":[{"name":"name"}]},"data":[]}"#;
        assert_eq!(names(StatusCode::OK, empty).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_result_is_none() {
        for (status, body) in [
            (200, "{}"),
            (200, "null"),
            (200, "<html>"),
            (200, r#"{"resultSetMetaData":{"rowType":[{"name":"other"}]},"data":[["x"]]}"#),
            (200, r#"{"resultSetMetaData":7,"data":[["x"]]}"#),
            (200, r#"{"code":"canary"}"#),
            (302, ""),
            (404, "<html>"),
            (404, r#"{"code":"390404"}"#),
            (403, "<html>"),
        ] {
            assert_eq!(refused(status, body).class(), FailureClass::ProtocolMismatch, "{status} {body}");
        }
        assert!(names(StatusCode::ACCEPTED, LISTED).is_err());
        assert!(plan(StatusCode::OK, LISTED).is_ok());
        assert!(plan(StatusCode::ACCEPTED, LISTED).is_err());
        assert!(plan(StatusCode::OK, b"{}").is_err());
    }

    #[test]
    fn a_code_wins_over_the_status_and_the_status_tells_where_there_is_none() {
        for (status, body, class) in [
            (401, r#"{"code":"390318"}"#, FailureClass::CredentialsExpired),
            (403, r#"{"code":"390422"}"#, FailureClass::SourceNotAllowed),
            (422, r#"{"code":"002003","sqlState":"02000"}"#, FailureClass::TargetNotFoundOrNotPermitted),
            (422, r#"{"code":"000604","sqlState":"57014"}"#, FailureClass::TimedOut),
            (422, r#"{"code":"canary","sqlState":"XX000"}"#, FailureClass::ServerUnavailable),
            (202, r#"{"code":"333334"}"#, FailureClass::TimedOut),
            (408, r#"{"code":"000630"}"#, FailureClass::TimedOut),
            (408, "", FailureClass::ProtocolMismatch),
            (401, "", FailureClass::WrongCredentials),
            (401, r#"{"code":"canary"}"#, FailureClass::WrongCredentials),
            (403, r#"{"code":"canary"}"#, FailureClass::WrongCredentials),
            (429, "", FailureClass::Throttled),
            (503, "<html>", FailureClass::ServerUnavailable),
            (400, r#"{"code":"canary"}"#, FailureClass::Internal),
            (400, "", FailureClass::ProtocolMismatch),
        ] {
            assert_eq!(refused(status, body).class(), class, "{status} {body}");
        }
    }

    #[test]
    fn a_code_that_a_peer_made_up_is_not_shown() {
        for (body, shown) in [
            (r#"{"code":"390422","message":"hunter2"}"#, "(390422)"),
            (r#"{"code":"hunter2","message":"hunter2"}"#, "(401)"),
            (r#"{"code":"hunter2","sqlState":"08004"}"#, "(08004)"),
            (r#"{"code":"hunter2","sqlState":"hunter2"}"#, "(unlisted code)"),
        ] {
            let message = refused(401, body).failure().message();
            assert!(message.contains(shown) && !message.contains("hunter2"), "{message}");
        }
    }
}
