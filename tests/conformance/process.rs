//! The built binary on a real API server, with every example of every type in front of peers that misbehave: what it writes,
//! logs and counts holds no byte of a Secret.

use connection_operator::api::{Object, Role};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    canary,
    harness::{DEADLINE, control_plane::ControlPlane, eventually, namespace::Namespace, operator::Operator, run},
    peers::{Behaviour, Stranger, subjects},
    subject::{Subject, authority},
};

/// The flags of the operator: what it probes is on loopback, and it says all that it can say.
const FLAGS: [&str; 6] = ["--egress-allow", "127.0.0.0/8", "--leader-elect", "false", "--log-level", "trace"];

/// The API server of these tests, with the definitions.
pub async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    let plane = PLANE.get_or_init(async || {
        let plane = ControlPlane::start("conformance").await?;
        plane.define().await?;
        Ok(plane)
    });
    plane.await.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

#[test]
fn no_byte_of_a_secret_leaves_the_operator() {
    run(async {
        let plane = plane().await;
        let account = plane.install("connection-operator", &[]).await.unwrap();
        let operator = Operator::start(&account, &FLAGS).await;
        let mut strangers = Vec::new();
        for behaviour in Behaviour::ALL {
            strangers.push((format!("{behaviour:?}").to_lowercase(), Stranger::that(behaviour).await));
        }
        let mut stages = Vec::new();
        for subject in subjects() {
            let namespace = Namespace::new(plane).await;
            let mut names = Vec::new();
            secrets(&namespace, &subject).await;
            for (name, stranger) in &strangers {
                namespace.create(manifest(name, subject.clone().at(stranger.address).spec)).await;
                names.push(name.as_str());
            }
            if subject.read().credentials_secret().is_some() {
                for name in ["lacking", "large"] {
                    let mut spec = subject.spec.clone();
                    spec["credentials"]["secretRef"]["name"] = name.into();
                    namespace.create(manifest(name, spec)).await;
                    names.push(name);
                }
            }
            stages.push((subject, namespace, names));
        }
        for (subject, namespace, names) in &stages {
            for name in names {
                namespace.until(name, "judged", |c| c.condition("Ready").is_some_and(|r| r.status == "False")).await;
                namespace.event(name, "Warning Broken").await;
            }
            for kind in ["Connection", "Event"] {
                let objects = namespace.list(kind).await;
                assert!(objects.len() >= names.len());
                canary::absent(&format!("{}: {kind}", subject.name), &json!(objects).to_string());
                canary::absent(&format!("{}: {kind}", subject.name), &format!("{objects:?}"));
            }
        }
        let metrics = operator.metrics().await;
        assert!(metrics.contains("ConnectionRefused"), "{metrics}");
        canary::absent("metrics", &metrics);
        eventually(DEADLINE, "the log tells of every failure", async || {
            let log = operator.log();
            let told = |reason: &str| log.lines().any(|line| line.contains("DEBUG") && line.contains(reason));
            ["ConnectionRefused", "ConnectionClosed", "TimedOut"].into_iter().all(told).then_some(())
        })
        .await;
        canary::absent("the log", &operator.log());
        operator.stop().await;
        canary::absent("the whole log", &operator.log());
        assert!(!operator.log().contains("panicked"), "{}", operator.log());
    });
}

fn manifest(name: &str, mut spec: Value) -> Value {
    spec["probe"] = json!({"interval": "5s", "timeout": "4s"});
    json!({
        "apiVersion": "connectivity.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name}, "spec": spec,
    })
}

/// Makes what the subject names, with the canary in every key, and two Secrets that are of no use.
async fn secrets(namespace: &Namespace<'_>, subject: &Subject) {
    let spec = subject.read();
    let lacking = [(canary::KEY, canary::VALUE)];
    let large = canary::VALUE.repeat((64 << 10) / canary::VALUE.len() + 1);
    for source in spec.sources() {
        let (kind, Object::Secret(name) | Object::ConfigMap(name)) = (kind(source.object), source.object);
        let data: serde_json::Map<String, Value> = match source.role {
            Role::TrustedCa(key) => [(key.to_owned(), json!(authority().pem))].into_iter().collect(),
            Role::Credentials(_) | Role::ClientCertificate(_) => {
                let keys: Vec<&str> = subject.objects[name].keys().map(String::as_str).collect();
                let large: Vec<_> = keys.iter().map(|key| (*key, large.as_str())).collect();
                namespace.secret("large", &large).await;
                namespace.secret("lacking", &lacking).await;
                keys.into_iter().chain([canary::KEY]).map(|key| (key.to_owned(), json!(canary::VALUE))).collect()
            }
        };
        let field = if kind == "Secret" { "stringData" } else { "data" };
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: data});
        namespace.create(object).await;
    }
}

const fn kind(object: Object<'_>) -> &'static str {
    match object {
        Object::Secret(_) => "Secret",
        Object::ConfigMap(_) => "ConfigMap",
    }
}
