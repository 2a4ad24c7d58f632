//! What s3s-fs answers, a server of the protocol that verifies signatures: each case of the login and of TLS.

use std::sync::Arc;

use super::*;
use crate::{case::Zone, harness::s3s::server};

/// A connection to `bucket` over TLS, everything verified, with a key that is known.
fn encrypted(bucket: &str) -> Case {
    let server = server();
    let case = Case::bucket(&format!("https://{}", server.tls), bucket).tls(|tls| tls.roots = server.ca());
    case.keys("reader", "reader-secret")
}

#[tokio::test]
async fn a_bucket_is_listed_and_read_over_tls_and_without() {
    assert_eq!(encrypted("orders").asks(&[List, Read]).passes().await, Proof::default());
    let plain = Case::plain(server().plain, "orders").keys("writer", "writer-secret");
    assert_eq!(plain.asks(&[List, Read]).passes().await, Proof::default());
    // Nothing in it can be read, so an object is read that is not there, which shows nothing at a system other than AWS.
    encrypted("empty").asks(&[Read]).ends(Stage::Access, Reason::PermissionNotProvable).await;
}

#[tokio::test]
async fn a_key_or_secret_that_is_wrong_is_called_so() {
    for (id, secret, code) in [
        ("nobody-knows-this", "reader-secret", "NotSignedUp"),
        ("reader", "canary-wrong", "SignatureDoesNotMatch"),
        ("reader", "writer-secret", "SignatureDoesNotMatch"),
    ] {
        let message =
            encrypted("orders").keys(id, secret).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains(code), "{message}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let message = encrypted("absent").ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("bucket absent does not exist (NoSuchBucket)"), "{message}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody = format!("https://{}", peer::nobody());
    let message = encrypted("orders").at(nobody.clone()).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(nobody.trim_start_matches("https://")), "{message}");
}

#[tokio::test]
async fn each_tls_mode_checks_what_it_says_and_no_more() {
    use Mode::{Require, VerifyCa, VerifyFull};
    let server = server();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let other = connection_operator::net::tls::Roots::from_pem(made.as_bytes()).unwrap();
    let (named, misnamed) = (server.tls, server.misnamed);
    for (mode, roots, address, found) in [
        (VerifyFull, server.ca(), named, None),
        (VerifyFull, server.ca(), misnamed, Some(Reason::CertificateNameMismatch)),
        (VerifyFull, other.clone(), named, Some(Reason::CertificateUntrusted)),
        (VerifyCa, server.ca(), misnamed, None),
        (VerifyCa, other.clone(), named, Some(Reason::CertificateUntrusted)),
        (Require, other, named, None),
    ] {
        let case = encrypted("orders").at(format!("https://{address}"));
        let case = case.tls(|tls| (tls.mode, tls.roots) = (mode, roots));
        match found {
            None => assert_eq!(case.passes().await, Proof::default()),
            Some(reason) => assert_ne!(case.ends(Stage::Reach, reason).await, ""),
        }
    }
}

#[tokio::test]
async fn a_bucket_stands_in_the_hosts_name_or_in_the_path() {
    let zone = Arc::new(Zone::default());
    let case = encrypted("orders").at(format!("https://{}:{}", Zone::NAME, server().tls.port())).in_world(zone.world());
    case.asks(&[Read]).passes().await;
    assert_eq!(zone.asked(), ["orders.lake.test", "orders.lake.test"]);
    let case = encrypted("orders").at(format!("https://{}:{}", Zone::NAME, server().tls.port())).in_world(zone.world());
    case.with(|settings| settings.force_path_style = Some(true)).passes().await;
    assert_eq!(zone.asked()[2..], ["lake.test"]);
}

#[tokio::test]
async fn without_an_endpoint_the_hosts_are_those_of_aws_in_the_region() {
    let zone = Arc::new(Zone::default());
    let amazon = Case::bucket("https://unused", "orders").keys("reader", "reader-secret").in_world(zone.world());
    let amazon = amazon.with(|settings| (settings.endpoint, settings.region.0) = (None, "eu-central-1".to_owned()));
    let message = amazon.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("orders.s3.eu-central-1.amazonaws.com:443"), "{message}");
    let role = serde_json::json!({"roleARN": "arn:aws:iam::123456789012:role/reader"});
    let assuming = amazon.with(|settings| settings.assume_role = Some(serde_json::from_value(role).unwrap()));
    assuming.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert_eq!(zone.asked(), ["orders.s3.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com"]);
}

#[tokio::test]
async fn the_server_name_stands_in_for_the_host() {
    let case = encrypted("orders").at(format!("https://{}", server().misnamed));
    case.tls(|tls| tls.server_name = Some("localhost".to_owned())).passes().await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks_for_one() {
    let server = server();
    let case = encrypted("orders").at(format!("https://{}", server.mutual));
    case.ends(Stage::Authenticate, Reason::ClientCertificateRequired).await;
    case.tls(|tls| tls.identity = Some(server.identity())).passes().await;
}

#[tokio::test]
async fn a_port_without_tls_does_not_offer_it() {
    let case = encrypted("orders").at(format!("https://{}", server().plain));
    case.ends(Stage::Reach, Reason::TLSNotOffered).await;
    let plain = Case::plain(server().tls, "orders").keys("reader", "reader-secret");
    let report = plain.probe().await;
    assert_eq!(report.failure().map(|(stage, _)| stage), Some(Stage::Reach));
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    let key = "2026/connection-operator/no-such-object";
    let case = Case::plain(server().plain, "recorded").keys("reader", "reader-secret");
    let case = case.with(|settings| settings.prefix = Some("2026/".to_owned())).asks(&[List, Read, Write]);
    let report = case.probe().await;
    // s3s-fs completes whatever upload it is told to: this one it does not know, and says so in its own way.
    assert_eq!(report.failure().map(|(stage, _)| stage), Some(Stage::Access));
    let requests = server().requests("recorded");
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    assert_eq!(
        requests,
        [
            "GET /recorded/?list-type=2&max-keys=1&prefix=2026%2F",
            "GET /recorded/2026/a.txt?x-id=GetObject",
            &format!("POST /recorded/{key}?uploadId=connection-operator-no-such-upload"),
        ]
    );
}
