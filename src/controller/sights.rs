//! What the operator's own watches see, and whom they wake: Connections, the Secrets and ConfigMaps they name, namespaces,
//! the CRD, the API server's addresses.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::{core::v1::Namespace, discovery::v1::EndpointSlice},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Resource, ResourceExt as _,
    api::ObjectMeta,
    core::PartialObjectMeta,
    runtime::{reflector::store::Writer, watcher::Event},
};

use crate::{
    api::annotations::{self, WATCHED},
    net::World,
    reconcile::{
        Context,
        plan::Fate,
        standing::{SourceKey, SourceKind, Version},
    },
    usage::ConnectionRef,
    watching::{Sight, State},
};

use super::{Watched, queue::Waker};

/// Told of what each watch knows, for metrics and readiness.
pub type Report = Arc<dyn Fn(State) + Send + Sync>;

/// The store of Connections, which several watches may feed.
pub type SharedWriter = Arc<Mutex<Writer<Watched>>>;

/// Connections.
pub struct Connections {
    /// Where they are kept.
    pub writer: SharedWriter,
    /// Who is woken.
    pub waker: Waker,
    /// What is kept about them.
    pub context: Arc<Context>,
    /// Told of what the watch knows.
    pub report: Report,
    known: HashMap<ConnectionRef, Mark>,
    listed: HashSet<ConnectionRef>,
}

/// What of a Connection makes a pass worth while when it changes.
#[derive(Clone, PartialEq, Eq)]
struct Mark {
    uid: String,
    rest: u64,
}

impl Connections {
    /// Nothing is known yet.
    pub fn new(writer: SharedWriter, waker: Waker, context: Arc<Context>, report: Report) -> Self {
        Self { writer, waker, context, report, known: HashMap::new(), listed: HashSet::new() }
    }

    fn store(&self, event: &Event<Watched>) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).apply_watcher_event(event);
    }

    fn drop_object(&mut self, name: &ConnectionRef, object: Watched) {
        self.store(&Event::Delete(object));
        if let Some(mark) = self.known.remove(name) {
            self.context.forget(&mark.uid);
        }
        self.context.forget_name(name);
    }
}

impl Sight<Watched> for Connections {
    fn label(&self) -> &'static str {
        "connections"
    }

    fn begin(&mut self) {
        self.listed.clear();
    }

    fn apply(&mut self, mut object: Watched) {
        annotations::prune(object.meta_mut());
        let Some(name) = reference(object.meta()) else { return };
        let mark = mark(object.meta());
        self.listed.insert(name.clone());
        self.store(&Event::Apply(object));
        let before = self.known.insert(name.clone(), mark.clone());
        if let Some(before) = before.as_ref().filter(|before| before.uid != mark.uid) {
            self.context.forget(&before.uid);
        }
        if before.as_ref() != Some(&mark) {
            self.waker.wake_reference(&name);
        }
    }

    fn remove(&mut self, object: Watched) {
        if let Some(name) = reference(object.meta()) {
            self.drop_object(&name, object);
        }
    }

    fn finish(&mut self) {
        let gone: Vec<ConnectionRef> = self.known.keys().filter(|name| !self.listed.contains(*name)).cloned().collect();
        for name in gone {
            let metadata = ObjectMeta {
                name: Some(name.name.to_string()),
                namespace: Some(name.namespace.to_string()),
                ..ObjectMeta::default()
            };
            let invalid = kube::core::error_boundary::InvalidObject { error: String::new(), metadata };
            self.drop_object(&name, kube::core::DeserializeGuard(Err(invalid)));
        }
        self.listed = HashSet::new();
    }

    fn report(&mut self, state: State) {
        (self.report)(state);
    }
}

/// The Secrets or ConfigMaps of a scope, by their metadata; what no Connection names is dropped here.
pub struct Sources<K> {
    /// What they are.
    pub kind: SourceKind,
    /// What is kept about Connections.
    pub context: Arc<Context>,
    /// Who is woken.
    pub waker: Waker,
    /// Told of what the watch knows.
    pub report: Report,
    /// The namespace that is watched; `None`: all.
    pub namespace: Option<Arc<str>>,
    /// The sources that were named when the listing began and were not in it so far.
    missing: BTreeSet<SourceKey>,
    marker: std::marker::PhantomData<fn(K)>,
}

impl<K> Sources<K> {
    /// Nothing is known yet.
    pub fn new(
        kind: SourceKind,
        context: Arc<Context>,
        waker: Waker,
        report: Report,
        namespace: Option<Arc<str>>,
    ) -> Self {
        Self { kind, context, waker, report, namespace, missing: BTreeSet::new(), marker: std::marker::PhantomData }
    }

