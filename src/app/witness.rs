//! What the parts see, told to metrics, logs, liveness and readiness.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::{
    connections::ConnectionType,
    controller::sights::Report,
    failure::{self, Reason},
    observability::{
        health::{Health, Loop, Need},
        metrics::{Metrics, ProbeResult},
    },
    probing::{Subject, engine},
    reconcile,
    usage::{self, extract::Kind},
    watching::State,
};

/// Tells metrics and readiness what one watch knows.
pub(super) fn reporter(metrics: &Arc<Metrics>, plural: &'static str, ready: Option<Arc<Readiness>>) -> Report {
    let metrics = Arc::clone(metrics);
    let known = Mutex::new(None);
    Arc::new(move |state| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Option<State> = known.replace(state);
        if before == Some(state) {
            return;
        }
        metrics.watch_changed(plural, before, Some(state));
        match state {
            State::Syncing | State::Synced => tracing::info!(plural, state = state.as_str(), "watch"),
            State::Forbidden | State::Missing => {
                tracing::warn!(plural, state = state.as_str(), "cannot be watched, trying again");
            }
        }
        if let Some(ready) = ready.as_ref().filter(|_| state == State::Synced) {
            ready.one_more();
        }
    })
}

/// A need that is met once as many watches have synced as there are.
pub(super) struct Readiness {
    health: Arc<Health>,
    need: Need,
    left: Mutex<usize>,
}

impl Readiness {
    pub(super) const fn new(health: Arc<Health>, need: Need, left: usize) -> Self {
        Self { health, need, left: Mutex::new(left) }
    }

    fn one_more(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.health.met(self.need);
        }
    }
}

/// Hears what the parts see, and tells metrics, logs and liveness.
pub(super) struct Witness {
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
}

impl engine::Witness for Witness {
    fn probed(&self, subject: &Subject, kind: ConnectionType, report: &failure::Report) {
        for (stage, spent) in report.steps() {
            self.metrics.stage_ended(kind, *stage, *spent);
        }
        let Subject { namespace, name, .. } = subject;
        let result = match report.failure() {
            None => ProbeResult::Passed,
            Some((stage, failure)) => {
                let (reason, raised) = (failure.reason(), failure.raised());
                tracing::debug!(%namespace, %name, stage = stage.name(), %reason, %raised, "probe failed");
                ProbeResult::Failed(reason)
            }
        };
        self.metrics.probe_ended(kind, result);
    }

    fn held_back(&self, subject: &Subject, kind: ConnectionType, report: &failure::Report) {
        let Subject { namespace, name, .. } = subject;
        if let Some((_, failure)) = report.failure() {
            let reason = failure.reason();
            self.metrics.failure_held_back(kind, reason);
            tracing::info!(%namespace, %name, %reason, "a failure is held back");
        } else {
            tracing::info!(%namespace, %name, "a success is held back");
        }
    }

    fn load(&self, running: usize, waiting: usize) {
        self.metrics.probes_in_flight(running);
        self.metrics.probes_waiting(waiting);
        self.health.beat(Loop::Engine, Instant::now());
    }
}

impl reconcile::Witness for Witness {
    fn shown(&self, kind: ConnectionType, before: Option<Reason>, after: Option<Reason>) {
        let verdict = |reason: Reason| (reason.ready(), reason);
        self.metrics.verdict_changed(kind, before.map(verdict), after.map(verdict));
    }
}

impl usage::watch::Witness for Witness {
    fn watch_state(&self, kind: &Kind, before: Option<State>, after: State) {
        let plural = kind.api_resource().plural;
        self.metrics.watch_changed(&plural, before, Some(after));
    }
}
