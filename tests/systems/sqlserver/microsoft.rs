//! Against mssql-mock-tds, the stand-in of Microsoft's own driver for Rust: it takes any login, does its own TLS with OpenSSL, and
//! answers questions that it was told about.

use mssql_mock_tds::{
    ColumnDefinition, ColumnValue, ConnectionInfo, MockTdsServer, QueryResponse, Row, SqlDataType, TerminalError,
    create_test_identity,
};
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// A server.
struct Mock {
    address: SocketAddr,
    connections: Arc<tokio::sync::Mutex<mssql_mock_tds::ConnectionStore>>,
    _task: AbortOnDropHandle<()>,
}

impl Mock {
    /// One that answers the question about a table with `answer`.
    async fn that(encryption: Encryption, answer: QueryResponse) -> Self {
        let (certificate, key) = AUTHORITY.certified(&["127.0.0.1"]);
        let identity = create_test_identity(certificate.as_bytes(), key.as_bytes()).expect("an identity");
        let server = match encryption {
            Encryption::Mandatory => MockTdsServer::new_with_tls("127.0.0.1:0", Some(identity)).await,
            Encryption::Strict => MockTdsServer::new_with_strict_tls("127.0.0.1:0", identity).await,
        };
        let server = server.expect("a server");
        // It looks for these letters anywhere in a call, and knows the second ones by itself.
        let registry = server.query_registry();
        for letters in ["HAS_PERMS_BY_NAME", "SELECT 1"] {
            registry.lock().await.register(letters, answer.clone());
        }
        let (address, connections) = (server.local_addr(), server.connection_store());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = server.run().await;
        }));
        Self { address, connections, _task: task }
    }

    async fn logins(&self) -> Vec<ConnectionInfo> {
        self.connections.lock().await.all().values().cloned().collect()
    }
}

fn row(values: [i32; 5]) -> QueryResponse {
    let columns = ["A", "B", "C", "D", "E"].map(|name| ColumnDefinition::new(name, SqlDataType::Int));
    QueryResponse::new(columns.to_vec(), vec![Row::new(values.map(ColumnValue::Int).to_vec())])
}

#[tokio::test]
async fn a_look_passes_with_either_encryption() {
    for encryption in [Encryption::Mandatory, Encryption::Strict] {
        let mock = Mock::that(encryption, row([1, 7, 1, 1, 1])).await;
        let case = Case::of("reader", mock.address).on("dbo", "orders", &[Read, Write]);
        case.with(|settings| settings.encryption = Some(encryption)).passes().await;
        let logins = mock.logins().await;
        let [login] = &logins[..] else { panic!("one login: {}", logins.len()) };
        assert_eq!(
            (login.authenticated, login.received_database.as_deref(), login.received_server_name.as_deref()),
            (true, Some("orders"), Some("127.0.0.1"))
        );
    }
}

#[tokio::test]
async fn what_it_says_about_a_table_is_understood() {
    let ends = async |answer, reason| {
        let mock = Mock::that(Encryption::Mandatory, answer).await;
        Case::of("reader", mock.address).on("dbo", "orders", &[Read, Write]).ends(Stage::Access, reason).await
    };
    let message = ends(row([1, 7, 1, 0, 1]), Reason::PermissionDenied).await;
    assert!(message.contains("(Write)"), "{message}");
    ends(row([1, 7, 1, 1, 0]), Reason::TargetUnavailable).await;
    let refused = QueryResponse::error_only(TerminalError::new(229, 14, "canary"));
    ends(refused, Reason::PermissionDenied).await;
}

#[tokio::test]
async fn the_two_openings_do_not_fit_each_other() {
    for (theirs, ours) in [(Encryption::Mandatory, Encryption::Strict), (Encryption::Strict, Encryption::Mandatory)] {
        let mock = Mock::that(theirs, row([1, 7, 1, 1, 1])).await;
        let case = Case::of("reader", mock.address).with(|settings| settings.encryption = Some(ours));
        let report = case.probe().await;
        let (stage, failure) = report.failure().expect("it failed");
        assert_eq!(stage, Stage::Reach, "{}", failure.message());
        assert!(mock.logins().await.is_empty());
    }
}
