//! What the JSON API of Cloud Storage answers, and what it means. From "HTTP status and error codes for JSON" of its reference, 2026.

use http::StatusCode;
use serde_json::Value;

use crate::failure::{Code, Failure, FailureClass};

/// The answer to which rights one has.
pub const TESTED: &str = "storage#testIamPermissionsResponse";
/// The answer to what is there.
pub const LISTED: &str = "storage#objects";
/// The answer to what an object is.
pub const OBJECT: &str = "storage#object";

/// Longest name of an object, in bytes.
const NAME_LIMIT: usize = 1024;

/// The reasons that a message may name.
const REASONS: &[&str] = &[
    "AuthenticationRequiredRequesterPays",
    "accessNotConfigured",
    "accountDisabled",
    "authError",
    "backendError",
    "badRequest",
    "conditionNotMet",
    "countryBlocked",
    "forbidden",
    "insufficientPermissions",
    "internalError",
    "invalid",
    "invalidArgument",
    "invalidParameter",
    "lockedDomainExpired",
    "methodNotAllowed",
    "notFound",
    "orgPolicyConstraintFailed",
    "parseError",
    "quotaExceeded",
    "rateLimitExceeded",
    "required",
    "sslRequired",
    "userProjectAccessDenied",
    "userProjectAccountProblem",
    "userProjectInconsistent",
    "userProjectInvalid",
    "userProjectMissing",
    "userRateLimitExceeded",
];

/// What was said instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    by: By,
    /// Whether the request named a project that pays.
    billed: bool,
}

/// Who has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The API, for this reason, where it is listed.
    Api(Option<&'static str>),
    /// Something that does not speak as the API does.
    Stranger,
}

/// Why a request was refused, as far as it matters who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Who asks is not let in.
    Rejection,
    /// There is no such thing.
    Absence,
    /// A right is missing, or a rule above rights forbids it.
    Right,
    /// The project that pays is not named, or may not be.
    Payer,
    /// Something else, of this class.
    Other(FailureClass),
}

/// The document of `kind` that an answer is, to a request that named a project that pays where it is `billed`. Each document of the API
/// says its kind, so that no other is taken for it.
///
/// # Errors
/// What was said instead.
pub fn document(kind: &str, status: StatusCode, body: &[u8], billed: bool) -> Result<Value, Refused> {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    if status == StatusCode::OK && document["kind"] == kind {
        return Ok(document);
    }
    let error = &document["error"];
    let by = if !status.is_success() && error["code"].as_u64() == Some(status.as_u16().into()) {
        // It is written in more than one way: with a capital, or after the name of a group and a dot.
        let said = error["errors"][0]["reason"].as_str().unwrap_or_default();
        let said = said.rsplit('.').next().unwrap_or_default();
        By::Api(REASONS.iter().copied().find(|known| known.eq_ignore_ascii_case(said)))
    } else {
        By::Stranger
    };
    Err(Refused { status, by, billed })
}

/// Whether the one who asked holds a right, in a document of the kind [`TESTED`].
pub fn holds(tested: &Value, right: &str) -> bool {
    tested["permissions"].as_array().into_iter().flatten().any(|held| held == right)
}

/// The name of the first object in a document of the kind [`LISTED`]. It is a peer's word, to ask for and not to show.
pub fn first(listed: &Value) -> Option<&str> {
    listed["items"][0]["name"].as_str().filter(|name| !name.is_empty() && name.len() <= NAME_LIMIT)
}

impl Refused {
    /// Why.
    pub fn cause(&self) -> Cause {
        match (self.status, self.by) {
            (StatusCode::TOO_MANY_REQUESTS, _) => Cause::Other(FailureClass::Throttled),
            (status, _) if status.is_server_error() => Cause::Other(FailureClass::ServerUnavailable),
            (_, By::Stranger) => Cause::Other(FailureClass::ProtocolMismatch),
            (_, By::Api(Some("quotaExceeded" | "rateLimitExceeded" | "userRateLimitExceeded"))) => {
                Cause::Other(FailureClass::Throttled)
            }
            (_, By::Api(Some(reason))) if reason.starts_with("userProject") => Cause::Payer,
            // All else that is required is sent.
            (StatusCode::BAD_REQUEST, By::Api(Some("required"))) => Cause::Payer,
            // "User project specified in the request is invalid." is all that it says of one that is wrong.
            (StatusCode::BAD_REQUEST, By::Api(Some("invalid"))) if self.billed => Cause::Payer,
            (StatusCode::UNAUTHORIZED, By::Api(_)) => Cause::Rejection,
            (StatusCode::FORBIDDEN, By::Api(_)) => Cause::Right,
            (StatusCode::NOT_FOUND, By::Api(_)) => Cause::Absence,
            (StatusCode::REQUEST_TIMEOUT, By::Api(_)) => Cause::Other(FailureClass::ServerUnavailable),
            // We have sent what it does not take.
            (_, By::Api(_)) => Cause::Other(FailureClass::Internal),
        }
    }

