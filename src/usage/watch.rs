//! Feeds the index: one watch for each counted kind and scope, each with its own pace of trying again, so that a kind that
//! may not be listed delays no other.
//!
//! What is done about an error is decided by [`remedy`], which is pure. Nothing here reads the index.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Client, Resource as _,
    core::Status,
    runtime::watcher::{self, Config, Event, watcher},
};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, service_fn};
use tracing::{debug, info, warn};

use super::{
    ConnectionRef, SharedIndex,
    extract::{Kind, Object, reference},
    index::{KindState, Scope},
};

/// Longest wait for the answer to a request to begin. The API server answers a watch at once, before its first event.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest wait for the next object of a listing. A page of 500 objects takes a fraction of it.
const LISTING: Duration = Duration::from_secs(30);

/// The first pause after a failure, doubled by each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: a right that is granted takes effect within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A watch that ran this long is well again; the next pause is the first.
const WELL: Duration = Duration::from_secs(10);

/// Told of every change of what is known about a kind, for metrics.
pub trait Witness: Send + Sync + 'static {
    /// `kind` in `scope` is now in `state`.
    fn watch_state(&self, kind: &Kind, scope: &Scope, state: KindState);
}

/// What the watches feed.
#[derive(Clone)]
pub struct Feed {
    /// Where references are kept.
    pub index: SharedIndex,
    /// Takes the connections whose users may have changed.
    pub wake: UnboundedSender<ConnectionRef>,
    /// Told of every kind's state.
    pub witness: Arc<dyn Witness>,
}

/// The running watches.
#[derive(Debug)]
pub struct Watches {
    tasks: JoinSet<()>,
    unsettled: watch::Receiver<usize>,
}

impl Watches {
    /// Starts to watch each of `kinds` in each of `scopes`, until `stop`.
    pub fn start(client: &Client, kinds: &[Kind], scopes: &[Scope], feed: &Feed, stop: &CancellationToken) -> Self {
        let client = with_deadline(client);
        let (sender, unsettled) = watch::channel(kinds.len() * scopes.len());
        let sender = Arc::new(sender);
        let mut tasks = JoinSet::new();
        for (kind, scope) in kinds.iter().flat_map(|kind| scopes.iter().map(move |scope| (kind, scope))) {
            let sight = Sight::new(kind, scope, feed, &sender);
            let api = match scope {
                Scope::Cluster => Api::all_with(client.clone(), &kind.api_resource()),
                Scope::Namespace(name) => Api::namespaced_with(client.clone(), name, &kind.api_resource()),
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled(keep_watching(&api, sight)).await;
            });
        }
        Self { tasks, unsettled }
    }

    /// Waits until the first listing of every watch has ended, or was refused. A kind that cannot be reached at all keeps it
    /// waiting: the caller bounds the wait.
    pub async fn settled(&self) {
        // An error says that every watch has ended, and then nothing is left to wait for.
        let _ = self.unsettled.clone().wait_for(|left| *left == 0).await;
    }

    /// Waits until every watch has ended, which they do when they are stopped.
    ///
    /// # Errors
    /// [`WatchPanicked`] as soon as a watch ends by a panic: what it fed is no longer kept up to date.
    pub async fn join(&mut self) -> Result<(), WatchPanicked> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|_| WatchPanicked)?;
        }
        Ok(())
    }
}

/// A watch ended by a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a watch on possible users of connections panicked")]
pub struct WatchPanicked;

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
    Refused(KindState),
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
        (Some(status), _) if status.is_forbidden() => Remedy::Refused(KindState::Forbidden),
        (Some(status), _) if status.is_not_found() => Remedy::Refused(KindState::Missing),
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

/// Watches for ever.
async fn keep_watching(api: &Api<Object>, mut sight: Sight) {
    let mut listing = Listing::Streamed;
    let mut pace = Pace::default();
    sight.report(KindState::Syncing);
    loop {
        match follow(api, listing, &mut sight, &mut pace).await {
            Remedy::StartOverInPages => {
                info!(kind = %sight.kind, "the server has no streaming lists, listing in pages");
                listing = Listing::Paged;
                continue;
            }
            Remedy::Refused(state) => sight.report(state),
            Remedy::Resume | Remedy::StartOver => {}
        }
        sleep(pace.pause(Instant::now(), random())).await;
    }
}

