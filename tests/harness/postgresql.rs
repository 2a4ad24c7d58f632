//! The one PostgreSQL of a test process, with the roles and tables that `hack/postgresql` describes. It is started when a test
//! first asks for it, and asked what it saw.

use std::{collections::BTreeSet, fs, net::SocketAddr, sync::LazyLock};

use connection_operator::net::tls::Identity;
use tokio_postgres::SimpleQueryMessage;

use super::script::{self, Said};

/// A PostgreSQL with TLS on loopback.
pub struct Server {
    /// Where it listens. Its certificate is good for this address; it listens at 127.0.0.2 too, for which it is not.
    pub address: SocketAddr,
    /// What else its script says: CAs, the client certificate of `certuser`, the log.
    pub said: Said,
}

/// The server, started by the first test that asks.
///
/// # Panics
/// Where it cannot be started; the sentence says what is missing.
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(start);
    SERVER.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

impl Server {
    /// A client certificate of `name`, signed by the CA that the server trusts.
    pub fn identity_of(&self, name: &str) -> Identity {
        let key =
            rcgen::KeyPair::from_pem(&fs::read_to_string(self.said["CA"].replace(".pem", ".key")).expect("a key"));
        let authority = rcgen::Issuer::new(named("test authority"), key.expect("the CA's key"));
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = named(name).signed_by(&key, &authority).expect("a certificate");
        Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("a client certificate")
    }

    /// Runs statements as the superuser, and returns the first value of the last row that comes.
    pub async fn execute(&self, statements: &str) -> Option<String> {
        self.execute_in("orders", statements).await
    }

    /// The same in another database than `orders`. One at a time: PostgreSQL refuses a `GRANT` on what another one is being given
    /// ("tuple concurrently updated"), and tests give to the same tables.
    pub async fn execute_in(&self, database: &str, statements: &str) -> Option<String> {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _turn = TURN.lock().await;
        let mut config = tokio_postgres::Config::new();
        config.host(self.address.ip().to_string()).port(self.address.port()).dbname(database);
        config.user("postgres").password("postgres-secret").application_name("test");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("the superuser may log in");
        let (done, _) = tokio::join!(
            async {
                let client = client;
                client.simple_query(statements).await
            },
            connection
        );
        let rows = done.expect("the statements are right");
        let value = |answer: &SimpleQueryMessage| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        rows.iter().rev().find_map(value)
    }

    /// How many connections have told the server that they are `user`.
    pub fn logins(&self, user: &str) -> usize {
        let pids: BTreeSet<String> = self
            .log(user)
            .iter()
            .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()))
            .collect();
        pids.len()
    }

    /// The lines of the server's log about connections of `user`.
    pub fn log(&self, user: &str) -> Vec<String> {
        let mark = format!("] user={user} ");
        let log = self.said.file("LOG");
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(&mark)).map(str::to_owned).collect()
    }
}

fn named(name: &str) -> rcgen::CertificateParams {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters
}

fn start() -> Result<Server, String> {
    script::required("CONNECTION_OPERATOR_TEST_POSTGRESQL")?;
    let directory = script::run_directory().join("postgresql");
    // One test per core runs at a time, each with a connection or two.
    let said = script::up("postgresql", &directory, &[], &[("MAX_CONNECTIONS", "200")])?;
    let address = format!("{}:{}", said["PGHOST"], said["PGPORT"]);
    Ok(Server { address: address.parse().map_err(|error| format!("{address}: {error}"))?, said })
}
