//! What a probe makes of peers that are not what they should be: it ends in time, says which stage did not pass and why in the
//! same words for every type, and says nothing about the stages after it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use connection_operator::{
    api::{ConditionType, ConnectionStatus},
    connections::Definition,
    failure::{Finding, Reason, Report, Stage},
    reconcile::conclude::{Facts, Login, Picture, Proven, Used, conclude},
};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    authority::Clients,
    canary, example,
    harness::run,
    peer::Peer,
    subject::{Subject, authority},
};

/// The time of a look that must not be late.
const LIMIT: Duration = Duration::from_secs(4);
/// Long enough for a busy machine; a look at a peer that does something ends by itself.
const PATIENT: Duration = Duration::from_secs(20);

/// What a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Nobody listens.
    Refuses,
    /// It listens and says nothing.
    Silent,
    /// It hangs up at once.
    Closes,
    /// It says something that is in no protocol, and a secret that it knows.
    Garbage,
    /// It says what it hears.
    Echoes,
    /// It has a certificate that is trusted, and answers by HTTP that it forbids what it has heard, which it says again.
    Forbids,
}

impl Behaviour {
    /// Every behaviour of those who are no servers.
    pub const ALL: [Self; 5] = [Self::Refuses, Self::Silent, Self::Closes, Self::Garbage, Self::Echoes];
}

/// A peer that behaves so, for as long as it is kept.
pub struct Stranger {
    /// Where it is.
    pub address: SocketAddr,
    heard: Arc<AtomicBool>,
    learned: Arc<AtomicBool>,
    _place: Place,
}

/// What stays there as long as it is kept.
enum Place {
    /// A port that is taken, and at which nobody listens: a free one could be taken by another test.
    Taken { _socket: TcpSocket },
    /// A peer.
    Inhabited { _peer: Peer },
}

impl Stranger {
    /// Makes one.
    pub async fn that(behaviour: Behaviour) -> Self {
        let heard = Arc::new(AtomicBool::new(false));
        let learned = Arc::new(AtomicBool::new(false));
        let peer = match behaviour {
            Behaviour::Refuses => {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
                let address = socket.local_addr().unwrap();
                return Self { address, heard, learned, _place: Place::Taken { _socket: socket } };
            }
            Behaviour::Silent => Peer::that(listen).await,
            Behaviour::Closes => Peer::that(async |stream| drop(stream)).await,
            Behaviour::Garbage => Peer::that(talk_nonsense).await,
            Behaviour::Echoes => {
                let heard = Arc::clone(&heard);
                Peer::that(move |stream| echo(stream, Arc::clone(&heard))).await
            }
            Behaviour::Forbids => {
                let learned = Arc::clone(&learned);
                let acceptor = authority().acceptor(&["127.0.0.1"], Clients::Anybody);
                Peer::that(move |stream| forbid(stream, acceptor.clone(), Arc::clone(&learned))).await
            }
        };
        Self { address: peer.address, heard, learned, _place: Place::Inhabited { _peer: peer } }
    }

    /// Whether one with a certificate has been told the canary.
    pub fn has_learned(&self) -> bool {
        self.learned.load(Ordering::Acquire)
    }

    /// Whether an echo has been told anything.
    fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }
}

#[test]
fn the_deadline_is_kept_against_a_peer_that_says_nothing() {
    run(async {
        let looks = subjects().into_iter().map(async |subject| {
            let silent = Stranger::that(Behaviour::Silent).await;
            let prepared = subject.clone().at(silent.address).prepare();
            let prepared = prepared.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", subject.name));
            let begun = Instant::now();
            let report = Subject::take(prepared, LIMIT).await;
            let took = begun.elapsed();
            assert!(took < LIMIT + PATIENT / 2, "{}: {took:?}", subject.name);
            ends(&subject, &report, &[Reason::TimedOut]);
        });
        futures::future::join_all(looks).await;
    });
}

#[test]
fn a_peer_that_refuses_or_hangs_up_is_called_so() {
    run(async {
        for subject in subjects() {
            for (behaviour, reason) in
                [(Behaviour::Refuses, Reason::ConnectionRefused), (Behaviour::Closes, Reason::ConnectionClosed)]
            {
                let stranger = Stranger::that(behaviour).await;
                let report = subject.clone().at(stranger.address).look(PATIENT).await;
                ends(&subject, &report, &[reason]);
            }
        }
    });
}

