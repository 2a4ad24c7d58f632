//! Everything the engine decides: who is due, who may run, what an outcome does to a belief, when to wake next.
//!
//! Pure: `now` is passed in, and a probe is only carried (`P`), never run. The engine is its I/O shell.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::Arc,
    time::Instant,
};

use crate::{
    connections::{ConnectionType, Lockout, Workplace},
    failure::{Failure, FailureClass, Reason, Report, Stage},
    secret::Digest,
};

use super::{
    Subject, Tempo,
    permits::{Permits, Ticket, Urgency},
    rejections::{Leave, Rejections, rejects},
    schedule,
    verdict::{Belief, Heard, Memory, Verdict},
};

/// One connection to look at, as the reconciler hands it over.
#[derive(Clone, Debug)]
pub struct Look<P> {
    /// Whose.
    pub subject: Subject,
    /// Its type.
    pub kind: ConnectionType,
    /// What is probed: the fingerprint of settings, credentials, TLS, permissions and the values used.
    pub target: Digest,
    /// Who logs in where with what; `None` where nobody does.
    pub credential: Option<Digest>,
    /// Whether a rejection can lock the account.
    pub lockout: Lockout,
    /// The check.
    pub probe: P,
    /// Where the check works.
    pub workplace: Workplace,
    /// How it is probed.
    pub tempo: Tempo,
    /// What the stored status says, where it is history of this very target; used at first sight only.
    pub memory: Option<Memory>,
}

/// A probe to start.
#[derive(Debug)]
pub struct Start<P> {
    /// Names the run when it ends.
    pub run: RunId,
    /// Whose.
    pub subject: Subject,
    /// Its type.
    pub kind: ConnectionType,
    /// The check.
    pub probe: P,
    /// Its deadline.
    pub timeout: std::time::Duration,
}

/// One run of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(u64);

/// What is due.
#[derive(Debug)]
pub struct Due<P> {
    /// Probes to start.
    pub starts: Vec<Start<P>>,
    /// Connections whose verdict changed without a probe.
    pub changes: Vec<Change>,
}

/// A verdict that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub subject: Subject,
    /// Its type.
    pub kind: ConnectionType,
    /// The verdict's reason before.
    pub before: Reason,
    /// The verdict's reason now.
    pub after: Reason,
}

/// What came of a run that ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was for an object, target or digest of before, and counts for nothing.
    Dropped,
    /// It counted, and changed the verdict.
    Changed(Change),
    /// It counted, and changed nothing.
    Unchanged,
    /// It speaks against the verdict, and does not change it yet.
    HeldBack(Subject, ConnectionType),
}

/// The belief about one Connection as the reconciler reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// What it is about.
    pub target: Digest,
    /// What is believed.
    pub verdict: Verdict,
    /// Whether the values used now have authenticated.
    pub authenticated: bool,
}

/// All Connections that are looked at.
#[derive(Debug)]
pub struct Roster<P> {
    entries: HashMap<Arc<str>, Entry<P>>,
    /// When the last probe of those began that were forgotten just now, since they may come back.
    gone: HashMap<Arc<str>, Instant>,
    alarms: BTreeSet<(Instant, Arc<str>)>,
    rejections: Rejections,
    permits: Permits,
    runs: HashMap<RunId, Run>,
    last_run: u64,
}

#[derive(Debug)]
struct Entry<P> {
    look: Look<P>,
    belief: Belief,
    activity: Activity,
    urgency: Urgency,
    last_start: Option<Instant>,
    /// Probes begun, which spreads the next one.
    begun: u32,
    alarm: Option<Instant>,
    asked: Asked,
}

/// Whether someone asked for a probe while one was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// The next probe starts then.
    Resting(Instant),
    /// It stands in line for a permit.
    InLine,
    /// It waits for a sibling's first login.
    Waiting,
    /// It runs.
    Running(RunId),
}

#[derive(Debug)]
struct Run {
    ticket: Ticket,
    credential: Option<(Digest, Lockout)>,
}

impl<P: Clone> Roster<P> {
    /// Nobody yet; at most `permits` probes at once.
    pub fn new(permits: NonZeroUsize) -> Self {
        Self {
            entries: HashMap::new(),
            gone: HashMap::new(),
            alarms: BTreeSet::new(),
            rejections: Rejections::default(),
            permits: Permits::new(permits),
            runs: HashMap::new(),
            last_run: 0,
        }
    }

