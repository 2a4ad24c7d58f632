//! Who leads: from what was seen of the Lease, when, to the next step. Pure; `now` is passed in and is always this
//! process's own steady clock, so that clocks of other machines may say what they like.
//!
//! Why two never lead at once: a renewal that began at `t` is stored after `t`, so others see it after `t` and wait
//! [`LEASE`] from then. Its author stops [`FENCE`] after `t`. Between the two lie three seconds for what is in flight.

use std::time::Duration;

use tokio::time::Instant;

/// A Lease that others saw unchanged for this long is taken over. With it a killed leader is replaced within 9 s.
pub const LEASE: Duration = Duration::from_secs(9);

/// A leader whose newest successful renewal began this long ago stops writing.
pub const FENCE: Duration = Duration::from_secs(6);

/// A leader renews this long after its newest successful renewal began: twice before the fence.
pub const RENEW: Duration = Duration::from_secs(2);

/// One request may take this long, so that a dead connection leaves time for a second try on a new one.
pub const ATTEMPT: Duration = Duration::from_secs(3);

/// Pause after a request that failed.
pub const RETRY: Duration = Duration::from_millis(500);

/// Longest time that a Lease can ask others to wait, so that a slip of someone's editor is survived.
const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// What a Lease says at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Who holds it; `None`: it was given back.
    pub holder: Option<String>,
    /// How long the holder asks others to wait; `None`: not said.
    pub length: Option<Duration>,
    /// The version of the object, which every write changes.
    pub version: String,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the Lease.
    Look,
    /// Create the Lease, held by us.
    Create,
    /// Write ourselves as the holder, over the version last seen.
    Take,
    /// Write a later time, over the version last seen.
    Renew,
    /// Stop leading, at once.
    StepDown,
    /// Nothing until then, or until the Lease changes.
    Wait(Instant),
}

/// One process that would lead.
#[derive(Debug)]
pub struct Candidate {
    identity: String,
    /// The newest sighting.
    seen: Seen,
    sight: Sight,
    /// When the newest successful renewal began; `None`: it does not lead.
    renewed: Option<Instant>,
    pause: Option<Instant>,
}

/// What was seen of the Lease.
#[derive(Debug)]
enum Seen {
    /// It did not exist.
    Absent,
    /// It said so, and had since then, as far as this process saw.
    Present(Term, Instant),
}

/// Whether the newest sighting can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Current,
    /// It must be looked at again. Should it be found unchanged, the time it was first seen so still counts: a watch that
    /// breaks again and again must not keep a dead leader in office.
    Lost,
}

impl Candidate {
    /// A process that has seen nothing yet. `identity` must be its own: no other process may ever have it.
    pub const fn new(identity: String) -> Self {
        Self { identity, seen: Seen::Absent, sight: Sight::Lost, renewed: None, pause: None }
    }

