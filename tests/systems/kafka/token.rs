//! OAUTHBEARER with client credentials: a stand-in gives tokens to who asks as RFC 6749 says, over TLS, and the real broker takes
//! them.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use connection_operator::{
    connections::{fields::HttpUrl, kafka::Oauth},
    net::tls::Roots,
};

use super::*;
use crate::harness::{
    authority::{Authority, Clients},
    web::{Answer, Asked, Web},
};

/// The secret of the client, with characters that must be encoded.
const SECRET: &str = "hunter2:&=%/ü";

/// The authority of all endpoints here.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// An endpoint over TLS.
async fn secure(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::over(Some(AUTHORITY.acceptor(&["127.0.0.1"], Clients::Anybody)), answer).await
}

/// A connection to the real broker with a token from `web`. The authorities of both are trusted.
fn granted(web: &Web) -> Case {
    let oauth = Oauth {
        token_endpoint: HttpUrl(format!("https://{}/oauth2/token", web.peer.address)),
        client_id: "orders reader".to_owned(),
        scope: Some("events read".to_owned()),
        audience: Some("https://events.example.com".to_owned()),
        extensions: None,
    };
    let bundle = [&server().said.ca_pem()[..], AUTHORITY.pem.as_bytes()].concat();
    let roots = Roots::from_pem(&bundle).expect("two authorities");
    let case = Case::at(server().oauth).tls(|tls| (tls.mode, tls.roots) = (Mode::VerifyFull, roots));
    let case = case.secret("clientSecret", SECRET);
    case.with(|settings| (settings.sasl_mechanism, settings.oauth) = (Some(Mechanism::OauthBearer), Some(oauth)))
}

/// A token that the broker's validator of unsecured tokens takes.
fn token(subject: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = serde_json::json!({"sub": subject, "iat": now - 10, "exp": now + 600});
    let part = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}.", part(r#"{"alg":"none"}"#.to_owned()), part(claims.to_string()))
}

/// Gives tokens of `subject` to who asks rightly, and tells others what is wrong.
async fn endpoint(subject: &'static str) -> Web {
    secure(move |asked| {
        Some(match judge(asked) {
            Ok(()) => Answer::new(
                200,
                serde_json::json!({"access_token": token(subject), "token_type": "Bearer"}).to_string(),
            ),
            Err(error) => {
                Answer::new(401, serde_json::json!({"error": error, "error_description": "canary"}).to_string())
            }
        })
    })
    .await
}

