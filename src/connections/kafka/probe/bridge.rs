//! Between the client's sockets and the brokers: each connection that the client opens ends here, and is carried on through the
//! network of the probe. So every address is resolved and judged, every byte counted and every certificate verified by the same
//! code as for all types, and the first thing that goes wrong is known by its type, whatever the client makes of it.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    runtime::Handle,
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Unanswered,
    message::Cluster,
    wire::{Event, Identity, Login, Progress, Refused, Wire},
};
use crate::{
    failure::{Code, Failure, FailureClass, Setting, Stage},
    net::{
        Endpoint, Network,
        tls::{Mode, Tls},
    },
};

/// How much is carried at once, in bytes.
const CHUNK: usize = 8 * 1024;

/// Whether brokers are dialled that the configured one names, under the names that it gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// They are: only they can answer.
    Dialled,
    /// They are not, although the client would like to.
    Left,
}

impl Others {
    /// How many connections one look may open: that to the configured broker and, where others are dialled, those to the
    /// one that is asked about topics, to the coordinator of a group, and one that librdkafka makes when it has none for a second.
    const fn connections(self) -> usize {
        match self {
            Self::Dialled => 4,
            Self::Left => 1,
        }
    }
}

/// How far a look is.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// A broker has answered.
    pub answered: bool,
    /// A broker has accepted the login.
    pub accepted: bool,
    /// The first thing that went wrong.
    pub failure: Option<Failure>,
}

/// The bridge of one look. Clones are the same bridge.
#[derive(Clone, Debug)]
pub(super) struct Bridge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    net: Network,
    tls: Tls,
    login: Login,
    others: Others,
    configured: Endpoint,
    cluster: Arc<Mutex<Cluster>>,
    runtime: Handle,
    state: watch::Sender<State>,
    carried: Mutex<Carried>,
}

#[derive(Debug)]
enum Carried {
    Open(JoinSet<()>),
    Closed,
}

impl Bridge {
    /// A bridge for one look.
    pub(super) fn new(net: &Network, tls: &Tls, login: Login, configured: &Endpoint, others: Others) -> Self {
        Self(Arc::new(Inner {
            net: net.clone(),
            tls: tls.clone(),
            login,
            others,
            configured: configured.clone(),
            cluster: Arc::new(Mutex::new(Cluster::new(configured.to_string()))),
            runtime: Handle::current(),
            state: watch::Sender::default(),
            carried: Mutex::new(Carried::Open(JoinSet::new())),
        }))
    }

    /// A connection to the broker that the client calls `name`. It may be called from any thread.
    ///
    /// # Errors
    /// Where the look has ended, or has opened too many.
    pub(super) fn connect(&self, name: &str) -> io::Result<UnixStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let configured = self.0.configured.to_string() == name;
        let endpoint = if configured { Some(self.0.configured.clone()) } else { endpoint(name) };
        let endpoint = endpoint.ok_or_else(refused)?;
        let mut carried = self.0.carried.lock().unwrap_or_else(PoisonError::into_inner);
        let Carried::Open(connections) = &mut *carried else { return Err(refused()) };
        if connections.len() >= self.0.others.connections() || self.0.state.borrow().failure.is_some() {
            return Err(refused());
        }
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let bridge = self.clone();
        connections.spawn_on(async move { bridge.carry(&endpoint, near).await }, &self.0.runtime);
        Ok(far)
    }

    /// How far the look is, now and whenever it changes.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// Waits, on a thread that may block, until a broker has accepted the login.
    pub(super) fn wait(&self, given_up: &CancellationToken) -> Result<(), Unanswered> {
        let mut state = self.state();
        self.0.runtime.block_on(async {
            tokio::select! {
                biased;
                () = given_up.cancelled() => Err(Unanswered),
                accepted = state.wait_for(|state| state.accepted) => accepted.map(drop).map_err(|_| Unanswered),
            }
        })
    }

    /// Ends every connection, and lets no other be opened.
    pub(super) fn close(&self) {
        *self.0.carried.lock().unwrap_or_else(PoisonError::into_inner) = Carried::Closed;
    }

    async fn carry(&self, endpoint: &Endpoint, near: UnixStream) {
        let carried = async {
            let near = tokio::net::UnixStream::from_std(near).map_err(|_| Failure::new(FailureClass::Internal))?;
            let stream = self.0.net.dial(endpoint).await?;
            match self.0.tls.mode {
                Mode::Disable => self.pump(near, stream, false).await,
                Mode::Require | Mode::VerifyCa | Mode::VerifyFull => {
                    let stream = self.0.net.secure(stream, &self.0.tls, endpoint).await.map_err(without_tls)?;
                    let certified = self.0.net.has_shown_identity();
                    self.pump(near, stream, certified).await
                }
            }
        };
        if let Err(failure) = carried.await {
            let failure = failure.about_at_least(&endpoint.shown());
            let failure = if *endpoint == self.0.configured {
                failure
            } else {
                failure.setting(Setting::from_spec(format!("advertised by {}", self.0.configured)))
            };
            self.0.state.send_modify(|state| {
                state.failure.get_or_insert(failure);
            });
        }
    }

    /// Carries messages both ways until the client is done. What a peer sends is read, and what the client has is written anew. What
    /// the client sends is small, so that neither side waits for the other to read. `certified`: the peer has asked for our
    /// certificate and was shown it.
    async fn pump<S>(&self, near: tokio::net::UnixStream, far: S, certified: bool) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let peer = if self.0.tls.peer_is_verified() { Identity::Verified } else { Identity::Unverified };
        let mut wire = Wire::new(self.0.login, peer, Arc::clone(&self.0.cluster));
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let (mut out, mut back) = (vec![0; CHUNK], vec![0; CHUNK]);
        loop {
            tokio::select! {
                read = near_read.read(&mut out) => match read {
                    Ok(0) | Err(_) => return self.left(&wire),
                    Ok(count) => {
                        for event in wire.sent(&out[..count]).map_err(explain)? {
                            self.happened(event, certified);
                        }
                        let written = async {
                            far_write.write_all(&out[..count]).await?;
                            far_write.flush().await
                        };
                        written.await.map_err(|error| self.closed(&error, &wire))?;
                    }
                },
                read = far_read.read(&mut back) => match read {
                    Ok(0) => return Err(self.closed(&io::ErrorKind::UnexpectedEof.into(), &wire)),
                    Err(error) => return Err(self.closed(&error, &wire)),
                    Ok(count) => {
                        let (passed, events) = wire.received(&back[..count]).map_err(explain)?;
                        for event in events {
                            self.happened(event, certified);
                        }
                        if near_write.write_all(&passed).await.is_err() {
                            return self.left(&wire);
                        }
                    }
                },
            }
        }
    }

    fn happened(&self, event: Event, certified: bool) {
        match event {
            Event::Answered => {
                // Only now: one that does not answer is no broker, and the next one may ask for it.
                if self.0.login == Login::None && !certified {
                    self.0.net.nobody_checks_who_we_are();
                }
                self.0.net.step(Stage::Authenticate);
                self.0.state.send_modify(|state| state.answered = true);
            }
            Event::Accepted => {
                self.0.net.step(Stage::Access);
                self.0.state.send_modify(|state| state.accepted = true);
            }
        }
    }

    /// The client hangs up: it has what it wants, or does not believe what the broker says.
    fn left(&self, wire: &Wire) -> Result<(), Failure> {
        let strange = Failure::new(FailureClass::ProtocolMismatch);
        match (wire.progress(), self.0.login) {
            (Progress::Accepted, _) => Ok(()),
            (Progress::Answering, Login::Scram) => Err(strange.word("it does not prove that it knows the password")),
            (Progress::Silent | Progress::Answering, _) => Err(strange),
        }
    }

    /// What an end of the connection means.
    fn closed(&self, error: &io::Error, wire: &Wire) -> Failure {
        let failure = self.0.net.classify(error).unwrap_or_else(|| Failure::new(FailureClass::ConnectionClosed));
        match (failure.class(), wire.progress(), self.0.login) {
            // A listener that wants a login hangs up on who asks without one.
            (FailureClass::ConnectionClosed, Progress::Answering, Login::None) => failure
                .advice("set spec.kafka.saslMechanism if this listener asks for a login, and look at the broker's log"),
            // A listener that speaks TLS hangs up on who does not.
            (FailureClass::ConnectionClosed, Progress::Silent, _) if self.0.tls.mode == Mode::Disable => failure
                .advice(
                    "set spec.tls.mode to VerifyFull if this listener speaks TLS, and check that a broker runs there",
                ),
            _ => failure,
        }
    }
}

