//! When a verdict changes, and when it must not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::{
        audit::{Position, Request, lines},
        namespace::{Connection, Namespace},
        operator::Operator,
        proxy::{Mode, Proxy},
    },
    stage::{OWN, in_namespace, manifest},
};

#[test]
fn failures_below_the_threshold_write_nothing() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        let before = namespace.ready("orders-db", proxy.address, threshold(4)).await;
        let (position, seen) = (stage.plane.audit.position(), proxy.connections());
        proxy.switch(Mode::Close).await;
        proxy.comes(seen, 2).await;
        proxy.switch(Mode::Pass).await;
        let seen = proxy.connections();
        proxy.comes(seen, 2).await;
        namespace.connection("orders-db").await.unwrap().must_be_untouched_since(&before);
        assert_eq!(lines(&namespace.requests_after(&stage.operator.user, position).await), [""; 0]);
    });
}

#[test]
fn at_the_threshold_ready_and_the_stages_change_in_one_write() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace.ready("orders-db", proxy.address, threshold(3)).await;
        let (position, seen) = (stage.plane.audit.position(), proxy.connections());
        proxy.switch(Mode::Close).await;
        let broken = namespace.becomes("orders-db", "Ready", "False", "ConnectionClosed").await;
        assert_eq!(proxy.connections() - seen, 3);
        broken.must_be("Reachable", "False", "ConnectionClosed");
        broken.must_be("Authenticated", "Unknown", "NotChecked");
        broken.must_be("Accessible", "Unknown", "NotChecked");
        broken.must_be("Reconciling", "True", "ProgressingWithRetry");
        assert_eq!(broken.condition("Stalled"), None);
        namespace.event("orders-db", "Warning Broken").await;
        let requests = namespace.requests_after(&stage.operator.user, position).await;
        let about: Vec<&str> = requests.iter().map(|request| request.resource.as_str()).collect();
        assert_eq!(about, ["connections/status", "events"]);

        proxy.switch(Mode::Pass).await;
        let healed = namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        assert_eq!(healed.condition("Reconciling"), None);
        namespace.event("orders-db", "Normal Recovered").await;
    });
}

#[test]
fn a_connection_on_its_way_back_needs_its_successes() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        let thresholds = json!({"interval": "10s", "timeout": "10s", "failureThreshold": 1, "successThreshold": 2});
        let probe = json!({"spec": {"probe": thresholds}});
        namespace.ready("orders-db", proxy.address, probe).await;
        proxy.switch(Mode::Close).await;
        namespace.becomes("orders-db", "Ready", "False", "ConnectionClosed").await;
        proxy.switch(Mode::Pass).await;
        let seen = proxy.connections();
        proxy.comes(seen, 1).await;
        namespace.connection("orders-db").await.unwrap().must_be("Ready", "False", "ConnectionClosed");
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        assert_eq!(proxy.connections() - seen, 2);
    });
}

#[test]
fn a_new_target_is_judged_by_its_first_outcome() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace.ready("orders-db", proxy.address, threshold(10)).await;
        let nobody = Proxy::to(stage.postgresql.address).await;
        nobody.switch(Mode::Refuse).await;
        let target = json!({"spec": {"postgresql": {"port": nobody.address.port()}}});
        namespace.merge("Connection", "orders-db", target).await;
        let broken = namespace.until("orders-db", "broken", |c| c.is("Ready", "False", "ConnectionRefused")).await;
        assert_eq!(broken.status("/observedGeneration"), 2);
        broken.must_be("Reachable", "False", "ConnectionRefused");
    });
}

#[test]
fn another_description_or_probe_keeps_the_verdict() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        let before = namespace.ready("orders-db", proxy.address, threshold(10)).await;
        proxy.switch(Mode::Close).await;
        namespace.merge("Connection", "orders-db", json!({"spec": {"description": "Orders, primary"}})).await;
        let described = namespace.until("orders-db", "observed", |c| c.status("/observedGeneration") == 2).await;
        described.must_be("Ready", "True", "Succeeded");
        namespace.merge("Connection", "orders-db", json!({"spec": {"probe": {"timeout": "1s"}}})).await;
        let probed = namespace.until("orders-db", "observed", |c| c.status("/observedGeneration") == 3).await;
        probed.must_be("Ready", "True", "Succeeded");
        assert_eq!(before.condition("Ready").unwrap().since, probed.condition("Ready").unwrap().since);
    });
}

#[test]
fn a_green_that_nobody_can_confirm_expires() {
    in_namespace(async |stage, namespace| {
        // A quarter of four permits is one: what hangs in this namespace keeps the rest of it from being probed.
        let operator = stage.own_operator(&namespace, &["--probe-concurrency", "4"]).await;
        let proxy = stage.proxy().await;
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        namespace.ready("orders-db", proxy.address, own).await;
        let silent = stage.proxy().await;
        silent.switch(Mode::Silent).await;
        let slow = json!({"metadata": {"labels": {OWN: ""}}, "spec": {"probe": {"interval": "60s", "timeout": "60s"}}});
        for name in ["silent-a", "silent-b", "silent-c", "silent-d", "silent-e"] {
            namespace.create(manifest(name, silent.address, slow.clone())).await;
        }
        let stale = namespace.becomes("orders-db", "Ready", "Unknown", "ProbeStale").await;
        for stage in ["Reachable", "Authenticated", "Accessible"] {
            stale.must_be(stage, "Unknown", "NotChecked");
        }
        stale.must_be("Reconciling", "True", "Progressing");
        drop(operator);
    });
}

