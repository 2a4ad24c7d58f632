//! The composition root: the only place that builds clients, wires the parts together, and ends them in order.
//!
//! One lifetime: set up, wait for the CRDs, wait to lead, work, end on a signal or when the lead is lost.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Namespace, Secret},
        discovery::v1::EndpointSlice,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, CustomResourceExt as _, Resource,
    core::PartialObjectMeta,
    runtime::{
        events::{Recorder, Reporter},
        reflector::{Store, store::Writer},
        watcher,
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc::unbounded_channel, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Connection,
    cli::run::{Arguments, Whereabouts},
    connections::ConnectionType,
    controller::{
        self, Watched,
        queue::{Waker, queue},
        sights::{ApiServer, Connections, Definition, Namespaces, Report, Sources},
    },
    failure::{self, Reason},
    kubernetes,
    leadership::{Leadership, Seat, lease_name},
    net::{
        World,
        policy::{Policy, Rule},
        resolve::SystemResolver,
    },
    observability::{
        health::{Health, Loop, Need},
        http,
        metrics::{Metrics, ProbeResult, Role, WatchState},
        telemetry,
    },
    probing::{
        Subject,
        engine::{self, Engine},
    },
    reconcile::{self, Cluster, Context, plan::Fate, resolve::SecretAccess, standing::SourceKind},
    usage::{
        self, SharedIndex,
        extract::Kind,
        index::{Index, Scope},
        watch::Watches,
    },
    watching::{State, keep_watching},
};

/// Passes that run when the process ends have this long; each call of theirs has a deadline of its own.
const DRAIN: Duration = Duration::from_secs(5);
/// Kinds of users that cannot be reached at all delay the first pass by no more than this.
const SETTLE: Duration = Duration::from_secs(10);

/// Runs the operator until a signal ends it.
///
/// # Errors
/// What could not be set up, or that the lead was lost: whoever started the process starts it again.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    telemetry::set_up(arguments.log_format, arguments.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    let ended = runtime.block_on(live(arguments));
    // A probe that hangs in the system's resolver must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn live(arguments: &Arguments) -> anyhow::Result<()> {
    let stop = stop_on_signals()?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(&[Need::Definitions], Instant::now()));
    let listener = TcpListener::bind(arguments.http_address)
        .await
        .with_context(|| format!("cannot listen on --http-address {}", arguments.http_address))?;
    let address = listener.local_addr().unwrap_or(arguments.http_address);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, "started");
    let serving = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, Arc::clone(&metrics), Arc::clone(&health), serving.clone()));

    let ended = work(arguments, &metrics, &health, &stop).await;
    serving.cancel();
    if server.await.is_err() {
        tracing::error!("the HTTP server panicked");
    }
    tracing::info!("ended");
    ended
}

async fn work(
    arguments: &Arguments,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let world = world(arguments)?;
    let config = kubernetes::configuration().await.context("no way to the API server")?;
    let whereabouts = Whereabouts::from_environment()?;
    let open = crate::leadership::Fence::open();
    let early = kubernetes::client(config.clone(), Arc::clone(metrics), open).context("no client")?;

    let cluster = Arc::new(Cluster::default());
    let (defined, definition) = watch::channel(None);
    let mut watches = JoinSet::new();
    watch_definition(&mut watches, &early, defined, metrics);
    if wait_for_definition(definition.clone(), stop).await == Awaited::Stopped {
        return Ok(());
    }
    health.met(Need::Definitions);

    let leadership = if arguments.leader_elect {
        let name = lease_name(&arguments.namespaces, arguments.selector.as_deref());
        let seat = Seat { namespace: whereabouts.namespace.clone(), name, identity: whereabouts.identity.clone() };
        Leadership::campaign(early.clone(), seat, &CancellationToken::new())
    } else {
        Leadership::unopposed()
    };
    let mut role = leadership.role();
    metrics.role_changed(Role::Follower);
    tokio::select! {
        () = stop.cancelled() => {
            leadership.release().await;
            return Ok(());
        }
        led = role.wait_for(|role| *role == Role::Leader) => { led.context("the election ended")?; }
    }
    metrics.role_changed(Role::Leader);
    tracing::info!(identity = whereabouts.identity, "leading");

    let client = || kubernetes::client(config.clone(), Arc::clone(metrics), leadership.fence()).context("no client");
    let parts = Parts {
        arguments,
        metrics: Arc::clone(metrics),
        health: Arc::clone(health),
        primary: client()?,
        watching: client()?,
        usage: client()?,
        world,
        cluster,
        definition,
        reporter: Reporter { controller: "connection-operator".into(), instance: Some(whereabouts.identity.clone()) },
        api_server: addresses_of(&config),
    };
    let working = stop.child_token();
    let fence = leadership.fence();
    let ended = {
        let labour = std::pin::pin!(parts.labour(working.clone()));
        tokio::select! {
            ended = labour => ended,
            () = fence.closed() => {
                working.cancel();
                Err(anyhow::anyhow!("the lead was lost"))
            }
        }
    };
    leadership.release().await;
    watches.shutdown().await;
    ended
}

