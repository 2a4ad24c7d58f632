//! One watch that never gives up: it lists, follows, starts over where something may be lost, and tries again at its own
//! pace, so that a kind that may not be listed delays no other.
//!
//! What is done about an error is decided by [`recovery`], which is pure. What is seen goes to a [`Sight`].

use std::{
    fmt::Debug,
    hash::{BuildHasher as _, RandomState},
    pin::pin,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::watcher::{Config, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

pub mod recovery;

use recovery::{Doubt, Listing, Pace, Phase, Remedy, remedy};

/// Longest wait for the next object of a listing. A page of 500 objects takes a fraction of it.
const LISTING: Duration = Duration::from_secs(30);

/// What is known about the objects of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The first listing has not ended.
    Syncing,
    /// Every object is known, and changes are followed.
    Synced,
    /// Listing is not permitted.
    Forbidden,
    /// The API server does not serve the kind, so there are no objects of it.
    Missing,
}

impl State {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syncing => "Syncing",
            Self::Synced => "Synced",
            Self::Forbidden => "Forbidden",
            Self::Missing => "KindNotFound",
        }
    }

    /// Whether an object could exist unseen.
    pub const fn is_blind(self) -> bool {
        match self {
            Self::Syncing | Self::Forbidden => true,
            Self::Synced | Self::Missing => false,
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
    /// The API server answered that it does not know what is watched. Where a proxy may say so too, this asks discovery.
    fn not_found(&mut self) -> impl Future<Output = ()> + Send {
        self.report(State::Missing);
        std::future::ready(())
    }
}

/// Watches for ever; drop it to stop.
pub async fn keep_watching<K>(api: Api<K>, config: Config, mut sight: impl Sight<K>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut listing = Listing::Streamed;
    let mut pace = Pace::default();
    let mut doubt = Doubt::default();
    sight.report(State::Syncing);
    loop {
        let remedy = follow(&api, &config, listing, &mut sight, &mut pace, &mut doubt).await;
        match remedy {
            Remedy::StartOverInPages => {
                info!(watch = sight.label(), "the server has no streaming lists, listing in pages");
                listing = Listing::Paged;
                continue;
            }
            Remedy::Forbidden if doubt.is_believed(Instant::now()) => sight.report(State::Forbidden),
            Remedy::Forbidden => debug!(watch = sight.label(), "refused, which may be a server that starts"),
            Remedy::NotFound => sight.not_found().await,
            Remedy::Resume | Remedy::StartOver => {}
        }
        sleep(pace.pause(Instant::now(), random())).await;
    }
}

/// Lists and follows, until something is lost.
async fn follow<K>(
    api: &Api<K>,
    config: &Config,
    listing: Listing,
    sight: &mut impl Sight<K>,
    pace: &mut Pace,
    doubt: &mut Doubt,
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
                doubt.synced();
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
                remedy @ (Remedy::StartOver | Remedy::StartOverInPages | Remedy::Forbidden | Remedy::NotFound) => {
                    debug!(watch = sight.label(), %error, ?remedy, "a watch ended");
                    return remedy;
                }
            },
        }
    }
}

/// A number that differs from call to call; no secret depends on it.
fn random() -> u64 {
    RandomState::new().hash_one(())
}
