//! What may be answered that the environment of these tests does not answer: rare statuses, strangers, silence, endlessness, secrets.

use serde_json::json;

use super::*;
use crate::harness::{
    peer::Peer,
    qubole::{configuration, json_answer},
    web::{Answer, Asked, Web},
};

fn list() -> Answer {
    let paging = json!({"next_page": 2, "previous_page": null, "per_page": 1});
    json_answer(200, &json!({"paging_info": paging, "clusters": [configuration(1710)]}))
}

/// A peer that knows the first cluster, and gives `answer` to what is asked about others.
async fn knowing_one(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    impostor(move |asked| if asked.line.contains(LABEL) { Some(state_of(1710, "DOWN", 0)) } else { answer(asked) })
        .await
}

#[tokio::test]
async fn every_status_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, stage, reason) in [
        (400, S::Authenticate, R::InternalError),
        (401, S::Authenticate, R::AuthenticationFailed),
        (403, S::Access, R::PermissionDenied),
        (404, S::Access, R::TargetNotFound),
        (405, S::Authenticate, R::InternalError),
        (408, S::Authenticate, R::ServerUnavailable),
        (409, S::Authenticate, R::InternalError),
        (422, S::Access, R::TargetNotFound),
        (429, S::Authenticate, R::Throttled),
        (449, S::Authenticate, R::ServerUnavailable),
        (500, S::Authenticate, R::ServerUnavailable),
        (502, S::Authenticate, R::ServerUnavailable),
        (503, S::Authenticate, R::ServerUnavailable),
    ] {
        let web = impostor(move |_| Some(refusal(status))).await;
        let message = Case::at(web.peer.address).presto(LABEL).ends(stage, reason).await;
        assert!(message.contains(&format!("({status})")), "{message}");
        assert_eq!(web.asked().len(), 1, "{status}: nothing is asked again");
        // Without a label it is about the list, which is always there.
        let listed = Case::at(web.peer.address).probe().await;
        let (_, failure) = listed.failure().expect("it is refused");
        let expected = match status {
            404 => R::ProtocolMismatch,
            422 => R::InternalError,
            _ => reason,
        };
        assert_eq!(failure.reason(), expected, "{status}");
    }
}

#[tokio::test]
async fn after_the_first_cluster_a_refusal_comes_where_the_look_is() {
    use {Reason as R, Stage as S};
    for (status, stage, reason) in [
        (401, S::Authenticate, R::AuthenticationFailed),
        (403, S::Access, R::PermissionDenied),
        (404, S::Access, R::TargetNotFound),
        (429, S::Access, R::Throttled),
        (500, S::Access, R::ServerUnavailable),
    ] {
        let web = knowing_one(move |_| Some(refusal(status))).await;
        Case::at(web.peer.address).presto(LABEL).hive("other").ends(stage, reason).await;
        // So it does where the first one was missing: who is told that has been let in.
        let web = impostor(move |asked| Some(refusal(if asked.line.contains(LABEL) { 404 } else { status }))).await;
        let report = Case::at(web.peer.address).presto(LABEL).hive("other").probe().await;
        let (at, failure) = report.failure().expect("it is refused");
        let expected = if status == 403 { (S::Access, R::TargetNotFound) } else { (stage, reason) };
        assert_eq!((at, failure.reason()), expected, "{status}");
        assert_eq!(web.asked().len(), 2, "{status}: each is asked about");
    }
}

