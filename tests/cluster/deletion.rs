//! A Connection stays while anything uses it, and goes at once when nothing does.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::{
        DEADLINE,
        audit::{Request, lines, seconds},
        eventually,
        namespace::Namespace,
        operator::Operator,
        proxy::Mode,
    },
    stage::{FLAGS, OWN, Stage, alone, in_namespace, manifest},
    workload::{RESOURCES, idle, owned, using, with_secret, workload},
};

#[test]
fn an_unused_connection_goes_after_one_live_look_at_each_counted_kind() {
    in_namespace(async |stage, namespace| {
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        let position = stage.plane.audit.position();
        namespace.delete("Connection", "orders-db").await;
        namespace.gone("orders-db").await;
        let requests = namespace.requests_after(&stage.operator.user, position).await;
        let (writes, mut reads): (Vec<_>, Vec<_>) = requests.into_iter().partition(Request::writes);
        assert_eq!(lines(&writes), ["patch connections orders-db"]);
        reads.sort_by(|a, b| a.resource.cmp(&b.resource));
        let listed: Vec<&str> = reads.iter().map(|request| request.resource.as_str()).collect();
        assert_eq!(listed, RESOURCES);
        for read in reads {
            assert_eq!(read.verb, "list");
            assert!(!read.uri.contains("resourceVersion="), "a list that may be answered from a cache: {}", read.uri);
        }
    });
}

#[test]
fn a_used_connection_is_held_and_let_go_by_the_wake_up_of_its_last_user() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.create(using(workload("CronJob", "report", idle()), "orders-db")).await;
        namespace.ready("orders-db", proxy.address, json!({})).await;
        namespace.delete("Connection", "orders-db").await;
        let held = namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        let message = held.condition("Terminating").unwrap().message;
        assert!(message.contains("Deployment/api") && message.contains("CronJob/report"), "{message}");
        let note = namespace.event("orders-db", "Warning DeletionBlocked").await;
        assert!(note.contains("Deployment/api") && note.contains("CronJob/report"), "{note}");

        proxy.comes(proxy.connections(), 2).await;
        let probed = namespace.connection("orders-db").await.unwrap();
        probed.must_be("Ready", "True", "Succeeded");
        assert_eq!(probed.condition("Terminating"), held.condition("Terminating"));

        namespace.delete("CronJob", "report").await;
        namespace.until("orders-db", "used by one", |c| c.status("/usage/count") == 1).await;
        let position = stage.plane.audit.position();
        namespace.delete("Deployment", "api").await;
        namespace.gone("orders-db").await;
        let admin = namespace.requests_after("admin", position).await;
        let removed = admin.iter().find(|request| request.verb == "delete").expect("our own request");
        let own = namespace.requests_after(&stage.operator.user, position).await;
        let released = own.iter().find(|request| request.resource == "connections").expect("the release");
        let took = seconds(&released.received) - seconds(&removed.received);
        // The wake-up did it, not the next regular look. How quick it is, is measured elsewhere: this machine may be busy.
        assert!(took < 10.0, "it took {took} s: {:?}", lines(&own));
        namespace.event("orders-db", "Normal DeletionReleased").await;
        let blocked = namespace.events("orders-db").await.into_iter().filter(|line| line.contains("Blocked")).count();
        assert_eq!(blocked, 1);
    });
}

#[test]
fn a_user_that_no_longer_refers_to_it_lets_it_go() {
    in_namespace(async |stage, namespace| {
        namespace.create(using(workload("Deployment", "api", idle()), "orders-db")).await;
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        namespace.delete("Connection", "orders-db").await;
        namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        let nothing = json!({"metadata": {"annotations": {"connectivity.dev/uses": null}}});
        namespace.merge("Deployment", "api", nothing).await;
        namespace.gone("orders-db").await;
    });
}

#[test]
fn a_user_that_is_being_deleted_counts_until_it_is_gone() {
    in_namespace(async |stage, namespace| {
        let mut user = workload("Deployment", "api", with_secret("orders-db"));
        user["metadata"]["finalizers"] = json!(["example.com/wait"]);
        namespace.create(user).await;
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        namespace.delete("Deployment", "api").await;
        namespace.delete("Connection", "orders-db").await;
        namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        namespace.merge("Deployment", "api", json!({"metadata": {"finalizers": null}})).await;
        namespace.gone("orders-db").await;
    });
}

#[test]
fn force_delete_lets_it_go_although_it_is_used_and_names_the_users() {
    in_namespace(async |stage, namespace| {
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        namespace.delete("Connection", "orders-db").await;
        namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        let force = json!({"metadata": {"annotations": {"connectivity.dev/force-delete": "true"}}});
        namespace.merge("Connection", "orders-db", force).await;
        namespace.gone("orders-db").await;
        let note = namespace.event("orders-db", "Warning ForceDeleted").await;
        assert!(note.contains("Deployment/api"), "{note}");
    });
}

