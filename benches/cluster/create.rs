//! From a creation to Ready on an idle cluster, beside the floor; rounds of both take turns, so that whatever else the
//! machine does hits both.

use std::{collections::HashMap, time::Instant};

use connection_operator::net::tls::Mode;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    Plan,
    figures::{self, Times, milliseconds, ratio},
    floor::{self, Bare},
    harness::audit::{Position, Request},
    lookout::{Lookout, What},
    process,
    stage::{FLOOR, Stage, Wanted, Whose, connections},
};

/// Where it happens.
const NAMESPACE: &str = "create";

/// Measures, and prints.
///
/// # Errors
/// Where the operator does not start.
pub async fn measure(stage: &Stage, plan: &Plan) -> Result<(), String> {
    let running = stage.operator(&[]).await?;
    let mut lookout = stage.lookout().await;
    stage.namespace(NAMESPACE).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    figures::title("Idle, without a Connection");
    let memory = process::memory(running.id);
    figures::line("operator's RSS", &super::crowd::memory(memory));

    figures::title("create → Ready, one at a time, one Secret each, no TLS");
    let status = status_of_one(stage, &mut lookout).await;
    let bare = Bare::new(stage, Mode::Disable);
    let position = stage.plane.audit.position();
    let (mut answered, mut sent, mut floors) = (Times::default(), Times::default(), Times::default());
    let (mut medians, mut ratios) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let (from_answer, from_sending) = creations(stage, plan, &mut lookout, round).await;
        let bare = bare_round(stage, plan, &bare, &status, round).await;
        medians.push(from_answer.median().as_secs_f64() * 1_000.0);
        ratios.push(ratio(from_answer.median(), bare.median()));
        answered.join(&from_answer);
        sent.join(&from_sending);
        floors.join(&bare);
    }
    figures::line(&format!("create answered → Ready seen (n={})", answered.count()), &answered.spread());
    figures::line("create sent → Ready seen", &sent.spread());
    figures::line(&format!("floor: 3 requests and a probe (n={})", floors.count()), &floors.spread());
    figures::line("p50 of each round, ms (least … middle … most)", &figures::range(medians));
    figures::line(
        "ratio of the p50s (target: 1.5 at most)",
        &format!("{:.2}", ratio(answered.median(), floors.median())),
    );
    figures::line("ratio of each round (least … middle … most)", &figures::range(ratios));
    explain(stage, position, answered.count()).await;

    let all = answered.count() + 1;
    let begin = Instant::now();
    let path = format!("{}?labelSelector=!{FLOOR}", connections(NAMESPACE));
    stage.plane.admin.delete(&path, None).await.object();
    let end = lookout.all(What::Gone, all).await;
    figures::line(&format!("all {all} deleted: request sent → gone"), &figures::seconds(end - begin));
    drop(lookout);
    running.operator.stop().await;
    stage.wipe().await;
    Ok(())
}

/// The first one warms up, and shows what the operator writes.
async fn status_of_one(stage: &Stage, lookout: &mut Lookout) -> Value {
    let first = wanted("first", Whose::Operators);
    stage.secret(NAMESPACE, &first.secret).await;
    stage.create_one(&first).await;
    lookout.ready(&format!("{NAMESPACE}/{}", first.name)).await;
    stage.get(&first).await["status"].clone()
}

async fn creations(stage: &Stage, plan: &Plan, lookout: &mut Lookout, round: usize) -> (Times, Times) {
    let all: Vec<Wanted> = (0..plan.creations).map(|n| wanted(&format!("own-{round}-{n}"), Whose::Operators)).collect();
    for wanted in &all {
        stage.secret(NAMESPACE, &wanted.secret).await;
    }
    let (mut answered, mut sent) = (Times::default(), Times::default());
    for wanted in &all {
        let begin = Instant::now();
        stage.create_one(wanted).await;
        let created = Instant::now();
        let ready = lookout.ready(&format!("{NAMESPACE}/{}", wanted.name)).await;
        // The watch may be quicker than the answer.
        answered.add(ready.saturating_duration_since(created));
        sent.add(ready - begin);
    }
    (answered, sent)
}

async fn bare_round(stage: &Stage, plan: &Plan, bare: &Bare, status: &Value, round: usize) -> Times {
    let mut times = Times::default();
    for n in 0..plan.creations {
        let wanted = wanted(&format!("floor-{round}-{n}"), Whose::Floors);
        stage.secret(NAMESPACE, &wanted.secret).await;
        let created = stage.create_one(&wanted).await;
        times.add(floor::one(stage, bare, &wanted, &created["metadata"]["uid"], status).await);
    }
    times
}

/// Where the time goes, by the audit log: medians.
async fn explain(stage: &Stage, position: Position, count: usize) {
    let of = async |user: &str| {
        let about = format!("/namespaces/{NAMESPACE}/");
        stage.plane.audit.requests(user, &about, position).await
    };
    let operators = of(&stage.account.user).await;
    let by_kind = figures::counted(&operators.iter().fold(std::collections::BTreeMap::new(), |mut counts, request| {
        *counts.entry(format!("{} {}", request.verb, request.resource)).or_insert(0) += 1;
        counts
    }));
    figures::line("operator's requests", &by_kind);
    figures::line("operator's requests for each (target: 3)", &format!("{:.2}", operators.len() as f64 / count as f64));

    // Created objects have no name in the URL; the order is the same.
    let mut creates = of("admin").await;
    creates.retain(|request| request.verb == "create" && request.resource == "connections");
    let mut by_name: HashMap<(&str, &str), &Request> = HashMap::new();
    for request in &operators {
        by_name.entry((request.resource.as_str(), request.name.as_str())).or_insert(request);
    }
    let mut steps: [Times; 6] = Default::default();
    for create in &creates {
        let name = create.name.as_str();
        let secret = format!("secret-{name}");
        let found = (
            by_name.get(&("connections", name)),
            by_name.get(&("secrets", secret.as_str())),
            by_name.get(&("connections/status", name)),
        );
        let (Some(finalizer), Some(read), Some(status)) = found else { continue };
        let marks = [
            &create.answered,
            &finalizer.received,
            &finalizer.answered,
            &read.received,
            &read.answered,
            &status.received,
            &status.answered,
        ];
        for (step, pair) in steps.iter_mut().zip(marks.windows(2)) {
            step.add(between(pair[0], pair[1]));
        }
    }
    let names = ["seen", "finalizer", "then", "Secret", "probe", "status"];
    let parts = names.iter().zip(&steps).map(|(name, step)| format!("{name} {}", milliseconds(step.median())));
    let name = format!("where it goes, medians (n={})", steps[0].count());
    figures::line(&name, &parts.collect::<Vec<_>>().join(", "));
}

fn between(a: &str, b: &str) -> std::time::Duration {
    let time = |text: &str| text.parse::<Timestamp>().unwrap_or_default();
    time(b).duration_since(time(a)).try_into().unwrap_or_default()
}

fn wanted(name: &str, whose: Whose) -> Wanted {
    Wanted {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        secret: format!("secret-{name}"),
        // None is probed a second time meanwhile.
        interval: "1h",
        whose,
    }
}
