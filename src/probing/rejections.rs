//! What is believed about credentials: a rejected one is remembered per credential, not per Connection, so that siblings take
//! the verdict without dialling and no account is locked by a probe.
//!
//! Pure: `now` is passed in. A credential is the fingerprint of namespace, Secret, values used, address or account, and user.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use crate::{
    connections::Lockout,
    failure::{Finding, Report, Stage},
    secret::Digest,
};

use super::schedule;

/// Most rejections that are kept although nobody uses the credential; each is some hundred bytes. Of more the one is forgotten
/// that may be tried again first: it protects its account for the shortest time.
const UNUSED: usize = 10_000;

/// Whether a probe may log in with a credential now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It may.
    Dial,
    /// It must not; this is what another probe found.
    Take(Arc<Report>),
    /// Another probe logs in with it for the first time; the asker is woken when that one ends.
    Wait,
}

/// Whom the end of a probe concerns that was let dial.
#[derive(Debug, PartialEq, Eq)]
pub struct Concerned {
    /// Those that waited for it.
    pub waiting: Vec<Arc<str>>,
    /// A rejection is over: whoever took it over rests for nothing.
    pub refuted: bool,
}

/// Every credential in use, and what is known about it; and those that were rejected and that nobody uses now.
#[derive(Debug, Default)]
pub struct Rejections {
    known: HashMap<Digest, Entry>,
    /// The rejected ones without holders, by when they may be tried again.
    unused: BTreeSet<(Instant, Digest)>,
}

#[derive(Debug, Default)]
struct Entry {
    holders: usize,
    state: State,
    waiting: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
enum State {
    /// No login has ended, and none is in flight.
    #[default]
    Unproven,
    /// One login is in flight: the first, or the slow retry of a rejection.
    Checking(Option<Rejection>),
    /// The server has accepted it.
    Accepted(Source),
    /// The server has rejected it.
    Rejected(Rejection),
}

#[derive(Debug)]
struct Rejection {
    report: Arc<Report>,
    /// Consecutive rejections.
    count: u32,
    retry_at: Instant,
    source: Source,
}

/// From what something is known about a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// From a login of this process.
    Login,
    /// From a status that was stored before this process started.
    Status,
}

impl Rejections {
    /// Counts one more Connection that uses the credential.
    pub fn hold(&mut self, credential: Digest) {
        self.in_use(credential).holders += 1;
    }

