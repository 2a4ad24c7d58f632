//! The only door to the world: names, addresses, connections and TLS, under the egress policy, a deadline and a byte budget.
//!
//! A [`World`] is made once per process, a [`Network`] once per probe. No other module opens a socket. Nothing here reads a
//! proxy from the environment, follows a redirect or keeps a connection for later.

use std::{
    collections::BTreeSet,
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::Pid;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::failure::{Failure, FailureClass, Proof, Report, Setting, Stage};

pub mod child;
mod datagram;
pub mod http;
mod ladder;
mod obstacle;
pub mod policy;
pub mod resolve;
#[cfg(test)]
pub(crate) mod stand_in;
pub mod stream;
pub mod targets;
pub mod tls;

pub use policy::{Policy, Rule};
pub use resolve::{Resolver, SystemResolver};
pub use stream::Stream;

use ladder::Ladder;
use obstacle::Miss;
use policy::{Judgement, Why};
use resolve::Lookups;
use stream::Allowance;
use targets::{Admission, Targets};
use tls::{Impossible, Tls};

/// A connection under TLS.
pub type TlsStream = tokio_rustls::client::TlsStream<Stream>;

/// Most addresses of one name that are dialled: with more, each one's share of a ten-second probe would be too short to mean
/// anything. All of them are judged.
const ADDRESSES_LIMIT: usize = 8;

/// How long a dial may take outside [`climb`], where no deadline was set: the default timeout of a probe.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// How many works that only compute run at once: each takes a processor for up to a second.
const COMPUTING: usize = 2;

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The host as it is resolved: a name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    named: Named,
}

/// Who has named an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Named {
    /// The spec, or the vendor by a fixed rule.
    Spec,
    /// A peer; its words are not repeated.
    Peer,
}