/// Lists and follows, until something is lost.
async fn follow(api: &Api<Object>, listing: Listing, sight: &mut Sight, pace: &mut Pace) -> Remedy {
    let config = match listing {
        Listing::Streamed => Config::default().streaming_lists(),
        Listing::Paged => Config::default(),
    };
    let mut events = pin!(watcher(api.clone(), config));
    let mut phase = Phase::Listing;
    loop {
        let next = match phase {
            Phase::Listing => timeout(LISTING, events.next()).await,
            Phase::Following => Ok(events.next().await),
        };
        let Ok(Some(event)) = next else {
            warn!(kind = %sight.kind, "a listing made no progress, starting over");
            return Remedy::StartOver;
        };
        match event {
            Ok(Event::Init) => {
                phase = Phase::Listing;
                sight.begin();
            }
            Ok(Event::InitApply(object)) => sight.apply(&object),
            Ok(Event::InitDone) => {
                phase = Phase::Following;
                pace.runs(Instant::now());
                sight.finish();
            }
            Ok(Event::Apply(object)) => {
                pace.runs(Instant::now());
                sight.apply(&object);
            }
            Ok(Event::Delete(object)) => {
                pace.runs(Instant::now());
                sight.remove(&object);
            }
            Err(error) => match remedy(&error, phase, listing) {
                Remedy::Resume => {
                    debug!(kind = %sight.kind, %error, "a watch was interrupted, resuming");
                    sleep(pace.pause(Instant::now(), random())).await;
                }
                remedy @ (Remedy::StartOver | Remedy::StartOverInPages | Remedy::Refused(_)) => {
                    debug!(kind = %sight.kind, %error, ?remedy, "a watch ended");
                    return remedy;
                }
            },
        }
    }
}

/// What one watch sees, and where it tells it.
struct Sight {
    kind: Kind,
    scope: Scope,
    feed: Feed,
    state: Option<KindState>,
    unsettled: Arc<watch::Sender<usize>>,
}

impl Sight {
    fn new(kind: &Kind, scope: &Scope, feed: &Feed, unsettled: &Arc<watch::Sender<usize>>) -> Self {
        let (kind, scope, feed) = (kind.clone(), scope.clone(), feed.clone());
        Self { kind, scope, feed, state: None, unsettled: unsettled.clone() }
    }

    fn begin(&self) {
        self.feed.index.with(|index| index.begin(&self.kind, &self.scope));
    }

    fn apply(&self, object: &Object) {
        let reference = reference(&self.kind, object);
        self.wake(self.feed.index.with(|index| index.apply(reference)));
    }

