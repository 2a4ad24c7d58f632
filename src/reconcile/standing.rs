//! What is kept in memory about each Connection between two passes: the newest answer of the API server, what its Secrets
//! were when they were read, and when its usage was last written. Never a value of a Secret.
//!
//! Pure: versions are numbers that newer ones exceed, and `now` is passed in.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use crate::{
    api::{ConnectionStatus, Object},
    connections::{ConnectionType, Refusal},
    failure::Reason,
    secret::Digest,
    usage::ConnectionRef,
    watching::recovery::Doubt,
};

/// A Secret or ConfigMap that some Connection names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// Of which kind.
    pub kind: SourceKind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// What a source is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl SourceKey {
    /// The key of an object that a Connection of `namespace` names.
    pub fn of(object: Object<'_>, namespace: &str) -> Self {
        let (kind, name) = match object {
            Object::Secret(name) => (SourceKind::Secret, name),
            Object::ConfigMap(name) => (SourceKind::ConfigMap, name),
        };
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

/// What a watch or a read says about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// It is there, at this resourceVersion.
    At(u64),
    /// It is not there.
    Absent,
}

impl Version {
    /// Reads a resourceVersion; one that is no number counts as 0.
    pub fn read(version: Option<&str>) -> Self {
        version.map_or(Self::Absent, |version| Self::At(version.parse().unwrap_or_default()))
    }

    /// Whether a read at `self` is out of date once a watch has said `heard`.
    const fn is_outdated_by(self, heard: Self) -> bool {
        match (self, heard) {
            (Self::At(read), Self::At(heard)) => read < heard,
            (Self::Absent, Self::At(_)) | (Self::At(_), Self::Absent) => true,
            (Self::Absent, Self::Absent) => false,
        }
    }
}

/// What is kept about one Connection.
#[derive(Debug, Default)]
pub struct Standing {
    /// What the API server last answered to a write of ours.
    pub answered: Option<Answer>,
    /// What came of resolving it.
    pub resolved: Option<Resolved>,
    /// Whether a refusal to read what it names is believed.
    pub doubt: Doubt,
    /// The newest request for a probe that was handed on.
    pub request: Option<String>,
    /// When `usage` was last written.
    pub usage_written: Option<Instant>,
    /// The target that last authenticated, and since when it was the one in force.
    pub verified: Option<Ready>,
    /// What the Ready condition was last concluded to say.
    pub shown: Option<(ConnectionType, Reason)>,
    /// Consecutive passes that failed.
    pub errors: u32,
}

/// An answer of the API server to a write: what our writes change, and nothing else. The generation, the mark of a deletion
/// and the annotations that come with it may be those of a spec that no watch has shown yet.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The resourceVersion as a number.
    pub version: u64,
    /// The resourceVersion.
    pub resource_version: Option<String>,
    /// The finalizers.
    pub finalizers: Option<Vec<String>>,
    /// The status that is stored now, where the write was of it.
    pub status: Option<ConnectionStatus>,
}

/// What came of resolving one Connection.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What was resolved: the fingerprint of the spec's target.
    pub target: Digest,
    /// The sources as they were read.
    pub versions: BTreeMap<SourceKey, Version>,
    /// The resourceVersion of the credentials' Secret.
    pub observed: Option<String>,
    /// What came of it.
    pub outcome: Result<Ready, Refusal>,
    /// Consecutive times that a source could not be read.
    pub unreadable: u32,
    /// When it was resolved.
    pub at: Instant,
}

/// A probe was made and handed to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The fingerprint of target and values: what the engine's opinion must be about.
    pub probed: Digest,
    /// The fingerprint of the values alone.
    pub values: Digest,
    /// Since when this target is the one in force.
    pub since: Instant,
}

/// Everything that is kept, and which Connections name which sources.
#[derive(Debug, Default)]
pub struct Standings {
    known: HashMap<Arc<str>, Standing>,
    sources: HashMap<SourceKey, Named>,
    named_by: HashMap<ConnectionRef, BTreeSet<SourceKey>>,
}

#[derive(Debug, Default)]
struct Named {
    connections: BTreeSet<ConnectionRef>,
    heard: Option<Version>,
}

impl Standings {
    /// What is kept about the object with this UID.
    pub fn of(&mut self, uid: &Arc<str>) -> &mut Standing {
        self.known.entry(Arc::clone(uid)).or_default()
    }

    /// Counts one more pass that failed, where something is kept about the object; returns how many did in a row.
    pub fn count_error(&mut self, uid: &str) -> u32 {
        let Some(standing) = self.known.get_mut(uid) else { return 1 };
        standing.errors = standing.errors.saturating_add(1);
        standing.errors
    }