    /// Counts one Connection less. What nobody uses is forgotten, but a rejection only when it may be tried again: whoever comes
    /// back with the same values would log in with them once more.
    pub fn release(&mut self, credential: Digest, now: Instant) {
        let Some(entry) = self.known.get_mut(&credential) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            self.lay_aside(credential, now);
        }
    }

    /// Asks for `who` whether to log in now.
    pub fn ask(&mut self, credential: Digest, who: &Arc<str>, now: Instant) -> Leave {
        let entry = self.known.entry(credential).or_default();
        match std::mem::take(&mut entry.state) {
            State::Unproven => {
                entry.state = State::Checking(None);
                Leave::Dial
            }
            State::Checking(before) => {
                entry.state = State::Checking(before);
                entry.waiting.push(Arc::clone(who));
                Leave::Wait
            }
            State::Accepted(source) => {
                entry.state = State::Accepted(source);
                Leave::Dial
            }
            State::Rejected(rejection) if rejection.retry_at <= now => {
                entry.state = State::Checking(Some(rejection));
                Leave::Dial
            }
            State::Rejected(rejection) => {
                let report = Arc::clone(&rejection.report);
                entry.state = State::Rejected(rejection);
                Leave::Take(report)
            }
        }
    }

    /// Hears what came of a probe that was let dial.
    pub fn heard(&mut self, credential: Digest, report: &Arc<Report>, lockout: Lockout, now: Instant) -> Concerned {
        // Also where nobody uses it any more: the server has counted the login.
        let entry = self.in_use(credential);
        let mut refuted = false;
        let state = std::mem::take(&mut entry.state);
        entry.state = if rejects(report) {
            let before = match state {
                State::Checking(Some(rejection)) | State::Rejected(rejection) => rejection.count,
                State::Checking(None) | State::Unproven | State::Accepted(_) => 0,
            };
            let count = before.saturating_add(1);
            let retry_at = now + schedule::after_rejection(count, lockout);
            State::Rejected(Rejection { report: Arc::clone(report), count, retry_at, source: Source::Login })
        } else if matches!(report.at(Stage::Authenticate), Finding::Passed) {
            // Also where nobody checks a login: there is none that could be rejected, so nobody waits for another one's.
            refuted = matches!(state, State::Checking(Some(_)) | State::Rejected(_));
            State::Accepted(Source::Login)
        } else {
            // No login was judged: what was known stays known.
            match state {
                State::Checking(Some(rejection)) | State::Rejected(rejection) => State::Rejected(rejection),
                State::Checking(None) | State::Unproven => State::Unproven,
                State::Accepted(source) => State::Accepted(source),
            }
        };
        let waiting = std::mem::take(&mut entry.waiting);
        if entry.holders == 0 {
            self.lay_aside(credential, now);
        }
        Concerned { waiting, refuted }
    }

    /// Takes a rejection over from a status that was stored before this process started; it waits one slow retry. Where another
    /// status says that the same was accepted nobody knows which is newer: one login finds out, whenever the next one is due.
    pub fn remember(&mut self, credential: Digest, report: Arc<Report>, lockout: Lockout, now: Instant) {
        let entry = self.known.entry(credential).or_default();
        let retry_at = now + schedule::after_rejection(1, lockout);
        let rejection = Rejection { report, count: 1, retry_at, source: Source::Status };
        match entry.state {
            State::Unproven => entry.state = State::Rejected(rejection),
            State::Checking(None) => entry.state = State::Checking(Some(rejection)),
            State::Accepted(Source::Status) => entry.state = State::Rejected(Rejection { retry_at: now, ..rejection }),
            State::Checking(Some(_)) | State::Accepted(Source::Login) | State::Rejected(_) => {}
        }
    }

    /// Takes over from such a status that the values were accepted: siblings need not wait for one another's first login, but
    /// where another status says that they were rejected.
    pub fn remember_accepted(&mut self, credential: Digest, now: Instant) {
        let entry = self.known.entry(credential).or_default();
        match &mut entry.state {
            State::Unproven => entry.state = State::Accepted(Source::Status),
            State::Checking(Some(rejection)) | State::Rejected(rejection) if rejection.source == Source::Status => {
                rejection.retry_at = now;
            }
            State::Checking(_) | State::Accepted(_) | State::Rejected(_) => {}
        }
    }

    /// Lets a rejected credential be tried once more now: its target changed, or someone asked.
    pub fn permit(&mut self, credential: Digest, now: Instant) {
        if let Some(Entry { state: State::Rejected(rejection), .. }) = self.known.get_mut(&credential) {
            rejection.retry_at = now;
        }
    }

    /// When a rejected credential is tried again; `None` where it is not rejected.
    pub fn retry_at(&self, credential: Digest) -> Option<Instant> {
        match &self.known.get(&credential)?.state {
            State::Rejected(rejection) => Some(rejection.retry_at),
            State::Unproven | State::Checking(_) | State::Accepted(_) => None,
        }
    }

    fn in_use(&mut self, credential: Digest) -> &mut Entry {
        let entry = self.known.entry(credential).or_default();
        if let State::Rejected(rejection) = &entry.state {
            self.unused.remove(&(rejection.retry_at, credential));
        }
        entry
    }

    /// Nobody uses it any more. A login in flight is not forgotten either, since its end will be heard.
    fn lay_aside(&mut self, credential: Digest, now: Instant) {
        match self.known.get(&credential).map(|entry| &entry.state) {
            Some(State::Rejected(rejection)) => {
                self.unused.insert((rejection.retry_at, credential));
            }
            Some(State::Unproven | State::Accepted(_)) => {
                self.known.remove(&credential);
            }
            Some(State::Checking(_)) | None => {}
        }
        while let Some((retry_at, first)) = self.unused.first().copied()
            && (retry_at <= now || self.unused.len() > UNUSED)
        {
            self.unused.pop_first();
            self.known.remove(&first);
        }
    }
}

