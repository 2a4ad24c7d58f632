//! The one Elasticsearch and the one OpenSearch of a test process, with the indices and users that `hack/elasticsearch` and
//! `hack/opensearch` describe. Each is started when a test first asks for it.

use std::{net::SocketAddr, sync::LazyLock};

use super::script::{self, Said};

/// A cluster of one node on loopback, with TLS and security. Its certificate is good for its address and for `localhost`.
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    /// What else its script says: CAs, tokens, a client certificate, the log.
    pub said: Said,
}

impl Server {
    /// Elasticsearch, started by the first test that asks.
    ///
    /// # Panics
    /// Where it cannot be started; the sentence says what is missing.
    pub fn elasticsearch() -> &'static Self {
        static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(|| start("elasticsearch", "ELASTICSEARCH"));
        SERVER.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
    }

    /// OpenSearch, started by the first test that asks.
    ///
    /// # Panics
    /// Where it cannot be started; the sentence says what is missing.
    pub fn opensearch() -> &'static Self {
        static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(|| start("opensearch", "OPENSEARCH"));
        SERVER.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
    }
}

fn start(name: &str, key: &str) -> Result<Server, String> {
    script::required(&format!("CONNECTION_OPERATOR_TEST_{key}"))?;
    script::required("CONNECTION_OPERATOR_TEST_JAVA")?;
    let said = script::up(name, &script::run_directory().join(name), &[], &[])?;
    Ok(Server { address: said.address(key)?, said })
}