    /// Takes a connection over, or notices that it changed. A new target is looked at at once.
    pub fn set(&mut self, look: Look<P>, now: Instant) {
        let uid = Arc::clone(&look.subject.uid);
        match self.entries.remove(&uid) {
            None => self.first_sight(look, now),
            Some(entry) if entry.look.target == look.target && entry.look.credential == look.credential => {
                self.same_target(entry, look, now);
            }
            Some(entry) => self.new_target(entry, look, now),
        }
        self.set_alarm(&uid);
    }

    /// Notices that a connection is probed at another pace; its verdict stays.
    pub fn retune(&mut self, uid: &str, tempo: Tempo, now: Instant) {
        let Some((uid, entry)) = self.entries.remove_entry(uid) else { return };
        if entry.look.tempo == tempo {
            self.entries.insert(uid, entry);
            return;
        }
        let look = Look { tempo, ..entry.look.clone() };
        self.same_target(entry, look, now);
        self.set_alarm(&uid);
    }

    /// Someone asked for a probe now.
    pub fn request(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if let Some(credential) = entry.look.credential {
            self.rejections.permit(credential, now);
        }
        match entry.activity {
            Activity::Resting(_) => {
                entry.activity = Activity::Resting(entry.not_before(now));
                entry.urgency = Urgency::New;
            }
            // What runs has begun before the request: its end is followed by one more.
            Activity::Running(_) => entry.asked = Asked::Yes,
            Activity::InLine | Activity::Waiting => {}
        }
        self.set_alarm(uid);
    }

    /// Forgets a connection. A run of it that is in flight will be dropped.
    pub fn remove(&mut self, uid: &str, now: Instant) {
        let Some((uid, entry)) = self.entries.remove_entry(uid) else { return };
        if let Some(alarm) = entry.alarm {
            self.alarms.remove(&(alarm, Arc::clone(&uid)));
        }
        if let Some(credential) = entry.look.credential {
            self.rejections.release(credential, now);
        }
        if let Some(last) = entry.last_start {
            self.gone.insert(uid, last);
        }
    }

    /// What is believed about a connection.
    pub fn opinion(&self, uid: &str) -> Option<Opinion> {
        let entry = self.entries.get(uid)?;
        Some(Opinion {
            target: entry.look.target,
            verdict: entry.belief.verdict().clone(),
            authenticated: entry.belief.authenticated(),
        })
    }

