//! The laws of the parent module, against a directory on loopback that verifies what it is asked.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use rustls::version::TLS13;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use super::*;
use crate::{
    failure::{Finding, Proof, Reason, Report, Stage},
    net::{
        climb,
        stand_in::{Authority, Server, acceptor, local_network, serve, serve_secured, stay_silent, taken},
    },
};

const TENANT: &str = "5b1e6d0c-3c1f-4b52-9d0a-0f8f3f1d2a77";
const SCOPE: &str = "https://database.windows.net/.default";
/// With characters that a form must encode.
const SECRET: &str = "hunter2~8Q&=%+/ü";

fn take(data: &[(&str, &str)]) -> Result<Option<Principal>, Failure> {
    let about = Setting::from_spec("Secret orders");
    let data: BTreeMap<_, _> =
        data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
    let mut credentials = Credentials::select(data, &BTreeMap::new(), &KEYS, &[method()], &about)?;
    Principal::take(&mut credentials, &about, Cloud::Public)
}

fn principal() -> Principal {
    let data = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", "orders-reader"), ("AZURE_CLIENT_SECRET", SECRET)];
    take(&data).unwrap().expect("a service principal")
}

/// A directory that answers every request with `status` and `body`, and tells what it was asked.
async fn directory(
    authority: &Authority,
    status: u16,
    body: &'static str,
) -> (Server, mpsc::UnboundedReceiver<String>) {
    let (sent, heard) = mpsc::unbounded_channel();
    let server = serve_secured(acceptor(&authority.server("127.0.0.1"), None, &TLS13), move |mut stream| {
        let sent = sent.clone();
        async move {
            let mut request = Vec::new();
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request);
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length = head.to_lowercase().split_once("content-length: ")?.1.lines().next()?.parse::<usize>();
                (body.len() >= length.ok()?).then_some(())
            };
            while whole(&request).is_none() {
                let Ok(byte) = stream.read_u8().await else { return };
                request.push(byte);
            }
            let _ = sent.send(String::from_utf8(request).unwrap());
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (server.await, heard)
}

async fn look(server: &Server, roots: Roots) -> Report {
    look_at(server.address, roots, Duration::from_secs(10)).await
}

async fn look_at(directory: SocketAddr, roots: Roots, limit: Duration) -> Report {
    let principal = principal().at(format!("https://{directory}"), roots);
    climb(local_network(&[]), limit, async move |net| {
        net.step(Stage::Authenticate);
        principal.token(&net, SCOPE).await.map(|_| Proof::default())
    })
    .await
}

#[test]
fn a_directory_is_a_part_of_a_path_and_nothing_else() {
    for tenant in [TENANT, "contoso.onmicrosoft.com", "common"] {
        assert!(take(&[(TENANT_ID, tenant), (CLIENT_ID, "x"), (CLIENT_SECRET, "y")]).is_ok(), "{tenant}");
    }
    for (tenant, client, secret) in [
        ("hunter2/../evil", "x", "y"),
        ("hunter2?x", "x", "y"),
        ("hunter2@evil", "x", "y"),
        ("..", "x", "y"),
        ("a", "hunter2\n", "y"),
        ("a", "x", "hunter2\0"),
    ] {
        let failure = take(&[(TENANT_ID, tenant), (CLIENT_ID, client), (CLIENT_SECRET, secret)]).err().unwrap();
        assert_eq!(failure.reason(), Reason::CredentialsMalformed, "{tenant}");
        assert!(!failure.message().contains("hunter2"), "{}", failure.message());
    }
}

#[test]
fn each_cloud_has_a_host_of_its_vendor() {
    let hosts = [Cloud::Public, Cloud::USGovernment, Cloud::China].map(Cloud::authority);
    assert_eq!(
        hosts,
        [
            "https://login.microsoftonline.com",
            "https://login.microsoftonline.us",
            "https://login.partner.microsoftonline.cn"
        ]
    );
}

#[test]
fn another_directory_application_or_cloud_is_somebody_else() {
    let who = |tenant: &str, client: &str, cloud: Cloud| {
        let about = Setting::from_spec("Secret orders");
        let data = [(TENANT_ID, tenant), (CLIENT_ID, client), (CLIENT_SECRET, "y")];
        let data = data.map(|(k, v)| (k.to_owned(), SecretValue::new(v.as_bytes().to_vec())));
        let mut credentials = Credentials::select(data.into(), &BTreeMap::new(), &KEYS, &[method()], &about).unwrap();
        let principal = Principal::take(&mut credentials, &about, cloud).unwrap().unwrap();
        crate::secret::Digest::of(principal.who())
    };
    let base = who("a", "b", Cloud::Public);
    assert_eq!(who("a", "b", Cloud::Public), base);
    for other in [who("c", "b", Cloud::Public), who("a", "c", Cloud::Public), who("a", "b", Cloud::China)] {
        assert_ne!(other, base);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_directory_demands() {
    let authority = Authority::new();
    let (server, mut heard) = directory(&authority, 200, r#"{"token_type":"Bearer","access_token":"abc.def"}"#).await;
    let principal = principal().at(format!("https://{}", server.address), authority.roots());
    let token = principal.token(&local_network(&[]), SCOPE).await.unwrap();
    assert_eq!(token.text(), Some("abc.def"));
    let request = heard.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("POST /{TENANT}/oauth2/v2.0/token HTTP/1.1\r\n")), "{head}");
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
    let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let expected = [
        ("grant_type", "client_credentials"),
        ("scope", SCOPE),
        ("client_id", "orders-reader"),
        ("client_secret", SECRET),
    ];
    assert_eq!(form, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn what_the_directory_says_has_a_name() {
    use Reason as R;
    let authority = Authority::new();
    for (status, body, stage, reason, shown) in [
        (
            401,
            r#"{"error":"invalid_client","error_codes":[7000215],"error_description":"canary"}"#,
            Stage::Authenticate,
            R::AuthenticationFailed,
            "(7000215)",
        ),
        (
            401,
            r#"{"error":"invalid_client","error_codes":[7000222]}"#,
            Stage::Authenticate,
            R::CredentialsExpired,
            "(7000222)",
        ),
        (
            400,
            r#"{"error":"unauthorized_client","error_codes":[700016]}"#,
            Stage::Authenticate,
            R::AuthenticationFailed,
            "(700016)",
        ),
        (
            400,
            r#"{"error":"invalid_request","error_codes":[90002]}"#,
            Stage::Authenticate,
            R::AuthenticationFailed,
            "(90002)",
        ),
        (
            400,
            r#"{"error":"invalid_resource","error_codes":[500011]}"#,
            Stage::Authenticate,
            R::AuthenticationFailed,
            "(500011)",
        ),
        (
            401,
            r#"{"error":"unauthorized_client","error_codes":[7000112]}"#,
            Stage::Authenticate,
            R::AccountLocked,
            "(7000112)",
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_codes":[53003]}"#,
            Stage::Authenticate,
            R::SourceNotAllowed,
            "(53003)",
        ),
        // A number that is not listed leaves it to the word.
        (
            401,
            r#"{"error":"invalid_client","error_codes":[1]}"#,
            Stage::Authenticate,
            R::AuthenticationFailed,
            "(invalid_client)",
        ),
        (
            401,
            r#"{"error":"invalid_client","error_codes":"canary"}"#,
            Stage::Authenticate,
            R::AuthenticationFailed,
            "(401)",
        ),
        (
            503,
            r#"{"error":"temporarily_unavailable","error_codes":[90033]}"#,
            Stage::Authenticate,
            R::ServerUnavailable,
            "temporarily_unavailable",
        ),
        (429, "canary", Stage::Authenticate, R::Throttled, "(429)"),
        (200, "<html>canary</html>", Stage::Reach, R::ProtocolMismatch, "no access token"),
    ] {
        let (server, _heard) = directory(&authority, status, body).await;
        let report = look(&server, authority.roots()).await;
        let (at, failure) = report.failure().expect("it failed");
        let message = failure.message();
        assert_eq!((at, failure.reason()), (stage, reason), "{body}: {message}");
        assert!(message.contains(shown) && message.contains(&server.address.to_string()), "{message}");
        assert!(!message.contains("canary") && !message.contains("hunter2"), "{message}");
    }
}

#[tokio::test]
async fn a_directory_that_refuses_or_never_answers_is_named() {
    let (_taken, nobody) = taken();
    let silent = serve(stay_silent).await;
    for (directory, reason) in [(nobody, Reason::ConnectionRefused), (silent.address, Reason::TimedOut)] {
        let report = look_at(directory, Authority::new().roots(), Duration::from_secs(1)).await;
        let (stage, failure) = report.failure().expect("it failed");
        assert_eq!((stage, failure.reason()), (Stage::Reach, reason));
        assert!(failure.message().contains(&directory.to_string()), "{}", failure.message());
    }
}

#[tokio::test]
async fn a_secret_goes_to_a_verified_directory_only() {
    let (server, mut heard) = directory(&Authority::new(), 200, r#"{"access_token":"abc"}"#).await;
    let report = look(&server, Authority::new().roots()).await;
    let (stage, failure) = report.failure().expect("it failed");
    assert_eq!((stage, failure.reason()), (Stage::Reach, Reason::CertificateUntrusted));
    assert!(failure.message().contains(&server.address.to_string()), "{}", failure.message());
    assert_eq!(report.at(Stage::Authenticate), Finding::NotChecked);
    assert!(heard.try_recv().is_err(), "something was asked");
}
