//! What may be answered that the API of these tests does not answer: rare statuses, strangers, silence, endlessness, secrets.

use serde_json::json;

use super::*;
use crate::harness::{
    peer::Peer,
    spotinst::envelope,
    web::{Answer, Web},
};

#[tokio::test]
async fn every_status_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, stage, reason) in [
        (400, S::Access, R::TargetNotFoundOrNotPermitted),
        (401, S::Authenticate, R::AuthenticationFailed),
        (403, S::Access, R::TargetNotFoundOrNotPermitted),
        (404, S::Access, R::TargetNotFoundOrNotPermitted),
        (405, S::Authenticate, R::InternalError),
        (408, S::Authenticate, R::ServerUnavailable),
        (409, S::Authenticate, R::InternalError),
        (422, S::Authenticate, R::InternalError),
        (429, S::Authenticate, R::Throttled),
        (500, S::Authenticate, R::ServerUnavailable),
        (502, S::Authenticate, R::ServerUnavailable),
        (503, S::Authenticate, R::ServerUnavailable),
    ] {
        for (code, shown) in
            [("canary", format!("({status})")), ("Account_DOESNT_EXIST", format!("({status}, Account_DOESNT_EXIST)"))]
        {
            let web = impostor(move |_| Some(refusal(status, code))).await;
            let message = Case::at(web.peer.address).ends(stage, reason).await;
            assert!(message.contains(&shown), "{message}");
            assert_eq!(web.asked().len(), 1, "{status}: nothing is asked again");
        }
    }
}

#[tokio::test]
async fn an_answer_without_the_account_is_none() {
    for found_instead in [
        vec![],
        vec![found("act-0ther0rg")],
        vec![found("act-7c2d91e"), found("act-7c2d91e44")],
        vec![json!({"name": ACCOUNT, "organizationId": ACCOUNT})],
        vec![json!({"accountId": null, "id": "canary"})],
    ] {
        let answer = items(&found_instead);
        let web = impostor(move |_| Some(answer.clone())).await;
        let message = Case::at(web.peer.address).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
        let begin = format!(
            "account {ACCOUNT} does not exist or may not be seen with these credentials (the answer is without it)"
        );
        assert!(message.starts_with(&begin), "{message}");
    }
    // Under either of its names, and among others.
    for found_too in [vec![json!({"id": ACCOUNT})], vec![found("act-0ther0rg"), found(ACCOUNT)]] {
        let answer = items(&found_too);
        let web = impostor(move |_| Some(answer.clone())).await;
        Case::at(web.peer.address).passes().await;
    }
}

