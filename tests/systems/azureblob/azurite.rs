//! What Azurite answers, Microsoft's emulator, which verifies signatures and SAS: each login, each right, each case.

use connection_operator::connections::Refusal;

use super::*;
use crate::harness::{DEADLINE, azurite::server, eventually, proxy::Proxy};

/// A connection over TLS without a login.
fn nobody() -> Case {
    let server = server();
    Case::container(&server.url(), &server.said["ACCOUNT"]).tls(|tls| tls.roots = server.said.ca())
}

/// A connection of who has the account's key.
fn owner() -> Case {
    nobody().secret("accountKey", &server().said["KEY"])
}

/// A connection of who has a SAS.
fn with_sas(name: &str) -> Case {
    nobody().secret("sasToken", server().sas(name))
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    with_sas("LISTER").passes().await;
    with_sas("LISTER").asks(&[List]).passes().await;
    with_sas("READER").asks(&[List, Read]).passes().await;
    with_sas("WRITER").asks(&[List, Read, Write]).passes().await;
    with_sas("CREATOR").asks(&[Write]).passes().await;
    with_sas("PUTTER").asks(&[Write]).passes().await;
    with_sas("POLICY").asks(&[List, Read]).passes().await;
    with_sas("ACCOUNT_READER").asks(&[List, Read]).passes().await;
    with_sas("ACCOUNT_CREATOR").asks(&[List, Write]).passes().await;
    with_sas("ACCOUNT_CONTAINERS").asks(&[List]).passes().await;
    with_sas("ACCOUNT_READER").of("empty").asks(&[Read]).passes().await;
}

#[tokio::test]
async fn either_key_of_the_account_opens_everything() {
    for key in ["KEY", "KEY2"] {
        nobody().secret("accountKey", &server().said[key]).asks(&[List, Read, Write]).passes().await;
    }
    owner().of("empty").asks(&[List, Read, Write]).passes().await;
}

#[tokio::test]
async fn a_prefix_is_signed_as_it_is_sent() {
    for prefix in ["2026/", "a b/ü+&=%2F?#/", "'()!*~$,;:@/", "/", "no folder"] {
        owner().below(prefix).asks(&[List, Read, Write]).passes().await;
        with_sas("WRITER").below(prefix).asks(&[List, Read, Write]).passes().await;
    }
}

#[tokio::test]
async fn a_connection_string_is_a_key_or_a_sas() {
    let server = server();
    let (url, account, key) = (server.url(), &server.said["ACCOUNT"], &server.said["KEY"]);
    let sas = server.sas("ACCOUNT_READER");
    for text in [
        format!("DefaultEndpointsProtocol=https;AccountName={account};AccountKey={key};BlobEndpoint={url};"),
        format!("BlobEndpoint={url}/;QueueEndpoint=https://other.example;SharedAccessSignature={sas}"),
    ] {
        nobody().secret("connectionString", &text).asks(&[List, Read]).passes().await;
    }
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    for (case, word) in [
        (nobody().secret("accountKey", &server().said["OTHER_KEY"]), "another account's"),
        (owner().with(|settings| settings.account = "another".to_owned()), "another account's"),
        (with_sas("FORGED"), "wrong SAS"),
        (with_sas("GONE"), "policy (si)"),
        (with_sas("FUTURE"), "beginning (st)"),
        (with_sas("READER").of("empty"), "another container"),
    ] {
        let message = case.asks(&[List, Read]).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(AuthorizationFailure)") && message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn a_sas_that_is_over_is_called_so() {
    let message = with_sas("EXPIRED").asks(&[Read]).ends(Stage::Authenticate, Reason::CredentialsExpired).await;
    assert!(message.starts_with("the SAS itself says that the credentials have expired"), "{message}");
}

#[tokio::test]
async fn a_sas_of_one_blob_is_refused_before_it_is_sent() {
    let Err(Refusal::Unusable(failure)) = with_sas("BLOB").prepare() else { panic!("it was taken") };
    assert_eq!(failure.reason(), Reason::CredentialsMalformed);
    assert!(failure.message().contains("for one blob"), "{}", failure.message());
}

#[tokio::test]
async fn a_missing_container_is_named() {
    for case in [owner(), with_sas("ACCOUNT_READER")] {
        let message = case.of("absent").ends(Stage::Access, Reason::TargetNotFound).await;
        let account = &server().said["ACCOUNT"];
        assert!(
            message.starts_with(&format!("container absent of account {account} does not exist (ContainerNotFound)")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody = format!("https://{}", peer::nobody());
    let message = owner().at(nobody.clone()).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(nobody.trim_start_matches("https://")), "{message}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    for case in [owner(), with_sas("READER"), with_sas("EXPIRED")] {
        let other = server().said.other_ca();
        case.tls(|tls| tls.roots = other).ends(Stage::Reach, Reason::CertificateUntrusted).await;
    }
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (name, words) in [
        ("LISTER", "(Read, Write)"),
        ("READER", "(Write)"),
        ("CREATOR", "(Read)"),
        ("ACCOUNT_CREATOR", "(Read)"),
        // The service alone knows what the policy lets do, and of the others' letters it says the same as they do.
        ("POLICY", "(Write)"),
        ("ACCOUNT_CONTAINERS", "(Read, Write)"),
        ("GETTER", "(AuthorizationPermissionMismatch, List, Write)"),
    ] {
        let message = with_sas(name).asks(&[List, Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
        let account = &server().said["ACCOUNT"];
        let expected = format!("not permitted on container orders of account {account} {words}");
        assert!(message.starts_with(&expected), "{name}: {message}");
    }
    let message = with_sas("GETTER").asks(&[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("to list it, which every look does"), "{message}");
}

// What it does to the service.

#[tokio::test]
async fn one_look_dials_once_for_each_request() {
    let proxy = Proxy::to(server().address).await;
    let url = format!("https://{}/{}", proxy.address, server().said["ACCOUNT"]);
    for (case, count) in [
        (owner(), 1),
        (owner().asks(&[List]), 1),
        (owner().asks(&[List, Read, Write]), 3),
        (with_sas("WRITER").asks(&[List, Read, Write]), 3),
    ] {
        let before = proxy.connections();
        case.at(url.clone()).passes().await;
        assert_eq!(proxy.connections() - before, count);
    }
    let before = proxy.connections();
    let wrong = owner().secret("accountKey", &server().said["OTHER_KEY"]).at(url);
    wrong.asks(&[List, Read, Write]).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert_eq!(proxy.connections() - before, 1, "a rejected login is made once");
}

#[tokio::test]
async fn a_look_that_may_write_writes_nothing() {
    owner().of("empty").below("unwritten/").asks(&[List, Write]).passes().await;
    with_sas("WRITER").below("unwritten/").asks(&[List, Write]).passes().await;
    let written = eventually(DEADLINE, "Azurite tells of both attempts", async || {
        let log = String::from_utf8_lossy(&server().said.file("LOG")).into_owned();
        let attempts: Vec<String> = log
            .lines()
            .filter(|line| line.contains("\"PUT ") && line.contains("/unwritten/"))
            .map(str::to_owned)
            .collect();
        (attempts.len() == 2).then_some(attempts)
    })
    .await;
    for line in written {
        assert!(line.contains("/unwritten/connection-operator/no-such-blob") && line.contains("\" 412 "), "{line}");
    }
}
