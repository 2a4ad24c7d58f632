//! Spotinst's probe: what each case is called, and which request a look makes. No Spotinst takes part: the API is a stand-in that verifies
//! (`tests/harness/spotinst.rs`).

use std::net::SocketAddr;

use connection_operator::{
    connections::{ConnectionType, spotinstvpc::Settings},
    failure::{Proof, Reason, Stage},
};

use crate::{
    case,
    harness::{
        peer,
        spotinst::{ACCOUNT, Api, Known, found, impostor, items, refusal},
    },
};

mod api;
mod stand_in;

type Case = case::Case<Settings>;

/// The token of a user who may view the account.
const TOKEN: &str = "4ab2c6d9e8f7-hunter2";

/// The role of "Least rights" of the page.
fn role() -> &'static str {
    let page = ConnectionType::SpotinstVPC.about().docs;
    let block = page.split("## Least rights").nth(1).and_then(|rest| rest.split("```text\n").nth(1)).expect("a user");
    let mut lines = block.split("```").next().unwrap_or_default().lines();
    lines.find_map(|line| line.strip_prefix("role:")).expect("a role").trim()
}

/// An API with accounts of two organizations, and a user with exactly the rights that the page prints.
fn granted() -> Known {
    Known::default().account(ACCOUNT).account("act-0ther0rg").user(TOKEN, &[role()])
}

impl Case {
    /// A connection to the account of a running API.
    fn of(api: &Api) -> Self {
        Self::at(api.web.peer.address)
    }

    /// The same to a peer at `address`.
    fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"accountID": ACCOUNT, "endpoint": format!("https://{address}")});
        let case = Self::new(ConnectionType::SpotinstVPC, serde_json::from_value(settings).expect("settings"));
        case.tls(|tls| tls.roots = Api::authority().roots()).secret("token", TOKEN)
    }

    fn account(self, id: &str) -> Self {
        self.with(|settings| id.clone_into(&mut settings.account_id))
    }
}
