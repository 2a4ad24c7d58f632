//! The operator between the watches and the sockets: one process with its memory, its engine and its passes; and a Connection to
//! a database that lets everybody in.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

pub use connection_operator::api::annotations::FINALIZER;
use connection_operator::{
    api::{Object, conditions::standing_default},
    connections::ConnectionType,
    failure::{Reason, Report},
    net::{Policy, SystemResolver, World},
    probing::{Subject, engine, engine::Engine, verdict::Verdict},
    reconcile::{
        self, Cluster, Context, Error, reconcile,
        recorder::Recorder,
        resolve::SecretAccess,
        standing::{SourceKey, Version},
    },
    usage::{
        ConnectionRef, Index, Kind, KindState, Reference, Scope, SharedIndex,
        extract::{Mark, Progress, Target, Uid},
    },
};
use kube::runtime::{controller::Action, events::Reporter};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        watch,
    },
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    peer::Peer,
    server::{Fault, Server},
};

/// Where the Connection of a test is stored.
pub const CONNECTION: &str = "/apis/connectivity.dev/v1alpha1/namespaces/shop/connections/orders-db";
/// Where its Secret is.
pub const SECRET: &str = "/api/v1/namespaces/shop/secrets/orders-db";
/// Where what uses it is, once a test says so.
pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/api";

/// Longest wait for a verdict: the pause between two probes, and what a busy machine takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// One process of the operator.
pub struct House {
    /// What it talks to.
    pub server: Server,
    /// What its passes share.
    pub context: Arc<Context>,
    woken: tokio::sync::Mutex<UnboundedReceiver<Subject>>,
    looks: watch::Receiver<usize>,
    _stop: DropGuard,
}

/// A process, and the database that it looks at.
pub struct Stage {
    /// The process.
    pub house: House,
    /// The database.
    pub database: Peer,
}

impl Stage {
    /// A process that has just started, a database, and a new Connection to it that nobody has looked at.
    pub async fn with_new_connection() -> Self {
        let database = Peer::that(let_in).await;
        let server = Server::default();
        server.store(SECRET, secret("reader-secret"));
        server.store(CONNECTION, connection(database.address.port()));
        Self { house: House::new(&server), database }
    }

    /// The same, with the Connection looked at: it is ready, and the log of requests is empty.
    pub async fn with_ready_connection() -> Self {
        let stage = Self::with_new_connection().await;
        stage.house.settle().await;
        assert_eq!(stage.house.ready(), ("True".to_owned(), "Succeeded".to_owned()));
        stage.house.server.news();
        stage
    }

    /// How often somebody has logged in.
    pub fn logins(&self) -> usize {
        self.database.accepted()
    }
}

impl House {
    /// A process that has just started; its watches have seen what is there.
    pub fn new(server: &Server) -> Self {
        Self::with_access(server, SecretAccess::Watched)
    }

    /// The same, with another way to notice changes of Secrets.
    pub fn with_access(server: &Server, secrets: SecretAccess) -> Self {
        let allowed = Policy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
        let world = World::new(allowed, Arc::new(SystemResolver), 1000);
        let (wake, woken) = unbounded_channel();
        let (count, looks) = watch::channel(0);
        let engine = Engine::new(NonZeroUsize::new(64).unwrap(), world, Arc::new(Counter(count)), move |subject| {
            let _ = wake.send(subject.clone());
        });
        let stop = CancellationToken::new();
        let (running, stopped) = (engine.clone(), stop.clone());
        tokio::spawn(async move { running.run(stopped).await });
        let index = SharedIndex::new(Index::new(Kind::BUILT_IN));
        index.with(|index| {
            for kind in &Kind::BUILT_IN {
                index.set_state(kind, &Scope::Cluster, KindState::Synced);
            }
            if server.object(DEPLOYMENT).is_some() {
                index.apply(user());
            }
        });
        let client = server.client();
        let reporter = Reporter { controller: "connection-operator".to_owned(), instance: None };
        let recorder = Recorder::new(client.clone(), reporter);
        let cluster = Arc::new(Cluster::default());
        let context = Context::new(client, engine, index, cluster, recorder, secrets, Arc::new(Nobody));
        let (server, context) = (server.clone(), Arc::new(context));
        Self { server, context, woken: woken.into(), looks, _stop: stop.drop_guard() }
    }

