//! The process: how it starts, what it says over HTTP, how it ends, and how two of them take turns.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::{
        DEADLINE, eventually,
        namespace::Namespace,
        operator::{Operator, Signal, command},
        proxy::Mode,
    },
    stage::{FLAGS, OWN, alone, in_namespace, manifest},
};

#[test]
fn health_readiness_and_metrics_are_served() {
    in_namespace(async |stage, namespace| {
        namespace.ready("orders-db", stage.postgresql.address, json!({})).await;
        assert_eq!(stage.operator.http("/healthz").await.0, Some(200));
        assert_eq!(stage.operator.http("/readyz").await.0, Some(200));
        let (code, metrics) = stage.operator.http("/metrics").await;
        assert_eq!(code, Some(200));
        assert!(metrics.contains("# TYPE "), "{metrics}");
        assert!(!metrics.contains("orders-db"), "labels come from enums, never from names");
        assert_eq!(stage.operator.http("/secrets").await.0, Some(404));
    });
}

#[test]
fn sigterm_ends_it_at_once_even_while_probes_hang() {
    in_namespace(async |stage, namespace| {
        let operator = stage.own_operator(&namespace, &[]).await;
        let silent = stage.proxy().await;
        silent.switch(Mode::Silent).await;
        namespace.login("orders-db", "reader").await;
        let slow = json!({"metadata": {"labels": {OWN: ""}}, "spec": {"probe": {"interval": "60s", "timeout": "60s"}}});
        namespace.create(manifest("orders-db", silent.address, slow)).await;
        silent.comes(0, 1).await;
        let (took, status) = operator.stop().await;
        assert!(status.success(), "{status}: {}", operator.log());
        assert!(took < Duration::from_secs(20), "it did not wait for the probe: {took:?}");
    });
}

#[test]
fn it_waits_for_its_definitions_and_says_so() {
    alone(async |stage, plane| {
        // Whatever a test before this one left.
        plane
            .kubectl(&["delete", "crd", "connections.connectivity.dev", "--ignore-not-found", "--timeout=40s"])
            .unwrap();
        let account = plane.install("connection-operator", &[]).await.unwrap();
        let operator = Operator::launch(&account, &FLAGS).await;
        eventually(DEADLINE, "the log names the definition", async || {
            operator.log().contains("connections.connectivity.dev").then_some(())
        })
        .await;
        assert_eq!(operator.ended(), None);
        assert_eq!(operator.http("/healthz").await.0, Some(200));
        assert_ne!(operator.http("/readyz").await.0, Some(200), "it does nothing yet");
        plane.define().await.unwrap();
        operator.ready().await.unwrap();
        let namespace = Namespace::new(plane).await;
        namespace.ready("orders-db", stage.postgresql.address, json!({})).await;
        namespace.delete("Connection", "orders-db").await;
        namespace.gone("orders-db").await;
        operator.stop().await;
    });
}

#[test]
fn of_two_replicas_one_acts_and_the_other_takes_over() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let flags = [
            "--egress-allow",
            "127.0.0.0/8",
            "--leader-elect",
            "true",
            "--namespaces",
            &namespace.name,
            "--selector",
            OWN,
        ];
        let first = Operator::start(&account, &flags).await;
        let proxy = stage.proxy().await;
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        namespace.ready("orders-db", proxy.address, own.clone()).await;
        let second = Operator::start(&account, &flags).await;
        let seen = proxy.connections();
        proxy.comes(seen, 2).await;
        let arrivals = proxy.arrivals();
        for pair in arrivals.windows(2) {
            assert!(pair[1] - pair[0] > Duration::from_secs(2), "two replicas probe at once");
        }

        let position = stage.plane.audit.position();
        first.signal(Signal::Term);
        namespace.create(manifest("events-db", proxy.address, own.clone())).await;
        namespace.becomes("events-db", "Ready", "True", "Succeeded").await;
        eventually(DEADLINE, "the first one ends", async || first.ended()).await;
        // One that is not given back runs out first.
        assert!(first.log().contains("gave the Lease back"), "{}", first.log());
        let writes = namespace.requests_after(&account.user, position).await;
        let finalizers = writes.iter().filter(|r| r.resource == "connections" && r.verb == "patch").count();
        assert_eq!(finalizers, 1, "no double writes");

        second.kill().await;
        let third = Operator::start(&account, &flags).await;
        namespace.create(manifest("stock-db", proxy.address, own)).await;
        namespace.becomes("stock-db", "Ready", "True", "Succeeded").await;
        drop(third);
    });
}