    fn key(&self, metadata: &ObjectMeta) -> Option<SourceKey> {
        let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
        Some(SourceKey { kind: self.kind, namespace: namespace.into(), name: name.into() })
    }

    fn hear(&self, key: &SourceKey, version: Version) {
        let woken = self.context.standings().heard(key, version);
        for connection in &woken {
            self.waker.wake_reference(connection);
        }
    }
}

impl<K: Resource<DynamicType = ()> + Send + Sync> Sight<PartialObjectMeta<K>> for Sources<K> {
    fn label(&self) -> &'static str {
        match self.kind {
            SourceKind::Secret => "secrets",
            SourceKind::ConfigMap => "configmaps",
        }
    }

    fn begin(&mut self) {
        let here = |key: &SourceKey| self.namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace);
        self.missing = self.context.standings().named(self.kind).filter(here).collect();
    }

    fn apply(&mut self, object: PartialObjectMeta<K>) {
        let Some(key) = self.key(&object.metadata) else { return };
        self.missing.remove(&key);
        self.hear(&key, Version::read(object.metadata.resource_version.as_deref()));
    }

    fn remove(&mut self, object: PartialObjectMeta<K>) {
        if let Some(key) = self.key(&object.metadata) {
            self.hear(&key, Version::Absent);
        }
    }

    fn finish(&mut self) {
        let gone = std::mem::take(&mut self.missing);
        for key in &gone {
            self.hear(key, Version::Absent);
        }
    }

    fn report(&mut self, state: State) {
        (self.report)(state);
    }
}

/// Namespaces, by their metadata: those that are being deleted.
pub struct Namespaces {
    /// What is kept about Connections.
    pub context: Arc<Context>,
    /// Wakes every Connection of a namespace.
    pub wake: Arc<dyn Fn(&str) + Send + Sync>,
    /// Told of what the watch knows.
    pub report: Report,
}

impl Sight<PartialObjectMeta<Namespace>> for Namespaces {
    fn label(&self) -> &'static str {
        "namespaces"
    }

    fn begin(&mut self) {}

    fn apply(&mut self, object: PartialObjectMeta<Namespace>) {
        let fate = if object.metadata.deletion_timestamp.is_some() { Fate::Goes } else { Fate::Stays };
        let name = object.name_any();
        if self.context.cluster.set_namespace(&name, fate) && fate == Fate::Goes {
            (self.wake)(&name);
        }
    }

    fn remove(&mut self, object: PartialObjectMeta<Namespace>) {
        self.context.cluster.set_namespace(&object.name_any(), Fate::Stays);
    }

    fn finish(&mut self) {}

    fn report(&mut self, state: State) {
        (self.report)(state);
    }
}

/// The Connections' CRD, by its metadata.
pub struct Definition<F> {
    /// Told what becomes of it; `None`: it is not there.
    pub tell: F,
    /// Told of what the watch knows.
    pub report: Report,
}

impl<F: FnMut(Option<Fate>) + Send> Sight<PartialObjectMeta<CustomResourceDefinition>> for Definition<F> {
    fn label(&self) -> &'static str {
        "customresourcedefinitions"
    }

    fn begin(&mut self) {}

    fn apply(&mut self, object: PartialObjectMeta<CustomResourceDefinition>) {
        let goes = object.metadata.deletion_timestamp.is_some();
        (self.tell)(Some(if goes { Fate::Goes } else { Fate::Stays }));
    }

    fn remove(&mut self, _: PartialObjectMeta<CustomResourceDefinition>) {
        (self.tell)(None);
    }

    fn finish(&mut self) {}

    fn report(&mut self, state: State) {
        (self.report)(state);
    }
}

/// The API server's addresses, which no probe may dial.
pub struct ApiServer {
    /// Where they are judged.
    pub world: Arc<World>,
    /// Addresses known from elsewhere: the environment and the kubeconfig.
    pub fixed: Vec<IpAddr>,
    /// Told of what the watch knows.
    pub report: Report,
    /// The addresses of each slice.
    pub slices: HashMap<String, Vec<IpAddr>>,
}

impl ApiServer {
    fn tell(&self) {
        let all: Vec<IpAddr> = self.fixed.iter().chain(self.slices.values().flatten()).copied().collect();
        self.world.set_api_server(&all);
    }
}

impl Sight<EndpointSlice> for ApiServer {
    fn label(&self) -> &'static str {
        "endpointslices"
    }

    fn begin(&mut self) {
        self.slices.clear();
    }

    fn apply(&mut self, slice: EndpointSlice) {
        let addresses = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
        let addresses = addresses.filter_map(|address| address.parse().ok()).collect();
        self.slices.insert(slice.name_any(), addresses);
        self.tell();
    }

    fn remove(&mut self, slice: EndpointSlice) {
        self.slices.remove(&slice.name_any());
        self.tell();
    }

    fn finish(&mut self) {
        self.tell();
    }

    fn report(&mut self, state: State) {
        (self.report)(state);
    }
}

