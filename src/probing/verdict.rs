//! History of outcomes → what is believed about one connection: hysteresis, first outcome, freshness.
//!
//! Pure: `now` is passed in. What is believed about a *credential* is in `rejections.rs`.

use std::{sync::Arc, time::Instant};

use crate::failure::{Outlook, Reason, Report};

use super::{Tempo, schedule};

/// What is believed about one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No probe of this target has ended yet.
    Pending,
    /// What the stored status says, from before this process started.
    Remembered(Memory),
    /// What a probe of this target found.
    Found(Arc<Report>),
    /// It was green, and the green is too old to count.
    Stale,
}

/// What a stored status says that is taken as history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Ready was True.
    Ready,
    /// Ready was not True, for this reason.
    NotReady(Reason),
}

impl Verdict {
    /// Whether Ready is True.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Found(report) => report.failure().is_none(),
            Self::Remembered(memory) => *memory == Memory::Ready,
            Self::Pending | Self::Stale => false,
        }
    }

    /// The reason that Ready carries.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Pending => Reason::Pending,
            Self::Stale => Reason::ProbeStale,
            Self::Remembered(Memory::Ready) => Reason::Succeeded,
            Self::Remembered(Memory::NotReady(reason)) => *reason,
            Self::Found(report) => report.failure().map_or(Reason::Succeeded, |(_, failure)| failure.reason()),
        }
    }
}

/// What came of hearing an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The verdict is another one now.
    Changed,
    /// The verdict is what it was.
    Unchanged,
    /// The outcome speaks against the verdict, and does not change it yet.
    HeldBack,
}

/// The belief about one target of one Connection.
#[derive(Clone, Debug)]
pub struct Belief {
    verdict: Verdict,
    /// Consecutive transient failures since the last success, while Ready.
    failures: u32,
    /// Consecutive successes since the last failure, while broken.
    successes: u32,
    /// A success that proves something else than the stated one, and how often it came in a row.
    otherwise: Option<(Arc<Report>, u32)>,
    /// Consecutive internal errors.
    internal: u32,
    /// Consecutive looks that left it not Ready.
    tries: u32,
    /// Consecutive looks that the server counts against the operator's address, from the one that ended being Ready: the login before
    /// them has reset the server's count, and those that are held back are few.
    broken_off: u32,
    /// The last counted outcome was a failure, so `successThreshold` applies on the way back.
    broken: bool,
    /// From when the age of a green counts.
    fresh_since: Instant,
    /// The values used now have authenticated.
    authenticated: bool,
}

impl Belief {
    /// Nothing is known: a new target, or the end of a suspension.
    pub const fn new(now: Instant) -> Self {
        Self {
            verdict: Verdict::Pending,
            failures: 0,
            successes: 0,
            otherwise: None,
            internal: 0,
            tries: 0,
            broken_off: 0,
            broken: false,
            fresh_since: now,
            authenticated: false,
        }
    }

    /// A stored status is history: a True counts as "was Ready, no failures".
    pub fn remembered(memory: Memory, now: Instant) -> Self {
        let broken = !matches!(memory, Memory::Ready);
        Self { verdict: Verdict::Remembered(memory), broken, ..Self::new(now) }
    }

    /// What is believed.
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether the values used now have authenticated since this target was new.
    pub const fn authenticated(&self) -> bool {
        self.authenticated
    }

    /// The wait until the next probe, from the start of the last one.
    pub fn wait(&self, tempo: &Tempo, spread: f64) -> std::time::Duration {
        if self.broken_off > 0 {
            schedule::after_counted(self.broken_off)
        } else if !self.verdict.is_ready() {
            schedule::after_broken(self.tries, tempo)
        } else if self.failures > 0 {
            schedule::after_held_back(self.failures, tempo)
        } else {
            schedule::after_green(tempo, spread)
        }
    }

