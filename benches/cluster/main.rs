//! What the operator costs and how quick it is, measured on a real API server with etcd on disk and a real PostgreSQL: the
//! built binary as it is shipped, with its defaults, the rights of the chart, and Connections of PostgreSQL; and the probes of PostgreSQL, S3 and
//! Kafka by themselves.
//!
//! It prints figures beside the bare floor measured in the same run, and judges nothing. `hack/bench` starts it.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the doors are the operator's; a benchmark comes from outside")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded for the reader anyway")]

#[path = "../../tests/harness/mod.rs"]
#[expect(dead_code, reason = "every crate uses a part of it")]
mod harness;
#[path = "../../tests/harness/kafka.rs"]
#[expect(dead_code, reason = "as above")]
mod kafka;
#[path = "../../tests/harness/moto.rs"]
#[expect(dead_code, reason = "as above")]
mod moto;

mod create;
mod crowd;
mod figures;
mod floor;
mod lookout;
mod process;
mod rest;
mod stage;
mod types;

use std::time::{Duration, Instant};

use harness::script;
use stage::Stage;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds of creations, each beside a round of the floor.
    pub rounds: usize,
    /// Creations in each.
    pub creations: usize,
    /// How long a cluster at rest is looked at.
    pub window: Duration,
    /// Connections in that window.
    pub standing: usize,
    /// Connections created at once.
    pub crowd: usize,
    /// How often they are.
    pub bursts: usize,
    /// How often the operator is restarted with them.
    pub restarts: usize,
    /// How long each restart is followed.
    pub follow: Duration,
    /// How long the last one is.
    pub follow_last: Duration,
}

impl Plan {
    fn from_environment() -> Result<Self, String> {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) if !text.is_empty() => text.parse().map_err(|_| format!("{name}={text} is no number")),
            Ok(_) | Err(_) => Ok(default),
        };
        let quick = number("QUICK", 0)? != 0;
        let window = Duration::from_secs(number("WINDOW", if quick { 60 } else { 600 })?);
        let few = Self {
            rounds: 5,
            creations: 40,
            window,
            standing: 100,
            crowd: usize::try_from(number("CROWD", 1_000)?).map_err(|error| error.to_string())?,
            bursts: 1,
            restarts: 1,
            follow: Duration::from_secs(10),
            follow_last: Duration::from_secs(10),
        };
        // Within its interval of 60 s each is probed once.
        let follow_last = Duration::from_secs(65);
        Ok(if quick { few } else { Self { creations: 100, bursts: 3, restarts: 3, follow_last, ..few } })
    }
}

fn main() {
    // `cargo bench` hands its own arguments on; there is nothing to choose from.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    if let Err(sentence) = harness::run(measure()) {
        panic!("{sentence}");
    }
}

async fn measure() -> Result<(), String> {
    let plan = Plan::from_environment()?;
    let begin = Instant::now();
    let stage = Stage::set_up().await?;
    figures::title("What this was measured on");
    for (name, value) in process::machine() {
        figures::line(name, &value);
    }
    figures::line("etcd", stage::etcd());
    figures::line("operator", &format!("{} {}", stage::binary(), stage::flags(&[]).join(" ")));
    figures::line("plan", &format!("{plan:?}"));

    let parts = std::env::var("PARTS").unwrap_or_default();
    let wanted = |part: &str| parts.is_empty() || parts.split(',').any(|wanted| wanted == part);
    if wanted("create") {
        create::measure(&stage, &plan).await?;
    }
    if wanted("probe") {
        floor::probes(&stage, &plan).await;
    }
    if wanted("types") {
        types::measure(&stage, &plan).await;
    }
    if wanted("rest") {
        rest::measure(&stage, &plan).await?;
    }
    if wanted("crowd") {
        crowd::measure(&stage, &plan).await?;
    }
    figures::title("The end");
    figures::line("took", &figures::seconds(begin.elapsed()));
    figures::line("load average now", &process::load());
    Ok(())
}
