//! What every counted object refers to, so that the users of a connection are known without asking anyone, and a change of
//! one object finds the connections it concerns, at both its old and its new edges.
//!
//! Pure: fed with [`Reference`]s, it returns the connections to look at again. No call scans all objects but the end of a
//! listing and a kind's loss.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::{
    ConnectionRef,
    extract::{Kind, Mark, Progress, Reference, Target, Uid},
    users::{User, Users, Via},
};

pub use crate::watching::State as KindState;

/// Which part of the cluster one watch sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All namespaces.
    Cluster,
    /// One namespace.
    Namespace(Arc<str>),
}

impl Scope {
    fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespace(name) => **name == *namespace,
        }
    }
}

/// Who refers to what. See the module's documentation.
#[derive(Debug, Default)]
pub struct Index {
    kinds: BTreeSet<Kind>,
    listings: BTreeMap<(Kind, Scope), Listing>,
    objects: BTreeMap<ObjectKey, Entry>,
    /// Every target of every object, in the target's order: the objects that refer to it stand together.
    edges: BTreeSet<Edge>,
    /// The Secrets that each known connection uses.
    claims: BTreeMap<ConnectionRef, Box<[Arc<str>]>>,
    /// The same the other way round: namespace, Secret, connection.
    claimed: BTreeSet<(Arc<str>, Arc<str>, Arc<str>)>,
    pool: Pool,
}