fn reference(metadata: &ObjectMeta) -> Option<ConnectionRef> {
    Some(ConnectionRef::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

fn mark(metadata: &ObjectMeta) -> Mark {
    let mut hasher = DefaultHasher::new();
    let annotation = |key: &str| metadata.annotations.as_ref().and_then(|found| found.get(key));
    let watched = WATCHED.map(annotation);
    let marked = metadata.deletion_timestamp.is_some();
    (metadata.generation, &metadata.finalizers, marked, watched).hash(&mut hasher);
    Mark { uid: metadata.uid.clone().unwrap_or_default(), rest: hasher.finish() }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use kube::{Client, core::DeserializeGuard, runtime::events::Reporter};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{
            annotations::{FINALIZER, FLUX_REQUESTED_AT, FORCE_DELETE, REQUESTED_AT},
            spec,
        },
        connections::ConnectionType,
        controller::queue::queue,
        failure::{Reason, Report as Found},
        net::{Policy, SystemResolver},
        probing::{
            Subject,
            engine::{self, Engine},
        },
        reconcile::{self, Cluster, recorder::Recorder, resolve::SecretAccess},
        usage::{Index, SharedIndex},
    };

    struct Nobody;

    impl engine::Witness for Nobody {
        fn probed(&self, _: &Subject, _: ConnectionType, _: &Found) {}
        fn held_back(&self, _: &Subject, _: ConnectionType, _: &Found) {}
        fn load(&self, _: usize, _: usize) {}
    }

    impl reconcile::Witness for Nobody {
        fn shown(&self, _: ConnectionType, _: Option<Reason>, _: Option<Reason>) {}
    }

    /// What passes share, with an API server that never answers.
    fn context() -> Arc<Context> {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        let client = Client::new(silent, "default");
        let world = World::new(Policy::default(), Arc::new(SystemResolver), 1);
        let engine = Engine::new(NonZeroUsize::MIN, world, Arc::new(Nobody), |_| {});
        let reporter = Reporter { controller: "connection-operator".to_owned(), instance: None };
        Arc::new(Context::new(
            client.clone(),
            engine,
            SharedIndex::new(Index::default()),
            Arc::new(Cluster::default()),
            Recorder::new(client, reporter),
            SecretAccess::Watched,
            Arc::new(Nobody),
        ))
    }

    #[tokio::test]
    async fn of_a_connection_is_kept_what_is_looked_at_and_not_what_its_owner_writes_beside_it() {
        let mut writer = Writer::new(());
        let store = writer.as_reader();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let (waker, _wakes) = queue();
        let mut sight = Connections::new(Arc::new(Mutex::new(writer)), waker, context(), Arc::new(|_| {}));
        let connection: Value = serde_json::to_value(spec::tests::connection()).unwrap();
        let large = "x".repeat(200 * 1024);
        for (name, spec) in [("whole", connection["spec"].clone()), ("broken", json!({"type": "unheard of"}))] {
            let object: DeserializeGuard<_> = serde_json::from_value(json!({
                "apiVersion": "connectivity.dev/v1alpha1", "kind": "Connection", "spec": spec,
                "metadata": {
                    "name": name, "namespace": "shop", "uid": name, "resourceVersion": "7", "generation": 3,
                    "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["other", FINALIZER],
                    "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u-x"}],
                    "labels": {"a": large},
                    "annotations": {
                        "a": large, "kubectl.kubernetes.io/last-applied-configuration": large,
                        REQUESTED_AT: large, FLUX_REQUESTED_AT: "2", FORCE_DELETE: "true",
                    },
                    "managedFields": [{"manager": large, "operation": "Apply", "fieldsV1": {}}],
                },
            }))
            .unwrap();
            let before = Watched::meta(&object).clone();
            sight.apply(object);
            let kept = store.find(|object| object.meta().name.as_deref() == Some(name)).unwrap().meta().clone();
            let annotations = kept.annotations.clone().unwrap();
            assert_eq!(annotations.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(WATCHED));
            assert_eq!((&*annotations[FLUX_REQUESTED_AT], &*annotations[FORCE_DELETE]), ("2", "true"));
            assert!(serde_json::to_string(&kept).unwrap().len() < 2048);
            let expected =
                ObjectMeta { annotations: kept.annotations.clone(), labels: None, managed_fields: None, ..before };
            assert_eq!(kept, expected);
        }
    }
}
