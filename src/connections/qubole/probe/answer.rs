//! What Qubole's API answers, and what it means. Pure.
//!
//! From "Check Cluster Status", "List Clusters", "API Throttling Policy" and "HTTP Retry Policy" of its documentation, 2025, and
//! from what its client for Python makes of a status (`qds_sdk/connection.py`). What a refusal has in its body is documented
//! nowhere, so only whether it is JSON is looked at.

use http::StatusCode;
use serde::de::IgnoredAny;

use super::member::{self, End, Member};
use crate::{
    failure::{Code, Failure, FailureClass},
    net::http::BODY_LIMIT,
};

/// Try again later: Qubole's own, for GET ("HTTP Retry Policy").
const RETRY_WITH: u16 = 449;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// In what state a cluster is.
    State,
    /// For a list of clusters.
    List,
}

impl Question {
    /// What every answer to it has.
    const fn needs(self) -> [Member; 2] {
        match self {
            Self::State => [Member::Id, Member::State],
            Self::List => [Member::Pages, Member::Clusters],
        }
    }
}

/// What was said instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    question: Question,
    status: StatusCode,
    by: By,
}

/// Who has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Somebody who speaks as the API does.
    Api,
    /// Something that does not.
    Stranger,
    /// Somebody who does not come to an end.
    Endless,
}

/// Whether `body`, of which at most [`BODY_LIMIT`] bytes are there, answers the question.
///
/// # Errors
/// What was said instead.
pub fn read(question: Question, status: StatusCode, body: &[u8]) -> Result<(), Refused> {
    let refused = |by| Err(Refused { question, status, by });
    if status != StatusCode::OK {
        let is_object = body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok();
        return refused(if is_object { By::Api } else { By::Stranger });
    }
    let (members, end) = member::of(body);
    let answers = question.needs().iter().all(|needed| members.contains(needed));
    match end {
        End::Whole if answers => Ok(()),
        End::Cut if body.len() >= BODY_LIMIT && answers => Ok(()),
        End::Cut if body.len() >= BODY_LIMIT => refused(By::Endless),
        End::Whole | End::Cut | End::Broken => refused(By::Stranger),
    }
}

impl Refused {
    /// Whether it says something about what was asked for, and not about who asks or about the service.
    pub fn is_about_the_target(self) -> bool {
        matches!(self.class(), FailureClass::TargetNotFound | FailureClass::PermissionDenied)
    }

    /// Whether it names another place.
    pub fn leads_elsewhere(self) -> bool {
        self.status.is_redirection()
    }

    /// What it means.
    pub fn class(self) -> FailureClass {
        let Self { question, status, by } = self;
        match (status, by) {
            // Whoever says so has looked at the token.
            (StatusCode::UNAUTHORIZED, _) => FailureClass::WrongCredentials,
            (StatusCode::TOO_MANY_REQUESTS, _) => FailureClass::Throttled,
            (status, _) if status.is_server_error() => FailureClass::ServerUnavailable,
            (_, By::Endless) => FailureClass::AnswerTooLarge,
            (StatusCode::FORBIDDEN, By::Api) => FailureClass::PermissionDenied,
            // The label is all that differs between two such questions; the list is always there.
            (StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY, By::Api) if question == Question::State => {
                FailureClass::TargetNotFound
            }
            (StatusCode::REQUEST_TIMEOUT, By::Api) => FailureClass::ServerUnavailable,
            (status, By::Api) if status.as_u16() == RETRY_WITH => FailureClass::ServerUnavailable,
            // We have sent what it does not take.
            (status, By::Api) if status.is_client_error() && status != StatusCode::NOT_FOUND => FailureClass::Internal,
            (_, By::Stranger | By::Api) => FailureClass::ProtocolMismatch,
        }
    }

