//! Who uses a Connection.

use serde_json::{Value, json};

use crate::{
    harness::{
        audit::seconds,
        namespace::{Connection, Namespace},
    },
    stage::{in_namespace, manifest},
    workload::{KINDS, idle, owned, using, with_secret, workload},
};

#[test]
fn every_counted_kind_is_seen_by_its_secret() {
    in_namespace(async |stage, namespace| {
        for kind in KINDS {
            namespace.create(workload(kind, &kind.to_lowercase(), with_secret("orders-db"))).await;
        }
        namespace.login("orders-db", "reader").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        let connection = has_users(&namespace, "orders-db", 7).await;
        connection.must_be("InUse", "True", "Referenced");
        let wanted: Vec<String> = KINDS.iter().map(|kind| format!("{kind}/{} Secret", kind.to_lowercase())).collect();
        assert_eq!(users(&connection), wanted);
        let versions: Vec<&Value> = list(&connection).iter().map(|user| &user["apiVersion"]).collect();
        assert_eq!(versions, ["batch/v1", "apps/v1", "apps/v1", "batch/v1", "v1", "apps/v1", "apps/v1"]);
        let summary = connection.status("/usage/summary").as_str().unwrap().to_owned();
        assert!(summary.contains("Deployment/deployment"), "{summary}");
    });
}

#[test]
fn every_counted_kind_is_seen_by_its_annotation() {
    in_namespace(async |stage, namespace| {
        for kind in KINDS {
            // The annotation is worth more than the Secret where there are both.
            namespace.create(using(workload(kind, &kind.to_lowercase(), with_secret("orders-db")), "orders-db")).await;
        }
        namespace.login("orders-db", "reader").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        let connection = has_users(&namespace, "orders-db", 7).await;
        let wanted: Vec<String> =
            KINDS.iter().map(|kind| format!("{kind}/{} Annotation", kind.to_lowercase())).collect();
        assert_eq!(users(&connection), wanted);
    });
}

#[test]
fn an_annotation_of_the_pod_template_counts_and_may_name_several() {
    in_namespace(async |stage, namespace| {
        let mut deployment = workload("Deployment", "api", idle());
        deployment["spec"]["template"]["metadata"]["annotations"] =
            json!({"connectivity.dev/uses": "orders-db, events"});
        let mut job = workload("CronJob", "report", idle());
        job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"] =
            json!({"connectivity.dev/uses": "events"});
        namespace.create(deployment).await;
        namespace.create(job).await;
        namespace.login("orders-db", "reader").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        namespace.create(manifest("events", stage.postgresql.address, json!({}))).await;
        assert_eq!(users(&has_users(&namespace, "orders-db", 1).await), ["Deployment/api Annotation"]);
        let events = users(&has_users(&namespace, "events", 2).await);
        assert_eq!(events, ["CronJob/report Annotation", "Deployment/api Annotation"]);
    });
}

#[test]
fn every_way_to_take_a_secret_counts() {
    in_namespace(async |stage, namespace| {
        let main = json!({"name": "main", "image": "example.com/main"});
        let key =
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "orders-db", "key": "a", "optional": true}}}]);
        let all = json!([{"secretRef": {"name": "orders-db", "optional": true}}]);
        let container = |member: &str, value: &Value| {
            let mut container = main.clone();
            container[member] = value.clone();
            container
        };
        let initial = |container: Value| {
            let mut first = container;
            first["name"] = "first".into();
            json!({"containers": [main], "initContainers": [first]})
        };
        let volume = |volume: Value| json!({"containers": [main], "volumes": [volume]});
        let ways = [
            ("env", json!({"containers": [container("env", &key)]})),
            ("env-from", json!({"containers": [container("envFrom", &all)]})),
            ("init-env", initial(container("env", &key))),
            ("init-env-from", initial(container("envFrom", &all))),
            ("projected", volume(json!({"name": "v", "projected": {"sources": [{"secret": {"name": "orders-db"}}]}}))),
            ("volume", volume(json!({"name": "v", "secret": {"secretName": "orders-db"}}))),
        ];
        for (name, pod) in &ways {
            namespace.create(workload("Deployment", name, pod.clone())).await;
        }
        namespace.login("orders-db", "reader").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        let wanted: Vec<String> = ways.iter().map(|(name, _)| format!("Deployment/{name} Secret")).collect();
        assert_eq!(users(&has_users(&namespace, "orders-db", ways.len()).await), wanted);
    });
}

