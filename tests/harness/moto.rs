//! The one moto of a test process: the AWS APIs with the buckets, users and the role that `hack/moto` describes. It is started when
//! a test first asks for it, and asked what reached it.

use std::{net::SocketAddr, sync::LazyLock};

use super::script::{self, Said};

/// The AWS APIs on loopback, with signatures and policies enforced.
pub struct Server {
    /// Where it speaks HTTP.
    pub http: SocketAddr,
    /// Where it speaks HTTPS. Its certificate is good for this address, for `localhost` and for `orders.localhost`; it listens at
    /// 127.0.0.2 too, for which it is not.
    pub https: SocketAddr,
    /// What else its script says: CAs, keys, the log.
    pub said: Said,
}

/// What a user or a session signs with.
pub struct Credentials {
    /// The access key id.
    pub key: String,
    /// The secret access key.
    pub secret: String,
    /// The session token, which only a session has.
    pub token: Option<String>,
}

/// One request that reached the server. What does not apply is `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The header `Host`.
    pub host: String,
    /// The path and the names of the query, `/orders?list-type&max-keys`.
    pub target: String,
    /// The service and its action, `s3:ListObjectsV2`.
    pub action: String,
    /// The access key id that signed it.
    pub key: String,
    /// The status it was answered with.
    pub status: u16,
    /// The error code it was answered with.
    pub code: String,
    /// Whether it came over TLS.
    pub tls: bool,
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
    /// The access key of a user: `reader`, `writer` and others, as `hack/moto/moto` describes them.
    pub fn user(&self, name: &str) -> Credentials {
        let word = name.to_uppercase();
        Credentials {
            key: self.said[&format!("{word}_KEY")].clone(),
            secret: self.said[&format!("{word}_SECRET")].clone(),
            token: self.said.text(&format!("{word}_TOKEN")).ok().map(str::to_owned),
        }
    }

    /// A session of the role, with the reader's rights.
    pub fn session(&self) -> Credentials {
        self.user("session")
    }

    /// A session that is over.
    pub fn expired_session(&self) -> Credentials {
        self.user("expired")
    }

    /// The role that `assumer` may assume with [`external_id`](Self::external_id), and nobody else.
    pub fn role(&self) -> &str {
        &self.said["ROLE_ARN"]
    }

    /// What the role's trust policy asks for.
    pub fn external_id(&self) -> &str {
        &self.said["EXTERNAL_ID"]
    }

    /// All requests so far, in the order of their answers. A request that was answered is among them.
    pub fn requests(&self) -> Vec<Request> {
        self.said.log("LOG").lines().map(request).collect()
    }

    /// The requests that were signed with an access key id.
    pub fn requests_of(&self, key: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.key == key).collect()
    }

    /// The requests to a service, such as `sqs`.
    pub fn requests_to(&self, service: &str) -> Vec<Request> {
        let is_to = |request: &Request| request.action.split(':').next() == Some(service);
        self.requests().into_iter().filter(is_to).collect()
    }
}

fn request(line: &str) -> Request {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, host, target, action, key, status, code, scheme] = words[..] else {
        panic!("not a line of the request log: {line}")
    };
    Request {
        method: method.to_owned(),
        host: host.to_owned(),
        target: target.to_owned(),
        action: action.to_owned(),
        key: key.to_owned(),
        status: status.parse().expect("a status"),
        code: code.to_owned(),
        tls: scheme == "https",
    }
}

fn start() -> Result<Server, String> {
    script::required("CONNECTION_OPERATOR_TEST_MOTO")?;
    let directory = script::run_directory().join("moto");
    let said = script::up("moto", &directory, &[], &[])?;
    Ok(Server { http: said.address("MOTO_HTTP")?, https: said.address("MOTO_HTTPS")?, said })
}