impl Index {
    /// An empty index. Until a listing of each of `kinds` has ended, every answer has unknown kinds.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self { kinds: kinds.into_iter().collect(), ..Self::default() }
    }

    /// Says that `connection` exists and uses `secrets` (not the CA's). It replaces what was said before; whoever says so
    /// asks for the users next, so no connection is returned.
    pub fn claim<'a>(&mut self, connection: &ConnectionRef, secrets: impl IntoIterator<Item = &'a str>) {
        let secrets: BTreeSet<Arc<str>> = secrets.into_iter().map(|secret| self.pool.share(secret)).collect();
        let secrets: Box<[Arc<str>]> = secrets.into_iter().collect();
        if self.claims.get(connection).is_some_and(|known| *known == secrets) {
            return;
        }
        self.forget(connection);
        let namespace = self.pool.share(&connection.namespace);
        let name = self.pool.share(&connection.name);
        for secret in &secrets {
            self.claimed.insert((namespace.clone(), secret.clone(), name.clone()));
        }
        self.claims.insert(ConnectionRef { namespace, name }, secrets);
    }

    /// Says that `connection` is gone.
    pub fn forget(&mut self, connection: &ConnectionRef) {
        for secret in self.claims.remove(connection).unwrap_or_default() {
            self.claimed.remove(&(connection.namespace.clone(), secret, connection.name.clone()));
        }
    }

    /// Takes in the newest state of one object. Returns the connections whose users may have changed, sorted.
    pub fn apply(&mut self, reference: Reference) -> Vec<ConnectionRef> {
        let Reference { kind, namespace, name, uid, controller, targets, progress, mark } = reference;
        let counts = match progress {
            Progress::Counts => !targets.is_empty(),
            Progress::Finished => false,
        };
        if !counts {
            return self.remove(&kind, &namespace, &name);
        }
        let epoch = self.epoch(&kind, &namespace);
        let key = ObjectKey { namespace: self.pool.share(&namespace), kind, name };
        if let Some(known) = self.objects.get_mut(&key)
            && (known.uid, known.controller, known.mark) == (uid, controller, mark)
            && known.targets == targets
        {
            known.epoch = epoch;
            return Vec::new();
        }
        let mut affected = self.take(&key);
        let targets: Box<[Target]> = targets.into_iter().map(|target| self.pool.share_target(target)).collect();
        self.concerned(&key.namespace, &targets, &mut affected);
        for target in &targets {
            self.edges.insert(Edge::new(&key, target.clone()));
        }
        self.objects.insert(key, Entry { uid, controller, targets, mark, epoch });
        affected.into_iter().collect()
    }

    /// Says that an object is gone. Returns the connections whose users may have changed, sorted.
    pub fn remove(&mut self, kind: &Kind, namespace: &str, name: &str) -> Vec<ConnectionRef> {
        let key = ObjectKey { namespace: namespace.into(), kind: kind.clone(), name: name.into() };
        self.take(&key).into_iter().collect()
    }

    /// A listing of `kind` in `scope` begins: every object that is there will be applied before [`Self::finish`]. A listing
    /// that begins again without an end starts over.
    pub fn begin(&mut self, kind: &Kind, scope: &Scope) {
        self.listing(kind, scope).epoch += 1;
    }

    /// The listing of `kind` in `scope` is complete: objects that were not in it are gone, and the kind is
    /// [`KindState::Synced`]. Returns the connections whose answer may have changed, sorted.
    pub fn finish(&mut self, kind: &Kind, scope: &Scope) -> Vec<ConnectionRef> {
        let epoch = self.listing(kind, scope).epoch;
        let mut affected = self.sweep(kind, scope, epoch);
        affected.extend(self.set_state(kind, scope, KindState::Synced));
        affected.into_iter().collect()
    }

    /// Says what is known about `kind` in `scope`. A kind that may not be listed, or is not served, loses its objects: what
    /// was seen once is no knowledge. Returns the connections whose answer may have changed, sorted.
    pub fn set_state(&mut self, kind: &Kind, scope: &Scope, state: KindState) -> Vec<ConnectionRef> {
        let known = std::mem::replace(&mut self.listing(kind, scope).state, state);
        let mut affected = match state {
            KindState::Syncing | KindState::Synced => BTreeSet::new(),
            KindState::Forbidden | KindState::Missing => self.sweep(kind, scope, u32::MAX),
        };
        if known.is_blind() != state.is_blind() {
            affected.extend(self.claims.keys().filter(|connection| scope.covers(&connection.namespace)).cloned());
        }
        affected.into_iter().collect()
    }

    /// What is known about `kind` in `namespace`; [`KindState::Syncing`] where no watch covers it.
    pub fn state(&self, kind: &Kind, namespace: &str) -> KindState {
        self.listing_of(kind, namespace).map_or(KindState::Syncing, |listing| listing.state)
    }

    /// Who uses `connection`, which must have been claimed for its Secrets to count.
    pub fn users(&self, connection: &ConnectionRef) -> Users {
        let ConnectionRef { namespace, name } = connection;
        let mut counting: BTreeMap<ObjectKey, User> = BTreeMap::new();
        let secrets = self.claims.get(connection).map(AsRef::as_ref).unwrap_or_default();
        for target in targets_of(name, secrets) {
            let via = match target {
                Target::Named(_) | Target::EveryConnection => Via::Annotation,
                Target::Secret(_) | Target::EverySecret => Via::Secret,
            };
            for (key, entry) in self.referring(namespace, target) {
                let user = User {
                    kind: key.kind.clone(),
                    name: key.name.clone(),
                    via,
                    uid: entry.uid,
                    controller: entry.controller,
                    mark: entry.mark,
                };
                counting.insert(key, user);
            }
        }
        let unknown = self.kinds.iter().filter(|kind| self.state(kind, namespace).is_blind()).cloned().collect();
        Users::new(counting.into_values().collect(), unknown)
    }

    /// The objects that refer to `target` in `namespace`, by kind and name.
    fn referring(&self, namespace: &Arc<str>, target: Target) -> impl Iterator<Item = (ObjectKey, &Entry)> {
        let first = Edge { namespace: namespace.clone(), target, object: None };
        let end = first.clone();
        let edges = self
            .edges
            .range(first..)
            .take_while(move |edge| edge.namespace == end.namespace && edge.target == end.target);
        edges.filter_map(|edge| {
            let (kind, name) = edge.object.clone()?;
            let key = ObjectKey { namespace: edge.namespace.clone(), kind, name };
            let entry = self.objects.get(&key)?;
            Some((key, entry))
        })
    }

    /// Adds the known connections of `namespace` that `targets` concern.
    fn concerned(&self, namespace: &Arc<str>, targets: &[Target], affected: &mut BTreeSet<ConnectionRef>) {
        for target in targets {
            match target {
                Target::Named(name) => {
                    let connection = ConnectionRef { namespace: namespace.clone(), name: name.clone() };
                    if self.claims.contains_key(&connection) {
                        affected.insert(connection);
                    }
                }
                Target::EveryConnection => {
                    let first = ConnectionRef { namespace: namespace.clone(), name: Arc::from("") };
                    let here = self.claims.range(first..).take_while(|(known, _)| known.namespace == *namespace);
                    affected.extend(here.map(|(known, _)| known.clone()));
                }
                Target::Secret(secret) => affected.extend(self.claiming(namespace, Some(secret))),
                Target::EverySecret => affected.extend(self.claiming(namespace, None)),
            }
        }
    }

    /// The known connections of `namespace` that use `secret`; `None`: that use any.
    fn claiming(&self, namespace: &Arc<str>, secret: Option<&Arc<str>>) -> impl Iterator<Item = ConnectionRef> {
        let first = (namespace.clone(), secret.cloned().unwrap_or_default(), Arc::from(""));
        let wanted = move |(n, s, _): &&(Arc<str>, Arc<str>, Arc<str>)| {
            n == namespace && secret.is_none_or(|secret| s == secret)
        };
        let claimed = self.claimed.range(first..).take_while(wanted);
        claimed.map(|(namespace, _, name)| ConnectionRef { namespace: namespace.clone(), name: name.clone() })
    }

    /// Takes an object out with its edges. Returns the connections that it concerned.
    fn take(&mut self, key: &ObjectKey) -> BTreeSet<ConnectionRef> {
        let mut affected = BTreeSet::new();
        if let Some(entry) = self.objects.remove(key) {
            self.concerned(&key.namespace, &entry.targets, &mut affected);
            for target in entry.targets {
                self.edges.remove(&Edge::new(key, target));
            }
        }
        affected
    }

    /// Takes out the objects of `kind` in `scope` that were not seen since `epoch`.
    fn sweep(&mut self, kind: &Kind, scope: &Scope, epoch: u32) -> BTreeSet<ConnectionRef> {
        let gone = |(key, entry): (&ObjectKey, &Entry)| {
            (key.kind == *kind && scope.covers(&key.namespace) && entry.epoch < epoch).then(|| key.clone())
        };
        let gone: Vec<ObjectKey> = self.objects.iter().filter_map(gone).collect();
        gone.iter().flat_map(|key| self.take(key)).collect()
    }

    fn listing(&mut self, kind: &Kind, scope: &Scope) -> &mut Listing {
        self.listings.entry((kind.clone(), scope.clone())).or_insert(Listing { state: KindState::Syncing, epoch: 0 })
    }

    fn listing_of(&self, kind: &Kind, namespace: &str) -> Option<&Listing> {
        let cluster = self.listings.get(&(kind.clone(), Scope::Cluster));
        cluster.or_else(|| self.listings.get(&(kind.clone(), Scope::Namespace(namespace.into()))))
    }

    fn epoch(&self, kind: &Kind, namespace: &str) -> u32 {
        self.listing_of(kind, namespace).map_or(0, |listing| listing.epoch)
    }
}

