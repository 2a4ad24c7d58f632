//! The error codes of AWS, in one table for all its services, and of systems that speak the same protocols. Pure.
//!
//! From "Error Responses" of the S3 API Reference, "Common Error Types" of the other services' references and the errors of the
//! actions that are called, 2026; those with `MinIO` in a comment from that system.

use http::StatusCode;

use crate::failure::{Code, Failure, FailureClass};

/// A code, and what it says.
type Row = (&'static str, FailureClass);

const TABLE: &[Row] = &[
    // Who are you?
    ("AuthFailure", FailureClass::WrongCredentials),
    ("IncompleteSignature", FailureClass::WrongCredentials),
    ("IncompleteSignatureException", FailureClass::WrongCredentials),
    ("InvalidAccessKeyId", FailureClass::WrongCredentials),
    ("InvalidClientTokenId", FailureClass::WrongCredentials),
    ("InvalidSecurity", FailureClass::WrongCredentials),
    ("InvalidSignatureException", FailureClass::WrongCredentials),
    ("InvalidToken", FailureClass::WrongCredentials),
    // MinIO: a session token that is not this access key's
    ("InvalidTokenId", FailureClass::WrongCredentials),
    ("MissingAuthenticationToken", FailureClass::WrongCredentials),
    ("MissingAuthenticationTokenException", FailureClass::WrongCredentials),
    ("NotSignedUp", FailureClass::WrongCredentials),
    ("SignatureDoesNotMatch", FailureClass::WrongCredentials),
    ("UnrecognizedClientException", FailureClass::WrongCredentials),
    ("ExpiredToken", FailureClass::CredentialsExpired),
    ("ExpiredTokenException", FailureClass::CredentialsExpired),
    ("TokenRefreshRequired", FailureClass::CredentialsExpired),
    ("RequestExpired", FailureClass::ClockSkewed),
    ("RequestInTheFuture", FailureClass::ClockSkewed),
    ("RequestTimeTooSkewed", FailureClass::ClockSkewed),
    // Amazon Redshift: this cluster gives no temporary passwords.
    ("UnsupportedOperation", FailureClass::AuthenticationMethodNotSupported),
    // What may you do?
    ("AccessDenied", FailureClass::PermissionDenied),
    ("AccessDeniedException", FailureClass::PermissionDenied),
    ("AccountProblem", FailureClass::PermissionDenied),
    ("AllAccessDisabled", FailureClass::PermissionDenied),
    ("InvalidPayer", FailureClass::PermissionDenied),
    ("KMSAccessDeniedException", FailureClass::PermissionDenied),
    ("KMSOptInRequired", FailureClass::PermissionDenied),
    ("UnauthorizedAccess", FailureClass::PermissionDenied),
    ("UnauthorizedOperation", FailureClass::PermissionDenied),
    // Where is it?
    // Amazon SQS: the name that its protocol had before JSON
    ("AWS.SimpleQueueService.NonExistentQueue", FailureClass::TargetNotFound),
    ("ClusterNotFound", FailureClass::TargetNotFound),
    ("ClusterNotFoundFault", FailureClass::TargetNotFound),
    // Amazon SQS: nothing can have this address
    ("InvalidAddress", FailureClass::TargetNotFound),
    // Amazon Athena: what the request names is not there
    ("InvalidRequestException", FailureClass::TargetNotFound),
    // Amazon Athena: the catalog says no, and only its text says why
    ("MetadataException", FailureClass::TargetNotFoundOrNotPermitted),
    ("NoSuchBucket", FailureClass::TargetNotFound),
    ("QueueDeletedRecently", FailureClass::TargetNotFound),
    ("QueueDoesNotExist", FailureClass::TargetNotFound),
    ("ResourceNotFoundException", FailureClass::TargetNotFound),
    ("AuthorizationHeaderMalformed", FailureClass::WrongRegion),
    ("IllegalLocationConstraintException", FailureClass::WrongRegion),
    ("PermanentRedirect", FailureClass::WrongRegion),
    ("RegionDisabledException", FailureClass::WrongRegion),
    // Not now.
    ("InvalidClusterState", FailureClass::TargetUnavailable),
    ("KMSDisabledException", FailureClass::TargetUnavailable),
    ("KMSInvalidStateException", FailureClass::TargetUnavailable),
    ("KMSNotFoundException", FailureClass::TargetUnavailable),
    ("ResourceInUseException", FailureClass::TargetUnavailable),
    ("KMSThrottlingException", FailureClass::Throttled),
    ("LimitExceededException", FailureClass::Throttled),
    ("OverLimit", FailureClass::Throttled),
    ("ProvisionedThroughputExceededException", FailureClass::Throttled),
    ("RequestLimitExceeded", FailureClass::Throttled),
    ("RequestThrottled", FailureClass::Throttled),
    ("RequestThrottledException", FailureClass::Throttled),
    ("SlowDown", FailureClass::Throttled),
    ("Throttling", FailureClass::Throttled),
    ("ThrottlingException", FailureClass::Throttled),
    ("TooManyRequestsException", FailureClass::Throttled),
    ("InternalError", FailureClass::ServerUnavailable),
    ("InternalFailure", FailureClass::ServerUnavailable),
    ("InternalFailureException", FailureClass::ServerUnavailable),
    ("InternalServerException", FailureClass::ServerUnavailable),
    ("OperationAborted", FailureClass::ServerUnavailable),
    ("ServerNotInitialized", FailureClass::ServerUnavailable), // MinIO
    ("ServiceUnavailable", FailureClass::ServerUnavailable),
    ("TemporaryRedirect", FailureClass::ServerUnavailable),
    // Not this. Who has sent it knows what it was about.
    ("InvalidArgumentException", FailureClass::ProtocolMismatch),
];

/// What a service said instead of an answer: its status, and its code where the body had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The code. It is a peer's word: compare it, and show it through [`Refused::failure`] only.
    pub code: Option<String>,
    /// The region that the answer names. A peer's word too.
    pub region: Option<String>,
}

