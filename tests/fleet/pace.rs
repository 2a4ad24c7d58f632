//! How long it takes from the creation of a Connection until it is Ready, on the same machine in the same minute.

use std::{
    fmt,
    time::{Duration, Instant},
};

use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};

use crate::{
    derive::manifests,
    example,
    harness::{
        control_plane::ControlPlane,
        namespace::{Connection, Namespace},
    },
    servers::{Login, Servers},
};
use connection_operator::connections::ConnectionType;

/// How many are created for one figure.
const COUNT: usize = 5;

/// Whoever creates Connections of PostgreSQL, one after the other, each in front of the same database.
pub struct Pace<'a> {
    namespace: Namespace<'a>,
    api: Api<DynamicObject>,
    manifest: Value,
    made: usize,
}

/// How long each took.
pub struct Times(Vec<Duration>);

impl<'a> Pace<'a> {
    /// Makes the namespace with the Secret, and one Connection that nobody measures: it reads what is read once per process.
    pub async fn new(plane: &'a ControlPlane, servers: &Servers) -> Self {
        let entries = servers.entries(Login::Right);
        let entry = entries.iter().find(|entry| entry.kind == ConnectionType::PostgreSQL).expect("PostgreSQL");
        let example = example::all().into_iter().find(|example| example.kind == entry.kind && !example.is_full());
        let namespace = Namespace::named(plane, "between").await;
        let mut objects = manifests(&example.expect("an example"), &namespace.name, &entry.change);
        let manifest = objects.pop().expect("the Connection is the last");
        for object in objects {
            namespace.create(object).await;
        }
        let kubeconfig = Kubeconfig::read_from(plane.directory.join("kubeconfig")).expect("the administrator's");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
        let resource = ApiResource::erase::<connection_operator::api::Connection>(&());
        let api = Api::namespaced_with(Client::try_from(config).expect("a client"), &namespace.name, &resource);
        let mut pace = Self { namespace, api, manifest, made: 0 };
        pace.create().await;
        pace
    }

    /// Creates some, for as long as `counts` says afterwards that it counted.
    ///
    /// # Panics
    /// Where fewer than two did.
    pub async fn measure(&mut self, counts: impl AsyncFn() -> bool) -> Times {
        let mut times = Vec::new();
        for _ in 0..COUNT {
            let took = self.create().await;
            times.push(took);
            if !counts().await {
                // Where it waited for what it is measured beside, that is over by now.
                assert!(times.len() > 2, "too slow: {}", Times(times));
                times.pop();
                break;
            }
        }
        times.sort();
        Times(times)
    }

    /// Creates one, and returns how long it took until somebody who watches it saw it Ready.
    async fn create(&mut self) -> Duration {
        self.made += 1;
        let name = format!("between-{}", self.made);
        let mut manifest = self.manifest.clone();
        manifest["metadata"]["name"] = json!(name);
        let begin = Instant::now();
        let is_ready = |object: Option<&DynamicObject>| {
            object.is_some_and(|object| Connection(json!(object)).is("Ready", "True", "Succeeded"))
        };
        let watched =
            tokio::time::timeout(crate::harness::DEADLINE, await_condition(self.api.clone(), &name, is_ready));
        let (_, seen) = tokio::join!(self.namespace.create(manifest), watched);
        seen.expect("it becomes Ready").expect("a watch");
        begin.elapsed()
    }
}

impl Times {
    /// The one in the middle, or the faster one of two.
    fn median(&self) -> Duration {
        self.0[(self.0.len() - 1) / 2]
    }

    /// Fails where these are of another kind than `idle`.
    pub fn must_be_like(&self, idle: &Self) {
        // A busy machine is slow now and then, but not mostly; and none may have waited for a probe that hangs.
        let bound = idle.median() * 3 + Duration::from_millis(500);
        assert!(self.median() <= bound, "{self}, and idle {idle}");
        assert!(self.0.iter().all(|took| *took < Duration::from_secs(5)), "{self}, and idle {idle}");
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds: Vec<String> = self.0.iter().map(|took| took.as_millis().to_string()).collect();
        write!(f, "{} ms", milliseconds.join(", "))
    }
}
