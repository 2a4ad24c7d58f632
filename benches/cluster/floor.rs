//! The least that what the operator does can cost: the same requests and the same probe, bare.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use connection_operator::{
    connections::{ConnectionType, Definition as _, Given, Permission, Probe, postgresql::Settings},
    failure::Setting,
    net::{
        Policy, SystemResolver, World, climb,
        tls::{Mode, Tls},
    },
    secret::{Credentials, SecretValue},
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::{
    Plan,
    figures::{self, Times},
    harness::caller::PatchKind,
    process,
    stage::{FINALIZER, Stage, Wanted},
};

/// The type's own probe, in this process.
#[derive(Clone)]
pub struct Bare {
    probe: Arc<dyn Probe>,
    world: Arc<World>,
}

impl Bare {
    /// The probe of the Connections of this benchmark.
    pub fn new(stage: &Stage, mode: Mode) -> Self {
        let loopback = "127.0.0.0/8".parse().expect("a rule");
        let world = World::new(Policy::new(vec![loopback], Vec::new()), Arc::new(SystemResolver), 600);
        let settings = json!({
            "host": stage.postgresql.ip(), "port": stage.postgresql.port(),
            "database": "orders", "schema": "public", "table": "orders",
        });
        let settings: Settings = serde_json::from_value(settings).expect("settings");
        let tls = Tls { mode, ..Tls::default() };
        let secret = Setting::from_spec("Secret bench");
        let data = [("username", "reader"), ("password", "reader-secret")];
        let data = data.map(|(key, value)| (key.to_owned(), SecretValue::new(value.as_bytes().to_vec())));
        let keys = ConnectionType::PostgreSQL.about().keys;
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data.into(), &BTreeMap::new(), keys, &methods, &secret);
        let credentials = credentials.expect("the Secret is complete");
        let given =
            Given { namespace: "bench".to_owned(), credentials, secret, tls, permissions: vec![Permission::Read] };
        let prepared = settings.prepare(given).expect("the settings make sense");
        Self { probe: prepared.probe.into(), world }
    }

    /// One look, which must pass.
    pub async fn probe(&self) {
        let probe = Arc::clone(&self.probe);
        let work = async move |network| probe.run(&network).await;
        let report = climb(self.world.network("bench"), Duration::from_secs(60), work).await;
        assert!(report.failure().is_none(), "{report:?}");
    }
}

/// One after the other: the finalizer, the Secret, a probe, the status. `status` is one that the operator wrote.
pub async fn one(stage: &Stage, bare: &Bare, wanted: &Wanted, uid: &Value, status: &Value) -> Duration {
    let begin = Instant::now();
    adopt(stage, wanted, uid).await;
    stage.floor.get(&wanted.secret_path()).await.object();
    bare.probe().await;
    conclude(stage, wanted, uid, status).await;
    begin.elapsed()
}

/// Puts the finalizer on, as the operator does.
pub async fn adopt(stage: &Stage, wanted: &Wanted, uid: &Value) {
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
    ]);
    stage.floor.patch(&wanted.path(), PatchKind::Json, &patch).await.object();
}

/// Writes the status, as the operator does.
pub async fn conclude(stage: &Stage, wanted: &Wanted, uid: &Value, status: &Value) {
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "replace", "path": "/status", "value": status},
    ]);
    stage.floor.patch(&format!("{}/status", wanted.path()), PatchKind::Json, &patch).await.object();
}

/// What a probe costs by itself: in time, and in processor time of this side.
pub async fn probes(stage: &Stage, plan: &Plan) {
    figures::title("A bare probe of this PostgreSQL (SCRAM-SHA-256), in process");
    let count = plan.crowd;
    for (name, mode) in [("without TLS", Mode::Disable), ("with TLS 1.3", Mode::Require)] {
        let bare = Bare::new(stage, mode);
        bare.probe().await;
        let mut times = Times::default();
        for _ in 0..plan.creations {
            let begin = Instant::now();
            bare.probe().await;
            times.add(begin.elapsed());
        }
        figures::line(&format!("{name}, one at a time (n={})", times.count()), &times.spread());
        let (begin, before) = (Instant::now(), process::processor_time(std::process::id()));
        let looks = futures::stream::iter((0..count).map(|_| bare.probe()));
        looks.buffer_unordered(64).collect::<Vec<()>>().await;
        let (spent, used) = (begin.elapsed(), process::processor_time(std::process::id()).saturating_sub(before));
        let figure = format!(
            "{} for {count}, {}; this side uses {} of one core each, which is {} per core",
            figures::seconds(spent),
            figures::rate(count, spent),
            figures::milliseconds(used / u32::try_from(count).unwrap_or(1)),
            figures::rate(count, used),
        );
        figures::line(&format!("{name}, 64 at a time"), &figure);
    }
}
