//! What a serverless workgroup's service answers. No emulator has it: a stand-in verifies the signature and the request, and answers as
//! the API Reference says; the database behind it is real.

use super::*;
use crate::harness::{
    authority::{Authority, Clients},
    peer::Peer,
    sigv4::{Verifier, Wrong},
    web::{Answer, Asked, Web},
};

const KEY: Verifier = Verifier {
    service: "redshift-serverless",
    region: "us-east-1",
    id: "AKIAIOSFODNN7EXAMPLE",
    secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    token: None,
};

const SESSION: Verifier = Verifier { id: "ASIAIOSFODNN7EXAMPLE", token: Some("a/session+token=="), ..KEY };

/// The service and its CA.
struct Service {
    web: Web,
    ca: String,
}

impl Service {
    /// A service that lets in who has `key`, and answers them as `answer` says.
    async fn that(key: Verifier, answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let acceptor = authority.acceptor(&["127.0.0.1"], Clients::Anybody);
        let web = Web::over(Some(acceptor), move |asked| match key.check(asked) {
            Ok(()) => answer(asked),
            Err(Wrong::Form) => Some(refusal("IncompleteSignatureException")),
            Err(Wrong::Key) => Some(refusal("UnrecognizedClientException")),
            Err(Wrong::Signature) => Some(refusal("InvalidSignatureException")),
        });
        Self { web: web.await, ca: authority.pem }
    }

    /// A service that gives the password of `IAM:analyst` for what it knows.
    async fn real(key: Verifier) -> Self {
        Self::that(key, |asked| {
            assert_eq!(asked.line, "POST /");
            assert_eq!(asked.header("content-type"), "application/x-amz-json-1.1");
            assert_eq!(asked.header("x-amz-target"), "RedshiftServerless.GetCredentials");
            let input: Value = serde_json::from_str(&asked.body).expect("JSON");
            let expected = |name: &str| json!({"workgroupName": name, "dbName": "warehouse", "durationSeconds": 900});
            Some(match &input {
                input if *input == expected("sales") => Answer::new(200, GRANTED),
                input if *input == expected("closed") => refusal("AccessDeniedException"),
                input if *input == expected("absent") => refusal("ResourceNotFoundException"),
                _ => refusal("ValidationException"),
            })
        })
        .await
    }

    /// A connection to the database by way of this service.
    fn case(&self, key: &Verifier, workgroup: &str) -> Case {
        let case = Case::at(server().address);
        let case = case.asking(self.web.peer.address, json!({"workgroup": workgroup}), key.id, key.secret);
        case.secret("sessionToken", key.token.unwrap_or_default())
            .tls(|tls| tls.roots = both(&server().said.ca_pem(), self.ca.as_bytes()))
    }
}

/// The word in it is one that no message may show.
const GRANTED: &str =
    r#"{"dbUser": "IAM:analyst", "dbPassword": "analyst-canary", "expiration": 1.8E9, "nextRefreshTime": 1.8E9}"#;

fn refusal(code: &str) -> Answer {
    Answer::new(
        400,
        json!({"__type": format!("com.amazonaws.redshiftserverless#{code}"), "message": "canary"}).to_string(),
    )
}

#[tokio::test]
async fn one_signed_request_gives_the_password_that_opens_the_database() {
    for key in [KEY, SESSION] {
        let (id, token) = (key.id, key.token);
        let service = Service::real(key).await;
        let case = service.case(&Verifier { id, token, ..KEY }, "sales").on("sales", "orders", &[List, Read]);
        assert_eq!(case.passes().await, Proof::default());
        assert_eq!((service.web.peer.accepted(), service.web.asked().len()), (1, 1));
    }
}

#[tokio::test]
async fn wrong_keys_are_called_so() {
    let service = Service::real(SESSION).await;
    let named = service.web.peer.address.to_string();
    for (case, code) in [
        (service.case(&KEY, "sales"), "(UnrecognizedClientException)"),
        (service.case(&Verifier { token: None, ..SESSION }, "sales"), "(UnrecognizedClientException)"),
        (service.case(&Verifier { secret: "hunter2-wrong", ..SESSION }, "sales"), "(InvalidSignatureException)"),
        (service.case(&SESSION, "sales").but(&json!({"region": "eu-west-1"})), "(IncompleteSignatureException)"),
    ] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.starts_with(&named) && message.contains(code), "{message}");
    }
}

