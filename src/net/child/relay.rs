//! Where a child finds a server: an address on this machine, where each connection ends and is carried on through the network of the
//! probe. So every address is judged, every byte counted, and the stage is known, as for a client in this process. What the server
//! sends is read before the child gets it.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::owner::{Owner, owner};
use crate::{
    failure::{Failure, FailureClass},
    net::{Endpoint, Network, Stream},
};

/// How much is carried at once, in bytes.
const CHUNK: usize = 8 * 1024;

/// What reads one connection while it is carried.
pub trait Reader: Send {
    /// The child sends `bytes`, which the server is given as they are.
    fn sends(&mut self, _bytes: &[u8]) {}

    /// The server sends `bytes`; returns what the child is given.
    ///
    /// # Errors
    /// What is wrong with them. The look ends by it.
    fn received(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure>;

    /// The server has closed the connection, which is `failure` where it is one.
    fn closed(&mut self, failure: Failure) -> Option<Failure>;
}

/// One server, as a child finds it. Dropping it ends its connections; [`Relay::close`] waits for their end.
pub struct Relay {
    address: SocketAddrV4,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
    given_up: DropGuard,
}

/// How far a relay is.
#[derive(Clone, Debug, Default)]
struct State {
    /// How many connections a child has made.
    connections: usize,
    /// The first thing that went wrong.
    failure: Option<Failure>,
}

struct Carrier<R> {
    net: Network,
    endpoint: Endpoint,
    own: SocketAddrV4,
    until: Instant,
    reader: R,
    state: watch::Sender<State>,
}

impl Relay {
    /// Opens a relay to `endpoint`, through which a child may make so many connections, each read by what `reader` makes. None is
    /// still being made when the time is over, so that it is known until then why.
    ///
    /// # Errors
    /// `Internal` where no port of this machine is free.
    pub async fn open<R>(
        net: &Network,
        endpoint: &Endpoint,
        (connections, time): (usize, Duration),
        reader: R,
    ) -> Result<Self, Failure>
    where
        R: Fn() -> Box<dyn Reader> + Send + Sync + 'static,
    {
        let internal = |_| Failure::new(FailureClass::Internal);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(internal)?;
        let SocketAddr::V4(own) = listener.local_addr().map_err(internal)? else {
            return Err(Failure::new(FailureClass::Internal));
        };
        let (sender, state) = watch::channel(State::default());
        let until = Instant::now() + time;
        let carrier = Carrier { net: net.clone(), endpoint: endpoint.clone(), own, until, reader, state: sender };
        let given_up = CancellationToken::new();
        let told = given_up.clone();
        // The look is over when its sockets are closed.
        let task = net.0.children.spawn(async move {
            let mut carried = JoinSet::new();
            tokio::select! {
                biased;
                () = told.cancelled() => {}
                () = Arc::new(carrier).serve(listener, connections, &mut carried) => {}
            }
            carried.shutdown().await;
        });
        Ok(Self { address: own, state, task, given_up: given_up.drop_guard() })
    }

    /// Where the child finds it.
    pub const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Waits until something goes wrong.
    pub async fn failed(&self) -> Failure {
        let mut state = self.state.clone();
        let failed = state.wait_for(|state| state.failure.is_some()).await.map(|state| state.failure.clone());
        match failed {
            Ok(Some(failure)) => failure,
            // It carries nothing more, so nothing more goes wrong.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The first thing that went wrong until now.
    pub fn failure(&self) -> Option<Failure> {
        self.state.borrow().failure.clone()
    }

    /// Whether a child has made a connection.
    pub fn is_used(&self) -> bool {
        self.state.borrow().connections > 0
    }

    /// Ends all connections.
    pub async fn close(self) {
        drop(self.given_up);
        let _ = self.task.await;
    }
}

impl<R> Carrier<R>
where
    R: Fn() -> Box<dyn Reader> + Send + Sync + 'static,
{
    /// Carries all connections. It does not end by itself, so that what went wrong stays known.
    async fn serve(self: Arc<Self>, listener: TcpListener, connections: usize, carried: &mut JoinSet<()>) {
        while carried.len() < connections {
            let Ok((near, from)) = listener.accept().await else { break };
            if !self.is_the_childs(from).await {
                continue;
            }
            self.state.send_modify(|state| state.connections += 1);
            let carrier = Arc::clone(&self);
            // Nothing is taken out of the set, so its length is the number of all connections that were made.
            carried.spawn(async move { carrier.carry(near).await });
        }
        // Whoever connects from here on is refused, also where a process that is being started still has a copy of the socket.
        let _ = shutdown(&listener, Shutdown::Both);
        drop(listener);
        std::future::pending::<()>().await;
    }

    /// Whether the connection from `from` is the child's, as far as that can be told.
    async fn is_the_childs(&self, from: SocketAddr) -> bool {
        let SocketAddr::V4(from) = from else { return false };
        let Some(pid) = *self.net.0.child.borrow() else { return false };
        let own = self.own;
        // It reads files of the kernel, which may take a while where there are many sockets.
        self.net.block(move || owner(pid, from, own)).await.is_ok_and(|owner| owner != Owner::Another)
    }

    async fn carry(&self, mut near: TcpStream) {
        let carried = async {
            let _ = near.set_nodelay(true);
            let far = self.net.dial_until(&self.endpoint, self.until).await?;
            self.pump(&mut near, far).await
        };
        if let Err(failure) = carried.await {
            let failure = failure.about_at_least(&self.endpoint.shown());
            self.state.send_modify(|state| {
                state.failure.get_or_insert(failure);
            });
            // The look ends by what is known here. The child's end stays open until then, so that it does nothing else.
            std::future::pending::<()>().await;
            drop(near);
        }
    }

    /// Carries bytes both ways until one side is done. What is sent is small, so that neither side waits for the other to read.
    async fn pump(&self, near: &mut TcpStream, far: Stream) -> Result<(), Failure> {
        let mut reader = (self.reader)();
        let (mut near_read, mut near_write) = near.split();
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let (mut out, mut back) = (vec![0; CHUNK], vec![0; CHUNK]);
        loop {
            tokio::select! {
                read = near_read.read(&mut out) => match read {
                    // The child is done.
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(count) => {
                        self.net.turn_to(&self.endpoint);
                        reader.sends(&out[..count]);
                        if let Err(error) = far_write.write_all(&out[..count]).await {
                            return self.ended(&error, reader.as_mut());
                        }
                    }
                },
                read = far_read.read(&mut back) => match read {
                    Ok(0) => return self.ended(&std::io::ErrorKind::UnexpectedEof.into(), reader.as_mut()),
                    Err(error) => return self.ended(&error, reader.as_mut()),
                    Ok(count) => {
                        let passed = reader.received(&back[..count])?;
                        if near_write.write_all(&passed).await.is_err() {
                            return Ok(());
                        }
                    }
                },
            }
        }
    }

    fn ended(&self, error: &std::io::Error, reader: &mut dyn Reader) -> Result<(), Failure> {
        let failure = self.net.classify(error).unwrap_or_else(|| Failure::new(FailureClass::ConnectionClosed));
        reader.closed(failure).map_or(Ok(()), Err)
    }
}
