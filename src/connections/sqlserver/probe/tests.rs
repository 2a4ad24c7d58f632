//! What no test from outside can reach: a service principal, whose directory is always Microsoft's own, and redirects between hosts
//! that the system's roots know. The server is mssql-mock-tds, the stand-in of Microsoft's own driver.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use mssql_mock_tds::{
    ConnectionInfo, ConnectionStore, LOGIN_DELAY_KEY, MockTdsServer, QueryResponse, create_test_identity,
};
use rustls::version::TLS13;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::{
    connections::family::azure,
    failure::{Finding, Reason, Report},
    net::{
        climb,
        stand_in::{Authority, Server, acceptor, local_network, serve_secured},
        tls::Mode,
    },
    secret::Credentials,
};

const LIMIT: Duration = Duration::from_secs(20);

/// A SQL Server that takes every login, and what it was told.
struct Mock {
    address: SocketAddr,
    connections: Arc<Mutex<ConnectionStore>>,
    _task: AbortOnDropHandle<()>,
}

impl Mock {
    async fn new(authority: &Authority, encryption: Encryption, login_takes: Duration) -> Self {
        let issued = authority.server("127.0.0.1");
        let identity = create_test_identity(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
        let server = match encryption {
            Encryption::Mandatory => MockTdsServer::new_with_tls("127.0.0.1:0", Some(identity)).await,
            Encryption::Strict => MockTdsServer::new_with_strict_tls("127.0.0.1:0", identity).await,
        };
        let server = server.unwrap();
        let delayed = QueryResponse::select_one().with_delay(login_takes);
        server.query_registry().lock().await.register(LOGIN_DELAY_KEY, delayed);
        let (address, connections) = (server.local_addr(), server.connection_store());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = server.run().await;
        }));
        Self { address, connections, _task: task }
    }

    async fn logins(&self) -> Vec<ConnectionInfo> {
        self.connections.lock().await.all().values().filter(|login| login.authenticated).cloned().collect()
    }
}