    /// Forgets an object, and returns what was kept about it.
    pub fn forget(&mut self, uid: &str) -> Option<Standing> {
        self.known.remove(uid)
    }

    /// Says which sources a Connection names from now on; `[]` when it is gone.
    pub fn name(&mut self, connection: &ConnectionRef, keys: BTreeSet<SourceKey>) {
        let before = self.named_by.get(connection).cloned().unwrap_or_default();
        if before == keys {
            return;
        }
        for gone in before.difference(&keys) {
            if let Some(named) = self.sources.get_mut(gone) {
                named.connections.remove(connection);
                if named.connections.is_empty() {
                    self.sources.remove(gone);
                }
            }
        }
        for key in &keys {
            self.sources.entry(key.clone()).or_default().connections.insert(connection.clone());
        }
        if keys.is_empty() {
            self.named_by.remove(connection);
        } else {
            self.named_by.insert(connection.clone(), keys);
        }
    }

    /// Hears from a watch what a source is now; returns the Connections to look at again. Sources that nobody names are
    /// dropped here, in the stream.
    pub fn heard(&mut self, key: &SourceKey, version: Version) -> Vec<ConnectionRef> {
        let Some(named) = self.sources.get_mut(key) else { return Vec::new() };
        if named.heard == Some(version) {
            return Vec::new();
        }
        named.heard = Some(version);
        named.connections.iter().cloned().collect()
    }

    /// The sources of a kind that someone names.
    pub fn named(&self, kind: SourceKind) -> impl Iterator<Item = SourceKey> {
        self.sources.keys().filter(move |key| key.kind == kind).cloned()
    }

    /// Whether a watch has said that something else is stored now than what was read.
    pub fn is_outdated(&self, versions: &BTreeMap<SourceKey, Version>) -> bool {
        versions.iter().any(|(key, read)| {
            self.sources.get(key).and_then(|named| named.heard).is_some_and(|heard| read.is_outdated_by(heard))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SourceKey {
        SourceKey::of(Object::Secret(name), "shop")
    }

    fn connection(name: &str) -> ConnectionRef {
        ConnectionRef::new("shop", name)
    }

    #[test]
    fn only_those_who_name_a_secret_are_woken_by_it() {
        let mut standings = Standings::default();
        standings.name(&connection("a"), [key("one")].into());
        standings.name(&connection("b"), [key("one"), key("two")].into());
        assert_eq!(standings.heard(&key("one"), Version::At(5)), [connection("a"), connection("b")]);
        assert_eq!(standings.heard(&key("one"), Version::At(5)), [], "the same again is no news");
        assert_eq!(standings.heard(&key("two"), Version::Absent), [connection("b")]);
        assert_eq!(standings.heard(&key("three"), Version::At(9)), []);
    }

    #[test]
    fn a_secret_that_nobody_names_any_more_is_forgotten() {
        let mut standings = Standings::default();
        standings.name(&connection("a"), [key("one")].into());
        standings.name(&connection("a"), [key("two")].into());
        assert!(standings.named(SourceKind::Secret).eq([key("two")]));
        standings.name(&connection("a"), BTreeSet::new());
        assert!(standings.sources.is_empty() && standings.named_by.is_empty());
    }

    #[test]
    fn a_read_is_outdated_by_what_was_heard_later_and_not_by_what_was_heard_before() {
        let mut standings = Standings::default();
        standings.name(&connection("a"), [key("one")].into());
        let at = |n| BTreeMap::from([(key("one"), Version::At(n))]);
        standings.heard(&key("one"), Version::At(5));
        assert!(!standings.is_outdated(&at(5)) && !standings.is_outdated(&at(6)) && standings.is_outdated(&at(4)));
        standings.heard(&key("one"), Version::Absent);
        assert!(standings.is_outdated(&at(6)));
        assert!(!standings.is_outdated(&BTreeMap::from([(key("one"), Version::Absent)])));
        standings.heard(&key("one"), Version::At(9));
        assert!(standings.is_outdated(&BTreeMap::from([(key("one"), Version::Absent)])), "recreated");
    }

    #[test]
    fn secrets_and_config_maps_of_one_name_are_told_apart() {
        let mut standings = Standings::default();
        standings.name(&connection("a"), [key("one")].into());
        let map = SourceKey::of(Object::ConfigMap("one"), "shop");
        assert_eq!(standings.heard(&map, Version::At(5)), []);
        assert_eq!(standings.named(SourceKind::ConfigMap).count(), 0);
    }
}
