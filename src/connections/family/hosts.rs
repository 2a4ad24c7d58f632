//! One system at several hosts, of which one that is of use is enough: they are asked one after the other.

use std::time::Duration;

use crate::{
    failure::{Failure, FailureClass, Outlook, Setting, Stage},
    net::{Endpoint, Network},
};

/// The part of the time that is left which the hosts have between them, so that the causes are known before the deadline strikes.
const PART: f32 = 0.9;

/// How the look at one host ended, where it does not serve.
#[derive(Debug)]
pub enum End {
    /// It is of no use now; the next one may be.
    Missed(Missed),
    /// It has judged, and that counts: nobody is asked twice about a login.
    Judged(Failure),
}

/// Why a host is of no use now.
#[derive(Debug)]
pub struct Missed {
    /// What was in progress there when that was known.
    pub stage: Stage,
    /// What went wrong.
    pub failure: Failure,
    /// Where it answers, and says itself that it does not serve: why.
    pub idle: Option<Idle>,
}

/// Why a host that answers does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idle {
    /// It is starting, or changes its part.
    Starting,
    /// Another one does.
    Standby,
}

impl Idle {
    const fn words(self) -> &'static str {
        match self {
            Self::Starting => "cannot serve yet",
            Self::Standby => "is a standby",
        }
    }
}

impl Missed {
    /// It is of no use, since this went wrong while `stage` was in progress.
    pub const fn at(stage: Stage, failure: Failure) -> Self {
        Self { stage, failure, idle: None }
    }

    /// Which one is told of several, the lowest first: of a standby one it is known that it would not do, so it is why the others do
    /// not that matters; and of those, one that may be of use by itself soon, since all that is told of the others is that they are
    /// of no use either.
    fn rank(&self) -> impl Ord {
        let hope = match self.failure.reason().outlook() {
            Outlook::Transient => 0,
            Outlook::Neutral => 1,
            _ => 2,
        };
        (self.idle == Some(Idle::Standby), hope, self.idle)
    }
}

/// Those of the hosts that had their turn, and were of no use.
#[derive(Debug)]
pub struct Turns<'a> {
    all: usize,
    missed: Vec<(&'a Endpoint, Missed)>,
}

impl<'a> Turns<'a> {
    /// Before any of so many hosts was asked.
    pub const fn of(all: usize) -> Self {
        Self { all, missed: Vec::new() }
    }

    /// How long the next host may take to be of use. `None` where it is the only one: the probe's own deadline is the one.
    pub fn share(&self, net: &Network) -> Option<Duration> {
        let left = u32::try_from(self.all.saturating_sub(self.missed.len()).max(1)).unwrap_or(u32::MAX);
        (self.all > 1).then(|| net.remaining().mul_f32(PART) / left)
    }

    /// The next host was `host`, and is of no use.
    pub fn miss(&mut self, host: &'a Endpoint, missed: Missed) {
        self.missed.push((host, missed));
    }

    /// The hosts before one that serves, each of which should have been of use. One that stands by is.
    pub fn passed_over(&self) -> impl Iterator<Item = Setting> {
        let unused = self.missed.iter().filter(|(_, missed)| missed.idle != Some(Idle::Standby));
        unused.map(|(host, _)| host.shown())
    }

    /// No host is of use: why one of them is not, and in a word why each other is not.
    pub fn nobody_serves(mut self, net: &Network) -> Failure {
        let told = (0..self.missed.len()).min_by_key(|n| self.missed[*n].1.rank());
        let Some(told) = told else { return Failure::new(FailureClass::Internal) };
        let (host, Missed { stage, failure, idle: _ }) = self.missed.remove(told);
        // Others were asked since.
        net.turn_to(host);
        net.step(stage);
        self.missed.iter().fold(failure.about_at_least(&host.shown()), |failure, (other, missed)| {
            let why = missed.idle.map_or_else(|| missed.failure.reason().as_str(), Idle::words);
            failure.setting(Setting::from_spec(format!("{}: {why}", other.shown())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(class: FailureClass, idle: Option<Idle>) -> Missed {
        Missed { idle, ..Missed::at(Stage::Reach, Failure::new(class)) }
    }

    #[test]
    fn of_several_hosts_the_one_is_told_that_may_be_of_use_soon_and_a_standby_one_never_before_another() {
        let order = [
            missed(FailureClass::ConnectionRefused, None),
            missed(FailureClass::ServerUnavailable, Some(Idle::Starting)),
            missed(FailureClass::Throttled, None),
            missed(FailureClass::AddressNotAllowed, None),
            missed(FailureClass::ServerUnavailable, Some(Idle::Standby)),
        ];
        for (n, told) in order.iter().enumerate() {
            assert!(order[n + 1..].iter().all(|later| told.rank() < later.rank()), "{told:?}");
        }
    }

    #[test]
    fn a_host_that_stands_by_is_not_passed_over() {
        let hosts = ["a", "b", "c"].map(|host| Endpoint::exactly(host, 1));
        let mut turns = Turns::of(4);
        turns.miss(&hosts[0], missed(FailureClass::ConnectionRefused, None));
        turns.miss(&hosts[1], missed(FailureClass::ServerUnavailable, Some(Idle::Standby)));
        turns.miss(&hosts[2], missed(FailureClass::ServerUnavailable, Some(Idle::Starting)));
        let passed_over: Vec<String> = turns.passed_over().map(|host| host.to_string()).collect();
        assert_eq!(passed_over, ["a:1", "c:1"]);
    }
}
