//! One pass over one Connection: observe → plan → probe → conclude → apply.
//!
//! A pass never waits for a probe: it hands a prepared one to the engine and reads what is believed so far. Waiting and
//! holding are values, not errors.

pub mod apply;
pub mod conclude;
pub mod events;
pub mod materials;
pub mod observe;
pub mod plan;
pub mod recorder;
pub mod resolve;
pub mod rounds;
pub mod seen;
pub mod standing;

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::{Client, core::DeserializeGuard, runtime::controller::Action};

use crate::{
    api::{ConditionType, Connection, ConnectionSpec, ConnectionStatus},
    connections::{ConnectionType, Refusal},
    failure::Reason,
    probing::{engine::Engine, verdict::Verdict},
    usage::{ConnectionRef, SharedIndex, extract::Kind, index::KindState, live, users::Users},
};

use conclude::{Facts, Held, Login, Picture, Proven, Used};
use events::Rotation;
use plan::{Fate, Plan, Release, Surroundings};
use recorder::Recorder;
use resolve::SecretAccess;
use rounds::Rounds;
use seen::Seen;
use standing::{Answer, Ready, Resolved, Standings};

/// How long the first outcome of a new target may take before Pending is written: the pause between two probes and a probe
/// that is quick, so that a change of the spec or of a Secret costs one write.
const GRACE: Duration = Duration::from_secs(6);
/// Changes of `usage` that do not flip `InUse` are written at most this often.
const USAGE_PAUSE: Duration = Duration::from_secs(30);
/// A deletion that is held for what only the API server said, and no watch, is looked at again after this.
const UNTOLD_PAUSE: Duration = Duration::from_secs(30);
/// First and longest wait after a pass that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object has changed since it was seen: look again.
    #[error("the object has changed meanwhile")]
    Outdated,
    /// The object is gone: there is nothing more to do.
    #[error("the object is gone")]
    Gone,
    /// The API server refused what it allowed before, as one that starts does: ask again.
    #[error("the API server refused what it allowed before")]
    Refused,
    /// The API server did not answer, or not with what was asked.
    #[error("the API server did not take a request")]
    Api(#[source] Box<kube::Error>),
}

impl Error {
    pub(crate) fn api(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// Who is told what the Ready conditions say: metrics.
pub trait Witness: Send + Sync + 'static {
    /// A Ready condition said `before`, and says `after` now; `None` where there is no such object.
    fn shown(&self, kind: ConnectionType, before: Option<Reason>, after: Option<Reason>);
}

/// What every pass shares.
pub struct Context {
    /// Talks to the API server.
    pub client: Client,
    /// Probes.
    pub engine: Engine,
    /// Knows who uses what.
    pub index: SharedIndex,
    /// Knows what becomes of namespaces and of the CRD.
    pub cluster: Arc<Cluster>,
    /// Publishes events.
    pub recorder: Recorder,
    /// How changes of Secrets are noticed.
    pub secrets: SecretAccess,
    /// Is told what the Ready conditions say.
    pub witness: Arc<dyn Witness>,
    rounds: Rounds,
    standings: Mutex<Standings>,
}

impl Context {
    /// Nothing is known yet.
    pub fn new(
        client: Client,
        engine: Engine,
        index: SharedIndex,
        cluster: Arc<Cluster>,
        recorder: Recorder,
        secrets: SecretAccess,
        witness: Arc<dyn Witness>,
    ) -> Self {
        let (rounds, standings) = (Rounds::default(), Mutex::default());
        Self { client, engine, index, cluster, recorder, secrets, witness, rounds, standings }
    }

    /// What is kept between passes. Never hold it across an await.
    pub fn standings(&self) -> MutexGuard<'_, Standings> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.engine.remove(uid);
        let standing = self.standings().forget(uid);
        if let Some((kind, before)) = standing.and_then(|standing| standing.shown) {
            self.witness.shown(kind, Some(before), None);
        }
    }

    /// Forgets who uses a Connection and what it names: no object has its name any more.
    pub fn forget_name(&self, connection: &ConnectionRef) {
        self.index.with(|index| index.forget(connection));
        self.standings().name(connection, BTreeSet::new());
    }

    fn show(&self, seen: &Seen, status: &ConnectionStatus) {
        let Ok(spec) = &seen.spec else { return };
        let ready = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str());
        let reason = ready.and_then(|ready| Reason::ALL.into_iter().find(|reason| reason.as_str() == ready.reason));
        let Some(reason) = reason else { return };
        let shown = (spec.type_, reason);
        let before = self.standings().of(&seen.subject().uid).shown.replace(shown);
        if before != Some(shown) {
            self.witness.shown(spec.type_, before.map(|(_, reason)| reason), Some(reason));
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context(…)")
    }
}

