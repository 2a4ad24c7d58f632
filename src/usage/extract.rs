//! One object → what it refers to. Only the fields that can refer to something are decoded, so that an object costs its
//! names and not its size.
//!
//! This is the one place that knows where a kind keeps its pod template. It does no I/O and knows no connection.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{Deserialize, Deserializer};

use crate::secret::Digest;

/// The annotation by which an object, or its pod template, says which Connections of its namespace it uses.
pub const USES: &str = "connectivity.dev/uses";

/// Most Connections that one object can name. Each is kept for as long as the object is there, and an annotation has room for
/// tens of thousands, once more on each of a workload's pods.
pub const NAMES_LIMIT: usize = 64;

/// Most Secrets of one object that are kept: twice as many, since a workload takes Secrets for other purposes too.
pub const SECRETS_LIMIT: usize = 128;

/// Longest name of a Connection or a Secret, in bytes.
const NAME_LIMIT: usize = 253;

/// A kind of which objects can count as users. Kinds are ordered by name.
///
/// The built-in kinds are variants. A kind that a rule names at run time becomes one more variant, which carries its
/// description: nothing outside of this file relies on a kind being `Copy`, or its names being static.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are the kinds' own names")]
pub enum Kind {
    CronJob,
    DaemonSet,
    Deployment,
    Job,
    Pod,
    ReplicaSet,
    StatefulSet,
}

impl Kind {
    /// The kinds that count in every cluster, in order.
    pub const BUILT_IN: [Self; 7] =
        [Self::CronJob, Self::DaemonSet, Self::Deployment, Self::Job, Self::Pod, Self::ReplicaSet, Self::StatefulSet];

    /// The kind's name, as in `kind: Deployment`.
    pub fn name(&self) -> &str {
        self.row().name
    }

    /// The version that is watched, as in `apiVersion: apps/v1`.
    pub fn api_version(&self) -> &str {
        self.row().api_version
    }

    /// How the API server serves the kind.
    pub fn api_resource(&self) -> ApiResource {
        let Row { name, api_version, plural } = self.row();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: api_version.into(),
            kind: name.into(),
            plural: plural.into(),
        }
    }

    const fn row(&self) -> Row {
        let (name, api_version, plural) = match self {
            Self::CronJob => ("CronJob", "batch/v1", "cronjobs"),
            Self::DaemonSet => ("DaemonSet", "apps/v1", "daemonsets"),
            Self::Deployment => ("Deployment", "apps/v1", "deployments"),
            Self::Job => ("Job", "batch/v1", "jobs"),
            Self::Pod => ("Pod", "v1", "pods"),
            Self::ReplicaSet => ("ReplicaSet", "apps/v1", "replicasets"),
            Self::StatefulSet => ("StatefulSet", "apps/v1", "statefulsets"),
        };
        Row { name, api_version, plural }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object's uid, as a fingerprint of 16 bytes: it is only ever compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid([u8; 16]);

impl Uid {
    /// The fingerprint of `uid`.
    pub fn of(uid: &str) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Digest::of([uid.as_bytes()]).bytes()[..16]);
        Self(half)
    }
}

/// Something in an object's own namespace that the object refers to.
///
/// An object that refers to more than is kept of one object is taken to refer to all there is: a deletion waits for one object
/// too many, and for none too few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The Connection of this name, by annotation.
    Named(Arc<str>),
    /// Every Connection: the annotation names more than are kept.
    EveryConnection,
    /// The Secret of this name, in a pod template.
    Secret(Arc<str>),
    /// Every Secret: the pod template takes more than are kept.
    EverySecret,
}

/// Whether an object can still use anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It runs, or may run again.
    Counts,
    /// It has ended for good, or is a ReplicaSet that is scaled to zero: it is left out.
    Finished,
}

/// Whether an object is itself being deleted. That does not end a use; absence does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// No one asked for its deletion.
    Unmarked,
    /// It has a deletion mark and is still there.
    Deleting,
}

/// What one object refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The object's kind.
    pub kind: Kind,
    /// The object's namespace.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
    /// The object's uid.
    pub uid: Uid,
    /// The uid of the owner that controls it.
    pub controller: Option<Uid>,
    /// What it refers to, sorted, without duplicates.
    pub targets: Box<[Target]>,
    /// Whether it still counts.
    pub progress: Progress,
    /// Whether it is being deleted.
    pub mark: Mark,
}