/// What RFC 6749 asks of a request (sections 2.3.1 and 4.4.2).
fn judge(asked: &Asked) -> Result<(), &'static str> {
    let pair = asked.header("authorization").strip_prefix("Basic ").and_then(|pair| BASE64_STANDARD.decode(pair).ok());
    if pair.as_deref() != Some(b"orders+reader:hunter2%3A%26%3D%25%2F%C3%BC") {
        return Err("invalid_client");
    }
    let form = "grant_type=client_credentials&scope=events+read&audience=https%3A%2F%2Fevents.example.com";
    let right = asked.line == "POST /oauth2/token" && asked.body == form;
    let typed = asked.header("content-type") == "application/x-www-form-urlencoded";
    if right && typed { Ok(()) } else { Err("invalid_request") }
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_taken_by_the_broker() {
    let web = endpoint("oauthreader").await;
    granted(&web).on("orders", &[List, Read]).passes().await;
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn the_rights_are_those_of_whom_the_token_is_for() {
    let web = endpoint("nobody").await;
    granted(&web).passes().await;
    granted(&web).on("orders", &[Read]).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
}

#[tokio::test]
async fn a_wrong_client_secret_is_rejected_by_the_endpoint_and_no_broker_is_dialled() {
    let web = endpoint("oauthreader").await;
    let brokers = peer::Peer::that(async |stream| drop(stream)).await;
    let case = granted(&web).brokers(&[brokers.address]).secret("clientSecret", "hunter2-wrong");
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(invalid_client)") && message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!((web.asked().len(), brokers.accepted()), (1, 0));
}

#[tokio::test]
async fn who_has_no_token_or_one_that_is_not_taken_is_told_what_may_be_wrong() {
    let web = secure(|_| Some(Answer::new(400, r#"{"error":"invalid_scope"}"#))).await;
    let message = granted(&web).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("scope and audience in spec.kafka.oauth"), "{message}");
    // A token that no broker takes.
    let web = secure(|_| Some(Answer::new(200, r#"{"access_token":"hunter2"}"#))).await;
    let message = granted(&web).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("scope, audience and extensions in spec.kafka.oauth"), "{message}");
}

#[tokio::test]
async fn every_answer_that_is_no_token_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, body, stage, reason) in [
        (400, r#"{"error":"invalid_client"}"#, S::Authenticate, R::AuthenticationFailed),
        (400, r#"{"error":"unauthorized_client"}"#, S::Authenticate, R::AuthenticationFailed),
        (400, r#"{"error":"invalid_scope"}"#, S::Authenticate, R::AuthenticationFailed),
        (401, "canary", S::Authenticate, R::AuthenticationFailed),
        (400, r#"{"error":"unsupported_grant_type"}"#, S::Authenticate, R::AuthenticationMethodNotSupported),
        (429, "", S::Authenticate, R::Throttled),
        (503, "", S::Authenticate, R::ServerUnavailable),
        (400, r#"{"error":"canary"}"#, S::Reach, R::ProtocolMismatch),
        (404, "<html>canary</html>", S::Reach, R::ProtocolMismatch),
        (200, "<html>canary</html>", S::Reach, R::ProtocolMismatch),
        (200, "{}", S::Reach, R::ProtocolMismatch),
        (200, r#"{"access_token":""}"#, S::Reach, R::ProtocolMismatch),
        (200, r#"{"access_token":"two words"}"#, S::Reach, R::ProtocolMismatch),
        (200, r#"{"access_token":7}"#, S::Reach, R::ProtocolMismatch),
    ] {
        let web = secure(move |_| Some(Answer::new(status, body))).await;
        let message = granted(&web).ends(stage, reason).await;
        assert!(message.contains(&web.peer.address.to_string()), "{message}");
        assert_eq!(web.asked().len(), 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_may_not_be_dialled_is_not() {
    let web = endpoint("oauthreader").await;
    let world = case::world(&[&format!("127.0.0.0/8:{}", server().oauth.port())], &[]);
    let message = granted(&web).in_world(world).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!(web.asked().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_refuses_or_never_answers_is_named_and_no_broker_is_dialled() {
    let brokers = peer::Peer::that(async |stream| drop(stream)).await;
    let silent = secure(|_| None).await;
    for (endpoint, reason) in [(peer::nobody(), Reason::ConnectionRefused), (silent.peer.address, Reason::TimedOut)] {
        let case = granted(&silent).brokers(&[brokers.address]).with(|settings| {
            settings.oauth.as_mut().expect("an endpoint").token_endpoint = HttpUrl(format!("https://{endpoint}/token"));
        });
        let message = case.within(std::time::Duration::from_secs(1)).ends(Stage::Reach, reason).await;
        assert!(message.contains(&endpoint.to_string()), "{message}");
    }
    assert_eq!(brokers.accepted(), 0);
}

#[tokio::test]
async fn a_client_secret_goes_to_a_verified_endpoint_only() {
    for mode in [Mode::Require, Mode::Disable] {
        let web = endpoint("oauthreader").await;
        let other = Roots::from_pem(&server().said.ca_pem()).expect("an authority");
        let case = granted(&web).tls(|tls| (tls.mode, tls.roots) = (mode, other));
        let message = case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
        assert!(message.contains(&web.peer.address.to_string()), "{message}");
        assert_eq!(web.asked().len(), 0);
    }
}
