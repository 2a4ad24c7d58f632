//! What moto answers, an emulator of AWS that verifies signatures and enforces policies: users with exactly the rights that
//! docs.md prints, roles, and which calls reach the service.

use super::*;
use crate::{
    harness::moto::{Credentials, server},
    roles,
};

/// A connection to `stream` as `user`, over TLS.
fn of(user: &str, stream: &str) -> Case {
    with_keys(&server().user(user)).stream(stream)
}

fn with_keys(user: &Credentials) -> Case {
    let server = server();
    let case = Case::of(&format!("https://{}", server.https)).tls(|tls| tls.roots = server.said.ca());
    case.keys(&user.key, &user.secret).secret("sessionToken", user.token.as_deref().unwrap_or_default())
}

/// The same, as the role that may read.
fn assuming(case: Case, external_id: Option<&str>) -> Case {
    let server = server();
    let role = serde_json::json!({
        "roleARN": server.role(), "externalID": external_id, "endpoint": format!("https://{}", server.https),
    });
    case.with(|settings| settings.assume_role = Some(serde_json::from_value(role).expect("a role")))
}

fn arn(region: &str, stream: &str) -> String {
    format!("arn:aws:kinesis:{region}:123456789012:stream/{stream}")
}

/// What a look that proves Read says it has not proven.
fn read() -> Proof {
    Proof::default().but(["kinesis:GetRecords, which would take from what consumers may read"])
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(of("viewer", "orders").passes().await, Proof::default());
    assert_eq!(of("surveyor", "orders").asks(&[List]).passes().await, Proof::default());
    assert_eq!(of("consumer", "orders").asks(&[Read]).passes().await, read());
    assert_eq!(of("auditor", "orders").asks(&[List, Read]).passes().await, read());
    assert_eq!(of("auditor", &arn("us-east-1", "orders")).asks(&[List, Read]).passes().await, read());
    let any = with_keys(&server().user("cataloguer")).any_stream();
    assert_eq!(any.passes().await, Proof::default());
    assert_eq!(any.asks(&[List]).passes().await, Proof::default());
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let unknown = of("viewer", "orders").keys("AKIAIOSFODNN7EXAMPLE", "hunter2-wrong");
    let message = unknown.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(UnrecognizedClientException)"), "{message}");
    let message = of("viewer", "orders")
        .secret("secretAccessKey", "hunter2-wrong")
        .ends(Stage::Authenticate, Reason::AuthenticationFailed)
        .await;
    assert!(message.contains("(InvalidSignatureException)"), "{message}");
}

#[tokio::test]
async fn a_missing_stream_is_named() {
    for stream in ["absent".to_owned(), arn("us-east-1", "absent")] {
        let message = of("admin", &stream).ends(Stage::Access, Reason::TargetNotFound).await;
        let expected = format!("stream {stream} does not exist (ResourceNotFoundException)");
        assert!(message.starts_with(&expected), "{message}");
    }
    // A stream of another region is none of this one.
    let elsewhere = of("admin", "sealed").with(|settings| settings.region.0 = "eu-central-1".to_owned());
    elsewhere.ends(Stage::Access, Reason::TargetNotFound).await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody = peer::nobody();
    let case = of("viewer", "orders").at(format!("https://{nobody}"));
    let message = case.ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&nobody.to_string()), "{message}");
}

#[tokio::test]
async fn each_tls_mode_checks_what_it_says_and_no_more() {
    use Mode::{Require, VerifyCa, VerifyFull};
    let server = server();
    let misnamed = SocketAddr::from(([127, 0, 0, 2], server.https.port()));
    for (mode, roots, address, found) in [
        (VerifyFull, server.said.ca(), server.https, None),
        (VerifyFull, server.said.ca(), misnamed, Some(Reason::CertificateNameMismatch)),
        (VerifyFull, server.said.other_ca(), server.https, Some(Reason::CertificateUntrusted)),
        (VerifyCa, server.said.ca(), misnamed, None),
        (VerifyCa, server.said.other_ca(), server.https, Some(Reason::CertificateUntrusted)),
        (Require, server.said.other_ca(), misnamed, None),
    ] {
        let case = of("viewer", "orders").at(format!("https://{address}"));
        let case = case.tls(|tls| (tls.mode, tls.roots) = (mode, roots));
        match found {
            None => assert_eq!(case.passes().await, Proof::default()),
            Some(reason) => assert_ne!(case.ends(Stage::Reach, reason).await, ""),
        }
    }
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, words) in [
        ("viewer", "(List, kinesis:ListStreams, Read, kinesis:ListShards)"),
        ("sharder", "(List, kinesis:ListStreams, Read, kinesis:GetShardIterator)"),
        ("surveyor", "(Read, kinesis:ListShards)"),
        ("consumer", "(List, kinesis:ListStreams)"),
    ] {
        let message = of(user, "orders").asks(&[List, Read]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on stream orders {words}")), "{user}: {message}");
    }
}

