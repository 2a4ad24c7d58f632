//! From creation to Ready, and what a Connection costs the API server.

use serde_json::{Value, json};

use crate::{
    harness::{
        audit::{Request, lines},
        namespace::Namespace,
    },
    stage::{OWN, in_namespace, manifest},
    workload::{with_secret, workload},
};

#[test]
fn a_connection_becomes_ready_and_says_how_to_connect() {
    in_namespace(async |stage, namespace| {
        let address = stage.postgresql.address;
        let connection = namespace.ready("orders-db", address, json!({})).await;
        connection.must_be("CredentialsResolved", "True", "Resolved");
        connection.must_be("Reachable", "True", "Connected");
        connection.must_be("Authenticated", "True", "CredentialsAccepted");
        connection.must_be("Accessible", "True", "Verified");
        connection.must_be("InUse", "False", "NotReferenced");
        assert_eq!(connection.status("/connectionString"), &json!(format!("postgresql://{address}/orders")));
        assert_eq!(connection.status("/binding/name"), "orders-db");
        assert_eq!(connection.status("/observedGeneration"), 1);
        let secret = namespace.get("Secret", "orders-db").await.unwrap();
        assert_eq!(connection.status("/credentials/observedVersion"), &secret["metadata"]["resourceVersion"]);
        assert_eq!(connection.status("/credentials/verifiedVersion"), &secret["metadata"]["resourceVersion"]);
    });
}

#[test]
fn a_new_connection_has_its_standing_conditions_before_anybody_looked_at_it() {
    in_namespace(async |stage, namespace| {
        let nobodys = json!({"metadata": {"labels": {OWN: ""}}});
        namespace.create(manifest("orders-db", stage.postgresql.address, nobodys)).await;
        let connection = namespace.connection("orders-db").await.unwrap();
        assert_eq!(connection.status("/observedGeneration"), -1);
        connection.must_be("Ready", "Unknown", "Pending");
        connection.must_be("CredentialsResolved", "Unknown", "Pending");
        connection.must_be("Reachable", "Unknown", "NotChecked");
        connection.must_be("Authenticated", "Unknown", "NotChecked");
        connection.must_be("Accessible", "Unknown", "NotChecked");
        connection.must_be("InUse", "Unknown", "UsageUnknown");
    });
}

#[test]
fn creation_costs_three_requests_and_two_of_them_are_writes() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace.ready("orders-db", proxy.address, json!({})).await;
        proxy.comes(0, 2).await;
        let requests = lines(&namespace.requests(&stage.operator.user).await);
        assert_eq!(requests, CREATION);
        assert_eq!(namespace.events("orders-db").await, [""; 0], "no event for a first success");
    });
}

#[test]
fn each_further_secret_costs_one_read() {
    in_namespace(async |stage, namespace| {
        with_certificates(stage, &namespace).await;
        let tls = json!({"spec": {"tls": {
            "mode": "VerifyFull",
            "ca": {"secretRef": {"name": "authority", "key": "ca.crt"}},
            "clientCertificateSecretRef": {"name": "client"},
        }}});
        namespace.login("orders-db", "certuser").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, tls)).await;
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        let mut requests = lines(&namespace.requests(&stage.operator.user).await);
        assert_eq!(requests.first().map(String::as_str), Some(CREATION[0]), "the finalizer comes first");
        assert_eq!(requests.last().map(String::as_str), Some(CREATION[2]), "the status comes last");
        requests.sort();
        let wanted = ["get secrets authority", "get secrets client", CREATION[1], CREATION[0], CREATION[2]];
        assert_eq!(requests, wanted);
    });
}

#[test]
fn every_write_is_a_json_patch_that_tests_the_uid() {
    in_namespace(async |stage, namespace| {
        let uid = namespace.ready("orders-db", stage.postgresql.address, json!({})).await.metadata("/uid").to_owned();
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.becomes("orders-db", "InUse", "True", "Referenced").await;
        namespace.secret("orders-db", &[("password", "wrong")]).await;
        namespace.becomes("orders-db", "Ready", "False", "AuthenticationFailed").await;
        namespace.delete("Connection", "orders-db").await;
        namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        namespace.delete("Deployment", "api").await;
        namespace.gone("orders-db").await;
        let requests = namespace.requests(&stage.operator.user).await;
        let writes: Vec<&Request> =
            requests.iter().filter(|r| r.writes() && r.resource.starts_with("connections")).collect();
        assert!(writes.len() >= 6, "{:?}", lines(&requests));
        for write in writes {
            assert_eq!(write.verb, "patch");
            let first = json!({"op": "test", "path": "/metadata/uid", "value": uid});
            assert_eq!(write.body[0], first, "{write}: {}", write.body);
        }
    });
}