/// Everything that works while this process leads.
struct Parts<'a> {
    arguments: &'a Arguments,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    primary: Client,
    watching: Client,
    usage: Client,
    world: Arc<World>,
    cluster: Arc<Cluster>,
    definition: watch::Receiver<Option<Fate>>,
    reporter: Reporter,
    api_server: Vec<IpAddr>,
}

impl Parts<'_> {
    async fn labour(self, stop: CancellationToken) -> anyhow::Result<()> {
        let scopes = scopes(&self.arguments.namespaces);
        let (waker, wakes) = queue();
        let witness = Arc::new(Witness { metrics: Arc::clone(&self.metrics), health: Arc::clone(&self.health) });

        let permits = NonZeroUsize::try_from(self.arguments.probe_concurrency).context("--probe-concurrency")?;
        let engine = {
            let waker = waker.clone();
            let wake = move |subject: &Subject| waker.wake_subject(subject);
            Engine::new(permits, Arc::clone(&self.world), Arc::clone(&witness) as Arc<dyn engine::Witness>, wake)
        };
        let index = SharedIndex::new(Index::new(Kind::BUILT_IN));
        let access = if self.arguments.secret_watch { SecretAccess::Watched } else { SecretAccess::Polled };
        let context = Arc::new(Context::new(
            self.primary.clone(),
            engine.clone(),
            index.clone(),
            Arc::clone(&self.cluster),
            Recorder::new(self.primary.clone(), self.reporter.clone()),
            access,
            Arc::clone(&witness) as Arc<dyn reconcile::Witness>,
        ));

        let (wake_users, mut woken_users) = unbounded_channel();
        let feed = usage::watch::Feed {
            index,
            wake: wake_users,
            witness: Arc::clone(&witness) as Arc<dyn usage::watch::Witness>,
        };
        let mut users = Watches::start(&self.usage, &Kind::BUILT_IN, &scopes, &feed, &stop);
        let mut tasks = JoinSet::new();
        {
            let waker = waker.clone();
            tasks.spawn(async move {
                while let Some(connection) = woken_users.recv().await {
                    waker.wake_reference(&connection);
                }
            });
        }
        for need in [Need::Connections, Need::Secrets, Need::Users] {
            self.health.unmet(need);
        }
        let store = self.watch_everything(&mut tasks, &scopes, &context, &waker);
        self.follow_definition(&mut tasks, &store, &waker);

        // Who uses what is known before the first status is written, where it can be.
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = timeout(SETTLE, users.settled()) => self.health.met(Need::Users),
        }
        let probing = tokio::spawn({
            let stop = stop.clone();
            async move { engine.run(stop).await }
        });
        let health = Arc::clone(&self.health);
        let beat = move || health.beat(Loop::Controller, Instant::now());
        let passes = tokio::spawn(controller::run(store, wakes, context, beat, stop.clone()));

        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = users.join() => ended.map_err(anyhow::Error::from),
            Some(ended) = tasks.join_next() => Err(anyhow::anyhow!("a watch ended: {}", describe(&ended))),
        };
        stop.cancel();
        tracing::info!("draining");
        if timeout(DRAIN, passes).await.is_err() {
            tracing::warn!("passes did not end in time");
        }
        self.health.ended(Loop::Controller);
        self.health.ended(Loop::Engine);
        tasks.shutdown().await;
        if timeout(DRAIN, probing).await.is_err() {
            tracing::warn!("probes did not end in time");
        }
        ended
    }

    /// Starts every watch but those of users and of the CRD; returns the store of Connections.
    fn watch_everything(
        &self,
        tasks: &mut JoinSet<()>,
        scopes: &[Scope],
        context: &Arc<Context>,
        waker: &Waker,
    ) -> Store<Watched> {
        let mut writer: Writer<Watched> = Writer::new(());
        let store = writer.as_reader();
        // The watches only ever add and remove single objects, since there may be several of them.
        writer.apply_watcher_event(&watcher::Event::Init);
        writer.apply_watcher_event(&watcher::Event::InitDone);
        let writer = Arc::new(Mutex::new(writer));
        let all_of = |need: Need, count: usize| Arc::new(Readiness::new(Arc::clone(&self.health), need, count));

        let connections_ready = all_of(Need::Connections, scopes.len());
        let selected = watcher::Config::default();
        let selected = self.arguments.selector.iter().fold(selected, |config, selector| config.labels(selector));
        for scope in scopes {
            let report = self.report("connections", Some(Arc::clone(&connections_ready)));
            let sight = Connections::new(Arc::clone(&writer), waker.clone(), Arc::clone(context), report);
            tasks.spawn(keep_watching(scoped::<Watched>(&self.watching, scope), selected.clone(), sight));
        }
        if self.arguments.secret_watch {
            let secrets_ready = all_of(Need::Secrets, scopes.len());
            let no_releases = watcher::Config::default().fields("type!=helm.sh/release.v1");
            for scope in scopes {
                let report = self.report("secrets", Some(Arc::clone(&secrets_ready)));
                let namespace = namespace_of(scope);
                let sight =
                    Sources::new(SourceKind::Secret, Arc::clone(context), waker.clone(), report, namespace.clone());
                let api = scoped::<PartialObjectMeta<Secret>>(&self.watching, scope);
                tasks.spawn(keep_watching(api, no_releases.clone(), sight));
                let report = self.report("configmaps", None);
                let sight = Sources::new(SourceKind::ConfigMap, Arc::clone(context), waker.clone(), report, namespace);
                let api = scoped::<PartialObjectMeta<ConfigMap>>(&self.watching, scope);
                tasks.spawn(keep_watching(api, watcher::Config::default(), sight));
            }
        } else {
            self.health.met(Need::Secrets);
        }
        let wake = {
            let (store, waker) = (store.clone(), waker.clone());
            Arc::new(move |namespace: &str| wake_all(&store, &waker, Some(namespace)))
        };
        let sight = Namespaces { context: Arc::clone(context), wake, report: self.report("namespaces", None) };
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.watching.clone());
        tasks.spawn(keep_watching(api, watcher::Config::default(), sight));

        self.world.set_api_server(&self.api_server);
        let sight = ApiServer {
            world: Arc::clone(&self.world),
            fixed: self.api_server.clone(),
            report: self.report("endpointslices", None),
            slices: std::collections::HashMap::new(),
        };
        let api: Api<EndpointSlice> = Api::namespaced(self.watching.clone(), "default");
        let of_the_api_server = watcher::Config::default().labels("kubernetes.io/service-name=kubernetes");
        tasks.spawn(keep_watching(api, of_the_api_server, sight));
        store
    }

    /// Wakes every Connection when the CRD begins to go.
    fn follow_definition(&self, tasks: &mut JoinSet<()>, store: &Store<Watched>, waker: &Waker) {
        let (mut definition, cluster) = (self.definition.clone(), Arc::clone(&self.cluster));
        let (store, waker) = (store.clone(), waker.clone());
        tasks.spawn(async move {
            loop {
                let fate = definition.borrow_and_update().unwrap_or(Fate::Stays);
                if cluster.set_crd(fate) && fate == Fate::Goes {
                    tracing::warn!("the custom resource definition is being deleted: every Connection is released");
                    wake_all(&store, &waker, None);
                }
                if definition.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        });
    }

    fn report(&self, plural: &'static str, ready: Option<Arc<Readiness>>) -> Report {
        reporter(&self.metrics, plural, ready)
    }
}

