//! Who is woken: one queue of names that everything feeds that knows a reason for a pass.

use futures::Stream;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{probing::Subject, usage::ConnectionRef};

use super::Watched;

/// The queue's end that passes are taken from.
pub type Wakes = std::pin::Pin<Box<dyn Stream<Item = ObjectRef<Watched>> + Send>>;

/// The queue's end that names are put into. The scheduler behind it keeps one place for each name, so that it stays as short
/// as there are Connections.
#[derive(Clone, Debug)]
pub struct Waker(UnboundedSender<ObjectRef<Watched>>);

/// A queue.
pub fn queue() -> (Waker, Wakes) {
    let (sender, receiver) = unbounded_channel();
    let wakes = futures::stream::unfold(receiver, |mut receiver: UnboundedReceiver<_>| async move {
        receiver.recv().await.map(|wake| (wake, receiver))
    });
    (Waker(sender), Box::pin(wakes))
}

impl Waker {
    /// Wakes one Connection.
    pub fn wake(&self, namespace: &str, name: &str) {
        // Nobody listens any more: the process is stopping.
        let _ = self.0.send(ObjectRef::new(name).within(namespace));
    }

    /// As [`Waker::wake`].
    pub fn wake_subject(&self, subject: &Subject) {
        self.wake(&subject.namespace, &subject.name);
    }

    /// As [`Waker::wake`].
    pub fn wake_reference(&self, connection: &ConnectionRef) {
        self.wake(&connection.namespace, &connection.name);
    }
}
