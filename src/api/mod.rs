//! The resources, exactly as they are stored, and what is read from them without I/O.
//!
//! Nothing here has a clock or a client: times are passed in, and a stored object of another shape is an error for that
//! object alone.

pub mod annotations;
pub mod conditions;
pub mod connection;
pub mod duration;
pub mod spec;
pub mod status;
pub mod tls;

pub use conditions::{ConditionType, Statement};
pub use connection::{Connection, ConnectionSpec};
pub use spec::{Object, ProbePolicy, Role, Source};
pub use status::{ConnectionStatus, Usage, User, Via};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The definition of every resource, as the API server takes it.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Connection::crd()]
}

/// The API group of every resource of this operator.
pub const GROUP: &str = "connectivity.dev";