#[test]
fn a_restart_writes_nothing_about_what_did_not_change() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let first = stage.own_operator_as(&account, &namespace, &[]).await;
        let proxy = stage.proxy().await;
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        let before = namespace.ready("orders-db", proxy.address, own).await;
        first.stop().await;

        let (position, seen) = (stage.plane.audit.position(), proxy.connections());
        let second = stage.own_operator_as(&account, &namespace, &[]).await;
        proxy.comes(seen, 2).await;
        let writes = writes(&namespace, &second, position).await;
        assert_eq!(writes, [""; 0]);
        namespace.connection("orders-db").await.unwrap().must_be_untouched_since(&before);
    });
}

#[test]
fn a_stored_green_has_its_threshold_after_a_restart_too() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let first = stage.own_operator_as(&account, &namespace, &[]).await;
        let proxy = stage.proxy().await;
        let mut own = threshold(5);
        own["metadata"] = json!({"labels": {OWN: ""}});
        let before = namespace.ready("orders-db", proxy.address, own).await;
        first.stop().await;
        proxy.switch(Mode::Close).await;
        let seen = proxy.connections();
        let _second = stage.own_operator_as(&account, &namespace, &[]).await;
        proxy.comes(seen, 2).await;
        namespace.connection("orders-db").await.unwrap().must_be_untouched_since(&before);
    });
}

#[test]
fn a_verdict_that_changed_while_no_operator_ran_is_told_after_the_restart() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let first = stage.own_operator_as(&account, &namespace, &[]).await;
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        namespace.ready("orders-db", stage.postgresql.address, own).await;
        first.kill().await;
        namespace.secret("orders-db", &[("password", "wrong")]).await;
        let _second = stage.own_operator_as(&account, &namespace, &[]).await;
        namespace.becomes("orders-db", "Ready", "False", "AuthenticationFailed").await;
    });
}

#[test]
fn a_rejected_credential_is_not_tried_again_because_of_a_restart() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let first = stage.own_operator_as(&account, &namespace, &[]).await;
        let (proxy, clock) = (stage.proxy().await, stage.proxy().await);
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        namespace.secret("wrong", &[("username", "reader"), ("password", "wrong")]).await;
        namespace.create(manifest("wrong", proxy.address, by_secret("wrong", true))).await;
        namespace.becomes("wrong", "Ready", "False", "AuthenticationFailed").await;
        namespace.ready("orders-db", clock.address, own).await;
        first.stop().await;

        let (position, seen) = (stage.plane.audit.position(), clock.connections());
        let second = stage.own_operator_as(&account, &namespace, &[]).await;
        clock.comes(seen, 3).await;
        assert_eq!(proxy.connections(), 1, "the account could be locked by trying");
        assert_eq!(writes(&namespace, &second, position).await, [""; 0]);
    });
}

#[test]
fn siblings_take_a_rejection_without_dialling() {
    in_namespace(async |stage, namespace| {
        let (proxy, clock) = (stage.proxy().await, stage.proxy().await);
        namespace.secret("wrong", &[("username", "reader"), ("password", "wrong")]).await;
        for name in ["one", "two", "three"] {
            namespace.create(manifest(name, proxy.address, by_secret("wrong", false))).await;
        }
        for name in ["one", "two", "three"] {
            let broken = namespace.becomes(name, "Ready", "False", "AuthenticationFailed").await;
            broken.must_be("Authenticated", "False", "AuthenticationFailed");
        }
        namespace.ready("orders-db", clock.address, json!({})).await;
        clock.comes(clock.connections(), 3).await;
        assert_eq!(proxy.connections(), 1, "one login for three Connections, and none again at the interval");

        let wish = json!({"metadata": {"annotations": {"connectivity.dev/requested-at": "2026-01-01T00:00:00Z"}}});
        namespace.merge("Connection", "two", wish).await;
        proxy.comes(1, 1).await;
        let handled = |c: &Connection| c.status("/lastHandledReconcileAt") == "2026-01-01T00:00:00Z";
        namespace.until("two", "handled", handled).await.must_be("Ready", "False", "AuthenticationFailed");
    });
}

#[test]
fn a_rejection_in_one_namespace_says_nothing_about_another() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        let other = Namespace::new(&stage.plane).await;
        for place in [&namespace, &other] {
            place.secret("wrong", &[("username", "reader"), ("password", "wrong")]).await;
            place.create(manifest("wrong", proxy.address, by_secret("wrong", false))).await;
            place.becomes("wrong", "Ready", "False", "AuthenticationFailed").await;
        }
        assert_eq!(proxy.connections(), 2);
    });
}

