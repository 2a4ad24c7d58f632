//! What the real servers of the tests do rarely or never: API keys, clusters without security, rare codes, silence, noise, and hosts of
//! which some are of no use.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use connection_operator::net::tls::Identity;
use serde_json::json;

use super::*;
use crate::harness::{
    authority::{Authority, Clients},
    peer::Peer,
    web::{Answer, Asked, Web},
};

const WHO: &str = "GET /_security/_authenticate?filter_path=username,authentication_type";
const INFO: &str = "GET /_plugins/_security/authinfo?filter_path=user_name";
const ROOT: &str = "GET /";
const PRIVILEGES: &str = "POST /_security/user/_has_privileges";
const METADATA: &str =
    "GET /orders?filter_path=*.settings.index.uuid,*.settings.index.verified_before_close,*.settings.index.blocks";
const SEARCH: &str = "GET /orders/_search?size=0&terminate_after=1&filter_path=_shards.total,_shards.successful,_shards.failed,hits.total";

/// An answer that says what it is of.
fn es(status: u16, body: &serde_json::Value) -> Answer {
    Answer::new(status, body.to_string()).header("x-elastic-product", "Elasticsearch")
}

/// An error as both systems write it; what security refuses says nothing about what it is of.
fn error(status: u16, kind: &str) -> Answer {
    let cause = json!({"type": kind, "reason": "canary"});
    let body = json!({"error": {"root_cause": [cause], "type": kind, "reason": "canary"}, "status": status});
    Answer::new(status, body.to_string())
}

fn no_handler() -> Answer {
    Answer::new(400, json!({"error": "no handler found for uri [canary] and method [GET]"}).to_string())
}

fn reader() -> Answer {
    es(200, &json!({"username": "reader", "roles": ["canary"], "authentication_type": "realm"}))
}

fn held(privileges: [bool; 3]) -> Answer {
    let [read, create_doc, view] = privileges;
    let told = json!({"read": read, "create_doc": create_doc, "view_index_metadata": view});
    es(200, &json!({"username": "reader", "has_all_requested": false, "index": {"orders": told}}))
}

fn searched() -> Answer {
    shards(1, 1, 0)
}

fn shards(total: u8, successful: u8, failed: u8) -> Answer {
    let shards = json!({"total": total, "successful": successful, "failed": failed});
    es(200, &json!({"_shards": shards, "hits": {"total": {"value": 0, "relation": "eq"}}}))
}

fn described() -> Answer {
    described_with(&json!({}))
}

fn described_with(blocks: &serde_json::Value) -> Answer {
    es(200, &json!({"orders": {"settings": {"index": {"uuid": "canary", "blocks": blocks}}}}))
}

