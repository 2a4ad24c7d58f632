//! The composition root: the only place that builds clients, wires the parts together, and ends them in order.
//!
//! One lifetime: set up, wait for the CRDs, wait to lead, work, end on a signal or when the lead is lost.

pub mod child;
mod labour;
mod witness;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config, CustomResourceExt as _,
    core::PartialObjectMeta,
    runtime::{events::Reporter, watcher},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Connection,
    cli::run::{Arguments, Whereabouts},
    controller::sights::Definition,
    kubernetes,
    leadership::{Fence, Leadership, Seat, lease_name},
    net::{
        World,
        policy::{Policy, Rule},
        resolve::{LOOKUPS, SystemResolver},
    },
    observability::{
        health::{Health, Need},
        http,
        metrics::{Metrics, Role},
        telemetry,
    },
    reconcile::{Cluster, plan::Fate},
    watching::keep_watching,
};

use labour::Parts;
use witness::reporter;

/// A CRD that is not there is said to be missing after this; an API server that is slow at start is not.
const MISSING_AFTER: Duration = Duration::from_secs(2);

/// Threads for what blocks, beside those of lookups and probes: files, the names of API servers, the relays of children.
const OTHER_THREADS: usize = 64;

/// Runs the operator until a signal ends it.
///
/// # Errors
/// What could not be set up, or that the lead was lost: whoever started the process starts it again.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    telemetry::set_up(arguments.log_format, arguments.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(threads(arguments.probe_concurrency))
        .build()
        .context("no threads")?;
    let ended = runtime.block_on(live(arguments));
    // A probe that hangs in the system's resolver must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// Most threads for what blocks: for each lookup one, for each probe one, and some for whatever else there is. So nobody waits for
/// a thread because others do not end.
fn threads(probes: NonZeroU32) -> usize {
    let probes = usize::try_from(probes.get()).unwrap_or(usize::MAX);
    probes.saturating_add(LOOKUPS + OTHER_THREADS)
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
    let open = Fence::open();
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
            () = tokio::time::sleep(MISSING_AFTER), if !told => {
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