    fn remove(&self, object: &Object) {
        let metadata = object.meta();
        if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
            self.wake(self.feed.index.with(|index| index.remove(&self.kind, namespace, name)));
        }
    }

    fn finish(&mut self) {
        self.wake(self.feed.index.with(|index| index.finish(&self.kind, &self.scope)));
        self.tell(KindState::Synced);
    }

    fn report(&mut self, state: KindState) {
        self.wake(self.feed.index.with(|index| index.set_state(&self.kind, &self.scope, state)));
        self.tell(state);
    }

    /// Tells the witness and whoever waits for the first listings, where the state is another.
    fn tell(&mut self, state: KindState) {
        if self.state == Some(state) {
            return;
        }
        let (kind, scope) = (&self.kind, &self.scope);
        match state {
            KindState::Syncing | KindState::Synced => info!(%kind, ?scope, state = state.as_str(), "possible users"),
            KindState::Forbidden | KindState::Missing => {
                warn!(%kind, ?scope, state = state.as_str(), "possible users cannot be watched, trying again");
            }
        }
        if state != KindState::Syncing && matches!(self.state, None | Some(KindState::Syncing)) {
            self.unsettled.send_modify(|left| *left = left.saturating_sub(1));
        }
        self.state = Some(state);
        self.feed.witness.watch_state(kind, scope, state);
    }

    fn wake(&self, connections: Vec<ConnectionRef>) {
        for connection in connections {
            // Nobody listens any more: the process is stopping.
            let _ = self.feed.wake.send(connection);
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

/// The same client, that waits for the beginning of an answer no longer than [`ANSWER`]. A watch itself has no end.
fn with_deadline(client: &Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let service = service_fn(move |request| {
        let client = client.clone();
        async move {
            match timeout(ANSWER, client.send(request)).await {
                Ok(answer) => answer.map_err(BoxError::from),
                Err(_) => Err(BoxError::from(io::Error::from(io::ErrorKind::TimedOut))),
            }
        }
    });
    Client::new(service, namespace)
}

/// A number that differs from call to call; no secret depends on it.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::{
        super::{
            fake::{self, Answer, Asked, Log, event, listed, page, pod},
            index::Index,
        },
        *,
    };

    #[derive(Default)]
    struct Seen(Mutex<Vec<(Kind, KindState)>>);

    impl Witness for Seen {
        fn watch_state(&self, kind: &Kind, _: &Scope, state: KindState) {
            self.0.lock().unwrap().push((kind.clone(), state));
        }
    }

    /// Watches over a fake API server, and one connection `shop/a` that uses the Secret `s`.
    struct World {
        watches: Watches,
        index: SharedIndex,
        woken: UnboundedReceiver<ConnectionRef>,
        seen: Arc<Seen>,
        log: Log,
        stop: CancellationToken,
    }

    impl World {
        fn new(kinds: &[Kind], scope: Scope, answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
            let (client, log) = fake::client(answer);
            let (wake, woken) = unbounded_channel();
            let mut index = Index::new(kinds.iter().cloned());
            index.claim(&ConnectionRef::new("shop", "a"), ["s"]);
            let index = SharedIndex::new(index);
            let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
            let feed = Feed { index: index.clone(), wake, witness: seen.clone() };
            let watches = Watches::start(&client, kinds, &[scope], &feed, &stop);
            Self { watches, index, woken, seen, log, stop }
        }

        fn pods(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
            Self::new(&[Kind::Pod], Scope::Cluster, answer)
        }

        fn users(&self) -> Vec<String> {
            let users = self.index.with(|index| index.users(&ConnectionRef::new("shop", "a")));
            users.list.iter().map(|user| user.name.to_string()).collect()
        }

        fn unknown(&self) -> Vec<Kind> {
            self.index.with(|index| index.users(&ConnectionRef::new("shop", "a")).unknown)
        }

        /// Looks at every wake-up, and at least once a second, until the users are `names`.
        async fn until_users_are(&mut self, names: &[&str]) {
            let reached = timeout(Duration::from_secs(300), async {
                while self.users() != names {
                    let _ = timeout(Duration::from_secs(1), self.woken.recv()).await;
                }
            });
            assert!(reached.await.is_ok(), "{:?}", self.users());
        }

        /// The requests so far for which `which` holds.
        fn asked(&self, which: impl Fn(&Asked) -> bool) -> usize {
            self.log.lock().unwrap().iter().filter(|asked| which(asked)).count()
        }
    }

    fn listing(names: &[&str]) -> Vec<serde_json::Value> {
        names.iter().map(|name| event("ADDED", &pod(name, "s"))).chain([listed()]).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_wake_the_connection_and_change_its_users() {
        let mut world = World::pods(|asked, _| {
            if asked.is_streamed_listing() {
                Answer::Events(listing(&["p", "q"]))
            } else if asked.query["resourceVersion"] == "9" {
                let mut moved = pod("p", "other");
                moved["metadata"]["resourceVersion"] = "12".into();
                Answer::Events(vec![event("MODIFIED", &moved)])
            } else {
                Answer::EventsAndSilence(vec![event("DELETED", &pod("q", "s")), event("ADDED", &pod("r", "s"))])
            }
        });
        assert!(world.woken.recv().await.is_some());
        world.until_users_are(&["r"]).await;
        assert!(world.unknown().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_refused_is_told_and_tried_again_and_delays_no_other() {
        let allowed = Arc::new(Mutex::new(false));
        let mut world = World::new(&[Kind::Deployment, Kind::Pod], Scope::Cluster, {
            let allowed = allowed.clone();
            move |asked, _| {
                if asked.is_for("deployments") {
                    Answer::EventsAndSilence(vec![listed()])
                } else if *allowed.lock().unwrap() {
                    Answer::EventsAndSilence(listing(&["p"]))
                } else {
                    Answer::Refused(403, "Forbidden")
                }
            }
        });
        timeout(Duration::from_millis(100), world.watches.settled()).await.unwrap();
        assert_eq!(world.unknown(), [Kind::Pod]);
        let of_pods =
            || world.seen.0.lock().unwrap().iter().filter(|(kind, _)| *kind == Kind::Pod).map(|seen| seen.1).collect();
        let states: Vec<KindState> = of_pods();
        assert_eq!(states, [KindState::Syncing, KindState::Forbidden]);

        tokio::time::advance(Duration::from_secs(1)).await;
        let before = world.asked(|asked| asked.is_for("pods"));
        for _ in 0..3600 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let in_an_hour = world.asked(|asked| asked.is_for("pods")) - before;
        assert!((60..130).contains(&in_an_hour), "{in_an_hour} requests");

        *allowed.lock().unwrap() = true;
        world.until_users_are(&["p"]).await;
        assert!(world.unknown().is_empty());
        assert_eq!(world.seen.0.lock().unwrap().last(), Some(&(Kind::Pod, KindState::Synced)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_that_is_taken_away_makes_the_kind_unknown() {
        let mut world = World::pods(|asked, before| match (asked.is_streamed_listing(), before) {
            (true, 0) => Answer::Events(listing(&["p"])),
            (true, 2) => Answer::EventsAndSilence(listing(&["q"])),
            _ => Answer::Refused(403, "Forbidden"),
        });
        world.until_users_are(&["q"]).await;
        let states: Vec<KindState> = world.seen.0.lock().unwrap().iter().map(|seen| seen.1).collect();
        assert_eq!(states, [KindState::Syncing, KindState::Synced, KindState::Forbidden, KindState::Synced]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_not_served_is_missing_and_not_unknown() {
        let world = World::pods(|_, _| Answer::Refused(404, "NotFound"));
        world.watches.settled().await;
        assert!(world.unknown().is_empty());
        assert_eq!(world.index.with(|index| index.state(&Kind::Pod, "shop")), KindState::Missing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_begins_again_sweeps_what_vanished_meanwhile() {
        let gone =
            json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}});
        let mut world = World::pods(move |asked, before| match (asked.is_streamed_listing(), before) {
            (true, 0) => Answer::Events([listing(&["p", "q"]), vec![gone.clone()]].concat()),
            (true, _) => Answer::EventsAndSilence(listing(&["q"])),
            (false, _) => Answer::Silence,
        });
        world.until_users_are(&["q"]).await;
        assert_eq!(world.asked(Asked::is_streamed_listing), 2);
        assert!(world.unknown().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_refused_as_too_old_lists_again() {
        let mut world = World::pods(|asked, before| match (asked.is_streamed_listing(), before) {
            (true, 0) => Answer::Events(listing(&["p"])),
            (true, _) => Answer::EventsAndSilence(listing(&["q"])),
            (false, _) => Answer::Refused(410, "Expired"),
        });
        world.until_users_are(&["q"]).await;
        assert_eq!(world.asked(Asked::is_streamed_listing), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_without_streaming_lists_is_listed_page_by_page() {
        let mut world = World::pods(|asked, _| match asked.query.get("continue").map(String::as_str) {
            _ if asked.is_streamed_listing() => Answer::Refused(422, "Invalid"),
            _ if asked.is_watch() => Answer::EventsAndSilence(vec![event("ADDED", &pod("r", "s"))]),
            None => page(vec![pod("p", "s")], "one"),
            Some(_) => page(vec![pod("q", "s")], ""),
        });
        world.until_users_are(&["p", "q", "r"]).await;
        assert_eq!(world.asked(Asked::is_streamed_listing), 1);
        assert_eq!(world.asked(|asked| !asked.is_watch()), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_stops_half_way_starts_over() {
        let mut world = World::pods(|_, before| match before {
            0 => Answer::EventsAndSilence(vec![event("ADDED", &pod("p", "s"))]),
            1 => Answer::Silence,
            _ => Answer::EventsAndSilence(listing(&["q"])),
        });
        world.until_users_are(&["q"]).await;
        assert!(world.unknown().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_with_an_object_that_cannot_be_read_is_not_complete() {
        let world = World::pods(|_, _| {
            let odd = event("ADDED", &json!({"metadata": {"name": "p"}, "spec": 7}));
            Answer::EventsAndSilence([vec![odd], listing(&["q"])].concat())
        });
        for _ in 0..300 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(world.unknown(), [Kind::Pod]);
        assert!(world.asked(|_| true) > 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_one_namespace_asks_only_there() {
        let mut world =
            World::new(&[Kind::Pod], Scope::Namespace("shop".into()), |_, _| Answer::EventsAndSilence(listing(&["p"])));
        world.until_users_are(&["p"]).await;
        assert!(world.unknown().is_empty());
        assert_eq!(world.asked(|asked| asked.path == "/api/v1/namespaces/shop/pods"), world.asked(|_| true));
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_every_watch() {
        let mut world = World::new(&Kind::BUILT_IN, Scope::Cluster, |_, _| Answer::Silence);
        assert!(timeout(Duration::from_secs(60), world.watches.join()).await.is_err());
        world.stop.cancel();
        assert_eq!(timeout(Duration::from_millis(1), world.watches.join()).await.unwrap(), Ok(()));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_again_after_a_good_run() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let pauses: Vec<u64> = (0..8).map(|_| pace.pause(start, 0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        pace.runs(start);
        assert_eq!(pace.pause(start + WELL / 2, 0), LONGEST_PAUSE, "too short a run to be well");
        pace.runs(start + WELL);
        assert_eq!(pace.pause(start + 2 * WELL, 0), FIRST_PAUSE);
        assert_eq!(pace.pause(start + 2 * WELL, 0), 2 * FIRST_PAUSE);
        assert_eq!(pace.pause(start + 2 * WELL + 3 * LONGEST_PAUSE, 0), FIRST_PAUSE, "nothing failed for long");
    }

    #[test]
    fn a_pause_is_shortened_by_at_most_a_half() {
        let now = Instant::now();
        let pauses: Vec<Duration> = (0..2000).map(|random| Pace::default().pause(now, random)).collect();
        assert_eq!(pauses.iter().max(), Some(&FIRST_PAUSE));
        assert_eq!(pauses.iter().min(), Some(&(FIRST_PAUSE / 2)));
    }
}
