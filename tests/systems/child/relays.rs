//! What a child reaches: the relays that it is told of, and through them what the policy allows.

use std::net::SocketAddr;

use connection_operator::{
    failure::{Failure, FailureClass},
    net::child::relay::{Reader, Relay},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

use super::*;
use crate::harness::peer::{Peer, nobody};

/// Passes everything on, in capital letters; what begins with `bad` is refused.
struct Capitals;

impl Reader for Capitals {
    fn received(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        if bytes.starts_with(b"bad") {
            return Err(Failure::new(FailureClass::ProtocolMismatch));
        }
        Ok(bytes.to_ascii_uppercase())
    }

    fn closed(&mut self, failure: Failure) -> Option<Failure> {
        Some(failure)
    }
}

/// A server that gives `answer` to each question, and says how many connections have ended.
async fn server(answer: &'static [u8]) -> (Peer, watch::Receiver<usize>) {
    let (ended, receiver) = watch::channel(0);
    let peer = Peer::that(move |mut stream| {
        let ended = ended.clone();
        async move {
            let mut asked = [0; 3];
            if stream.read_exact(&mut asked).await.is_ok() {
                assert_eq!(&asked, b"ask");
                let _ = stream.write_all(answer).await;
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
            ended.send_modify(|ended| *ended += 1);
        }
    })
    .await;
    (peer, receiver)
}

/// One look in which a child does `job` with a relay to `to`, through which it may connect once. `open` is told where the relay is.
async fn relayed(
    world: &Arc<World>,
    limit: Duration,
    job: &'static str,
    (to, mut told): (SocketAddr, Value),
    open: watch::Sender<Option<SocketAddr>>,
) -> Report {
    climb(world.network("shop"), limit, async move |net| {
        let endpoint = Endpoint::exactly(&to.ip().to_string(), to.port());
        let relay = Relay::open(&net, &endpoint, (1, limit), || Box::new(Capitals)).await?;
        told["address"] = json!(relay.address());
        open.send_replace(Some(relay.address().into()));
        let asked = async {
            let answer: String = ask(&net, job, &told).await?;
            assert_eq!(answer, "ANSWER");
            assert!(relay.is_used());
            Ok(Proof::default())
        };
        tokio::select! {
            biased;
            failure = relay.failed() => Err(failure),
            asked = asked => asked,
        }
    })
    .await
}

#[tokio::test]
async fn a_child_talks_through_its_relay_and_what_it_is_told_was_read() {
    let (peer, _) = server(b"answer").await;
    let report = relayed(&world(victim()), LIMIT, "relayed", (peer.address, json!({})), watch::Sender::default()).await;
    assert!(report.proof().is_some(), "{:?}", report.failure());
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn a_relay_lets_no_more_through_than_it_should() {
    let (peer, _) = server(b"answer").await;
    let report =
        relayed(&world(victim()), LIMIT, "relayed-twice", (peer.address, json!({})), watch::Sender::default()).await;
    assert!(report.proof().is_some(), "{:?}", report.failure());
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn what_goes_wrong_behind_a_relay_is_said_as_for_every_type() {
    let world = world(victim());
    let (bad, _) = server(b"bad").await;
    let closing = Peer::that(async |stream| drop(stream)).await;
    for (to, reason) in [
        (nobody(), Reason::ConnectionRefused),
        (closing.address, Reason::ConnectionClosed),
        (bad.address, Reason::ProtocolMismatch),
    ] {
        let (seen, message) =
            words(&relayed(&world, LIMIT, "relayed", (to, json!({})), watch::Sender::default()).await);
        assert_eq!(seen, reason, "{message}");
        assert!(reason == Reason::ProtocolMismatch || message.contains(&to.to_string()), "{message}");
    }
}

#[tokio::test]
async fn the_policy_is_asked_for_each_connection_of_a_child() {
    let (peer, _) = server(b"answer").await;
    let denied = format!("127.0.0.1/32:{}", peer.address.port()).parse().expect("a rule");
    let loopback = "127.0.0.0/8".parse().expect("a rule");
    let world = World::new(Policy::new(vec![loopback], vec![denied]), Arc::new(SystemResolver), 10_000);
    world.set_program(victim());
    let (reason, _) =
        words(&relayed(&world, LIMIT, "relayed", (peer.address, json!({})), watch::Sender::default()).await);
    assert_eq!(reason, Reason::AddressNotAllowed);
    assert_eq!(peer.accepted(), 0);
}

#[tokio::test]
async fn nobody_but_the_child_gets_through_its_relay() {
    let (peer, _) = server(b"answer").await;
    let signs = Signs::new("stranger");
    let told = signs.told();
    let (open, mut relay) = watch::channel(None);
    let beside = async {
        // The child is there, and has not connected yet.
        signs.processes().await;
        let relay = relay.wait_for(Option::is_some).await.expect("it is open").expect("an address");
        let mut stranger = TcpStream::connect(relay).await.expect("the relay listens");
        let _ = stranger.write_all(b"ask").await;
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "a stranger was served");
        signs.go();
    };
    let world = world(victim());
    let look = relayed(&world, LIMIT, "relayed-later", (peer.address, told), open);
    let (report, ()) = tokio::join!(look, beside);
    assert!(report.proof().is_some(), "{:?}", report.failure());
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn a_child_that_is_killed_leaves_no_socket_of_its_relay_behind() {
    let (peer, mut ended) = server(b"answer").await;
    let signs = Signs::new("sockets");
    let (open, relay) = watch::channel(None);
    let told = signs.told();
    let limit = Duration::from_secs(8);
    let report = relayed(&world(victim()), limit, "relayed-and-hangs", (peer.address, told), open).await;
    assert_eq!(words(&report).0, Reason::TimedOut);
    assert!(!is_there(signs.processes().await[0]));
    let relay = relay.borrow().expect("it was opened");
    let refused = TcpStream::connect(relay).await.expect_err("the relay still listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // The server has seen the end of its connection, too.
    ended.wait_for(|ended| *ended == 1).await.expect("the server is there");
}
