//! What one probe found, in a form that cannot say anything after a failed stage.

use std::{borrow::Cow, time::Duration};

use super::{Failure, FailureClass, Setting, Stage};

/// What a probe that passed has proven: all that was asked for, but what is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    unproven: Vec<Cow<'static, str>>,
}

impl Proof {
    /// The same, but these were not proven although they may matter. A permission that was asked for and cannot be proven is
    /// [`FailureClass::NotProvable`] instead.
    #[must_use]
    pub fn but(mut self, unproven: impl IntoIterator<Item = &'static str>) -> Self {
        self.unproven.extend(unproven.into_iter().map(Cow::Borrowed));
        self
    }

    /// The same, at another host than these, which come before it and are of no use now.
    #[must_use]
    pub fn past(mut self, hosts: impl IntoIterator<Item = Setting>) -> Self {
        let unused = |host| Cow::Owned(format!("that {host} can be used, since it could not"));
        self.unproven.extend(hosts.into_iter().map(unused));
        self
    }

    /// What was not proven although it may matter; said in the `Verified` message only.
    pub fn unproven(&self) -> &[Cow<'static, str>] {
        &self.unproven
    }
}

/// What one probe found. At most one stage is other than passed: those before it passed, those after it were not checked.
/// No other report can be written.
#[derive(Clone, Debug)]
pub struct Report {
    end: Result<Proof, (Stage, Failure)>,
    steps: Vec<(Stage, Duration)>,
    broken_off: bool,
    anonymous: bool,
}

impl PartialEq for Report {
    /// Two reports are equal when they say the same; how long the stages took, and what the server thinks of it, does not matter.
    fn eq(&self, other: &Self) -> bool {
        (&self.end, self.anonymous) == (&other.end, other.anonymous)
    }
}

impl Eq for Report {}

/// What a report says about one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<'a> {
    /// The stage passed.
    Passed,
    /// The stage did not pass.
    Failed(&'a Failure),
    /// The stage was not looked at.
    NotChecked,
}

impl Report {
    /// The report of a probe that passed; `steps` are the stages it went through and how long each took.
    pub const fn passed(proof: Proof, steps: Vec<(Stage, Duration)>) -> Self {
        Self { end: Ok(proof), steps, broken_off: false, anonymous: false }
    }

    /// The report of a probe that ended while `current` was in progress. The class of the failure may name another stage.
    pub fn failed(current: Stage, failure: Failure, steps: Vec<(Stage, Duration)>) -> Self {
        let stage = failure.class().row().stage.unwrap_or(current);
        // Before anything was dialled no peer can be blamed: a deadline there is ours.
        let ours = stage == Stage::Resolve && failure.class().row().stage.is_none();
        let failure = if ours { failure.reclassed(FailureClass::Internal) } else { failure };
        Self { end: Err((stage, failure)), steps, broken_off: false, anonymous: false }
    }

    /// The same, of a look that ended where the server counts that against the address it came from.
    #[must_use]
    pub const fn broken_off(mut self) -> Self {
        self.broken_off = true;
        self
    }

    /// Whether the server has counted the look against the address it came from.
    pub const fn was_broken_off(&self) -> bool {
        self.broken_off
    }

    /// The same, of a look at which nobody checked who we are, also where it ended later.
    #[must_use]
    pub const fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Whether nobody checked who we are: this connection is used without a login.
    pub const fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// What it says about `stage`.
    pub fn at(&self, stage: Stage) -> Finding<'_> {
        match &self.end {
            Ok(_) => Finding::Passed,
            Err((failed, _)) if stage < *failed => Finding::Passed,
            Err((failed, failure)) if stage == *failed => Finding::Failed(failure),
            Err(_) => Finding::NotChecked,
        }
    }

    /// The stage that did not pass and why; `None` where all passed.
    pub fn failure(&self) -> Option<(Stage, &Failure)> {
        self.end.as_ref().err().map(|(stage, failure)| (*stage, failure))
    }

    /// What was proven; `None` where a stage did not pass.
    pub fn proof(&self) -> Option<&Proof> {
        self.end.as_ref().ok()
    }

    /// Whether both passed, and differ in nothing but what was proven.
    pub fn proves_otherwise(&self, other: &Self) -> bool {
        self.proof().is_some() && other.proof().is_some() && self.anonymous == other.anonymous && self != other
    }

    /// The stages in the order they were entered, and how long each took.
    pub fn steps(&self) -> &[(Stage, Duration)] {
        &self.steps
    }

    /// Whether the credentials were accepted by the server.
    pub fn authenticated(&self) -> bool {
        matches!(self.at(Stage::Authenticate), Finding::Passed) && !self.anonymous
    }
}
