//! What a cluster at rest costs the API server: Connections that are healthy and do not change.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{
    Plan,
    crowd::{self, Crowd},
    figures::{self, counted},
    process,
    stage::{Stage, series},
};

/// Measures, and prints.
///
/// # Errors
/// Where the operator does not start.
pub async fn measure(stage: &Stage, plan: &Plan) -> Result<(), String> {
    let crowd = Crowd::new(stage, "rest", plan.standing).await;
    let running = stage.operator(&[]).await?;
    let mut lookout = stage.lookout().await;
    let created = stage.create(&crowd.wanted);
    let (_, _) = tokio::join!(created, lookout.all(super::lookout::What::Ready, plan.standing));
    drop(lookout);
    // What the last verdicts still cause is over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seconds = plan.window.as_secs();
    figures::title(&format!("At rest: {} healthy Connections, probed every 60 s, for {seconds} s", plan.standing));
    figures::line("operator's RSS", &crowd::memory(process::memory(running.id)));

    let before = running.operator.metrics().await;
    let (revision, position) = (stage.revision().await, stage.plane.audit.position());
    let used = process::processor_time(running.id);
    tokio::time::sleep(plan.window).await;
    let used = process::processor_time(running.id).saturating_sub(used);
    let after = running.operator.metrics().await;
    let revisions = stage.revision().await - revision;

    let probes = difference(&before, &after, "connection_operator_probes_total");
    let metrics = difference(&before, &after, "connection_operator_api_requests_total");
    let asked = stage.requests(position).await;
    let others = writes_of_others(stage, position).await;
    let leases: usize = asked.by_kind.iter().filter(|(kind, _)| kind.ends_with(" leases")).map(|(_, n)| n).sum();
    let count: f64 = probes.values().sum();
    figures::line("probes", &counted(&probes));
    figures::line("API requests, by its own metric", &counted(&metrics));
    figures::line("API requests, by the audit log", &counted(&asked.by_kind));
    figures::line("  of these, about its Lease", &leases.to_string());
    figures::line("  of these, not about its Lease", &asked.count.to_string());
    figures::line("  writes, but for its Lease (target: 0)", &counted(&asked.writes));
    figures::line("revisions of etcd, by whomever", &revisions.to_string());
    figures::line("  writes of others, by the audit log", &counted(&others));
    figures::line("operator's processor time", &figures::seconds(used));
    if count > 0.0 {
        figures::line("  for each probe, all else included", &figures::milliseconds(used.div_f64(count)));
    }
    figures::line("operator's RSS at the end", &crowd::memory(process::memory(running.id)));
    let before = process::memory(running.id);
    unrelated(stage).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    figures::line("and with 100 MB of unrelated Secrets", &crowd::memory(process::memory(running.id)));
    let grown = process::memory(running.id).anonymous.saturating_sub(before.anonymous);
    figures::line("  grown by (target: 1 MiB at most)", &figures::mebibytes(grown));
    running.operator.stop().await;
    stage.wipe().await;
    Ok(())
}

/// Makes a hundred Secrets of a megabyte that no Connection names.
async fn unrelated(stage: &Stage) {
    stage.namespace("unrelated").await;
    let create = async |n: usize| {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("large-{n}")},
            "stringData": {"value": "x".repeat(1_000_000)},
        });
        stage.plane.admin.create("/api/v1/namespaces/unrelated/secrets", &object).await.object();
    };
    for n in 0..100 {
        create(n).await;
    }
}

/// What was added to each series of a counter.
pub fn difference(before: &str, after: &str, name: &str) -> BTreeMap<String, f64> {
    let old = series(before, name);
    let new = series(after, name).into_iter();
    let grown = new.map(|(labels, value)| {
        let grown = value - old.get(&labels).copied().unwrap_or_default();
        (labels, grown)
    });
    grown.filter(|(_, grown)| *grown > 0.0).collect()
}

async fn writes_of_others(stage: &Stage, position: super::harness::audit::Position) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for user in ["admin", "system:apiserver", "system:kube-controller-manager"] {
        let requests = stage.plane.audit.requests(user, "/", position).await;
        for request in requests.iter().filter(|request| request.writes()) {
            *counts.entry(format!("{user}: {} {}", request.verb, request.resource)).or_default() += 1;
        }
    }
    counts
}
