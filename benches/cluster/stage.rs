//! The control plane, the database and the operator of a run, and the objects they are asked about.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use connection_operator::net::tls::Roots;
use futures::StreamExt as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{
    harness::{
        audit::{Position, Request},
        caller::{Caller, PatchKind},
        control_plane::{Account, ControlPlane},
        operator::Operator,
        script,
    },
    lookout::Lookout,
    process,
};

/// The label of Connections that the operator leaves alone: those of the bare floor.
pub const FLOOR: &str = "bench-floor";
/// The finalizer of the operator.
pub const FINALIZER: &str = "connectivity.dev/in-use";
/// Requests of the benchmark at once, where it does many; as many as the operator has passes.
pub const AT_ONCE: usize = 32;

/// Where everything happens.
pub struct Stage {
    /// The API server.
    pub plane: ControlPlane,
    /// The operator's account.
    pub account: Account,
    /// Somebody with the operator's rights, in whose name the floor is measured.
    pub floor: Caller,
    /// The database.
    pub postgresql: SocketAddr,
    authority: Vec<u8>,
    config: Config,
}

/// An operator that runs.
pub struct Running {
    /// The process.
    pub operator: Operator,
    /// Its number.
    pub id: u32,
    /// When it was started.
    pub started: Instant,
}

impl Stage {
    /// Starts the servers.
    ///
    /// # Errors
    /// A sentence about what is missing or did not start.
    pub async fn set_up() -> Result<Self, String> {
        script::required("CONNECTION_OPERATOR_TEST_POSTGRESQL")?;
        let plane = ControlPlane::start("bench").await?;
        plane.define().await?;
        let account = plane.install("connection-operator", &[]).await?;
        let other = plane.install("floor", &["sharedObjects=false"]).await?;
        let floor = Caller::new(config(&other.kubeconfig).await?)?;
        // The operator probes 256 at once.
        let directory = script::run_directory().join("postgresql");
        let said = script::up("postgresql", &directory, &[], &[("MAX_CONNECTIONS", "400")])?;
        let address = format!("{}:{}", said["PGHOST"], said["PGPORT"]);
        let postgresql = address.parse().map_err(|error| format!("{address}: {error}"))?;
        let authority = said.ca_pem();
        let config = config(&plane.directory.join("kubeconfig")).await?;
        Ok(Self { plane, account, floor, postgresql, authority, config })
    }

    /// The CA of the database.
    pub fn ca(&self) -> Roots {
        Roots::from_pem(&self.authority).expect("a CA")
    }

