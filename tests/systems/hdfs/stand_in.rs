//! What a name node may do that a real one cannot be made to do: other exceptions, other servers, silence, noise, endlessness; and
//! what it hears.

use super::*;
use crate::harness::{
    peer::Peer,
    web::{Answer, Asked, Web},
};

const FILE: &str = r#"{"FileStatus":{"type":"FILE","owner":"canary"}}"#;
const DIRECTORY: &str = r#"{"FileStatus":{"type":"DIRECTORY","owner":"canary"}}"#;
const LISTING: &str =
    r#"{"DirectoryListing":{"partialListing":{"FileStatuses":{"FileStatus":[]}},"remainingEntries":0}}"#;
/// A token, as far as its form goes.
const TOKEN: &str = "B2h1bnRlcjIHaHVudGVyMgFrAA";

fn remote(status: u16, exception: &str) -> Answer {
    let body =
        format!(r#"{{"RemoteException":{{"exception":"{exception}","javaClassName":"canary","message":"canary"}}}}"#);
    Answer::new(status, body).header("content-type", "application/json")
}

fn negotiate() -> Answer {
    Answer::new(401, "<html>canary</html>").header("www-authenticate", "Negotiate")
}

fn at(web: &Web) -> Case {
    Case::web(&format!("webhdfs://{}", web.peer.address), "/data/orders")
}

fn named(web: &Web) -> Case {
    at(web).named("reader")
}

/// What a name node gives that looks at tokens, and `answer` to who has one.
fn guarded(
    answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static {
    move |asked| if asked.line.contains("delegation=") { answer(asked) } else { Some(negotiate()) }
}

/// A directory, and `answer` to everything else.
fn directory_then(
    answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static {
    move |asked| if asked.line.contains("GETFILESTATUS") { Some(Answer::new(200, DIRECTORY)) } else { answer(asked) }
}

#[tokio::test]
async fn every_exception_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, exception, stage, with_a_name, with_a_token) in [
        (403, "SecurityException", S::Authenticate, R::AuthenticationMethodNotSupported, R::AuthenticationFailed),
        (403, "InvalidToken", S::Authenticate, R::AuthenticationMethodNotSupported, R::AuthenticationFailed),
        (403, "AuthenticationException", S::Authenticate, R::AuthenticationMethodNotSupported, R::AuthenticationFailed),
        (400, "IllegalArgumentException", S::Authenticate, R::AuthenticationFailed, R::AuthenticationFailed),
        (403, "AccessControlException", S::Access, R::PermissionDenied, R::PermissionDenied),
        (403, "AuthorizationException", S::Access, R::PermissionDenied, R::PermissionDenied),
        (404, "FileNotFoundException", S::Access, R::TargetNotFound, R::TargetNotFound),
        (403, "ParentNotDirectoryException", S::Access, R::TargetNotFound, R::TargetNotFound),
        (403, "StandbyException", S::Authenticate, R::ServerUnavailable, R::ServerUnavailable),
        (403, "RetriableException", S::Authenticate, R::ServerUnavailable, R::ServerUnavailable),
        (403, "SafeModeException", S::Authenticate, R::ServerUnavailable, R::ServerUnavailable),
        (403, "IOException", S::Authenticate, R::ServerUnavailable, R::ServerUnavailable),
        (500, "RuntimeException", S::Authenticate, R::ServerUnavailable, R::ServerUnavailable),
        (500, "NullPointerException", S::Authenticate, R::ServerUnavailable, R::ServerUnavailable),
        (400, "UnsupportedOperationException", S::Reach, R::ProtocolMismatch, R::ProtocolMismatch),
    ] {
        let web = Web::that(move |_| Some(remote(status, exception))).await;
        let message = named(&web).asks(&[List, Read, Write]).ends(stage, with_a_name).await;
        assert!(message.contains(exception), "{message}");
        assert_eq!(web.asked().len(), 1, "{exception}: nothing is asked again");
        let web = Web::that(guarded(move |_| Some(remote(status, exception)))).await;
        let message = at(&web).token(TOKEN).asks(&[List, Read, Write]).ends(stage, with_a_token).await;
        assert!(message.contains(exception), "{message}");
        assert_eq!(web.asked().len(), 2, "{exception}: nothing is asked again");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_name_nodes_is_called_so() {
    use {Reason as R, Stage as S};
    for (answer, stage, reason) in [
        (Answer::new(200, "<html>canary</html>"), S::Reach, R::ProtocolMismatch),
        (Answer::new(200, ""), S::Reach, R::ProtocolMismatch),
        (Answer::new(200, r#"{"FileStatus":{"type":"canary"}}"#), S::Reach, R::ProtocolMismatch),
        (Answer::new(201, FILE), S::Reach, R::ProtocolMismatch),
        (Answer::new(404, "<html>canary</html>"), S::Reach, R::ProtocolMismatch),
        (Answer::new(403, "<html>canary</html>"), S::Reach, R::ProtocolMismatch),
        (Answer::new(404, r#"{"RemoteException":[]}"#), S::Reach, R::ProtocolMismatch),
        (Answer::new(401, "canary"), S::Reach, R::ProtocolMismatch),
        (Answer::new(307, "").header("location", "http://127.0.0.1:1/"), S::Reach, R::ProtocolMismatch),
        (Answer::new(200, " ".repeat(100_000)), S::Reach, R::ProtocolMismatch),
        (remote(403, "canary"), S::Authenticate, R::ServerUnavailable),
        (remote(500, "canary"), S::Authenticate, R::ServerUnavailable),
        (Answer::new(502, "<html>canary</html>"), S::Authenticate, R::ServerUnavailable),
        (Answer::new(429, ""), S::Authenticate, R::Throttled),
    ] {
        let shown = format!("{answer:?}");
        let shown: String = shown.chars().take(200).collect();
        let (once, twice) = (answer.clone(), answer.clone());
        let web = Web::that(move |_| Some(once.clone())).await;
        let report = named(&web).probe().await;
        let found = report.failure().map(|(stage, failure)| (stage, failure.reason()));
        assert_eq!(found, Some((stage, reason)), "{shown}");
        // Without a login as with one.
        for web in
            [Web::that(move |_| Some(answer.clone())).await, Web::that(guarded(move |_| Some(twice.clone()))).await]
        {
            let report = at(&web).token(TOKEN).probe().await;
            let found = report.failure().map(|(stage, failure)| (stage, failure.reason()));
            assert_eq!(found, Some((stage, reason)), "with a token, {shown}");
        }
    }
}

#[tokio::test]
async fn every_answer_about_a_right_has_its_name() {
    use Reason as R;
    let denied = || remote(403, "AccessControlException");
    for (permission, answer, reason) in [
        (List, Answer::new(200, LISTING), None),
        // A server that begins at the beginning.
        (List, Answer::new(200, LISTING.replace("[]", &format!("[{}]", "{},".repeat(100_000)))), None),
        (List, denied(), Some(R::PermissionDenied)),
        (List, Answer::new(200, "<html>canary</html>"), Some(R::ProtocolMismatch)),
        (List, Answer::new(200, ""), Some(R::ProtocolMismatch)),
        (List, remote(400, "IllegalArgumentException"), Some(R::PermissionNotProvable)),
        (List, remote(403, "StandbyException"), Some(R::ServerUnavailable)),
        (Read, Answer::new(200, ""), None),
        (Read, denied(), Some(R::PermissionDenied)),
        (Read, Answer::new(200, "<html>canary</html>"), Some(R::ProtocolMismatch)),
        (Read, Answer::new(204, ""), Some(R::ProtocolMismatch)),
        (Read, Answer::new(307, "").header("location", "http://127.0.0.1:1/"), Some(R::ProtocolMismatch)),
        (Read, remote(400, "IllegalArgumentException"), Some(R::PermissionNotProvable)),
        (Read, remote(400, "UnsupportedOperationException"), Some(R::PermissionNotProvable)),
        (Read, remote(404, "FileNotFoundException"), Some(R::TargetNotFound)),
        (Write, Answer::new(200, ""), None),
        (Write, denied(), Some(R::PermissionDenied)),
        (Write, remote(403, "SafeModeException"), Some(R::ServerUnavailable)),
        (Write, Answer::new(503, ""), Some(R::ServerUnavailable)),
    ] {
        let shown: String = format!("{permission:?} {answer:?}").chars().take(200).collect();
        let web = Web::that(directory_then(move |_| Some(answer.clone()))).await;
        let report = named(&web).asks(&[permission]).probe().await;
        assert_eq!(report.failure().map(|(_, failure)| failure.reason()), reason, "{shown}");
    }
}

#[tokio::test]
async fn a_permission_that_is_unclear_is_said_only_where_none_is_missing() {
    let web = Web::that(directory_then(|asked| {
        Some(if asked.line.contains("LISTSTATUS_BATCH") {
            remote(400, "IllegalArgumentException")
        } else if asked.line.contains("fsaction=r-x") {
            Answer::new(200, "")
        } else {
            remote(403, "AccessControlException")
        })
    }))
    .await;
    let message = named(&web).asks(&[List, Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on /data/orders (Write)"), "{message}");
    let message = named(&web).asks(&[List, Read]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    assert!(message.contains("(IllegalArgumentException, List)"), "{message}");
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    let answers = |asked: &Asked| {
        Some(if asked.line.contains("LISTSTATUS") { Answer::new(200, LISTING) } else { Answer::new(200, "") })
    };
    let web = Web::that(directory_then(answers)).await;
    let base = format!("webhdfs://{}/gateway/", web.peer.address);
    let case = named(&web).at(base).path("/data/a b/ü?&#/").named("reader&op=DELETE");
    case.asks(&[List, Read, Write]).is_let_in().await;
    let asked = web.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let path = "/gateway/webhdfs/v1/data/a%20b/%C3%BC%3F%26%23";
    let who = "&user.name=reader%26op%3DDELETE";
    assert_eq!(
        lines,
        [
            format!("GET {path}?op=GETFILESTATUS{who}"),
            format!("GET {path}?op=LISTSTATUS_BATCH&startAfter=%7F{who}"),
            format!("GET {path}?op=CHECKACCESS&fsaction=r-x{who}"),
            format!("GET {path}?op=CHECKACCESS&fsaction=-wx{who}"),
        ]
    );
    assert_eq!(web.peer.accepted(), 4);
}

#[tokio::test]
async fn a_file_is_asked_about_other_rights_than_a_directory_and_not_listed() {
    let web = Web::that(|asked| Some(Answer::new(200, if asked.line.contains("STATUS") { FILE } else { "" }))).await;
    named(&web).asks(&[List, Read, Write]).is_let_in().await;
    let lines: Vec<String> = web.asked().into_iter().map(|asked| asked.line).collect();
    let (path, who) = ("GET /webhdfs/v1/data/orders?op=", "&user.name=reader");
    assert_eq!(
        lines,
        [
            format!("{path}GETFILESTATUS{who}"),
            format!("{path}CHECKACCESS&fsaction=r--{who}"),
            format!("{path}CHECKACCESS&fsaction=-w-{who}"),
        ]
    );
}

#[tokio::test]
async fn a_token_stands_at_the_end_of_every_url_but_the_first_and_nowhere_else() {
    let web = Web::that(guarded(|asked| {
        Some(Answer::new(200, if asked.line.contains("GETFILESTATUS") { DIRECTORY } else { "" }))
    }))
    .await;
    at(&web).token(TOKEN).asks(&[Read]).passes().await;
    let asked = web.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let path = "GET /webhdfs/v1/data/orders?op=";
    assert_eq!(
        lines,
        [
            format!("{path}GETFILESTATUS"),
            format!("{path}GETFILESTATUS&delegation={TOKEN}"),
            format!("{path}CHECKACCESS&fsaction=r-x&delegation={TOKEN}"),
        ]
    );
    assert!(asked.iter().all(|asked| !format!("{:?}", asked.headers).contains(TOKEN)));
}

#[tokio::test]
async fn a_token_is_not_shown_to_who_does_not_ask_for_a_login() {
    for answer in [
        Answer::new(200, FILE),
        remote(404, "FileNotFoundException"),
        remote(403, "AccessControlException"),
        // Of a guard that takes every name.
        Answer::new(401, "").header("www-authenticate", "PseudoAuth"),
    ] {
        let web = Web::that(move |_| Some(answer.clone())).await;
        let case = at(&web).token(TOKEN).asks(&[Read]);
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
        assert!(message.contains("without a login it answers, too"), "{message}");
        let asked = web.asked();
        assert!(asked.len() == 1 && !asked[0].line.contains("delegation"), "{asked:?}");
    }
}

#[tokio::test]
async fn after_its_first_answer_a_name_node_is_late_in_the_stage_that_it_is_asked_about() {
    let web = Web::that(directory_then(|_| None)).await;
    named(&web).asks(&[Read]).later().ends(Stage::Access, Reason::TimedOut).await;
    let web = Web::that(guarded(|_| None)).await;
    at(&web).token(TOKEN).later().ends(Stage::Authenticate, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    for scheme in ["webhdfs", "swebhdfs"] {
        let case = Case::web(&format!("{scheme}://{}", silent.address), "/data/orders");
        case.clone().named("reader").soon().ends(Stage::Reach, Reason::TimedOut).await;
        case.token(TOKEN).soon().ends(Stage::Reach, Reason::TimedOut).await;
    }
}

#[tokio::test]
async fn a_peer_that_closes_or_speaks_something_else_is_called_so() {
    let closing = Peer::that(async |stream| drop(stream)).await;
    let case = |address| Case::web(&format!("webhdfs://{address}"), "/data/orders").named("reader");
    case(closing.address).ends(Stage::Reach, Reason::ConnectionClosed).await;
    // A name node's own protocol at the other of its ports.
    let message = case(server().address("ACTIVE")).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("does not speak the expected protocol"), "{message}");
    let plain = Case::web(&format!("swebhdfs://{}", server().said["ACTIVE_WEB"]), "/data/orders").named("reader");
    plain.ends(Stage::Reach, Reason::TLSNotOffered).await;
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled() {
    let web = Web::that(|_| None).await;
    let case = named(&web).in_world(case::world(&["10.0.0.0/8"], &[]));
    let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!(web.peer.accepted(), 0);
}