    /// One pass over the Connection as it is stored now.
    pub async fn pass(&self) -> Result<Action, Error> {
        if let Some(object) = self.server.object(CONNECTION) {
            return self.pass_over(object).await;
        }
        self.context.forget_name(&ConnectionRef::new("shop", "orders-db"));
        Ok(Action::await_change())
    }

    /// One pass over the Connection as a watch may have shown it a while ago.
    pub async fn pass_over(&self, object: Value) -> Result<Action, Error> {
        let object = serde_json::from_value(object).unwrap();
        reconcile(Arc::new(object), Arc::clone(&self.context)).await
    }

    /// Passes until one has nothing to do and no verdict is waited for, as the controller does. What fails is repeated.
    pub async fn settle(&self) {
        for _ in 0..20 {
            let before = self.server.requests().len();
            let passed = self.pass().await;
            if self.is_waiting() {
                self.verdict().await;
            } else if passed.is_ok() && self.server.requests().len() == before {
                return;
            }
        }
        panic!("it does not settle: {:#?}", self.server.news());
    }

    /// Waits until the engine says that a verdict has changed.
    pub async fn verdict(&self) {
        let woken = async { self.woken.lock().await.recv().await };
        timeout(DEADLINE, woken).await.expect("a verdict");
    }

    /// Whether this process has looked `times` times, before long.
    pub async fn has_looked(&self, times: usize) -> bool {
        timeout(DEADLINE, self.looks.clone().wait_for(|looks| *looks >= times)).await.is_ok()
    }

    /// Status and reason of the stored Ready condition.
    pub fn ready(&self) -> (String, String) {
        self.condition("Ready").expect("Ready is always there")
    }

    /// Status and reason of a stored condition.
    pub fn condition(&self, name: &str) -> Option<(String, String)> {
        let object = self.server.object(CONNECTION).expect("the Connection");
        let found = object["status"]["conditions"].as_array()?.iter().find(|found| found["type"] == name)?.clone();
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason")))
    }

    /// A watch tells that the Secret is another one now.
    pub fn hear_of_secret(&self) {
        let object = self.server.object(SECRET);
        let version = object.as_ref().and_then(|object| object["metadata"]["resourceVersion"].as_str());
        self.context.standings().heard(&SourceKey::of(Object::Secret("orders-db"), "shop"), Version::read(version));
    }

    /// An interval has passed since the Secret was read.
    pub fn pass_an_interval(&self) {
        let object = self.server.object(CONNECTION).unwrap();
        let uid = object["metadata"]["uid"].as_str().unwrap().into();
        self.context.standings().of(&uid).resolved.as_mut().unwrap().at -= Duration::from_mins(1);
    }

    /// Somebody asks for a look.
    pub fn request(&self) {
        self.server.change(CONNECTION, |object| {
            object["metadata"]["annotations"] = json!({"connectivity.dev/requested-at": "now"});
        });
    }

    /// A Deployment takes the Secret: the API server stores it, and a watch tells.
    pub fn is_used(&self) {
        let object = json!({
            "metadata": {"name": "api", "namespace": "shop"},
            "spec": {"template": {"spec": {"containers": [
                {"name": "c", "envFrom": [{"secretRef": {"name": "orders-db"}}]},
            ]}}},
        });
        self.server.store(DEPLOYMENT, object);
        self.context.index.with(|index| index.apply(user()));
    }

    /// The Deployment is gone: a watch tells.
    pub fn is_unused(&self) {
        self.server.remove(DEPLOYMENT);
        self.context.index.with(|index| index.remove(&Kind::Deployment, "shop", "api"));
    }

