//! Qubole's probe: what each case is called, and which requests a look makes. No Qubole takes part: the environment is a stand-in that
//! verifies (`tests/harness/qubole.rs`).

use std::net::SocketAddr;

use connection_operator::{
    connections::{ConnectionType, qubole::Settings},
    failure::{Proof, Reason, Stage},
};

use crate::{
    case,
    harness::{
        peer,
        qubole::{Environment, Known, LABEL, impostor, refusal, state_of},
    },
};

mod environment;
mod stand_in;

type Case = case::Case<Settings>;

/// The token of a user who may see clusters.
const TOKEN: &str = "ksbdvcwdkjn123423-hunter2";

/// The policies of "Least rights" of the page.
fn policies() -> String {
    let page = ConnectionType::Qubole.about().docs;
    let block = page.split("## Least rights").nth(1).and_then(|rest| rest.split("```sh\n").nth(1)).expect("commands");
    let body = block.split("```").next().and_then(|block| block.split("-d '").nth(1)).expect("a body");
    let role: serde_json::Value = serde_json::from_str(body.trim().trim_end_matches('\'')).expect("JSON");
    role["policies"].as_str().expect("policies").to_owned()
}

/// An environment with two clusters, one of which runs, and a user with exactly the rights that the page prints.
fn granted() -> Known {
    Known::default().user(TOKEN, &policies()).cluster(1710, &[LABEL, "presto"], "DOWN").cluster(
        1711,
        &["orders-hive"],
        "UP",
    )
}

impl Case {
    /// A connection to a running environment that names no cluster.
    fn of(environment: &Environment) -> Self {
        Self::at(environment.web.peer.address)
    }

    /// The same to a peer at `address`.
    fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"endpoint": format!("https://{address}")});
        let case = Self::new(ConnectionType::Qubole, serde_json::from_value(settings).expect("settings"));
        case.tls(|tls| tls.roots = Environment::authority().roots()).secret("apiToken", TOKEN)
    }

    fn presto(self, label: &str) -> Self {
        self.with(|settings| settings.presto_cluster_label = Some(label.to_owned()))
    }

    fn hive(self, label: &str) -> Self {
        self.with(|settings| settings.hive_cluster_label = Some(label.to_owned()))
    }
}