/// Where the broker is that others call `name`: `HOST:PORT`, as they advertise it. Such a name is meant for everybody, so no namespace
/// is added to it.
fn endpoint(name: &str) -> Option<Endpoint> {
    let (host, port) = name.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    Some(Endpoint::named_by_peer(bare, port.parse().ok()?))
}

/// A listener without TLS hangs up on who begins with it.
fn without_tls(failure: Failure) -> Failure {
    match failure.class() {
        FailureClass::ConnectionClosed => {
            failure.advice("name a listener that speaks TLS if this one does not, and look at the broker's log")
        }
        _ => failure,
    }
}

/// What an answer of the broker means.
fn explain(refused: Refused) -> Failure {
    let method = || Failure::new(FailureClass::AuthenticationMethodNotSupported);
    match refused {
        Refused::NotTheProtocol => Failure::new(FailureClass::ProtocolMismatch),
        Refused::Tls => Failure::new(FailureClass::ProtocolMismatch)
            .word("it speaks TLS")
            .advice("set spec.tls.mode to VerifyFull, or name a listener without TLS"),
        Refused::Mechanism => method()
            .code(Code::Number(33))
            .word("it does not offer the mechanism in spec.kafka.saslMechanism")
            .advice("name a mechanism that is enabled for this listener, or enable it at the brokers"),
        Refused::NoLogin => method()
            .code(Code::Number(34))
            .word("it takes no login")
            .advice("name a listener with SASL, or take spec.kafka.saslMechanism away"),
        Refused::Rejected => Failure::new(FailureClass::WrongCredentials).code(Code::Number(58)),
        Refused::Failed(code) => Failure::new(FailureClass::ServerUnavailable).code(Code::Number(code.into())),
        Refused::TooManyRounds => {
            Failure::new(FailureClass::ProtocolMismatch).word("more than 1,000,000 rounds of SCRAM are asked for")
        }
        Refused::Unforeseen => Failure::new(FailureClass::Internal),
        Refused::TooFewRounds => {
            Failure::new(FailureClass::ProtocolMismatch).word("fewer than 4,096 rounds of SCRAM are asked for")
        }
        Refused::UnverifiedPeer => Failure::new(FailureClass::UnverifiedPeer)
            .advice("set spec.tls.mode to VerifyFull, or use a mechanism that does not send the secret itself: SCRAM"),
        Refused::TooOld => Failure::new(FailureClass::ProtocolMismatch)
            .word("it does not offer Metadata 5 to 8, SaslHandshake 1 and SaslAuthenticate, which Kafka does since 1.0")
            .advice("name a broker of Kafka 1.0 or newer, or of a system that offers these messages"),
    }
}