/// What becomes of the namespaces and of the CRD, as their watches say.
#[derive(Debug, Default)]
pub struct Cluster {
    going: Mutex<HashSet<String>>,
    crd_goes: AtomicBool,
}

impl Cluster {
    /// Says what becomes of a namespace; returns whether that is news.
    pub fn set_namespace(&self, name: &str, fate: Fate) -> bool {
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        match fate {
            Fate::Stays => going.remove(name),
            Fate::Goes => going.insert(name.to_owned()),
        }
    }

    /// Says what becomes of the CRD; returns whether that is news.
    pub fn set_crd(&self, fate: Fate) -> bool {
        let goes = fate == Fate::Goes;
        self.crd_goes.swap(goes, Ordering::AcqRel) != goes
    }

    /// What becomes of what is around a Connection.
    pub fn around(&self, namespace: &str) -> Surroundings {
        let fate = |goes| if goes { Fate::Goes } else { Fate::Stays };
        let going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        Surroundings { crd: fate(self.crd_goes.load(Ordering::Acquire)), namespace: fate(going.contains(namespace)) }
    }
}

/// One pass.
///
/// # Errors
/// Where it must be repeated; [`retry_after`] says when.
pub async fn reconcile(object: Arc<DeserializeGuard<Connection>>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(mut seen) = observe::see(&object, &context.client).await? else { return Ok(Action::await_change()) };
    overlay(&mut seen, &context);
    let pass = pass(seen, &context).await;
    match pass {
        Ok(action) => Ok(action),
        Err(Error::Gone) => Ok(Action::await_change()),
        Err(error @ (Error::Outdated | Error::Refused | Error::Api(_))) => Err(error),
    }
}

/// When a pass that failed is repeated: soon, then less and less often.
pub fn retry_after(object: &DeserializeGuard<Connection>, context: &Context) -> Duration {
    let metadata = match &object.0 {
        Ok(connection) => &connection.metadata,
        Err(invalid) => &invalid.metadata,
    };
    let uid: Arc<str> = metadata.uid.as_deref().unwrap_or_default().into();
    let errors = context.standings().count_error(&uid);
    let spread = crate::probing::schedule::spread(&uid, errors);
    let doubled = RETRY.0.saturating_mul(1 << errors.saturating_sub(1).min(10));
    doubled.min(RETRY.1).mul_f64(1.0 + spread / 2.0)
}

async fn pass(mut seen: Seen, context: &Context) -> Result<Action, Error> {
    let reference = seen.reference();
    context.index.with(|index| index.claim(&reference, seen.used_secrets.iter().map(String::as_str)));
    let mut live: Option<Users> = None;
    loop {
        let indexed = context.index.with(|index| index.users(&reference));
        let surroundings = context.cluster.around(seen.namespace());
        match plan::plan(&seen, surroundings, &indexed, live.as_ref()) {
            Plan::Leave => {
                context.forget(&seen.subject().uid);
                return Ok(Action::await_change());
            }
            Plan::Adopt => {
                let answer = apply::adopt(&seen, &context.client).await?;
                take(&mut seen, answer, context);
            }
            Plan::AskLive => match ask_live(&seen, context).await {
                Some(users) => live = Some(users),
                None => return Ok(Action::requeue(rounds::PAUSE)),
            },
            Plan::Explain => return explain(seen, &indexed, None, None, context).await,
            Plan::Hold(hold) => {
                // A user that only the API server named may go before a watch has seen it, and then nobody tells.
                let again = live.as_ref().map(|_| UNTOLD_PAUSE);
                let users = live.as_ref().unwrap_or(&indexed);
                return explain(seen, users, Some(Held::By(&hold)), again, context).await;
            }
            Plan::Release(release) => return let_go(seen, release, context).await,
        }
    }
}

/// Asks the API server, and not a watch, who uses the Connection now; `None` where too many ask already.
async fn ask_live(seen: &Seen, context: &Context) -> Option<Users> {
    let claim = live::Claim { name: seen.name().to_owned(), secrets: seen.used_secrets.clone() };
    context.rounds.users(&context.client, seen.namespace(), claim).await
}

