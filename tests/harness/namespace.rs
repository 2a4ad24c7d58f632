//! A namespace of one test, and the objects in it.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::{
    DEADLINE,
    audit::{Position, Request},
    caller::{Answer, Caller, PatchKind},
    control_plane::ControlPlane,
    pause,
};

/// The paths of the kinds that tests make.
const KINDS: [(&str, &str); 15] = [
    ("Connection", "/apis/connectivity.dev/v1alpha1/namespaces/{}/connections"),
    ("Secret", "/api/v1/namespaces/{}/secrets"),
    ("ConfigMap", "/api/v1/namespaces/{}/configmaps"),
    ("Pod", "/api/v1/namespaces/{}/pods"),
    ("Deployment", "/apis/apps/v1/namespaces/{}/deployments"),
    ("StatefulSet", "/apis/apps/v1/namespaces/{}/statefulsets"),
    ("DaemonSet", "/apis/apps/v1/namespaces/{}/daemonsets"),
    ("ReplicaSet", "/apis/apps/v1/namespaces/{}/replicasets"),
    ("Job", "/apis/batch/v1/namespaces/{}/jobs"),
    ("CronJob", "/apis/batch/v1/namespaces/{}/cronjobs"),
    ("Role", "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"),
    ("Event", "/apis/events.k8s.io/v1/namespaces/{}/events"),
    ("ServiceAccount", "/api/v1/namespaces/{}/serviceaccounts"),
    ("Service", "/api/v1/namespaces/{}/services"),
];

/// A namespace that nobody else uses.
pub struct Namespace<'a> {
    /// Its name.
    pub name: String,
    plane: &'a ControlPlane,
    born: Position,
}

/// A Connection as the API server shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection(pub Value);

/// Status and reason of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// True, False or Unknown.
    pub status: String,
    /// Why.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// When `status` changed last.
    pub since: String,
}

impl<'a> Namespace<'a> {
    /// Makes one.
    pub async fn new(plane: &'a ControlPlane) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // Two digits at least, so that no name is the beginning of another.
        Self::named(plane, &format!("test-{:03}", COUNT.fetch_add(1, Ordering::Relaxed))).await
    }

    /// Makes one of that name.
    pub async fn named(plane: &'a ControlPlane, name: &str) -> Self {
        let born = plane.audit.position();
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        plane.admin.create("/api/v1/namespaces", &object).await.object();
        Self { name: name.to_owned(), plane, born }
    }

    /// Creates an object; `kind` in it says where.
    pub async fn create(&self, object: Value) -> Value {
        self.create_as(&self.plane.admin, &object).await.object()
    }

    /// Creates an object as somebody else.
    pub async fn create_as(&self, caller: &Caller, object: &Value) -> Answer {
        caller.create(&self.path(object["kind"].as_str().expect("a kind"), ""), object).await
    }

