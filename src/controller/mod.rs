//! The wiring of watches, wake-ups and passes: what is seen, who is woken, how many passes run at once, what follows a
//! failed one. It decides nothing about a Connection.

pub mod queue;
pub mod sights;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryFutureExt as _};
use kube::{
    Resource as _,
    core::DeserializeGuard,
    runtime::{
        controller::{self, Action},
        reflector::{ObjectRef, Store},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Connection,
    reconcile::{self, Context, rounds},
    usage::ConnectionRef,
};

use queue::Wakes;

/// A Connection as it is watched: one that cannot be decoded blinds nobody.
pub type Watched = DeserializeGuard<Connection>;

/// Passes at once. Each takes a few milliseconds of the API server; more would only queue there.
const CONCURRENCY: u16 = 32;
const _: () = assert!(2 * rounds::PLACES <= CONCURRENCY as usize, "deletions leave half of the passes to others");
/// How long the controller rests at most, so that its standstill is noticed.
const BEAT: Duration = Duration::from_secs(5);

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// It ended with an error.
    #[error(transparent)]
    Pass(#[from] reconcile::Error),
    /// It panicked; the hook has said where.
    #[error("the pass panicked")]
    Panicked,
}

/// Runs passes over the Connections that `wakes` names, until `stop`; passes that run then are ended in order.
///
/// `beat` is called at least every five seconds while it turns.
pub async fn run(
    store: Store<Watched>,
    wakes: Wakes,
    context: Arc<Context>,
    beat: impl Fn() + Send,
    stop: CancellationToken,
) {
    let config = controller::Config::default().concurrency(CONCURRENCY);
    let queue = wakes.take_until(stop.cancelled_owned()).map(Ok::<_, std::convert::Infallible>);
    let kept = store.clone();
    let passes = controller::applier(
        move |object, context| Box::pin(pass(object, context, kept.clone())),
        |object: Arc<Watched>, error: &Failed, context: Arc<Context>| {
            let wait = reconcile::retry_after(&object, &context);
            report(&object, error, wait);
            Action::requeue(wait)
        },
        context,
        store,
        queue,
        config,
    );
    let mut passes = std::pin::pin!(passes);
    let mut tick = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            ended = passes.next() => match ended {
                // What failed was reported, and is repeated.
                Some(_) => {}
                None => return,
            },
            _ = tick.tick() => {}
        }
        beat();
    }
}

/// One pass in a task of its own: a panic ends it, and nothing else.
async fn pass(object: Arc<Watched>, context: Arc<Context>, store: Store<Watched>) -> Result<Action, Failed> {
    let reference = ObjectRef::from_obj(&*object);
    let pass = tokio::spawn(reconcile::reconcile(Arc::clone(&object), Arc::clone(&context)).map_err(Failed::Pass));
    let ended = pass.await.unwrap_or(Err(Failed::Panicked));
    // The object may have gone while the pass ran: what the pass has made of it must not outlive it. The watch removes it
    // from the store before it forgets it, so one of both sees it last.
    let current = store.get(&reference);
    let uid = |object: &Watched| object.meta().uid.clone().unwrap_or_default();
    if current.as_ref().is_none_or(|current| uid(current) != uid(&object)) {
        context.forget(&uid(&object));
    }
    if current.is_none() {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        context.forget_name(&ConnectionRef::new(namespace, object.meta().name.as_deref().unwrap_or_default()));
    }
    ended
}

fn report(object: &Watched, error: &Failed, wait: Duration) {
    let metadata = match &object.0 {
        Ok(connection) => &connection.metadata,
        Err(invalid) => &invalid.metadata,
    };
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    match error {
        Failed::Pass(reconcile::Error::Outdated | reconcile::Error::Gone) => {
            tracing::debug!(namespace, name, %error, ?wait, "a pass is repeated");
        }
        Failed::Pass(reconcile::Error::Api(cause)) => {
            tracing::warn!(namespace, name, %error, %cause, ?wait, "a pass failed and is repeated");
        }
        Failed::Pass(reconcile::Error::Refused) => {
            tracing::warn!(namespace, name, %error, ?wait, "a pass failed and is repeated");
        }
        Failed::Panicked => tracing::error!(namespace, name, %error, ?wait, "a pass failed and is repeated"),
    }
}
