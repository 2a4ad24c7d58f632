//! The error codes of AWS, in one table for all its services, and of systems that speak the same protocols. Pure.
//!
//! From "Error Responses" of the S3 API Reference, "Common Error Types" of the other services' references and the errors of the
//! actions that are called, 2026; those with the name of another system in a comment from that system's own.

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
    // Cloudflare R2: "Error codes" of its documentation
    ("Unauthorized", FailureClass::WrongCredentials),
    ("UnrecognizedClientException", FailureClass::WrongCredentials),
    // Ceph: ERR_USER_SUSPENDED
    ("UserSuspended", FailureClass::AccountLocked),
    ("ExpiredToken", FailureClass::CredentialsExpired),
    ("ExpiredTokenException", FailureClass::CredentialsExpired),
    ("TokenRefreshRequired", FailureClass::CredentialsExpired),
    // Cloudflare R2
    ("ExpiredRequest", FailureClass::ClockSkewed),
    ("RequestExpired", FailureClass::ClockSkewed),
    ("RequestInTheFuture", FailureClass::ClockSkewed),
    ("RequestTimeTooSkewed", FailureClass::ClockSkewed),
    // What may you do?
    ("AccessDenied", FailureClass::PermissionDenied),
    ("AccessDeniedException", FailureClass::PermissionDenied),
    ("AccountProblem", FailureClass::PermissionDenied),
    ("AllAccessDisabled", FailureClass::PermissionDenied),
    ("InvalidPayer", FailureClass::PermissionDenied),
    ("KMSAccessDeniedException", FailureClass::PermissionDenied),
    ("KMSOptInRequired", FailureClass::PermissionDenied),
    ("NotAuthorized", FailureClass::PermissionDenied),
    // Cloudflare R2: the account has no subscription
    ("NotEntitled", FailureClass::PermissionDenied),
    ("OptInRequired", FailureClass::PermissionDenied),
    ("SubscriptionRequiredException", FailureClass::PermissionDenied),
    ("UnauthorizedAccess", FailureClass::PermissionDenied),
    ("UnauthorizedOperation", FailureClass::PermissionDenied),
    // Where is it?
    // Amazon SQS: the name that its protocol had before JSON
    ("AWS.SimpleQueueService.NonExistentQueue", FailureClass::TargetNotFound),
    ("ClusterNotFound", FailureClass::TargetNotFound),
    ("ClusterNotFoundFault", FailureClass::TargetNotFound),
    ("InvalidAccessPointAliasError", FailureClass::TargetNotFound),
    // Amazon SQS: nothing can have this address
    ("InvalidAddress", FailureClass::TargetNotFound),
    ("InvalidBucketName", FailureClass::TargetNotFound),
    // Amazon Athena: what the request names is not there
    ("InvalidRequestException", FailureClass::TargetNotFound),
    ("NoSuchAccessPoint", FailureClass::TargetNotFound),
    ("NoSuchBucket", FailureClass::TargetNotFound),
    ("QueueDeletedRecently", FailureClass::TargetNotFound),
    ("QueueDoesNotExist", FailureClass::TargetNotFound),
    ("ResourceNotFoundException", FailureClass::TargetNotFound),
    ("AuthorizationHeaderMalformed", FailureClass::WrongRegion),
    ("IllegalLocationConstraintException", FailureClass::WrongRegion),
    ("PermanentRedirect", FailureClass::WrongRegion),
    // Not now.
    ("InvalidClusterState", FailureClass::TargetUnavailable),
    ("KMSDisabledException", FailureClass::TargetUnavailable),
    ("KMSInvalidStateException", FailureClass::TargetUnavailable),
    ("KMSNotFoundException", FailureClass::TargetUnavailable),
    // Amazon Athena: the catalog has failed, if the service that it asked says nothing else
    ("MetadataException", FailureClass::TargetUnavailable),
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
    // The Security Token Service
    ("RegionDisabledException", FailureClass::ServerUnavailable),
    ("ServerNotInitialized", FailureClass::ServerUnavailable), // MinIO
    ("ServiceUnavailable", FailureClass::ServerUnavailable),
    ("TemporaryRedirect", FailureClass::ServerUnavailable),
];

/// Codes that find fault with the request. Who has sent it knows what it was about; without them it is judged by the status.
const REQUEST: &[&str] = &[
    "InvalidArgument",
    "InvalidArgumentException",
    "InvalidParameterValue",
    "InvalidRequest",
    "MethodNotAllowed",
    NOT_IMPLEMENTED,
    "UnsupportedOperation",
    "ValidationError",
    "ValidationException",
];

const NOT_IMPLEMENTED: &str = "NotImplemented";

/// Codes by which AWS says, too, that the region is wrong: not enabled in the account, or not the endpoint's.
const KEY_OR_REGION: &[&str] = &["InvalidClientTokenId", "InvalidSignatureException", "UnrecognizedClientException"];

const REGION: &str =
    "correct the Secret, or the region: AWS says the same where it is not enabled in the account or not the endpoint's";

const DISABLED: &str = "activate the region and its Security Token Service in the account, or name another region's service in \
    assumeRole.endpoint";

const LENGTH: &str = "correct the settings, or the Secret: Cloudflare R2 says so of an access key's id that has not the length of its own";

const UNKNOWN: &str =
    "the request was refused for a reason that is not known here: check the settings, and the system's own log";

