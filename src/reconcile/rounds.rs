//! Rounds of listing before a deletion is let go: few at once, each for all of its namespace that wait for one.
//!
//! A round reads whole pages of every counted kind. As many at once as there are passes would be more than the memory of the
//! process, when many connections are deleted together.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::Client;
use tokio::sync::{Semaphore, oneshot};

use crate::usage::{
    extract::Kind,
    live::{self, Claim},
    users::Users,
};

/// Rounds at once.
const AT_ONCE: usize = 2;
/// Passes that may wait for a round, or be in one: half of those that run at once. So the others are free for what is not
/// being deleted, however many are and however slowly the API server lists.
pub const PLACES: usize = 16;
/// A pass that finds no place is repeated after this.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The rounds that are under way, and who waits for the next one.
#[derive(Debug)]
pub struct Rounds {
    places: Semaphore,
    turns: Semaphore,
    waiting: Mutex<HashMap<String, Vec<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    claim: Claim,
    tell: oneshot::Sender<Users>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { places: Semaphore::new(PLACES), turns: Semaphore::new(AT_ONCE), waiting: Mutex::default() }
    }
}

impl Rounds {
    /// Who uses the connection of `claim`, as the API server says in a round that begins after this call; `None` where so many
    /// wait already that the pass must not, or the round was broken off.
    ///
    /// What waits here is the pass of this one connection. It holds no lock, and no turn but its own round's.
    pub async fn users(&self, client: &Client, namespace: &str, claim: Claim) -> Option<Users> {
        let _place = self.places.try_acquire().ok()?;
        let (tell, mut told) = oneshot::channel();
        self.waiting().entry(namespace.to_owned()).or_default().push(Waiting { claim, tell });
        tokio::select! {
            biased;
            users = &mut told => return users.ok(),
            _turn = self.turns.acquire() => self.round(client, namespace).await,
        }
        // By the round that has ended here, or by one of another pass that had taken the claim with it.
        told.await.ok()
    }

    /// One round for all of a namespace that wait.
    async fn round(&self, client: &Client, namespace: &str) {
        let waiting = self.waiting().remove(namespace).unwrap_or_default();
        if waiting.is_empty() {
            return;
        }
        let (claims, tell): (Vec<_>, Vec<_>) = waiting.into_iter().map(|Waiting { claim, tell }| (claim, tell)).unzip();
        let found = live::users_now(client, &Kind::BUILT_IN, namespace, &claims).await;
        for (tell, users) in tell.into_iter().zip(found.users) {
            // Who has gone meanwhile is not told.
            let _ = tell.send(users);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