#[tokio::test]
async fn who_may_not_describe_the_stream_is_told_that_it_may_be_missing() {
    for (user, stream) in [("nobody", "orders"), ("cataloguer", "orders"), ("auditor", "absent")] {
        let message = of(user, stream).asks(&[List, Read]).ends(Stage::Access, Reason::PermissionDenied).await;
        let said = format!("not permitted on stream {stream} (AccessDeniedException, kinesis:DescribeStreamSummary)");
        assert!(message.starts_with(&said) && message.contains("no such stream"), "{user}: {message}");
    }
    let any = with_keys(&server().user("nobody")).any_stream();
    let message = any.ends(Stage::Access, Reason::PermissionDenied).await;
    let said = "not permitted on the streams of us-east-1 (AccessDeniedException, kinesis:ListStreams)";
    assert!(message.starts_with(said), "{message}");
}

// States.

#[tokio::test]
async fn a_stream_that_is_not_ready_is_called_so_and_one_that_is_resharded_is_ready() {
    let message = of("auditor", "forming").asks(&[Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.starts_with("stream forming exists and cannot be used now (CREATING)"), "{message}");
    assert_eq!(of("auditor", "moving").asks(&[Read]).passes().await, read());
}

#[tokio::test]
async fn of_an_encrypted_stream_it_is_said_that_its_key_was_not_tried() {
    let proof = of("auditor", "sealed").asks(&[Read]).passes().await;
    assert_eq!(proof, read().but(["the right to decrypt with the stream's key"]));
    assert_eq!(of("auditor", "sealed").asks(&[List]).passes().await, Proof::default());
}

// Roles.

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_reads_what_its_owner_may_not() {
    of("assumer", "orders").ends(Stage::Access, Reason::PermissionDenied).await;
    let case = assuming(of("assumer", "orders"), Some(server().external_id()));
    assert_eq!(case.clone().asks(&[Read]).passes().await, read());
    let message = case.asks(&[List]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on stream orders (List, kinesis:ListStreams)"), "{message}");
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_named() {
    for case in [
        assuming(of("assumer", "orders"), Some("another")),
        assuming(of("assumer", "orders"), None),
        assuming(of("auditor", "orders"), Some(server().external_id())),
    ] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains(server().role()) && message.contains("sts:AssumeRole"), "{message}");
    }
}

#[tokio::test]
async fn the_service_that_gives_roles_is_verified_whatever_is_enough_for_the_stream() {
    let case = assuming(of("assumer", "orders"), Some(server().external_id()));
    roles::come_from_a_verified_service(case, |settings| &mut settings.assume_role).await;
}

#[tokio::test]
async fn a_temporary_key_needs_its_token_and_ends() {
    let session = with_keys(&server().session());
    assert_eq!(session.clone().asks(&[Read]).passes().await, read());
    session.secret("sessionToken", "").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    let message = with_keys(&server().expired_session()).ends(Stage::Authenticate, Reason::CredentialsExpired).await;
    assert!(message.contains("(ExpiredTokenException)"), "{message}");
}

// What reaches the service.

#[tokio::test]
async fn no_call_but_those_of_the_documentation_reaches_the_service() {
    of("auditor", "orders").asks(&[List, Read]).passes().await;
    assuming(of("assumer", "orders"), Some(server().external_id())).asks(&[Read]).passes().await;
    let calls =
        ["kinesis:DescribeStreamSummary", "kinesis:ListStreams", "kinesis:ListShards", "kinesis:GetShardIterator"];
    // All tests of this file ask the same service, and none of them is forgiven anything else.
    let requests = server().requests_to("kinesis");
    for request in &requests {
        assert!(calls.contains(&request.action.as_str()), "{request:?} is not one of the listed calls");
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/"), "{request:?}");
    }
    for call in calls {
        assert!(requests.iter().any(|request| request.action == call), "{call} was not made");
    }
}
