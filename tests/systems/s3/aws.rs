//! What moto answers, an emulator of AWS that enforces policies: users with exactly the rights that docs.md prints, roles, and
//! which requests reach the service.

use super::*;
use crate::{
    harness::moto::{Credentials, server},
    roles,
};

/// A connection to `bucket` as `user`, over TLS.
fn of(user: &str, bucket: &str) -> Case {
    with_keys(&server().user(user), bucket)
}

fn with_keys(user: &Credentials, bucket: &str) -> Case {
    let server = server();
    let case = Case::bucket(&format!("https://{}", server.https), bucket).tls(|tls| tls.roots = server.said.ca());
    case.keys(&user.key, &user.secret).secret("sessionToken", user.token.as_deref().unwrap_or_default())
}

/// The same, as the role that may read, with the external id that it demands.
fn assuming(case: Case, external_id: Option<&str>) -> Case {
    let server = server();
    let role = serde_json::json!({
        "roleARN": server.role(), "externalID": external_id, "endpoint": format!("https://{}", server.https),
    });
    case.with(|settings| settings.assume_role = Some(serde_json::from_value(role).expect("a role")))
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    of("lister", "orders").passes().await;
    of("lister", "orders").asks(&[List]).passes().await;
    of("reader", "orders").asks(&[List, Read]).passes().await;
    of("writer", "orders").asks(&[List, Read, Write]).passes().await;
    let below = |case: Case| case.with(|settings| settings.prefix = Some("2026/".to_owned()));
    below(of("reader", "orders")).asks(&[List, Read]).passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let message = of("reader", "orders")
        .keys("AKIAIOSFODNN7EXAMPLE", "hunter2-wrong")
        .ends(Stage::Authenticate, Reason::AuthenticationFailed)
        .await;
    assert!(message.contains("(InvalidAccessKeyId)"), "{message}");
    let reader = server().user("reader");
    let message = of("reader", "orders")
        .keys(&reader.key, "hunter2-wrong")
        .ends(Stage::Authenticate, Reason::AuthenticationFailed)
        .await;
    assert!(message.contains("(SignatureDoesNotMatch)"), "{message}");
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let message = of("admin", "absent").ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("bucket absent does not exist (NoSuchBucket)"), "{message}");
}

#[tokio::test]
async fn a_bucket_of_another_region_is_so_and_its_region_is_named() {
    let message = of("reader", "frankfurt").ends(Stage::Access, Reason::WrongRegion).await;
    assert!(
        message.starts_with("bucket frankfurt is in another region") && message.contains("eu-central-1"),
        "{message}"
    );
    let there = of("reader", "frankfurt").with(|settings| settings.region.0 = "eu-central-1".to_owned());
    there.asks(&[List, Read]).passes().await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let other = server().said.other_ca();
    of("reader", "orders").tls(|tls| tls.roots = other).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, words) in [("lister", "(Read, Write)"), ("reader", "(Write)"), ("putter", "(Read)")] {
        let message = of(user, "orders").asks(&[List, Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on bucket orders {words}")), "{user}: {message}");
    }
    let message = of("nobody", "orders").asks(&[List]).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    assert!(message.contains("(AccessDenied)"), "{message}");
}

#[tokio::test]
async fn of_an_empty_bucket_behind_an_endpoint_the_right_to_read_is_denied_or_not_proven() {
    of("reader", "empty").asks(&[Read]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    of("lister", "empty").asks(&[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
}

#[tokio::test]
async fn who_may_read_and_not_list_is_asked_nothing_more() {
    let getter = server().user("getter");
    let case = Case::plain(server().http, "orders").keys(&getter.key, &getter.secret).asks(&[List, Read, Write]);
    case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    let requests = server().requests_of(&getter.key);
    let [request] = &requests[..] else { panic!("one request: {requests:#?}") };
    assert_eq!((request.action.as_str(), request.code.as_str()), ("s3:ListObjectsV2", "AccessDenied"));
}

// Roles.

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_reads_what_its_owner_may_not() {
    of("assumer", "orders").ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    assuming(of("assumer", "orders"), Some(server().external_id())).asks(&[List, Read]).passes().await;
    let message = assuming(of("assumer", "orders"), Some(server().external_id()))
        .asks(&[Write])
        .ends(Stage::Access, Reason::PermissionDenied)
        .await;
    assert!(message.starts_with("not permitted on bucket orders (Write)"), "{message}");
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_named() {
    for case in [
        assuming(of("assumer", "orders"), Some("another")),
        assuming(of("assumer", "orders"), None),
        assuming(of("nobody", "orders"), Some(server().external_id())),
    ] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains(server().role()) && message.contains("sts:AssumeRole"), "{message}");
    }
    let wrong =
        assuming(of("assumer", "orders"), Some(server().external_id())).secret("secretAccessKey", "hunter2-wrong");
    wrong.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn the_service_that_gives_roles_is_verified_whatever_is_enough_for_the_bucket() {
    let case = assuming(of("assumer", "orders"), Some(server().external_id()));
    roles::come_from_a_verified_service(case, |settings| &mut settings.assume_role).await;
}

#[tokio::test]
async fn a_temporary_key_needs_its_token_and_ends() {
    let session = with_keys(&server().session(), "orders");
    session.clone().asks(&[List, Read]).passes().await;
    session.secret("sessionToken", "").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    let expired = with_keys(&server().expired_session(), "orders");
    expired.ends(Stage::Authenticate, Reason::CredentialsExpired).await;
}

// What reaches the service.

#[tokio::test]
async fn no_request_but_those_of_the_documentation_reaches_the_service() {
    of("writer", "orders").asks(&[List, Read, Write]).passes().await;
    of("writer", "empty").asks(&[List, Read, Write]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    assuming(of("assumer", "orders"), Some(server().external_id())).asks(&[Read]).passes().await;
    let absent = "connection-operator/no-such-object";
    let listed = [
        ("sts:AssumeRole", "POST", "/".to_owned()),
        ("s3:ListObjectsV2", "GET", "/orders/?list-type&max-keys&prefix".to_owned()),
        ("s3:GetObject", "GET", "/orders/2026/a.txt?x-id".to_owned()),
        ("s3:CompleteMultipartUpload", "POST", format!("/orders/{absent}?uploadId")),
        ("s3:ListObjectsV2", "GET", "/empty/?list-type&max-keys&prefix".to_owned()),
        ("s3:GetObject", "GET", format!("/empty/{absent}?x-id")),
        ("s3:CompleteMultipartUpload", "POST", format!("/empty/{absent}?uploadId")),
    ];
    let requests = [server().requests_to("sts"), server().requests_to("s3")].concat();
    for (action, method, target) in &listed {
        let made = requests
            .iter()
            .any(|r| (&r.action, &r.method, &r.target) == (&(*action).to_owned(), &(*method).to_owned(), target));
        assert!(made, "{action} {target} was not made: {requests:#?}");
    }
    // Tests of other types ask the same service, and none of them is forgiven anything else either.
    let actions = ["sts:AssumeRole", "s3:ListObjectsV2", "s3:GetObject", "s3:CompleteMultipartUpload"];
    for request in &requests {
        assert!(actions.contains(&request.action.as_str()), "{request:?} is not one of the listed requests");
        assert!(request.action != "s3:CompleteMultipartUpload" || request.status != 200, "{request:?} has written");
    }
}
