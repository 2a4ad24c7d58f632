//! What most tests share: one control plane, one PostgreSQL, one operator, and the manifest they start from.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use crate::harness::{
    DEADLINE,
    caller::PatchKind,
    control_plane::{Account, ControlPlane},
    eventually,
    namespace::Namespace,
    operator::Operator,
    proxy::Proxy,
    run, script,
};

/// The flags every operator of these tests has: what it probes is on loopback.
pub const FLAGS: [&str; 4] = ["--egress-allow", "127.0.0.0/8", "--leader-elect", "false"];

/// The label of Connections that the shared operator leaves to the one that a test starts by itself.
pub const OWN: &str = "own-operator";

/// What the tests share.
pub struct Stage {
    /// The API server.
    pub plane: ControlPlane,
    /// Acts on every Connection without the label [`OWN`].
    pub operator: Operator,
    /// The database.
    pub postgresql: Postgresql,
}

/// A PostgreSQL with the roles that `hack/postgresql` describes.
pub struct Postgresql {
    /// Where it listens.
    pub address: SocketAddr,
    /// The authority that signed its certificate, as PEM.
    pub authority: String,
    /// An authority that signed nothing, as PEM.
    pub other_authority: String,
    /// A client certificate and its key that log `certuser` in, as PEM.
    pub client: (String, String),
}

/// Runs a test in a namespace of its own, with the shared operator.
pub fn in_namespace(test: impl AsyncFnOnce(&'static Stage, Namespace<'static>)) {
    run(async {
        let stage = shared().await;
        let namespace = Namespace::new(&stage.plane).await;
        let path = namespace.path("Connection", "");
        test(stage, namespace).await;
        // What a test that failed was about stays, for who looks into it; nothing else is probed any longer.
        clear(&stage.plane, &path).await;
    });
}

/// Runs a test on the second control plane, which it has for itself: with definitions, without Connections, without an operator.
pub fn alone(test: impl AsyncFnOnce(&'static Stage, &'static ControlPlane)) {
    run(async {
        static PLANE: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        static TURN: Mutex<()> = Mutex::const_new(());
        let stage = shared().await;
        let _turn = TURN.lock().await;
        let plane = PLANE.get_or_init(|| ControlPlane::start("second")).await.as_ref();
        let plane = plane.unwrap_or_else(|sentence| panic!("{sentence}"));
        // What a test before this one left when it failed.
        if plane.is_paused() {
            plane.resume().unwrap();
        }
        clear(plane, "/apis/connectivity.dev/v1alpha1/connections").await;
        test(stage, plane).await;
    });
}

impl Stage {
    /// A proxy in front of the database.
    pub async fn proxy(&self) -> Proxy {
        Proxy::to(self.postgresql.address).await
    }

    /// Lets the time pass that must lie between two probes of one Connection, so that the next one need not wait.
    pub async fn rest(&self, namespace: &Namespace<'_>) {
        let proxy = self.proxy().await;
        // A Secret of its own, so that nobody uses it.
        namespace.login("clock", "reader").await;
        namespace
            .ready("clock", proxy.address, json!({"spec": {"credentials": {"secretRef": {"name": "clock"}}}}))
            .await;
        proxy.comes(proxy.connections(), 2).await;
        // Its successors would find nobody; and what it costs is no business of the test.
        let position = self.plane.audit.position();
        namespace.delete("Connection", "clock").await;
        namespace.gone("clock").await;
        // It may be gone before the log knows of the request that let it go.
        eventually(DEADLINE, "the log knows who let the clock go", async || {
            let requests = namespace.requests_after(&self.operator.user, position).await;
            requests.iter().any(|request| request.writes() && request.name == "clock").then_some(())
        })
        .await;
    }

    /// Starts another operator on the shared control plane, which sees `namespace` and acts there on what has the label [`OWN`].
    pub async fn own_operator(&self, namespace: &Namespace<'_>, flags: &[&str]) -> Operator {
        let account = self.own_account(namespace).await;
        self.own_operator_as(&account, namespace, flags).await
    }

    /// The account of such an operator, with the rights that the chart gives it in `namespace`.
    pub async fn own_account(&self, namespace: &Namespace<'_>) -> Account {
        let namespaces = format!("namespaces={{{}}}", namespace.name);
        let installed = self.plane.install(&namespace.name, &["sharedObjects=false", &namespaces]).await;
        installed.unwrap_or_else(|sentence| panic!("{sentence}"))
    }