async fn let_go(seen: Seen, release: Release, context: &Context) -> Result<Action, Error> {
    let Some(at) = seen.finalizer() else { return Ok(Action::await_change()) };
    let events = match &release {
        Release::Free => events::of_release(&seen.stored).into_iter().collect(),
        Release::Forced(users) => events::of_force(users).into_iter().collect(),
        Release::CrdGoes => {
            let users = context.index.with(|index| index.users(&seen.reference()));
            vec![events::of_crd_removal(&users.list)]
        }
    };
    match apply::release(&seen, at, &context.client).await {
        Ok(_) => {
            tracing::info!(namespace = seen.namespace(), name = seen.name(), ?release, "released");
            context.forget(&seen.subject().uid);
            // After the object: a note about something that did not happen would be a lie.
            apply::publish(&seen, events, &context.recorder).await;
            Ok(Action::await_change())
        }
        Err(error @ Error::Api(_)) => {
            let indexed = context.index.with(|index| index.users(&seen.reference()));
            explain(seen, &indexed, Some(Held::ReleaseFailed), None, context).await?;
            Err(error)
        }
        Err(error @ (Error::Outdated | Error::Refused | Error::Gone)) => Err(error),
    }
}

/// Resolves, reads what is believed, concludes the whole status, and writes it where it differs. It is looked at again after
/// `again` at the latest.
async fn explain(
    mut seen: Seen,
    users: &Users,
    held: Option<Held<'_>>,
    again: Option<Duration>,
    context: &Context,
) -> Result<Action, Error> {
    let resolved = resolve::resolve(&seen, context).await?;
    let now = Instant::now();
    let subject = seen.subject();
    let opinion = context.engine.opinion(&subject.uid);
    let mut next: Vec<Duration> = again.into_iter().collect();

    let (outcome, observed) = match &resolved {
        None => (None, None),
        Some(Resolved { outcome, observed, .. }) => (Some(outcome), observed.as_deref()),
    };
    let ready = outcome.and_then(|outcome| outcome.as_ref().ok());
    let believed = opinion.filter(|opinion| ready.is_some_and(|ready| ready.probed == opinion.target));
    let picture = match (outcome, &believed) {
        (None, _) => match &seen.spec {
            Err(sentence) => Picture::Invalid(sentence),
            Ok(_) => Picture::Suspended,
        },
        (Some(Err(Refusal::Invalid(sentence))), _) => Picture::Invalid(sentence),
        (Some(Err(Refusal::Unusable(failure))), _) => Picture::Refused(failure),
        (Some(Ok(_)), None) => Picture::Pending,
        (Some(Ok(_)), Some(opinion)) => match &opinion.verdict {
            Verdict::Pending => Picture::Pending,
            Verdict::Remembered(_) => Picture::Remembered,
            Verdict::Found(report) => Picture::Found(report),
            Verdict::Stale => Picture::Stale,
        },
    };
    let quiet = match (&picture, ready, &held) {
        (Picture::Pending, Some(ready), None) => {
            let left = GRACE.saturating_sub(now.duration_since(ready.since));
            next.extend((!left.is_zero()).then_some(left));
            // A status that was never written says Pending already.
            !left.is_zero() || (is_untouched(&seen.stored) && users.list.is_empty())
        }
        _ => false,
    };
    let before = context.standings().of(&subject.uid).verified;
    let authenticated = believed.as_ref().is_some_and(|opinion| opinion.authenticated);
    let proven = if authenticated && (ready != before.as_ref() || verified_version(&seen.stored).is_none()) {
        Proven::Anew
    } else {
        Proven::AsStored
    };
    next.extend(resolved.as_ref().and_then(|resolved| resolve::look_again(resolved, &seen, context.secrets, now)));
    let usage = what_to_say(&seen, users, context, now, &mut next);
    let facts = Facts {
        generation: seen.generation(),
        stored: &seen.stored,
        picture,
        login: match seen.spec.as_ref().ok().and_then(|spec| spec.credentials_secret()) {
            Some(_) => Login::Credentials,
            None => Login::Nobody,
        },
        permissions: &seen.spec.as_ref().map(ConnectionSpec::asked_permissions).unwrap_or_default(),
        connection_string: seen
            .spec
            .as_ref()
            .ok()
            .and_then(|spec| spec.settings().ok())
            .map(crate::connections::Definition::connection_string),
        secret: seen.spec.as_ref().ok().and_then(|spec| spec.credentials_secret()),
        observed_version: observed,
        proven,
        request: seen.request.as_deref(),
        usage,
        held,
    };
    let status = conclude::conclude(&facts, wall_clock());
    context.show(&seen, &status);
    if !quiet && status != seen.stored {
        let rotation = rotation(&seen.stored, &status, before.as_ref(), ready, proven);
        let events = events::of_change(&seen.stored, &status, rotation);
        let answer = apply::write(&seen, &status, &context.client).await?;
        log(&seen, &status);
        if status.usage != seen.stored.usage {
            context.standings().of(&subject.uid).usage_written = Some(now);
        }
        take(&mut seen, answer, context);
        apply::publish(&seen, events, &context.recorder).await;
    }
    // Also where the status says so already: the answer to an earlier write may have been lost.
    if proven == Proven::Anew && !quiet {
        context.standings().of(&subject.uid).verified = ready.copied();
    }
    context.standings().of(&subject.uid).errors = 0;
    Ok(next.into_iter().min().map_or_else(Action::await_change, Action::requeue))
}