    /// Hears the outcome of a probe of this target.
    pub fn hear(&mut self, report: &Arc<Report>, tempo: &Tempo, now: Instant) -> Heard {
        self.authenticated |= report.authenticated();
        let heard = match report.failure().map(|(_, failure)| failure.reason()) {
            None => self.hear_success(report, tempo, now),
            Some(reason) => match reason.outlook() {
                Outlook::Neutral => self.hear_nothing(report, reason, tempo),
                Outlook::Transient => self.hear_transient(report, tempo, now),
                Outlook::Arrives
                | Outlook::Terminal
                | Outlook::Answer
                | Outlook::Good
                | Outlook::Waiting
                | Outlook::Still => {
                    self.fresh_since = now;
                    self.broken = reason.outlook() != Outlook::Answer;
                    self.show(report)
                }
            },
        };
        let counted = report.was_broken_off() && !self.verdict.is_ready();
        self.broken_off = if counted { self.broken_off.saturating_add(1) } else { 0 };
        self.tries = if self.verdict.is_ready() { 0 } else { self.tries.saturating_add(1) };
        heard
    }

    /// The moment at which a green stops counting; `None` while there is none.
    pub fn expires(&self, tempo: &Tempo) -> Option<Instant> {
        self.verdict.is_ready().then(|| self.fresh_since + schedule::green_lasts(tempo))
    }

    /// Lets a green that is too old expire.
    pub fn expire(&mut self, tempo: &Tempo, now: Instant) -> Heard {
        match self.expires(tempo) {
            Some(at) if at <= now => {
                self.verdict = Verdict::Stale;
                self.failures = 0;
                Heard::Changed
            }
            Some(_) | None => Heard::Unchanged,
        }
    }

    /// Another interval is in force from `now` on; the age of a green counts from here, so that a shorter one cannot make
    /// an honest green stale at once.
    pub fn tempo_changed(&mut self, now: Instant) {
        self.fresh_since = self.fresh_since.max(now);
    }

    fn hear_success(&mut self, report: &Arc<Report>, tempo: &Tempo, now: Instant) -> Heard {
        self.failures = 0;
        self.internal = 0;
        self.fresh_since = now;
        if self.broken {
            self.successes += 1;
            if self.successes < tempo.success_threshold {
                return Heard::HeldBack;
            }
        }
        self.successes = 0;
        self.broken = false;
        // A host that is passed over now and then is a blip too, and no reason to write.
        if matches!(&self.verdict, Verdict::Found(stated) if stated.proves_otherwise(report)) {
            let before = self.otherwise.take().filter(|(other, _)| other == report).map_or(0, |(_, times)| times);
            let times = before + 1;
            if times < tempo.failure_threshold {
                self.otherwise = Some((Arc::clone(report), times));
                return Heard::HeldBack;
            }
        }
        self.show(report)
    }

    fn hear_transient(&mut self, report: &Arc<Report>, tempo: &Tempo, now: Instant) -> Heard {
        self.internal = 0;
        self.otherwise = None;
        self.fresh_since = now;
        if self.verdict.is_ready() {
            self.failures += 1;
            if self.failures < tempo.failure_threshold {
                return Heard::HeldBack;
            }
        }
        self.broken = true;
        self.show(report)
    }

    /// Throttled, `ClockSkewed` and `InternalError`: neither success nor failure.
    fn hear_nothing(&mut self, report: &Arc<Report>, reason: Reason, tempo: &Tempo) -> Heard {
        if reason == Reason::InternalError {
            self.internal += 1;
        }
        if self.verdict.is_ready() && self.internal < tempo.failure_threshold {
            return Heard::HeldBack;
        }
        self.show(report)
    }