#[test]
fn a_shard_acts_on_what_its_selector_matches_only() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let shard = format!("{OWN},shard in (a)");
        let flags = [&FLAGS[..], &["--namespaces", &namespace.name, "--selector", &shard]].concat();
        let _operator = Operator::start(&account, &flags).await;
        namespace.login("orders-db", "reader").await;
        for shard in ["b", "a"] {
            let labels = json!({"metadata": {"labels": {OWN: "", "shard": shard}}});
            namespace.create(manifest(&format!("shard-{shard}"), stage.postgresql.address, labels)).await;
        }
        namespace.becomes("shard-a", "Ready", "True", "Succeeded").await;
        let other = namespace.connection("shard-b").await.unwrap();
        assert_eq!(other.status("/observedGeneration"), -1);
        assert_eq!(other.0["metadata"]["finalizers"], Value::Null);
    });
}

#[test]
fn without_a_watch_on_secrets_a_rotation_is_found_at_the_interval() {
    in_namespace(async |stage, namespace| {
        let namespaces = format!("namespaces={{{}}}", namespace.name);
        let values = ["sharedObjects=false", "secretWatch=false", &namespaces];
        let account = stage.plane.install(&namespace.name, &values).await.unwrap();
        let operator = stage.own_operator_as(&account, &namespace, &["--secret-watch", "false"]).await;
        namespace.ready("orders-db", stage.postgresql.address, json!({"metadata": {"labels": {OWN: ""}}})).await;
        namespace.login("orders-db", "writer").await;
        let new = namespace.get("Secret", "orders-db").await.unwrap()["metadata"]["resourceVersion"].clone();
        namespace.until("orders-db", "verified", |c| c.status("/credentials/verifiedVersion") == &new).await;
        let looks = namespace.requests(&operator.user).await;
        let secrets = looks.iter().filter(|request| request.resource == "secrets");
        assert!(secrets.clone().all(|request| request.verb == "get" && request.code == 200), "no list, no watch");
        assert!(secrets.count() > 0);
    });
}

#[test]
fn an_outage_of_the_api_server_is_survived() {
    alone(async |stage, plane| {
        plane.define().await.unwrap();
        let account = plane.install("connection-operator", &[]).await.unwrap();
        let operator = Operator::start(&account, &FLAGS).await;
        let namespace = Namespace::new(plane).await;
        let proxy = stage.proxy().await;
        let before = namespace.ready("orders-db", proxy.address, json!({})).await;
        plane.pause().unwrap();
        proxy.comes(proxy.connections(), 2).await;
        assert_eq!(operator.ended(), None, "{}", operator.log());
        assert_eq!(operator.http("/healthz").await.0, Some(200));
        plane.resume().unwrap();
        namespace.connection("orders-db").await.unwrap().must_be_untouched_since(&before);
        namespace.secret("orders-db", &[("password", "wrong")]).await;
        namespace.becomes("orders-db", "Ready", "False", "AuthenticationFailed").await;
        namespace.delete("Connection", "orders-db").await;
        namespace.gone("orders-db").await;
        operator.stop().await;
    });
}

#[test]
fn the_subcommands_print_what_they_are_asked_for() {
    let (code, version, _) = command(&["version"]);
    assert_eq!(code, Some(0));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let (code, types, _) = command(&["types"]);
    assert_eq!(code, Some(0));
    assert!(types.contains("PostgreSQL"), "{types}");
    let (code, definitions, _) = command(&["crd"]);
    assert_eq!(code, Some(0));
    assert!(definitions.contains("kind: CustomResourceDefinition"), "{definitions}");
    assert!(definitions.contains("connections.connectivity.dev"), "{definitions}");
}

#[test]
fn a_flag_that_cannot_be_is_refused_in_a_sentence() {
    for wrong in [["--egress-allow", "10.0.0.0/99"], ["--probe-concurrency", "0"], ["--selector", "shard in a"]] {
        let (code, _, said) = command(&["run", wrong[0], wrong[1]]);
        assert_ne!(code, Some(0), "{wrong:?}");
        assert!(said.contains(wrong[0]), "{wrong:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