#[tokio::test]
async fn a_workgroup_that_is_missing_or_not_permitted_is_named() {
    let service = Service::real(KEY).await;
    let message = service.case(&KEY, "absent").ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("workgroup absent does not exist (ResourceNotFoundException)"), "{message}");
    let message = service.case(&KEY, "closed").ends(Stage::Access, Reason::PermissionDenied).await;
    let expected = "not permitted on workgroup closed (AccessDeniedException, redshift-serverless:GetCredentials)";
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test]
async fn a_user_whom_the_database_does_not_know_is_told_from_a_wrong_key() {
    let granted = GRANTED.replace("IAM:analyst", "IAMR:stranger");
    let service = Service::that(KEY, move |_| Some(Answer::new(200, granted.clone()))).await;
    let message = service.case(&KEY, "sales").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.starts_with(&server().address.to_string()) && message.contains("identity"), "{message}");
}

#[tokio::test]
async fn every_code_of_the_service_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, code, stage, reason) in [
        (400, "ExpiredTokenException", S::Authenticate, R::CredentialsExpired),
        (403, "RequestExpired", S::Authenticate, R::ClockSkewed),
        (400, "ThrottlingException", S::Authenticate, R::Throttled),
        (400, "UnsupportedOperation", S::Authenticate, R::AuthenticationMethodNotSupported),
        (400, "InvalidClusterState", S::Access, R::TargetUnavailable),
        (404, "ClusterNotFoundFault", S::Access, R::TargetNotFound),
        (500, "InternalServerException", S::Authenticate, R::ServerUnavailable),
    ] {
        // In the header, as newer services send it, or in the body.
        for header in [true, false] {
            let answer = if header {
                Answer::new(status, "{}").header("x-amzn-errortype", &format!("{code}:http://canary/"))
            } else {
                Answer::new(status, json!({ "__type": code }).to_string())
            };
            let service = Service::that(KEY, move |_| Some(answer.clone())).await;
            let message = service.case(&KEY, "sales").ends(stage, reason).await;
            assert!(message.contains(code), "{message}");
        }
    }
    for (status, stage, reason) in [
        (429, S::Authenticate, R::Throttled),
        (503, S::Authenticate, R::ServerUnavailable),
        (400, S::Reach, R::ProtocolMismatch),
        (302, S::Reach, R::ProtocolMismatch),
    ] {
        let answer = Answer::new(status, json!({"__type": "canary"}).to_string()).header("location", "https://canary/");
        let service = Service::that(KEY, move |_| Some(answer.clone())).await;
        let message = service.case(&KEY, "sales").ends(stage, reason).await;
        assert!(message.contains(&format!("({status})")), "{message}");
        assert_eq!(service.web.peer.accepted(), 1, "one request per look");
    }
}

#[tokio::test]
async fn an_answer_without_a_usable_password_is_none() {
    let long = format!(r#"{{"dbUser": "{}", "dbPassword": "canary"}}"#, "x".repeat(256));
    let huge = format!(r#"{{"dbUser": "IAM:analyst", "dbPassword": "{}"}}"#, "canary".repeat(20_000));
    for answer in [
        "",
        "{}",
        "[]",
        "<html>canary</html>",
        r#"{"dbUser": "IAM:analyst"}"#,
        r#"{"dbUser": "", "dbPassword": "canary"}"#,
        r#"{"dbUser": "IAM:analyst", "dbPassword": ""}"#,
        r#"{"dbUser": "IAM:analyst", "dbPassword": ["canary"]}"#,
        r#"{"dbUser": "IAM:\u0000analyst", "dbPassword": "canary"}"#,
        r#"{"dbUser": "IAM:analyst", "dbPassword": "can\u0000ary"}"#,
        &long,
        &huge,
    ] {
        let answer = Answer::new(200, answer);
        let service = Service::that(KEY, move |_| Some(answer.clone())).await;
        let message = service.case(&KEY, "sales").ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.starts_with(&service.web.peer.address.to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_service_that_is_silent_or_something_else_is_called_so_while_it_is_reached() {
    let silent = Service::that(KEY, |_| None).await;
    silent.case(&KEY, "sales").soon().ends(Stage::Reach, Reason::TimedOut).await;
    let gone = Peer::that(async |stream| drop(stream)).await;
    let case = silent.case(&KEY, "sales").but(&json!({"endpoint": format!("https://{}", gone.address)}));
    let message = case.ends(Stage::Reach, Reason::ConnectionClosed).await;
    assert!(message.starts_with(&gone.address.to_string()), "{message}");
}