#[tokio::test]
async fn what_does_not_speak_as_the_api_does_says_nothing_about_a_cluster() {
    let html = || Answer::new(404, "<html>canary</html>").header("content-type", "text/html");
    for (answer, word) in [
        (html(), "(404)"),
        (Answer::new(403, "<html>canary</html>"), "(403)"),
        (Answer::new(404, ""), "(404)"),
        (Answer::new(404, "[]"), "(404)"),
        (Answer::new(200, "<html>canary</html>"), "(200)"),
        (Answer::new(200, ""), "(200)"),
        (Answer::new(200, "{}"), "(200)"),
        (Answer::new(200, "null"), "(200)"),
        (Answer::new(200, r#"{"state": "UP", "cluster_id": 1710, "nodes": ["#), "(200)"),
        (Answer::new(200, r#"{"state": "canary canary", "cluster_id": 1710}"#), "(200)"),
        (Answer::new(200, r#"{"state": "UP", "cluster_id": "1710"}"#), "(200)"),
        (Answer::new(200, r#"{"error": {"error_code": 404}, "state": "UP", "cluster_id": 1710}"#), "(200)"),
        (Answer::new(200, json!([{"state": "UP", "cluster_id": 1710}]).to_string()), "(200)"),
        (Answer::new(200, "[".repeat(60_000)), "(200)"),
        (list(), "(200)"),
        (Answer::new(204, ""), "(204)"),
    ] {
        let web = impostor(move |_| Some(answer.clone())).await;
        let message = Case::at(web.peer.address).presto(LABEL).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains(word) && message.contains("or the service was retired"), "{message}");
        assert_eq!(web.asked().len(), 1);
    }
    for answer in [state_of(1710, "UP", 1), Answer::new(200, "[]"), Answer::new(200, r#"{"clusters": []}"#)] {
        let web = impostor(move |_| Some(answer.clone())).await;
        Case::at(web.peer.address).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
    // Who says that a token is not taken has looked at it, in whatever words.
    let web = impostor(|_| Some(Answer::new(401, "<html>canary</html>"))).await;
    Case::at(web.peer.address).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_message_says_what_to_set() {
    let elsewhere = impostor(|_| Some(state_of(1710, "UP", 1))).await;
    let location = format!("https://{}/api/v2/clusters/{LABEL}/state", elsewhere.peer.address);
    for status in [301, 302, 307, 308] {
        let location = location.clone();
        let web = impostor(move |_| Some(Answer::new(status, "canary").header("location", &location))).await;
        let message = Case::at(web.peer.address).presto(LABEL).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains("set spec.qubole.endpoint") && message.contains("us.qubole.com"), "{message}");
    }
    assert_eq!(elsewhere.peer.accepted(), 0);
}

#[tokio::test]
async fn a_cluster_with_more_nodes_than_are_read_is_there_and_a_body_without_end_is_none() {
    let web = impostor(|_| Some(state_of(1710, "UP", 1000))).await;
    Case::at(web.peer.address).presto(LABEL).passes().await;
    for begin in ["{", r#"{"state": "UP", "x": ""#, r#"{"nodes": ["#] {
        let body = format!("{begin}{}", " ".repeat(1 << 20));
        let web = impostor(move |_| Some(Answer::new(200, body.clone()))).await;
        let message = Case::at(web.peer.address).presto(LABEL).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains("more than a probe accepts"), "{message}");
    }
    let web = impostor(|_| Some(Answer::new(404, format!("{{{}", " ".repeat(1 << 20))))).await;
    Case::at(web.peer.address).presto(LABEL).ends(Stage::Reach, Reason::ProtocolMismatch).await;
}

/// Each case looks for a canary in all that a report shows; every answer of these tests has one in all that is not read.
#[tokio::test]
async fn no_secret_of_an_answer_is_kept() {
    let body = list();
    let web = impostor(move |_| Some(body.clone())).await;
    let report = Case::at(web.peer.address).probe().await;
    assert!(report.proof().is_some() && !format!("{report:?}").contains("AKIA"), "{report:?}");
    let shown = configuration(1710);
    let secrets = |extra: serde_json::Value| {
        let mut all = shown.clone();
        json_patch::merge(&mut all, &extra);
        all
    };
    for (status, extra, passes) in [
        (200, json!({"cluster_id": 1710, "state": "UP"}), true),
        (200, json!({"cluster_id": "canary"}), false),
        (200, json!({"cluster_id": 1710, "state": "canary"}), false),
        (403, json!({"error": {"error_code": "canary", "error_message": "canary"}}), false),
        (404, json!({"error": "canary"}), false),
        (422, json!({"error": ["canary"]}), false),
        (500, json!({"canary": "canary"}), false),
    ] {
        let body = secrets(extra.clone());
        let web = impostor(move |_| Some(json_answer(status, &body).header("x-qubole-trace-id", "canary"))).await;
        let report = Case::at(web.peer.address).presto(LABEL).probe().await;
        assert_eq!(report.proof().is_some(), passes, "{status} {extra}");
    }
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_where_it_got_to() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    Case::at(silent.address).soon().ends(Stage::Reach, Reason::TimedOut).await;
    let web = impostor(|_| None).await;
    Case::at(web.peer.address).soon().ends(Stage::Reach, Reason::TimedOut).await;
    let web = knowing_one(|_| None).await;
    Case::at(web.peer.address).presto(LABEL).hive("other").later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_peer_that_closes_at_once_closes_the_connection_while_it_is_reached() {
    let closing = Peer::that(async |stream| drop(stream)).await;
    Case::at(closing.address).ends(Stage::Reach, Reason::ConnectionClosed).await;
}

#[tokio::test]
async fn a_peer_without_tls_is_told_nothing() {
    let plain = Web::that(|_| Some(state_of(1710, "UP", 1))).await;
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
