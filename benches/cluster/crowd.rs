//! A thousand Connections: created at once, standing, found again after a restart, deleted.

use std::time::{Duration, Instant};

use connection_operator::net::tls::Mode;
use futures::StreamExt as _;
use serde_json::Value;

use super::{
    Plan,
    figures::{self, counted, mebibytes, rate, ratio, seconds},
    floor::{self, Bare},
    harness::operator::Operator,
    lookout::What,
    process::{self, Memory},
    stage::{AT_ONCE, FLOOR, Running, Stage, Wanted, Whose, connections, series},
};

/// Connections of one namespace. One namespace has at most a quarter of the operator's probe permits.
const TOGETHER: usize = 100;

/// Many Connections in several namespaces, each with one Secret.
pub struct Crowd {
    /// What is to be made.
    pub wanted: Vec<Wanted>,
    /// Where.
    pub namespaces: Vec<String>,
}

impl Crowd {
    /// Makes the namespaces and the Secrets of `count` Connections.
    pub async fn new(stage: &Stage, name: &str, count: usize) -> Self {
        let namespaces: Vec<String> = (0..count.div_ceil(TOGETHER)).map(|n| format!("{name}-{n}")).collect();
        for namespace in &namespaces {
            stage.namespace(namespace).await;
            stage.secret(namespace, "orders-db").await;
        }
        let wanted = |n: usize| Wanted {
            namespace: namespaces[n % namespaces.len()].clone(),
            name: format!("orders-{n}"),
            secret: "orders-db".to_owned(),
            interval: "60s",
            whose: Whose::Operators,
        };
        Self { wanted: (0..count).map(wanted).collect(), namespaces }
    }

    /// The same under other names, for the floor.
    fn bare(&self) -> Vec<Wanted> {
        let bare =
            |wanted: &Wanted| Wanted { name: format!("floor-{}", wanted.name), whose: Whose::Floors, ..wanted.clone() };
        self.wanted.iter().map(bare).collect()
    }
}

/// Measures, and prints.
///
/// # Errors
/// Where the operator does not start.
pub async fn measure(stage: &Stage, plan: &Plan) -> Result<(), String> {
    let count = plan.crowd;
    let crowd = Crowd::new(stage, "crowd", count).await;
    figures::title(&format!("{count} Connections created at once, {TOGETHER} to a namespace and its one Secret"));
    let mut standing: Option<Running> = None;
    for number in 0..plan.bursts {
        if let Some(running) = standing.take() {
            running.operator.stop().await;
            stage.wipe().await;
        }
        standing = Some(burst(stage, plan, &crowd, number).await?);
    }
    let mut running = standing.ok_or("no burst is planned")?;
    for number in 0..plan.restarts {
        let last = number + 1 == plan.restarts;
        let follow = if last { plan.follow_last } else { plan.follow };
        running = restart(stage, running, count, number, follow).await?;
    }
    deletion(stage, &running, &crowd).await;
    running.operator.stop().await;
    Ok(())
}

/// `12.3 MiB (peak 13.4 MiB, of it no file's 5.6 MiB)`
pub fn memory(memory: Memory) -> String {
    let Memory { resident, peak, anonymous } = memory;
    format!("{} (not of files {}; peak {})", mebibytes(resident), mebibytes(anonymous), mebibytes(peak))
}

async fn burst(stage: &Stage, plan: &Plan, crowd: &Crowd, number: usize) -> Result<Running, String> {
    let count = plan.crowd;
    let running = stage.operator(&[]).await?;
    let idle = process::memory(running.id);
    let mut lookout = stage.lookout().await;
    let position = stage.plane.audit.position();
    let begin = Instant::now();
    let create = async {
        stage.create(&crowd.wanted).await;
        begin.elapsed()
    };
    let (created, ready) = tokio::join!(create, lookout.all(What::Ready, count));
    let spent = ready - begin;
    let used = process::processor_time(running.id);
    let now = process::memory(running.id);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = stage.requests(position).await;
    let settled = process::memory(running.id);
    figures::line(&format!("[{}] first create sent → all Ready", number + 1), &seconds(spent));
    figures::line("    the last create was answered after", &seconds(created));
    figures::line("    operator's writes", &format!("{} ({})", rate(2 * count, spent), counted(&asked.writes)));
    figures::line("    operator's requests", &counted(&asked.by_kind));
    figures::line("    operator's processor time", &seconds(used));
    figures::line("    operator's RSS before", &memory(idle));
    figures::line("    operator's RSS when all are Ready", &memory(now));
    figures::line("    operator's RSS 5 s later", &memory(settled));
    let status = stage.get(&crowd.wanted[0]).await["status"].clone();
    let bare = bare(stage, crowd, &status).await;
    figures::line(
        "    floor: create, 2 patches",
        &format!("{}, {}", seconds(bare.writes), rate(2 * count, bare.writes)),
    );
    figures::line(
        "    floor: 2 patches on what stands",
        &format!("{}, {}", seconds(bare.patches), rate(2 * count, bare.patches)),
    );
    figures::line("    floor: as many probes, 64 at a time", &seconds(bare.probes));
    let floor = bare.writes + bare.probes;
    figures::line(
        "    operator's writes/s ÷ the floor's",
        &format!("{:.2}; with the probes added to the floor: {:.2}", ratio(bare.writes, spent), ratio(floor, spent)),
    );
    Ok(running)
}