    /// Starts such an operator with an account made before.
    pub async fn own_operator_as(&self, account: &Account, namespace: &Namespace<'_>, flags: &[&str]) -> Operator {
        let own = ["--namespaces", &namespace.name, "--selector", OWN];
        Operator::start(account, &[&FLAGS[..], &own, flags].concat()).await
    }
}

/// A Connection to `orders` at `address` without TLS, by Secret `orders-db`, probed every five seconds; `changes` are merged in.
#[expect(clippy::needless_pass_by_value, reason = "the changes are written at the call")]
pub fn manifest(name: &str, address: SocketAddr, changes: Value) -> Value {
    let mut object = json!({
        "apiVersion": "connectivity.dev/v1alpha1",
        "kind": "Connection",
        "metadata": {"name": name},
        "spec": {
            "type": "PostgreSQL",
            "postgresql": {"host": address.ip().to_string(), "port": address.port(), "database": "orders"},
            "credentials": {"secretRef": {"name": "orders-db"}},
            "tls": {"mode": "Disable"},
            "probe": {"interval": "5s", "timeout": "5s"},
        },
    });
    json_patch::merge(&mut object, &changes);
    object
}

/// The values of a Secret that logs `role` in.
pub fn login(role: &str) -> [(&'static str, String); 2] {
    [("username", role.to_owned()), ("password", format!("{role}-secret"))]
}

impl Namespace<'_> {
    /// Makes or changes a Secret so that it logs `role` in.
    pub async fn login(&self, secret: &str, role: &str) -> Value {
        let [(user, name), (password, word)] = login(role);
        self.secret(secret, &[(user, &name), (password, &word)]).await
    }

    /// Makes Secret `orders-db` and a Connection, and waits until it is ready.
    pub async fn ready(
        &self,
        name: &str,
        address: SocketAddr,
        changes: Value,
    ) -> crate::harness::namespace::Connection {
        if self.get("Secret", "orders-db").await.is_none() {
            self.login("orders-db", "reader").await;
        }
        self.create(manifest(name, address, changes)).await;
        self.becomes(name, "Ready", "True", "Succeeded").await
    }
}

async fn shared() -> &'static Stage {
    static STAGE: OnceCell<Result<Stage, String>> = OnceCell::const_new();
    let stage = STAGE.get_or_init(async || {
        let plane = ControlPlane::start("shared").await?;
        let postgresql = start_postgresql()?;
        plane.define().await?;
        let account = plane.install("connection-operator", &[]).await?;
        let operator = Operator::launch(&account, &[&FLAGS[..], &["--selector", &format!("!{OWN}")]].concat()).await;
        operator.ready().await?;
        Ok(Stage { plane, operator, postgresql })
    });
    stage.await.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

/// Takes away the Connections of a list, used or not.
async fn clear(plane: &ControlPlane, list: &str) {
    let Some(list) = plane.admin.get(list).await.found() else { return };
    for left in list["items"].as_array().into_iter().flatten() {
        let text = |pointer: &str| left.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let path = format!("/apis/connectivity.dev/v1alpha1/namespaces/{namespace}/connections/{name}");
        // In this order: the operator puts no finalizer on what is marked.
        plane.admin.delete(&path, None).await;
        plane.admin.patch(&path, PatchKind::Merge, &json!({"metadata": {"finalizers": null}})).await;
    }
}

/// Starts the database of this run.
fn start_postgresql() -> Result<Postgresql, String> {
    script::required("CONNECTION_OPERATOR_TEST_POSTGRESQL")?;
    let directory = script::run_directory().join("postgresql");
    // Many tests probe at once, and each superuser's place is taken from the rest.
    let said = script::up("postgresql", &directory, &[], &[("MAX_CONNECTIONS", "200")])?;
    let text = |key: &str| std::fs::read_to_string(said.text(key)?).map_err(|error| format!("{key}: {error}"));
    let address = format!("{}:{}", said.text("PGHOST")?, said.text("PGPORT")?);
    Ok(Postgresql {
        address: address.parse().map_err(|error| format!("{address}: {error}"))?,
        authority: text("CA")?,
        other_authority: text("OTHER_CA")?,
        client: (text("CLIENT_CERT")?, text("CLIENT_KEY")?),
    })
}