/// Tells metrics and readiness what one watch knows.
fn reporter(metrics: &Arc<Metrics>, plural: &'static str, ready: Option<Arc<Readiness>>) -> Report {
    let metrics = Arc::clone(metrics);
    let known = Mutex::new(None);
    Arc::new(move |state| {
        let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before: Option<State> = known.replace(state);
        if before == Some(state) {
            return;
        }
        metrics.watch_changed(plural, before.map(watch_state), Some(watch_state(state)));
        match state {
            State::Syncing | State::Synced => tracing::info!(plural, state = state.as_str(), "watch"),
            State::Forbidden | State::Missing => {
                tracing::warn!(plural, state = state.as_str(), "cannot be watched, trying again");
            }
        }
        if let Some(ready) = ready.as_ref().filter(|_| state == State::Synced) {
            ready.one_more();
        }
    })
}

/// A need that is met once as many watches have synced as there are.
struct Readiness {
    health: Arc<Health>,
    need: Need,
    left: Mutex<usize>,
}

impl Readiness {
    const fn new(health: Arc<Health>, need: Need, left: usize) -> Self {
        Self { health, need, left: Mutex::new(left) }
    }

    fn one_more(&self) {
        let mut left = self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.health.met(self.need);
        }
    }
}

/// Hears what the parts see, and tells metrics, logs and liveness.
struct Witness {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl engine::Witness for Witness {
    fn probed(&self, subject: &Subject, kind: ConnectionType, report: &failure::Report) {
        for (stage, spent) in report.steps() {
            self.metrics.stage_ended(kind, *stage, *spent);
        }
        let Subject { namespace, name, .. } = subject;
        let result = match report.failure() {
            None => ProbeResult::Passed,
            Some((stage, failure)) => {
                let (reason, raised) = (failure.reason(), failure.raised());
                tracing::debug!(%namespace, %name, stage = stage.name(), %reason, %raised, "probe failed");
                ProbeResult::Failed(reason)
            }
        };
        self.metrics.probe_ended(kind, result);
    }