#[test]
fn a_healthy_unchanged_connection_causes_no_request() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace.ready("orders-db", proxy.address, json!({})).await;
        let (position, seen) = (stage.plane.audit.position(), proxy.connections());
        proxy.comes(seen, 3).await;
        let requests = namespace.requests_after(&stage.operator.user, position).await;
        assert_eq!(lines(&requests), [""; 0]);
    });
}

#[test]
fn a_change_of_the_target_costs_at_most_one_read_and_one_write() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        let before = namespace
            .ready("orders-db", proxy.address, json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}}}))
            .await;
        stage.rest(&namespace).await;
        let position = stage.plane.audit.position();
        let target = json!({"spec": {"postgresql": {"schema": "public", "table": "orders"}, "permissions": ["Read"]}});
        namespace.merge("Connection", "orders-db", target).await;
        let changed = namespace.until("orders-db", "observed again", |c| c.status("/observedGeneration") == 2).await;
        changed.must_be("Ready", "True", "Succeeded");
        assert_eq!(before.condition("Ready").unwrap().since, changed.condition("Ready").unwrap().since);
        let requests = namespace.requests_after(&stage.operator.user, position).await;
        let (writes, reads): (Vec<_>, Vec<_>) = requests.into_iter().partition(Request::writes);
        assert_eq!(lines(&writes), [CREATION[2]]);
        assert!(reads.len() <= 1, "{reads:?}");
    });
}

#[test]
fn a_wrong_password_is_told_once_and_a_right_one_heals_it() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace.secret("orders-db", &[("username", "reader"), ("password", "wrong")]).await;
        namespace.create(manifest("orders-db", proxy.address, json!({}))).await;
        let broken = namespace.becomes("orders-db", "Ready", "False", "AuthenticationFailed").await;
        broken.must_be("CredentialsResolved", "True", "Resolved");
        broken.must_be("Reachable", "True", "Connected");
        broken.must_be("Authenticated", "False", "AuthenticationFailed");
        broken.must_be("Accessible", "Unknown", "NotChecked");
        broken.must_be("Stalled", "True", "AuthenticationFailed");
        assert_eq!(broken.condition("Reconciling"), None);
        assert_eq!(broken.status("/credentials/verifiedVersion"), &Value::Null);
        namespace.event("orders-db", "Warning Broken").await;

        namespace.secret("orders-db", &[("password", "reader-secret")]).await;
        let healed = namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        assert_eq!(healed.condition("Stalled"), None);
        namespace.event("orders-db", "Normal Recovered").await;
        let broken = namespace.events("orders-db").await.into_iter().filter(|line| line.contains("Broken")).count();
        assert_eq!(broken, 1);
    });
}

#[test]
fn a_secret_that_is_not_there_yet_is_waited_for() {
    in_namespace(async |stage, namespace| {
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        let waiting = namespace.becomes("orders-db", "Ready", "False", "SecretNotFound").await;
        waiting.must_be("CredentialsResolved", "False", "SecretNotFound");
        waiting.must_be("Reachable", "Unknown", "NotChecked");
        waiting.must_be("Reconciling", "True", "ProgressingWithRetry");
        assert_eq!(waiting.condition("Stalled"), None, "a pipeline that makes the Secret later must not fail");
        namespace.login("orders-db", "reader").await;
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
    });
}

#[test]
fn a_missing_permission_is_named() {
    in_namespace(async |stage, namespace| {
        namespace.login("orders-db", "reader").await;
        let wish = json!({"spec": {"postgresql": {"table": "orders"}, "permissions": ["Read", "Write"]}});
        namespace.create(manifest("orders-db", stage.postgresql.address, wish)).await;
        let denied = namespace.becomes("orders-db", "Ready", "False", "PermissionDenied").await;
        let message = denied.condition("Accessible").unwrap().message;
        assert!(message.contains("Write") && !message.contains("Read"), "{message}");
        denied.must_be("Authenticated", "True", "CredentialsAccepted");
        denied.must_be("Stalled", "True", "PermissionDenied");
    });
}

#[test]
fn kubectl_wait_works() {
    in_namespace(async |stage, namespace| {
        namespace.login("orders-db", "reader").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        let name = &namespace.name;
        let wait = ["wait", "--for=condition=Ready", "cxn/orders-db", "--namespace", name, "--timeout=40s"];
        stage.plane.kubectl(&wait).unwrap();
    });
}

/// The requests from creation to Ready.
const CREATION: [&str; 3] =
    ["patch connections orders-db", "get secrets orders-db", "patch connections/status orders-db"];

async fn with_certificates(stage: &crate::stage::Stage, namespace: &Namespace<'_>) {
    let (certificate, key) = &stage.postgresql.client;
    namespace.secret("authority", &[("ca.crt", &stage.postgresql.authority)]).await;
    namespace.secret("client", &[("tls.crt", certificate), ("tls.key", key)]).await;
}
