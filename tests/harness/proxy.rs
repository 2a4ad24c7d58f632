//! A TCP proxy on loopback that can be told to misbehave, and that counts who came.

use std::{
    net::SocketAddr,
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::net::{Shutdown, shutdown};
use tokio::{
    io::{AsyncWriteExt as _, copy, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

use super::{DEADLINE, eventually};

/// What happens to who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything goes through.
    Pass,
    /// Nobody listens.
    Refuse,
    /// Accepted; nothing is said, ever.
    Silent,
    /// Accepted, answered with bytes of no protocol, closed.
    Garbage,
    /// Accepted and closed.
    Close,
    /// Accepted; one byte a second is said.
    Drip,
    /// Accepted, answered with ten megabytes.
    Flood,
}

/// A proxy in front of one server.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    target: SocketAddr,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    listening: Mutex<Option<Listening>>,
    /// Holds the port also while nobody listens: another server would take it in between.
    _port: TcpSocket,
}

struct Listening {
    listener: Arc<TcpListener>,
    task: JoinHandle<()>,
}

impl Listening {
    /// From here on nobody is accepted, whoever else has the socket: each process that another thread starts has a
    /// copy of it until it runs its program, so closing ours is not enough.
    fn stop(self) -> JoinHandle<()> {
        shutdown(self.listener.as_fd(), Shutdown::Both).expect("it listens");
        self.task.abort();
        self.task
    }
}

impl Proxy {
    /// Listens on a free port of loopback and passes to `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let (address, port) = loop {
            let address = free_listener().await.local_addr().expect("an address");
            if let Ok(port) = shared(address) {
                break (address, port);
            }
        };
        let (arrivals, listening) = (Arc::default(), Mutex::default());
        let proxy = Self { address, target, arrivals, listening, _port: port };
        proxy.listen(Mode::Pass);
        proxy
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.arrivals().len()
    }

    /// When each of them came.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.arrivals.lock().expect("no panic while it was held").clone()
    }

    /// Waits until `more` connections have come after the first `seen` of them.
    pub async fn comes(&self, seen: usize, more: usize) {
        let what = format!("{more} connections after the first {seen}");
        eventually(DEADLINE, &what, async || (self.connections() >= seen + more).then_some(())).await;
    }

    /// Changes what happens to who connects from now on. Who is connected stays so.
    pub async fn switch(&self, mode: Mode) {
        let old = self.listening.lock().expect("no panic while it was held").take();
        if let Some(old) = old {
            // Whom the task has accepted by then is served as before.
            let _ = old.stop().await;
        }
        self.listen(mode);
    }

    fn listen(&self, mode: Mode) {
        if mode == Mode::Refuse {
            return;
        }
        let listener = shared(self.address).and_then(|socket| socket.listen(1024)).expect("the port is ours");
        let listener = Arc::new(listener);
        let (target, arrivals, accepting) = (self.target, Arc::clone(&self.arrivals), Arc::clone(&listener));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = accepting.accept().await {
                arrivals.lock().expect("no panic while it was held").push(Instant::now());
                // Ends with its connection or with the process; a switch must not end it.
                tokio::spawn(serve(client, target, mode));
            }
        });
        *self.listening.lock().expect("no panic while it was held") = Some(Listening { listener, task });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(Some(listening)) = self.listening.get_mut().map(Option::take) {
            listening.stop();
        }
    }
}

/// A port of loopback that nobody listens on, below those the kernel gives to outgoing connections, and above those that the
/// scripts of the servers choose from.
pub async fn free_port() -> u16 {
    free_listener().await.local_addr().expect("an address").port()
}

/// A socket at a port that others of this process may have too, and nobody else.
fn shared(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn free_listener() -> TcpListener {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 22_000 + (std::process::id() as usize * 131 + step) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("below 32000")));
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
    }
}

async fn serve(mut client: TcpStream, target: SocketAddr, mode: Mode) {
    let _ = match mode {
        Mode::Pass => match TcpStream::connect(target).await {
            Ok(mut server) => copy_bidirectional(&mut client, &mut server).await.map(drop),
            Err(error) => Err(error),
        },
        Mode::Silent => copy(&mut client, &mut tokio::io::sink()).await.map(drop),
        Mode::Garbage => client.write_all(&[0x7f, 0x00, 0xff, 0xfe].repeat(64)).await,
        Mode::Drip => drip(&mut client).await,
        Mode::Flood => client.write_all(&vec![b'N'; 10 << 20]).await,
        Mode::Close | Mode::Refuse => Ok(()),
    };
}

async fn drip(client: &mut TcpStream) -> std::io::Result<()> {
    loop {
        client.write_all(b"N").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_proxy_keeps_its_port_while_nobody_listens() {
    let target = free_listener().await;
    let proxy = Proxy::to(target.local_addr().expect("an address")).await;
    // What a process has that was started by another thread and does not run its program yet.
    let copy =
        proxy.listening.lock().expect("nobody panicked").as_ref().map(|it| it.listener.as_fd().try_clone_to_owned());
    proxy.switch(Mode::Refuse).await;
    let refused = TcpStream::connect(proxy.address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    TcpListener::bind(proxy.address).await.expect_err("another server must not take it");
    proxy.switch(Mode::Close).await;
    TcpStream::connect(proxy.address).await.expect("it listens again");
    proxy.comes(0, 1).await;
    drop(copy);
}