    /// The process's name in the Lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Until when this process may write, if it leads and nothing else happens.
    pub fn fence(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + FENCE)
    }

    /// The version that the Lease is at, as far as is known.
    pub fn version(&self) -> Option<&str> {
        match (self.sight, &self.seen) {
            (Sight::Current, Seen::Present(term, _)) => Some(&term.version),
            (Sight::Lost, _) | (Sight::Current, Seen::Absent) => None,
        }
    }

    /// The one decision.
    pub fn next(&self, now: Instant) -> Step {
        let pause = self.pause.filter(|pause| now < *pause);
        let Some(renewed) = self.renewed else {
            return match (pause, self.sight, &self.seen) {
                (Some(pause), _, _) => Step::Wait(pause),
                (None, Sight::Lost, _) => Step::Look,
                (None, Sight::Current, Seen::Absent) => Step::Create,
                (None, Sight::Current, Seen::Present(term, since)) => match &term.holder {
                    None => Step::Take,
                    // Ours from before a fence, and nobody took it.
                    Some(holder) if *holder == self.identity => Step::Take,
                    Some(_) => {
                        let length = term.length.unwrap_or(LEASE).clamp(LEASE, LONGEST_LEASE);
                        if now >= *since + length { Step::Take } else { Step::Wait(*since + length) }
                    }
                },
            };
        };
        let fence = renewed + FENCE;
        let lost = match (self.sight, &self.seen) {
            (Sight::Lost, _) => false,
            (Sight::Current, Seen::Absent) => true,
            (Sight::Current, Seen::Present(term, _)) => term.holder.as_deref() != Some(&self.identity),
        };
        if lost || now >= fence {
            return Step::StepDown;
        }
        match (pause, self.sight) {
            (Some(pause), _) => Step::Wait(pause.min(fence)),
            (None, Sight::Lost) => Step::Look,
            (None, Sight::Current) if now >= renewed + RENEW => Step::Renew,
            (None, Sight::Current) => Step::Wait(renewed + RENEW),
        }
    }

    /// The Lease was seen; `None`: it does not exist.
    pub fn saw(&mut self, term: Option<Term>, now: Instant) {
        self.pause = None;
        self.sight = Sight::Current;
        self.seen = match (term, &self.seen) {
            (None, _) => Seen::Absent,
            (Some(term), Seen::Present(known, since)) if known.version == term.version => Seen::Present(term, *since),
            (Some(term), _) => Seen::Present(term, now),
        };
    }

    /// A write that began at `began` was accepted and made the Lease say `term`.
    pub fn wrote(&mut self, term: Term, began: Instant, now: Instant) {
        self.saw(Some(term), now);
        self.renewed = Some(began);
    }

    /// A write met another version than the one last seen, or the Lease was not to be found.
    pub const fn conflicted(&mut self) {
        self.sight = Sight::Lost;
    }

    /// A request failed, or its answer was not heard: it may have been carried out.
    pub fn failed(&mut self, now: Instant) {
        self.sight = Sight::Lost;
        self.pause = Some(now + RETRY);
    }

    /// It does not lead any more. What it saw last still counts.
    pub const fn stepped_down(&mut self) {
        self.renewed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(holder: Option<&str>, version: &str) -> Term {
        Term { holder: holder.map(str::to_owned), length: Some(LEASE), version: version.to_owned() }
    }

    fn candidate() -> Candidate {
        Candidate::new("me".to_owned())
    }

    fn leader(began: Instant) -> Candidate {
        let mut leader = candidate();
        leader.wrote(term(Some("me"), "1"), began, began);
        leader
    }

    const INSTANTLY: Duration = Duration::from_millis(1);

    #[test]
    fn a_lease_that_is_missing_or_free_or_already_ours_is_taken_at_once() {
        let now = Instant::now();
        let mut candidate = candidate();
        assert_eq!(candidate.next(now), Step::Look);
        candidate.saw(None, now);
        assert_eq!(candidate.next(now), Step::Create);
        candidate.saw(Some(term(None, "1")), now);
        assert_eq!(candidate.next(now), Step::Take);
        candidate.saw(Some(term(Some("me"), "2")), now);
        assert_eq!(candidate.next(now), Step::Take);
    }

    #[test]
    fn a_lease_of_another_is_left_alone_while_it_changes() {
        let mut now = Instant::now();
        let mut candidate = candidate();
        for version in 0..100 {
            candidate.saw(Some(term(Some("other"), &version.to_string())), now);
            now += LEASE.saturating_sub(INSTANTLY);
            assert_eq!(candidate.next(now), Step::Wait(now + INSTANTLY));
        }
        assert_eq!(candidate.next(now + INSTANTLY), Step::Take);
    }

    #[test]
    fn seeing_the_same_version_again_does_not_prolong_it() {
        let now = Instant::now();
        let mut candidate = candidate();
        candidate.saw(Some(term(Some("other"), "1")), now);
        candidate.saw(Some(term(Some("other"), "1")), now + LEASE / 2);
        assert_eq!(candidate.next(now + LEASE), Step::Take);
    }

    #[test]
    fn a_watch_that_breaks_again_and_again_keeps_no_dead_leader_in_office() {
        let start = Instant::now();
        let mut candidate = candidate();
        let mut now = start;
        while now < start + LEASE {
            match candidate.next(now) {
                Step::Look => {
                    candidate.saw(Some(term(Some("other"), "1")), now);
                    candidate.failed(now);
                }
                Step::Wait(until) => now = until,
                other => panic!("{other:?}"),
            }
        }
        candidate.saw(Some(term(Some("other"), "1")), now);
        assert_eq!(candidate.next(now), Step::Take);
    }

    #[test]
    fn a_first_look_never_takes_from_a_holder_however_old_its_lease_says_it_is() {
        let now = Instant::now();
        let mut candidate = candidate();
        candidate.saw(Some(term(Some("other"), "1")), now);
        assert_eq!(candidate.next(now), Step::Wait(now + LEASE));
    }

    #[test]
    fn a_holder_that_asks_for_longer_gets_it_and_never_less_than_our_own_measure() {
        let now = Instant::now();
        for (said, waited) in [
            (Some(Duration::from_secs(15)), Duration::from_secs(15)),
            (Some(Duration::ZERO), LEASE),
            (None, LEASE),
            (Some(Duration::from_secs(100_000)), LONGEST_LEASE),
        ] {
            let mut candidate = candidate();
            candidate.saw(Some(Term { length: said, ..term(Some("other"), "1") }), now);
            assert_eq!(candidate.next(now), Step::Wait(now + waited));
        }
    }

    #[test]
    fn a_leader_renews_in_time_and_stops_at_the_fence() {
        let began = Instant::now();
        let leader = leader(began);
        assert_eq!(leader.next(began), Step::Wait(began + RENEW));
        assert_eq!(leader.next(began + RENEW), Step::Renew);
        assert_eq!(leader.next(began + FENCE - INSTANTLY), Step::Renew);
        assert_eq!(leader.next(began + FENCE), Step::StepDown);
    }

    #[test]
    fn the_fence_counts_from_the_start_of_the_renewal_not_from_its_answer() {
        let began = Instant::now();
        let mut slow = candidate();
        slow.wrote(term(Some("me"), "1"), began, began + FENCE - INSTANTLY);
        assert_eq!(slow.fence(), Some(began + FENCE));
        assert_eq!(slow.next(began + FENCE), Step::StepDown);
    }

    #[test]
    fn failing_renewals_are_repeated_and_never_move_the_fence() {
        let began = Instant::now();
        let mut leader = leader(began);
        let mut now = began + RENEW;
        let mut tries = 0;
        while now < began + FENCE {
            match leader.next(now) {
                Step::Renew | Step::Look => {
                    tries += 1;
                    leader.failed(now);
                }
                Step::Wait(until) => {
                    assert!(until > now && until <= began + FENCE);
                    now = until;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(tries >= 4, "{tries}");
        assert_eq!(leader.next(now), Step::StepDown);
    }

    #[test]
    fn after_a_conflict_it_looks_and_goes_on_only_if_it_is_still_the_holder() {
        let began = Instant::now();
        let mut leader = leader(began);
        leader.conflicted();
        assert_eq!(leader.next(began + RENEW), Step::Look);
        leader.saw(Some(term(Some("me"), "7")), began + RENEW);
        assert_eq!(leader.next(began + RENEW), Step::Renew);
        for lost in [Some(term(Some("other"), "8")), Some(term(None, "8")), None] {
            leader.saw(lost, began + RENEW);
            assert_eq!(leader.next(began + RENEW), Step::StepDown);
        }
    }

    #[test]
    fn a_leader_never_waits_past_its_fence() {
        let began = Instant::now();
        let mut leader = leader(began);
        let late = began + FENCE - INSTANTLY;
        leader.failed(late);
        assert_eq!(leader.next(late), Step::Wait(began + FENCE));
    }

    /// Any interleaving: two candidates whose requests are lost, late and answered at random never lead at once.
    #[test]
    fn two_never_lead_at_once_whatever_the_network_does() {
        let mut led = [0; 2];
        for seed in 1..=300_u64 {
            let mut random = seed;
            let mut dice = |sides: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % sides
            };
            let start = Instant::now();
            let mut stored: Option<Term> = None;
            let mut version = 0;
            let mut candidates = [Candidate::new("a".into()), Candidate::new("b".into())];
            // A request on its way: who, when it began, when it arrives, over which version; `None` creates.
            let mut waiting: [Option<(Instant, Instant, Option<String>)>; 2] = [None, None];
            for tick in 0..3000_u32 {
                let now = start + Duration::from_millis(50) * tick;
                for (number, candidate) in candidates.iter_mut().enumerate() {
                    if let Some((began, arrives, over)) = waiting[number].clone() {
                        if now < arrives {
                            if candidate.next(now) == Step::StepDown {
                                candidate.stepped_down();
                            }
                            continue;
                        }
                        waiting[number] = None;
                        if over.as_deref() != stored.as_ref().map(|t| t.version.as_str()) {
                            candidate.conflicted();
                            continue;
                        }
                        version += 1;
                        let written = term(Some(candidate.identity()), &version.to_string());
                        stored = Some(written.clone());
                        // One in three answers is lost.
                        if dice(3) == 0 {
                            candidate.failed(now);
                        } else {
                            candidate.wrote(written, began, now);
                        }
                        continue;
                    }
                    let over = candidate.version().map(str::to_owned);
                    match candidate.next(now) {
                        Step::Look => candidate.saw(stored.clone(), now),
                        Step::Create => waiting[number] = Some((now, now + Duration::from_millis(dice(8000)), None)),
                        Step::Take | Step::Renew => {
                            waiting[number] = Some((now, now + Duration::from_millis(dice(8000)), over));
                        }
                        Step::StepDown => candidate.stepped_down(),
                        // A follower's watch: it sees some changes late, some at once.
                        Step::Wait(_) if candidate.fence().is_none() && dice(5) == 0 => {
                            candidate.saw(stored.clone(), now);
                        }
                        Step::Wait(_) => {}
                    }
                }
                let leads = |c: &Candidate| c.fence().is_some_and(|fence| now < fence);
                assert!(!candidates.iter().all(leads), "seed {seed}, tick {tick}");
                for (count, candidate) in led.iter_mut().zip(&candidates) {
                    *count += u32::from(leads(candidate));
                }
            }
        }
        assert!(led.iter().all(|ticks| *ticks > 10_000), "{led:?}");
    }
}