/// What a service said instead of an answer: its status, and its code where the body had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The code. It is a peer's word: compare it, and show it through [`Refused::failure`] only.
    pub code: Option<String>,
    /// The region that the answer names. A peer's word too.
    pub region: Option<String>,
    /// The code that the service itself was given by another one, as far as its text tells. A peer's word too.
    pub cause: Option<String>,
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

    /// What it means. An answer without a listed code is judged by its status, and by whether the code has the form of AWS's own: who
    /// answers in it speaks the protocol, whatever it means.
    pub fn class(&self) -> FailureClass {
        match self.row() {
            // Said also of a header that is wrong in some other way, and then no region is named.
            Some(("AuthorizationHeaderMalformed", _)) if self.region.is_none() => FailureClass::WrongCredentials,
            Some((_, class)) => *class,
            None => match self.status {
                StatusCode::TOO_MANY_REQUESTS => FailureClass::Throttled,
                StatusCode::UNAUTHORIZED if self.has_form() => FailureClass::WrongCredentials,
                status if status.is_server_error() => FailureClass::ServerUnavailable,
                // Not "not permitted": that would say that the credentials were taken.
                status if status.is_client_error() && self.has_form() => FailureClass::ServerUnavailable,
                _ => FailureClass::ProtocolMismatch,
            },
        }
    }

    /// Whether it says nothing about a right that was asked about: neither yes nor no, nor that something else is in the way.
    pub fn leaves_open(&self) -> bool {
        let by_status = self.row().is_none();
        by_status
            && match self.class() {
                FailureClass::ProtocolMismatch => true,
                FailureClass::ServerUnavailable => self.is(NOT_IMPLEMENTED) || self.status.is_client_error(),
                _ => false,
            }
    }

    /// The failure of that class, with the code as a message may show it.
    pub fn failure(&self) -> Failure {
        let failure = self.failure_as(self.class());
        match self.hint() {
            Some(hint) => failure.advice(hint),
            None => failure,
        }
    }

    /// A failure of another class, with the code as a message may show it.
    pub fn failure_as(&self, class: FailureClass) -> Failure {
        let number = || Code::Number(self.status.as_u16().into());
        let known = self.row().map(|(code, _)| *code).or_else(|| REQUEST.iter().find(|code| self.is(code)).copied());
        Failure::new(class).code(known.map_or_else(number, Code::Known))
    }

    /// What can be done about it, where there is more to say than of others of its class.
    fn hint(&self) -> Option<&'static str> {
        match self.code.as_deref()? {
            code if KEY_OR_REGION.contains(&code) => Some(REGION),
            "RegionDisabledException" => Some(DISABLED),
            "InvalidArgument" => Some(LENGTH),
            _ if self.leaves_open() && self.class() == FailureClass::ServerUnavailable => Some(UNKNOWN),
            _ => None,
        }
    }

    /// Whether its code has the form of AWS's: words with capital letters, without anything between them.
    fn has_form(&self) -> bool {
        let Some(code) = &self.code else { return false };
        code.starts_with(|c: char| c.is_ascii_uppercase())
            && code.contains(|c: char| c.is_ascii_lowercase())
            && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
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
        Refused {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.map(str::to_owned),
            region: None,
            cause: None,
        }
    }

    #[test]
    fn every_code_is_listed_once() {
        let codes: BTreeSet<&str> = TABLE.iter().map(|(code, _)| code).chain(REQUEST).copied().collect();
        assert_eq!(codes.len(), TABLE.len() + REQUEST.len());
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
            // They speak the protocol, whatever they mean.
            (400, Some("SomethingNew"), FailureClass::ServerUnavailable),
            (403, Some("Something.New"), FailureClass::ServerUnavailable),
            (401, Some("SomethingNew"), FailureClass::WrongCredentials),
            (400, Some("InvalidArgument"), FailureClass::ServerUnavailable),
            (302, Some("SomethingNew"), FailureClass::ProtocolMismatch),
            (400, Some("NOT_FOUND"), FailureClass::ProtocolMismatch),
        ] {
            assert_eq!(refused(status, code).class(), class, "{status} {code:?}");
        }
    }

    #[test]
    fn every_class_of_the_table_is_one_that_a_message_can_be_made_of() {
        for (code, class) in TABLE {
            let message = refused(400, Some(code)).failure().message();
            assert!(message.contains(&format!("({code})")), "{message}");
            assert_ne!(*class, FailureClass::ProtocolMismatch, "{code}: who knows it speaks the protocol");
        }
    }

    #[test]
    fn what_finds_fault_with_a_request_leaves_a_right_open_and_nothing_else_does() {
        for (status, code, open) in [
            (400, Some("InvalidRequest"), true),
            (501, Some("NotImplemented"), true),
            (400, Some("SomethingNew"), true),
            (405, Some("MethodNotAllowed"), true),
            (404, None, true),
            (403, Some("AccessDenied"), false),
            (400, Some("ExpiredToken"), false),
            (401, Some("SomethingNew"), false),
            (429, Some("SomethingNew"), false),
            (503, Some("SlowDown"), false),
            (500, Some("SomethingNew"), false),
        ] {
            assert_eq!(refused(status, code).leaves_open(), open, "{status} {code:?}");
        }
    }

    #[test]
    fn a_code_that_has_more_than_one_cause_says_so() {
        for (status, code, word) in [
            (403, "InvalidClientTokenId", "or the region"),
            (400, "UnrecognizedClientException", "or the region"),
            (400, "InvalidSignatureException", "or the region"),
            (403, "RegionDisabledException", "activate the region"),
            (400, "InvalidArgument", "Cloudflare R2"),
            (400, "SomethingNew", "not known here"),
        ] {
            let message = refused(status, Some(code)).failure().message();
            assert!(message.contains(word), "{message}");
        }
        assert!(!refused(500, Some("SomethingNew")).failure().message().contains("not known here"));
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