    fn held_back(&self, subject: &Subject, kind: ConnectionType, report: &failure::Report) {
        let Subject { namespace, name, .. } = subject;
        if let Some((_, failure)) = report.failure() {
            let reason = failure.reason();
            self.metrics.failure_held_back(kind, reason);
            tracing::info!(%namespace, %name, %reason, "a failure is held back");
        } else {
            tracing::info!(%namespace, %name, "a success is held back");
        }
    }

    fn load(&self, running: usize, waiting: usize) {
        self.metrics.probes_in_flight(running);
        self.metrics.probes_waiting(waiting);
        self.health.beat(Loop::Engine, Instant::now());
    }
}

impl reconcile::Witness for Witness {
    fn shown(&self, kind: ConnectionType, before: Option<Reason>, after: Option<Reason>) {
        let verdict = |reason: Reason| (reason.ready(), reason);
        self.metrics.verdict_changed(kind, before.map(verdict), after.map(verdict));
    }
}

impl usage::watch::Witness for Witness {
    fn watch_state(&self, kind: &Kind, before: Option<State>, after: State) {
        let plural = kind.api_resource().plural;
        self.metrics.watch_changed(&plural, before.map(watch_state), Some(watch_state(after)));
    }
}

const fn watch_state(state: State) -> WatchState {
    match state {
        State::Syncing => WatchState::Syncing,
        State::Synced => WatchState::Synced,
        State::Forbidden => WatchState::Forbidden,
        State::Missing => WatchState::KindNotFound,
    }
}

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Arrived,
    Stopped,
}