impl Endpoint {
    /// The endpoint of `host` as a spec has it. A name without a dot, other than `localhost`, means `HOST.NAMESPACE.svc`: the
    /// operator's own search list would answer for the wrong namespace.
    pub fn of(host: &str, port: u16, namespace: &str) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let complete = bare.contains('.') || bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok();
        // A colon is no part of a name: this is an address of some form, and the resolver's answer to it is judged.
        let host = if complete || bare.contains(':') { bare.to_owned() } else { format!("{bare}.{namespace}.svc") };
        Self::exactly(&host, port)
    }

    /// The endpoint of a host that is complete as it is: a name, or an address without brackets.
    pub fn exactly(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, named: Named::Spec }
    }

    /// The endpoint that a peer names. It is dialled like any other, if it is allowed; messages show an address, and no name.
    pub fn named_by_peer(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, named: Named::Peer }
    }

    /// The endpoint as messages show it.
    pub fn shown(&self) -> Setting {
        match (self.named, self.host.parse::<IpAddr>()) {
            (Named::Spec, _) | (Named::Peer, Ok(_)) => Setting::from_spec(self.to_string()),
            (Named::Peer, Err(_)) => Setting::from_spec("an address that the server advertises"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What all probes of the process share: the egress policy, the resolver, the system's roots, and who dialled what.
pub struct World {
    policy: RwLock<Arc<Policy>>,
    lookups: Arc<Lookups>,
    ground: tls::Ground,
    targets: Mutex<Targets>,
    program: OnceLock<PathBuf>,
    computing: Arc<Semaphore>,
}

impl World {
    /// A world under `policy`, in which a namespace may dial `new_targets_per_minute` new addresses per minute.
    pub fn new(policy: Policy, resolver: Arc<dyn Resolver>, new_targets_per_minute: u32) -> Arc<Self> {
        Arc::new(Self {
            policy: RwLock::new(Arc::new(policy)),
            lookups: Lookups::new(resolver),
            ground: tls::Ground::new(),
            targets: Mutex::new(Targets::new(new_targets_per_minute)),
            program: OnceLock::new(),
            computing: Arc::new(Semaphore::new(COMPUTING)),
        })
    }

    /// Sets the program that is started for work in a child, where it is not the one of this process: the process of a test is none
    /// of the operator. Only the first call has an effect.
    pub fn set_program(&self, program: PathBuf) {
        let _ = self.program.set(program);
    }

    /// The program that is started for work in a child. The name is the kernel's for the file that this process was made from, also
    /// where another one has taken its place since.
    fn program(&self) -> &Path {
        self.program.get().map_or(Path::new("/proc/self/exe"), PathBuf::as_path)
    }

    /// Sets all addresses of the cluster's API server, none of which may be dialled at any port. It replaces those set before
    /// and holds for the dials that follow; until it is called no address is known as the API server's.
    pub fn set_api_server(&self, addresses: &[IpAddr]) {
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        *policy = Arc::new(policy.with_api_server(addresses));
    }

    /// The door for one probe of a Connection in `namespace`: with a ladder and a byte budget of its own.
    pub fn network(self: &Arc<Self>, namespace: &str) -> Network {
        Network(Arc::new(Inner {
            world: Arc::clone(self),
            namespace: namespace.to_owned(),
            ladder: Ladder::default(),
            allowance: Arc::default(),
            witness: tls::Witness::default(),
            endpoint: Mutex::new(None),
            answered: Mutex::default(),
            threads: TaskTracker::new(),
            children: TaskTracker::new(),
            child: watch::Sender::default(),
            deadline: OnceLock::new(),
            breaking_off_counts: AtomicBool::new(false),
            anonymous: AtomicBool::new(false),
        }))
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn admit(&self, namespace: &str, target: SocketAddr) -> Admission {
        let now = Instant::now().into_std();
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).admit(namespace, target, now)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// A probe's only door: egress policy, deadline, byte budget and the ladder of stages. Clones share all of it.
#[derive(Clone, Debug)]
pub struct Network(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Arc<World>,
    namespace: String,
    ladder: Ladder,
    allowance: Arc<Allowance>,
    witness: tls::Witness,
    endpoint: Mutex<Option<Endpoint>>,
    answered: Mutex<BTreeSet<Endpoint>>,
    threads: TaskTracker,
    children: TaskTracker,
    child: watch::Sender<Option<Pid>>,
    deadline: OnceLock<Instant>,
    breaking_off_counts: AtomicBool,
    anonymous: AtomicBool,
}

impl Network {
    /// Says that `stage` is now in progress.
    pub fn step(&self, stage: Stage) {
        self.0.ladder.step(stage);
    }

    /// The stage in progress.
    pub fn stage(&self) -> Stage {
        self.0.ladder.current()
    }

    /// Resolves the host once, judges every address, and dials those that are allowed, in order, each with a share of the time
    /// that is left. Enters `Reach`.
    ///
    /// # Errors
    /// What did not pass, about `endpoint`: `NameResolutionFailed`, `TooManyLookups`, `AddressNotAllowed` where no address is allowed,
    /// `TooManyTargets`, else what the dialled addresses answered.
    pub async fn dial(&self, endpoint: &Endpoint) -> Result<Stream, Failure> {
        self.dial_until(endpoint, Instant::now() + self.remaining()).await
    }

    /// As [`dial`](Self::dial), with the time until `until`, where that is before the deadline.
    async fn dial_until(&self, endpoint: &Endpoint, until: Instant) -> Result<Stream, Failure> {
        self.step(Stage::Reach);
        self.turn_to(endpoint);
        // What was seen of another host says nothing about this one.
        self.0.allowance.begin_anew();
        self.0.witness.begin_anew();
        self.try_dial(endpoint, until).await.map_err(|failure| failure.about_at_least(&endpoint.shown()))
    }

    /// Does the TLS handshake of a server that expects it at once. Protocols that ask for TLS first use
    /// [`Network::client_config`] with their driver.
    ///
    /// # Errors
    /// What did not pass, about `endpoint`.
    pub async fn secure(&self, stream: Stream, tls: &Tls, endpoint: &Endpoint) -> Result<TlsStream, Failure> {
        self.secure_for(&[], stream, tls, endpoint).await
    }

    /// As [`secure`](Self::secure), over any stream, for a server that is told which `protocols` may be spoken (ALPN). Which one
    /// it chose is known from the stream.
    ///
    /// # Errors
    /// What did not pass, about `endpoint`.
    pub async fn secure_for<S>(
        &self,
        protocols: &[&[u8]],
        stream: S,
        tls: &Tls,
        endpoint: &Endpoint,
    ) -> Result<tokio_rustls::client::TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = self.client_config(tls)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = self.server_name(tls, endpoint)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
            let failure = if obstacle::is_not_tls(&error) {
                Failure::new(FailureClass::TlsNotOffered)
            } else {
                self.classify(&error).unwrap_or_else(|| Failure::new(FailureClass::TlsFailed))
            };
            failure.about_at_least(&endpoint.shown())
        })
    }

    /// The TLS configuration for a driver that does the handshake itself. Making it is cheap; make one per probe.
    ///
    /// # Errors
    /// `CertificateUntrusted` where the system's roots are asked for and there are none; `Internal` where `tls` is disabled.
    pub fn client_config(&self, tls: &Tls) -> Result<rustls::ClientConfig, Failure> {
        self.0.world.ground.config(tls, &self.0.witness).map_err(|impossible| match impossible {
            Impossible::Disabled | Impossible::Provider => Failure::new(FailureClass::Internal),
            Impossible::NoSystemRoots => {
                Failure::new(FailureClass::CertificateUntrusted).word("the operator's system has no trusted CAs")
            }
        })
    }

    /// The name that the server's certificate must have, and that it is told (SNI).
    ///
    /// # Errors
    /// `CertificateNameMismatch` where no certificate can have such a name.
    pub fn server_name(&self, tls: &Tls, endpoint: &Endpoint) -> Result<ServerName<'static>, Failure> {
        let name = tls.server_name.as_ref().unwrap_or(&endpoint.host);
        ServerName::try_from(name.clone()).map_err(|_| {
            Failure::new(FailureClass::CertificateNameMismatch)
                .about(endpoint.shown())
                .word("no certificate can have this name")
        })
    }

    /// Classifies what a driver returned, by the errors in its source chain and by what this network saw below the driver.
    /// Ask the driver's own codes first: a server that rejects a login and hangs up is no closed connection. `None`: nothing
    /// is recognised.
    pub fn classify(&self, error: &(dyn Error + 'static)) -> Option<Failure> {
        let below = self.0.allowance.obstacle();
        let failure = match below {
            Some(over @ stream::Obstacle::OverBudget) => Some(obstacle::of_obstacle(over)),
            Some(stream::Obstacle::Closed | stream::Obstacle::ClosedUnanswered) | None => {
                obstacle::classify(error, self.0.witness.seen()).or_else(|| below.map(obstacle::of_obstacle))
            }
        };
        failure.map(|failure| self.about(failure))
    }

    /// Runs work that blocks on a thread of its own, for a client that cannot wait otherwise. The look that asked for it may end
    /// before: [`climb`] returns only once the thread has ended, so that whoever bounds looks bounds threads too. The work must
    /// notice by itself that nobody waits for it any longer.
    ///
    /// # Errors
    /// `Internal` where the work panics.
    pub async fn block<T, W>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.0.threads.spawn_blocking(work).await.map_err(|_panicked| Failure::new(FailureClass::Internal))
    }

    /// Runs what only computes on a thread of its own, and few such works at once in the whole process: how long one takes is
    /// decided by a peer, or by whoever wrote a Secret, and together they must leave the processor to the others. Waiting for a
    /// turn is a part of the look.
    ///
    /// # Errors
    /// `Internal` where the work panics.
    pub async fn compute<T, W>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let turn = Arc::clone(&self.0.world.computing).acquire_owned().await;
        let turn = turn.map_err(|_closed| Failure::new(FailureClass::Internal))?;
        self.block(move || {
            // Given back when the work has ended, whoever waits for it.
            let _turn = turn;
            work()
        })
        .await
    }

    /// Says that `endpoint`, which was dialled before another one, is the one that is talked to again: what goes wrong from here
    /// on is about it.
    pub fn turn_to(&self, endpoint: &Endpoint) {
        *self.0.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint.clone());
    }

    /// The endpoint that was dialled last, or turned to since.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.0.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The failure, about the endpoint that was dialled last, where it is about nothing yet. [`climb`] says so of whatever ends a look;
    /// a probe that goes on with another endpoint says it before.
    pub fn about(&self, failure: Failure) -> Failure {
        match self.endpoint() {
            Some(endpoint) => failure.about_at_least(&endpoint.shown()),
            None => failure,
        }
    }

    /// Says whether the server counts it against the address we come from if the look ends from here on, and lets nobody in from
    /// there after some such looks. One that does end here is not repeated soon.
    pub fn breaking_off_counts(&self, counts: bool) {
        self.0.breaking_off_counts.store(counts, Ordering::Relaxed);
    }

    /// Says that nobody checks who we are, so that a look that gets past Authenticate proves no login, wherever it ends.
    pub fn nobody_checks_who_we_are(&self) {
        self.0.anonymous.store(true, Ordering::Relaxed);
    }

    /// Whether the server of the last handshake has asked for our client certificate and was shown it. Ask when the handshake is done.
    pub fn has_shown_identity(&self) -> bool {
        self.0.witness.seen() == tls::ClientCertificate::Shown
    }

    /// The time that is left until the deadline of the probe.
    pub fn remaining(&self) -> Duration {
        self.0.deadline.get().map_or(DEFAULT_LIMIT, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether `endpoint` has given a well-formed answer in this probe.
    fn has_answered(&self, endpoint: &Endpoint) -> bool {
        self.0.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(endpoint)
    }

    fn answered(&self, endpoint: &Endpoint) {
        self.0.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.clone());
    }

    async fn try_dial(&self, endpoint: &Endpoint, until: Instant) -> Result<Stream, Failure> {
        let left = || self.remaining().min(until.saturating_duration_since(Instant::now()));
        let addresses = self.allowed(endpoint, &self.resolve(&endpoint.host, left()).await?)?;
        let mut told: Option<Miss> = None;
        for (n, address) in addresses.iter().enumerate() {
            let miss = match self.0.world.admit(&self.0.namespace, *address) {
                Admission::Refused => Miss::TooManyTargets,
                Admission::Admitted => {
                    let shares = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
                    match timeout(left() / shares, connect(*address)).await {
                        Ok(Ok(tcp)) => return Ok(Stream::new(tcp, Arc::clone(&self.0.allowance))),
                        Ok(Err(error)) => Miss::of(&error),
                        Err(_elapsed) => Miss::TimedOut,
                    }
                }
            };
            told = Some(told.map_or(miss, |other| other.min(miss)));
        }
        Err(told.map_or_else(|| Failure::new(FailureClass::NameResolutionFailed), Miss::failure))
    }

    /// The addresses of `host`; an address stands for itself. A name server that is silent is given half of the time that is left,
    /// so that it is known as the cause before the deadline strikes. Waiting for a turn is a part of it.
    async fn resolve(&self, host: &str, left: Duration) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        self.0.world.lookups.find(&self.0.namespace, host, Instant::now() + left / 2).await
    }

    /// Those of `found` that the policy allows, each once.
    fn allowed(&self, endpoint: &Endpoint, found: &[IpAddr]) -> Result<Vec<SocketAddr>, Failure> {
        let policy = self.0.world.policy();
        let mut allowed = Vec::new();
        let mut forbidden: Option<Why> = None;
        for ip in found {
            let address = SocketAddr::new(*ip, endpoint.port);
            match policy.judge(&endpoint.host, address) {
                Judgement::Allowed if allowed.contains(&address) || allowed.len() == ADDRESSES_LIMIT => {}
                Judgement::Allowed => allowed.push(address),
                // The order of the answers must not change the message.
                Judgement::Forbidden(why) => forbidden = Some(forbidden.map_or(why, |other| other.min(why))),
            }
        }
        match forbidden {
            Some(why) if allowed.is_empty() => Err(Failure::new(FailureClass::AddressNotAllowed).word(why.as_str())),
            Some(_) | None => Ok(allowed),
        }
    }
}

