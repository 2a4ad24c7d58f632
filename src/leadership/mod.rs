//! Leader election on a Lease, so that one of several replicas probes and writes.
//!
//! It promises that a process has stopped writing before another may begin ([`Fence`]), and that a leader which goes on
//! purpose hands over at once. It decides nothing else, and no write of the operator's own goes through here.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::secret::Digest;

pub mod election;

pub use crate::observability::metrics::Role;
use election::{ATTEMPT, Candidate, LEASE, Step, Term};

/// Name of the Lease, where neither namespaces nor a selector narrow what is acted on.
pub const LEASE_NAME: &str = "connection-operator";

/// Time for giving the Lease back; whoever cannot within it lets others wait for the Lease to run out.
const RELEASE_DEADLINE: Duration = Duration::from_secs(2);

/// The Lease that those who act on the same Connections compete for.
///
/// Replicas with other `--namespaces` or another `--selector` act on other Connections and must not keep each other from
/// leading: their Leases carry a fingerprint of both, `connection-operator-1a2b3c4d`. The order of namespaces is of no
/// importance; a selector is taken as it is written.
pub fn lease_name(namespaces: &[String], selector: Option<&str>) -> String {
    if namespaces.is_empty() && selector.is_none() {
        return LEASE_NAME.to_owned();
    }
    let mut namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let listed = namespaces.join(",");
    let digest = Digest::of([listed.as_bytes(), selector.unwrap_or_default().as_bytes()]);
    let [a, b, c, d, ..] = digest.bytes();
    format!("{LEASE_NAME}-{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// Which Lease a process competes for, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// The process's own name, which no other process ever has.
    pub identity: String,
}

/// Whether this process may write now. Every write asks it, since a process can be stopped for any time between a decision
/// and what follows from it.
#[derive(Clone, Debug)]
pub struct Fence(Option<watch::Receiver<Option<Instant>>>);

impl Fence {
    /// A fence that is never closed: there are no other replicas.
    pub const fn open() -> Self {
        Self(None)
    }

    /// A fence that closes then, unless it is told otherwise.
    #[cfg(test)]
    pub(crate) fn closing_at(end: Instant) -> (watch::Sender<Option<Instant>>, Self) {
        let (sender, receiver) = watch::channel(Some(end));
        (sender, Self(Some(receiver)))
    }

    /// Whether a write may begin.
    pub fn holds(&self, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|until| until.borrow().is_some_and(|until| now < until))
    }

    /// Waits for the moment from which on nothing may be written; what is in flight then must be given up.
    pub async fn closed(&self) {
        let Some(until) = &self.0 else { return std::future::pending().await };
        let mut until = until.clone();
        loop {
            let end = match *until.borrow_and_update() {
                Some(end) if Instant::now() < end => end,
                Some(_) | None => return,
            };
            tokio::select! {
                () = sleep_until(end) => {}
                changed = until.changed() => if changed.is_err() {
                    // Nobody renews any more.
                    return sleep_until(end).await;
                }
            }
        }
    }
}

/// This process's part in the election.
#[derive(Debug)]
pub struct Leadership {
    role: watch::Receiver<Role>,
    fence: Fence,
    token: CancellationToken,
    campaign: Option<JoinHandle<()>>,
}

impl Leadership {
    /// Competes for the Lease until `token` is cancelled or [`release`](Self::release) is called; then the Lease is given
    /// back. So whoever cancels `token` has ended all that writes before.
    ///
    /// `client` needs the verbs get, watch, create and update on Leases. It must not be one that asks the [`Fence`].
    pub fn campaign(client: Client, seat: Seat, token: &CancellationToken) -> Self {
        let (role, role_receiver) = watch::channel(Role::Follower);
        let (until, until_receiver) = watch::channel(None);
        let token = token.child_token();
        let campaign = Campaign {
            api: Api::namespaced(client, &seat.namespace),
            name: seat.name,
            candidate: Candidate::new(seat.identity),
            lease: None,
            changes: None,
            role,
            until,
            trouble: Trouble::None,
            write_under_way: false,
        };
        let campaign = tokio::spawn(campaign.run(token.clone()));
        Self { role: role_receiver, fence: Fence(Some(until_receiver)), token, campaign: Some(campaign) }
    }