    /// When [`Roster::due`] has something to do next, as far as time alone decides.
    pub fn wake_at(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Probes in flight, and probes in line for a permit.
    pub fn load(&self) -> (usize, usize) {
        (self.permits.running(), self.permits.waiting())
    }

    /// Everything whose time has come.
    pub fn due(&mut self, now: Instant) -> Due<P> {
        let mut due = Due { starts: Vec::new(), changes: Vec::new() };
        self.gone.retain(|_, last| *last + schedule::MIN_GAP > now);
        while let Some((at, _)) = self.alarms.first() {
            if *at > now {
                break;
            }
            let Some((_, uid)) = self.alarms.pop_first() else { break };
            self.ring(&uid, now, &mut due);
            self.set_alarm(&uid);
        }
        while let Some(ticket) = self.permits.admit() {
            self.admit(ticket, now, &mut due);
        }
        due
    }

    /// Hears the end of a run.
    pub fn ended(&mut self, run: RunId, report: &Arc<Report>, now: Instant) -> Ended {
        let Some(Run { ticket, credential }) = self.runs.remove(&run) else { return Ended::Dropped };
        self.permits.give_back(&ticket);
        if let Some((credential, lockout)) = credential {
            // Also where the outcome is dropped below: the server has counted the login.
            let concerned = self.rejections.heard(credential, report, lockout, now);
            for uid in concerned.waiting {
                if let Some(entry) = self.entries.get_mut(&uid).filter(|e| e.activity == Activity::Waiting) {
                    entry.activity = Activity::Resting(now);
                }
                self.set_alarm(&uid);
            }
            if concerned.refuted {
                self.wake_the_rejected(credential, now);
            }
        }
        let ended = match self.entries.get(&ticket.uid) {
            Some(entry) if entry.activity == Activity::Running(run) => self.hear(&ticket.uid, report, now),
            Some(_) | None => Ended::Dropped,
        };
        self.set_alarm(&ticket.uid);
        ended
    }

    /// A login was accepted that is known as rejected: whoever took that over looks as soon as it may.
    fn wake_the_rejected(&mut self, credential: Digest, now: Instant) {
        let mut woken = Vec::new();
        for (uid, entry) in &mut self.entries {
            let resting = matches!(entry.activity, Activity::Resting(_));
            let rejected = entry.belief.verdict().reason().is_rejection();
            if resting && rejected && entry.look.credential == Some(credential) {
                entry.activity = Activity::Resting(entry.not_before(now));
                woken.push(Arc::clone(uid));
            }
        }
        for uid in woken {
            self.set_alarm(&uid);
        }
    }

    fn first_sight(&mut self, look: Look<P>, now: Instant) {
        let spread = schedule::spread(&look.subject.uid, 0);
        if let Some(credential) = look.credential {
            self.rejections.hold(credential);
        }
        let (belief, start) = match look.memory {
            None => (Belief::new(now), now),
            Some(memory) => {
                let mut start = now + schedule::after_restart(&look.tempo, spread);
                if let (Memory::Ready, Some(credential)) = (memory, look.credential) {
                    self.rejections.remember_accepted(credential, now);
                }
                if let (Memory::NotReady(reason), Some(credential)) = (memory, look.credential)
                    && reason.is_rejection()
                {
                    let report = Arc::new(remembered_rejection(reason));
                    self.rejections.remember(credential, report, look.lockout, now);
                    if self.rejections.retry_at(credential).is_some() {
                        start = now + schedule::after_rejection(1, look.lockout);
                    }
                }
                (Belief::remembered(memory, now), start)
            }
        };
        let urgency = if look.memory.is_none() { Urgency::New } else { Urgency::Routine };
        let uid = Arc::clone(&look.subject.uid);
        let last_start = self.gone.remove(&uid);
        let activity = Activity::Resting(start);
        let mut entry = Entry { look, belief, activity, urgency, last_start, begun: 0, alarm: None, asked: Asked::No };
        entry.activity = Activity::Resting(entry.not_before(start));
        self.entries.insert(uid, entry);
    }

    fn same_target(&mut self, mut entry: Entry<P>, look: Look<P>, now: Instant) {
        let changed = entry.look.tempo != look.tempo;
        entry.look = look;
        if changed {
            entry.belief.tempo_changed(now);
            // What took a rejection waits for its slow retry, whatever the interval.
            let rejected = entry.belief.verdict().reason().is_rejection();
            let retry = entry.look.credential.filter(|_| rejected).and_then(|c| self.rejections.retry_at(c));
            if let (Activity::Resting(at), None) = (entry.activity, retry) {
                let wait = entry.belief.wait(&entry.look.tempo, entry.spread());
                let next = entry.not_before((entry.last_start.unwrap_or(now) + wait).max(now));
                // A longer interval takes effect after the probe that is due; a shorter one at once.
                entry.activity = Activity::Resting(next.min(at.max(now)));
            }
        }
        self.entries.insert(Arc::clone(&entry.look.subject.uid), entry);
    }

    fn new_target(&mut self, mut entry: Entry<P>, look: Look<P>, now: Instant) {
        if let Some(credential) = look.credential {
            self.rejections.hold(credential);
            self.rejections.permit(credential, now);
        }
        if let Some(credential) = entry.look.credential {
            self.rejections.release(credential, now);
        }
        entry.look = look;
        entry.belief = Belief::new(now);
        entry.urgency = Urgency::New;
        entry.asked = Asked::No;
        // A run in flight is for the old target: it ends as it likes, and is dropped; so is an old place in line.
        entry.activity = Activity::Resting(entry.not_before(now));
        self.entries.insert(Arc::clone(&entry.look.subject.uid), entry);
    }

    /// One alarm: a green expires, or a probe is due.
    fn ring(&mut self, uid: &Arc<str>, now: Instant, due: &mut Due<P>) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.alarm = None;
        let before = entry.belief.verdict().reason();
        if entry.belief.expire(&entry.look.tempo, now) == Heard::Changed {
            due.changes.push(entry.change(before));
        }
        if matches!(entry.activity, Activity::Resting(at) if at <= now) {
            entry.activity = Activity::InLine;
            self.permits.queue(Ticket {
                uid: Arc::clone(uid),
                namespace: Arc::clone(&entry.look.subject.namespace),
                urgency: entry.urgency,
                workplace: entry.look.workplace,
            });
        }
    }

