//! Feeds the index: one watch for each counted kind and scope, each with its own pace of trying again, so that a kind that
//! may not be listed delays no other.
//!
//! How a watch goes on after an error is `watching`'s business. Nothing here reads the index.

use std::{io, sync::Arc, time::Duration};

use kube::{Api, Client, Resource as _, runtime::watcher::Config};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, service_fn};
use tracing::{info, warn};

use super::{
    ConnectionRef, SharedIndex,
    extract::{Kind, Object, reference},
    index::{KindState, Scope},
    served::{Served, served},
};
use crate::watching::{Sight, keep_watching};

/// Longest wait for the answer to a request to begin. The API server answers a watch at once, before its first event.
const ANSWER: Duration = Duration::from_secs(10);

/// Told of every change of what is known about a kind, for metrics.
pub trait Witness: Send + Sync + 'static {
    /// A watch on `kind` went from `before` to `after`; `None` before its first state.
    fn watch_state(&self, kind: &Kind, before: Option<KindState>, after: KindState);
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
            let view = View::new(&client, kind, scope, feed, &sender);
            let (client, stop) = (client.clone(), stop.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(watch(&client, view)).await;
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

/// Watches one kind for ever.
async fn watch(client: &Client, view: View) {
    let resource = view.kind.api_resource();
    let api = match &view.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespace(name) => Api::namespaced_with(client.clone(), name, &resource),
    };
    keep_watching(api, Config::default(), view).await;
}

/// What one watch sees, and where it tells it.
struct View {
    kind: Kind,
    scope: Scope,
    feed: Feed,
    client: Client,
    state: Option<KindState>,
    unsettled: Arc<watch::Sender<usize>>,
}

impl View {
    fn new(client: &Client, kind: &Kind, scope: &Scope, feed: &Feed, unsettled: &Arc<watch::Sender<usize>>) -> Self {
        let (kind, scope, feed, client) = (kind.clone(), scope.clone(), feed.clone(), client.clone());
        Self { kind, scope, feed, client, state: None, unsettled: unsettled.clone() }
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
        self.feed.witness.watch_state(kind, self.state, state);
        self.state = Some(state);
    }

    fn wake(&self, connections: Vec<ConnectionRef>) {
        for connection in connections {
            // Nobody listens any more: the process is stopping.
            let _ = self.feed.wake.send(connection);
        }
    }
}

impl Sight<Object> for View {
    fn label(&self) -> &str {
        self.kind.name()
    }

    fn begin(&mut self) {
        self.feed.index.with(|index| index.begin(&self.kind, &self.scope));
    }

    fn apply(&mut self, object: Object) {
        let reference = reference(&self.kind, &object);
        self.wake(self.feed.index.with(|index| index.apply(reference)));
    }

    fn remove(&mut self, object: Object) {
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

    async fn not_found(&mut self) {
        match served(&self.client, &self.kind).await {
            Served::Nowhere => self.report(KindState::Missing),
            Served::Somewhere | Served::Unknown => {}
        }
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
        fn watch_state(&self, kind: &Kind, _: Option<KindState>, state: KindState) {
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
            (true, 8..) => Answer::EventsAndSilence(listing(&["q"])),
            _ => Answer::Refused(403, "Forbidden"),
        });
        world.until_users_are(&["q"]).await;
        let states: Vec<KindState> = world.seen.0.lock().unwrap().iter().map(|seen| seen.1).collect();
        assert_eq!(states, [KindState::Syncing, KindState::Synced, KindState::Forbidden, KindState::Synced]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_starts_and_refuses_everybody_for_a_moment_changes_nothing() {
        let mut world = World::pods(|asked, before| match (asked.is_streamed_listing(), before) {
            (true, 0) => Answer::Events(listing(&["p"])),
            (true, 3..) => Answer::EventsAndSilence(listing(&["q"])),
            _ => Answer::Refused(403, "Forbidden"),
        });
        world.until_users_are(&["q"]).await;
        let states: Vec<KindState> = world.seen.0.lock().unwrap().iter().map(|seen| seen.1).collect();
        assert_eq!(states, [KindState::Syncing, KindState::Synced]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_not_served_is_missing_and_not_unknown() {
        let discovery = |answer: &Answer| {
            let answer = answer.clone();
            World::pods(move |asked, _| match asked.path.as_str() {
                "/api" => Answer::Json(json!({"versions": ["v1"], "serverAddressByClientCIDRs": []})),
                "/api/v1" => answer.clone(),
                _ => Answer::Refused(404, "NotFound"),
            })
        };
        let world = discovery(&Answer::Json(json!({"groupVersion": "v1", "resources": []})));
        world.watches.settled().await;
        assert!(world.unknown().is_empty());
        assert_eq!(world.index.with(|index| index.state(&Kind::Pod, "shop")), KindState::Missing);
        let world = discovery(&Answer::Refused(503, "ServiceUnavailable"));
        assert!(timeout(Duration::from_secs(600), world.watches.settled()).await.is_err());
        assert_eq!(world.unknown(), [Kind::Pod], "a 404 alone proves nothing");
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
            None => page(&[pod("p", "s")], "one"),
            Some(_) => page(&[pod("q", "s")], ""),
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
    async fn a_watch_whose_answer_never_begins_is_asked_for_again() {
        let mut world = World::pods(|asked, before| match (asked.is_streamed_listing(), before) {
            (true, _) => Answer::Events(listing(&["p"])),
            (false, 1) => Answer::Silence,
            (false, _) => Answer::EventsAndSilence(vec![event("DELETED", &pod("p", "s"))]),
        });
        world.until_users_are(&["p"]).await;
        world.until_users_are(&[]).await;
        assert_eq!(world.asked(Asked::is_streamed_listing), 1);
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
}
