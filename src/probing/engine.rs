//! The probe engine: one task that owns the timers, runs probes behind a deadline and a panic boundary, and says when a
//! verdict changed. Everything it decides, it asks the [`Roster`](super::roster::Roster).
//!
//! It never talks to the API server and never waits for the reconciler.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use crate::{
    connections::{ConnectionType, Probe},
    failure::Report,
    net::{World, climb},
};

use super::{
    Subject, Tempo,
    roster::{Change, Due, Ended, Look, Opinion, Roster, RunId, Start},
};

/// How long the engine rests at most, so that its standstill is noticed.
pub const BEAT: Duration = Duration::from_secs(5);

/// A probe that can be carried and shared.
pub type SharedProbe = Arc<dyn Probe>;

/// Who is told what the engine sees: metrics and logs.
pub trait Witness: Send + Sync + 'static {
    /// A probe ended.
    fn probed(&self, subject: &Subject, kind: ConnectionType, report: &Report);
    /// A failure was held back: it speaks against the verdict and did not change it.
    fn held_back(&self, subject: &Subject, kind: ConnectionType, report: &Report);
    /// The engine turned: this many probes run, and this many wait for a permit. It turns at least every [`BEAT`].
    fn load(&self, running: usize, waiting: usize);
}

/// Where the reconciler hands probes in and reads verdicts.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    roster: Mutex<Roster<SharedProbe>>,
    changed: Notify,
    world: Arc<World>,
    witness: Arc<dyn Witness>,
    wake: Box<dyn Fn(&Subject) + Send + Sync>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine(…)")
    }
}

impl Engine {
    /// An engine that runs at most `permits` probes at once. `wake` is called, without any lock held, for each Connection
    /// whose verdict changed.
    pub fn new(
        permits: NonZeroUsize,
        world: Arc<World>,
        witness: Arc<dyn Witness>,
        wake: impl Fn(&Subject) + Send + Sync + 'static,
    ) -> Self {
        let roster = Mutex::new(Roster::new(permits));
        let shared = Shared { roster, changed: Notify::new(), world, witness, wake: Box::new(wake) };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a connection over, or notices that it changed.
    pub fn set(&self, look: Look<SharedProbe>) {
        self.roster().set(look, now());
        self.shared.changed.notify_one();
    }

    /// Notices that a connection is probed at another pace.
    pub fn retune(&self, uid: &str, tempo: Tempo) {
        self.roster().retune(uid, tempo, now());
        self.shared.changed.notify_one();
    }

    /// Someone asked for a probe now.
    pub fn request(&self, uid: &str) {
        self.roster().request(uid, now());
        self.shared.changed.notify_one();
    }

    /// Forgets a connection.
    pub fn remove(&self, uid: &str) {
        self.roster().remove(uid, now());
    }

    /// What is believed about a connection; `None` where it was never handed in.
    pub fn opinion(&self, uid: &str) -> Option<Opinion> {
        self.roster().opinion(uid)
    }

    /// Probes until `stop`; then starts nothing more and drops what is in flight.
    pub async fn run(&self, stop: CancellationToken) {
        let mut flights: JoinSet<(RunId, Subject, ConnectionType, Report)> = JoinSet::new();
        loop {
            let (due, wake_at, load) = {
                let mut roster = self.roster();
                let due = roster.due(now());
                (due, roster.wake_at(), roster.load())
            };
            self.shared.witness.load(load.0, load.1);
            let Due { starts, changes } = due;
            for change in &changes {
                self.tell(change);
            }
            for start in starts {
                flights.spawn(fly(start, Arc::clone(&self.shared.world)));
            }
            let latest = now() + BEAT;
            let wake_at = wake_at.map_or(latest, |at| at.min(latest));
            tokio::select! {
                () = stop.cancelled() => break,
                () = time::sleep_until(wake_at.into()) => {}
                () = self.shared.changed.notified() => {}
                Some(landed) = flights.join_next() => {
                    // A flight cannot panic: `climb` is its boundary. If it ever did, its permit would stay taken.
                    if let Ok((run, subject, kind, report)) = landed {
                        self.land(run, &subject, kind, report);
                    }
                }
            }
        }
        flights.shutdown().await;
    }

    fn land(&self, run: RunId, subject: &Subject, kind: ConnectionType, report: Report) {
        let report = Arc::new(report);
        self.shared.witness.probed(subject, kind, &report);
        let ended = self.roster().ended(run, &report, now());
        match ended {
            Ended::Changed(change) => self.tell(&change),
            Ended::HeldBack(subject, kind) => self.shared.witness.held_back(&subject, kind, &report),
            Ended::Unchanged | Ended::Dropped => {}
        }
    }

    fn tell(&self, change: &Change) {
        (self.shared.wake)(&change.subject);
    }

    fn roster(&self) -> MutexGuard<'_, Roster<SharedProbe>> {
        self.shared.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fly(start: Start<SharedProbe>, world: Arc<World>) -> (RunId, Subject, ConnectionType, Report) {
    let Start { run, subject, kind, probe, timeout } = start;
    let network = world.network(&subject.namespace);
    let report = climb(network, timeout, move |network| async move { probe.run(&network).await }).await;
    (run, subject, kind, report)
}

/// The engine's clock: tokio's, so that tests can hold it.
fn now() -> Instant {
    time::Instant::now().into_std()
}
