//! All types together, as one user of one cluster has them: the minimal examples, with other addresses, a CA and other values in the
//! Secrets and nothing else, are applied at once, before the servers that the types' tests run against, before the same servers with
//! values of nobody, and before peers that say nothing. Each Connection gets the answer that is true of it, and none has to wait for
//! another one.
//!
//! A type that is in the list and not here fails by its name.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::disallowed_methods, reason = "the doors are the operator's; a test comes from outside")]

#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "every test crate uses a part of it")]
mod harness;

#[path = "../harness"]
#[expect(dead_code, reason = "as above")]
mod systems {
    use crate::harness::script;

    pub mod authority;
    pub mod azurite;
    pub mod elasticsearch;
    pub mod googlestorage;
    pub mod hdfs;
    pub mod kafka;
    pub mod mariadb;
    pub mod moto;
    pub mod mysql;
    pub mod peer;
    pub mod postgresql;
    pub mod qubole;
    pub mod snowflake;
    pub mod spotinst;
    pub mod tds;
    pub mod web;
}

#[path = "../conformance/address.rs"]
mod address;
#[path = "../conformance/example.rs"]
#[expect(dead_code, reason = "as above")]
mod example;

mod answers;
mod derive;
mod pace;
mod round;
mod secrecy;
mod servers;

use std::time::{Duration, Instant};

use connection_operator::connections::{ConnectionType, Lockout};
use tokio::io::AsyncReadExt as _;

use crate::{
    answers::{ANSWERS, Answer},
    harness::{
        DEADLINE,
        control_plane::ControlPlane,
        eventually,
        operator::{Operator, command},
        run,
    },
    pace::Pace,
    round::Round,
    secrecy::Secrets,
    servers::{Entry, Login, Servers},
    systems::peer::Peer,
};

/// The flags of the operator: what it probes is on loopback, and it says all that it can say.
const FLAGS: [&str; 6] = ["--egress-allow", "127.0.0.0/8", "--leader-elect", "false", "--log-level", "trace"];

#[test]
fn all_types_at_once_get_true_answers_and_none_waits_for_another() {
    run(async {
        let begin = Instant::now();
        let (plane, servers) = start().await;
        let account = plane.install("connection-operator", &[]).await.unwrap();
        let operator = Operator::start(&account, &FLAGS).await;
        println!("the servers, the API server and the operator run after {:.1?}", begin.elapsed());
        let begin = Instant::now();
        let mut pace = Pace::new(&plane, &servers).await;
        let idle = pace.measure(async || true).await;

        let (right, wrong) = (servers.entries(Login::Right), servers.entries(Login::Wrong));
        let before = seen(&right);
        let ready = Round::apply(&plane, "ready", &right, |_, at| at).await;
        let first = ready.answers(Answer::ready).await;
        for (entry, before) in right.iter().zip(before) {
            let what = format!("{:?}: its server tells of a login", entry.kind);
            eventually(DEADLINE, &what, async || ((entry.seen)() > before).then_some(())).await;
        }
        ready.has_no_events().await;

        let (before, begun) = (seen(&wrong), Instant::now());
        let rejected = Round::apply(&plane, "rejected", &wrong, |_, at| at).await;
        rejected.answers(Answer::rejected).await;
        for (entry, before) in wrong.iter().zip(&before) {
            let what = format!("{:?}: its server tells of a login that it rejected", entry.kind);
            eventually(DEADLINE, &what, async || ((entry.seen)() > *before).then_some(())).await;
        }
        are_asked_once(&wrong, &before, begun);

        let mut peers = Vec::new();
        for _ in &right {
            peers.push(Peer::that(listen).await);
        }
        let silent = Round::apply(&plane, "silent", &right, |n, _| peers[n].address).await;
        eventually(DEADLINE, "every probe hangs", async || peers.iter().all(|peer| peer.accepted() > 0).then_some(()))
            .await;
        let hanging = pace.measure(async || silent.all_pending().await).await;
        silent.answers(Answer::silent).await;

        for (connection, before) in ready.connections().await.iter().zip(&first) {
            connection.must_be_untouched_since(before);
        }
        println!(
            "the rounds took {:.1?}; a creation, idle: {idle}; while {} hang: {hanging}",
            begin.elapsed(),
            peers.len()
        );
        hanging.must_be_like(&idle);
        let patient = async || (begun.elapsed() > PATIENCE).then_some(());
        eventually(DEADLINE, "there was time to ask again", patient).await;
        are_asked_once(&wrong, &before, begun);

        let secrets = Secrets::of(&plane).await;
        // At least one of each type in each round, but where a name is enough.
        assert!(secrets.keys() >= 3 * ConnectionType::ALL.len() - 2, "{} values of Secrets", secrets.keys());
        secrets.must_not_be_told(&plane).await;
        secrets.must_not_be_in("/metrics", &operator.metrics().await);
        operator.stop().await;
        let tells = |line: &str| line.contains("DEBUG") && line.contains("AuthenticationFailed");
        assert!(operator.log().lines().any(tells), "it does not say all that it could");
        secrets.must_not_be_in("the log", &operator.log());
        assert!(!operator.log().contains("panicked"), "{}", operator.log());
    });
}

/// How long a login that was rejected is watched at least: many a client would have made it again.
const PATIENCE: Duration = Duration::from_secs(15);

/// Fails where a login that was rejected was made again since `begun`. A second one could lock somebody out; where it cannot, it is tried
/// again after half a minute, and then later each time.
fn are_asked_once(wrong: &[Entry<'_>], before: &[usize], begun: Instant) {
    for (entry, before) in wrong.iter().zip(before) {
        let again = match entry.kind.about().lockout {
            Lockout::Possible => 0,
            Lockout::Impossible => usize::try_from(begun.elapsed().as_secs() / 30).unwrap(),
        };
        let more = (entry.seen)() - before;
        assert!(more <= 1 + again, "{:?}: it is asked once, and not {more} times", entry.kind);
    }
}

/// How many logins the servers have seen so far.
fn seen(entries: &[servers::Entry<'_>]) -> Vec<usize> {
    entries.iter().map(|entry| (entry.seen)()).collect()
}

/// Everything that is waited for for seconds is started at once.
async fn start() -> (ControlPlane, Servers) {
    let scripted = tokio::spawn(Servers::scripted());
    let plane = ControlPlane::start("fleet").await.unwrap_or_else(|sentence| panic!("{sentence}"));
    plane.define().await.unwrap_or_else(|sentence| panic!("{sentence}"));
    scripted.await.expect("every server");
    (plane, Servers::start().await)
}

/// Hears everything until the other side ends, and says nothing.
async fn listen(mut stream: tokio::net::TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[test]
fn the_binary_lists_every_type() {
    let (code, printed, _) = command(&["types"]);
    assert_eq!(code, Some(0));
    let (_, lines) = printed.split_once('\n').expect("a header");
    let told: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |kind: &ConnectionType| {
        let words = [kind.as_str(), kind.member()].into_iter();
        words.chain(kind.summary().split_whitespace()).collect::<Vec<_>>()
    };
    assert_eq!(told, ConnectionType::ALL.iter().map(of).collect::<Vec<_>>());
}

#[test]
fn every_type_has_its_line_here() {
    let here: Vec<ConnectionType> = ANSWERS.iter().map(|answer| answer.kind).collect();
    assert_eq!(here, ConnectionType::ALL, "tests/fleet/answers.rs has a line for every type, in the order of the list");
}
