//! Objects that may use a Connection.

use serde_json::{Value, json};

/// The kinds that are counted without any rule.
pub const KINDS: [&str; 7] = ["CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet"];

/// The resources of these kinds, as requests name them.
pub const RESOURCES: [&str; 7] =
    ["cronjobs", "daemonsets", "deployments", "jobs", "pods", "replicasets", "statefulsets"];

/// An object of a counted kind whose pods are as `pod` says.
pub fn workload(kind: &str, name: &str, pod: Value) -> Value {
    let labels = json!({"app": name});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let (version, spec) = match kind {
        "Pod" => ("v1", pod),
        "Job" => ("batch/v1", json!({"template": once})),
        "CronJob" => ("batch/v1", json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}})),
        "StatefulSet" => {
            ("apps/v1", json!({"serviceName": name, "selector": {"matchLabels": labels}, "template": template}))
        }
        _ => ("apps/v1", json!({"selector": {"matchLabels": labels}, "template": template})),
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A pod that uses nothing.
pub fn idle() -> Value {
    json!({"containers": [{"name": "main", "image": "example.com/main"}]})
}

/// A pod that takes one value of a Secret into its environment.
pub fn with_secret(secret: &str) -> Value {
    let value = json!({"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": "password"}}});
    json!({"containers": [{"name": "main", "image": "example.com/main", "env": [value]}]})
}

/// The same object with an annotation that names Connections.
pub fn using(mut object: Value, connections: &str) -> Value {
    object["metadata"]["annotations"] = json!({"connectivity.dev/uses": connections});
    object
}

/// The same object, owned by `owner` as its controller.
pub fn owned(mut object: Value, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    object
}
