//! The two HDFS of a test process, with the directories and users that `hack/hdfs` describes. They are started when a test first
//! asks for them, and asked what reached them.

use std::{net::SocketAddr, sync::LazyLock};

use super::script::{self, Said};

/// Name nodes on loopback: two of an HDFS that trusts every name, and one of another that asks for Kerberos.
pub struct Server {
    /// What their script says: addresses by RPC and WebHDFS, the KDC, keytabs, tokens, CAs, the log.
    pub said: Said,
}

/// One request that got as far as the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What was asked, in the name node's word: `getfileinfo`.
    pub command: String,
    /// The path that it was about.
    pub path: String,
    /// Who asked, and how that is known: `reader (auth:SIMPLE)`.
    pub user: String,
    /// `webhdfs` or `rpc`.
    pub protocol: String,
}

/// The servers, started by the first test that asks.
///
/// # Panics
/// Where they cannot be started; the sentence says what is missing.
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(start);
    SERVER.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

impl Server {
    /// The socket of an address that the script names, whose host is `localhost` where Kerberos wants a name.
    pub fn address(&self, key: &str) -> SocketAddr {
        self.said[key].replace("localhost", "127.0.0.1").parse().expect("an address")
    }

    /// The requests about `path` so far.
    pub fn requests_about(&self, path: &str) -> Vec<Request> {
        let log = self.said.log("LOG");
        let requests = log.lines().filter(|line| line.contains("FSNamesystem.audit")).map(|line| {
            let word = |name: &str| {
                let mut parts = line.split('\t').map(|part| part.rsplit(" - ").next().unwrap_or_default());
                parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
            };
            Request { command: word("cmd"), path: word("src"), user: word("ugi"), protocol: word("proto") }
        });
        requests.filter(|request| request.path == path).collect()
    }
}

fn start() -> Result<Server, String> {
    script::required("CONNECTION_OPERATOR_TEST_HDFS")?;
    let said = script::up("hdfs", &script::run_directory().join("hdfs"), &[], &[])?;
    Ok(Server { said })
}
