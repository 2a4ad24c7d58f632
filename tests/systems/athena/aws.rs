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

/// The same, as the role that sees everything, with the external id that it demands.
fn assuming(case: Case, external_id: Option<&str>) -> Case {
    let role = serde_json::json!({
        "roleARN": server().role(), "externalID": external_id, "endpoint": format!("https://{}", server().https),
    });
    case.with(|settings| settings.assume_role = Some(serde_json::from_value(role).expect("a role")))
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    of("clerk").passes().await;
    of("clerk").with(|settings| settings.work_group = None).passes().await;
    of("indexer").catalog(Some("lake"), None).passes().await;
    of("indexer").asks(&[Write]).passes().await;
    of("browser").catalog(Some("lake"), Some("shop")).passes().await;
    of("browser").catalog(None, Some("shop")).passes().await;
    of("browser").asks(&[Read]).passes().await;
    let all = of("querier").catalog(Some("AwsDataCatalog"), Some("shop")).asks(&[Read, Write]);
    assert_eq!(all.passes().await.unproven(), [""; 0]);
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let (unknown, wrong) = ("AKIAIOSFODNN7EXAMPLE", "hunter2-wrong");
    let case = of("querier").catalog(Some("lake"), None).asks(&[Read]);
    let message = case.clone().keys(unknown, wrong).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(UnrecognizedClientException)"), "{message}");
    let message = case.secret("secretAccessKey", wrong).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(InvalidSignatureException)"), "{message}");
    let actions: Vec<String> = server().requests_of(unknown).into_iter().map(|request| request.action).collect();
    assert!(!actions.contains(&"athena:GetDataCatalog".to_owned()), "who is rejected asks nothing more: {actions:?}");
}

#[tokio::test]
async fn a_missing_target_is_named_whatever_it_is() {
    for (case, reason, begin) in [
        (of("admin").group("absent"), Reason::TargetNotFound, "work group absent does not exist"),
        (of("admin").catalog(Some("absent"), None), Reason::TargetNotFound, "catalog absent does not exist"),
        (
            of("admin").catalog(None, Some("absent")),
            Reason::TargetNotFound,
            "database AwsDataCatalog.absent does not exist (MetadataException, EntityNotFoundException)",
        ),
        (
            of("admin").with(|s| s.output_location = Some("s3://absent/".to_owned())).asks(&[Write]),
            Reason::TargetNotFound,
            "bucket absent does not exist (NoSuchBucket)",
        ),
    ] {
        let message = case.ends(Stage::Access, reason).await;
        assert!(message.starts_with(begin), "{message}");
    }
}