    /// Reads an object, if there is one.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.plane.admin.get(&self.path(kind, name)).await.found()
    }

    /// All objects of a kind.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let list = self.plane.admin.get(&self.path(kind, "")).await.object();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Changes an object by a merge patch.
    pub async fn merge(&self, kind: &str, name: &str, patch: Value) -> Value {
        self.plane.admin.patch(&self.path(kind, name), PatchKind::Merge, &patch).await.object()
    }

    /// Changes an object's status by a merge patch.
    pub async fn merge_status(&self, kind: &str, name: &str, status: Value) -> Value {
        let path = self.path(kind, name) + "/status";
        self.plane.admin.patch(&path, PatchKind::Merge, &json!({"status": status})).await.object()
    }

    /// Deletes an object; the answer has the warnings.
    pub async fn delete(&self, kind: &str, name: &str) -> Answer {
        let answer = self.plane.admin.delete(&self.path(kind, name), None).await;
        assert!(answer.code < 300, "HTTP {}: {}", answer.code, answer.message());
        answer
    }

    /// Deletes an object, and its dependants before it.
    pub async fn delete_foreground(&self, kind: &str, name: &str) {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"});
        self.plane.admin.delete(&self.path(kind, name), Some(&options)).await.object();
    }

    /// Deletes the namespace itself.
    pub async fn end(&self) {
        self.plane.admin.delete(&format!("/api/v1/namespaces/{}", self.name), None).await.object();
    }

    /// Whether the namespace is gone.
    pub async fn ended(&self) -> bool {
        self.plane.admin.get(&format!("/api/v1/namespaces/{}", self.name)).await.code == 404
    }

    /// The path of an object, or of all of its kind where `name` is empty.
    pub fn path(&self, kind: &str, name: &str) -> String {
        let (_, path) = KINDS.iter().find(|(known, _)| *known == kind).unwrap_or_else(|| panic!("no path of {kind}"));
        let path = path.replace("{}", &self.name);
        if name.is_empty() { path } else { format!("{path}/{name}") }
    }

    /// Makes a Secret, or sets these keys of the one that is there.
    pub async fn secret(&self, name: &str, values: &[(&str, &str)]) -> Value {
        let data: serde_json::Map<String, Value> = values.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        if self.get("Secret", name).await.is_some() {
            return self.merge("Secret", name, json!({"stringData": data})).await;
        }
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        self.create(object).await
    }

    /// The requests of `user` about this namespace since it was made.
    pub async fn requests(&self, user: &str) -> Vec<Request> {
        self.requests_after(user, self.born).await
    }

    /// The requests of `user` about this namespace after `position`.
    pub async fn requests_after(&self, user: &str, position: Position) -> Vec<Request> {
        self.plane.audit.requests(user, &format!("/namespaces/{}/", self.name), position).await
    }

    /// The Connection of that name, if there is one.
    pub async fn connection(&self, name: &str) -> Option<Connection> {
        self.get("Connection", name).await.map(Connection)
    }

    /// Waits until the Connection is as `seen` says, and returns it.
    ///
    /// # Panics
    /// Where it does not become so; the message shows what it was.
    pub async fn until(&self, name: &str, what: &str, seen: impl Fn(&Connection) -> bool) -> Connection {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let found = self.connection(name).await;
            match found {
                Some(connection) if seen(&connection) => return connection,
                found if tokio::time::Instant::now() > end => {
                    panic!(
                        "{}/{name} did not become {what}: {}",
                        self.name,
                        found.map_or("gone".into(), |c| c.to_string())
                    )
                }
                Some(_) | None => pause().await,
            }
        }
    }

    /// Waits until a condition has this status and reason.
    pub async fn becomes(&self, name: &str, condition: &str, status: &str, reason: &str) -> Connection {
        self.until(name, &format!("{condition}={status}/{reason}"), |c| c.is(condition, status, reason)).await
    }

    /// Waits until the Connection of that name is gone.
    pub async fn gone(&self, name: &str) {
        let end = tokio::time::Instant::now() + DEADLINE;
        while let Some(left) = self.connection(name).await {
            assert!(tokio::time::Instant::now() < end, "{}/{name} did not go: {left}", self.name);
            pause().await;
        }
    }

    /// The events about a Connection, as `Type Reason: note`, by reason.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let events = self.list("Event").await;
        let own = events.iter().filter(|event| event["regarding"]["name"] == name);
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let mut lines: Vec<String> = own
            .map(|event| format!("{} {}: {}", text(event, "type"), text(event, "reason"), text(event, "note")))
            .collect();
        lines.sort();
        lines
    }

    /// Waits for an event about a Connection whose line starts with `start` (`Warning Broken`), and returns its line.
    pub async fn event(&self, name: &str, start: &str) -> String {
        super::eventually(DEADLINE, &format!("an event `{start}` about {name}"), async || {
            self.events(name).await.into_iter().find(|line| line.starts_with(start))
        })
        .await
    }
}

impl Connection {
    /// One condition, if it is there.
    pub fn condition(&self, condition: &str) -> Option<Condition> {
        let conditions = self.0.pointer("/status/conditions")?.as_array()?;
        let found = conditions.iter().find(|found| found["type"] == condition)?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Some(Condition {
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
            since: text("lastTransitionTime"),
        })
    }

    /// Whether a condition has this status and reason.
    pub fn is(&self, condition: &str, status: &str, reason: &str) -> bool {
        self.condition(condition).is_some_and(|found| found.status == status && found.reason == reason)
    }

    /// Fails unless a condition has this status and reason.
    #[track_caller]
    pub fn must_be(&self, condition: &str, status: &str, reason: &str) {
        assert!(self.is(condition, status, reason), "{condition} must be {status}/{reason}: {self}");
    }

    /// Fails unless nothing at all has been written since `before`.
    #[track_caller]
    pub fn must_be_untouched_since(&self, before: &Self) {
        assert!(self == before, "it was written to: {before}\n→ {self}");
    }

    /// What is at a JSON pointer below `/status`.
    pub fn status(&self, pointer: &str) -> &Value {
        self.0.pointer(&format!("/status{pointer}")).unwrap_or(&Value::Null)
    }

    /// What is at a JSON pointer below `/metadata`, as text.
    pub fn metadata(&self, pointer: &str) -> &str {
        self.0.pointer(&format!("/metadata{pointer}")).and_then(Value::as_str).unwrap_or_default()
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut metadata, mut status) = (self.0["metadata"].clone(), self.0["status"].clone());
        let conditions = status.as_object_mut().and_then(|status| status.remove("conditions")).unwrap_or_default();
        let _ = metadata.as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
        write!(f, "\n  metadata {metadata}\n  status {status}")?;
        for found in conditions.as_array().into_iter().flatten() {
            let text = |key: &str| found[key].as_str().unwrap_or_default();
            let (kind, status, reason) = (text("type"), text("status"), text("reason"));
            write!(f, "\n  {kind}={status}/{reason} since {}: {}", text("lastTransitionTime"), text("message"))?;
        }
        Ok(())
    }
}
