//! How many new addresses a namespace may dial: `--new-targets`. It keeps a Connection from being a port scanner. Pure: `now`
//! is passed in, and what was not dialled for long is forgotten so that the memory stays bounded.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The time in which the limit counts: the flag is a number per minute.
const WINDOW: Duration = Duration::from_mins(1);

/// Most addresses remembered over all namespaces: six times the largest fleet this operator is measured with (10,000), at
/// about 60 bytes each, so at most 4 MB. A forgotten address counts as new once more.
const KNOWN_LIMIT: usize = 65_536;

/// Most namespaces remembered; the one that was idle longest is forgotten, its addresses with it.
const NAMESPACES_LIMIT: usize = 10_000;

/// The answer to "may this be dialled?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Admitted,
    /// The namespace dialled as many new addresses as it may within the last minute.
    Refused,
}

/// The addresses each namespace has dialled, and when it dialled its last new ones.
///
/// An address and port is new until it was admitted once; known ones are admitted always, so that a large fleet that works
/// is never throttled by its own size, and a scan is limited to the same number of new ones in every minute.
#[derive(Debug)]
pub struct Targets {
    per_minute: usize,
    namespaces: HashMap<String, Dialled>,
    known: usize,
}

#[derive(Debug)]
struct Dialled {
    known: HashMap<SocketAddr, Instant>,
    new: VecDeque<Instant>,
    last: Instant,
}

impl Targets {
    /// Admits `per_minute` new addresses per namespace and minute.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: usize::try_from(per_minute).unwrap_or(usize::MAX), namespaces: HashMap::new(), known: 0 }
    }

    /// Asks to dial `target` for a Connection of `namespace`.
    pub fn admit(&mut self, namespace: &str, target: SocketAddr, now: Instant) -> Admission {
        if !self.namespaces.contains_key(namespace) {
            self.make_room_for_a_namespace();
        }
        let dialled = self.namespaces.entry(namespace.to_owned()).or_insert_with(|| Dialled {
            known: HashMap::new(),
            new: VecDeque::new(),
            last: now,
        });
        dialled.last = now;
        if let Some(last) = dialled.known.get_mut(&target) {
            *last = now;
            return Admission::Admitted;
        }
        while dialled.new.front().is_some_and(|then| now.saturating_duration_since(*then) >= WINDOW) {
            dialled.new.pop_front();
        }
        if dialled.new.len() >= self.per_minute {
            return Admission::Refused;
        }
        dialled.new.push_back(now);
        dialled.known.insert(target, now);
        self.known += 1;
        if self.known > KNOWN_LIMIT {
            self.forget_half_of_the_largest();
        }
        Admission::Admitted
    }

    /// Forgets the longer idle half of the namespace that remembers most, so that a scan costs the scanner's memory first.
    fn forget_half_of_the_largest(&mut self) {
        let Some(largest) = self.namespaces.values_mut().max_by_key(|dialled| dialled.known.len()) else { return };
        let before = largest.known.len();
        let mut times: Vec<Instant> = largest.known.values().copied().collect();
        let (_, middle, _) = times.select_nth_unstable(before / 2);
        let middle = *middle;
        largest.known.retain(|_, last| *last > middle);
        self.known -= before - largest.known.len();
    }

    fn make_room_for_a_namespace(&mut self) {
        if self.namespaces.len() < NAMESPACES_LIMIT {
            return;
        }
        let idle = self.namespaces.iter().min_by_key(|(_, dialled)| dialled.last).map(|(name, _)| name.clone());
        if let Some(dialled) = idle.and_then(|name| self.namespaces.remove(&name)) {
            self.known -= dialled.known.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(n: u32) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes(), 5432))
    }

    #[test]
    fn no_minute_holds_more_new_targets_than_the_limit() {
        let start = Instant::now();
        let mut targets = Targets::new(5);
        let mut admitted = Vec::new();
        for n in 0..1_000u32 {
            let now = start + Duration::from_millis(u64::from(n) * 700);
            if targets.admit("shop", target(n), now) == Admission::Admitted {
                admitted.push(now);
            }
        }
        for (n, first) in admitted.iter().enumerate() {
            let within = admitted[n..].iter().filter(|then| **then - *first < WINDOW).count();
            assert!(within <= 5, "{within} within one minute");
        }
        assert!(admitted.len() >= 50, "only {} were admitted in twelve minutes", admitted.len());
    }

    #[test]
    fn another_port_is_another_target_and_another_namespace_has_its_own_share() {
        let now = Instant::now();
        let mut targets = Targets::new(1);
        let address = target(1);
        assert_eq!(targets.admit("shop", address, now), Admission::Admitted);
        let port = SocketAddr::new(address.ip(), 5433);
        assert_eq!(targets.admit("shop", port, now), Admission::Refused);
        assert_eq!(targets.admit("web", port, now), Admission::Admitted);
    }

    #[test]
    fn a_fleet_that_is_known_is_never_throttled() {
        let start = Instant::now();
        let mut targets = Targets::new(10);
        for n in 0..100u32 {
            let now = start + WINDOW * (n / 10);
            assert_eq!(targets.admit("shop", target(n), now), Admission::Admitted);
        }
        let later = start + WINDOW * 10;
        assert!((0..100).all(|n| targets.admit("shop", target(n), later) == Admission::Admitted));
    }

    #[test]
    fn a_scan_is_forgotten_before_the_quiet_namespaces_are() {
        let start = Instant::now();
        let mut targets = Targets::new(u32::MAX);
        targets.admit("quiet", target(1), start);
        for n in 0..200_000u32 {
            targets.admit("scanner", target(n), start + Duration::from_micros(u64::from(n)));
            assert!(targets.known <= KNOWN_LIMIT);
        }
        targets.per_minute = 0;
        assert_eq!(targets.admit("quiet", target(1), start), Admission::Admitted);
        assert_eq!(targets.known, targets.namespaces.values().map(|dialled| dialled.known.len()).sum::<usize>());
    }

    #[test]
    fn the_number_of_namespaces_is_bounded() {
        let start = Instant::now();
        let mut targets = Targets::new(1);
        for n in 0..12_000u32 {
            targets.admit(&format!("ns-{n}"), target(n), start + Duration::from_millis(u64::from(n)));
        }
        assert!(targets.namespaces.len() <= NAMESPACES_LIMIT);
        assert_eq!(targets.known, targets.namespaces.len());
    }
}
