//! What may be answered that the account of these tests does not answer: codes of rare states, strangers, silence, endlessness.

use std::time::Duration;

use super::*;
use crate::harness::{
    peer::Peer,
    web::{Answer, Asked, Web},
};

/// A case against a peer, about a table.
fn of(web: &Web) -> Case {
    Case::at(web.peer.address).on("ORDERS")
}

fn is_show(asked: &Asked) -> bool {
    asked.body.contains("SHOW ")
}

/// A peer that lists the table, and gives `answer` to what is explained.
async fn listing_then(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    impostor(move |asked| if is_show(asked) { Some(terse(&["ORDERS".to_owned()])) } else { answer(asked) }).await
}

#[tokio::test]
async fn every_code_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, code, state, stage, reason) in [
        (401, "390100", "", S::Authenticate, R::AuthenticationFailed),
        (401, "390101", "", S::Authenticate, R::AccountLocked),
        (401, "390102", "", S::Authenticate, R::AccountLocked),
        (401, "390112", "", S::Authenticate, R::CredentialsExpired),
        (401, "390114", "", S::Authenticate, R::CredentialsExpired),
        (401, "390144", "", S::Authenticate, R::AuthenticationFailed),
        (401, "390195", "", S::Authenticate, R::AuthenticationFailed),
        (401, "390198", "", S::Authenticate, R::ClockSkewed),
        (401, "390303", "", S::Authenticate, R::AuthenticationFailed),
        (401, "390309", "", S::Authenticate, R::AuthenticationFailed),
        (401, "390318", "", S::Authenticate, R::CredentialsExpired),
        (403, "390422", "", S::Authenticate, R::SourceNotAllowed),
        (401, "390432", "", S::Authenticate, R::SourceNotAllowed),
        (401, "394300", "", S::Authenticate, R::AuthenticationFailed),
        (401, "394301", "", S::Authenticate, R::ClockSkewed),
        (401, "394302", "", S::Authenticate, R::ClockSkewed),
        (401, "394303", "", S::Authenticate, R::ClockSkewed),
        (401, "394304", "", S::Authenticate, R::AuthenticationFailed),
        (401, "394305", "", S::Authenticate, R::AuthenticationFailed),
        (401, "394306", "", S::Authenticate, R::AuthenticationFailed),
        (401, "394400", "", S::Authenticate, R::AuthenticationFailed),
        (401, "390186", "", S::Access, R::TargetNotFoundOrNotPermitted),
        (401, "390189", "", S::Access, R::TargetNotFoundOrNotPermitted),
        (422, "390201", "", S::Access, R::TargetNotFoundOrNotPermitted),
        (422, "002003", "42S02", S::Access, R::TargetNotFoundOrNotPermitted),
        (422, "002043", "02000", S::Access, R::TargetNotFoundOrNotPermitted),
        (422, "003001", "42501", S::Access, R::PermissionDenied),
        (422, "000008", "0A000", S::Access, R::InternalError),
        (422, "001003", "42000", S::Access, R::InternalError),
        (400, "391903", "", S::Authenticate, R::InternalError),
        (422, "391911", "", S::Access, R::InternalError),
    ] {
        let web = impostor(move |_| Some(refusal(status, code, state))).await;
        let message = of(&web).asks(&[Read, Write]).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
        assert_eq!(web.asked().len(), 1, "{code}: nothing is asked again");
    }
}

