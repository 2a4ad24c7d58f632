//! One Connection as a pass sees it, whether or not its spec could be decoded.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use serde_json::Value;

use crate::{
    api::{
        Connection, ConnectionSpec, ConnectionStatus,
        annotations::{FINALIZER, FORCE_DELETE},
    },
    failure::Setting,
    probing::Subject,
    usage::ConnectionRef,
};

/// One Connection as a pass sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its spec, or in our words why it cannot be decoded.
    pub spec: Result<ConnectionSpec, String>,
    /// Its status as it is stored.
    pub stored: ConnectionStatus,
    /// The Secrets whose users are its users.
    pub used_secrets: Vec<String>,
    /// The request for a probe that its annotations hold.
    pub request: Option<String>,
}

impl Seen {
    /// A Connection that could be decoded.
    pub fn whole(connection: &Connection) -> Self {
        Self {
            metadata: connection.metadata.clone(),
            spec: Ok(connection.spec.clone()),
            stored: connection.status.clone().unwrap_or_default(),
            used_secrets: connection.used_secrets().map(str::to_owned).collect(),
            request: connection.requested_at().map(str::to_owned),
        }
    }

    /// A Connection that could not: `error` is the decoder's, which speaks of the spec's words only; it is cut and cleaned
    /// like any value of a spec.
    pub fn broken(object: &DynamicObject, error: &str) -> Self {
        let name = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let status = object.data.get("status").cloned().unwrap_or_default();
        let pointers = ["/spec/credentials/secretRef/name", "/spec/tls/clientCertificateSecretRef/name"];
        Self {
            metadata: object.metadata.clone(),
            spec: Err(format!("the object cannot be decoded: {}", Setting::from_spec(error))),
            stored: serde_json::from_value(status).unwrap_or_default(),
            used_secrets: pointers.into_iter().filter_map(name).collect(),
            request: None,
        }
    }

    /// Its name in maps and wake-ups.
    pub fn subject(&self) -> Subject {
        Subject {
            uid: self.metadata.uid.as_deref().unwrap_or_default().into(),
            namespace: self.namespace().into(),
            name: self.name().into(),
        }
    }

    /// Its name in the usage index.
    pub fn reference(&self) -> ConnectionRef {
        ConnectionRef::new(self.namespace(), self.name())
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its generation.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub fn is_marked(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Where our finalizer stands in its list.
    pub fn finalizer(&self) -> Option<usize> {
        self.metadata.finalizers.as_ref()?.iter().position(|finalizer| finalizer == FINALIZER)
    }

    /// Whether it is to be released although it is used.
    pub fn is_force_deleted(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|found| found.get(FORCE_DELETE)).is_some_and(|value| value == "true")
    }

    /// The UIDs of its owners.
    pub fn owners(&self) -> Vec<crate::usage::extract::Uid> {
        let owners = self.metadata.owner_references.iter().flatten();
        owners.map(|owner| crate::usage::extract::Uid::of(&owner.uid)).collect()
    }

    /// Its resourceVersion as a number, which newer ones exceed.
    pub fn version(&self) -> u64 {
        self.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
    }
}
