//! The one look at a file or directory of HDFS: by WebHDFS (`probe/web.rs`), or by the protocol of its own (`probe/rpc.rs`).

use async_trait::async_trait;

use crate::{
    connections::{Probe, Workplace},
    failure::{Failure, Proof},
    net::Network,
};

mod answer;
pub(super) mod rpc;
pub(super) mod rpc_child;
mod rpc_codes;
pub(super) mod rpc_keytab;
mod rpc_wire;
pub(super) mod token;
pub(super) mod web;

/// What to do where a path may not be reached: name nodes say the same of a closed directory above it and of a file.
const CLOSED: &str = "grant the permission x on each directory above it, or correct the path: a part of it that is a file is told in the same words";

/// All that one look needs.
pub(super) enum Look {
    Rpc(rpc::Plan),
    Web(web::Plan),
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        match self {
            Self::Rpc(plan) => rpc::look(net, plan).await,
            Self::Web(plan) => plan.look(net).await,
        }
    }

    fn workplace(&self) -> Workplace {
        match self {
            Self::Rpc(_) => Workplace::Child,
            Self::Web(_) => Workplace::Operator,
        }
    }
}
