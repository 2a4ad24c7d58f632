//! A TCP stream that counts: every byte below TLS is taken from the budget of the probe, and the first thing that goes wrong is
//! remembered, since many drivers lose it. It knows no protocol and no policy; only [`super::Network`] makes one.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Most bytes that one probe reads, over all its connections: a certificate chain, a login and an answer of a few rows are a
/// few dozen KiB, the largest Kafka metadata some hundred; whoever sends more sends something else.
pub const BYTES_IN: usize = 1024 * 1024;

/// Most bytes that one probe sends: its requests are small, and its largest is a client certificate chain.
pub const BYTES_OUT: usize = 256 * 1024;

/// The first thing that went wrong below a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The peer closed before it had sent anything.
    ClosedUnanswered,
    /// The peer closed or reset the connection.
    Closed,
    /// The budget is used up.
    OverBudget,
}

/// The marker inside the I/O error of a stream whose budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverBudget;

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the probe's byte budget is used up")
    }
}

impl std::error::Error for OverBudget {}

/// What the streams of one probe share: the bytes left, and the first obstacle since it dialled last.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes_in: AtomicUsize,
    bytes_out: AtomicUsize,
    obstacle: Mutex<Option<Obstacle>>,
    exhausted: OnceLock<()>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            bytes_in: AtomicUsize::new(BYTES_IN),
            bytes_out: AtomicUsize::new(BYTES_OUT),
            obstacle: Mutex::default(),
            exhausted: OnceLock::new(),
        }
    }
}

impl Allowance {
    /// The first obstacle; a budget that is used up counts before all others, since it is the cause of what follows.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        match self.exhausted.get() {
            Some(()) => Some(Obstacle::OverBudget),
            None => *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Forgets what stood in the way of an earlier connection. What is used up stays so.
    pub(super) fn begin_anew(&self) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes the bytes of a datagram to be sent, all or nothing.
    pub(super) fn send(&self, bytes: usize) -> Result<(), OverBudget> {
        self.spend(&self.bytes_out, bytes)
    }

    /// Takes the bytes of a datagram that came.
    pub(super) fn receive(&self, bytes: usize) -> Result<(), OverBudget> {
        self.spend(&self.bytes_in, bytes)
    }

    fn spend(&self, left: &AtomicUsize, bytes: usize) -> Result<(), OverBudget> {
        let granted = take(left, bytes);
        if granted == bytes {
            return Ok(());
        }
        let _ = self.exhausted.set(());
        Err(OverBudget)
    }

    fn over_budget(&self) -> io::Error {
        let _ = self.exhausted.set(());
        io::Error::other(OverBudget)
    }

    fn saw(&self, obstacle: Obstacle) {
        self.obstacle.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(obstacle);
    }
}

/// A connection to an allowed address. Dropping it closes it.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    allowance: Arc<Allowance>,
    answered: Answered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Yes,
    NotYet,
}

impl Stream {
    /// Takes over a connection that was just made.
    pub(super) fn new(tcp: TcpStream, allowance: Arc<Allowance>) -> Self {
        // A probe is a dialogue of small messages; waiting to fill segments would only slow it down. It works without, too.
        let _ = tcp.set_nodelay(true);
        Self { tcp, allowance, answered: Answered::NotYet }
    }

    /// The address that was dialled.
    ///
    /// # Errors
    /// Where the socket is no longer connected.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    fn saw_end(&self) {
        self.allowance.saw(match self.answered {
            Answered::Yes => Obstacle::Closed,
            Answered::NotYet => Obstacle::ClosedUnanswered,
        });
    }

    fn saw_error(&self, error: &io::Error) {
        if is_closed(error.kind()) {
            self.saw_end();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wanted = buf.remaining();
        if wanted == 0 {
            return Poll::Ready(Ok(()));
        }
        let granted = take(&this.allowance.bytes_in, wanted);
        if granted == 0 {
            return Poll::Ready(Err(this.allowance.over_budget()));
        }
        let before = buf.filled().len();
        let polled = if granted == wanted {
            Pin::new(&mut this.tcp).poll_read(cx, buf)
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(granted));
            let polled = Pin::new(&mut this.tcp).poll_read(cx, &mut part);
            let read = part.filled().len();
            buf.advance(read);
            polled
        };
        let read = buf.filled().len() - before;
        give_back(&this.allowance.bytes_in, granted - read);
        match ready!(polled) {
            Ok(()) if read == 0 => this.saw_end(),
            Ok(()) => this.answered = Answered::Yes,
            Err(error) => {
                this.saw_error(&error);
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let granted = take(&this.allowance.bytes_out, buf.len());
        if granted == 0 {
            return Poll::Ready(Err(this.allowance.over_budget()));
        }
        let polled = Pin::new(&mut this.tcp).poll_write(cx, &buf[..granted]);
        let written = match &polled {
            Poll::Ready(Ok(written)) => *written,
            Poll::Ready(Err(error)) => {
                this.saw_error(error);
                0
            }
            Poll::Pending => 0,
        };
        give_back(&this.allowance.bytes_out, granted - written);
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// Whether an I/O error says that the peer ended the connection.
pub(super) const fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::WriteZero
    )
}

/// Takes up to `wanted` from what is left; what is not used must be given back.
fn take(left: &AtomicUsize, wanted: usize) -> usize {
    let before = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(wanted)));
    before.unwrap_or_else(|left| left).min(wanted)
}

fn give_back(left: &AtomicUsize, unused: usize) {
    left.fetch_add(unused, Ordering::AcqRel);
}