    /// Somebody deletes the Connection.
    pub fn delete(&self) {
        self.server.change(CONNECTION, |object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        });
    }

    /// Whether a probe is under way whose outcome is not known.
    fn is_waiting(&self) -> bool {
        let Some(object) = self.server.object(CONNECTION) else { return false };
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        self.context.engine.opinion(uid).is_some_and(|opinion| opinion.verdict == Verdict::Pending)
    }
}

/// Lives through `story` in one process after another: where a request kills one, the next one starts with what is stored.
pub async fn survive(server: &Server, story: impl AsyncFn(&House)) {
    loop {
        let house = House::new(server);
        tokio::select! {
            () = story(&house) => return,
            () = server.killed() => {}
        }
    }
}

/// The faults that any request may meet.
pub const FAULTS: [Fault; 5] =
    [Fault::Says(500), Fault::BreaksBefore, Fault::BreaksAfter, Fault::KillsBefore, Fault::KillsAfter];

/// A new Connection to a database at `port` of loopback, as the API server stores it.
pub fn connection(port: u16) -> Value {
    json!({
        "apiVersion": "connectivity.dev/v1alpha1",
        "kind": "Connection",
        "metadata": {"name": "orders-db", "namespace": "shop", "generation": 1},
        "spec": {
            "type": "PostgreSQL",
            "postgresql": {"host": "127.0.0.1", "port": port, "database": "orders"},
            "credentials": {"secretRef": {"name": "orders-db"}},
            "tls": {"mode": "Disable"},
        },
        "status": {"observedGeneration": -1, "conditions": standing_default()},
    })
}

/// The same, adopted and marked.
pub fn marked(port: u16) -> Value {
    let mut object = connection(port);
    object["metadata"]["finalizers"] = json!([FINALIZER]);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object
}

/// A Secret that logs `reader` in.
pub fn secret(password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "orders-db", "namespace": "shop"},
        "data": {"username": base64("reader"), "password": base64(password)},
    })
}

fn base64(text: &str) -> String {
    let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
    serde_json::to_value(bytes).unwrap().as_str().unwrap().to_owned()
}

fn user() -> Reference {
    Reference {
        kind: Kind::Deployment,
        namespace: "shop".into(),
        name: "api".into(),
        uid: Uid::of("api"),
        controller: None,
        targets: [Target::Secret("orders-db".into())].into(),
        progress: Progress::Counts,
        mark: Mark::Unmarked,
    }
}

/// The database: every login is accepted, and nothing is found.
async fn let_in(mut stream: TcpStream) {
    let mut length = [0; 4];
    if stream.read_exact(&mut length).await.is_err() {
        return;
    }
    let mut start = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
    if stream.read_exact(&mut start).await.is_ok() {
        // AuthenticationOk, ReadyForQuery.
        let _ = stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await;
        // One statement comes in one piece. ParseComplete, BindComplete, NoData, CommandComplete, ReadyForQuery.
        if stream.read(&mut [0; 1024]).await.is_ok_and(|taken| taken > 0) {
            let _ = stream.write_all(b"1\0\0\0\x042\0\0\0\x04n\0\0\0\x04C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I").await;
        }
        let _ = stream.read_to_end(&mut start).await;
    }
}

/// A port of loopback at which nobody listens, for as long as it is kept.
pub struct Nowhere(TcpSocket);

impl Nowhere {
    /// Takes one.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// Is told, and does nothing.
struct Nobody;

/// Counts the looks.
struct Counter(watch::Sender<usize>);

impl engine::Witness for Counter {
    fn probed(&self, _: &Subject, _: ConnectionType, _: &Report) {
        self.0.send_modify(|looks| *looks += 1);
    }

    fn held_back(&self, _: &Subject, _: ConnectionType, _: &Report) {}
    fn load(&self, _: usize, _: usize) {}
}

impl reconcile::Witness for Nobody {
    fn shown(&self, _: ConnectionType, _: Option<Reason>, _: Option<Reason>) {}
}

/// What is stored of a Connection, without what differs between two runs of the same story.
pub fn essence(server: &Server) -> Value {
    let Some(mut object) = server.object(CONNECTION) else { return Value::Null };
    object["metadata"]["resourceVersion"] = Value::Null;
    for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
    }
    object
}