/// A directory that says `body` to whoever asks.
async fn directory(authority: &Authority, status: u16, body: &'static str) -> Server {
    serve_secured(acceptor(&authority.server("127.0.0.1"), None, &TLS13), move |mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// A look at `server` as a service principal of `directory`.
fn principal(server: SocketAddr, directory: &Server, authority: &Authority) -> Look {
    let about = Setting::from_spec("Secret orders");
    let data = [("tenantId", "contoso.com"), ("clientId", "orders-reader"), ("clientSecret", "hunter2")];
    let data: BTreeMap<_, _> = data.map(|(k, v)| (k.to_owned(), SecretValue::new(v.as_bytes().to_vec()))).into();
    let mut credentials =
        Credentials::select(data, &BTreeMap::new(), &azure::KEYS, &[azure::method()], &about).unwrap();
    let principal = Principal::take(&mut credentials, &about, Cloud::Public).unwrap().unwrap();
    Look {
        endpoint: Endpoint::exactly(&server.ip().to_string(), server.port()),
        instance: None,
        tls: Tls { roots: authority.roots(), ..Tls::default() },
        encryption: Encryption::Mandatory,
        login: Login::Principal(principal.at(format!("https://{}", directory.address), authority.roots())),
        cloud: Cloud::Public,
        database: "orders".to_owned(),
        schema: None,
        table: None,
        permissions: Vec::new(),
    }
}

async fn take(look: Look, limit: Duration) -> Report {
    climb(local_network(&[]), limit, async move |net| look.run(&net).await).await
}

const GRANTED: &str = r#"{"access_token":"abc.def-ghi"}"#;

#[tokio::test]
async fn a_service_principal_logs_in_with_a_token_of_its_directory() {
    let authority = Authority::new();
    for encryption in [Encryption::Mandatory, Encryption::Strict] {
        let mock = Mock::new(&authority, encryption, Duration::ZERO).await;
        let directory = directory(&authority, 200, GRANTED).await;
        let look = Look { encryption, ..principal(mock.address, &directory, &authority) };
        let report = take(look, LIMIT).await;
        assert!(report.proof().is_some(), "{report:?}");
        let logins = mock.logins().await;
        let [login] = &logins[..] else { panic!("one login") };
        assert_eq!(login.received_token_as_string().as_deref(), Some("abc.def-ghi"));
        assert_eq!((login.received_database.as_deref(), directory.accepted()), (Some("orders"), 1));
    }
}

#[tokio::test]
async fn a_principal_that_its_directory_rejects_logs_in_nowhere() {
    let authority = Authority::new();
    let mock = Mock::new(&authority, Encryption::Mandatory, Duration::ZERO).await;
    let directory =
        directory(&authority, 401, r#"{"error":"invalid_client","error_codes":[7000215],"x":"canary"}"#).await;
    let report = take(principal(mock.address, &directory, &authority), LIMIT).await;
    let (stage, failure) = report.failure().expect("it failed");
    assert_eq!((stage, failure.reason()), (Stage::Authenticate, Reason::AuthenticationFailed));
    assert!(failure.message().starts_with(&directory.address.to_string()), "{}", failure.message());
    // The server was there, and that is said.
    assert_eq!((report.at(Stage::Reach), mock.logins().await.len()), (Finding::Passed, 0));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_known_before_anybody_is_asked_for_a_token() {
    let authority = Authority::new();
    let directory = directory(&authority, 200, GRANTED).await;
    let look = principal("127.0.0.1:1".parse().unwrap(), &directory, &authority);
    let report = take(look, LIMIT).await;
    assert_eq!(
        report.failure().map(|(stage, failure)| (stage, failure.reason())),
        Some((Stage::Reach, Reason::ConnectionRefused))
    );
    assert_eq!(directory.accepted(), 0);
}

#[tokio::test]
async fn no_token_is_asked_for_an_unverified_server() {
    let authority = Authority::new();
    let mock = Mock::new(&authority, Encryption::Mandatory, Duration::ZERO).await;
    let directory = directory(&authority, 200, GRANTED).await;
    let mut look = principal(mock.address, &directory, &authority);
    look.tls.mode = Mode::Require;
    let report = take(look, LIMIT).await;
    let (stage, failure) = report.failure().expect("it failed");
    assert_eq!((stage, failure.reason()), (Stage::Authenticate, Reason::EncryptionRequired));
    assert_eq!((directory.accepted(), mock.logins().await.len()), (0, 0));
}

#[tokio::test]
async fn what_goes_wrong_after_the_token_is_about_the_server() {
    let authority = Authority::new();
    let mock = Mock::new(&authority, Encryption::Mandatory, LIMIT).await;
    let directory = directory(&authority, 200, GRANTED).await;
    let report = take(principal(mock.address, &directory, &authority), Duration::from_secs(8)).await;
    let (stage, failure) = report.failure().expect("it failed");
    assert_eq!((stage, failure.reason(), directory.accepted()), (Stage::Authenticate, Reason::TimedOut, 1));
    assert!(failure.message().starts_with(&mock.address.to_string()), "{}", failure.message());
}

#[test]
fn with_the_systems_roots_a_redirect_stays_in_the_domain_and_with_ones_own_it_need_not() {
    let own = Authority::new().roots();
    let from = |name: Option<&str>, roots: &Roots| Place {
        endpoint: Endpoint::exactly("orders.database.windows.net", 1433),
        instance: Some("SALES"),
        tls: Tls { roots: roots.clone(), server_name: name.map(str::to_owned), ..Tls::default() },
    };
    let worker = "C1.tr5.westeurope1-a.worker.database.windows.net";
    let next = from(None, &Roots::System).sends_to(worker, 11_042).unwrap();
    let expected = "c1.tr5.westeurope1-a.worker.database.windows.net";
    assert_eq!((next.endpoint.host.as_str(), next.endpoint.port), (expected, 11_042));
    assert_eq!((next.name(), next.instance), (expected, None));
    // The name that was verified counts, which need not be the host.
    assert!(from(Some("x.example.com"), &Roots::System).sends_to("y.example.com", 1433).is_ok());
    for (name, host) in [(None, "canary.example.com"), (Some("x.example.com"), worker), (None, "database.windows.net")]
    {
        let Err(failure) = from(name, &Roots::System).sends_to(host, 1433) else { panic!("{host} was taken") };
        assert_eq!(failure.reason(), Reason::AuthenticationMethodNotSupported);
        assert!(failure.message().contains("outside of its own domain"), "{}", failure.message());
        assert!(!failure.message().contains("canary"), "{}", failure.message());
        assert!(from(name, &own).sends_to(host, 1433).is_ok());
    }
}

#[test]
fn a_token_is_for_the_databases_of_its_cloud() {
    let scopes = [Cloud::Public, Cloud::USGovernment, Cloud::China].map(scope);
    assert!(scopes.iter().all(|scope| scope.starts_with("https://database.") && scope.ends_with("/.default")));
}