#[test]
fn a_namespace_that_ends_takes_its_connections_along() {
    in_namespace(async |stage, namespace| {
        for (kind, name) in [("Deployment", "api"), ("Pod", "job"), ("CronJob", "report")] {
            namespace.create(workload(kind, name, with_secret("orders-db"))).await;
        }
        for name in ["orders-db", "events-db"] {
            namespace.ready(name, stage.postgresql.address, seldom()).await;
        }
        namespace.end().await;
        ends(&namespace).await;
    });
}

#[test]
fn a_namespace_that_ends_is_not_wedged_when_the_operators_rights_go_first() {
    in_namespace(async |stage, namespace| {
        let _operator = stage.own_operator(&namespace, &[]).await;
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.ready("orders-db", stage.postgresql.address, own()).await;
        namespace.delete("Connection", "orders-db").await;
        namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        let binding = format!("{}-connection-operator-working", namespace.name);
        namespace.delete("RoleBinding", &binding).await;
        namespace.end().await;
        ends(&namespace).await;
    });
}

#[test]
fn foreground_deletion_of_an_owner_that_uses_it_ends() {
    in_namespace(async |stage, namespace| {
        collectable(stage, &namespace).await;
        let owner = namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        let connection = owned(manifest("orders-db", stage.postgresql.address, seldom()), &owner);
        namespace.login("orders-db", "reader").await;
        namespace.create(connection).await;
        namespace.becomes("orders-db", "InUse", "True", "Referenced").await;
        namespace.delete_foreground("Deployment", "api").await;
        namespace.gone("orders-db").await;
        eventually(DEADLINE, "the owner goes too", async || {
            namespace.get("Deployment", "api").await.is_none().then_some(())
        })
        .await;
    });
}

#[test]
fn foreground_deletion_of_an_owner_waits_for_other_users() {
    in_namespace(async |stage, namespace| {
        collectable(stage, &namespace).await;
        let owner = namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.create(workload("Deployment", "web", with_secret("orders-db"))).await;
        let connection = owned(manifest("orders-db", stage.postgresql.address, seldom()), &owner);
        namespace.login("orders-db", "reader").await;
        namespace.create(connection).await;
        namespace.until("orders-db", "used by two", |c| c.status("/usage/count") == 2).await;
        namespace.delete_foreground("Deployment", "api").await;
        let held = namespace.becomes("orders-db", "Terminating", "True", "InUse").await;
        let message = held.condition("Terminating").unwrap().message;
        assert!(message.contains("Deployment/web"), "{message}");
        namespace.delete("Deployment", "web").await;
        namespace.gone("orders-db").await;
    });
}

#[test]
fn an_old_verdict_is_not_written_on_a_recreated_connection() {
    in_namespace(async |stage, namespace| {
        let silent = stage.proxy().await;
        silent.switch(Mode::Silent).await;
        namespace.login("orders-db", "reader").await;
        let slow = json!({"spec": {"probe": {"interval": "6s", "timeout": "6s"}}});
        let first = namespace.create(manifest("orders-db", silent.address, slow)).await;
        silent.comes(0, 1).await;
        namespace.delete("Connection", "orders-db").await;
        namespace.gone("orders-db").await;
        let proxy = stage.proxy().await;
        let second = namespace.create(manifest("orders-db", proxy.address, json!({}))).await;
        assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
        let ready = namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        assert_eq!(ready.metadata("/uid"), second["metadata"]["uid"]);
        // By then the first one's probe has long timed out.
        proxy.comes(1, 2).await;
        namespace.connection("orders-db").await.unwrap().must_be_untouched_since(&ready);
        assert_eq!(namespace.events("orders-db").await, [""; 0]);
    });
}

#[test]
fn what_was_deleted_while_no_operator_ran_is_let_go_by_the_next_one() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let first = stage.own_operator_as(&account, &namespace, &[]).await;
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.create(using(workload("Deployment", "web", idle()), "used-db")).await;
        for name in ["orders-db", "used-db"] {
            namespace.ready(name, stage.postgresql.address, own()).await;
        }
        let by_name = json!({"spec": {"credentials": {"secretRef": {"name": "orders-db-2"}}}});
        namespace.login("orders-db-2", "reader").await;
        namespace.merge("Connection", "used-db", by_name).await;
        namespace.until("used-db", "used by one", |c| c.status("/usage/count") == 1).await;
        first.kill().await;
        namespace.delete("Connection", "orders-db").await;
        namespace.delete("Connection", "used-db").await;
        namespace.delete("Deployment", "api").await;

        let _second = stage.own_operator_as(&account, &namespace, &[]).await;
        namespace.gone("orders-db").await;
        let held = namespace.becomes("used-db", "Terminating", "True", "InUse").await;
        assert_eq!(held.status("/usage/summary"), "Deployment/web");
        namespace.delete("Deployment", "web").await;
        namespace.gone("used-db").await;
    });
}