/// What refers to a connection of this name that uses `secrets`. By the annotation comes last: where both hold it is told.
pub(super) fn targets_of(name: &Arc<str>, secrets: &[Arc<str>]) -> Vec<Target> {
    let mut targets: Vec<Target> = secrets.iter().cloned().map(Target::Secret).collect();
    if !secrets.is_empty() {
        targets.push(Target::EverySecret);
    }
    targets.extend([Target::Named(name.clone()), Target::EveryConnection]);
    targets
}

#[derive(Debug)]
struct Listing {
    state: KindState,
    /// Counts the listings that began. An object carries the number of the newest one that saw it.
    epoch: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectKey {
    namespace: Arc<str>,
    kind: Kind,
    name: Arc<str>,
}

/// One object that refers to something and counts.
#[derive(Debug)]
struct Entry {
    uid: Uid,
    controller: Option<Uid>,
    targets: Box<[Target]>,
    mark: Mark,
    epoch: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    namespace: Arc<str>,
    target: Target,
    /// `None` is stored nowhere: it is the place before the first object.
    object: Option<(Kind, Arc<str>)>,
}

impl Edge {
    fn new(key: &ObjectKey, target: Target) -> Self {
        Self { namespace: key.namespace.clone(), target, object: Some((key.kind.clone(), key.name.clone())) }
    }
}

/// Keeps one copy of each name that repeats: namespaces, Secrets, connections.
#[derive(Debug, Default)]
struct Pool {
    names: HashSet<Arc<str>>,
    /// The number of names at which those no longer used are dropped.
    full: usize,
}

impl Pool {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        if self.names.len() >= self.full {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            // Twice what is used, so that a drop is paid for by the names that came since the last.
            self.full = (self.names.len() * 2).max(1024);
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn share_target(&mut self, target: Target) -> Target {
        match target {
            Target::Named(name) => Target::Named(self.share(&name)),
            Target::Secret(name) => Target::Secret(self.share(&name)),
            every @ (Target::EveryConnection | Target::EverySecret) => every,
        }
    }
}

#[cfg(test)]
mod tests;
