//! When to look, and what to believe.
//!
//! [`schedule`], [`verdict`], [`rejections`], [`permits`] and [`roster`] decide and are pure: `now` is passed in. [`engine`]
//! runs probes on its own clock and says when a verdict changed; nothing else leaves it.

pub mod engine;
pub mod permits;
pub mod rejections;
pub mod roster;
pub mod schedule;
pub mod verdict;

use std::sync::Arc;

/// One Connection object as it lives in the cluster; a recreated one is another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Its UID.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// How a Connection is probed: the spec's `probe`, with its defaults filled in.
pub use crate::api::connection::ProbePolicy as Tempo;
