//! What no test from outside can reach: a service principal, whose directory is always Microsoft's own. Both are played on loopback.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use rustls::version::TLS13;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::*;
use crate::{
    connections::family::azure::{self, Cloud, Principal},
    failure::{Finding, Reason, Report},
    net::{
        climb,
        stand_in::{Authority, Server, acceptor, local_network, serve_secured, taken},
        tls::{Mode, Roots},
    },
    secret::Credentials,
};

const LISTED: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
    ServiceEndpoint=\"https://one.blob.core.windows.net/\" ContainerName=\"orders\"><Blobs/></EnumerationResults>";
const GRANTED: &str = r#"{"token_type":"Bearer","access_token":"abc.def-ghi"}"#;

/// What a server answers: a status, a code of Azure's and a body.
type Said = (u16, &'static str, &'static str);

/// A server with TLS that answers each request, by its first line, and tells what it was asked.
async fn server(
    authority: &Authority,
    answer: impl Fn(&str) -> Said + Send + Sync + Clone + 'static,
) -> (Server, UnboundedReceiver<String>) {
    let (sent, heard) = unbounded_channel();
    let server = serve_secured(acceptor(&authority.server("127.0.0.1"), None, &TLS13), move |mut stream| {
        let (sent, answer) = (sent.clone(), answer.clone());
        async move {
            // One read: a request of ours is one record of TLS.
            let mut request = vec![0; 8192];
            let count = stream.read(&mut request).await.unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            let (status, code, body) = answer(request.lines().next().unwrap_or_default());
            let _ = sent.send(request);
            let head = format!("x-ms-request-id: canary\r\nx-ms-error-code: {code}\r\ncontent-length: {}", body.len());
            let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\n{head}\r\n\r\n{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (server.await, heard)
}

/// A blob service of an account whose principals may do everything.
fn open(line: &str) -> Said {
    match line.split(' ').next() {
        Some("PUT") => (412, "ConditionNotMet", "canary"),
        _ if line.contains("comp=list") => (200, "", LISTED),
        _ => (404, "BlobNotFound", "canary"),
    }
}

/// A look at the service at `address` as a service principal of the directory at `directory`.
fn principal(address: SocketAddr, directory: SocketAddr, authority: &Authority) -> Look {
    let about = Setting::from_spec("Secret orders");
    let data = [("tenantId", "contoso.com"), ("clientId", "orders-reader"), ("clientSecret", "hunter2")];
    let data: BTreeMap<_, _> = data.map(|(k, v)| (k.to_owned(), SecretValue::new(v.as_bytes().to_vec()))).into();
    let mut credentials =
        Credentials::select(data, &BTreeMap::new(), &azure::KEYS, &[azure::method()], &about).unwrap();
    let principal = Principal::take(&mut credentials, &about, Cloud::Public).unwrap().unwrap();
    Look {
        account: "one".to_owned(),
        container: "orders".to_owned(),
        prefix: String::new(),
        url: format!("https://{address}"),
        is_vendors: false,
        login: Login::Principal(principal.at(format!("https://{directory}"), authority.roots())),
        tls: Tls { roots: authority.roots(), ..Tls::default() },
        permissions: vec![Permission::List, Permission::Read, Permission::Write],
    }
}

async fn take(look: Look) -> Report {
    climb(local_network(&[]), Duration::from_secs(20), async move |net| look.run(&net).await).await
}

#[track_caller]
fn ended(report: &Report) -> (Stage, Reason, String) {
    let (stage, failure) = report.failure().expect("it failed");
    let message = failure.message();
    assert!(!["canary", "hunter2", "abc.def"].iter().any(|word| message.contains(word)), "{message}");
    (stage, failure.reason(), message)
}

#[tokio::test]
async fn a_service_principal_shows_one_token_of_its_directory_with_every_request() {
    let authority = Authority::new();
    let (directory, mut granted) = server(&authority, |_| (200, "", GRANTED)).await;
    let (service, mut asked) = server(&authority, open).await;
    let report = take(principal(service.address, directory.address, &authority)).await;
    let proof = report.proof().unwrap_or_else(|| panic!("{report:?}"));
    assert_eq!(proof.unproven(), ["what ACLs permit, where the account has a hierarchical namespace"]);
    let request = granted.recv().await.unwrap();
    assert!(request.contains("&scope=https%3A%2F%2Fstorage.azure.com%2F.default"), "{request}");
    assert_eq!((directory.accepted(), service.accepted()), (1, 3));
    for method in ["GET", "GET", "PUT"] {
        let request = asked.recv().await.unwrap().to_lowercase();
        assert!(request.starts_with(&method.to_lowercase()), "{request}");
        assert!(request.contains("\r\nauthorization: bearer abc.def-ghi\r\n"), "{request}");
        assert!(request.contains("\r\nx-ms-version: 2023-11-03\r\n"), "{request}");
    }
}

#[tokio::test]
async fn who_may_list_is_told_nothing_about_acls() {
    let authority = Authority::new();
    let (directory, _granted) = server(&authority, |_| (200, "", GRANTED)).await;
    let (service, _asked) = server(&authority, open).await;
    for permissions in [vec![], vec![Permission::List]] {
        let report = take(Look { permissions, ..principal(service.address, directory.address, &authority) }).await;
        assert_eq!(report.proof(), Some(&Proof::default()));
    }
}

#[tokio::test]
async fn who_is_denied_a_blob_that_is_not_there_is_told_that_acls_may_say_otherwise() {
    let authority = Authority::new();
    let (directory, _granted) = server(&authority, |_| (200, "", GRANTED)).await;
    let (service, _asked) = server(&authority, |line| {
        if line.contains("comp=list") { (200, "", LISTED) } else { (403, "AuthorizationPermissionMismatch", "canary") }
    })
    .await;
    let report = take(principal(service.address, directory.address, &authority)).await;
    let (stage, reason, message) = ended(&report);
    assert_eq!((stage, reason), (Stage::Access, Reason::PermissionDenied), "{message}");
    assert!(message.contains("(Read, Write)") && message.contains("ACLs"), "{message}");
}

#[tokio::test]
async fn who_gets_no_token_asks_the_service_nothing() {
    let authority = Authority::new();
    for (body, reason) in [
        (r#"{"error":"invalid_client","error_codes":[7000215],"x":"canary"}"#, Reason::AuthenticationFailed),
        (r#"{"error":"invalid_client","error_codes":[7000222]}"#, Reason::CredentialsExpired),
    ] {
        let (directory, _granted) = server(&authority, move |_| (401, "", body)).await;
        let (service, _asked) = server(&authority, open).await;
        let report = take(principal(service.address, directory.address, &authority)).await;
        let (stage, found, message) = ended(&report);
        assert_eq!((stage, found), (Stage::Authenticate, reason), "{message}");
        assert!(message.contains(&directory.address.to_string()), "{message}");
        assert_eq!(service.accepted(), 0);
    }
}

#[tokio::test]
async fn what_the_service_makes_of_a_token_has_a_name() {
    let authority = Authority::new();
    for (said, stage, reason, word) in [
        ((401, "InvalidAuthenticationInfo", ""), Stage::Authenticate, Reason::AuthenticationFailed, "own directory"),
        ((403, "AuthorizationPermissionMismatch", ""), Stage::Access, Reason::PermissionDenied, "List"),
        ((403, "AuthorizationFailure", ""), Stage::Access, Reason::PermissionDenied, "network rules"),
        ((404, "ContainerNotFound", ""), Stage::Access, Reason::TargetNotFound, "container orders"),
        ((503, "ServerBusy", ""), Stage::Authenticate, Reason::Throttled, "ServerBusy"),
        ((200, "", "<html>canary</html>"), Stage::Reach, Reason::ProtocolMismatch, "127.0.0.1"),
    ] {
        let (directory, _granted) = server(&authority, |_| (200, "", GRANTED)).await;
        let (service, _asked) = server(&authority, move |_| said).await;
        let report = take(principal(service.address, directory.address, &authority)).await;
        let (at, found, message) = ended(&report);
        assert_eq!((at, found), (stage, reason), "{message}");
        assert!(message.contains(word), "{message}");
        assert_eq!((directory.accepted(), service.accepted()), (1, 1));
    }
}

#[tokio::test]
async fn of_two_endpoints_the_one_that_fails_is_named() {
    let authority = Authority::new();
    let (_taken, nobody) = taken();
    let (directory, _granted) = server(&authority, |_| (200, "", GRANTED)).await;
    let (service, _asked) = server(&authority, open).await;
    for look in [principal(nobody, directory.address, &authority), principal(service.address, nobody, &authority)] {
        let (stage, reason, message) = ended(&take(look).await);
        assert_eq!((stage, reason), (Stage::Reach, Reason::ConnectionRefused));
        assert!(message.contains(&nobody.to_string()), "{message}");
    }
    assert_eq!(service.accepted(), 0);
}

#[tokio::test]
async fn a_service_that_is_not_verified_is_told_no_token_and_none_is_asked_for() {
    let authority = Authority::new();
    let (directory, _granted) = server(&authority, |_| (200, "", GRANTED)).await;
    let (service, mut asked) = server(&authority, |_| (401, "NoAuthenticationInformation", "")).await;
    let look = principal(service.address, directory.address, &authority);
    let look = Look { tls: Tls { mode: Mode::Require, roots: Roots::System, ..Tls::default() }, ..look };
    let report = take(look).await;
    let (stage, reason, message) = ended(&report);
    assert_eq!((stage, reason), (Stage::Authenticate, Reason::EncryptionRequired), "{message}");
    assert_eq!(report.at(Stage::Reach), Finding::Passed);
    let request = asked.recv().await.unwrap().to_lowercase();
    assert!(!request.contains("authorization"), "{request}");
    assert_eq!((directory.accepted(), service.accepted()), (0, 1));
}

#[test]
fn a_list_is_known_by_its_root_and_its_container() {
    assert!(is_list_of(LISTED.as_bytes(), "orders"));
    assert!(!is_list_of(LISTED.as_bytes(), "events"));
    for other in ["", "<html>", "<EnumerationResults/>", "<Error ContainerName=\"orders\"/>", "{}"] {
        assert!(!is_list_of(other.as_bytes(), "orders"), "{other}");
    }
    assert!(!is_list_of(b"\xff", "orders"));
}
