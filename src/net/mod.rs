//! The only door to the world.
pub mod tls;

use crate::failure::{Failure, Proof, Report, Setting, Stage};
use std::time::Duration;

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host as it is resolved: a name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint of `host` as a spec has it: a name without a dot, other than `localhost`, means `HOST.NAMESPACE.svc`.
    pub fn of(host: &str, port: u16, namespace: &str) -> Self {
        let _ = namespace;
        Self { host: host.to_owned(), port }
    }

    /// The endpoint as messages show it.
    pub fn shown(&self) -> Setting {
        Setting::from_spec(format!("{}:{}", self.host, self.port))
    }
}

/// A probe's only door: egress policy, deadline, byte budget and the ladder of stages.
#[derive(Clone)]
pub struct Network;

impl Network {
    /// Says that `stage` is now in progress.
    pub fn step(&self, _stage: Stage) {
        unimplemented!()
    }
    /// Resolves and judges every address, dials the first that is allowed and answers. Enters `Reach`.
    ///
    /// # Errors
    /// What did not pass.
    pub async fn dial(&self, _endpoint: &Endpoint) -> Result<Stream, Failure> {
        unimplemented!()
    }
    /// Classifies what a driver returned, by the I/O errors in its source chain.
    pub fn classify(&self, _error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
        None
    }
}

/// A TCP stream with a byte budget.
#[derive(Debug)]
pub struct Stream;

/// Runs one look within `limit` and reports it; a panic or the deadline belongs to the stage in progress.
pub async fn climb<F, W>(_network: Network, _limit: Duration, _work: W) -> Report
where
    W: FnOnce(Network) -> F + Send + 'static,
    F: Future<Output = Result<Proof, Failure>> + Send + 'static,
{
    unimplemented!()
}