#[test]
fn a_kind_that_may_not_be_listed_holds() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let role = format!("{}-connection-operator-working", namespace.name);
        let rules = namespace.get("Role", &role).await.unwrap()["rules"].clone();
        let mut fewer = rules.clone();
        for rule in fewer.as_array_mut().unwrap() {
            rule["resources"].as_array_mut().unwrap().retain(|resource| resource != "cronjobs");
        }
        namespace.merge("Role", &role, json!({"rules": fewer})).await;
        let _operator = stage.own_operator_as(&account, &namespace, &[]).await;
        let connection = namespace.ready("orders-db", stage.postgresql.address, own()).await;
        connection.must_be("InUse", "Unknown", "UsageUnknown");
        namespace.delete("Connection", "orders-db").await;
        let held = namespace.becomes("orders-db", "Terminating", "True", "UsageUnknown").await;
        let message = held.condition("Terminating").unwrap().message;
        assert!(message.to_lowercase().contains("cronjob"), "it says which kind: {message}");
        namespace.merge("Role", &role, json!({"rules": rules})).await;
        namespace.gone("orders-db").await;
    });
}

#[test]
fn a_user_that_comes_while_it_is_let_go_is_never_overlooked() {
    in_namespace(async |stage, namespace| {
        for round in 0..10 {
            let name = format!("race-{round}");
            namespace.ready(&name, stage.postgresql.address, seldom()).await;
            let user = using(workload("Deployment", &name, idle()), &name);
            futures::join!(namespace.create(user), namespace.delete("Connection", &name));
            // Held because of it, or let go by a look that was not newer than it.
            let end = async || match namespace.connection(&name).await {
                None => Some(None),
                Some(connection) => connection.is("Terminating", "True", "InUse").then_some(Some(connection)),
            };
            if eventually(DEADLINE, "held or gone", end).await.is_none() {
                let own = namespace.requests(&stage.operator.user).await;
                let looked =
                    own.iter().rfind(|r| r.verb == "list" && r.resource == "deployments").expect("a live look");
                let ours = namespace.requests("admin").await;
                let created = ours.iter().rfind(|r| r.verb == "create" && r.resource == "deployments").unwrap();
                assert!(
                    created.answered >= looked.received,
                    "let go although {name} was there: {}",
                    lines(&own).join(", ")
                );
            }
            namespace.delete("Deployment", &name).await;
            namespace.gone(&name).await;
        }
    });
}

#[test]
fn deleting_the_definition_lets_every_connection_go() {
    alone(async |stage, plane| {
        plane.define().await.unwrap();
        let account = plane.install("connection-operator", &[]).await.unwrap();
        let operator = Operator::start(&account, &FLAGS).await;
        let namespace = Namespace::new(plane).await;
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        namespace.ready("events-db", stage.postgresql.address, seldom()).await;
        namespace.becomes("orders-db", "InUse", "True", "Referenced").await;
        let delete = ["delete", "crd", "connections.connectivity.dev", "--timeout=40s"];
        plane.kubectl(&delete).unwrap();
        let note = namespace.event("orders-db", "Warning ForceDeleted").await;
        assert!(note.contains("Deployment/api"), "{note}");

        // It waits for the definition to come back, and goes on.
        plane.define().await.unwrap();
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        namespace.delete("Deployment", "api").await;
        namespace.delete("Connection", "orders-db").await;
        namespace.gone("orders-db").await;
        operator.stop().await;
    });
}

fn seldom() -> Value {
    json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}}})
}

fn own() -> Value {
    json!({"metadata": {"labels": {OWN: ""}}})
}

/// Waits until the garbage collector knows Connections; it looks for new definitions every half a minute only.
async fn collectable(stage: &Stage, namespace: &Namespace<'_>) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let owner = namespace.create(map).await;
    let nobodys = json!({"metadata": {"labels": {OWN: ""}}});
    namespace.create(owned(manifest("orphan", stage.postgresql.address, nobodys), &owner)).await;
    namespace.delete("ConfigMap", "owner").await;
    namespace.gone("orphan").await;
}

/// Waits until a namespace that was deleted is gone.
async fn ends(namespace: &Namespace<'_>) {
    eventually(Duration::from_secs(90), "the namespace ends", async || namespace.ended().await.then_some(())).await;
}
