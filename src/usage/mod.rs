//! Who refers to a connection: objects of the counted kinds that name it in an annotation, or take a Secret it uses.
//!
//! [`extract`] reads one object, [`index`] keeps what was read, [`users`] is the answer; all three are pure. [`watch`] feeds
//! the index from the API server, [`live`] asks the API server directly before a connection is let go. Nothing here knows
//! what a user is good for: holding a deletion is decided by the reconciler.

use std::sync::{Arc, Mutex, PoisonError};

pub mod extract;
#[cfg(test)]
mod fake;
pub mod index;
pub mod live;
mod served;
pub mod users;
pub mod watch;

pub use extract::{Kind, Reference};
pub use index::{Index, KindState, Scope};
pub use users::{User, Users, Via};

/// A Connection's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionRef {
    /// The namespace, which is also that of everything that can refer to it.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ConnectionRef {
    /// The reference to `namespace`/`name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// The index that the watches feed and the reconciler asks.
#[derive(Clone, Debug)]
pub struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    /// Shares `index`.
    pub fn new(index: Index) -> Self {
        Self(Arc::new(Mutex::new(index)))
    }

    /// Runs `work` alone on the index. The lock lives for this call only, so no caller can hold it while it waits.
    pub fn with<R>(&self, work: impl FnOnce(&mut Index) -> R) -> R {
        // A panic in another holder is reported where it happened; the index itself stays usable.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
