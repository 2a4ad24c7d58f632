//! The error codes of the blob service and what they say. Pure.
//!
//! From "Common REST API error codes", "Blob Storage error codes" and "Shared access signature error codes" of the REST reference,
//! 2026.

use http::{HeaderMap, StatusCode, header::SERVER};

use crate::{
    failure::{Code, Failure, FailureClass},
    net::http::Answer,
};

/// The header in which every error of the service has its code.
const HEADER: &str = "x-ms-error-code";

/// The code of a request whose signature, SAS or token is not taken.
pub const AUTHENTICATION: &str = "AuthenticationFailed";
/// The code for who is known and may not; also of an account whose network rules shut the request out.
pub const AUTHORIZATION: &str = "AuthorizationFailure";
/// The code of a write whose condition does not hold.
pub const CONDITION: &str = "ConditionNotMet";
/// The code of a blob that is not there.
pub const NO_BLOB: &str = "BlobNotFound";

/// A code, and what it says.
type Row = (&'static str, FailureClass);

const TABLE: &[Row] = &[
    // Who are you?
    (AUTHENTICATION, FailureClass::WrongCredentials),
    ("InvalidAuthenticationInfo", FailureClass::WrongCredentials),
    ("NoAuthenticationInformation", FailureClass::WrongCredentials),
    ("KeyBasedAuthenticationNotPermitted", FailureClass::AuthenticationMethodNotSupported),
    ("AuthorizationSourceIPMismatch", FailureClass::SourceNotAllowed),
    ("AccountRequiresHttps", FailureClass::EncryptionRequired),
    ("AuthorizationProtocolMismatch", FailureClass::EncryptionRequired),
    // What may you do?
    (AUTHORIZATION, FailureClass::PermissionDenied),
    ("AuthorizationPermissionMismatch", FailureClass::PermissionDenied),
    ("AuthorizationResourceTypeMismatch", FailureClass::PermissionDenied),
    ("AuthorizationServiceMismatch", FailureClass::PermissionDenied),
    ("InsufficientAccountPermissions", FailureClass::PermissionDenied),
    // Where is it?
    ("ContainerNotFound", FailureClass::TargetNotFound),
    ("ResourceNotFound", FailureClass::TargetNotFound),
    ("AccountBeingCreated", FailureClass::TargetUnavailable),
    ("AccountIsDisabled", FailureClass::TargetUnavailable),
    ("ContainerBeingDeleted", FailureClass::TargetUnavailable),
    ("ContainerDisabled", FailureClass::TargetUnavailable),
    // Not now.
    ("ServerBusy", FailureClass::Throttled),
    ("InternalError", FailureClass::ServerUnavailable),
    ("OperationTimedOut", FailureClass::ServerUnavailable),
];

/// What the service said instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    /// It is a peer's word: compare it, and show it through [`Refused::failure`] only.
    code: Option<String>,
    is_azurite: bool,
}

impl Refused {
    /// What `answer` says, which is no success.
    pub fn of(answer: &Answer) -> Self {
        Self::said(answer.status, &answer.headers)
    }

    fn said(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_azurite = text(SERVER.as_str()).is_some_and(|server| server.starts_with("Azurite-Blob/"));
        Self { status, code: text(HEADER).map(str::to_owned), is_azurite }
    }

    /// Whether it has this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// What it means. An answer without a listed code is judged by its status: the service itself would have said more.
    pub fn class(&self) -> FailureClass {
        match self.row() {
            // Microsoft's emulator says so where Azure says `AuthenticationFailed`, and of nothing else.
            Some((AUTHORIZATION, _)) if self.is_azurite => FailureClass::WrongCredentials,
            Some((_, class)) => *class,
            None => match self.status {
                StatusCode::TOO_MANY_REQUESTS => FailureClass::Throttled,
                status if status.is_server_error() => FailureClass::ServerUnavailable,
                _ => FailureClass::ProtocolMismatch,
            },
        }
    }

    /// The failure of that class, with the code as a message may show it.
    pub fn failure(&self) -> Failure {
        self.failure_as(self.class())
    }

    /// A failure of another class, with the code as a message may show it.
    pub fn failure_as(&self, class: FailureClass) -> Failure {
        let code = self.row().map_or(Code::Number(self.status.as_u16().into()), |(code, _)| Code::Known(code));
        Failure::new(class).code(code)
    }

    fn row(&self) -> Option<&'static Row> {
        TABLE.iter().find(|(code, _)| self.is(code))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn refused(status: u16, code: Option<&str>, server: &str) -> Refused {
        let mut headers = HeaderMap::new();
        headers.insert(SERVER, server.parse().unwrap());
        if let Some(code) = code {
            headers.insert(HEADER, code.parse().unwrap());
        }
        Refused::said(StatusCode::from_u16(status).unwrap(), &headers)
    }

    const AZURE: &str = "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0";

    #[test]
    fn every_code_is_listed_once() {
        let codes: BTreeSet<&str> = TABLE.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), TABLE.len());
    }

    #[test]
    fn a_code_wins_over_the_status_and_the_status_tells_where_there_is_none() {
        for (status, code, class) in [
            (403, Some("AuthenticationFailed"), FailureClass::WrongCredentials),
            (403, Some("AuthorizationFailure"), FailureClass::PermissionDenied),
            (503, Some("ServerBusy"), FailureClass::Throttled),
            (503, None, FailureClass::ServerUnavailable),
            (502, Some("hunter2"), FailureClass::ServerUnavailable),
            (429, None, FailureClass::Throttled),
            (403, None, FailureClass::ProtocolMismatch),
            (404, Some("hunter2"), FailureClass::ProtocolMismatch),
        ] {
            assert_eq!(refused(status, code, AZURE).class(), class, "{status} {code:?}");
        }
    }

    #[test]
    fn the_emulator_says_of_a_wrong_signature_what_azure_says_of_a_missing_right() {
        let said = |code| refused(403, Some(code), "Azurite-Blob/3.37.0").class();
        assert_eq!(said("AuthorizationFailure"), FailureClass::WrongCredentials);
        assert_eq!(said("AuthorizationPermissionMismatch"), FailureClass::PermissionDenied);
    }

    #[test]
    fn a_code_that_a_peer_made_up_is_not_shown() {
        let message = refused(400, Some("hunter2"), AZURE).failure().message();
        assert!(message.contains("(400)") && !message.contains("hunter2"), "{message}");
        assert!(refused(403, Some("ServerBusy"), AZURE).failure().message().contains("(ServerBusy)"));
    }
}
