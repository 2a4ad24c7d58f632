//! What moto answers, an emulator of AWS that enforces policies: users with exactly the rights that docs.md prints, roles, and
//! which requests reach the service.

use super::*;
use crate::{
    harness::moto::{Credentials, server},
    roles,
};

/// The connection as `user`, over TLS.
fn of(user: &str) -> Case {
    with_keys(&server().user(user))
}

fn with_keys(user: &Credentials) -> Case {
    let url = format!("https://{}", server().https);
    let case = Case::between(&url, &url).tls(|tls| tls.roots = server().said.ca());
    case.keys(&user.key, &user.secret).secret("sessionToken", user.token.as_deref().unwrap_or_default())
}

/// The same, as the role that may take messages and read.
fn assuming(case: Case, external_id: Option<&str>) -> Case {
    let account = server().role().split(':').nth(4).expect("an account");
    case.assuming(account, external_id, &format!("https://{}", server().https))
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(of("watcher").passes().await.unproven(), [""; 0]);
    assert_eq!(of("watcher").asks(&[List]).passes().await.unproven(), [""; 0]);
    assert_eq!(of("onlooker").asks(&[Write]).passes().await.unproven(), [""; 0]);
    for case in [of("collector").asks(&[List, Read]), of("courier").asks(&[List, Read, Write])] {
        let proof = case.passes().await;
        let [unproven] = proof.unproven() else { panic!("one thing is not proven") };
        assert!(unproven.contains("sqs:ReceiveMessage"), "{unproven}");
    }
    let below = |case: Case| case.with(|settings| settings.prefix = Some("2026/".to_owned()));
    below(of("collector")).asks(&[List, Read]).passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let (unknown, wrong) = ("AKIAIOSFODNN7EXAMPLE", "hunter2-wrong");
    let case = of("courier").asks(&[Read]);
    let message = case.clone().keys(unknown, wrong).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(UnrecognizedClientException)"), "{message}");
    let message = case.secret("secretAccessKey", wrong).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(InvalidSignatureException)"), "{message}");
    let actions: Vec<String> = server().requests_of(unknown).into_iter().map(|request| request.action).collect();
    assert!(!actions.contains(&"sqs:DeleteMessage".to_owned()), "who is rejected asks nothing more: {actions:?}");
}

