//! The one Kafka of a test process, with the listeners, topics and users that `hack/kafka` describes. It is started when a test
//! first asks for it, and asked what reached it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    sync::LazyLock,
};

use connection_operator::net::tls::{Identity, Roots};
use serde_json::Value;

use super::script;

/// A Kafka of one node on loopback. Its certificate is good for the addresses of its listeners and for `localhost`.
pub struct Server {
    /// No login.
    pub plaintext: SocketAddr,
    /// PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, in the clear.
    pub sasl_plaintext: SocketAddr,
    /// The same over TLS.
    pub sasl_ssl: SocketAddr,
    /// TLS with a client certificate.
    pub ssl: SocketAddr,
    /// OAUTHBEARER over TLS.
    pub oauth: SocketAddr,
    /// As `sasl_plaintext`, but it sends its clients to `advertised_to`.
    pub advertised: SocketAddr,
    /// Where `advertised` sends its clients, the listener `ELSEWHERE` of the same node.
    pub advertised_to: SocketAddr,
    said: BTreeMap<String, String>,
}

/// One request of somebody who was in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What was asked, in Kafka's word: `METADATA`.
    pub api: String,
    /// The version of it.
    pub version: i64,
    /// The listener it came to: `SASL_SSL`.
    pub listener: String,
    /// The connection it came on.
    pub connection: String,
    /// What the client calls itself.
    pub client: String,
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
    /// The CA that signed the server's certificate.
    pub fn ca(&self) -> Roots {
        Roots::from_pem(&self.ca_pem()).expect("a CA")
    }

    /// The same as text.
    pub fn ca_pem(&self) -> Vec<u8> {
        self.file("CA")
    }

    /// A CA that signed nothing.
    pub fn other_ca(&self) -> Roots {
        Roots::from_pem(&self.file("OTHER_CA")).expect("a CA")
    }

    /// The client certificate of `certuser`.
    pub fn identity(&self) -> Identity {
        Identity::from_pem(&self.file("CLIENT_CERT"), &self.file("CLIENT_KEY")).expect("a client certificate")
    }

    /// A token of `oauthreader` that is good.
    pub fn token(&self) -> &str {
        &self.said["OAUTH_TOKEN"]
    }

    /// A token of `oauthreader` that is over.
    pub fn expired_token(&self) -> &str {
        &self.said["OAUTH_EXPIRED"]
    }

    /// The requests of `user` so far. One is here when its answer is away, perhaps a moment after the client has it: ask again.
    pub fn requests_of(&self, user: &str) -> Vec<Request> {
        let principal = format!("User:{user}");
        let lines = self.lines("DEBUG kafka.request.logger - Completed request:{");
        let requests = lines.iter().filter_map(|line| {
            let told: Value =
                serde_json::from_str(line.split_once("Completed request:")?.1).expect("a request in JSON");
            let word = |pointer: &str| told.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            // What the script itself asked at the start is no test's.
            let ours = word("/principal") == principal && word("/requestHeader/clientId") != "ready";
            ours.then(|| Request {
                api: word("/requestHeader/requestApiKeyName"),
                version: told["requestHeader"]["requestApiVersion"].as_i64().unwrap_or_default(),
                listener: word("/listener"),
                connection: word("/connection"),
                client: word("/requestHeader/clientId"),
            })
        });
        requests.collect()
    }

    /// How many connections of `user` have asked for something after they had logged in.
    pub fn logins(&self, user: &str) -> usize {
        let connections: BTreeSet<String> =
            self.requests_of(user).into_iter().map(|request| request.connection).collect();
        connections.len()
    }

    /// How many logins and TLS handshakes have failed at a listener. Kafka does not say whose.
    pub fn failures(&self, listener: SocketAddr) -> usize {
        self.lines(&format!("Failed authentication with /127.0.0.1 (channelId={listener}-")).len()
    }

    /// What `user` was denied, in Kafka's words: `DESCRIBE Topic:LITERAL:payments`.
    pub fn denied(&self, user: &str) -> Vec<String> {
        let lines = self.lines(&format!(" Principal = User:{user} is Denied operation = "));
        let told = |line: &String| {
            let (operation, rest) = line.split_once("operation = ")?.1.split_once(" from host = ")?;
            let resource = rest.split_once("resource = ")?.1.split_once(" for request")?.0;
            Some(format!("{operation} {resource}"))
        };
        lines.iter().filter_map(told).collect()
    }

    /// The whole lines of the log that contain `mark`.
    fn lines(&self, mark: &str) -> Vec<String> {
        let log = self.file("LOG");
        let log = String::from_utf8_lossy(&log);
        // The last line may be half written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
    }

    fn file(&self, key: &str) -> Vec<u8> {
        fs::read(&self.said[key]).unwrap_or_else(|error| panic!("{key}: {error}"))
    }
}

fn start() -> Result<Server, String> {
    script::required("CONNECTION_OPERATOR_TEST_KAFKA")?;
    let directory = script::run_directory().join("kafka");
    let said = script::up("kafka", &directory, &[], &[])?;
    let address = |key: &str| said[key].parse::<SocketAddr>().map_err(|error| format!("{key}={}: {error}", said[key]));
    Ok(Server {
        plaintext: address("KAFKA_PLAINTEXT")?,
        sasl_plaintext: address("KAFKA_SASL_PLAINTEXT")?,
        sasl_ssl: address("KAFKA_SASL_SSL")?,
        ssl: address("KAFKA_SSL")?,
        oauth: address("KAFKA_OAUTH")?,
        advertised: address("KAFKA_ADVERTISED")?,
        advertised_to: address("KAFKA_ADVERTISED_TO")?,
        said,
    })
}