/// What `object`, an object of `kind`, refers to.
pub fn reference(kind: &Kind, object: &Object) -> Reference {
    let Object { metadata, spec, status } = object;
    let template = match kind {
        Kind::Pod => None,
        Kind::CronJob => spec.job_template.as_ref().and_then(|job| job.spec.template.as_deref()),
        Kind::DaemonSet | Kind::Deployment | Kind::Job | Kind::ReplicaSet | Kind::StatefulSet => {
            spec.template.as_deref()
        }
    };
    let pod = match kind {
        Kind::Pod => Some(spec),
        Kind::CronJob | Kind::DaemonSet | Kind::Deployment | Kind::Job | Kind::ReplicaSet | Kind::StatefulSet => {
            template.map(|template| &template.spec)
        }
    };
    let on_object = metadata.annotations.as_ref().and_then(|all| all.get(USES));
    let on_template = template.and_then(|template| template.metadata.annotations.as_ref()?.uses.as_ref());
    let named = on_object.into_iter().chain(on_template).flat_map(|list| names(list));
    let taken = pod.into_iter().flat_map(Spec::secrets);
    let mut targets = bounded(named, NAMES_LIMIT, Target::Named, Target::EveryConnection);
    targets.extend(bounded(taken, SECRETS_LIMIT, Target::Secret, Target::EverySecret));
    Reference {
        kind: kind.clone(),
        namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
        name: metadata.name.as_deref().unwrap_or_default().into(),
        uid: Uid::of(metadata.uid.as_deref().unwrap_or_default()),
        controller: controller(metadata),
        targets: targets.into(),
        progress: progress(kind, spec, status),
        mark: if metadata.deletion_timestamp.is_some() { Mark::Deleting } else { Mark::Unmarked },
    }
}

/// An object of any built-in kind, cut down while it is decoded: managed fields, labels and everything else that cannot
/// refer to a connection are skipped, never stored.
#[derive(Clone, Debug, Deserialize)]
pub struct Object {
    #[serde(deserialize_with = "lean_metadata")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "null_as_default")]
    status: Status,
}

impl Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The names in the value of [`USES`].
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// The targets of these names, sorted, without duplicates; `every` where they are more than `most`.
fn bounded<'a>(
    names: impl Iterator<Item = &'a str>,
    most: usize,
    one: fn(Arc<str>) -> Target,
    every: Target,
) -> Vec<Target> {
    let mut distinct = BTreeSet::new();
    for name in names.filter(|name| is_name(name)) {
        distinct.insert(name);
        if distinct.len() > most {
            return vec![every];
        }
    }
    distinct.into_iter().map(|name| one(name.into())).collect()
}

/// Whether a Connection or a Secret can have this name. What is none refers to nothing, however long it is.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(inner)
}

fn controller(metadata: &ObjectMeta) -> Option<Uid> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| Uid::of(&owner.uid))
}

fn progress(kind: &Kind, spec: &Spec, status: &Status) -> Progress {
    let ended =
        match kind {
            Kind::Job => status.conditions.iter().flatten().any(|condition| {
                condition.status == "True" && matches!(condition.kind.as_str(), "Complete" | "Failed")
            }),
            Kind::Pod => matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            // Both are always there on a real server; one that is absent is no proof that no pod is left.
            Kind::ReplicaSet => spec.replicas == Some(0) && status.replicas == Some(0),
            Kind::CronJob | Kind::DaemonSet | Kind::Deployment | Kind::StatefulSet => false,
        };
    if ended { Progress::Finished } else { Progress::Counts }
}

struct Row {
    name: &'static str,
    api_version: &'static str,
    plural: &'static str,
}

// The shapes below hold every field that is looked at, for all kinds at once; a kind has some of them. No `flatten`, which
// would store the fields that are not looked at. A list or a struct may be null in a stored object; null means absent.

/// The spec of a workload, of a job template and of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    replicas: Option<i32>,
    template: Option<Box<Template>>,
    job_template: Option<Box<Template>>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
}