/// What is said about usage: nothing new while a kind is still listed for the first time, and nothing too often.
fn what_to_say<'a>(
    seen: &Seen,
    users: &'a Users,
    context: &Context,
    now: Instant,
    next: &mut Vec<Duration>,
) -> Used<'a> {
    let namespace = seen.namespace();
    let syncing = |index: &mut crate::usage::index::Index| {
        Kind::BUILT_IN.iter().any(|kind| index.state(kind, namespace) == KindState::Syncing)
    };
    if users.list.is_empty() && context.index.with(syncing) {
        return Used::AsStored;
    }
    let stored_count = seen.stored.usage.as_ref().map_or(0, |usage| usage.count);
    let flips = (stored_count == 0) != users.list.is_empty();
    let written = context.standings().of(&seen.subject().uid).usage_written;
    let left = written.map_or(Duration::ZERO, |at| USAGE_PAUSE.saturating_sub(now.duration_since(at)));
    let is_stored = seen.stored.usage.as_ref() == Some(&conclude::usage(users));
    if flips || left.is_zero() || users.list.is_empty() || is_stored {
        return Used::Known(users);
    }
    next.push(left);
    Used::AsStored
}

/// Whether other values than before have authenticated now; `before` are those of this process, where there were any.
fn rotation(
    stored: &ConnectionStatus,
    status: &ConnectionStatus,
    before: Option<&Ready>,
    now: Option<&Ready>,
    proven: Proven,
) -> Rotation {
    let was = verified_version(stored);
    let differ = match (before, now) {
        (Some(before), Some(now)) => before.values != now.values,
        (None, _) | (_, None) => was != verified_version(status),
    };
    match proven {
        Proven::Anew if was.is_some() && differ => Rotation::Rotated,
        Proven::Anew | Proven::AsStored => Rotation::Same,
    }
}

fn verified_version(status: &ConnectionStatus) -> Option<&str> {
    status.credentials.as_ref()?.verified_version.as_deref()
}

/// Whether the status is still the one that the schema's default gave it.
fn is_untouched(stored: &ConnectionStatus) -> bool {
    stored.observed_generation.is_none_or(|generation| generation < 0)
}

/// Sees what the API server last answered where the store has not caught up with it yet.
fn overlay(seen: &mut Seen, context: &Context) {
    let uid = seen.subject().uid;
    let mut standings = context.standings();
    let standing = standings.of(&uid);
    match &standing.answered {
        Some(answer) if answer.version > seen.version() => lay_over(seen, answer),
        Some(_) | None => standing.answered = None,
    }
}

/// Lays over it what we have written ourselves. All else stays as it was seen with the spec: a verdict about an older spec
/// must not be said about a newer generation, and what is marked since may name other Secrets by now.
fn lay_over(seen: &mut Seen, answer: &Answer) {
    seen.metadata.resource_version.clone_from(&answer.resource_version);
    seen.metadata.finalizers.clone_from(&answer.finalizers);
    if let Some(status) = &answer.status {
        seen.stored.clone_from(status);
    }
}

/// Goes on with what the API server answered.
fn take(seen: &mut Seen, answer: Answer, context: &Context) {
    lay_over(seen, &answer);
    let kept = Answer { status: Some(seen.stored.clone()), ..answer };
    context.standings().of(&seen.subject().uid).answered = Some(kept);
}

/// The time that conditions carry. Nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "this is where a pass reads the clock")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

fn log(seen: &Seen, status: &ConnectionStatus) {
    let ready = |status: &ConnectionStatus| {
        let found = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str());
        found.map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
    };
    let (before, after) = (ready(&seen.stored), ready(status));
    if before != after {
        let (namespace, name) = (seen.namespace(), seen.name());
        tracing::info!(namespace, name, ready = after.0, reason = after.1, "verdict written");
    }
}