/// Whether the report says that a login was rejected.
pub fn rejects(report: &Report) -> bool {
    report.failure().is_some_and(|(stage, failure)| stage == Stage::Authenticate && failure.reason().is_rejection())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::{Failure, FailureClass, Proof};

    const HOUR: Duration = Duration::from_secs(3600);

    fn credential() -> Digest {
        Digest::of([b"shop/db".as_slice()])
    }

    fn failed(class: FailureClass) -> Arc<Report> {
        Arc::new(Report::failed(Stage::Reach, Failure::new(class), Vec::new()))
    }

    fn accepted() -> Arc<Report> {
        Arc::new(Report::passed(Proof::default(), Vec::new()))
    }

    fn held() -> (Rejections, Arc<str>, Arc<str>, Instant) {
        let mut rejections = Rejections::default();
        rejections.hold(credential());
        rejections.hold(credential());
        (rejections, "a".into(), "b".into(), Instant::now())
    }

    #[test]
    fn siblings_take_a_rejection_without_dialling() {
        let (mut rejections, a, b, now) = held();
        assert_eq!(rejections.ask(credential(), &a, now), Leave::Dial);
        let report = failed(FailureClass::WrongCredentials);
        rejections.heard(credential(), &report, Lockout::Possible, now);
        assert_eq!(rejections.ask(credential(), &b, now), Leave::Take(Arc::clone(&report)));
        assert_eq!(rejections.ask(credential(), &a, now + Duration::from_secs(3599)), Leave::Take(report));
    }

    #[test]
    fn first_logins_go_one_at_a_time_until_one_is_accepted() {
        let (mut rejections, a, b, now) = held();
        assert_eq!(rejections.ask(credential(), &a, now), Leave::Dial);
        assert_eq!(rejections.ask(credential(), &b, now), Leave::Wait);
        let heard = rejections.heard(credential(), &failed(FailureClass::TimedOut), Lockout::Possible, now);
        assert_eq!(heard, Concerned { waiting: vec![Arc::clone(&b)], refuted: false });
        assert_eq!(rejections.ask(credential(), &b, now), Leave::Dial);
        assert_eq!(rejections.ask(credential(), &a, now), Leave::Wait);
        rejections.heard(credential(), &accepted(), Lockout::Possible, now);
        assert_eq!(rejections.ask(credential(), &a, now), Leave::Dial);
        assert_eq!(rejections.ask(credential(), &b, now), Leave::Dial);
    }

    #[test]
    fn where_nobody_checks_a_login_nobody_waits_for_another_ones() {
        let missing = Report::failed(Stage::Access, Failure::new(FailureClass::TargetNotFound), Vec::new());
        for report in [Report::passed(Proof::default(), Vec::new()), missing] {
            let (mut rejections, a, b, now) = held();
            assert_eq!(rejections.ask(credential(), &a, now), Leave::Dial);
            rejections.heard(credential(), &Arc::new(report.anonymous()), Lockout::Possible, now);
            assert_eq!(rejections.ask(credential(), &a, now), Leave::Dial);
            assert_eq!(rejections.ask(credential(), &b, now), Leave::Dial);
        }
    }

    #[test]
    fn a_rejection_is_tried_again_after_an_hour_by_one_sibling_then_after_two() {
        let (mut rejections, a, b, now) = held();
        rejections.ask(credential(), &a, now);
        rejections.heard(credential(), &failed(FailureClass::WrongCredentials), Lockout::Possible, now);
        let later = now + HOUR;
        assert_eq!(rejections.retry_at(credential()), Some(later));
        assert_eq!(rejections.ask(credential(), &b, later), Leave::Dial);
        assert_eq!(rejections.ask(credential(), &a, later), Leave::Wait);
        rejections.heard(credential(), &failed(FailureClass::AccountLocked), Lockout::Possible, later);
        assert_eq!(rejections.retry_at(credential()), Some(later + 2 * HOUR));
    }

    #[test]
    fn a_retry_that_never_reached_the_login_does_not_clear_the_rejection() {
        let (mut rejections, a, b, now) = held();
        rejections.ask(credential(), &a, now);
        rejections.heard(credential(), &failed(FailureClass::WrongCredentials), Lockout::Possible, now);
        let later = now + HOUR;
        rejections.ask(credential(), &a, later);
        rejections.heard(credential(), &failed(FailureClass::ConnectionRefused), Lockout::Possible, later);
        assert_eq!(rejections.ask(credential(), &b, later), Leave::Dial);
        rejections.heard(credential(), &failed(FailureClass::WrongCredentials), Lockout::Possible, later);
        assert_eq!(rejections.retry_at(credential()), Some(later + 2 * HOUR));
    }

    #[test]
    fn a_changed_target_or_a_request_lets_it_be_tried_once() {
        let (mut rejections, a, b, now) = held();
        rejections.ask(credential(), &a, now);
        rejections.heard(credential(), &failed(FailureClass::WrongCredentials), Lockout::Possible, now);
        rejections.permit(credential(), now);
        assert_eq!(rejections.ask(credential(), &a, now), Leave::Dial);
        assert_eq!(rejections.ask(credential(), &b, now), Leave::Wait);
        rejections.heard(credential(), &failed(FailureClass::WrongCredentials), Lockout::Possible, now);
        assert!(matches!(rejections.ask(credential(), &a, now), Leave::Take(_)));
    }

    #[test]
    fn where_nothing_can_be_locked_it_is_tried_again_after_30_seconds() {
        let (mut rejections, a, _, now) = held();
        rejections.ask(credential(), &a, now);
        rejections.heard(credential(), &failed(FailureClass::WrongCredentials), Lockout::Impossible, now);
        assert_eq!(rejections.retry_at(credential()), Some(now + Duration::from_secs(30)));
    }

    #[test]
    fn what_nobody_uses_is_forgotten_but_a_rejection_until_it_may_be_tried_again() {
        let (mut rejections, a, _, now) = held();
        rejections.ask(credential(), &a, now);
        rejections.heard(credential(), &accepted(), Lockout::Possible, now);
        (0..2).for_each(|_| rejections.release(credential(), now));
        assert!(rejections.known.is_empty(), "the server has accepted it");

        let report = failed(FailureClass::WrongCredentials);
        rejections.hold(credential());
        rejections.ask(credential(), &a, now);
        rejections.heard(credential(), &report, Lockout::Possible, now);
        rejections.release(credential(), now);
        rejections.hold(credential());
        assert_eq!(rejections.ask(credential(), &a, now + HOUR / 2), Leave::Take(report));
        rejections.release(credential(), now);
        let other = Digest::of([b"shop/other".as_slice()]);
        let nobody_uses_it = |rejections: &mut Rejections, now| {
            rejections.hold(other);
            rejections.release(other, now);
        };
        nobody_uses_it(&mut rejections, now + HOUR / 2);
        assert!(rejections.retry_at(credential()).is_some());
        nobody_uses_it(&mut rejections, now + HOUR);
        assert!(rejections.known.is_empty() && rejections.unused.is_empty());
    }

    #[test]
    fn a_login_that_ends_after_its_last_user_has_gone_is_heard() {
        for accepted_before in [true, false] {
            let (mut rejections, a, b, now) = held();
            rejections.ask(credential(), &a, now);
            if accepted_before {
                rejections.heard(credential(), &accepted(), Lockout::Possible, now);
                rejections.ask(credential(), &a, now);
            }
            (0..2).for_each(|_| rejections.release(credential(), now));
            if !accepted_before {
                rejections.hold(credential());
                assert_eq!(rejections.ask(credential(), &b, now), Leave::Wait, "one at a time");
                rejections.release(credential(), now);
            }
            rejections.heard(credential(), &failed(FailureClass::WrongCredentials), Lockout::Possible, now);
            rejections.hold(credential());
            assert!(matches!(rejections.ask(credential(), &b, now), Leave::Take(_)));
        }
    }

    #[test]
    fn of_too_many_rejections_that_nobody_uses_the_next_to_be_tried_again_are_forgotten() {
        let (mut rejections, now) = (Rejections::default(), Instant::now());
        let nth = |n: usize| Digest::of([n.to_be_bytes().as_slice()]);
        for n in 0..UNUSED + 2 {
            rejections.hold(nth(n));
            rejections.ask(nth(n), &"a".into(), now);
            let later = now + Duration::from_millis(n as u64);
            rejections.heard(nth(n), &failed(FailureClass::WrongCredentials), Lockout::Possible, later);
        }
        (0..UNUSED + 2).rev().for_each(|n| rejections.release(nth(n), now));
        assert_eq!((rejections.known.len(), rejections.unused.len()), (UNUSED, UNUSED));
        let known: Vec<bool> = (0..4).map(|n| rejections.retry_at(nth(n)).is_some()).collect();
        assert_eq!(known, [false, false, true, true]);
    }

    #[test]
    fn a_stored_rejection_waits_one_slow_retry() {
        let (mut rejections, a, _, now) = held();
        rejections.remember(credential(), failed(FailureClass::WrongCredentials), Lockout::Possible, now);
        assert!(matches!(rejections.ask(credential(), &a, now), Leave::Take(_)));
        assert_eq!(rejections.ask(credential(), &a, now + HOUR), Leave::Dial);
    }
}
