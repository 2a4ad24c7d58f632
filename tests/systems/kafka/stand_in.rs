//! What a real broker does rarely or never: silence, noise, lies, codes of rare states, and too much of everything.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{case::LIMIT, harness::peer::Peer};

const METADATA: i16 = 3;
pub(super) const HANDSHAKE: i16 = 17;
pub(super) const VERSIONS: i16 = 18;
pub(super) const AUTHENTICATE: i16 = 36;

/// A request, as far as it is read here.
pub(super) struct Request {
    pub api: i16,
    correlation: [u8; 4],
    /// What stands behind: the client's name, and the question.
    pub rest: Vec<u8>,
}

/// The next request; `None` where the client hangs up.
pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let length = stream.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).expect("a length")];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        api: i16::from_be_bytes([body[0], body[1]]),
        correlation: body[4..8].try_into().expect("four bytes"),
        rest: body.split_off(8),
    })
}

pub(super) async fn respond(stream: &mut (impl AsyncWrite + Unpin), request: &Request, body: &[u8]) {
    let length = u32::try_from(body.len() + 4).expect("a length").to_be_bytes();
    let _ = stream.write_all(&[&length[..], &request.correlation, body].concat()).await;
}

/// The list of versions that a broker of Kafka 2.4 gives to a client that asks for version 3.
pub(super) fn versions() -> Vec<u8> {
    versions_with(9)
}

/// The same of one that knows Metadata up to `newest`.
fn versions_with(newest: i16) -> Vec<u8> {
    let listed = [(METADATA, 0, newest), (HANDSHAKE, 0, 1), (VERSIONS, 0, 3), (AUTHENTICATE, 0, 2)];
    let mut body = vec![0, 0, 5];
    for (api, least, most) in listed {
        body.extend([api, least, most].iter().flat_map(|number: &i16| number.to_be_bytes()));
        body.push(0);
    }
    body.extend([0; 5]);
    body
}

/// What a broker says that knows no topic and one broker, the controller at `address`.
fn metadata(address: SocketAddr) -> Vec<u8> {
    let host = address.ip().to_string();
    let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, u8::try_from(host.len()).expect("short")];
    body.extend(host.bytes());
    body.extend(u32::from(address.port()).to_be_bytes());
    // No rack and no cluster's name; the controller is 7; no topic, and no rights on the cluster.
    body.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 7, 0, 0, 0, 0, 0x80, 0, 0, 0]);
    body
}

pub(super) fn authenticate(code: i16, said: &str) -> Vec<u8> {
    let length = u32::try_from(said.len()).expect("a length").to_be_bytes();
    [&code.to_be_bytes()[..], b"\0\x06canary", &length, said.as_bytes()].concat()
}

/// A broker that lists its versions and gives `answer` to everything else; where that is nothing, it says nothing more.
async fn broker<F>(answer: F) -> Peer
where
    F: Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static,
{
    broker_that_lies(move |asked| if asked.api == VERSIONS { Some(versions()) } else { answer(asked) }).await
}

/// The same, which has an answer to the question for versions, too.
async fn broker_that_lies<F>(answer: F) -> Peer
where
    F: Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    Peer::that(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            while let Some(asked) = request(&mut stream).await {
                match answer(&asked) {
                    Some(body) => respond(&mut stream, &asked, &body).await,
                    None => drop(stream.read_to_end(&mut Vec::new()).await),
                }
            }
        }
    })
    .await
}

/// A connection to it that logs in; SCRAM may be used without TLS.
fn plain(peer: &Peer) -> Case {
    Case::at(peer.address).login(Mechanism::ScramSha512, "reader")
}

/// A connection to it that nobody logs in on.
fn open(peer: &Peer) -> Case {
    Case::at(peer.address)
}