    fn show(&mut self, report: &Arc<Report>) -> Heard {
        self.failures = 0;
        self.otherwise = None;
        if report.failure().is_some() {
            self.successes = 0;
        }
        let found = Verdict::Found(Arc::clone(report));
        if self.verdict == found {
            return Heard::Unchanged;
        }
        self.verdict = found;
        Heard::Changed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::{Failure, FailureClass, Proof, Setting, Stage};

    fn tempo(failures: u32, successes: u32) -> Tempo {
        Tempo {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            failure_threshold: failures,
            success_threshold: successes,
        }
    }

    fn passed() -> Arc<Report> {
        Arc::new(Report::passed(Proof::default(), Vec::new()))
    }

    fn past(host: &str) -> Arc<Report> {
        Arc::new(Report::passed(Proof::default().past([Setting::from_spec(host)]), Vec::new()))
    }

    fn failed(class: FailureClass) -> Arc<Report> {
        Arc::new(Report::failed(Stage::Reach, Failure::new(class), Vec::new()))
    }

    struct Story {
        belief: Belief,
        tempo: Tempo,
        now: Instant,
    }

    impl Story {
        fn of_a_new_target(tempo: Tempo) -> Self {
            let now = Instant::now();
            Self { belief: Belief::new(now), tempo, now }
        }

        fn of_a_green(tempo: Tempo) -> Self {
            let mut story = Self::of_a_new_target(tempo);
            story.hears(&passed());
            story
        }

        fn hears(&mut self, report: &Arc<Report>) -> Heard {
            self.now += Duration::from_secs(1);
            self.belief.hear(report, &self.tempo, self.now)
        }

        fn reason(&self) -> Reason {
            self.belief.verdict().reason()
        }
    }

    #[test]
    fn the_first_outcome_counts_at_once_even_a_transient_failure() {
        let mut story = Story::of_a_new_target(tempo(3, 3));
        assert_eq!(story.hears(&failed(FailureClass::ConnectionRefused)), Heard::Changed);
        assert_eq!(story.reason(), Reason::ConnectionRefused);
        let mut story = Story::of_a_new_target(tempo(3, 3));
        assert_eq!(story.hears(&passed()), Heard::Changed);
        assert_eq!(story.reason(), Reason::Succeeded);
    }

    #[test]
    fn a_green_survives_fewer_transient_failures_than_the_threshold() {
        let mut story = Story::of_a_green(tempo(3, 1));
        assert_eq!(story.hears(&failed(FailureClass::TimedOut)), Heard::HeldBack);
        assert_eq!(story.hears(&failed(FailureClass::ConnectionRefused)), Heard::HeldBack);
        assert_eq!(story.reason(), Reason::Succeeded);
        assert_eq!(story.hears(&failed(FailureClass::ConnectionRefused)), Heard::Changed);
        assert_eq!(story.reason(), Reason::ConnectionRefused);
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let mut story = Story::of_a_green(tempo(2, 1));
        for _ in 0..5 {
            assert_eq!(story.hears(&failed(FailureClass::TimedOut)), Heard::HeldBack);
            assert_eq!(story.hears(&passed()), Heard::Unchanged);
        }
        assert!(story.belief.verdict().is_ready());
    }

    #[test]
    fn a_failure_that_is_not_transient_counts_at_once() {
        for class in [FailureClass::WrongCredentials, FailureClass::CertificateExpired, FailureClass::TargetNotFound] {
            let mut story = Story::of_a_green(tempo(10, 1));
            assert_eq!(story.hears(&failed(class)), Heard::Changed);
            assert_eq!(story.reason(), class.row().reason);
        }
    }

    #[test]
    fn the_way_back_takes_as_many_successes_as_the_threshold_says() {
        let mut story = Story::of_a_green(tempo(1, 3));
        story.hears(&failed(FailureClass::TimedOut));
        assert_eq!(story.hears(&passed()), Heard::HeldBack);
        assert_eq!(story.hears(&passed()), Heard::HeldBack);
        assert_eq!(story.hears(&failed(FailureClass::TimedOut)), Heard::Unchanged);
        assert_eq!(story.hears(&passed()), Heard::HeldBack);
        assert_eq!(story.hears(&passed()), Heard::HeldBack);
        assert_eq!(story.hears(&passed()), Heard::Changed);
        assert_eq!(story.reason(), Reason::Succeeded);
    }

    #[test]
    fn throttling_and_a_skewed_clock_never_turn_a_green() {
        let mut story = Story::of_a_green(tempo(1, 1));
        for class in [FailureClass::Throttled, FailureClass::ClockSkewed, FailureClass::TooManyTargets] {
            for _ in 0..20 {
                assert_eq!(story.hears(&failed(class)), Heard::HeldBack);
            }
        }
        assert!(story.belief.verdict().is_ready());
    }

    #[test]
    fn throttling_does_not_keep_a_green_fresh() {
        let mut story = Story::of_a_green(tempo(1, 1));
        let expires = story.belief.expires(&story.tempo);
        story.hears(&failed(FailureClass::Throttled));
        assert_eq!(story.belief.expires(&story.tempo), expires);
        story.hears(&passed());
        assert!(story.belief.expires(&story.tempo) > expires);
    }

    #[test]
    fn throttling_shows_where_it_is_not_ready() {
        let mut story = Story::of_a_new_target(tempo(3, 1));
        assert_eq!(story.hears(&failed(FailureClass::Throttled)), Heard::Changed);
        assert_eq!(story.reason(), Reason::Throttled);
    }

    #[test]
    fn an_internal_error_shows_only_when_it_repeats() {
        let mut story = Story::of_a_green(tempo(3, 1));
        assert_eq!(story.hears(&failed(FailureClass::Internal)), Heard::HeldBack);
        assert_eq!(story.hears(&failed(FailureClass::Internal)), Heard::HeldBack);
        assert_eq!(story.hears(&failed(FailureClass::Internal)), Heard::Changed);
        assert_eq!(story.reason(), Reason::InternalError);
    }

    #[test]
    fn a_permission_that_cannot_be_proven_is_an_answer_and_shows_at_once() {
        let mut story = Story::of_a_green(tempo(3, 3));
        assert_eq!(story.hears(&failed(FailureClass::NotProvable)), Heard::Changed);
        assert_eq!(story.hears(&passed()), Heard::Changed, "it was not broken, so nothing is to be waited for");
    }

    #[test]
    fn a_success_that_proves_something_else_is_told_once_it_came_as_often_as_the_threshold_says() {
        let mut story = Story::of_a_green(tempo(3, 1));
        for _ in 0..5 {
            assert_eq!(story.hears(&past("a")), Heard::HeldBack);
            assert_eq!(story.hears(&past("a")), Heard::HeldBack);
            assert_eq!(story.hears(&passed()), Heard::Unchanged);
            assert_eq!(story.hears(&past("a")), Heard::HeldBack);
            assert_eq!(story.hears(&past("b")), Heard::HeldBack, "it is another one");
            assert_eq!(story.hears(&past("a")), Heard::HeldBack);
            assert_eq!(story.hears(&failed(FailureClass::TimedOut)), Heard::HeldBack);
        }
        assert_eq!(*story.belief.verdict(), Verdict::Found(passed()), "what was stated stays");
        let told: Vec<Heard> = (0..5).map(|_| story.hears(&past("a"))).collect();
        assert_eq!(told, [Heard::HeldBack, Heard::HeldBack, Heard::Changed, Heard::Unchanged, Heard::Unchanged]);
        assert_eq!(*story.belief.verdict(), Verdict::Found(past("a")));
        let told: Vec<Heard> = (0..3).map(|_| story.hears(&passed())).collect();
        assert_eq!(told, [Heard::HeldBack, Heard::HeldBack, Heard::Changed], "and so is the way back");
    }

    #[test]
    fn a_success_that_is_held_back_keeps_a_green_fresh_and_is_looked_at_after_the_interval() {
        let mut story = Story::of_a_green(tempo(10, 1));
        let expires = story.belief.expires(&story.tempo);
        assert_eq!(story.hears(&past("a")), Heard::HeldBack);
        assert!(story.belief.expires(&story.tempo) > expires);
        assert!(story.belief.wait(&story.tempo, 0.5) > Duration::from_secs(50));
    }

    #[test]
    fn what_the_first_success_proves_is_told_at_once() {
        let now = Instant::now();
        let mut stale = Story::of_a_green(tempo(3, 1));
        stale.now += Duration::from_secs(3600);
        stale.belief.expire(&stale.tempo, stale.now);
        let restarted = Story { belief: Belief::remembered(Memory::Ready, now), tempo: tempo(3, 1), now };
        for mut story in [Story::of_a_new_target(tempo(3, 1)), stale, restarted] {
            assert_eq!(story.hears(&past("a")), Heard::Changed);
        }
        let mut story = Story::of_a_green(tempo(3, 1));
        let anonymous = Arc::new(Report::passed(Proof::default(), Vec::new()).anonymous());
        assert_eq!(story.hears(&anonymous), Heard::Changed, "that nobody checks a login is no blip");
    }

    #[test]
    fn the_same_failure_again_changes_nothing() {
        let mut story = Story::of_a_new_target(tempo(3, 1));
        story.hears(&failed(FailureClass::WrongCredentials));
        assert_eq!(story.hears(&failed(FailureClass::WrongCredentials)), Heard::Unchanged);
    }

    #[test]
    fn only_a_green_expires_three_intervals_and_the_timeout_after_its_newest_probe() {
        let mut story = Story::of_a_green(tempo(3, 1));
        let newest = story.now;
        let almost = newest + Duration::from_secs(189);
        assert_eq!(story.belief.expire(&story.tempo, almost), Heard::Unchanged);
        assert_eq!(story.belief.expire(&story.tempo, newest + Duration::from_secs(190)), Heard::Changed);
        assert_eq!(story.reason(), Reason::ProbeStale);
        let mut red = Story::of_a_new_target(tempo(3, 1));
        red.hears(&failed(FailureClass::TimedOut));
        assert_eq!(red.belief.expire(&red.tempo, red.now + Duration::from_secs(86_400)), Heard::Unchanged);
    }

    #[test]
    fn a_shorter_interval_does_not_make_an_honest_green_stale_at_once() {
        let mut story = Story::of_a_green(tempo(3, 1));
        let later = story.now + Duration::from_secs(100);
        story.tempo.interval = Duration::from_secs(5);
        story.belief.tempo_changed(later);
        assert_eq!(story.belief.expire(&story.tempo, later), Heard::Unchanged);
        assert_eq!(story.belief.expire(&story.tempo, later + Duration::from_secs(25)), Heard::Changed);
    }

    #[test]
    fn a_stored_true_counts_as_ready_without_failures() {
        let now = Instant::now();
        let mut belief = Belief::remembered(Memory::Ready, now);
        let tempo = tempo(2, 1);
        assert!(belief.verdict().is_ready());
        assert_eq!(belief.hear(&failed(FailureClass::TimedOut), &tempo, now), Heard::HeldBack);
        assert_eq!(belief.hear(&failed(FailureClass::TimedOut), &tempo, now), Heard::Changed);
    }

    #[test]
    fn a_stored_green_expires_too_counted_from_first_sight() {
        let now = Instant::now();
        let mut belief = Belief::remembered(Memory::Ready, now);
        assert_eq!(belief.expire(&tempo(3, 1), now + Duration::from_secs(190)), Heard::Changed);
    }

    #[test]
    fn only_values_that_were_accepted_count_as_authenticated() {
        let mut story = Story::of_a_new_target(tempo(3, 1));
        story.hears(&failed(FailureClass::WrongCredentials));
        assert!(!story.belief.authenticated());
        story.hears(&failed(FailureClass::TargetNotFound));
        assert!(story.belief.authenticated(), "the target is missing, yet the login was accepted");
    }

    #[test]
    fn held_back_failures_are_looked_at_again_soon() {
        let mut story = Story::of_a_green(tempo(5, 1));
        assert!(story.belief.wait(&story.tempo, 0.5) > Duration::from_secs(50));
        story.hears(&failed(FailureClass::TimedOut));
        assert_eq!(story.belief.wait(&story.tempo, 0.5), Duration::from_secs(5));
        story.hears(&failed(FailureClass::TimedOut));
        assert_eq!(story.belief.wait(&story.tempo, 0.5), Duration::from_secs(10));
    }

    #[test]
    fn a_broken_one_is_looked_at_less_and_less_often() {
        let mut story = Story::of_a_new_target(tempo(1, 1));
        let mut waits = Vec::new();
        for _ in 0..4 {
            story.hears(&failed(FailureClass::TimedOut));
            waits.push(story.belief.wait(&story.tempo, 0.5).as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 60]);
    }

    #[test]
    fn one_that_the_server_counts_against_us_is_looked_at_rarely_until_another_outcome() {
        let counted =
            Arc::new(Report::failed(Stage::Reach, Failure::new(FailureClass::TimedOut), Vec::new()).broken_off());
        for held_back in [1, 9] {
            let mut story = Story::of_a_green(tempo(held_back + 1, 1));
            let wait = |story: &Story| story.belief.wait(&story.tempo, 0.5).as_secs();
            for _ in 0..held_back {
                assert_eq!(story.hears(&counted), Heard::HeldBack);
                assert!(wait(&story) <= 60, "a green is looked after soon");
            }
            for seconds in [300, 600, 1200] {
                story.hears(&counted);
                assert_eq!(wait(&story), seconds, "the login before has reset the server's count");
            }
            story.hears(&failed(FailureClass::ConnectionRefused));
            assert_eq!(wait(&story), 60);
            story.hears(&counted);
            assert_eq!(wait(&story), 300);
        }
    }
}