#[tokio::test]
async fn a_missing_queue_or_bucket_is_named() {
    let queue = of("admin").queue("123456789012", "absent");
    let message = queue.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    assert!(message.starts_with("queue 123456789012/absent does not exist or may not be seen"), "{message}");
    assert!(message.contains("(QueueDoesNotExist)"), "{message}");
    let bucket = of("admin").with(|settings| settings.bucket = "absent".to_owned());
    let message = bucket.ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("bucket absent does not exist (NoSuchBucket)"), "{message}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses_and_is_named() {
    let nobody = peer::nobody();
    let url = HttpUrl(format!("https://{nobody}"));
    let queue = of("watcher").with(|settings| {
        settings.queue_url = HttpUrl(format!("{}/123456789012/new-orders", url.0));
        settings.sqs_endpoint = Some(url.clone());
    });
    let bucket = of("watcher").with(|settings| settings.endpoint = Some(url.clone()));
    for case in [queue, bucket] {
        let message = case.ends(Stage::Reach, Reason::ConnectionRefused).await;
        assert!(message.contains(&nobody.to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted_and_its_server_named() {
    let (plain, secured) = (format!("http://{}", server().http), format!("https://{}", server().https));
    let watcher = server().user("watcher");
    // Of two endpoints one is asked without TLS, so that only the other can be untrusted.
    for case in [Case::between(&plain, &secured), Case::between(&secured, &plain)] {
        let case = case.keys(&watcher.key, &watcher.secret).tls(|tls| tls.mode = Mode::Disable);
        case.clone().tls(|tls| tls.roots = server().said.ca()).passes().await;
        let message = case.tls(|tls| tls.roots = server().said.other_ca());
        let message = message.ends(Stage::Reach, Reason::CertificateUntrusted).await;
        assert!(message.contains(&server().https.to_string()), "{message}");
    }
}

#[tokio::test]
async fn the_server_name_is_about_the_bucket_only() {
    // Where the certificate is for another name.
    let misnamed = format!("https://127.0.0.2:{}", server().https.port());
    let named = format!("https://{}", server().https);
    let watcher = server().user("watcher");
    let case = |queues: &str, buckets: &str| {
        let case = Case::between(queues, buckets).keys(&watcher.key, &watcher.secret);
        case.tls(|tls| (tls.roots, tls.server_name) = (server().said.ca(), Some("localhost".to_owned())))
    };
    case(&named, &misnamed).passes().await;
    case(&misnamed, &named).ends(Stage::Reach, Reason::CertificateNameMismatch).await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    let (queue, bucket) = ("queue 123456789012/new-orders", "bucket orders");
    for (user, asked, about) in [
        ("watcher", &[List, Read, Write][..], format!("{queue} and {bucket} (Read, Write)")),
        ("watcher", &[Read], format!("{queue} and {bucket} (Read)")),
        ("onlooker", &[List, Read, Write], format!("{queue} (Read)")),
        ("drainer", &[List, Read, Write], format!("{bucket} (Read, Write)")),
        ("drainer", &[Read], format!("{bucket} (Read)")),
        ("collector", &[Read, Write], format!("{bucket} (Write)")),
    ] {
        let message = of(user).asks(asked).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on {about}")), "{user}: {message}");
    }
}

#[tokio::test]
async fn who_may_not_see_the_queue_is_asked_nothing_more() {
    let putter = server().user("putter");
    let case = Case::plain(server().http, server().http).keys(&putter.key, &putter.secret).asks(&[Read]);
    let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
    let expected = "not permitted on queue 123456789012/new-orders (AccessDeniedException, sqs:GetQueueAttributes)";
    assert!(message.starts_with(expected), "{message}");
    let requests = server().requests_of(&putter.key);
    assert!(!requests.iter().any(|request| request.action == "sqs:DeleteMessage"), "{requests:#?}");
}

// Roles.

#[tokio::test]
async fn a_role_is_assumed_and_takes_messages_that_its_owner_may_not() {
    of("assumer").ends(Stage::Access, Reason::PermissionDenied).await;
    assuming(of("assumer"), Some(server().external_id())).asks(&[List, Read]).passes().await;
    let case = assuming(of("assumer"), Some("another"));
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains(server().role()) && message.contains("sts:AssumeRole"), "{message}");
}

#[tokio::test]
async fn the_service_that_gives_roles_is_verified_whatever_is_enough_for_the_bucket() {
    let case = assuming(of("assumer"), Some(server().external_id()));
    roles::come_from_a_service_that_answers(case.clone(), |settings| &mut settings.assume_role).await;
    roles::come_from_a_verified_service(case, |settings| &mut settings.assume_role).await;
}

#[tokio::test]
async fn a_temporary_key_needs_its_token_and_ends() {
    let session = with_keys(&server().session());
    session.clone().asks(&[List, Read]).passes().await;
    session.secret("sessionToken", "").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    let expired = with_keys(&server().expired_session());
    expired.ends(Stage::Authenticate, Reason::CredentialsExpired).await;
}

// What reaches the service.

#[tokio::test]
async fn no_request_but_those_of_the_documentation_reaches_the_queue() {
    of("courier").asks(&[List, Read, Write]).passes().await;
    let requests = server().requests_to("sqs");
    for action in ["sqs:GetQueueAttributes", "sqs:DeleteMessage"] {
        assert!(requests.iter().any(|request| request.action == action), "{action} was not made: {requests:#?}");
    }
    // All tests of this folder ask the same queue, and none of them is forgiven anything else.
    for request in &requests {
        let harmless = match request.action.as_str() {
            "sqs:GetQueueAttributes" => true,
            // Nothing that there was is deleted.
            "sqs:DeleteMessage" => request.status == 400,
            _ => false,
        };
        assert!(harmless && (request.method.as_str(), request.target.as_str()) == ("POST", "/"), "{request:?}");
    }
}