    /// A ticket got its permit: run, take a sibling's verdict, or wait for one.
    fn admit(&mut self, ticket: Ticket, now: Instant, due: &mut Due<P>) {
        let Some(entry) = self.entries.get_mut(&ticket.uid).filter(|e| e.activity == Activity::InLine) else {
            self.permits.give_back(&ticket);
            return;
        };
        let leave = match entry.look.credential {
            None => Leave::Dial,
            Some(credential) => self.rejections.ask(credential, &ticket.uid, now),
        };
        match leave {
            Leave::Dial => {
                self.last_run += 1;
                let run = RunId(self.last_run);
                entry.activity = Activity::Running(run);
                entry.last_start = Some(now);
                entry.begun = entry.begun.wrapping_add(1);
                due.starts.push(Start {
                    run,
                    subject: entry.look.subject.clone(),
                    kind: entry.look.kind,
                    probe: entry.look.probe.clone(),
                    timeout: entry.look.tempo.timeout,
                });
                let credential = entry.look.credential.map(|credential| (credential, entry.look.lockout));
                self.runs.insert(run, Run { ticket, credential });
            }
            Leave::Wait => {
                entry.activity = Activity::Waiting;
                self.permits.give_back(&ticket);
            }
            Leave::Take(report) => {
                self.permits.give_back(&ticket);
                let uid = ticket.uid;
                if let Ended::Changed(change) = self.hear(&uid, &report, now) {
                    due.changes.push(change);
                }
                self.set_alarm(&uid);
            }
        }
    }

    /// An outcome for the target in force: believe it, and say when to look next.
    fn hear(&mut self, uid: &str, report: &Arc<Report>, now: Instant) -> Ended {
        let Some(entry) = self.entries.get_mut(uid) else { return Ended::Dropped };
        let before = entry.belief.verdict().reason();
        let heard = entry.belief.hear(report, &entry.look.tempo, now);
        entry.urgency = Urgency::Routine;
        let retry = entry.look.credential.filter(|_| rejects(report)).and_then(|c| self.rejections.retry_at(c));
        let wait = entry.belief.wait(&entry.look.tempo, entry.spread());
        let mut next = retry.unwrap_or_else(|| entry.last_start.unwrap_or(now) + wait);
        if std::mem::replace(&mut entry.asked, Asked::No) == Asked::Yes {
            entry.urgency = Urgency::New;
            next = now;
            if let Some(credential) = entry.look.credential {
                self.rejections.permit(credential, now);
            }
        }
        entry.activity = Activity::Resting(entry.not_before(next.max(now)));
        match heard {
            Heard::Changed => Ended::Changed(entry.change(before)),
            Heard::Unchanged => Ended::Unchanged,
            Heard::HeldBack => Ended::HeldBack(entry.look.subject.clone(), entry.look.kind),
        }
    }

    fn set_alarm(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let probe = match entry.activity {
            Activity::Resting(at) => Some(at),
            Activity::InLine | Activity::Waiting | Activity::Running(_) => None,
        };
        let alarm = probe.into_iter().chain(entry.belief.expires(&entry.look.tempo)).min();
        if alarm == entry.alarm {
            return;
        }
        let uid = Arc::clone(&entry.look.subject.uid);
        if let Some(old) = std::mem::replace(&mut entry.alarm, alarm) {
            self.alarms.remove(&(old, Arc::clone(&uid)));
        }
        if let Some(new) = alarm {
            self.alarms.insert((new, uid));
        }
    }
}

impl<P> Entry<P> {
    fn spread(&self) -> f64 {
        schedule::spread(&self.look.subject.uid, self.begun)
    }

    /// `wanted`, or later where the last probe started less than [`schedule::MIN_GAP`] before.
    fn not_before(&self, wanted: Instant) -> Instant {
        self.last_start.map_or(wanted, |last| wanted.max(last + schedule::MIN_GAP))
    }

    fn change(&self, before: Reason) -> Change {
        let after = self.belief.verdict().reason();
        Change { subject: self.look.subject.clone(), kind: self.look.kind, before, after }
    }
}

/// The report that siblings of a stored rejection take, until the first login of this process.
fn remembered_rejection(reason: Reason) -> Report {
    let class = FailureClass::ALL.into_iter().find(|class| class.row().reason == reason);
    Report::failed(Stage::Authenticate, Failure::new(class.unwrap_or(FailureClass::WrongCredentials)), Vec::new())
}

#[cfg(test)]
mod tests;