async fn wait_for_definition(mut definition: watch::Receiver<Option<Fate>>, stop: &CancellationToken) -> Awaited {
    let there = definition.wait_for(|fate| *fate == Some(Fate::Stays));
    let mut there = std::pin::pin!(there);
    let mut told = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Awaited::Stopped,
            _ = &mut there => return Awaited::Arrived,
            () = tokio::time::sleep(SETTLE / 5), if !told => {
                told = true;
                tracing::warn!(
                    name = Connection::crd_name(),
                    "the custom resource definition is not installed: waiting for it"
                );
            }
        }
    }
}

fn watch_definition(
    watches: &mut JoinSet<()>,
    client: &Client,
    defined: watch::Sender<Option<Fate>>,
    metrics: &Arc<Metrics>,
) {
    let tell = move |fate| {
        defined.send_replace(fate);
    };
    let sight = Definition { tell, report: reporter(metrics, "customresourcedefinitions", None) };
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
    let ours = watcher::Config::default().fields(&format!("metadata.name={}", Connection::crd_name()));
    watches.spawn(keep_watching(api, ours, sight));
}

fn world(arguments: &Arguments) -> anyhow::Result<Arc<World>> {
    let rules = |flag: &str, list: &[String]| {
        list.iter()
            .map(|rule| rule.parse::<Rule>().with_context(|| format!("{flag} {rule}")))
            .collect::<anyhow::Result<Vec<Rule>>>()
    };
    let allow = rules("--egress-allow", &arguments.egress_allow)?;
    let deny = rules("--egress-deny", &arguments.egress_deny)?;
    Ok(World::new(Policy::new(allow, deny), Arc::new(SystemResolver), arguments.new_targets.get()))
}

/// The API server's addresses that are known before any watch: that of the client, and that of the environment.
#[expect(clippy::disallowed_methods, reason = "the variable is the cluster's, not a setting of ours")]
fn addresses_of(config: &Config) -> Vec<IpAddr> {
    let url = config.cluster_url.host().map(|host| host.trim_matches(['[', ']']).to_owned());
    let environment = std::env::var("KUBERNETES_SERVICE_HOST").ok();
    url.into_iter().chain(environment).filter_map(|host| host.parse().ok()).collect()
}

fn scopes(namespaces: &[String]) -> Vec<Scope> {
    match namespaces {
        [] => vec![Scope::Cluster],
        some => some.iter().map(|name| Scope::Namespace(name.as_str().into())).collect(),
    }
}

fn namespace_of(scope: &Scope) -> Option<Arc<str>> {
    match scope {
        Scope::Cluster => None,
        Scope::Namespace(name) => Some(Arc::clone(name)),
    }
}

fn scoped<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match scope {
        Scope::Cluster => Api::all(client.clone()),
        Scope::Namespace(name) => Api::namespaced(client.clone(), name),
    }
}

fn wake_all(store: &Store<Watched>, waker: &Waker, namespace: Option<&str>) {
    for object in store.state() {
        let metadata = object.meta();
        let here = metadata.namespace.as_deref().unwrap_or_default();
        if namespace.is_none_or(|namespace| namespace == here) {
            waker.wake(here, metadata.name.as_deref().unwrap_or_default());
        }
    }
}

fn describe(ended: &Result<(), tokio::task::JoinError>) -> &'static str {
    match ended {
        Ok(()) => "it returned",
        Err(error) if error.is_panic() => "it panicked",
        Err(_) => "it was cancelled",
    }
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to end");
        told.cancel();
    });
    Ok(stop)
}