#[test]
fn what_does_not_take_the_credentials_does_not_count() {
    in_namespace(async |stage, namespace| {
        let other = Namespace::new(&stage.plane).await;
        other.create(workload("Deployment", "elsewhere", with_secret("orders-db"))).await;
        other.create(using(workload("Deployment", "annotated", idle()), "orders-db")).await;
        let mut puller = idle();
        puller["imagePullSecrets"] = json!([{"name": "orders-db"}]);
        namespace.create(workload("Deployment", "puller", puller)).await;
        namespace.create(workload("Deployment", "truster", with_secret("authority"))).await;
        namespace.create(workload("Deployment", "stranger", with_secret("orders-db-2"))).await;
        namespace.create(using(workload("Deployment", "misspelt", idle()), "orders")).await;
        namespace.create(workload("Deployment", "presenter", with_secret("client"))).await;
        namespace.secret("authority", &[("ca.crt", &stage.postgresql.authority)]).await;
        let (certificate, key) = &stage.postgresql.client;
        namespace.secret("client", &[("tls.crt", certificate), ("tls.key", key)]).await;
        namespace.login("orders-db", "certuser").await;
        let tls = json!({"spec": {"tls": {
            "mode": "VerifyFull",
            "ca": {"secretRef": {"name": "authority", "key": "ca.crt"}},
            "clientCertificateSecretRef": {"name": "client"},
        }}});
        namespace.create(manifest("orders-db", stage.postgresql.address, tls)).await;
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        namespace.until("orders-db", "used", |c| users(c) == ["Deployment/presenter Secret"]).await;
    });
}

#[test]
fn an_object_is_left_out_while_its_owner_counts_for_the_same_connection() {
    in_namespace(async |stage, namespace| {
        let owner = namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        let set = namespace.create(owned(workload("ReplicaSet", "api-1", with_secret("orders-db")), &owner)).await;
        namespace.create(owned(workload("Pod", "api-1-a", with_secret("orders-db")), &set)).await;
        // What the Deployment started before it moved on to another Secret.
        let moved = namespace.create(workload("Deployment", "web", with_secret("elsewhere"))).await;
        let old = namespace.create(owned(workload("ReplicaSet", "web-1", with_secret("orders-db")), &moved)).await;
        namespace.create(owned(workload("Pod", "web-1-a", with_secret("orders-db")), &old)).await;
        namespace.login("orders-db", "reader").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        let these = ["Deployment/api Secret", "ReplicaSet/web-1 Secret"];
        namespace.until("orders-db", "used", |c| users(c) == these).await;
    });
}

#[test]
fn what_is_finished_does_not_count() {
    in_namespace(async |stage, namespace| {
        let (begin, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        let condition =
            |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": end, "reason": "Test"});
        let complete = json!({
            "startTime": begin, "completionTime": end, "succeeded": 1, "uncountedTerminatedPods": {},
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
        });
        let failed = json!({
            "startTime": begin, "uncountedTerminatedPods": {},
            "conditions": [condition("FailureTarget"), condition("Failed")],
        });
        for (kind, name, status) in [
            ("Job", "complete", complete),
            ("Job", "failed", failed),
            ("Pod", "succeeded", json!({"phase": "Succeeded"})),
            ("Pod", "failed", json!({"phase": "Failed"})),
        ] {
            namespace.create(workload(kind, name, with_secret("orders-db"))).await;
            namespace.merge_status(kind, name, status).await;
        }
        let mut empty = workload("ReplicaSet", "empty", with_secret("orders-db"));
        empty["spec"]["replicas"] = 0.into();
        namespace.create(empty).await;
        namespace.create(workload("Job", "running", with_secret("orders-db"))).await;
        namespace.login("orders-db", "reader").await;
        namespace.create(manifest("orders-db", stage.postgresql.address, json!({}))).await;
        namespace.until("orders-db", "used", |c| users(c) == ["Job/running Secret"]).await;
    });
}

#[test]
fn the_first_user_and_the_last_are_seen_at_once() {
    in_namespace(async |stage, namespace| {
        namespace
            .ready(
                "orders-db",
                stage.postgresql.address,
                json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}}}),
            )
            .await;
        for _ in 0..3 {
            let begin = std::time::Instant::now();
            namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
            let used = namespace.becomes("orders-db", "InUse", "True", "Referenced").await;
            assert_eq!(used.status("/usage/count"), 1);
            namespace.delete("Deployment", "api").await;
            let unused = namespace.becomes("orders-db", "InUse", "False", "NotReferenced").await;
            assert_eq!(unused.status("/usage/count").as_u64().unwrap_or_default(), 0);
            assert!(begin.elapsed().as_secs() < 25, "flips are not saved up: {:?}", begin.elapsed());
        }
    });
}