/// A cluster that lets everybody in who shows anything, and gives `answer` to all else.
async fn letting_in(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Web {
    Web::that(move |asked| Some(if asked.line == WHO { reader() } else { answer(asked) })).await
}

fn lines(web: &Web) -> Vec<String> {
    web.asked().into_iter().map(|asked| asked.line).collect()
}

/// As READER with a password, at a peer without TLS.
fn at(web: &Web) -> Case {
    Case::plain(web.peer.address).secret("username", "reader").secret("password", "reader-secret")
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    for (permissions, privileges, looked) in [
        (&[][..], [true, true, true], &[METADATA][..]),
        (&[], [true, false, false], &[SEARCH]),
        (&[Write], [true, true, false], &[SEARCH]),
        (&[Write], [false, true, true], &[METADATA]),
        (&[Read], [true, false, true], &[SEARCH]),
        (&[Read, Write], [true, true, false], &[SEARCH]),
        (&[Read, Write], [true, true, true], &[SEARCH, METADATA]),
    ] {
        let web = letting_in(move |asked| match asked.line.as_str() {
            PRIVILEGES => held(privileges),
            METADATA => described(),
            SEARCH => searched(),
            _ => no_handler(),
        })
        .await;
        at(&web).on("orders", permissions).passes().await;
        assert_eq!(lines(&web), [&[WHO, PRIVILEGES], looked].concat());
        let asked: serde_json::Value = serde_json::from_str(&web.asked()[1].body).expect("JSON");
        let privileges = ["read", "create_doc", "view_index_metadata"];
        assert_eq!(asked, json!({"index": [{"names": ["orders"], "privileges": privileges}]}));
    }
    let web = letting_in(|_| no_handler()).await;
    at(&web).passes().await;
    assert_eq!(lines(&web), [WHO]);
}

#[tokio::test]
async fn each_login_is_shown_in_its_own_way_and_over_http_only_where_tls_is_disabled() {
    let basic = format!("Basic {}", BASE64_STANDARD.encode("reader:reader-secret"));
    let key = "ApiKey aWQ6a2V5LXRoYXQtaXMtbG9uZw==";
    for (case, header) in [
        (None, basic.as_str()),
        (Some(("apiKey", "id:key-that-is-long")), key),
        (Some(("apiKey", "aWQ6a2V5LXRoYXQtaXMtbG9uZw==")), key),
        (Some(("bearerToken", "token-that-is-long")), "Bearer token-that-is-long"),
    ] {
        let expected = header.to_owned();
        // It lets in who shows exactly this.
        let web = Web::that(move |asked| {
            Some(if asked.header("authorization") == expected { reader() } else { error(401, "security_exception") })
        })
        .await;
        let case = case.map_or_else(|| at(&web), |(name, value)| at(&web).by(name, value));
        assert_eq!(case.passes().await, Proof::default());
        assert_eq!(lines(&web), [WHO]);
        let (name, wrong) = case.secret.last().map(|(name, value)| (*name, value.replace('t', "7"))).expect("a key");
        case.secret(name, &wrong).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    }
}

#[tokio::test]
async fn every_answer_at_the_door_has_its_name() {
    use {Reason as R, Stage as S};
    let expired = r#"Bearer realm="security", error="invalid_token", error_description="The access token expired""#;
    let cloud = |status| Answer::new(status, r#"{"ok":false,"message":"canary"}"#);
    let long = format!(r#"{{"error":{{"type":"security_exception","reason":"{}"}}}}"#, "canary".repeat(20_000));
    let of_key = r#"{"error":{"type":"security_exception","additional_unsuccessful_credentials":"API key: api key is expired"}}"#;
    for (answer, stage, reason, code) in [
        (error(401, "security_exception"), S::Authenticate, R::AuthenticationFailed, "(401, security_exception)"),
        (Answer::new(401, "Unauthorized"), S::Authenticate, R::AuthenticationFailed, "(401)"),
        (error(401, "canary").header("www-authenticate", expired), S::Authenticate, R::CredentialsExpired, "(401)"),
        (Answer::new(401, long.clone()), S::Authenticate, R::AuthenticationFailed, "(401)"),
        (Answer::new(403, long), S::Authenticate, R::AuthenticationFailed, "(403)"),
        (Answer::new(401, of_key), S::Authenticate, R::CredentialsExpired, "(401, security_exception)"),
        (error(403, "security_exception"), S::Authenticate, R::AuthenticationFailed, "(403, security_exception)"),
        (cloud(403), S::Authenticate, R::SourceNotAllowed, "(403)"),
        (
            Answer::new(403, r#"{"Message":"canary"}"#).header("x-amzn-requestid", "canary"),
            S::Authenticate,
            R::AuthenticationMethodNotSupported,
            "(403)",
        ),
        (error(429, "circuit_breaking_exception"), S::Authenticate, R::Throttled, "(429, circuit_breaking_exception)"),
        (error(503, "master_not_discovered_exception"), S::Authenticate, R::ServerUnavailable, "(503, master_not"),
        (Answer::new(503, "OpenSearch Security not initialized."), S::Authenticate, R::ServerUnavailable, "(503)"),
        (Answer::new(403, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, "(403)"),
        (Answer::new(302, "canary").header("location", "https://127.0.0.1:1/"), S::Reach, R::ProtocolMismatch, "(302)"),
        (Answer::new(200, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, "(200)"),
        (Answer::new(200, "{}"), S::Reach, R::ProtocolMismatch, "(200)"),
        (Answer::new(200, " ".repeat(100_000)), S::Reach, R::ProtocolMismatch, "more than a probe"),
    ] {
        let web = Web::that(move |_| Some(answer.clone())).await;
        let message = at(&web).on("orders", &[Read]).ends(stage, reason).await;
        assert!(message.contains(code) && message.contains(&web.peer.address.to_string()), "{message}");
        assert_eq!(lines(&web), [WHO], "{code}: nothing is asked again, and no redirect is followed");
    }
    for answer in [Answer::new(404, "<html>canary</html>"), Answer::new(405, ""), cloud(404)] {
        let web = Web::that(move |_| Some(answer.clone())).await;
        at(&web).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert_eq!(lines(&web), [WHO, INFO, ROOT]);
    }
}

#[tokio::test]
async fn every_answer_inside_has_its_name() {
    use Reason as R;
    for (answer, reason, code) in [
        (
            error(404, "index_not_found_exception"),
            R::TargetNotFound,
            "index orders does not exist (404, index_not_found",
        ),
        (error(400, "invalid_index_name_exception"), R::TargetNotFound, "(400, invalid_index_name_exception)"),
        (error(400, "index_closed_exception"), R::TargetUnavailable, "(400, index_closed_exception)"),
        (error(403, "cluster_block_exception"), R::TargetUnavailable, "(403, cluster_block_exception)"),
        (
            error(503, "search_phase_execution_exception"),
            R::TargetUnavailable,
            "(503, search_phase_execution_exception)",
        ),
        (error(503, "no_shard_available_action_exception"), R::TargetUnavailable, "(503, no_shard_available"),
        (error(503, "unavailable_shards_exception"), R::TargetUnavailable, "(503, unavailable_shards_exception)"),
        (error(503, "cluster_block_exception"), R::ServerUnavailable, "(503, cluster_block_exception)"),
        (error(503, "process_cluster_event_timeout_exception"), R::ServerUnavailable, "(503, process_cluster_event"),
        (error(503, "canary"), R::ServerUnavailable, "(503)"),
        (error(429, "es_rejected_execution_exception"), R::Throttled, "(429, es_rejected_execution_exception)"),
        (error(429, "rejected_execution_exception"), R::Throttled, "(429, rejected_execution_exception)"),
        (error(400, "illegal_argument_exception"), R::InternalError, "(400, illegal_argument_exception)"),
        (error(403, "security_exception"), R::TargetNotFoundOrNotPermitted, "index orders does not exist or may not"),
        (shards(0, 0, 0), R::TargetNotFoundOrNotPermitted, "index orders does not exist or may not"),
        (shards(2, 1, 1), R::TargetUnavailable, "index orders exists and cannot be used now (a shard does not answer)"),
    ] {
        let web =
            letting_in(move |asked| if asked.line == PRIVILEGES { held([true; 3]) } else { answer.clone() }).await;
        let message = at(&web).on("orders", &[Read]).ends(Stage::Access, reason).await;
        assert!(message.contains(code), "{message}");
    }
    for answer in [
        Answer::new(200, "<html>canary</html>"),
        Answer::new(200, "{}"),
        Answer::new(200, r#"{"_shards":{"total":-1},"hits":7}"#),
        Answer::new(200, r#"{"_shards":{"total":1,"successful":1,"failed":0},"hits":7}"#),
        Answer::new(200, format!("[{}", "[".repeat(50_000))),
        Answer::new(200, " ".repeat(100_000)),
        Answer::new(301, "canary"),
        Answer::new(403, "canary"),
    ] {
        for at_privileges in [true, false] {
            let (answer, shown) = (answer.clone(), answer.clone());
            let web =
                letting_in(
                    move |asked| {
                        if asked.line == PRIVILEGES && !at_privileges { held([true; 3]) } else { answer.clone() }
                    },
                )
                .await;
            let report = at(&web).on("orders", &[Read]).probe().await;
            let reason = report.failure().map(|(_, failure)| failure.reason());
            assert_eq!(reason, Some(Reason::ProtocolMismatch), "{shown:?} {at_privileges}");
        }
    }
    let web = letting_in(|_| error(401, "security_exception")).await;
    at(&web).on("orders", &[Read]).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn where_privileges_are_not_told_reading_is_tried_and_writing_is_unknown() {
    for answer in [error(403, "security_exception"), no_handler(), Answer::new(405, "canary"), error(404, "canary")] {
        let web = letting_in(move |asked| match asked.line.as_str() {
            PRIVILEGES => answer.clone(),
            SEARCH => searched(),
            _ => error(403, "security_exception"),
        })
        .await;
        at(&web).on("orders", &[Read]).passes().await;
        at(&web).on("orders", &[]).passes().await;
        at(&web).on("orders", &[Read, Write]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    }
}

/// A cluster without security, as Elasticsearch with its features off and as OpenSearch without the plugin have answered.
fn open(asked: &Asked, product: Option<&str>) -> Answer {
    let answer = match (asked.line.as_str(), product) {
        (WHO, Some(_)) => {
            Answer::new(405, json!({"error": "Incorrect HTTP method for uri [canary]", "status": 405}).to_string())
        }
        (ROOT, _) => {
            Answer::new(200, json!({"tagline": "The OpenSearch Project: https://opensearch.org/"}).to_string())
        }
        (METADATA, _) => return described(),
        (SEARCH, _) => return searched(),
        _ => no_handler(),
    };
    product.map_or(answer.clone(), |product| answer.header("x-elastic-product", product))
}

#[tokio::test]
async fn a_cluster_without_security_is_used_without_credentials_and_checks_none() {
    for (product, asked) in [(Some("Elasticsearch"), &[WHO][..]), (None, &[WHO, INFO, ROOT])] {
        let web = Web::that(move |asked| Some(open(asked, product))).await;
        let proof = at(&web).nobody().on("orders", &[Read]).passes_as_nobody().await;
        assert_eq!(proof, Proof::default());
        assert_eq!(lines(&web), [asked, &[SEARCH]].concat());
        at(&web).nobody().on("orders", &[Write]).ends_as_nobody(Reason::PermissionNotProvable).await;
        at(&web).on("orders", &[Write]).ends_as_nobody(Reason::PermissionNotProvable).await;
        // Nobody has looked at the password.
        let proof = at(&web).on("orders", &[]).passes_as_nobody().await;
        assert_eq!(proof.unproven(), ["the credentials, since nothing there asks for any"]);
        let last = web.asked().iter().rev().nth(1).map(|asked| asked.header("authorization").to_owned());
        assert_eq!(last.as_deref(), Some(""), "that was asked without it");
    }
}

#[tokio::test]
async fn what_stands_before_a_cluster_without_security_may_want_to_know_who_asks() {
    let basic = format!("Basic {}", BASE64_STANDARD.encode("reader:reader-secret"));
    let expected = basic.clone();
    let web = Web::that(move |asked| {
        let known = asked.header("authorization") == expected;
        Some(if known { open(asked, None) } else { Answer::new(401, "<html>canary</html>") })
    })
    .await;
    assert_eq!(at(&web).on("orders", &[Read]).passes().await, Proof::default());
    at(&web).secret("password", "hunter2").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    at(&web).nobody().ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    // What it says to nobody may be anything else, as long as it is about who asks.
    for (answer, reason) in [
        (Answer::new(302, "canary").header("location", "/login"), None),
        (Answer::new(200, "<html>canary</html>"), None),
        (Answer::new(429, "canary"), Some(Reason::Throttled)),
        (Answer::new(503, "canary"), Some(Reason::ServerUnavailable)),
    ] {
        let known = basic.clone();
        let web = Web::that(move |asked| {
            Some(if asked.header("authorization") == known { open(asked, None) } else { answer.clone() })
        })
        .await;
        match reason {
            None => assert_eq!(at(&web).passes().await, Proof::default()),
            Some(reason) => {
                at(&web).ends(Stage::Authenticate, reason).await;
            }
        }
    }
}

/// A domain of Amazon OpenSearch Service with fine-grained access control, after its documentation and what others have reported.
#[tokio::test]
async fn what_amazon_does_not_pass_on_is_no_judgement_about_the_login() {
    let basic = format!("Basic {}", BASE64_STANDARD.encode("reader:reader-secret"));
    let web = Web::that(move |asked| {
        let answer = match asked.line.as_str() {
            WHO | PRIVILEGES => Answer::new(401, r#"{"Message":"Your request: '/_security/canary' is not allowed."}"#),
            _ if asked.header("authorization") != basic => Answer::new(401, "Unauthorized"),
            INFO => Answer::new(200, r#"{"user_name":"reader"}"#),
            SEARCH => searched(),
            _ => error(403, "security_exception"),
        };
        Some(answer.header("x-amzn-requestid", "canary"))
    })
    .await;
    assert_eq!(at(&web).on("orders", &[Read]).passes().await, Proof::default());
    assert_eq!(lines(&web), [WHO, INFO, SEARCH]);
    at(&web).secret("password", "hunter2").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn what_may_be_searched_and_is_nothing_is_not_permitted() {
    // OpenSearch with `do_not_fail_on_forbidden`.
    for (described, reason) in [(false, Reason::TargetNotFoundOrNotPermitted), (true, Reason::PermissionDenied)] {
        let web = Web::that(move |asked| {
            Some(match asked.line.as_str() {
                INFO => Answer::new(200, r#"{"user_name":"reader"}"#),
                SEARCH => shards(0, 0, 0),
                METADATA if described => self::described(),
                METADATA => error(403, "security_exception"),
                _ => no_handler(),
            })
        })
        .await;
        let message = at(&web).on("orders", &[Read]).ends(Stage::Access, reason).await;
        assert!(message.contains("(Read)"), "{message}");
    }
}

#[tokio::test]
async fn an_index_that_is_held_is_not_written_to_now() {
    let answer = move |asked: &Asked| match asked.line.as_str() {
        PRIVILEGES => held([true; 3]),
        METADATA => described_with(&json!({"read_only_allow_delete": "true"})),
        SEARCH => searched(),
        _ => no_handler(),
    };
    let web = letting_in(answer).await;
    for permissions in [&[Write][..], &[Read, Write]] {
        let message = at(&web).on("orders", permissions).ends(Stage::Access, Reason::TargetUnavailable).await;
        assert!(message.contains("index orders") && message.contains("read_only_allow_delete"), "{message}");
    }
    for permissions in [&[][..], &[Read]] {
        at(&web).on("orders", permissions).passes().await;
    }
}

#[tokio::test]
async fn an_alias_of_a_thousand_indices_is_there() {
    let index =
        |n: usize| (format!("orders-{n}"), json!({"settings": {"index": {"uuid": "canary-and-what-is-usual"}}}));
    let indices: serde_json::Map<String, serde_json::Value> = (0..1000).map(index).collect();
    let described = serde_json::Value::Object(indices);
    let web =
        letting_in(move |asked| if asked.line == PRIVILEGES { held([true; 3]) } else { es(200, &described) }).await;
    at(&web).on("orders", &[]).passes().await;
}

#[tokio::test]
async fn somebody_who_says_nothing_and_is_let_in_is_nobody() {
    let anonymous = || es(200, &json!({"username": "_anonymous", "authentication_type": "anonymous"}));
    let web = Web::that(move |_| Some(anonymous())).await;
    assert_eq!(at(&web).nobody().passes_as_nobody().await, Proof::default());
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_lack_is_called_so() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], Clients::Ours);
    let web = Web::over(Some(acceptor), |_| Some(reader())).await;
    let roots = authority.roots();
    let case = Case::to("https", &[web.peer.address]).tls(|tls| tls.roots = roots);
    let (certificate, key) = authority.client();
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect("a pair");
    assert_eq!(case.clone().tls(|tls| tls.identity = Some(identity)).passes().await, Proof::default());
    case.clone().ends(Stage::Authenticate, Reason::ClientCertificateRequired).await;
    let nobody = peer::nobody();
    let several = case.hosts(&[web.peer.address, nobody]);
    several.ends(Stage::Authenticate, Reason::ClientCertificateRequired).await;
}

#[tokio::test]
async fn a_login_that_is_held_back_is_not_the_client_certificate() {
    let authority = Authority::new();
    let web = Web::over(Some(authority.acceptor(&["127.0.0.1"], Clients::Ours)), |_| Some(reader())).await;
    let (certificate, key) = authority.client();
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect("a pair");
    let case = Case::to("https", &[web.peer.address]).secret("username", "reader").secret("password", "reader-secret");
    let case = case.tls(|tls| (tls.mode, tls.identity) = (Mode::Require, Some(identity)));
    case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(web.asked().iter().all(|asked| asked.header("authorization").is_empty()));
}

// Hosts.

#[tokio::test]
async fn each_host_that_does_not_answer_is_named_and_why() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let refuses = peer::nobody();
    let busy = Web::that(|_| Some(error(503, "master_not_discovered_exception"))).await;
    let other = Web::that(|_| Some(Answer::new(200, "<html>canary</html>"))).await;
    let hosts = [refuses, silent.address, busy.peer.address, other.peer.address];
    let case = at(&busy).hosts(&hosts).within(Duration::from_secs(9));
    let message = case.ends(Stage::Reach, Reason::ConnectionRefused).await;
    let named = format!(
        "{refuses} refuses connections ({}: TimedOut, {}: ServerUnavailable, {}: ProtocolMismatch)",
        silent.address, busy.peer.address, other.peer.address
    );
    assert!(message.starts_with(&named), "{message}");
    // The stage is that of the first.
    let case = at(&busy).hosts(&[busy.peer.address, refuses]);
    let message = case.ends(Stage::Authenticate, Reason::ServerUnavailable).await;
    assert!(
        message.contains(&format!("(503, master_not_discovered_exception, {refuses}: ConnectionRefused)")),
        "{message}"
    );
    let case = at(&busy).hosts(&[silent.address, busy.peer.address]).within(Duration::from_secs(1));
    case.ends(Stage::Reach, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_host_that_answers_makes_up_for_those_before_it() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let busy = Web::that(|_| Some(error(503, "master_not_discovered_exception"))).await;
    let web = letting_in(|_| no_handler()).await;
    let hosts = [silent.address, busy.peer.address, web.peer.address];
    let proof = at(&web).hosts(&hosts).within(Duration::from_secs(9)).passes().await;
    assert_eq!((logins(&busy), logins(&web)), (0, 1), "who cannot serve is not shown the login");
    assert_eq!(proof, case::past([silent.address, busy.peer.address]));
}

/// How many requests have shown the login.
fn logins(web: &Web) -> usize {
    web.asked().iter().filter(|asked| !asked.header("authorization").is_empty()).count()
}

#[tokio::test]
async fn one_host_is_shown_the_login_in_a_look_whatever_comes_of_it() {
    for (answer, reason) in [
        (None, Reason::TimedOut),
        (Some(Answer::new(200, " ".repeat(100_000))), Reason::ProtocolMismatch),
        (Some(Answer::new(302, "canary")), Reason::ProtocolMismatch),
        (Some(error(503, "canary")), Reason::ServerUnavailable),
        (Some(Answer::new(401, "canary".repeat(20_000))), Reason::AuthenticationFailed),
    ] {
        let first = Web::that(move |asked| {
            let is_nobody = asked.header("authorization").is_empty();
            if is_nobody { Some(error(401, "security_exception")) } else { answer.clone() }
        })
        .await;
        let second = letting_in(|_| no_handler()).await;
        let case = at(&first).hosts(&[first.peer.address, second.peer.address]).within(Duration::from_secs(6));
        let report = case.probe().await;
        assert_eq!(report.failure().map(|(_, failure)| failure.reason()), Some(reason));
        assert_eq!((logins(&first), second.peer.accepted()), (1, 0), "{reason}");
    }
}

#[tokio::test]
async fn of_hosts_that_are_of_no_use_one_that_may_be_soon_is_reported() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let untrusted = Web::over(Some(theirs.acceptor(&["127.0.0.1"], Clients::Anybody)), |_| Some(reader())).await;
    let refuses = peer::nobody();
    let case = Case::to("https", &[untrusted.peer.address, refuses]).tls(|tls| tls.roots = ours.roots());
    let case = case.secret("username", "reader").secret("password", "reader-secret");
    let message = case.clone().ends(Stage::Reach, Reason::ConnectionRefused).await;
    let named = format!("{refuses} refuses connections ({}: CertificateUntrusted)", untrusted.peer.address);
    assert!(message.starts_with(&named), "{message}");
    case.hosts(&[untrusted.peer.address; 2]).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

#[tokio::test]
async fn a_host_that_judges_is_the_last_that_is_asked() {
    // Each but the one that is too busy is asked once more, with the login.
    for (answer, asked) in
        [(error(401, "security_exception"), 2), (error(403, "security_exception"), 2), (error(429, "canary"), 1)]
    {
        let first = Web::that(move |_| Some(answer.clone())).await;
        let second = letting_in(|_| no_handler()).await;
        let report = at(&first).hosts(&[first.peer.address, second.peer.address]).probe().await;
        assert!(report.failure().is_some());
        assert_eq!((first.peer.accepted(), second.peer.accepted()), (asked, 0));
    }
}

#[tokio::test]
async fn a_path_before_the_api_is_kept() {
    let web =
        Web::that(|asked| Some(if asked.line == WHO.replace(" /", " /es/") { reader() } else { no_handler() })).await;
    let url = HttpUrl(format!("http://{}/es/", web.peer.address));
    at(&web).with(|settings| settings.hosts = Some(vec![url])).passes().await;
}

#[tokio::test]
async fn a_cloud_id_leads_to_the_host_that_it_names_and_to_no_other() {
    let world = case::world(&[], &["127.0.0.0/8"]);
    let id = format!("shop:{}", BASE64_STANDARD.encode("127.0.0.1.nip.invalid:9243$abc$def"));
    let case = Case::to("https", &[]).with(|settings| (settings.hosts, settings.cloud_id) = (None, Some(id)));
    let message = case.in_world(world).ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("abc.127.0.0.1.nip.invalid:9243"), "{message}");
}

// Peers.

#[tokio::test]
async fn a_silent_peer_is_out_of_time_in_the_stage_that_it_got_to() {
    let silent = Web::that(|_| None).await;
    at(&silent).soon().ends(Stage::Reach, Reason::TimedOut).await;
    let later = Web::that(|asked| (asked.line == WHO).then(reader)).await;
    at(&later).on("orders", &[Read]).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled() {
    let web = letting_in(|_| no_handler()).await;
    let message =
        at(&web).in_world(case::world(&[], &["127.0.0.0/8"])).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!(web.peer.accepted(), 0);
}