/// What a burst costs without an operator.
struct Cost {
    writes: Duration,
    patches: Duration,
    probes: Duration,
}

async fn bare(stage: &Stage, crowd: &Crowd, status: &Value) -> Cost {
    let all = crowd.bare();
    let begin = Instant::now();
    let created = futures::stream::iter(all.iter().map(async |wanted| (wanted, stage.create_one(wanted).await)));
    // The creations and the patches run side by side, as with the operator.
    let created = created.buffer_unordered(AT_ONCE);
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let create = async {
        let sender = sender;
        let mut created = std::pin::pin!(created);
        while let Some(next) = created.next().await {
            let _ = sender.send(next);
        }
    };
    let patch = async {
        let queue = futures::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|next: (&Wanted, Value)| (next, receiver))
        });
        let patches = queue.map(async |(wanted, object)| {
            let uid = object["metadata"]["uid"].clone();
            floor::adopt(stage, wanted, &uid).await;
            floor::conclude(stage, wanted, &uid, status).await;
            (wanted, uid)
        });
        patches.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await
    };
    let ((), patched) = tokio::join!(create, patch);
    let writes = begin.elapsed();

    let mut other = status.clone();
    other["connectionString"] = Value::String("postgresql://other".to_owned());
    let begin = Instant::now();
    let again = futures::stream::iter(patched.iter().map(async |(wanted, uid)| {
        floor::conclude(stage, wanted, uid, &other).await;
        floor::conclude(stage, wanted, uid, status).await;
    }));
    again.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    let patches = begin.elapsed();

    let probe = Bare::new(stage, Mode::Disable);
    let begin = Instant::now();
    let probes = futures::stream::iter(all.iter().map(|_| probe.probe()));
    probes.buffer_unordered(64).collect::<Vec<()>>().await;
    Cost { writes, patches, probes: begin.elapsed() }
}

async fn restart(
    stage: &Stage,
    running: Running,
    count: usize,
    number: usize,
    follow: Duration,
) -> Result<Running, String> {
    let (ending, status) = running.operator.stop().await;
    if number == 0 {
        figures::title(&format!("Restart with {count} unchanged Connections"));
    }
    let position = stage.plane.audit.position();
    let running = stage.operator(&[]).await?;
    let ready = running.started.elapsed();
    let synced = all_shown(&running, count).await;
    tokio::time::sleep((running.started + Duration::from_secs(5)).saturating_duration_since(Instant::now())).await;
    let early = probes(&running.operator).await;
    tokio::time::sleep((running.started + follow).saturating_duration_since(Instant::now())).await;
    let later = probes(&running.operator).await;
    let asked = stage.requests(position).await;
    figures::line(&format!("[{}] SIGTERM → ended ({status})", number + 1), &seconds(ending));
    figures::line("    started → /readyz", &seconds(ready));
    figures::line("    started → each has been looked at", &seconds(synced));
    figures::line("    probes in the first 5 s", &early.to_string());
    figures::line(&format!("    probes in the first {} s", follow.as_secs()), &later.to_string());
    figures::line("    writes, but for its Lease (target: 0)", &counted(&asked.writes));
    figures::line("    requests", &counted(&asked.by_kind));
    figures::line("    operator's processor time", &seconds(process::processor_time(running.id)));
    figures::line("    operator's RSS", &memory(process::memory(running.id)));
    Ok(running)
}

/// Until the operator says that `count` Connections are Ready.
async fn all_shown(running: &Running, count: usize) -> Duration {
    loop {
        let metrics = running.operator.metrics().await;
        let shown: f64 = series(&metrics, "connection_operator_connections").values().sum();
        if shown >= count as f64 || running.started.elapsed() > Duration::from_secs(60) {
            return running.started.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn deletion(stage: &Stage, running: &Running, crowd: &Crowd) {
    let count = crowd.wanted.len();
    figures::title(&format!("All {count} deleted"));
    let mut lookout = stage.lookout().await;
    let position = stage.plane.audit.position();
    let begin = Instant::now();
    for namespace in &crowd.namespaces {
        let path = format!("{}?labelSelector=!{FLOOR}", connections(namespace));
        stage.plane.admin.delete(&path, None).await.object();
    }
    let asked = begin.elapsed();
    let end = lookout.all(What::Gone, count).await;
    figures::line("first request sent → all gone", &seconds(end - begin));
    figures::line("the last request was answered after", &seconds(asked));
    figures::line("operator's requests", &counted(&stage.requests(position).await.by_kind));
    tokio::time::sleep(Duration::from_secs(5)).await;
    figures::line("operator's RSS 5 s later", &memory(process::memory(running.id)));
}

async fn probes(operator: &Operator) -> f64 {
    series(&operator.metrics().await, "connection_operator_probes_total").values().sum()
}