#[test]
fn further_users_are_told_at_most_once_in_half_a_minute() {
    in_namespace(async |stage, namespace| {
        namespace.create(workload("Deployment", "first", with_secret("orders-db"))).await;
        namespace
            .ready(
                "orders-db",
                stage.postgresql.address,
                json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}}}),
            )
            .await;
        let position = stage.plane.audit.position();
        namespace.create(workload("Deployment", "second", with_secret("orders-db"))).await;
        stage.rest(&namespace).await;
        namespace.create(workload("Deployment", "third", with_secret("orders-db"))).await;
        has_users(&namespace, "orders-db", 3).await;
        let requests = namespace.requests_after(&stage.operator.user, position).await;
        let writes = requests.iter().filter(|request| request.name == "orders-db" && request.writes());
        let at: Vec<f64> = writes.map(|request| seconds(&request.received)).collect();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] > 29.0), "{at:?}");
    });
}

#[test]
fn of_many_users_ten_are_listed_and_all_are_counted() {
    in_namespace(async |stage, namespace| {
        for number in 0..12 {
            let name = format!("a-user-with-a-rather-long-name-{number:02}");
            namespace.create(workload("Deployment", &name, with_secret("orders-db"))).await;
        }
        namespace.ready("orders-db", stage.postgresql.address, json!({})).await;
        let connection = namespace.until("orders-db", "counted", |c| c.status("/usage/count") == 12).await;
        assert_eq!(list(&connection).len(), 10);
        let summary = connection.status("/usage/summary").as_str().unwrap();
        assert!(summary.contains("more") && summary.chars().count() <= 256, "{summary}");
    });
}

#[test]
fn a_user_that_moves_on_wakes_the_connection_it_left() {
    in_namespace(async |stage, namespace| {
        let seldom = json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}}});
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.login("events", "reader").await;
        let mut events = manifest("events", stage.postgresql.address, seldom.clone());
        events["spec"]["credentials"]["secretRef"]["name"] = "events".into();
        namespace.create(events).await;
        namespace.ready("orders-db", stage.postgresql.address, seldom).await;
        namespace.becomes("orders-db", "InUse", "True", "Referenced").await;
        namespace.becomes("events", "InUse", "False", "NotReferenced").await;
        let moved = workload("Deployment", "api", with_secret("events"));
        namespace.merge("Deployment", "api", json!({"spec": moved["spec"]})).await;
        namespace.becomes("orders-db", "InUse", "False", "NotReferenced").await;
        namespace.becomes("events", "InUse", "True", "Referenced").await;
    });
}

#[test]
fn a_connection_that_names_another_secret_has_that_ones_users() {
    in_namespace(async |stage, namespace| {
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.create(workload("Deployment", "web", with_secret("other"))).await;
        namespace.login("other", "writer").await;
        namespace.ready("orders-db", stage.postgresql.address, json!({})).await;
        let secret = json!({"spec": {"credentials": {"secretRef": {"name": "other"}}}});
        namespace.merge("Connection", "orders-db", secret).await;
        let other = |c: &Connection| users(c) == ["Deployment/web Secret"];
        namespace.until("orders-db", "used by the other", other).await.must_be("InUse", "True", "Referenced");
    });
}

/// Waits until a Connection has so many users.
async fn has_users(namespace: &Namespace<'_>, name: &str, count: usize) -> Connection {
    namespace.until(name, &format!("used by {count}"), |c| c.status("/usage/count") == count).await
}

fn list(connection: &Connection) -> &[Value] {
    connection.status("/usage/users").as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The users as `Kind/name Via`, in the order of the status.
fn users(connection: &Connection) -> Vec<String> {
    let text = |user: &Value, key: &str| user[key].as_str().unwrap_or_default().to_owned();
    let line = |user: &Value| format!("{}/{} {}", text(user, "kind"), text(user, "name"), text(user, "via"));
    list(connection).iter().map(line).collect()
}