#[test]
fn a_peer_that_speaks_something_else_is_no_system_of_this_type() {
    run(async {
        for subject in subjects() {
            // A URL says for itself whether it is about TLS.
            let secured = subject.spec[subject.kind.member()].to_string().contains("\"https://");
            let reasons = if subject.spec["tls"]["mode"] == "Disable" && !secured {
                &[Reason::ProtocolMismatch][..]
            } else {
                // Nonsense in the place of a handshake, or of the answer to the question for one.
                &[Reason::ProtocolMismatch, Reason::TLSNotOffered, Reason::TLSFailed][..]
            };
            let stranger = Stranger::that(Behaviour::Garbage).await;
            let report = subject.clone().at(stranger.address).look(PATIENT).await;
            ends(&subject, &report, reasons);
            let echo = Stranger::that(Behaviour::Echoes).await;
            let report = subject.clone().at(echo.address).look(LIMIT).await;
            if echo.has_heard() {
                let report = subject.clone().at(echo.address).look(PATIENT).await;
                ends(&subject, &report, reasons);
            } else {
                // Where the server speaks first an echo of nothing is silence.
                ends(&subject, &report, &[Reason::TimedOut]);
            }
        }
    });
}

#[test]
fn a_look_at_one_address_goes_nowhere_else() {
    run(async {
        for subject in subjects() {
            let nowhere = Stranger::that(Behaviour::Refuses).await;
            let report = subject.clone().at(nowhere.address).look(PATIENT).await;
            let message = report.failure().unwrap().1.message();
            assert!(message.contains(&nowhere.address.to_string()), "{}: {message}", subject.name);
        }
    });
}

/// Every way in which every example can be used.
pub fn subjects() -> Vec<Subject> {
    example::all().iter().flat_map(Subject::variants).collect()
}

/// The status that an object without one gets from a report.
pub fn concluded(subject: &Subject, report: &Report) -> ConnectionStatus {
    let spec = subject.read();
    let facts = Facts {
        generation: 1,
        stored: &ConnectionStatus::default(),
        picture: Picture::Found(report),
        login: if spec.credentials_secret().is_some() { Login::Credentials } else { Login::Nobody },
        permissions: &spec.asked_permissions(),
        connection_string: spec.settings().ok().map(Definition::connection_string),
        secret: spec.credentials_secret(),
        observed_version: Some("7"),
        proven: Proven::AsStored,
        request: None,
        usage: Used::AsStored,
        held: None,
    };
    conclude(&facts, Timestamp::UNIX_EPOCH)
}

/// The look ended while it reached for the peer, for one of `reasons`; what comes after that was not looked at, and the status
/// says so.
#[track_caller]
fn ends(subject: &Subject, report: &Report, reasons: &[Reason]) {
    let name = &subject.name;
    let Some((stage, failure)) = report.failure() else { panic!("{name}: it passed") };
    assert_eq!(stage, Stage::Reach, "{name}: {}", failure.message());
    assert!(reasons.contains(&failure.reason()), "{name}: {}: {}", failure.reason(), failure.message());
    let status = concluded(subject, report);
    for stage in Stage::ALL {
        let condition = ConditionType::of_stage(stage).as_str();
        let found = status.conditions.iter().find(|found| found.type_ == condition).unwrap();
        let (finding, expected) = match stage {
            Stage::Resolve => (Finding::Passed, ("True", found.reason.as_str())),
            Stage::Reach => (Finding::Failed(failure), ("False", failure.reason().as_str())),
            Stage::Authenticate | Stage::Access => (Finding::NotChecked, ("Unknown", "NotChecked")),
        };
        assert_eq!(report.at(stage), finding, "{name}");
        assert_eq!((found.status.as_str(), found.reason.as_str()), expected, "{name}: {condition}");
    }
}

/// Hears everything until the other side ends.
async fn listen(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
}

/// Lines of text: a byte order mark, control characters, a byte that is in no UTF-8, and the canary.
async fn talk_nonsense(mut stream: TcpStream) {
    let line = [b"\xef\xbb\xbf\x07~\xff", canary::VALUE.as_bytes(), b" ", canary::KEY.as_bytes(), b"\r\n"].concat();
    if stream.write_all(&line.repeat(20)).await.is_ok() {
        listen(stream).await;
    }
}

async fn echo(mut stream: TcpStream, has_heard: Arc<AtomicBool>) {
    let mut heard = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut heard).await {
        has_heard.store(true, Ordering::Release);
        if stream.write_all(&heard[..count]).await.is_err() {
            return;
        }
    }
}

async fn forbid(stream: TcpStream, acceptor: tokio_rustls::TlsAcceptor, has_learned: Arc<AtomicBool>) {
    // Who asks for TLS in words of its own protocol is not understood.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let (mut all, mut heard) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut heard).await {
        all.extend_from_slice(&heard[..count]);
        if canary::find(&String::from_utf8_lossy(&all)).is_some() {
            has_learned.store(true, Ordering::Release);
        }
        let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n", all.len());
        if stream.write_all(&[head.as_bytes(), &all].concat()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
