//! What it means that Spotinst's API does not answer with the account that was asked for. Pure.

use http::StatusCode;

use crate::failure::{Code, Failure, FailureClass};

/// The codes that a message may name. It is the one that the vendor's provider for Terraform knows of accounts
/// (`spotinst/resource_spotinst_account.go`); a list of codes is not published.
const CODES: &[&str] = &["Account_DOESNT_EXIST"];

/// What was said instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// With which status.
    pub status: StatusCode,
    /// By whom.
    pub by: By,
}

/// Who has said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The API, with this code, where it is listed.
    Api(Option<&'static str>),
    /// The API, which answers with other accounts, or with none.
    Others,
    /// Something that does not speak as the API does.
    Stranger,
}

impl By {
    /// The API, with this code.
    pub fn api(code: Option<&str>) -> Self {
        Self::Api(code.and_then(|code| CODES.iter().find(|known| **known == code).copied()))
    }
}

impl Refused {
    /// What it means.
    fn class(&self) -> FailureClass {
        match (self.status, self.by) {
            // Whoever says so has looked at the token.
            (StatusCode::UNAUTHORIZED, _) => FailureClass::WrongCredentials,
            (StatusCode::TOO_MANY_REQUESTS, _) => FailureClass::Throttled,
            (status, _) if status.is_server_error() => FailureClass::ServerUnavailable,
            (_, By::Others) => FailureClass::TargetNotFoundOrNotPermitted,
            (StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, By::Api(_)) => {
                FailureClass::TargetNotFoundOrNotPermitted
            }
            (StatusCode::REQUEST_TIMEOUT, By::Api(_)) => FailureClass::ServerUnavailable,
            // We have sent what it does not take.
            (status, By::Api(_)) if status.is_client_error() => FailureClass::Internal,
            (_, By::Stranger | By::Api(_)) => FailureClass::ProtocolMismatch,
        }
    }

    /// The failure, with the status and the code.
    pub fn failure(&self) -> Failure {
        let failure = Failure::new(self.class());
        match self.by {
            By::Others => failure.word("the answer is without it"),
            By::Api(Some(code)) => failure.code(Code::Number(self.status.as_u16().into())).code(Code::Known(code)),
            By::Api(None) | By::Stranger => failure.code(Code::Number(self.status.as_u16().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_status_and_by_who_says_it() {
        use FailureClass as F;
        for (status, by_api, by_stranger) in [
            (302, F::ProtocolMismatch, F::ProtocolMismatch),
            (400, F::TargetNotFoundOrNotPermitted, F::ProtocolMismatch),
            (401, F::WrongCredentials, F::WrongCredentials),
            (403, F::TargetNotFoundOrNotPermitted, F::ProtocolMismatch),
            (404, F::TargetNotFoundOrNotPermitted, F::ProtocolMismatch),
            (405, F::Internal, F::ProtocolMismatch),
            (408, F::ServerUnavailable, F::ProtocolMismatch),
            (429, F::Throttled, F::Throttled),
            (500, F::ServerUnavailable, F::ServerUnavailable),
            (503, F::ServerUnavailable, F::ServerUnavailable),
        ] {
            let class = |by| Refused { status: StatusCode::from_u16(status).unwrap(), by }.failure().class();
            assert_eq!((class(By::Api(None)), class(By::Stranger)), (by_api, by_stranger), "{status}");
        }
    }

    #[test]
    fn a_code_that_a_peer_made_up_is_not_shown() {
        for (code, shown) in
            [(Some("Account_DOESNT_EXIST"), "(400, Account_DOESNT_EXIST)"), (Some("hunter2"), "(400)"), (None, "(400)")]
        {
            let message = Refused { status: StatusCode::BAD_REQUEST, by: By::api(code) }.failure().message();
            assert!(message.contains(shown) && !message.contains("hunter2"), "{message}");
        }
    }
}