#[tokio::test]
async fn a_work_group_that_is_disabled_is_not_available() {
    let message = of("clerk").group("closed").ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.starts_with("work group closed exists and cannot be used now (DISABLED)"), "{message}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses_and_is_named() {
    let nobody = peer::nobody();
    let url = HttpUrl(format!("https://{nobody}"));
    let athena = of("querier").with(|settings| settings.endpoint = Some(url.clone()));
    let bucket = of("querier").with(|settings| settings.s3_endpoint = Some(url.clone())).asks(&[Read]);
    for case in [athena, bucket] {
        let message = case.ends(Stage::Reach, Reason::ConnectionRefused).await;
        assert!(message.contains(&nobody.to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted_and_its_server_named() {
    let (plain, secured) = (format!("http://{}", server().http), format!("https://{}", server().https));
    let browser = server().user("browser");
    // Of two endpoints one is asked without TLS, so that only the other can be untrusted.
    for case in [Case::between(&plain, &secured), Case::between(&secured, &plain)] {
        let case = case.keys(&browser.key, &browser.secret).asks(&[Read]).tls(|tls| tls.mode = Mode::Disable);
        case.clone().tls(|tls| tls.roots = server().said.ca()).passes().await;
        let message = case.tls(|tls| tls.roots = server().said.other_ca());
        let message = message.ends(Stage::Reach, Reason::CertificateUntrusted).await;
        assert!(message.contains(&server().https.to_string()), "{message}");
    }
}

#[tokio::test]
async fn the_server_name_is_about_athena_only() {
    // Where the certificate is for another name.
    let misnamed = format!("https://127.0.0.2:{}", server().https.port());
    let named = format!("https://{}", server().https);
    let browser = server().user("browser");
    let case = |athena: &str, buckets: &str| {
        let case = Case::between(athena, buckets).keys(&browser.key, &browser.secret).asks(&[Read]);
        case.tls(|tls| (tls.roots, tls.server_name) = (server().said.ca(), Some("localhost".to_owned())))
    };
    case(&misnamed, &named).passes().await;
    case(&named, &misnamed).ends(Stage::Reach, Reason::CertificateNameMismatch).await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, asked, words) in [
        ("indexer", &[Read, Write][..], "(Read)"),
        ("browser", &[Read, Write], "(Write)"),
        ("browser", &[Write], "(Write)"),
    ] {
        let message = of(user).asks(asked).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on bucket orders {words}")), "{user}: {message}");
    }
    // Without the right to list it nothing shows that the bucket of another system is there.
    let message = of("clerk").asks(&[Read]).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    assert!(message.starts_with("bucket orders"), "{message}");
}

#[tokio::test]
async fn each_missing_right_is_named_with_what_it_is_missing_on() {
    for (case, reason, begin) in [
        (
            of("reader"),
            Reason::PermissionDenied,
            "not permitted on work group sales (AccessDeniedException, athena:GetWorkGroup)",
        ),
        (
            of("clerk").catalog(Some("lake"), None),
            Reason::PermissionDenied,
            "not permitted on catalog lake (AccessDeniedException, athena:GetDataCatalog)",
        ),
        (
            of("clerk").catalog(None, Some("shop")),
            Reason::PermissionDenied,
            "not permitted on database AwsDataCatalog.shop (AccessDeniedException, athena:GetDatabase)",
        ),
        // The catalog is AWS Glue's, whose code stands in the text.
        (
            of("indexer").catalog(Some("lake"), Some("shop")),
            Reason::PermissionDenied,
            "not permitted on database lake.shop (MetadataException, AccessDeniedException): grant glue:GetDatabase",
        ),
    ] {
        let message = case.ends(Stage::Access, reason).await;
        assert!(message.starts_with(begin), "{message}");
    }
}

// The place of the results.

#[tokio::test]
async fn a_place_of_results_that_the_work_group_overrules_is_not_proven() {
    for (group, place, word) in [
        ("sales", "s3://orders/2026", None),
        ("enforcing", "s3://orders/2026", Some("sends to an output location of its own")),
        ("enforcing", "s3://orders/results", None),
        ("enforcing", "s3://orders/results/", None),
        ("managed", "s3://orders/2026", Some("keeps in Athena")),
    ] {
        let case = of("querier").group(group).with(|settings| settings.output_location = Some(place.to_owned()));
        let unproven = case.asks(&[Write]).passes().await.unproven().concat();
        assert!(word.map_or(unproven.is_empty(), |word| unproven.contains(word)), "{group} {place}: {unproven}");
    }
    let without = of("clerk").group("enforcing").with(|settings| settings.output_location = None);
    assert_eq!(without.passes().await.unproven(), [""; 0]);
}

// Roles.

#[tokio::test]
async fn a_role_is_assumed_and_sees_what_its_owner_may_not() {
    of("assumer").ends(Stage::Access, Reason::PermissionDenied).await;
    let role = assuming(of("assumer"), Some(server().external_id())).catalog(Some("lake"), Some("shop"));
    role.asks(&[Read]).passes().await;
    let case = assuming(of("assumer"), Some("another"));
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains(server().role()) && message.contains("sts:AssumeRole"), "{message}");
}

#[tokio::test]
async fn the_service_that_gives_roles_is_verified_whatever_is_enough_for_the_work_group() {
    let case = assuming(of("assumer"), Some(server().external_id()));
    roles::come_from_a_service_that_answers(case.clone(), |settings| &mut settings.assume_role).await;
    roles::come_from_a_verified_service(case, |settings| &mut settings.assume_role).await;
}

#[tokio::test]
async fn a_temporary_key_needs_its_token_and_ends() {
    let session = with_keys(&server().session());
    session.clone().asks(&[Read]).passes().await;
    session.secret("sessionToken", "").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    let expired = with_keys(&server().expired_session());
    expired.ends(Stage::Authenticate, Reason::CredentialsExpired).await;
}

// What reaches the service.

#[tokio::test]
async fn no_request_but_those_of_the_documentation_reaches_athena() {
    of("querier").catalog(Some("lake"), Some("shop")).asks(&[Read, Write]).passes().await;
    let requests = server().requests_to("athena");
    let actions = ["athena:GetWorkGroup", "athena:GetDataCatalog", "athena:GetDatabase"];
    for action in actions {
        assert!(requests.iter().any(|request| request.action == action), "{action} was not made: {requests:#?}");
    }
    // All tests of this folder ask the same service, and none of them is forgiven anything else: no query is ever started.
    for request in &requests {
        let place = (request.method.as_str(), request.target.as_str());
        assert!(actions.contains(&request.action.as_str()) && place == ("POST", "/"), "{request:?}");
    }
}
