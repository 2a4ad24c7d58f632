//! The probe of Google Cloud Storage: what each case is called, and which requests a look makes. No Google Cloud takes part: the cloud is
//! a stand-in that verifies (`tests/harness/googlestorage.rs`).

use std::{net::SocketAddr, sync::LazyLock};

use connection_operator::{
    connections::{ConnectionType, Permission, fields::HttpUrl, googlestorage::Settings},
    failure::{Proof, Reason, Stage},
};

use crate::{
    case,
    harness::{
        googlestorage::{Cloud, Known, Pair, denial, impostor, refusal, signed, verdict},
        peer,
        web::{Answer, Asked, Web},
    },
};
use Permission::{List, Read, Write};

mod cloud;
mod stand_in;

type Case = case::Case<Settings>;

/// The service account of the page, and its key.
const READER: &str = "orders-reader@shop-prod.iam.gserviceaccount.com";
static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::new("6c68d31a"));

const LIST: &str = "storage.objects.list";
const GET: &str = "storage.objects.get";
const CREATE: &str = "storage.objects.create";

/// A cloud with the service account and a bucket with objects, in which nobody has any right.
fn closed() -> Known {
    Known::nothing().account(READER, &PAIR).bucket("orders-lake", &["2025/a", "2026/a b+c/ü?", "2026/z"])
}

/// The rights of "Least rights" of the page, each with the comment that says what it is for.
fn rights() -> Vec<(&'static str, &'static str)> {
    let page = ConnectionType::GoogleStorage.about().docs;
    let block = page.split("## Least rights").nth(1).and_then(|rest| rest.split("```sh\n").nth(1)).expect("commands");
    let block = block.split("```").next().unwrap_or_default();
    assert!(block.contains("gs://orders-lake") && block.contains(READER), "{block}");
    let right = |line: &'static str| {
        let (command, why) = line.split_once(" # ")?;
        Some((command.split_once("--permissions=")?.1.trim(), why))
    };
    block.lines().filter_map(right).collect()
}

/// A cloud whose bucket grants what the page prints for what `wanted` says.
fn granted(wanted: &[&str]) -> Known {
    let asked = |why: &str| wanted.iter().any(|word| why.contains(word));
    let rights = rights().into_iter().filter(|(_, why)| asked(why));
    rights.fold(closed(), |known, (right, _)| known.grant("orders-lake", READER, right, None))
}

impl Case {
    /// A connection to the bucket of a running cloud.
    fn of(cloud: &Cloud) -> Self {
        Self::at(cloud.web.peer.address)
    }

    /// A connection to a bucket at a peer, which gives the tokens too.
    fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"bucket": "orders-lake", "endpoint": format!("https://{address}")});
        let case = Self::new(ConnectionType::GoogleStorage, serde_json::from_value(settings).expect("settings"));
        case.tls(|tls| tls.roots = Cloud::authority().roots())
            .key(&serde_json::json!({"token_uri": format!("https://{address}/token")}))
    }

    /// The same with changes to the key; null takes a field away.
    fn key(self, changes: &serde_json::Value) -> Self {
        let old = self.secret.iter().find(|(key, _)| *key == "credentials.json");
        let mut key = old.map_or_else(
            || {
                serde_json::json!({
                    "type": "service_account", "project_id": "shop-prod", "private_key_id": PAIR.id,
                    "private_key": PAIR.pem(), "client_email": READER,
                })
            },
            |(_, text)| serde_json::from_str(text).expect("JSON"),
        );
        json_patch::merge(&mut key, changes);
        self.secret("credentials.json", &key.to_string())
    }

    fn bucket(self, name: &str) -> Self {
        self.with(|settings| name.clone_into(&mut settings.bucket))
    }

    fn below(self, prefix: &str) -> Self {
        self.with(|settings| settings.prefix = Some(prefix.to_owned()))
    }

    fn paid_by(self, project: &str) -> Self {
        self.with(|settings| settings.user_project = Some(project.to_owned()))
    }

    fn universe(self, domain: &str) -> Self {
        let key = serde_json::json!({"universe_domain": domain, "token_uri": null});
        self.with(|settings| settings.universe_domain = Some(domain.to_owned())).key(&key)
    }
}
