//! What a service may do that the stand-in for a cloud does not: rare codes, silence, noise, endlessness, names that lead elsewhere.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use connection_operator::net::{Policy, Resolver, World};
use serde_json::json;

use super::*;
use crate::harness::{authority::Authority, peer::Peer};

fn is_token(asked: &Asked) -> bool {
    asked.line == "POST /token"
}

fn token() -> Answer {
    Answer::new(200, json!({"access_token": "ya29.canary", "token_type": "Bearer"}).to_string())
}

fn tested(held: &[&str]) -> Answer {
    Answer::new(200, json!({"kind": "storage#testIamPermissionsResponse", "permissions": held}).to_string())
}

/// A peer that gives tokens, and `answer` to all else.
async fn letting_in(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    impostor(move |asked| if is_token(asked) { Some(token()) } else { answer(asked) }).await
}

/// A peer that lets in, grants nothing in the bucket, and gives `answer` to a listing and `object` to what is asked about an object.
async fn closed_with(answer: Answer, object: Answer) -> Web {
    letting_in(move |asked| {
        Some(match &asked.line {
            line if line.contains("/iam/testPermissions?") => tested(&[]),
            line if line.contains("/o?") => answer.clone(),
            _ => object.clone(),
        })
    })
    .await
}

#[tokio::test]
async fn every_answer_that_is_no_token_has_its_name() {
    use {Reason as R, Stage as S};
    for (answer, stage, reason, code) in [
        (denial(400, "invalid_grant"), S::Authenticate, R::AuthenticationFailed, "(invalid_grant)"),
        (denial(401, "invalid_client"), S::Authenticate, R::AuthenticationFailed, "(invalid_client)"),
        (denial(401, "unauthorized_client"), S::Authenticate, R::AuthenticationFailed, "(unauthorized_client)"),
        (denial(400, "invalid_scope"), S::Authenticate, R::AuthenticationFailed, "(invalid_scope)"),
        (denial(401, "disabled_client"), S::Authenticate, R::AuthenticationFailed, "(disabled_client)"),
        (denial(400, "admin_policy_enforced"), S::Authenticate, R::AuthenticationFailed, "(admin_policy_enforced)"),
        (denial(403, "access_denied"), S::Authenticate, R::AuthenticationFailed, "(access_denied)"),
        (denial(403, "org_internal"), S::Authenticate, R::AuthenticationFailed, "(org_internal)"),
        (denial(401, "canary"), S::Authenticate, R::AuthenticationFailed, "(401)"),
        (denial(400, "unsupported_grant_type"), S::Authenticate, R::AuthenticationMethodNotSupported, "(unsupported"),
        (denial(503, "temporarily_unavailable"), S::Authenticate, R::ServerUnavailable, "(temporarily_unavailable)"),
        (Answer::new(429, "canary"), S::Authenticate, R::Throttled, "(429)"),
        (Answer::new(500, "canary"), S::Authenticate, R::ServerUnavailable, "(500)"),
        (denial(400, "canary"), S::Reach, R::ProtocolMismatch, "(400)"),
        (Answer::new(404, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, "(404)"),
        (Answer::new(302, "canary").header("location", "https://127.0.0.1:1/"), S::Reach, R::ProtocolMismatch, "(302)"),
        (Answer::new(200, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, "no access token"),
        (Answer::new(200, "{}"), S::Reach, R::ProtocolMismatch, "no access token"),
        (Answer::new(200, r#"{"access_token":"two words"}"#), S::Reach, R::ProtocolMismatch, "no access token"),
        (Answer::new(200, format!("{{{}", " ".repeat(100_000))), S::Reach, R::ProtocolMismatch, "more than a probe"),
    ] {
        let web = impostor(move |_| Some(answer.clone())).await;
        let message = Case::at(web.peer.address).asks(&[List, Read, Write]).ends(stage, reason).await;
        assert!(message.contains(code) && message.contains(&web.peer.address.to_string()), "{message}");
        assert_eq!(web.asked().len(), 1, "{code}: nothing is asked again, and no redirect is followed");
    }
}

#[tokio::test]
async fn every_code_of_the_api_has_its_name() {
    use {Reason as R, Stage as S};
    for (answer, stage, reason, code) in [
        (refusal(401, "authError"), S::Authenticate, R::AuthenticationFailed, "(401, authError)"),
        (refusal(403, "forbidden"), S::Access, R::PermissionDenied, "(403, forbidden)"),
        (refusal(403, "canary"), S::Access, R::PermissionDenied, "(403)"),
        (refusal(403, "accountDisabled"), S::Access, R::PermissionDenied, "(403, accountDisabled)"),
        (refusal(404, "notFound"), S::Access, R::TargetNotFound, "(404, notFound)"),
        (refusal(400, "required"), S::Access, R::PermissionDenied, "(400, required)"),
        (refusal(400, "invalid"), S::Access, R::InternalError, "(400, invalid)"),
        (refusal(403, "rateLimitExceeded"), S::Access, R::Throttled, "(403, rateLimitExceeded)"),
        (refusal(429, "usageLimits.rateLimitExceeded"), S::Access, R::Throttled, "(429, rateLimitExceeded)"),
        (refusal(503, "backendError"), S::Access, R::ServerUnavailable, "(503, backendError)"),
        (Answer::new(502, "<html>canary</html>"), S::Access, R::ServerUnavailable, "(502)"),
        (Answer::new(403, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, "(403)"),
        (Answer::new(404, ""), S::Reach, R::ProtocolMismatch, "(404)"),
        (Answer::new(307, "canary").header("location", "https://127.0.0.1:1/"), S::Reach, R::ProtocolMismatch, "(307)"),
        (Answer::new(200, "{}"), S::Reach, R::ProtocolMismatch, "(200)"),
        (Answer::new(200, "canary"), S::Reach, R::ProtocolMismatch, "(200)"),
        (Answer::new(200, json!({"kind": "storage#objects"}).to_string()), S::Reach, R::ProtocolMismatch, "(200)"),
        (Answer::new(200, " ".repeat(100_000)), S::Reach, R::ProtocolMismatch, "more than a probe"),
    ] {
        let web = letting_in(move |_| Some(answer.clone())).await;
        let message = Case::at(web.peer.address).below("2026/").asks(&[List, Read]).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
        assert_eq!(web.asked().len(), 2, "{code}: nothing is asked again, and no redirect is followed");
    }
}

#[tokio::test]
async fn what_is_refused_though_it_needs_no_right_is_not_blamed_on_rights() {
    let web = letting_in(|_| Some(refusal(403, "forbidden"))).await;
    let message = Case::at(web.peer.address).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("something above rights forbids it"), "{message}");
}

#[tokio::test]
async fn an_answer_about_a_prefix_that_is_no_answer_grants_nothing() {
    use Reason as R;
    let listed =
        |names: serde_json::Value| Answer::new(200, json!({"kind": "storage#objects", "items": names}).to_string());
    let object = || Answer::new(200, json!({"kind": "storage#object"}).to_string());
    for (answer, object, reason) in [
        (listed(json!([{"name": "2026/a"}])), object(), None),
        (listed(json!([{"name": "2026/a"}])), refusal(403, "forbidden"), Some(R::PermissionDenied)),
        // Gone since it was listed.
        (listed(json!([{"name": "2026/a"}])), refusal(404, "notFound"), Some(R::PermissionNotProvable)),
        (listed(json!([{"name": "2026/a"}])), tested(&[GET]), Some(R::ProtocolMismatch)),
        (listed(json!([{"name": "2026/a"}])), refusal(503, "backendError"), Some(R::ServerUnavailable)),
        (listed(json!([{"name": "2026/a"}])), refusal(401, "authError"), Some(R::AuthenticationFailed)),
        (listed(json!([{"name": "x".repeat(2000)}])), object(), Some(R::PermissionNotProvable)),
        (listed(json!([{"name": 7}])), object(), Some(R::PermissionNotProvable)),
        (listed(json!("canary")), object(), Some(R::PermissionNotProvable)),
        (tested(&[LIST]), object(), Some(R::ProtocolMismatch)),
        (refusal(403, "forbidden"), object(), Some(R::PermissionDenied)),
        (refusal(404, "notFound"), object(), Some(R::TargetNotFound)),
        (refusal(429, "rateLimitExceeded"), object(), Some(R::Throttled)),
    ] {
        let web = closed_with(answer.clone(), object).await;
        let report = Case::at(web.peer.address).below("2026/").asks(&[Read]).probe().await;
        assert_eq!(report.failure().map(|(_, failure)| failure.reason()), reason, "{answer:?}");
    }
}

#[tokio::test]
async fn a_name_that_a_peer_makes_up_leads_nowhere_else() {
    let name = "../../../b/theirs/o/x?alt=media&y=#z\r\nx: y";
    let listed = Answer::new(200, json!({"kind": "storage#objects", "items": [{"name": name}]}).to_string());
    let web = closed_with(listed, refusal(403, "forbidden")).await;
    Case::at(web.peer.address).below("2026/").asks(&[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    let line = &web.asked()[3].line;
    assert_eq!(
        line,
        "GET /storage/v1/b/orders-lake/o/..%2F..%2F..%2Fb%2Ftheirs%2Fo%2Fx%3Falt%3Dmedia%26y%3D%23z%0D%0Ax%3A%20y?fields=kind"
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody = peer::nobody();
    let message = Case::at(nobody).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&nobody.to_string()), "{message}");
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    Case::at(silent.address).soon().ends(Stage::Reach, Reason::TimedOut).await;
    let web = impostor(|_| None).await;
    Case::at(web.peer.address).soon().ends(Stage::Reach, Reason::TimedOut).await;
    // After its first answer it is late in the stage that it is asked about.
    let web = letting_in(|_| None).await;
    Case::at(web.peer.address).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted_and_of_another_name_is_called_so() {
    let cloud = granted(&["`List`"]).start().await;
    let other = || Authority::new().roots();
    let case = Case::of(&cloud).tls(|tls| tls.roots = other());
    let message = case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    assert!(message.contains(&cloud.web.peer.address.to_string()), "{message}");
    let case = Case::of(&cloud).tls(|tls| tls.server_name = Some("storage.example.com".to_owned()));
    case.ends(Stage::Reach, Reason::CertificateNameMismatch).await;
    // Whose name the endpoint is for, it is for the token too, where that is had at the endpoint.
    Case::of(&cloud).tls(|tls| tls.server_name = Some("storage.test".to_owned())).passes().await;
    assert_eq!(cloud.web.asked().len(), 2, "no token is asked for and none shown before the peer is verified");
}

/// Name servers to which every name is this machine's, and that remember what they were asked.
#[derive(Default)]
struct Everything(Mutex<Vec<String>>);

#[async_trait]
impl Resolver for Everything {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.lock().expect("no panic while it was held").push(host.to_owned());
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

#[tokio::test]
async fn without_an_endpoint_the_hosts_are_googles_and_the_one_that_fails_is_named() {
    // Nobody may listen at the port 443 of this machine, so it is forbidden instead.
    let (google, accounts) = ("https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token");
    for (key, universe, host) in [
        (json!({"token_uri": google}), None, "oauth2.googleapis.com"),
        (json!({"token_uri": null}), None, "oauth2.googleapis.com"),
        (json!({"token_uri": accounts}), None, "accounts.google.com"),
        (json!({"token_uri": google, "universe_domain": "s3nsapis.fr"}), Some("s3nsapis.fr"), "storage.s3nsapis.fr"),
    ] {
        let names = Arc::new(Everything::default());
        let denied = vec!["127.0.0.0/8".parse().expect("a rule")];
        let world = World::new(Policy::new(Vec::new(), denied), Arc::clone(&names) as Arc<dyn Resolver>, 10_000);
        let case = Case::at(peer::nobody()).key(&key).in_world(world).with(|settings| {
            settings.endpoint = None;
            settings.universe_domain = universe.map(str::to_owned);
        });
        let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
        assert!(message.contains(&format!("{host}:443")), "{message}");
        assert_eq!(*names.0.lock().expect("no panic while it was held"), [host]);
    }
}

#[tokio::test]
async fn with_an_endpoint_a_token_is_still_had_at_google_where_the_key_says_so() {
    let web = letting_in(|_| Some(tested(&[LIST]))).await;
    let names = Arc::new(Everything::default());
    let port = web.peer.address.port();
    let allowed = vec![format!("127.0.0.0/8:{port}").parse().expect("a rule")];
    let world = World::new(Policy::new(allowed, Vec::new()), Arc::clone(&names) as Arc<dyn Resolver>, 10_000);
    let case = Case::at(web.peer.address).key(&json!({"token_uri": "https://oauth2.googleapis.com/token"}));
    let case = case.with(|settings| settings.endpoint = Some(HttpUrl(format!("https://storage.test:{port}"))));
    let message = case.in_world(world).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains("oauth2.googleapis.com:443"), "{message}");
    assert_eq!(
        (names.0.lock().expect("no panic").clone(), web.peer.accepted()),
        (vec!["oauth2.googleapis.com".to_owned()], 0)
    );
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled() {
    let web = letting_in(|_| Some(tested(&[LIST]))).await;
    let world = case::world(&[], &["127.0.0.0/8"]);
    let message = Case::at(web.peer.address).in_world(world).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!(web.peer.accepted(), 0);
}

#[tokio::test]
async fn no_line_of_a_private_key_and_no_name_of_an_account_shows() {
    for (answer, gives_tokens) in [
        (denial(400, "invalid_grant"), false),
        (Answer::new(200, "{}"), false),
        (refusal(403, "forbidden"), true),
        (refusal(401, "authError"), true),
        (Answer::new(200, "{}"), true),
    ] {
        let web =
            impostor(move |asked| Some(if is_token(asked) && gives_tokens { token() } else { answer.clone() })).await;
        let report = Case::at(web.peer.address).probe().await;
        let shown = format!("{report:?} {:?}", report.failure().map(|(_, failure)| failure.message()));
        let pem = PAIR.pem();
        let lines = pem.lines().filter(|line| !line.contains('-'));
        for secret in lines.chain([READER, PAIR.id, "shop-prod", "ya29"]) {
            assert!(!shown.contains(secret), "{secret} shows in {shown}");
        }
    }
}
