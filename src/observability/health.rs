//! What liveness and readiness are made of: needs that must be met before the operator is of use, and loops that must go
//! on turning. It only remembers; the clock is the caller's.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// A loop that has not turned for this long is stuck: twelve of the beats that [`BEAT`] asks for, and longer than any
/// single call may take.
pub const STUCK_AFTER: Duration = Duration::from_mins(1);

/// How often a loop with nothing to do beats.
pub const BEAT: Duration = Duration::from_secs(5);

/// A loop that never began.
const NEVER: u64 = u64::MAX;

/// Something the operator cannot work without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The API server serves the operator's resources.
    Definitions,
    /// Every Connection was seen once.
    Connections,
    /// The metadata of every Secret was seen once.
    Secrets,
    /// Every kind that can use a Connection was listed once, or cannot be.
    Users,
}

impl Need {
    /// Every need, in the order in which they are met.
    pub const ALL: [Self; 4] = [Self::Definitions, Self::Connections, Self::Secrets, Self::Users];

    /// What `/readyz` says while the need is not met.
    pub const fn lacking(self) -> &'static str {
        match self {
            Self::Definitions => "the CustomResourceDefinitions are not installed",
            Self::Connections => "Connections are not synced",
            Self::Secrets => "Secrets are not synced",
            Self::Users => "the kinds that use Connections are not synced",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A loop whose standstill is a standstill of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Reconciles Connections.
    Controller,
    /// Starts probes when they are due.
    Engine,
}

impl Loop {
    /// Every loop.
    pub const ALL: [Self; 2] = [Self::Controller, Self::Engine];

    /// What `/healthz` says while the loop is stuck.
    pub const fn stuck(self) -> &'static str {
        match self {
            Self::Controller => "the controller does not turn",
            Self::Engine => "the probe engine does not turn",
        }
    }
}

/// Liveness and readiness of the process, shared by all that know something about them.
#[derive(Debug)]
pub struct Health {
    missing: AtomicU32,
    began: Instant,
    /// Milliseconds from `began` to the last turn of each loop, in the order of [`Loop::ALL`].
    turns: [AtomicU64; Loop::ALL.len()],
}

impl Health {
    /// A process that needs `needs` and has none of them yet.
    pub fn new(needs: &[Need], now: Instant) -> Self {
        let missing = needs.iter().fold(0, |bits, need| bits | need.bit());
        Self { missing: AtomicU32::new(missing), began: now, turns: Loop::ALL.map(|_| AtomicU64::new(NEVER)) }
    }

    /// The need is met from now on.
    pub fn met(&self, need: Need) {
        self.missing.fetch_and(!need.bit(), Ordering::Relaxed);
    }

    /// The need is not met (any more).
    pub fn unmet(&self, need: Need) {
        self.missing.fetch_or(need.bit(), Ordering::Relaxed);
    }

    /// What is missing before the operator is of use.
    pub fn missing(&self) -> Vec<Need> {
        let missing = self.missing.load(Ordering::Relaxed);
        Need::ALL.into_iter().filter(|need| missing & need.bit() != 0).collect()
    }

    /// The loop turned. From its first turn on it must turn at least every [`STUCK_AFTER`]; a loop with nothing to do beats
    /// every [`BEAT`].
    pub fn beat(&self, turned: Loop, now: Instant) {
        self.turns[turned as usize].store(self.since_began(now), Ordering::Relaxed);
    }

    /// The loop ended on purpose and is not waited for any more.
    pub fn ended(&self, ended: Loop) {
        self.turns[ended as usize].store(NEVER, Ordering::Relaxed);
    }

    /// The loops that have stopped turning.
    pub fn stuck(&self, now: Instant) -> Vec<Loop> {
        let now = self.since_began(now);
        let is_stuck = |turned: &Loop| {
            let last = self.turns[*turned as usize].load(Ordering::Relaxed);
            last != NEVER && Duration::from_millis(now.saturating_sub(last)) > STUCK_AFTER
        };
        Loop::ALL.into_iter().filter(is_stuck).collect()
    }

    fn since_began(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_nothing_that_is_needed_is_missing() {
        let health = Health::new(&[Need::Definitions, Need::Users], Instant::now());
        assert_eq!(health.missing(), [Need::Definitions, Need::Users]);
        health.met(Need::Users);
        health.met(Need::Users);
        assert_eq!(health.missing(), [Need::Definitions]);
        health.met(Need::Definitions);
        assert_eq!(health.missing(), []);
        health.unmet(Need::Definitions);
        assert_eq!(health.missing(), [Need::Definitions]);
    }

    #[test]
    fn a_loop_is_stuck_when_it_turned_once_and_no_more() {
        let began = Instant::now();
        let health = Health::new(&[], began);
        assert_eq!(health.stuck(began + STUCK_AFTER * 9), []);
        health.beat(Loop::Engine, began);
        assert_eq!(health.stuck(began + STUCK_AFTER), []);
        let late = began + STUCK_AFTER + Duration::from_millis(1);
        assert_eq!(health.stuck(late), [Loop::Engine]);
        health.beat(Loop::Engine, late);
        assert_eq!(health.stuck(late), []);
        health.ended(Loop::Engine);
        assert_eq!(health.stuck(late + STUCK_AFTER * 9), []);
    }

    #[test]
    fn every_need_and_every_loop_has_its_own_place() {
        for (place, need) in Need::ALL.into_iter().enumerate() {
            assert_eq!((need as usize, Health::new(&[need], Instant::now()).missing()), (place, vec![need]));
        }
        for (place, turning) in Loop::ALL.into_iter().enumerate() {
            assert_eq!(turning as usize, place);
        }
    }
}
