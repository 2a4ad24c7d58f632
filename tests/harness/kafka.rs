//! The one Kafka of a test process, with the listeners, topics and users that `hack/kafka` describes. It is started when a test
//! first asks for it, and asked what reached it.

use std::{collections::BTreeSet, net::SocketAddr, sync::LazyLock};

use serde_json::Value;

use super::script::{self, Said};

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
    /// What else its script says: CAs, the client certificate of `certuser`, tokens, the log.
    pub said: Said,
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
        self.said.log("LOG").lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
    }
}

fn start() -> Result<Server, String> {
    script::required("CONNECTION_OPERATOR_TEST_KAFKA")?;
    let directory = script::run_directory().join("kafka");
    let said = script::up("kafka", &directory, &[], &[])?;
    Ok(Server {
        plaintext: said.address("KAFKA_PLAINTEXT")?,
        sasl_plaintext: said.address("KAFKA_SASL_PLAINTEXT")?,
        sasl_ssl: said.address("KAFKA_SASL_SSL")?,
        ssl: said.address("KAFKA_SSL")?,
        oauth: said.address("KAFKA_OAUTH")?,
        advertised: said.address("KAFKA_ADVERTISED")?,
        advertised_to: said.address("KAFKA_ADVERTISED_TO")?,
        said,
    })
}
