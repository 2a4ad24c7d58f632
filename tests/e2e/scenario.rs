//! Everything the operator does to a Connection in its life, so that each of its rights is needed once.

use std::{net::SocketAddr, sync::LazyLock};

use serde_json::{Value, json};

use crate::{
    harness::{DEADLINE, eventually, namespace::Namespace, script},
    workload::{KINDS, with_secret, workload},
};

/// A Connection with a Secret, a CA in a ConfigMap and a client certificate; users of every counted kind; a deletion that
/// is held and let go; events, one of them for the second time. Connection `missing` is left, broken for good.
pub async fn play(namespace: &Namespace<'_>) {
    let database = database();
    for kind in KINDS {
        namespace.create(workload(kind, "user", with_secret("orders-db"))).await;
    }
    sources(namespace).await;
    let tls = json!({"spec": {"tls": {
        "mode": "VerifyFull",
        "ca": {"configMapRef": {"name": "authority", "key": "ca.crt"}},
        "clientCertificateSecretRef": {"name": "client"},
    }}});
    namespace.create(manifest("orders-db", database.address, &tls)).await;
    namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
    let used = namespace.until("orders-db", "used by all", |c| c.status("/usage/count") == KINDS.len()).await;
    let users = used.status("/usage/users").as_array().cloned().unwrap_or_default();
    let mut kinds: Vec<&str> = users.iter().filter_map(|user| user["kind"].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, KINDS);

    tokio::join!(break_twice(namespace), async {
        namespace.delete("Connection", "orders-db").await;
        namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        namespace.event("orders-db", "Warning DeletionBlocked").await;
        for kind in KINDS {
            namespace.delete(kind, "user").await;
        }
        namespace.gone("orders-db").await;
        namespace.event("orders-db", "Normal DeletionReleased").await;
    });
}

/// One more Connection, which becomes ready.
pub async fn appear(namespace: &Namespace<'_>, name: &str) {
    namespace.create(manifest(name, database().address, &json!({}))).await;
    namespace.becomes(name, "Ready", "True", "Succeeded").await;
}

/// The namespace ends, with a Connection in it that is used.
pub async fn end(namespace: &Namespace<'_>) {
    sources(namespace).await;
    namespace.create(workload("Deployment", "last", with_secret("orders-db"))).await;
    appear(namespace, "doomed").await;
    namespace.until("doomed", "used", |c| c.status("/usage/count") == 1).await;
    namespace.end().await;
    eventually(DEADLINE, "the namespace ends", async || namespace.ended().await.then_some(())).await;
}

/// Deletes every Connection that is left.
pub async fn leave(namespace: &Namespace<'_>) {
    for left in namespace.list("Connection").await {
        let name = left["metadata"]["name"].as_str().expect("a name");
        namespace.delete("Connection", name).await;
        namespace.gone(name).await;
    }
}

/// The same event twice, so that the second is told on the first.
async fn break_twice(namespace: &Namespace<'_>) {
    let nowhere = json!({"spec": {"credentials": {"secretRef": {"name": "nobody"}}}});
    namespace.create(manifest("missing", database().address, &nowhere)).await;
    namespace.becomes("missing", "Ready", "False", "SecretNotFound").await;
    namespace.event("missing", "Warning Broken").await;
    namespace.merge("Connection", "missing", json!({"spec": {"suspend": true}})).await;
    namespace.becomes("missing", "Ready", "Unknown", "Suspended").await;
    namespace.merge("Connection", "missing", json!({"spec": {"suspend": false}})).await;
    namespace.becomes("missing", "Ready", "False", "SecretNotFound").await;
    eventually(DEADLINE, "the event is counted", async || {
        let events = namespace.list("Event").await;
        let counted = |event: &Value| event["regarding"]["name"] == "missing" && event["series"]["count"] == 2;
        events.iter().any(counted).then_some(())
    })
    .await;
    // Broken by something else, it is another event, which says by what.
    namespace.merge("Connection", "missing", json!({"spec": {"suspend": true}})).await;
    namespace.becomes("missing", "Ready", "Unknown", "Suspended").await;
    let other = json!({"spec": {"suspend": false, "credentials": {"secretRef": {"name": "no-one"}}}});
    namespace.merge("Connection", "missing", other).await;
    namespace.becomes("missing", "Ready", "False", "SecretNotFound").await;
    eventually(DEADLINE, "the event about the other cause", async || {
        namespace.events("missing").await.iter().any(|line| line.contains("no-one")).then_some(())
    })
    .await;
}

/// A PostgreSQL with the roles that `hack/postgresql` describes.
pub struct Database {
    /// Where it listens.
    pub address: SocketAddr,
    authority: String,
    certificate: String,
    key: String,
}

/// The database of this run, started by the first test that asks.
///
/// # Panics
/// Where it cannot be started; the sentence says what is missing.
pub fn database() -> &'static Database {
    static DATABASE: LazyLock<Result<Database, String>> = LazyLock::new(start);
    DATABASE.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

fn start() -> Result<Database, String> {
    script::required("CONNECTION_OPERATOR_TEST_POSTGRESQL")?;
    let said = script::up("postgresql", &script::run_directory().join("postgresql"), &[], &[])?;
    let text = |key: &str| std::fs::read_to_string(said.text(key)?).map_err(|error| format!("{key}: {error}"));
    let address = format!("{}:{}", said.text("PGHOST")?, said.text("PGPORT")?);
    Ok(Database {
        address: address.parse().map_err(|error| format!("{address}: {error}"))?,
        authority: text("CA")?,
        certificate: text("CLIENT_CERT")?,
        key: text("CLIENT_KEY")?,
    })
}

/// The Secrets and the ConfigMap that Connections name.
async fn sources(namespace: &Namespace<'_>) {
    let Database { authority, certificate, key, .. } = database();
    namespace.secret("orders-db", &[("username", "reader"), ("password", "reader-secret")]).await;
    namespace.secret("client", &[("tls.crt", certificate), ("tls.key", key)]).await;
    if namespace.get("ConfigMap", "authority").await.is_none() {
        let data = json!({"ca.crt": authority});
        let metadata = json!({"name": "authority"});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        namespace.create(map).await;
    }
}

/// A Connection to `orders`, as a user with few wishes writes it; `changes` are merged in.
pub fn manifest(name: &str, address: SocketAddr, changes: &Value) -> Value {
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
    json_patch::merge(&mut object, changes);
    object
}
