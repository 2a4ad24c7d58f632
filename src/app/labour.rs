//! Everything that works while this process leads: engine, index, watches, passes; started together, ended in order.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Secret},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{
        events::Reporter,
        reflector::{Store, store::Writer},
        watcher,
    },
};
use tokio::{
    sync::{mpsc::unbounded_channel, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::run::Arguments,
    controller::{
        self, Watched,
        queue::{Waker, queue},
        sights::{ApiServer, Connections, Namespaces, Report, Sources},
    },
    net::World,
    observability::{
        health::{Health, Loop, Need},
        metrics::Metrics,
    },
    probing::{
        Subject,
        engine::{self, Engine},
    },
    reconcile::{self, Cluster, Context, plan::Fate, recorder::Recorder, resolve::SecretAccess, standing::SourceKind},
    usage::{
        self, SharedIndex,
        extract::Kind,
        index::{Index, Scope},
        watch::Watches,
    },
    watching::keep_watching,
};

use super::witness::{Readiness, Witness, reporter};

/// Passes that run when the process ends have this long; each call of theirs has a deadline of its own.
const DRAIN: Duration = Duration::from_secs(5);
/// Kinds of users that cannot be reached at all delay the first pass by no more than this.
const SETTLE: Duration = Duration::from_secs(10);

/// Everything that works while this process leads.
pub(super) struct Parts<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) primary: Client,
    pub(super) watching: Client,
    pub(super) usage: Client,
    pub(super) world: Arc<World>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) definition: watch::Receiver<Option<Fate>>,
    pub(super) reporter: Reporter,
    pub(super) api_server: Vec<IpAddr>,
}

impl Parts<'_> {
    /// Works until `stop`.
    ///
    /// # Errors
    /// A part that ended by itself.
    pub(super) async fn labour(self, stop: CancellationToken) -> anyhow::Result<()> {
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