    /// Leads without asking anyone: there are no other replicas.
    pub fn unopposed() -> Self {
        let (_, role) = watch::channel(Role::Leader);
        Self { role, fence: Fence::open(), token: CancellationToken::new(), campaign: None }
    }

    /// What this process is, and each change of it.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// What every write asks.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Gives the Lease back, so that another replica leads within a moment. All that writes has ended before. It returns
    /// after two seconds at the latest; others then have to wait until the Lease runs out.
    pub async fn release(mut self) {
        self.token.cancel();
        if let Some(campaign) = self.campaign.take()
            && campaign.await.is_err()
        {
            tracing::error!("the election ended early");
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

type Changes = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Lease>>> + Send>>;

/// Whether requests fail, so that a long failure is logged once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Failing,
}

struct Campaign {
    api: Api<Lease>,
    name: String,
    candidate: Candidate,
    /// The object last seen, which writes start from.
    lease: Option<Lease>,
    /// The watch of a follower.
    changes: Option<Changes>,
    role: watch::Sender<Role>,
    until: watch::Sender<Option<Instant>>,
    trouble: Trouble,
    /// A write was sent and its answer not heard yet.
    write_under_way: bool,
}

impl Campaign {
    async fn run(mut self, token: CancellationToken) {
        while token.run_until_cancelled(self.turn()).await.is_some() {}
        let may_hold = self.candidate.fence().is_some() || self.write_under_way;
        self.candidate.stepped_down();
        self.publish();
        if may_hold && timeout_at(Instant::now() + RELEASE_DEADLINE, self.give_back()).await.is_err() {
            tracing::warn!(lease = self.name, "the Lease could not be given back in time");
        }
    }

    /// One step. It may be dropped at any await: what was sent is then treated as a failed request.
    async fn turn(&mut self) {
        match self.candidate.next(Instant::now()) {
            Step::Wait(until) => self.wait(until).await,
            Step::StepDown => self.candidate.stepped_down(),
            Step::Look => self.look().await,
            Step::Create | Step::Take | Step::Renew => self.write().await,
        }
        self.publish();
    }

    async fn wait(&mut self, until: Instant) {
        // A leader needs no watch: its renewal tells it when it is no longer the holder.
        let Some(version) = self.candidate.version().filter(|_| self.candidate.fence().is_none()) else {
            self.changes = None;
            return sleep_until(until).await;
        };
        let mut changes = if let Some(changes) = self.changes.take() {
            changes
        } else {
            let parameters = WatchParams::default().fields(&format!("metadata.name={}", self.name));
            match timeout_at(until, self.api.watch(&parameters, version)).await {
                Ok(Ok(changes)) => {
                    self.trouble = Trouble::None;
                    Box::pin(changes)
                }
                Ok(Err(error)) => return self.request_failed(&error.to_string()),
                Err(_) => return,
            }
        };
        match timeout_at(until, changes.next()).await {
            Ok(Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)))) => {
                self.saw(Some(lease));
                self.changes = Some(changes);
            }
            Ok(Some(Ok(WatchEvent::Deleted(_)))) => self.saw(None),
            Ok(Some(Ok(WatchEvent::Bookmark(_)))) => self.changes = Some(changes),
            Ok(Some(Err(_) | Ok(WatchEvent::Error(_))) | None) => self.candidate.failed(Instant::now()),
            Err(_) => {}
        }
    }

    async fn look(&mut self) {
        let looked = timeout_at(self.deadline(), self.api.get_opt(&self.name)).await;
        match looked {
            Ok(Ok(lease)) => self.saw(lease),
            Ok(Err(error)) => self.request_failed(&error.to_string()),
            Err(_) => self.request_failed("no answer in time"),
        }
    }

    /// Creates, takes or renews: what is written is the same, over the version last seen.
    async fn write(&mut self) {
        self.changes = None;
        let began = Instant::now();
        let lease = held(self.lease.clone(), &self.name, self.candidate.identity());
        let parameters = PostParams::default();
        self.write_under_way = true;
        let written = if self.lease.is_some() {
            timeout_at(self.deadline(), self.api.replace(&self.name, &parameters, &lease)).await
        } else {
            timeout_at(self.deadline(), self.api.create(&parameters, &lease)).await
        };
        self.write_under_way = false;
        match written {
            Ok(Ok(lease)) => {
                self.candidate.wrote(term(&lease), began, Instant::now());
                self.lease = Some(lease);
                self.trouble = Trouble::None;
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => self.candidate.conflicted(),
            Ok(Err(error)) => self.request_failed(&error.to_string()),
            Err(_) => self.request_failed("no answer in time"),
        }
    }

    async fn give_back(&mut self) {
        if let Err(error) = self.try_to_give_back().await {
            tracing::warn!(lease = self.name, %error, "the Lease could not be given back");
        }
    }

    async fn try_to_give_back(&mut self) -> kube::Result<()> {
        if self.write_under_way {
            self.lease = self.api.get_opt(&self.name).await?;
        }
        while let Some(lease) = &self.lease
            && lease_holder(lease) == Some(self.candidate.identity())
        {
            match self.api.replace(&self.name, &PostParams::default(), &given_back(lease.clone())).await {
                // A renewal whose answer was not heard, or someone's edit: look, and try again.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    self.lease = self.api.get_opt(&self.name).await?;
                }
                Err(error) => return Err(error),
                Ok(_) => {
                    tracing::info!(lease = self.name, "gave the Lease back");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn saw(&mut self, lease: Option<Lease>) {
        self.candidate.saw(lease.as_ref().map(term), Instant::now());
        self.lease = lease;
    }

    fn request_failed(&mut self, error: &str) {
        if self.trouble == Trouble::None {
            tracing::warn!(lease = self.name, error, "a request for the Lease failed, and is repeated");
            self.trouble = Trouble::Failing;
        }
        self.changes = None;
        self.candidate.failed(Instant::now());
    }

    /// When a request that begins now is given up.
    fn deadline(&self) -> Instant {
        let attempt = Instant::now() + ATTEMPT;
        self.candidate.fence().map_or(attempt, |fence| attempt.min(fence))
    }

    /// Tells the process. Going up, the fence opens before anyone is told to write; going down, it closes first too.
    fn publish(&self) {
        let fence = self.candidate.fence();
        self.until.send_if_modified(|until| std::mem::replace(until, fence) != fence);
        let role = if fence.is_some() { Role::Leader } else { Role::Follower };
        let changed = self.role.send_if_modified(|known| std::mem::replace(known, role) != role);
        if changed {
            match role {
                Role::Leader => tracing::info!(lease = self.name, "leading"),
                Role::Follower => tracing::info!(lease = self.name, "no longer leading"),
            }
        }
    }
}

fn lease_holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn term(lease: &Lease) -> Term {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    Term {
        holder: lease_holder(lease).map(str::to_owned),
        length: seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// The time that a Lease shows. Nobody decides by it, so that clocks may differ.
#[expect(clippy::disallowed_methods, reason = "it decides nothing, and is written the moment it is read")]
fn time_for_people() -> MicroTime {
    MicroTime(Timestamp::now())
}

/// The Lease as its holder writes it.
fn held(seen: Option<Lease>, name: &str, identity: &str) -> Lease {
    let now = time_for_people();
    let mut lease = seen.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let renewal = lease_holder(&lease) == Some(identity);
    let before = lease.spec.take().unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(LEASE.as_secs()).expect("a few seconds")),
        acquire_time: if renewal { before.acquire_time.clone() } else { Some(now.clone()) },
        lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(i32::from(!renewal))),
        renew_time: Some(now),
        ..before
    });
    lease
}

fn given_back(mut lease: Lease) -> Lease {
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = None;
        spec.renew_time = Some(time_for_people());
    }
    lease
}

#[cfg(test)]
mod tests;