#[tokio::test]
async fn without_a_listed_code_the_status_tells() {
    use {Reason as R, Stage as S};
    let html = "<html>canary</html>";
    let coded = r#"{"code":"999999","message":"canary"}"#;
    for (status, body, stage, reason, word) in [
        (401, html, S::Authenticate, R::AuthenticationFailed, "(401)"),
        (401, coded, S::Authenticate, R::AuthenticationFailed, "(401)"),
        (403, coded, S::Authenticate, R::AuthenticationFailed, "(403)"),
        (403, html, S::Reach, R::ProtocolMismatch, "spec.snowflake.account"),
        (404, html, S::Reach, R::ProtocolMismatch, "spec.snowflake.account"),
        (404, coded, S::Reach, R::ProtocolMismatch, "spec.snowflake.account"),
        (302, html, S::Reach, R::ProtocolMismatch, "(302)"),
        (200, html, S::Reach, R::ProtocolMismatch, "(200)"),
        (200, "{}", S::Reach, R::ProtocolMismatch, "(200)"),
        (400, coded, S::Authenticate, R::InternalError, "(400)"),
        (429, html, S::Authenticate, R::Throttled, "(429)"),
        (500, coded, S::Authenticate, R::ServerUnavailable, "(500)"),
        (503, html, S::Authenticate, R::ServerUnavailable, "(503)"),
        // Let in, and not done in time.
        (202, r#"{"code":"333334","message":"canary"}"#, S::Access, R::TimedOut, "(202)"),
        (408, r#"{"code":"000630","message":"canary"}"#, S::Access, R::TimedOut, "(408)"),
        (422, r#"{"code":"000604","sqlState":"57014"}"#, S::Access, R::TimedOut, "(57014)"),
        (422, r#"{"code":"090073","sqlState":"57P03"}"#, S::Access, R::ServerUnavailable, "(57P03)"),
    ] {
        let location = "https://127.0.0.1:1/";
        let web = impostor(move |_| Some(Answer::new(status, body).header("location", location))).await;
        let message = of(&web).ends(stage, reason).await;
        assert!(message.contains(word), "{message}");
        assert_eq!(web.asked().len(), 1, "{status}: nothing is asked again, and no redirect is followed");
    }
}

#[tokio::test]
async fn what_an_explanation_is_refused_with_is_about_the_permission_or_unclear() {
    use Reason as R;
    for (status, code, state, reason) in [
        (422, "003001", "42501", R::PermissionDenied),
        // Seen a moment ago.
        (422, "002003", "42S02", R::PermissionDenied),
        (422, "000606", "57P03", R::PermissionNotProvable),
        (422, "000002", "0A000", R::PermissionNotProvable),
        (422, "000604", "57014", R::TimedOut),
        (401, "390318", "", R::CredentialsExpired),
        (401, "390189", "", R::TargetNotFoundOrNotPermitted),
        (429, "999999", "", R::Throttled),
        (200, "090001", "", R::ProtocolMismatch),
    ] {
        let web = listing_then(move |_| Some(refusal(status, code, state))).await;
        let report = of(&web).asks(&[Read]).probe().await;
        assert_eq!(report.failure().map(|(_, failure)| failure.reason()), Some(reason), "{code}");
    }
    // Both are asked for, and a denial is told before what is unclear.
    let web = listing_then(|asked| {
        let insert = asked.body.contains("INSERT");
        Some(if insert { refusal(422, "000002", "0A000") } else { refusal(422, "003001", "42501") })
    })
    .await;
    let message = of(&web).asks(&[Read, Write]).ends(Stage::Access, R::PermissionDenied).await;
    assert!(message.contains("(Read)"), "{message}");
    assert_eq!(web.asked().len(), 3);
}

#[tokio::test]
async fn a_plan_that_is_too_long_is_one_and_a_list_is_not() {
    let long = || result(&["content"], &[vec!["canary".repeat(20_000)]]);
    let web = listing_then(move |_| Some(long())).await;
    of(&web).asks(&[Read, Write]).passes().await;
    let web = impostor(|_| Some(terse(&vec!["ORDERS_".to_owned(); 2000]))).await;
    let message = of(&web).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("more than a probe accepts"), "{message}");
}

#[tokio::test]
async fn a_token_that_is_refused_under_another_time_is_the_clocks_fault() {
    for (date, reason) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", Reason::ClockSkewed),
        ("Fri, 06 Nov 2099 08:49:37 GMT", Reason::ClockSkewed),
        ("canary", Reason::AuthenticationFailed),
    ] {
        for code in ["390144", "394300"] {
            let web = impostor(move |_| Some(refusal(401, code, "").header("date", date))).await;
            of(&web).ends(Stage::Authenticate, reason).await;
        }
    }
    // What names another cause is not.
    for code in ["394304", "394305", "394306"] {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let web = impostor(move |_| Some(refusal(401, code, "").header("date", date))).await;
        let message = of(&web).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("SYSTEM$GET_LOGIN_FAILURE_DETAILS"), "{message}");
    }
    // It says nothing about what is not signed here.
    let web = impostor(|_| Some(refusal(401, "394400", "").header("date", "Sun, 06 Nov 1994 08:49:37 GMT"))).await;
    of(&web).token("hunter2-token").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
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
    of(&web).soon().ends(Stage::Reach, Reason::TimedOut).await;
    let web = listing_then(|_| None).await;
    of(&web).asks(&[Read]).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_peer_that_closes_at_once_closes_the_connection_while_it_is_reached() {
    let closing = Peer::that(async |stream| drop(stream)).await;
    Case::at(closing.address).ends(Stage::Reach, Reason::ConnectionClosed).await;
}

#[tokio::test]
async fn a_peer_without_tls_is_told_nothing() {
    let plain = Web::that(|_| Some(terse(&["ORDERS".to_owned()]))).await;
    of(&plain).ends(Stage::Reach, Reason::TLSNotOffered).await;
    assert_eq!(plain.asked().len(), 0);
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled() {
    let web = impostor(|_| None).await;
    let message = of(&web).in_world(case::world(&[], &[])).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!(web.peer.accepted(), 0);
}

#[tokio::test]
async fn a_statement_is_given_the_time_that_the_look_has() {
    let web = listing_then(|_| Some(result(&["content"], &[vec!["plan".to_owned()]]))).await;
    of(&web).within(Duration::from_secs(7)).passes().await;
    let body: serde_json::Value = serde_json::from_str(&web.asked()[0].body).expect("JSON");
    assert!((6..=7).contains(&body["timeout"].as_u64().expect("a number")), "{body}");
}