#[tokio::test]
async fn what_does_not_speak_as_the_api_does_says_nothing_about_an_account() {
    let bare = |body: serde_json::Value| Answer::new(200, body.to_string());
    for (answer, word) in [
        (Answer::new(200, "<html>canary</html>"), "(200)"),
        (Answer::new(200, ""), "(200)"),
        (bare(json!({})), "(200)"),
        (bare(json!(null)), "(200)"),
        (bare(json!([found(ACCOUNT)])), "(200)"),
        (bare(found(ACCOUNT)), "(200)"),
        (bare(json!({"items": [found(ACCOUNT)]})), "(200)"),
        (bare(json!({"response": {"items": found(ACCOUNT)}})), "(200)"),
        (bare(json!({"response": {"items": [ACCOUNT]}})), "(200)"),
        (bare(json!({"response": {"items": [{"accountId": [ACCOUNT]}]}})), "(200)"),
        (envelope(200, &json!({"status": {"code": 403}, "items": [found(ACCOUNT)]})), "(200)"),
        (envelope(200, &json!({"items": [found(ACCOUNT)], "errors": [{"code": "canary"}]})), "(200)"),
        (Answer::new(200, "[".repeat(60_000)), "(200)"),
        (Answer::new(204, ""), "(204)"),
        (Answer::new(404, "<html>canary</html>"), "(404)"),
        (Answer::new(403, ""), "(403)"),
        (Answer::new(400, r#"{"error": "canary"}"#), "(400)"),
    ] {
        let web = impostor(move |_| Some(answer.clone())).await;
        let message = Case::at(web.peer.address).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains(word) && message.contains("spec.spotinstVPC.endpoint"), "{message}");
        assert_eq!(web.asked().len(), 1);
    }
    // Who says that a token is not taken has looked at it, in whatever words.
    let web = impostor(|_| Some(Answer::new(401, "<html>canary</html>"))).await;
    Case::at(web.peer.address).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = impostor(|_| Some(items(&[found(ACCOUNT)]))).await;
    let location = format!("https://{}/setup/account/{ACCOUNT}", elsewhere.peer.address);
    for status in [301, 302, 307, 308] {
        let location = location.clone();
        let web = impostor(move |_| Some(Answer::new(status, "canary").header("location", &location))).await;
        Case::at(web.peer.address).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
    assert_eq!(elsewhere.peer.accepted(), 0);
}

#[tokio::test]
async fn more_than_is_read_is_no_answer_and_a_refusal_is_one_however_long_it_is() {
    let long = |status| {
        let items = json!({"items": [found(ACCOUNT)], "padding": "canary".repeat(20_000)});
        envelope(status, &items)
    };
    let answer = long(200);
    let web = impostor(move |_| Some(answer.clone())).await;
    let message = Case::at(web.peer.address).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("more than a probe accepts"), "{message}");
    for (status, stage, reason) in [
        (401, Stage::Authenticate, Reason::AuthenticationFailed),
        (503, Stage::Authenticate, Reason::ServerUnavailable),
    ] {
        let answer = long(status);
        let web = impostor(move |_| Some(answer.clone())).await;
        Case::at(web.peer.address).ends(stage, reason).await;
    }
}

/// Each case looks for a canary in all that a report shows; every answer of these tests has one in all that is not read.
#[tokio::test]
async fn no_secret_of_an_answer_is_kept() {
    let secrets = json!({
        "name": "canary", "apiToken": "canary", "credentials": {"secretKey": "canary", "privateKey": "canary"},
        "users": [{"email": "canary", "token": "canary"}],
    });
    for (status, extra, passes) in [
        (200, json!({"accountId": ACCOUNT}), true),
        (200, json!({"accountId": "canary", "id": "canary"}), false),
        (200, json!({"accountId": ["canary"]}), false),
    ] {
        let mut account = secrets.clone();
        json_patch::merge(&mut account, &extra);
        let answer = envelope(status, &json!({"items": [account], "kind": "canary", "token": "canary"}));
        let web = impostor(move |_| Some(answer.clone().header("x-request-id", "canary"))).await;
        let report = Case::at(web.peer.address).probe().await;
        assert_eq!(report.proof().is_some(), passes, "{extra}");
    }
    for status in [400, 401, 403, 404, 409, 429, 500] {
        let errors = json!([{"code": "canary", "message": "canary", "field": "canary"}, {"code": "canary"}]);
        let answer = envelope(status, &json!({"errors": errors, "items": [secrets]}));
        let web = impostor(move |_| Some(answer.clone())).await;
        assert!(Case::at(web.peer.address).probe().await.proof().is_none(), "{status}");
    }
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
}

#[tokio::test]
async fn a_peer_that_closes_at_once_closes_the_connection_while_it_is_reached() {
    let closing = Peer::that(async |stream| drop(stream)).await;
    Case::at(closing.address).ends(Stage::Reach, Reason::ConnectionClosed).await;
}

#[tokio::test]
async fn a_peer_without_tls_is_told_nothing() {
    let plain = Web::that(|_| Some(items(&[found(ACCOUNT)]))).await;
    Case::at(plain.peer.address).ends(Stage::Reach, Reason::TLSNotOffered).await;
    assert_eq!(plain.asked().len(), 0);
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled() {
    let web = impostor(|_| None).await;
    let case = Case::at(web.peer.address).in_world(case::world(&[], &["127.0.0.0/8"]));
    let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!(web.peer.accepted(), 0);
}