    /// The failure of that class, with the status.
    pub fn failure(self) -> Failure {
        Failure::new(self.class()).code(Code::Number(self.status.as_u16().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{"state": "DOWN", "cluster_id": 1710, "nodes": []}"#;
    const LIST: &str = r#"{"paging_info": {"next_page": 2, "previous_page": null, "per_page": 1}, "clusters": [{}]}"#;

    fn class(question: Question, status: u16, body: &str) -> Option<FailureClass> {
        read(question, StatusCode::from_u16(status).unwrap(), body.as_bytes()).err().map(Refused::class)
    }

    #[test]
    fn each_question_has_an_answer_of_its_own() {
        assert_eq!(class(Question::State, 200, STATE), None);
        assert_eq!(class(Question::List, 200, LIST), None);
        assert_eq!(class(Question::List, 200, r#"{"paging_info": {}, "clusters": []}"#), None);
        for (question, body) in [
            (Question::State, LIST),
            (Question::List, STATE),
            (Question::State, "{}"),
            (Question::State, r#"{"state": "UP"}"#),
            (Question::State, r#"{"state": "UP", "cluster_id": null}"#),
            (Question::State, r#"{"cluster_id": 1710}"#),
            (Question::State, r#"[{"state": "UP", "cluster_id": 1710}]"#),
            (Question::State, "<html>"),
            (Question::State, ""),
            // Cut, and not by us.
            (Question::State, r#"{"state": "UP", "cluster_id": 1710, "nodes": ["#),
            (Question::List, r#"{"clusters": []}"#),
            (Question::List, "[]"),
        ] {
            assert_eq!(class(question, 200, body), Some(FailureClass::ProtocolMismatch), "{question:?} {body}");
        }
        for status in [201, 204, 301, 302] {
            assert_eq!(class(Question::State, status, STATE), Some(FailureClass::ProtocolMismatch), "{status}");
        }
    }

    #[test]
    fn a_cluster_with_many_nodes_is_one() {
        let cut = |begin: &str| format!("{begin}{}", "[1],".repeat(BODY_LIMIT))[..BODY_LIMIT].to_owned();
        assert_eq!(class(Question::State, 200, &cut(r#"{"state": "UP", "cluster_id": 1710, "nodes": ["#)), None);
        assert_eq!(class(Question::List, 200, &cut(r#"{"paging_info": {}, "clusters": ["#)), None);
        for (question, begin) in [
            (Question::State, r#"{"nodes": ["#),
            (Question::State, r#"{"state": "UP", "nodes": ["#),
            (Question::List, r#"{"clusters": ["#),
        ] {
            assert_eq!(class(question, 200, &cut(begin)), Some(FailureClass::AnswerTooLarge), "{begin}");
        }
        let spaces = " ".repeat(BODY_LIMIT);
        assert_eq!(class(Question::State, 200, &spaces), Some(FailureClass::ProtocolMismatch));
    }

    #[test]
    fn a_refusal_is_told_by_its_status() {
        use FailureClass as F;
        use Question::{List, State};
        for (question, status, class_) in [
            (State, 400, F::Internal),
            (State, 401, F::WrongCredentials),
            (State, 403, F::PermissionDenied),
            (List, 403, F::PermissionDenied),
            (State, 404, F::TargetNotFound),
            (List, 404, F::ProtocolMismatch),
            (State, 405, F::Internal),
            (State, 408, F::ServerUnavailable),
            (State, 409, F::Internal),
            (State, 422, F::TargetNotFound),
            (List, 422, F::Internal),
            (State, 429, F::Throttled),
            (State, 449, F::ServerUnavailable),
            (State, 500, F::ServerUnavailable),
            (State, 503, F::ServerUnavailable),
        ] {
            assert_eq!(class(question, status, r#" {"error": {"error_message": "x"}}"#), Some(class_), "{status}");
        }
    }

    #[test]
    fn who_does_not_speak_json_says_nothing_about_a_cluster() {
        use FailureClass as F;
        for (status, class_) in [
            (401, F::WrongCredentials),
            (403, F::ProtocolMismatch),
            (404, F::ProtocolMismatch),
            (422, F::ProtocolMismatch),
            (429, F::Throttled),
            (449, F::ProtocolMismatch),
            (502, F::ServerUnavailable),
        ] {
            for body in ["<html>", "", "[]", "\"x\"", "{", "{} <html>"] {
                assert_eq!(class(Question::State, status, body), Some(class_), "{status} {body}");
            }
        }
    }
}