    /// Starts the operator, and returns once it says that it is ready.
    ///
    /// # Errors
    /// Its log, where it ends or does not become ready.
    pub async fn operator(&self, more: &[&str]) -> Result<Running, String> {
        let started = Instant::now();
        let flags = flags(more);
        let operator = Operator::launch(&self.account, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let end = started + Duration::from_secs(60);
        while operator.http("/readyz").await.0 != Some(200) {
            if operator.ended().is_some() || Instant::now() > end {
                return Err(format!("the operator does not become ready:\n{}", operator.log()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let id = process::operator().ok_or("the operator is no child of this process")?;
        Ok(Running { operator, id, started })
    }

    /// A watch on the operator's Connections.
    pub async fn lookout(&self) -> Lookout {
        Lookout::new(Client::try_from(self.config.clone()).expect("a client was made of it before")).await
    }

    /// Makes a namespace.
    pub async fn namespace(&self, name: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.plane.admin.create("/api/v1/namespaces", &object).await.object();
    }

    /// Makes a Secret that logs `reader` in.
    pub async fn secret(&self, namespace: &str, name: &str) {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"username": "reader", "password": "reader-secret"},
        });
        self.plane.admin.create(&format!("/api/v1/namespaces/{namespace}/secrets"), &object).await.object();
    }

    /// Creates many Connections, and returns the answers.
    pub async fn create(&self, wanted: &[Wanted]) -> Vec<Value> {
        let created = futures::stream::iter(wanted.iter().map(|wanted| self.create_one(wanted)));
        created.buffer_unordered(AT_ONCE).collect().await
    }

    /// Creates a Connection.
    pub async fn create_one(&self, wanted: &Wanted) -> Value {
        let path = connections(&wanted.namespace);
        self.plane.admin.create(&path, &self.manifest(wanted)).await.object()
    }

    /// Reads a Connection.
    pub async fn get(&self, wanted: &Wanted) -> Value {
        self.plane.admin.get(&wanted.path()).await.object()
    }

    /// Takes all Connections away, while no operator runs.
    pub async fn wipe(&self) {
        let all = self.plane.admin.get("/apis/connectivity.dev/v1alpha1/connections").await.object();
        let items = all["items"].as_array().cloned().unwrap_or_default();
        let gone = futures::stream::iter(items.iter().map(async |item| {
            let text = |key: &str| item["metadata"][key].as_str().unwrap_or_default();
            let path = format!("{}/{}", connections(text("namespace")), text("name"));
            self.plane.admin.patch(&path, PatchKind::Merge, &json!({"metadata": {"finalizers": null}})).await;
            self.plane.admin.delete(&path, None).await;
        }));
        gone.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// The revision of etcd: every write raises it by one.
    pub async fn revision(&self) -> u64 {
        let list = self.plane.admin.get("/api/v1/namespaces?limit=1").await.object();
        list.pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .and_then(|v| v.parse().ok())
            .unwrap_or_default()
    }

    /// The operator's requests after `position`, and how many of them were writes but for the Lease.
    pub async fn requests(&self, position: Position) -> Asked {
        let requests = self.plane.audit.requests(&self.account.user, "/", position).await;
        Asked::of(&requests)
    }

    fn manifest(&self, wanted: &Wanted) -> Value {
        let labels = match wanted.whose {
            Whose::Operators => json!({}),
            Whose::Floors => json!({FLOOR: ""}),
        };
        json!({
            "apiVersion": "connectivity.dev/v1alpha1",
            "kind": "Connection",
            "metadata": {"name": wanted.name, "labels": labels},
            "spec": {
                "type": "PostgreSQL",
                "postgresql": {
                    "host": self.postgresql.ip().to_string(), "port": self.postgresql.port(),
                    "database": "orders", "schema": "public", "table": "orders",
                },
                "credentials": {"secretRef": {"name": wanted.secret}},
                "tls": {"mode": "Disable"},
                "permissions": ["Read"],
                "probe": {"interval": wanted.interval},
            },
        })
    }
}

/// A Connection that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Secret that it names.
    pub secret: String,
    /// `probe.interval`.
    pub interval: &'static str,
    /// Who looks after it.
    pub whose: Whose,
}

/// Who looks after a Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The operator.
    Operators,
    /// Nobody but the benchmark.
    Floors,
}

impl Wanted {
    /// Its path.
    pub fn path(&self) -> String {
        format!("{}/{}", connections(&self.namespace), self.name)
    }

    /// The path of its Secret.
    pub fn secret_path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.namespace, self.secret)
    }
}

/// Requests, counted.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// By verb and resource.
    pub by_kind: BTreeMap<String, usize>,
    /// All but those about Leases.
    pub count: usize,
    /// Of those, the ones that change something.
    pub writes: BTreeMap<String, usize>,
}

impl Asked {
    fn of(requests: &[Request]) -> Self {
        let mut asked = Self::default();
        for request in requests {
            let kind = format!("{} {}", request.verb, request.resource);
            *asked.by_kind.entry(kind.clone()).or_default() += 1;
            if request.resource == "leases" {
                continue;
            }
            asked.count += 1;
            if request.writes() {
                *asked.writes.entry(kind).or_default() += 1;
            }
        }
        asked
    }
}

/// The flags of the operator: its defaults, but that it may probe loopback and leaves the floor alone.
pub fn flags(more: &[&str]) -> Vec<String> {
    let selector = format!("!{FLOOR}");
    let own = ["--egress-allow", "127.0.0.0/8", "--selector", &selector];
    own.iter().chain(more).map(|flag| (*flag).to_owned()).collect()
}

/// How etcd treats its disk.
pub fn etcd() -> &'static str {
    let flags = std::env::var("ETCD_FLAGS");
    if flags.is_ok_and(|flags| !flags.contains("no-fsync")) { "on disk, each write synced" } else { "without fsync" }
}

/// What is measured.
pub fn binary() -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_connection-operator"));
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    let built = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{built}, {},", super::figures::mebibytes(size / 1_024))
}

/// The value of every series of a metric, by what stands in its braces.
pub fn series(metrics: &str, name: &str) -> BTreeMap<String, f64> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let pairs = lines.filter_map(|line| line.rsplit_once("} "));
    pairs.filter_map(|(labels, value)| Some((labels.to_owned(), value.parse().ok()?))).collect()
}

/// The path of a namespace's Connections.
pub fn connections(namespace: &str) -> String {
    format!("/apis/connectivity.dev/v1alpha1/namespaces/{namespace}/connections")
}

async fn config(path: &Path) -> Result<Config, String> {
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| error.to_string())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.map_err(|error| error.to_string())
}
