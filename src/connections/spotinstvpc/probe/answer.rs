//! What Spotinst's API answers about an account. Pure.
//!
//! From the vendor's SDK for Go (`spotinst/client/response.go`, `service/account/providers/common/account.go`).

use http::StatusCode;
use serde::Deserialize;

use super::refused::{By, Refused};

/// An answer, as far as it is read. Every one is in such an envelope.
#[derive(Deserialize)]
struct Document {
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    status: Option<Status>,
    items: Option<Vec<Account>>,
    errors: Option<Vec<Error>>,
}

#[derive(Deserialize)]
struct Status {
    code: Option<u16>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(rename = "accountId")]
    account_id: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
struct Error {
    code: Option<String>,
}

/// Whether `account` is in the answer.
///
/// # Errors
/// What was said instead.
pub fn read(account: &str, status: StatusCode, body: &[u8]) -> Result<(), Refused> {
    let Some(response) = serde_json::from_slice::<Document>(body).ok().map(|document| document.response) else {
        return Err(Refused { status, by: By::Stranger });
    };
    let Response { status: said, items, errors } = response;
    let said = said.and_then(|said| said.code);
    let errors = errors.unwrap_or_default();
    let by = match (status, items) {
        // An envelope that says something else than the answer it is in is none.
        _ if said.is_some_and(|said| said != status.as_u16()) => By::Stranger,
        (StatusCode::OK, Some(items)) if errors.is_empty() => {
            // Which of the two it is called has changed.
            let is_it = |found: &Account| [&found.account_id, &found.id].into_iter().flatten().any(|id| id == account);
            if items.iter().any(is_it) {
                return Ok(());
            }
            By::Others
        }
        (StatusCode::OK, _) => By::Stranger,
        // Who refuses says why, or at least what.
        _ if errors.is_empty() && said.is_none() => By::Stranger,
        _ => By::api(errors.first().and_then(|error| error.code.as_deref())),
    };
    Err(Refused { status, by })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureClass as F;

    fn class(status: u16, body: &str) -> Option<F> {
        let read = read("act-7c2d91e4", StatusCode::from_u16(status).unwrap(), body.as_bytes());
        read.err().map(|refused| refused.failure().class())
    }

    #[test]
    fn the_account_is_in_the_answer_or_it_is_not_seen() {
        for items in [
            r#"[{"accountId": "act-7c2d91e4", "name": "x", "cloudProvider": "AWS"}]"#,
            r#"[{"id": "act-7c2d91e4"}]"#,
            r#"[{"id": "act-0", "accountId": "act-7c2d91e4"}]"#,
            r#"[{"accountId": "act-0"}, {"accountId": "act-7c2d91e4"}]"#,
        ] {
            let body = format!(r#"{{"request": {{}}, "response": {{"status": {{"code": 200}}, "items": {items}}}}}"#);
            assert_eq!(class(200, &body), None, "{items}");
            assert_eq!(class(200, &format!(r#"{{"response": {{"items": {items}}}}}"#)), None, "{items}");
        }
        for items in [
            "[]",
            "[{}]",
            r#"[{"accountId": "act-7c2d91e"}]"#,
            r#"[{"accountId": "ACT-7C2D91E4"}]"#,
            r#"[{"accountId": null, "name": "act-7c2d91e4"}]"#,
        ] {
            let body = format!(r#"{{"response": {{"status": {{"code": 200}}, "items": {items}}}}}"#);
            assert_eq!(class(200, &body), Some(F::TargetNotFoundOrNotPermitted), "{items}");
        }
    }

    #[test]
    fn what_is_no_envelope_says_nothing_about_an_account() {
        for body in [
            "",
            "<html>",
            "null",
            "{}",
            "[]",
            r#"{"response": null}"#,
            r#"{"response": {}}"#,
            r#"{"response": {"items": null}}"#,
            r#"{"response": {"items": {"accountId": "act-7c2d91e4"}}}"#,
            r#"{"response": {"items": ["act-7c2d91e4"]}}"#,
            r#"{"response": {"items": [{"accountId": 7}]}}"#,
            r#"{"response": {"status": {"code": 404}, "items": [{"accountId": "act-7c2d91e4"}]}}"#,
            r#"{"response": {"items": [{"accountId": "act-7c2d91e4"}], "errors": [{"code": "x"}]}}"#,
            r#"{"items": [{"accountId": "act-7c2d91e4"}]}"#,
            r#"{"response": {"items": [{"accountId": "act-7c2d91e4"}]}} {}"#,
        ] {
            assert_eq!(class(200, body), Some(F::ProtocolMismatch), "{body}");
        }
        let body = r#"{"response": {"items": [{"accountId": "act-7c2d91e4"}]}}"#;
        for status in [201, 204, 302] {
            assert_eq!(class(status, body), Some(F::ProtocolMismatch), "{status}");
        }
        for status in [400, 403, 404, 409] {
            for body in
                ["", "<html>", "{}", r#"{"response": {"items": []}}"#, r#"{"response": {"status": {"code": 200}}}"#]
            {
                assert_eq!(class(status, body), Some(F::ProtocolMismatch), "{status} {body}");
            }
        }
    }
}