impl Refused {
    /// Whether it has this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether it says that the signature is wrong. Most services say so, too, of one whose time is past or yet to come; the SDKs
    /// ask the same of these codes.
    pub fn doubts_the_signature(&self) -> bool {
        ["AuthFailure", "InvalidSignatureException", "SignatureDoesNotMatch"].iter().any(|code| self.is(code))
    }

    /// What it means. An answer without a listed code is judged by its status: the service itself would have said more.
    pub fn class(&self) -> FailureClass {
        let row = self.row();
        match row {
            // Said also of a header that is wrong in some other way, and then no region is named.
            Some(("AuthorizationHeaderMalformed", _)) if self.region.is_none() => FailureClass::WrongCredentials,
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

    fn refused(status: u16, code: Option<&str>) -> Refused {
        Refused { status: StatusCode::from_u16(status).unwrap(), code: code.map(str::to_owned), region: None }
    }

    #[test]
    fn every_code_is_listed_once() {
        let codes: BTreeSet<&str> = TABLE.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), TABLE.len());
    }

    #[test]
    fn a_code_wins_over_the_status_and_the_status_tells_where_there_is_none() {
        for (status, code, class) in [
            (403, Some("SignatureDoesNotMatch"), FailureClass::WrongCredentials),
            (400, Some("ExpiredToken"), FailureClass::CredentialsExpired),
            (503, Some("SlowDown"), FailureClass::Throttled),
            (503, None, FailureClass::ServerUnavailable),
            (502, Some("hunter2"), FailureClass::ServerUnavailable),
            (429, None, FailureClass::Throttled),
            (403, None, FailureClass::ProtocolMismatch),
            (404, Some("hunter2"), FailureClass::ProtocolMismatch),
        ] {
            assert_eq!(refused(status, code).class(), class, "{status} {code:?}");
        }
    }

    #[test]
    fn a_malformed_header_is_about_the_region_only_where_one_is_named() {
        let mut said = refused(400, Some("AuthorizationHeaderMalformed"));
        assert_eq!(said.class(), FailureClass::WrongCredentials);
        said.region = Some("eu-central-1".to_owned());
        assert_eq!(said.class(), FailureClass::WrongRegion);
    }

    #[test]
    fn a_code_that_a_peer_made_up_is_not_shown() {
        let message = refused(400, Some("hunter2")).failure().message();
        assert!(message.contains("(400)") && !message.contains("hunter2"), "{message}");
        assert!(refused(403, Some("SlowDown")).failure().message().contains("(SlowDown)"));
    }
}