impl Spec {
    /// The names of the Secrets that this pod spec takes, optional or not.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let containers = [&self.containers, &self.init_containers, &self.ephemeral_containers];
        let containers = containers.into_iter().flatten().flatten();
        containers.flat_map(Container::secrets).chain(self.volumes.iter().flatten().flat_map(Volume::secrets))
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Template {
    #[serde(default, deserialize_with = "null_as_default")]
    metadata: Annotated,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Annotated {
    annotations: Option<Annotations>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    env: Option<Vec<Variable>>,
    env_from: Option<Vec<VariableSource>>,
}

impl Container {
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let one =
            self.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
        let all = self.env_from.iter().flatten().filter_map(|source| source.secret_ref.as_ref());
        one.chain(all).filter_map(Named::name)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    value_from: Option<ValueSource>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueSource {
    secret_key_ref: Option<Named>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VariableSource {
    secret_ref: Option<Named>,
}

#[derive(Clone, Debug, Deserialize)]
struct Volume {
    secret: Option<SecretVolume>,
    projected: Option<Projected>,
}

impl Volume {
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let whole = self.secret.iter().filter_map(|secret| secret.secret_name.as_deref());
        let sources = self.projected.iter().filter_map(|projected| projected.sources.as_ref()).flatten();
        whole.chain(sources.filter_map(|source| source.secret.as_ref()).filter_map(Named::name))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretVolume {
    secret_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Projected {
    sources: Option<Vec<ProjectedSource>>,
}

#[derive(Clone, Debug, Deserialize)]
struct ProjectedSource {
    secret: Option<Named>,
}

#[derive(Clone, Debug, Deserialize)]
struct Named {
    name: Option<String>,
}

impl Named {
    fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    phase: Option<String>,
    replicas: Option<i32>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
}

/// The one annotation that is looked at.
#[derive(Clone, Debug, Deserialize)]
struct Annotations {
    #[serde(rename = "connectivity.dev/uses")]
    uses: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    annotations: Option<Annotations>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Decodes the metadata that is looked at, and nothing else of it.
fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Metadata { name, namespace, uid, resource_version, deletion_timestamp, annotations, owner_references } =
        Metadata::deserialize(deserializer)?;
    let uses = annotations.and_then(|annotations| annotations.uses);
    Ok(ObjectMeta {
        name: Some(name),
        namespace: Some(namespace),
        uid: Some(uid),
        resource_version,
        deletion_timestamp,
        annotations: uses.map(|uses| BTreeMap::from([(USES.to_owned(), uses)])),
        owner_references,
        ..ObjectMeta::default()
    })
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: &Kind, mut object: Value) -> Reference {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for (key, value) in [("name", "a"), ("namespace", "shop"), ("uid", "u-a")] {
            metadata.entry(key).or_insert_with(|| value.into());
        }
        reference(kind, &serde_json::from_value(object).unwrap())
    }

    fn secrets(names: &[&str]) -> Vec<Target> {
        names.iter().map(|name| Target::Secret((*name).into())).collect()
    }

    /// A pod spec that takes one Secret in every place that counts, and others in places that do not.
    fn pod() -> Value {
        json!({
            "serviceAccountName": "no-1",
            "imagePullSecrets": [{"name": "no-2"}],
            "containers": [{
                "name": "c",
                "env": [
                    {"name": "A", "value": "no-3"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}},
                    {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "no-4", "key": "k"}}},
                ],
                "envFrom": [{"secretRef": {"name": "env-from", "optional": true}}, {"configMapRef": {"name": "no-5"}}],
            }],
            "initContainers": [{"name": "i", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "init", "key": "k"}}}]}],
            "ephemeralContainers": [{"name": "e", "envFrom": [{"secretRef": {"name": "ephemeral"}}]}],
            "volumes": [
                {"name": "v1", "secret": {"secretName": "volume"}},
                {"name": "v2", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "no-6"}}]}},
                {"name": "v3", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "no-7"}}},
                {"name": "v4", "secret": {"secretName": "volume"}},
            ],
        })
    }

    const EVERY_PLACE: [&str; 6] = ["env", "env-from", "ephemeral", "init", "projected", "volume"];

    /// An object of `kind` with `pod` as its pod spec and `annotations` on its pod template.
    fn object(kind: &Kind, pod: &Value, annotations: &Value) -> Value {
        let template = json!({"metadata": {"annotations": annotations}, "spec": pod});
        let spec = match kind {
            Kind::Pod => return json!({"metadata": {"annotations": annotations}, "spec": pod}),
            Kind::CronJob => json!({"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}),
            Kind::DaemonSet | Kind::Deployment | Kind::Job | Kind::ReplicaSet | Kind::StatefulSet => {
                json!({"template": template})
            }
        };
        json!({"metadata": {}, "spec": spec})
    }

    #[test]
    fn every_kind_takes_secrets_in_every_place_that_counts_and_in_no_other() {
        for kind in Kind::BUILT_IN {
            let found = read(&kind, object(&kind, &pod(), &json!({})));
            assert_eq!(found.targets.to_vec(), secrets(&EVERY_PLACE), "{kind}");
        }
    }

    #[test]
    fn the_annotation_counts_on_the_pod_template_and_on_the_object() {
        for kind in Kind::BUILT_IN {
            let mut given = object(&kind, &json!({}), &json!({USES: " orders-db,events ,, orders-db "}));
            let both = [Target::Named("events".into()), Target::Named("orders-db".into())];
            assert_eq!(read(&kind, given.clone()).targets.to_vec(), both, "{kind}");
            given["metadata"]["annotations"] = json!({USES: "events, zoo", "other": "no"});
            assert!(read(&kind, given).targets.contains(&Target::Named("zoo".into())), "{kind}");
        }
    }

    /// As many names of four letters as fit into what the API server allows of annotations.
    fn a_very_long_list() -> String {
        let names: Vec<String> = (0..52_000).map(|n| format!("{n:04x}")).collect();
        names.join(",")
    }

    #[test]
    fn an_object_that_names_more_connections_than_are_kept_uses_every_one() {
        for kind in Kind::BUILT_IN {
            let mut given = object(&kind, &json!({}), &json!({USES: a_very_long_list()}));
            assert!(*read(&kind, given.clone()).targets == [Target::EveryConnection], "{kind}");
            given["metadata"]["annotations"] = json!({USES: "a"});
            assert!(kind == Kind::Pod || *read(&kind, given).targets == [Target::EveryConnection], "{kind}");
        }
        let list = |count: usize| (0..count).map(|n| format!("a-{n},a-{n}, ,")).collect::<Vec<_>>().concat();
        let named = |count| read(&Kind::Pod, object(&Kind::Pod, &pod(), &json!({USES: list(count)}))).targets;
        assert_eq!(named(NAMES_LIMIT).len(), NAMES_LIMIT + EVERY_PLACE.len());
        let more = [vec![Target::EveryConnection], secrets(&EVERY_PLACE)].concat();
        assert_eq!(named(NAMES_LIMIT + 1).to_vec(), more);
    }

    #[test]
    fn an_object_that_takes_more_secrets_than_are_kept_uses_whatever_has_one() {
        let taken = |count: usize| {
            let sources: Vec<Value> = (0..count).map(|n| json!({"secretRef": {"name": format!("s-{n}")}})).collect();
            let pod = json!({"containers": [{"envFrom": sources}, {"envFrom": sources}]});
            read(&Kind::Job, object(&Kind::Job, &pod, &json!({USES: "a"}))).targets
        };
        assert_eq!(taken(SECRETS_LIMIT).len(), SECRETS_LIMIT + 1);
        assert!(*taken(5_000) == [Target::Named("a".into()), Target::EverySecret]);
    }

    #[test]
    fn what_can_be_no_name_refers_to_nothing() {
        let long = "a".repeat(NAME_LIMIT + 1);
        let sources = json!([{"secretRef": {"name": long}}, {"secretRef": {"name": "{\"a\"}"}}]);
        let pod = json!({"containers": [{"envFrom": sources}]});
        let list = format!("Orders,{long},ä,a b,a\nb,{}", &long[1..]);
        let found = read(&Kind::Pod, object(&Kind::Pod, &pod, &json!({USES: list})));
        assert_eq!(found.targets.to_vec(), [Target::Named(long[1..].into())]);
    }

    #[test]
    fn a_workload_does_not_take_what_stands_where_its_kind_keeps_nothing() {
        let odd = json!({"metadata": {}, "spec": pod()});
        assert!(read(&Kind::Deployment, odd).targets.is_empty());
        let odd = object(&Kind::Deployment, &pod(), &json!({USES: "a"}));
        assert!(read(&Kind::Pod, odd).targets.is_empty());
    }

    #[test]
    fn what_is_null_or_missing_refers_to_nothing() {
        let empty = json!({"metadata": {"annotations": null, "ownerReferences": null}, "spec": null, "status": null});
        let nulls = json!({
            "containers": [{"env": null, "envFrom": null}, {"env": [{"valueFrom": null}], "envFrom": [{"secretRef": {}}]}],
            "initContainers": null,
            "volumes": [{"secret": {}}, {"projected": {"sources": null}}, {"projected": {"sources": [{"secret": {"name": ""}}]}}],
        });
        for kind in Kind::BUILT_IN {
            assert!(read(&kind, empty.clone()).targets.is_empty());
            assert!(read(&kind, object(&kind, &nulls, &Value::Null)).targets.is_empty());
        }
    }

    #[test]
    fn a_controller_is_the_owner_that_controls() {
        let owners = json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u-x"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u-r", "controller": true}]);
        let found = read(&Kind::Pod, json!({"metadata": {"ownerReferences": owners}, "spec": {}}));
        assert_eq!(found.controller, Some(Uid::of("u-r")));
        assert_eq!(found.uid, Uid::of("u-a"));
    }

    #[test]
    fn what_has_ended_no_longer_counts() {
        let job = |kind: &str, status: &str| json!({"conditions": [{"type": kind, "status": status}]});
        let cases = [
            (Kind::Job, json!({}), job("Complete", "True"), Progress::Finished),
            (Kind::Job, json!({}), job("Failed", "True"), Progress::Finished),
            (Kind::Job, json!({}), job("Failed", "False"), Progress::Counts),
            (Kind::Job, json!({}), job("Suspended", "True"), Progress::Counts),
            (Kind::Job, json!({}), json!({"active": 1}), Progress::Counts),
            (Kind::Pod, json!({}), json!({"phase": "Succeeded"}), Progress::Finished),
            (Kind::Pod, json!({}), json!({"phase": "Failed"}), Progress::Finished),
            (Kind::Pod, json!({}), json!({"phase": "Running"}), Progress::Counts),
            (Kind::Pod, json!({}), json!({"phase": "Unknown"}), Progress::Counts),
            (Kind::ReplicaSet, json!({"replicas": 0}), json!({"replicas": 0}), Progress::Finished),
            (Kind::ReplicaSet, json!({"replicas": 0}), json!({"replicas": 1}), Progress::Counts),
            (Kind::ReplicaSet, json!({"replicas": 1}), json!({"replicas": 0}), Progress::Counts),
            (Kind::ReplicaSet, json!({"replicas": 0}), json!({}), Progress::Counts),
            (Kind::ReplicaSet, json!({}), json!({"replicas": 0}), Progress::Counts),
            (Kind::Deployment, json!({"replicas": 0}), json!({"replicas": 0}), Progress::Counts),
            (Kind::StatefulSet, json!({"replicas": 0}), json!({"replicas": 0}), Progress::Counts),
            (Kind::CronJob, json!({"suspend": true}), json!({}), Progress::Counts),
        ];
        for (kind, spec, status, expected) in cases {
            let found = read(&kind, json!({"metadata": {}, "spec": spec, "status": status}));
            assert_eq!(found.progress, expected, "{kind} {spec} {status}");
        }
    }

    #[test]
    fn a_deletion_mark_does_not_end_a_use() {
        let mut given = object(&Kind::Deployment, &pod(), &json!({}));
        given["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let found = read(&Kind::Deployment, given);
        assert_eq!((found.mark, found.progress), (Mark::Deleting, Progress::Counts));
        assert_eq!(found.targets.len(), EVERY_PLACE.len());
    }

    #[test]
    fn an_object_is_cut_down_while_it_is_decoded() {
        let object: Object = serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "labels": {"big": "label"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", USES: "x"},
                "managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
            },
        }))
        .unwrap();
        assert_eq!(object.metadata.managed_fields, None);
        assert_eq!(object.metadata.labels, None);
        assert_eq!(object.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), [USES]);
        assert_eq!(object.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn kinds_are_ordered_by_name_and_addressed_as_they_are_served() {
        assert!(Kind::BUILT_IN.windows(2).all(|pair| pair[0] < pair[1] && pair[0].name() < pair[1].name()));
        let path = |kind: Kind| Object::url_path(&kind.api_resource(), Some("shop"));
        assert_eq!(path(Kind::Pod), "/api/v1/namespaces/shop/pods");
        assert_eq!(path(Kind::CronJob), "/apis/batch/v1/namespaces/shop/cronjobs");
        assert_eq!(path(Kind::ReplicaSet), "/apis/apps/v1/namespaces/shop/replicasets");
    }
}