#[test]
fn probes_of_one_connection_start_at_least_five_seconds_apart() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace
            .ready("orders-db", proxy.address, json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}}}))
            .await;
        for number in 0..5 {
            let wish =
                json!({"metadata": {"annotations": {"connectivity.dev/requested-at": format!("request-{number}")}}});
            namespace.merge("Connection", "orders-db", wish).await;
        }
        proxy.comes(1, 1).await;
        let last = |c: &Connection| c.status("/lastHandledReconcileAt") == "request-4";
        namespace.until("orders-db", "handled", last).await.must_be("Ready", "True", "Succeeded");
        let wish = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "request-5"}}});
        namespace.merge("Connection", "orders-db", wish).await;
        proxy.comes(2, 1).await;
        let arrivals = proxy.arrivals();
        for pair in arrivals.windows(2) {
            // Measured at the server, which a busy machine lets see one late; the wishes come milliseconds apart.
            assert!(pair[1] - pair[0] > Duration::from_secs(2), "{:?}", pair[1] - pair[0]);
        }
        assert_eq!(arrivals.len(), 3);
    });
}

#[test]
fn a_suspended_connection_is_not_probed_and_starts_anew_afterwards() {
    in_namespace(async |stage, namespace| {
        let (proxy, clock) = (stage.proxy().await, stage.proxy().await);
        namespace.ready("orders-db", proxy.address, threshold(10)).await;
        namespace.merge("Connection", "orders-db", json!({"spec": {"suspend": true}})).await;
        let suspended = namespace.becomes("orders-db", "Ready", "Unknown", "Suspended").await;
        for stage in ["CredentialsResolved", "Reachable", "Authenticated", "Accessible"] {
            suspended.must_be(stage, "Unknown", "NotChecked");
        }
        assert_eq!(suspended.condition("Reconciling"), None);
        assert_eq!(suspended.condition("Stalled"), None);
        let seen = proxy.connections();
        namespace.ready("clock", clock.address, json!({})).await;
        clock.comes(0, 3).await;
        assert_eq!(proxy.connections(), seen);

        proxy.switch(Mode::Close).await;
        namespace.merge("Connection", "orders-db", json!({"spec": {"suspend": false}})).await;
        namespace.becomes("orders-db", "Ready", "False", "ConnectionClosed").await;
        assert_eq!(proxy.connections() - seen, 1, "the first outcome counts");
    });
}

#[test]
fn an_outcome_for_an_older_target_is_dropped() {
    in_namespace(async |stage, namespace| {
        let (silent, proxy) = (stage.proxy().await, stage.proxy().await);
        silent.switch(Mode::Silent).await;
        namespace.login("orders-db", "reader").await;
        let slow = json!({"spec": {"probe": {"interval": "15s", "timeout": "15s"}}});
        namespace.create(manifest("orders-db", silent.address, slow)).await;
        silent.comes(0, 1).await;
        let target = json!({"spec": {"postgresql": {"port": proxy.address.port()}}});
        namespace.merge("Connection", "orders-db", target).await;
        let ready = namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        proxy.comes(proxy.connections(), 1).await;
        namespace.connection("orders-db").await.unwrap().must_be_untouched_since(&ready);
        assert_eq!(namespace.events("orders-db").await, [""; 0]);
        assert_eq!(silent.connections(), 1);
    });
}

#[test]
fn a_probe_that_hangs_delays_nobody_else() {
    in_namespace(async |stage, namespace| {
        let (silent, proxy) = (stage.proxy().await, stage.proxy().await);
        silent.switch(Mode::Silent).await;
        namespace.login("orders-db", "reader").await;
        for number in 0..20 {
            // Each with a user of its own: first logins with the same credentials go one at a time.
            let name = format!("silent-{number}");
            namespace.login(&name, &name).await;
            let slow = json!({"spec": {
                "credentials": {"secretRef": {"name": name}},
                "probe": {"interval": "60s", "timeout": "60s"},
            }});
            namespace.create(manifest(&name, silent.address, slow)).await;
        }
        silent.comes(0, 20).await;
        namespace.ready("orders-db", proxy.address, json!({})).await;
    });
}

fn threshold(failures: u32) -> Value {
    json!({"spec": {"probe": {"interval": "10s", "timeout": "10s", "failureThreshold": failures}}})
}

fn by_secret(name: &str, own: bool) -> Value {
    let labels = if own { json!({OWN: ""}) } else { json!({}) };
    let probe = json!({"interval": "10s", "timeout": "10s"});
    json!({"metadata": {"labels": labels}, "spec": {"credentials": {"secretRef": {"name": name}}, "probe": probe}})
}

/// What an operator wrote in a namespace after a position of the audit log.
async fn writes(namespace: &Namespace<'_>, operator: &Operator, position: Position) -> Vec<String> {
    let requests = namespace.requests_after(&operator.user, position).await;
    lines(&requests.into_iter().filter(Request::writes).collect::<Vec<_>>())
}
