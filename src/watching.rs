//! One watch that never gives up: it lists, follows, starts over where something may be lost, and tries again at its own
//! pace, so that a kind that may not be listed delays no other.
//!
//! What is done about an error is decided by [`remedy`], which is pure. What is seen goes to a [`Sight`].

use std::{
    fmt::Debug,
    hash::{BuildHasher as _, RandomState},
    pin::pin,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    core::Status,
    runtime::watcher::{self, Config, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

/// Longest wait for the next object of a listing. A page of 500 objects takes a fraction of it.
const LISTING: Duration = Duration::from_secs(30);

/// The first pause after a failure, doubled by each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: a right that is granted takes effect within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A watch that ran this long is well again; the next pause is the first.
const WELL: Duration = Duration::from_secs(10);

/// What is known about the objects of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The first listing has not ended.
    Syncing,
    /// Every object is known, and changes are followed.
    Synced,
    /// Listing is not permitted.
    Forbidden,
    /// The API server does not serve the kind.
    Missing,
}

impl State {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Synced => "synced",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
        }
    }
}

/// Where a watch tells what it sees. Nothing here blocks.
pub trait Sight<K>: Send {
    /// What is watched, for logs.
    fn label(&self) -> &str;
    /// A complete listing begins.
    fn begin(&mut self);
    /// An object of a listing, or one that was made or changed.
    fn apply(&mut self, object: K);
    /// An object is gone.
    fn remove(&mut self, object: K);
    /// The listing is complete: what it did not hold is gone.
    fn finish(&mut self);
    /// What is known is something else now. It may be told what it knows.
    fn report(&mut self, state: State);
}

/// Watches for ever; drop it to stop.
pub async fn keep_watching<K>(api: Api<K>, config: Config, mut sight: impl Sight<K>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut listing = Listing::Streamed;
    let mut pace = Pace::default();
    sight.report(State::Syncing);
    loop {
        match follow(&api, &config, listing, &mut sight, &mut pace).await {
            Remedy::StartOverInPages => {
                info!(watch = sight.label(), "the server has no streaming lists, listing in pages");
                listing = Listing::Paged;
                continue;
            }
            Remedy::Refused(state) => sight.report(state),
            Remedy::Resume | Remedy::StartOver => {}
        }
        sleep(pace.pause(Instant::now(), random())).await;
    }
}

/// What is done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// Go on from the last event seen.
    Resume,
    /// List everything again.
    StartOver,
    /// List everything again, at once and in pages: the server knows no streaming lists.
    StartOverInPages,
    /// Say so, and list everything again.
    Refused(State),
}

/// How a listing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// As the beginning of the watch (Kubernetes 1.32, 1.34 and later). kube's watcher has no fall-back of its own.
    Streamed,
    /// In pages, before the watch.
    Paged,
}

/// Where a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The listing has not ended.
    Listing,
    /// Changes are followed.
    Following,
}

/// What is done about `error` in `phase`. kube's watcher goes on after every error as if it had lost nothing; where
/// something may be lost it is thrown away here and a new one lists again.
fn remedy(error: &watcher::Error, phase: Phase, listing: Listing) -> Remedy {
    use kube::Error::{Api, SerdeError};
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    let status: Option<&Status> = match error {
        InitialListFailed(Api(status))
        | WatchStartFailed(Api(status))
        | WatchFailed(Api(status))
        | WatchError(status) => Some(status),
        _ => None,
    };
    match (status, phase) {
        (Some(status), _) if status.is_forbidden() => Remedy::Refused(State::Forbidden),
        (Some(status), _) if status.is_not_found() => Remedy::Refused(State::Missing),
        (Some(status), Phase::Listing) if status.code == 422 && listing == Listing::Streamed => {
            Remedy::StartOverInPages
        }
        // kube's watcher never recovers from a 410 in answer to the request: it asks with the same version again.
        (Some(status), Phase::Following) if status.code == 410 => Remedy::StartOver,
        // An object that could not be decoded was skipped.
        (None, Phase::Following) if matches!(error, WatchFailed(SerdeError(_)) | NoResourceVersion) => {
            Remedy::StartOver
        }
        (Some(_) | None, Phase::Following) => Remedy::Resume,
        (Some(_) | None, Phase::Listing) => Remedy::StartOver,
    }
}

/// Lists and follows, until something is lost.
async fn follow<K>(
    api: &Api<K>,
    config: &Config,
    listing: Listing,
    sight: &mut impl Sight<K>,
    pace: &mut Pace,
) -> Remedy
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = match listing {
        Listing::Streamed => config.clone().streaming_lists(),
        Listing::Paged => config.clone(),
    };
    let mut events = pin!(watcher(api.clone(), config));
    let mut phase = Phase::Listing;
    loop {
        let next = match phase {
            Phase::Listing => timeout(LISTING, events.next()).await,
            Phase::Following => Ok(events.next().await),
        };
        let Ok(Some(event)) = next else {
            warn!(watch = sight.label(), "a listing made no progress, starting over");
            return Remedy::StartOver;
        };
        match event {
            Ok(Event::Init) => {
                phase = Phase::Listing;
                sight.begin();
            }
            Ok(Event::InitApply(object)) => sight.apply(object),
            Ok(Event::InitDone) => {
                phase = Phase::Following;
                pace.runs(Instant::now());
                sight.finish();
                sight.report(State::Synced);
            }
            Ok(Event::Apply(object)) => {
                pace.runs(Instant::now());
                sight.apply(object);
            }
            Ok(Event::Delete(object)) => {
                pace.runs(Instant::now());
                sight.remove(object);
            }
            Err(error) => match remedy(&error, phase, listing) {
                Remedy::Resume => {
                    debug!(watch = sight.label(), %error, "a watch was interrupted, resuming");
                    sleep(pace.pause(Instant::now(), random())).await;
                }
                remedy @ (Remedy::StartOver | Remedy::StartOverInPages | Remedy::Refused(_)) => {
                    debug!(watch = sight.label(), %error, ?remedy, "a watch ended");
                    return remedy;
                }
            },
        }
    }
}

/// When one watch tries again.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    /// Since when it has been running, if it is.
    running: Option<Instant>,
    /// When the last pause was begun.
    paused: Option<Instant>,
}

impl Pace {
    /// Something arrived at `now`.
    fn runs(&mut self, now: Instant) {
        self.running.get_or_insert(now);
    }

    /// How long to wait after a failure at `now`: doubling, and shortened by up to a half, by as much as `random` says, so
    /// that the watches of all kinds and replicas do not come back together.
    fn pause(&mut self, now: Instant, random: u64) -> Duration {
        let ran_well = self.running.take().is_some_and(|since| now - since >= WELL);
        // A watch that was resumed may be well for hours without an event.
        let long_ago = self.paused.is_some_and(|last| now - last >= 3 * LONGEST_PAUSE);
        if ran_well || long_ago {
            self.failures = 0;
        }
        let whole = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.paused = Some(now);
        let thousandths = u32::try_from(random % 501).unwrap_or(0);
        whole - whole * thousandths / 1000
    }
}

/// A number that differs from call to call; no secret depends on it.
fn random() -> u64 {
    RandomState::new().hash_one(())
}