/// Runs one look within `limit` and reports it. A panic is `Internal` and the deadline is `TimedOut`, both of the stage in
/// progress; the work ends with the returned future, whatever happens to it. A thread of [`Network::block`] is waited for, and so is
/// a child of [`Network::ask_child`], which is ended: the report is of the deadline, and comes when they are gone. A lookup is not
/// waited for: it has a turn of its own.
pub async fn climb<F, W>(network: Network, limit: Duration, work: W) -> Report
where
    W: FnOnce(Network) -> F + Send + 'static,
    F: Future<Output = Result<Proof, Failure>> + Send + 'static,
{
    let deadline = *network.0.deadline.get_or_init(|| Instant::now() + limit);
    let inside = network.clone();
    let mut task = AbortOnDropHandle::new(tokio::spawn(async move { work(inside).await }));
    let end = match timeout_at(deadline, &mut task).await {
        Ok(Ok(end)) => end,
        Ok(Err(_panicked)) => Err(Failure::new(FailureClass::Internal)),
        Err(_elapsed) => Err(Failure::new(FailureClass::TimedOut)),
    };
    let is_over = task.is_finished();
    let end = end.map_err(|failure| network.about(failure));
    let report = network.0.ladder.finish(end);
    if !is_over {
        // Until it has been dropped it may begin another thread.
        task.abort();
        let _ = task.await;
    }
    network.0.children.close();
    network.0.children.wait().await;
    network.0.threads.close();
    network.0.threads.wait().await;
    let report = if network.0.anonymous.load(Ordering::Relaxed) { report.anonymous() } else { report };
    if report.failure().is_some() && network.0.breaking_off_counts.load(Ordering::Relaxed) {
        report.broken_off()
    } else {
        report
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the door: the address was judged, and the caller sets the time")]
async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect(address).await
}

#[cfg(test)]
mod tests;