    /// The failure, with the status and the reason.
    pub fn failure(&self) -> Failure {
        self.failure_as(match self.cause() {
            Cause::Rejection => FailureClass::WrongCredentials,
            Cause::Absence => FailureClass::TargetNotFound,
            Cause::Right | Cause::Payer => FailureClass::PermissionDenied,
            Cause::Other(class) => class,
        })
    }

    /// The same as a failure of another class.
    pub fn failure_as(&self, class: FailureClass) -> Failure {
        let failure = Failure::new(class).code(Code::Number(self.status.as_u16().into()));
        match self.by {
            By::Api(Some(reason)) => failure.code(Code::Known(reason)),
            By::Api(None) | By::Stranger => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: &str, status: u16, body: &str) -> Result<Value, Refused> {
        document(kind, StatusCode::from_u16(status).unwrap(), body.as_bytes(), false)
    }

    fn refused(status: u16, code: u16, reason: &str) -> Refused {
        let body = json!({"error": {"code": code, "message": "hunter2", "errors": [{"reason": reason}]}});
        read(TESTED, status, &body.to_string()).unwrap_err()
    }

    #[test]
    fn an_answer_is_of_the_kind_that_was_asked_for_or_none() {
        let tested = r#"{"kind": "storage#testIamPermissionsResponse", "permissions": ["storage.objects.get"]}"#;
        let found = read(TESTED, 200, tested).unwrap();
        assert!(holds(&found, "storage.objects.get") && !holds(&found, "storage.objects.list"));
        for (status, body) in [
            (200, "{}"),
            (200, "[]"),
            (200, "<html>"),
            (200, r#"{"kind": "storage#objects"}"#),
            (204, tested),
            (302, tested),
            (200, r#"{"error": {"code": 200}}"#),
        ] {
            let refused = read(TESTED, status, body).unwrap_err();
            assert_eq!(refused.cause(), Cause::Other(FailureClass::ProtocolMismatch), "{status} {body}");
        }
    }

    #[test]
    fn a_document_that_is_of_its_kind_and_otherwise_nonsense_grants_nothing_and_names_nothing() {
        let kind = "storage#testIamPermissionsResponse";
        for permissions in [json!(null), json!({}), json!("storage.objects.list"), json!([["storage.objects.list"], 7])]
        {
            assert!(!holds(&json!({"kind": kind, "permissions": permissions}), "storage.objects.list"));
        }
        for items in [json!(null), json!({}), json!([]), json!([7]), json!([{"name": 7}]), json!([{"name": ""}])] {
            assert_eq!(first(&json!({"items": items})), None);
        }
        assert_eq!(first(&json!({"items": [{"name": "a b/ü"}]})), Some("a b/ü"));
        assert_eq!(first(&json!({"items": [{"name": "x".repeat(1025)}]})), None);
    }

    #[test]
    fn a_refusal_is_told_by_its_status_and_its_reason() {
        use FailureClass as F;
        for (status, reason, cause) in [
            (401, "authError", Cause::Rejection),
            (403, "forbidden", Cause::Right),
            (403, "hunter2", Cause::Right),
            (403, "accountDisabled", Cause::Right),
            (404, "notFound", Cause::Absence),
            (400, "required", Cause::Payer),
            (400, "UserProjectMissing", Cause::Payer),
            (403, "userProjectAccessDenied", Cause::Payer),
            (400, "invalid", Cause::Other(F::Internal)),
            (412, "conditionNotMet", Cause::Other(F::Internal)),
            (403, "userRateLimitExceeded", Cause::Other(F::Throttled)),
            (429, "usageLimits.rateLimitExceeded", Cause::Other(F::Throttled)),
            (408, "", Cause::Other(F::ServerUnavailable)),
            (503, "backendError", Cause::Other(F::ServerUnavailable)),
        ] {
            let refused = refused(status, status, reason);
            assert_eq!(refused.cause(), cause, "{status} {reason}");
            let message = refused.failure().message();
            assert!(message.contains(&format!("({status}")) && !message.contains("hunter2"), "{message}");
        }
        assert!(refused(403, 403, "Forbidden").failure().message().contains("(403, forbidden)"));
    }

    #[test]
    fn a_project_that_is_wrong_is_the_payers_matter_where_one_is_named() {
        // As users report it.
        let said = "User project specified in the request is invalid.";
        let error = json!({"domain": "global", "message": said, "reason": "invalid"});
        let body = json!({"error": {"code": 400, "errors": [error], "message": said}}).to_string();
        let cause = |billed| document(TESTED, StatusCode::BAD_REQUEST, body.as_bytes(), billed).unwrap_err().cause();
        assert_eq!((cause(true), cause(false)), (Cause::Payer, Cause::Other(FailureClass::Internal)));
    }

    #[test]
    fn who_does_not_speak_as_the_api_does_says_nothing_about_a_bucket() {
        use FailureClass as F;
        for (status, class) in [
            (401, F::ProtocolMismatch),
            (403, F::ProtocolMismatch),
            (404, F::ProtocolMismatch),
            (429, F::Throttled),
            (502, F::ServerUnavailable),
        ] {
            assert_eq!(read(TESTED, status, "<html>").unwrap_err().cause(), Cause::Other(class), "{status}");
            assert_eq!(refused(status, 400, "forbidden").cause(), Cause::Other(class), "{status}");
        }
    }
}
