//! Probes that work in a child of the operator: few at once, so that it has the memory for all of them.

use std::time::Duration;

use serde_json::json;

use crate::{
    harness::{DEADLINE, eventually, proxy::Mode},
    stage::{OWN, in_namespace},
};

/// How many new ones of one namespace may have a child at once.
const AT_ONCE: usize = 3;

/// How many name nodes are silent here.
const SILENT: usize = 12;

#[test]
fn silent_name_nodes_take_few_children_and_nobody_else_waits_for_them() {
    in_namespace(async |stage, namespace| {
        let operator = stage.own_operator(&namespace, &[]).await;
        let silent = stage.proxy().await;
        silent.switch(Mode::Silent).await;
        for n in 0..SILENT {
            let object = json!({
                "apiVersion": "connectivity.dev/v1alpha1",
                "kind": "Connection",
                "metadata": {"name": format!("lake-{n}"), "labels": {OWN: ""}},
                "spec": {
                    "type": "HDFS",
                    "hdfs": {"nameNodes": [silent.address.to_string()], "path": "/orders", "user": "reader"},
                    "probe": {"interval": "60s", "timeout": "60s"},
                },
            });
            namespace.create(object).await;
        }
        let load = format!("in_flight {AT_ONCE}, waiting {}", SILENT - AT_ONCE);
        eventually(DEADLINE, &load, async || {
            let metrics = operator.metrics().await;
            let gauge = |name: &str| {
                let line =
                    metrics.lines().find_map(|line| line.strip_prefix(&format!("connection_operator_probes_{name} ")));
                line.unwrap_or_else(|| panic!("{name}: {metrics}")).to_owned()
            };
            (format!("in_flight {}, waiting {}", gauge("in_flight"), gauge("waiting")) == load).then_some(())
        })
        .await;
        silent.comes(0, AT_ONCE).await;

        // In the same namespace, with the others before it in line.
        namespace.ready("orders-db", stage.postgresql.address, json!({"metadata": {"labels": {OWN: ""}}})).await;
        assert_eq!(silent.connections(), AT_ONCE, "no other one was let in meanwhile");
        let (took, status) = operator.stop().await;
        assert!(status.success(), "{status}: {}", operator.log());
        assert!(took < Duration::from_secs(20), "it did not wait for the probes: {took:?}");
    });
}