#[tokio::test]
async fn every_code_of_a_login_has_its_name() {
    use {Reason as R, Stage as S};
    for (api, code, stage, reason) in [
        (HANDSHAKE, 33, S::Authenticate, R::AuthenticationMethodNotSupported),
        (HANDSHAKE, 34, S::Authenticate, R::AuthenticationMethodNotSupported),
        (HANDSHAKE, -1, S::Authenticate, R::ServerUnavailable),
        (AUTHENTICATE, 58, S::Authenticate, R::AuthenticationFailed),
        (AUTHENTICATE, 33, S::Authenticate, R::AuthenticationMethodNotSupported),
        (AUTHENTICATE, 7, S::Authenticate, R::ServerUnavailable),
        (AUTHENTICATE, 32_000, S::Authenticate, R::ServerUnavailable),
    ] {
        let peer = broker(move |asked| {
            let code: i16 = if asked.api == api { code } else { 0 };
            Some(match asked.api {
                HANDSHAKE => [&code.to_be_bytes()[..], b"\0\0\0\x01\0\x05PLAIN"].concat(),
                _ => authenticate(code, "canary"),
            })
        })
        .await;
        let begun = Instant::now();
        let message = plain(&peer).ends(stage, reason).await;
        assert!(message.contains(&code.to_string()), "{message}");
        assert_eq!(peer.accepted(), 1, "one login per look");
        // The thread ends with the look, and not with its deadline.
        assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_broker_cannot_make_us_compute() {
    for (rounds, words) in [
        ("1000001", "1,000,000"),
        ("4294967295", "1,000,000"),
        ("99999999999999999999", "1,000,000"),
        // Few of them make the proof cheap to guess the password from.
        ("4095", "4,096"),
    ] {
        let answers = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&answers);
        let peer = broker(move |asked| {
            if asked.api == HANDSHAKE {
                return Some(b"\0\0\0\0\0\x01\0\x0dSCRAM-SHA-512".to_vec());
            }
            counted.fetch_add(1, Ordering::Relaxed);
            Some(authenticate(0, &format!("r=canary,s=c2FsdHNhbHQ=,i={rounds}")))
        })
        .await;
        let case = Case::at(peer.address).login(Mechanism::ScramSha512, "reader");
        let message = case.ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains(words), "{message}");
        assert_eq!(answers.load(Ordering::Relaxed), 1, "the proof was sent");
    }
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached_and_a_broker_where_it_got_to() {
    let silent = Peer::that(async |mut stream| drop(stream.read_to_end(&mut Vec::new()).await)).await;
    let begun = Instant::now();
    plain(&silent).soon().ends(Stage::Reach, Reason::TimedOut).await;
    plain(&silent).tls(|tls| tls.mode = Mode::VerifyFull).soon().ends(Stage::Reach, Reason::TimedOut).await;
    let speechless = broker(|_| None).await;
    plain(&speechless).later().ends(Stage::Authenticate, Reason::TimedOut).await;
    let nowhere = silent.address;
    let forgetful = broker(move |_| Some(metadata(nowhere))).await;
    // It sends us to one that is silent.
    open(&forgetful).on("orders", &[]).soon().ends(Stage::Reach, Reason::TimedOut).await;
    assert!(begun.elapsed() < LIMIT, "a thread outlives its look: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_peer_that_hangs_up_closes_the_connection_where_it_got_to() {
    let closing = Peer::that(async |stream| drop(stream)).await;
    let begun = Instant::now();
    plain(&closing).ends(Stage::Reach, Reason::ConnectionClosed).await;
    let gone = Peer::that(async |mut stream| {
        if let Some(asked) = request(&mut stream).await {
            respond(&mut stream, &asked, &versions()).await;
            request(&mut stream).await;
        }
    })
    .await;
    plain(&gone).ends(Stage::Authenticate, Reason::ConnectionClosed).await;
    // Nobody waits for what cannot come.
    assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_no_broker() {
    for noise in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x15\x03\x03\0\x02\x02\x46",
        b"\0\0\0\x08\x7f\xff\xff\xff\0\0\0\0",
        b"\0\x10\0\0",
    ] {
        let peer = Peer::that(async move |mut stream| {
            let _ = stream.write_all(noise).await;
            drop(stream.read_to_end(&mut Vec::new()).await);
        })
        .await;
        let message = plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert_eq!(message.contains("TLS"), noise[0] == 0x15, "{message}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_is_not_given_to_the_client() {
    // Each of these would end the process of who trusts it, or make it allocate, or start thousands of threads.
    let many: Vec<u8> =
        (0..20_000_i32).flat_map(|id| [&id.to_be_bytes()[..], b"\0\x01x\0\0\x23\x84\xff\xff"].concat()).collect();
    for (api, body) in [
        (VERSIONS, b"\0\0\0\0\0\0\0\0".to_vec()),
        (VERSIONS, b"\0\0\xff\xff\xff\x07".to_vec()),
        (METADATA, b"\0\0\0\0\xff\xff\xff\xff".to_vec()),
        (METADATA, b"\0\0\0\0\x7f\xff\xff\xff".to_vec()),
        (METADATA, [&b"\0\0\0\0\0\0\x4e\x20"[..], &many].concat()),
        (METADATA, vec![0; 900_000]),
        (METADATA, b"canary".to_vec()),
    ] {
        let peer = broker_that_lies(move |asked| match asked.api {
            asked if asked == api => Some(body.clone()),
            VERSIONS => Some(versions()),
            _ => None,
        })
        .await;
        open(&peer).on("orders", &[Read]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
}

#[tokio::test]
async fn a_broker_that_is_too_old_is_called_so() {
    let peer = broker_that_lies(|_| Some(b"\0\0\x02\0\x03\0\0\0\x04\0\0\0\0\0\0".to_vec())).await;
    let message = plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("Kafka does since 1.0"), "{message}");
}

/// A broker that knows Metadata up to `newest`, and the topic `orders`, which may be described and read, if it is asked to tell that. It
/// is the only one of its cluster. Each question about the topic is shown to `heard`.
async fn broker_with_orders(newest: i16, heard: impl Fn(&Request) + Send + Sync + 'static) -> Peer {
    let own = Arc::new(OnceLock::new());
    let address = Arc::clone(&own);
    let peer = broker_that_lies(move |asked| match asked.api {
        VERSIONS => Some(versions_with(newest)),
        METADATA => {
            let mut told = metadata(*address.get().expect("it is known by now"));
            // It ends with no topic, and with what may be done with the cluster.
            told.truncate(told.len() - 8);
            if asked.rest.windows(6).any(|window| window == b"orders") {
                heard(asked);
                told.extend(b"\0\0\0\x01\0\0\0\x06orders\0\0\0\0\0");
                told.extend(match (newest, asked.rest.last()) {
                    (..8, _) => &[][..],
                    (_, Some(1)) => &[0, 0, 1, 8],
                    (_, _) => &[0x80, 0, 0, 0],
                });
            } else {
                told.extend([0; 4]);
            }
            if newest >= 8 {
                told.extend([0x80, 0, 0, 0]);
            }
            Some(told)
        }
        _ => None,
    })
    .await;
    own.set(peer.address).expect("set once");
    peer
}

#[tokio::test]
async fn what_is_allowed_is_asked_only_where_it_is_asked_for() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&heard);
    let peer = broker_with_orders(8, move |asked| {
        // Whether the topic is made, and whether it is told what may be done with the cluster, and with the topic.
        let flags = asked.rest[asked.rest.len() - 3..].to_vec();
        said.lock().expect("no panic while it was held").push(flags);
    })
    .await;
    open(&peer).on("orders", &[]).passes_as_nobody().await;
    open(&peer).on("orders", &[List, Read]).passes_as_nobody().await;
    assert_eq!(*heard.lock().expect("no panic while it was held"), [[0, 0, 0], [0, 0, 1]]);
}

#[tokio::test]
async fn a_broker_that_cannot_tell_what_is_allowed_proves_that_a_topic_may_be_seen() {
    // As Azure Event Hubs has it, and older brokers of other makes.
    for newest in [5, 6, 7] {
        let peer = broker_with_orders(newest, |_| ()).await;
        open(&peer).on("orders", &[]).passes_as_nobody().await;
        open(&peer).on("orders", &[List]).passes_as_nobody().await;
        let message =
            open(&peer).on("orders", &[List, Read, Write]).ends_as_nobody(Reason::PermissionNotProvable).await;
        assert!(message.starts_with("a permission on topic orders cannot be proven"), "{message}");
        assert!(message.contains("(Read, Write)"), "{message}");
    }
}

#[tokio::test]
async fn ten_megabytes_are_not_read() {
    let peer = broker(|_| Some(vec![0; 10 << 20])).await;
    open(&peer).on("orders", &[]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
}

#[tokio::test]
async fn one_byte_at_a_time_is_out_of_time() {
    let peer = Peer::that(async |mut stream: TcpStream| {
        let Some(asked) = request(&mut stream).await else { return };
        let mut clock = tokio::time::interval(Duration::from_millis(50));
        let body = versions();
        let length = u32::try_from(body.len() + 4).expect("a length").to_be_bytes();
        for byte in [&length[..], &asked.correlation, &body].concat() {
            clock.tick().await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    })
    .await;
    plain(&peer).soon().ends(Stage::Reach, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_broker_that_names_forbidden_addresses_sends_us_nowhere() {
    let elsewhere = Peer::that(async |stream| drop(stream)).await;
    let named = elsewhere.address;
    let peer = broker(move |_| Some(metadata(named))).await;
    let world = case::world(&[&format!("127.0.0.1/32:{}", peer.address.port())], &[]);
    let case = open(&peer).on("orders", &[]).in_world(world);
    let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&elsewhere.address.to_string()), "{message}");
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn many_brokers_that_are_silent_share_the_time() {
    let silent = Peer::that(async |mut stream| drop(stream.read_to_end(&mut Vec::new()).await)).await;
    let real = server().sasl_plaintext;
    let case = Case::at(silent.address).login(Mechanism::ScramSha512, "reader").brokers(&[silent.address, real]);
    case.passes().await;
}

#[tokio::test]
async fn a_broker_that_has_answered_has_the_rest_of_the_time() {
    let late = Peer::that(async |mut stream: TcpStream| {
        // The first tick is at once, the second later than the share, which is less than half of the time.
        let mut clock = tokio::time::interval(Duration::from_secs(5));
        while let Some(asked) = request(&mut stream).await {
            clock.tick().await;
            let body = if asked.api == VERSIONS { versions() } else { metadata(([127, 0, 0, 1], 1).into()) };
            respond(&mut stream, &asked, &body).await;
        }
    })
    .await;
    let other = Peer::that(async |stream| drop(stream)).await;
    open(&late).brokers(&[late.address, other.address]).within(Duration::from_secs(10)).passes_as_nobody().await;
    assert_eq!(other.accepted(), 0);
}
