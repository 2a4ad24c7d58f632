//! The one Azurite of a test process, with the containers and SAS that `hack/azurite` describes. It is started when a test first
//! asks for it.

use std::{net::SocketAddr, sync::LazyLock};

use super::script::{self, Said};

/// Azurite's blob server with TLS on loopback.
pub struct Server {
    /// Where it listens. Its certificate is good for this address.
    pub address: SocketAddr,
    /// What else its script says: the account, its keys, SAS, CAs.
    pub said: Said,
}

/// The server, started by the first test that asks.
///
/// # Panics
/// Where it cannot be started.
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(start);
    SERVER.as_ref().unwrap_or_else(|reason| panic!("{reason}"))
}

impl Server {
    /// The URL of the account's blob service.
    pub fn url(&self) -> String {
        format!("https://{}/{}", self.address, self.said["ACCOUNT"])
    }

    /// A SAS, by the name that the script gives it.
    pub fn sas(&self, name: &str) -> &str {
        &self.said[&format!("SAS_{name}")]
    }
}

fn start() -> Result<Server, String> {
    script::required("CONNECTION_OPERATOR_TEST_AZURITE")?;
    let said = script::up("azurite", &script::run_directory().join("azurite"), &[], &[])?;
    Ok(Server { address: said.address("AZURITE")?, said })
}
