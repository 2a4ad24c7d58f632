//! From a host's name to addresses. It judges nothing: whatever comes out is shown to the policy, address by address.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::failure::{Failure, FailureClass};

/// Most names that are looked up at once, each on a thread: as many as look at once unless the operator is told otherwise.
pub const LOOKUPS: usize = 256;

/// Most of them for one namespace.
pub(super) const SHARE: usize = LOOKUPS / 4;

/// Where names are looked up.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Every address of `host`, in the order in which they should be dialled.
    ///
    /// # Errors
    /// Where the name has no address or nobody could be asked.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver. It understands spellings such as `0x7f.1` too, which is why its answers are judged and not names.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    #[expect(clippy::disallowed_methods, reason = "this is the door: the answers are judged by the caller")]
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// The names that are being looked up.
///
/// The system's resolver cannot be stopped: where a name server is silent, a lookup keeps its thread for long after the look that
/// asked for it has ended. So a lookup needs a turn, which it holds until its thread has ended; a namespace has at most a quarter of
/// them; and a name that is being looked up for a namespace is not looked up once more.
pub(super) struct Lookups {
    resolver: Arc<dyn Resolver>,
    pub(super) turns: Arc<Semaphore>,
    /// The turns of each namespace, while somebody has one or waits for one.
    shares: Mutex<HashMap<String, Weak<Semaphore>>>,
    running: Mutex<HashMap<Name, Answer>>,
}

/// A host's name, and the namespace for which it is looked up: no namespace learns what another one looks for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    namespace: String,
    host: String,
}

/// The addresses of a name, once they are known; `None` where there are none.
type Answer = Shared<BoxFuture<'static, Option<Vec<IpAddr>>>>;

/// A turn: of all, and of the namespace's.
type Turn = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Lookups {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(LOOKUPS));
        Arc::new(Self { resolver, turns, shares: Mutex::default(), running: Mutex::default() })
    }

    /// The addresses of `host`, for a Connection in `namespace`. The lookup may go on after `until`, when nobody waits for it.
    pub(super) async fn find(
        self: &Arc<Self>,
        namespace: &str,
        host: &str,
        until: Instant,
    ) -> Result<Vec<IpAddr>, Failure> {
        let name = Name { namespace: namespace.to_owned(), host: host.to_owned() };
        let Ok(answer) = timeout_at(until, self.begin(name)).await else {
            return Err(Failure::new(FailureClass::TooManyLookups));
        };
        match timeout_at(until, answer?).await {
            Ok(Some(addresses)) => Ok(addresses),
            Ok(None) => Err(Failure::new(FailureClass::NameResolutionFailed)),
            Err(_elapsed) => {
                Err(Failure::new(FailureClass::NameResolutionFailed).word("no name server answered in time"))
            }
        }
    }

    /// Joins the lookup of `name` that runs, or waits for a turn and begins one.
    async fn begin(self: &Arc<Self>, name: Name) -> Result<Answer, Failure> {
        if let Some(answer) = self.running().get(&name) {
            return Ok(answer.clone());
        }
        let turn = self.turn(&name.namespace).await?;
        let (resolver, host) = (Arc::clone(&self.resolver), name.host.clone());
        let answer = async move { resolver.resolve(&host).await.ok() }.boxed().shared();
        match self.running().entry(name.clone()) {
            Entry::Vacant(free) => free.insert(answer.clone()),
            // Another one has begun it meanwhile.
            Entry::Occupied(other) => return Ok(other.get().clone()),
        };
        let (place, lookup) = (Place { lookups: Arc::clone(self), name, _turn: turn }, answer.clone());
        // A task of its own, which ends when the thread has ended, whoever waits for it.
        tokio::spawn(async move {
            lookup.await;
            drop(place);
        });
        Ok(answer)
    }

    /// Waits for a turn: first behind those of the namespace, so that it takes no more than its share.
    async fn turn(&self, namespace: &str) -> Result<Turn, Failure> {
        let share = self.share(namespace);
        let closed = |_| Failure::new(FailureClass::Internal);
        let own = share.acquire_owned().await.map_err(closed)?;
        let one = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
        Ok((one, own))
    }

    fn share(&self, namespace: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(namespace).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(SHARE));
        shares.insert(namespace.to_owned(), Arc::downgrade(&share));
        share
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Name, Answer>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a lookup that runs. It is given up when the lookup ends, however it ends.
struct Place {
    lookups: Arc<Lookups>,
    name: Name,
    _turn: Turn,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lookups.running().remove(&self.name);
    }
}
