//! The laws of the parent module.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    resolve::{LOOKUPS, SHARE},
    stand_in::{
        Authority, Issued, Table, Validity, close, local_network, local_world, send, serve, serve_at, serve_tls,
        stay_silent,
    },
    tls::{Mode, Roots},
    *,
};
use crate::failure::Finding;

const LIMIT: Duration = Duration::from_secs(10);

fn at(host: &str, port: u16) -> Endpoint {
    Endpoint::of(host, port, "shop")
}

/// Dials and reads to the end.
async fn read_all(network: Network, endpoint: Endpoint) -> Result<Proof, Failure> {
    let mut stream = network.dial(&endpoint).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Ok(0) => Err(network.classify(&io_error()).expect("an end was seen")),
        Ok(_) => Ok(Proof::default()),
        Err(error) => Err(network.classify(&error).expect("a socket's error is recognised")),
    }
}

/// An error that says nothing, as many drivers return it.
fn io_error() -> std::io::Error {
    std::io::Error::other("the driver's own words")
}

fn found(report: &Report) -> (Stage, FailureClass) {
    report.failure().map(|(stage, failure)| (stage, failure.class())).expect("something failed")
}

/// The class of a whole look at a TLS server: handshake, then its answer.
async fn look(names: &[(&str, &[&str])], tls: &Tls, endpoint: &Endpoint) -> Result<(), Failure> {
    let network = local_network(names);
    let stream = network.dial(endpoint).await?;
    let mut stream = network.secure(stream, tls, endpoint).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Ok(_) if answer == b"hello" => Ok(()),
        Ok(_) => Err(Failure::new(FailureClass::ProtocolMismatch)),
        Err(error) => Err(network.classify(&error).expect("a TLS error is recognised")),
    }
}

async fn class_of(issued: &Issued, tls: &Tls) -> Result<(), FailureClass> {
    let server = serve_tls(issued, None, &TLS13).await;
    let endpoint = at("db", server.port());
    look(&[("db.shop.svc", &["127.0.0.1"])], tls, &endpoint).await.map_err(|failure| failure.class())
}

#[test]
fn a_host_without_a_dot_belongs_to_the_namespace_of_its_connection() {
    for (host, expected) in [
        ("db", "db.shop.svc:1"),
        ("db.web", "db.web:1"),
        ("db.", "db.:1"),
        ("localhost", "localhost:1"),
        ("LocalHost", "LocalHost:1"),
        ("10.1.2.3", "10.1.2.3:1"),
        ("fd00::1", "[fd00::1]:1"),
        ("[fd00::1]", "[fd00::1]:1"),
        ("fe80::1%eth0", "[fe80::1%eth0]:1"),
        ("2130706433", "2130706433.shop.svc:1"),
    ] {
        assert_eq!(at(host, 1).shown().to_string(), expected);
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_at_is_refused() {
    let (_taken, nobody) = stand_in::taken();
    let port = nobody.port();
    let endpoint = at("127.0.0.1", port);
    let report = climb(local_network(&[]), LIMIT, move |network| read_all(network, endpoint)).await;
    assert_eq!(found(&report), (Stage::Reach, FailureClass::ConnectionRefused));
    assert!(report.failure().unwrap().1.message().contains(&format!("127.0.0.1:{port}")));
}

#[tokio::test]
async fn a_silent_server_is_timed_out_in_the_stage_in_progress() {
    let server = serve(stay_silent).await;
    let looks = [Stage::Reach, Stage::Authenticate, Stage::Access].map(async |stage| {
        let endpoint = at("127.0.0.1", server.port());
        let report = climb(local_network(&[]), Duration::from_secs(2), move |network| async move {
            let mut stream = network.dial(&endpoint).await?;
            network.step(stage);
            let _ = stream.read_u8().await;
            Ok(Proof::default())
        })
        .await;
        assert_eq!(found(&report), (stage, FailureClass::TimedOut));
        assert!(report.failure().unwrap().1.message().contains("127.0.0.1:"));
    });
    futures::future::join_all(looks).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_one_byte_a_second_does_not_outlive_the_deadline() {
    let server = serve(|mut stream| async move {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let endpoint = at("127.0.0.1", server.port());
    let start = Instant::now();
    let report = climb(local_network(&[]), LIMIT, move |network| read_all(network, endpoint)).await;
    assert_eq!(found(&report), (Stage::Reach, FailureClass::TimedOut));
    assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_known_even_where_the_driver_loses_the_cause() {
    let server = serve(close).await;
    let endpoint = at("127.0.0.1", server.port());
    let report = climb(local_network(&[]), LIMIT, move |network| read_all(network, endpoint)).await;
    assert_eq!(found(&report), (Stage::Reach, FailureClass::ConnectionClosed));
}

#[tokio::test]
async fn no_more_than_the_budget_is_read_over_all_streams_of_a_probe() {
    let server = serve(|mut stream| async move {
        let _ = stream.write_all(&vec![b'x'; 10 << 20]).await;
    })
    .await;
    let network = local_network(&[]);
    let endpoint = at("127.0.0.1", server.port());
    let mut first = network.dial(&endpoint).await.unwrap();
    let mut second = network.dial(&endpoint).await.unwrap();
    let (mut one, mut two) = (vec![0; 600_000], Vec::new());
    first.read_exact(&mut one).await.unwrap();
    let error = second.read_to_end(&mut two).await.unwrap_err();
    assert_eq!(one.len() + two.len(), stream::BYTES_IN);
    assert_eq!(network.classify(&error).map(|f| f.class()), Some(FailureClass::AnswerTooLarge));
    assert_eq!(network.classify(&io_error()).map(|f| f.class()), Some(FailureClass::AnswerTooLarge));
}

#[tokio::test]
async fn no_more_than_the_budget_is_sent() {
    let server = serve(|stream| send(stream, b"")).await;
    let network = local_network(&[]);
    let mut stream = network.dial(&at("127.0.0.1", server.port())).await.unwrap();
    stream.write_all(&vec![0; stream::BYTES_OUT]).await.unwrap();
    let error = stream.write_all(b"x").await.unwrap_err();
    assert_eq!(network.classify(&error).map(|f| f.class()), Some(FailureClass::AnswerTooLarge));
}

#[tokio::test]
async fn a_panic_is_ours_and_ends_nothing_else() {
    let report = climb(local_network(&[]), LIMIT, |network| async move {
        network.step(Stage::Authenticate);
        assert!(network.remaining() > LIMIT, "this panic is meant");
        Ok(Proof::default())
    })
    .await;
    assert_eq!(found(&report), (Stage::Authenticate, FailureClass::Internal));
    assert_eq!(report.at(Stage::Reach), Finding::Passed);
}

#[tokio::test(start_paused = true)]
async fn the_work_ends_with_the_deadline_and_with_who_waits_for_it() {
    struct Ended(Arc<AtomicBool>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    for limit in [Duration::from_secs(1), Duration::from_hours(1)] {
        let ended = Arc::new(AtomicBool::new(false));
        let guard = Ended(Arc::clone(&ended));
        let climbing = climb(local_network(&[]), limit, move |_| async move {
            let _guard = guard;
            std::future::pending().await
        });
        let _ = timeout(Duration::from_mins(1), climbing).await;
        tokio::task::yield_now().await;
        assert!(ended.load(Ordering::SeqCst));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_name_server_is_the_cause_before_the_deadline_is() {
    let report =
        climb(local_network(&[("db.shop.svc", &[])]), LIMIT, |network| read_all(network, at("db", 5432))).await;
    assert_eq!(found(&report), (Stage::Reach, FailureClass::NameResolutionFailed));
    let report = climb(local_network(&[]), LIMIT, |network| read_all(network, at("db", 5432))).await;
    assert_eq!(found(&report), (Stage::Reach, FailureClass::NameResolutionFailed));
}

#[tokio::test]
async fn the_next_address_is_dialled_where_one_does_not_answer() {
    let server = serve_at(SocketAddr::from(([127, 0, 0, 3], 0)), |stream| send(stream, b"hello")).await;
    // A full queue of connections that nobody accepts: what comes after them is dropped, as by a firewall.
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.bind(SocketAddr::from(([127, 0, 0, 2], server.port()))).unwrap();
    let hole = full.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_secs(1), connect(hole.local_addr().unwrap())).await {
        waiting.push(stream);
    }
    let names: &[(&str, &[&str])] = &[("db.shop.svc", &["127.0.0.4", "127.0.0.2", "127.0.0.3"])];
    let endpoint = at("db", server.port());
    let report = climb(local_network(names), Duration::from_secs(8), move |network| async move {
        let mut stream = network.dial(&endpoint).await?;
        assert_eq!(stream.read_u8().await.unwrap(), b'h');
        Ok(Proof::default())
    })
    .await;
    assert!(report.proof().is_some(), "{report:?}");
}

#[tokio::test]
async fn only_the_allowed_ones_of_mixed_answers_are_dialled() {
    let server = serve_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), |stream| send(stream, b"hello")).await;
    let allowed = Policy::new(vec!["127.0.0.3".parse().unwrap()], Vec::new());
    let answers: &[(&str, &[&str])] = &[
        ("mixed.test", &["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "127.0.0.3", "::"]),
        ("bad.test", &["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254"]),
        ("bad-turned.test", &["169.254.169.254", "0.0.0.0", "::1", "127.0.0.1"]),
    ];
    let network = World::new(allowed, Table::of(answers), 600).network("shop");
    let mut stream = network.dial(&at("mixed.test", server.port())).await.unwrap();
    assert_eq!(stream.peer().unwrap().ip(), Ipv4Addr::new(127, 0, 0, 3));
    // What it says is said after it has counted.
    assert_eq!(stream.read_u8().await.unwrap(), b'h');
    let before = server.accepted();
    let messages: Vec<String> = {
        let mut messages = Vec::new();
        for name in ["bad.test", "bad-turned.test"] {
            let failure = network.dial(&at(name, server.port())).await.unwrap_err();
            assert_eq!(failure.class(), FailureClass::AddressNotAllowed);
            messages.push(failure.message().replace(name, ""));
        }
        messages
    };
    assert_eq!(messages[0], messages[1], "the order of a name server's answers changes the message");
    assert_eq!(server.accepted(), before);
}

#[tokio::test]
async fn no_way_of_writing_a_forbidden_address_dials_it() {
    let server = serve_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), close).await;
    let world = World::new(Policy::default(), Arc::new(SystemResolver), u32::MAX);
    world.set_api_server(&["198.51.100.7".parse().unwrap()]);
    let forms = stand_in::forbidden_forms();
    assert!(forms.len() >= 250, "only {} forms", forms.len());
    for form in &forms {
        let failure = world.network("shop").dial(&at(form, server.port())).await.unwrap_err();
        assert_eq!(failure.class(), FailureClass::AddressNotAllowed, "{form}");
    }
    // A connection that was made would be accepted before this one.
    let last = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).await.unwrap();
    let mut closed = Vec::new();
    { last }.read_to_end(&mut closed).await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn the_api_server_is_out_of_bounds_as_soon_as_its_address_is_known() {
    let server = serve(close).await;
    let policy = Policy::default();
    let world = World::new(policy, Arc::new(SystemResolver), 600);
    world.set_api_server(&["192.0.2.1".parse().unwrap()]);
    let failure = world.network("shop").dial(&at("::ffff:192.0.2.1", server.port())).await.unwrap_err();
    assert_eq!(failure.class(), FailureClass::AddressNotAllowed);
}

#[tokio::test]
async fn a_scan_is_throttled_and_nothing_is_dialled_for_it() {
    let server = serve_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), |stream| send(stream, b"")).await;
    let world = World::new(Policy::new(vec!["127.0.0.0/8".parse().unwrap()], vec![]), Table::of(&[]), 2);
    let mut classes = Vec::new();
    for n in 1..=4 {
        let endpoint = at(&format!("127.0.0.{n}"), server.port());
        classes.push(world.network("shop").dial(&endpoint).await.err().map(|failure| failure.class()));
    }
    assert_eq!(classes, [None, None, Some(FailureClass::TooManyTargets), Some(FailureClass::TooManyTargets)]);
}

#[tokio::test]
async fn what_is_verified_is_what_the_mode_says() {
    use FailureClass::{CertificateExpired, CertificateNameMismatch, CertificateUntrusted};
    let (ours, foreign) = (Authority::new(), Authority::new());
    let old = |validity| ours.issue("db.shop.svc", ExtendedKeyUsagePurpose::ServerAuth, validity);
    let client = ours.issue("db.shop.svc", ExtendedKeyUsagePurpose::ClientAuth, Validity::Now);
    for (issued, full, ca) in [
        (ours.server("db.shop.svc"), Ok(()), Ok(())),
        (ours.server("other.shop.svc"), Err(CertificateNameMismatch), Ok(())),
        (foreign.server("db.shop.svc"), Err(CertificateUntrusted), Err(CertificateUntrusted)),
        (old(Validity::Past), Err(CertificateExpired), Err(CertificateExpired)),
        (old(Validity::Future), Err(CertificateExpired), Err(CertificateExpired)),
        (client, Err(CertificateUntrusted), Err(CertificateUntrusted)),
    ] {
        let tls = |mode| Tls { mode, roots: ours.roots(), ..Tls::default() };
        assert_eq!(class_of(&issued, &tls(Mode::VerifyFull)).await, full);
        assert_eq!(class_of(&issued, &tls(Mode::VerifyCa)).await, ca);
        assert_eq!(class_of(&issued, &tls(Mode::Require)).await, Ok(()));
    }
}

#[tokio::test]
async fn a_bundle_is_trusted_alone_and_a_server_name_replaces_the_host() {
    let ours = Authority::new();
    let tls = Tls { roots: Roots::System, ..Tls::default() };
    assert_eq!(class_of(&ours.server("db.shop.svc"), &tls).await, Err(FailureClass::CertificateUntrusted));
    let tls = Tls { roots: ours.roots(), server_name: Some("other.test".to_owned()), ..Tls::default() };
    assert_eq!(class_of(&ours.server("other.test"), &tls).await, Ok(()));
    assert_eq!(class_of(&ours.server("db.shop.svc"), &tls).await, Err(FailureClass::CertificateNameMismatch));
}

#[tokio::test]
async fn a_certificate_without_its_key_passes_in_no_mode() {
    let ours = Authority::new();
    for mode in [Mode::Require, Mode::VerifyCa, Mode::VerifyFull] {
        let stolen = ours.server("db.shop.svc").with_key_of(ours.server("db.shop.svc"));
        for version in [&TLS12, &TLS13] {
            let server = serve_tls(&stolen, None, version).await;
            let tls = Tls { mode, roots: ours.roots(), ..Tls::default() };
            let names: &[(&str, &[&str])] = &[("db.shop.svc", &["127.0.0.1"])];
            let failure = look(names, &tls, &at("db", server.port())).await.unwrap_err();
            assert!(failure.message().contains("a signature is wrong"), "{mode:?}: {}", failure.message());
        }
    }
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_says_so_in_both_versions() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let issued = ours.server("db.shop.svc");
    for version in [&TLS12, &TLS13] {
        let server = serve_tls(&issued, Some(&ours), version).await;
        for (identity, word) in [
            (None, Some("none was shown")),
            (Some(foreign.client()), Some("that was shown")),
            (Some(ours.client()), None),
        ] {
            let tls = Tls { roots: ours.roots(), identity, ..Tls::default() };
            let result = look(&[("db.shop.svc", &["127.0.0.1"])], &tls, &at("db", server.port())).await;
            match (result, word) {
                (Ok(()), None) => {}
                (Err(failure), Some(word)) => {
                    assert_eq!(failure.class(), FailureClass::ClientCertificateRequired, "{failure:?}");
                    assert!(failure.message().contains(word), "{}", failure.message());
                }
                (result, word) => panic!("{version:?}: {result:?}, expected {word:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_from_one_whose_handshake_fails() {
    let server = serve(|stream| send(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let endpoint = at("127.0.0.1", server.port());
    let failure = look(&[], &Tls::default(), &endpoint).await.unwrap_err();
    assert_eq!(failure.class(), FailureClass::TlsNotOffered);
    let server = serve(|stream| send(stream, &[21, 3, 3, 0, 2, 2, 70])).await;
    let endpoint = at("127.0.0.1", server.port());
    let failure = look(&[], &Tls::default(), &endpoint).await.unwrap_err();
    assert_eq!(failure.class(), FailureClass::TlsFailed);
    assert!(failure.message().contains("70") && failure.message().contains("version"), "{}", failure.message());
    let server = serve(close).await;
    let failure = look(&[], &Tls::default(), &at("127.0.0.1", server.port())).await.unwrap_err();
    assert_eq!(failure.class(), FailureClass::ConnectionClosed);
}

#[tokio::test]
async fn a_name_that_no_certificate_can_have_is_refused_before_the_handshake() {
    let network = local_world(&[]).network("shop");
    let tls = Tls { server_name: Some("no such name".to_owned()), ..Tls::default() };
    let failure = network.server_name(&tls, &at("db", 1)).unwrap_err();
    assert_eq!(failure.class(), FailureClass::CertificateNameMismatch);
    for host in ["db", "db.example.com.", "my_db.example.com", "10.0.0.1", "[fd00::1]"] {
        assert!(network.server_name(&Tls::default(), &at(host, 1)).is_ok(), "{host}");
    }
}

#[tokio::test]
async fn a_look_is_over_when_its_thread_has_ended_and_its_report_is_of_the_deadline() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ended);
    let network = local_network(&[]);
    network.step(Stage::Reach);
    let look = climb(network, Duration::from_millis(50), async move |net: Network| {
        let work = move || {
            let _ = released.recv();
            seen.store(true, Ordering::SeqCst);
        };
        net.block(work).await.map(|()| Proof::default())
    });
    let mut look = std::pin::pin!(look);
    // Long after the deadline it still holds its place.
    assert!(timeout(Duration::from_millis(300), &mut look).await.is_err());
    assert!(!ended.load(Ordering::SeqCst));
    release.send(()).unwrap();
    assert_eq!(found(&look.await), (Stage::Reach, FailureClass::TimedOut));
    assert!(ended.load(Ordering::SeqCst));
}

#[tokio::test]
async fn few_compute_at_once_and_one_that_nobody_waits_for_keeps_its_turn_until_it_ends() {
    let world = local_world(&[]);
    let (looks, free) = (world.network("shop"), || world.computing.available_permits());
    let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let mut releases = Vec::new();
    for n in 1..=COMPUTING {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (look, begin) = (looks.clone(), begin.clone());
        let work = tokio::spawn(async move {
            look.compute(move || {
                let _ = begin.send(());
                let _ = released.recv();
            })
            .await
        });
        begun.recv().await.unwrap();
        assert_eq!(free(), COMPUTING - n);
        releases.push(release);
        // The look was given up.
        work.abort();
        assert!(work.await.unwrap_err().is_cancelled());
    }
    let other = world.network("other");
    let mut next = std::pin::pin!(other.compute(|| "computed"));
    assert!(futures::poll!(&mut next).is_pending());
    assert_eq!(free(), 0);
    drop(releases);
    assert_eq!(next.await.unwrap(), "computed");
    looks.0.threads.close();
    looks.0.threads.wait().await;
    assert_eq!(free(), COMPUTING);
}

/// Name servers that know `db.test`, and are silent about all other names: who asks waits on a thread, as in the system's resolver.
struct Silent {
    ended: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl Resolver for Silent {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (ended, known) = (Arc::clone(&self.ended), host == "db.test");
        let wait = move || known || ended.lock().unwrap().recv().is_ok();
        let known = tokio::task::spawn_blocking(wait).await?;
        if known { Ok(vec![Ipv4Addr::LOCALHOST.into()]) } else { Err(std::io::ErrorKind::TimedOut.into()) }
    }
}

/// As many silent lookups as a namespace may have, and twice as many looks, on a runtime with one thread more.
#[test]
fn a_lookup_that_outlives_its_look_keeps_its_turn_and_delays_neither_the_report_nor_anybody_else() {
    let one_more = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(SHARE + 1).build();
    one_more.unwrap().block_on(async {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let names = Arc::new(Silent { ended: Arc::new(Mutex::new(ended)), asked: AtomicUsize::new(0) });
        let allowed = Policy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
        let world = World::new(allowed, Arc::clone(&names) as Arc<dyn Resolver>, 600);
        let server = serve(|stream| send(stream, b"hello")).await;
        let asked = || names.asked.load(Ordering::SeqCst);
        let look = |namespace: &str, host: &str, limit: Duration| {
            let endpoint = at(host, server.port());
            let look = climb(world.network(namespace), limit, async move |net: Network| {
                let mut stream = net.dial(&endpoint).await?;
                assert_eq!(stream.read_u8().await.unwrap(), b'h');
                net.compute(Proof::default).await
            });
            // Long before a silent lookup ends, which it does when it is told to.
            timeout(LIMIT, look)
        };
        let short = Duration::from_secs(1);
        let class = |report: Result<Report, _>| found(&report.expect("it waits for lookups")).1;

        let looks = (0..2 * SHARE).map(|n| look("loud", &format!("db-{n}.silent.test"), short));
        let mut classes: Vec<FailureClass> = futures::future::join_all(looks).await.into_iter().map(class).collect();
        classes.sort_by_key(|class| *class == FailureClass::TooManyLookups);
        assert_eq!(classes[..SHARE], [FailureClass::NameResolutionFailed; SHARE]);
        assert_eq!(classes[SHARE..], [FailureClass::TooManyLookups; SHARE]);
        assert_eq!((asked(), world.lookups.turns.available_permits()), (SHARE, LOOKUPS - SHARE));

        // The lookup that runs is waited for.
        assert_eq!(class(look("loud", "db-0.silent.test", short).await), FailureClass::NameResolutionFailed);
        assert_eq!(class(look("loud", "db.test", short).await), FailureClass::TooManyLookups);
        assert_eq!(asked(), SHARE);
        for (namespace, host) in [("loud", "127.0.0.1"), ("calm", "127.0.0.1"), ("calm", "db.test")] {
            let report = look(namespace, host, LIMIT).await.expect("it waits for lookups");
            assert!(report.proof().is_some(), "{namespace} {host}: {report:?}");
        }

        drop(end);
        let all = u32::try_from(LOOKUPS).unwrap();
        drop(timeout(LIMIT, world.lookups.turns.acquire_many(all)).await.expect("every lookup gives its turn back"));
        let report = look("loud", "db.test", LIMIT).await.expect("no lookup runs");
        assert!(report.proof().is_some(), "{report:?}");
    });
}

#[tokio::test]
async fn a_panic_on_a_thread_is_ours() {
    let report = climb(local_network(&[]), LIMIT, async |net: Network| {
        net.step(Stage::Access);
        net.block(|| panic!("as a library may")).await.map(|()| Proof::default())
    })
    .await;
    assert_eq!(found(&report), (Stage::Access, FailureClass::Internal));
}

#[tokio::test]
async fn a_name_that_a_peer_has_given_is_dialled_and_not_repeated() {
    let network = local_network(&[("canary.example", &["127.0.0.1"])]);
    let server = serve(close).await;
    let named = Endpoint::named_by_peer("canary.example", server.port());
    let mut stream = network.dial(&named).await.unwrap();
    // It ends the stream after it has counted.
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(server.accepted(), 1);
    for endpoint in [Endpoint::named_by_peer("canary.invalid", 1), Endpoint::named_by_peer("canary.example", 1)] {
        let report = climb(local_network(&[("canary.example", &["127.0.0.1"])]), LIMIT, async move |net: Network| {
            net.dial(&endpoint).await.map(|_| Proof::default())
        })
        .await;
        let shown = format!("{} {report:?}", report.failure().unwrap().1.message());
        assert!(!shown.contains("canary") && shown.contains("advertises"), "{shown}");
    }
    assert_eq!(Endpoint::named_by_peer("127.0.0.1", 1).shown(), Endpoint::exactly("127.0.0.1", 1).shown());
}

#[tokio::test]
async fn what_was_seen_of_one_host_is_not_said_of_the_next() {
    let closes = serve(close).await;
    let silent = serve(stay_silent).await;
    let network = local_network(&[]);
    let mut stream = network.dial(&at("127.0.0.1", closes.port())).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let nothing = || io_error();
    assert_eq!(network.classify(&nothing()).map(|failure| failure.class()), Some(FailureClass::ConnectionClosed));
    let _stream = network.dial(&at("127.0.0.1", silent.port())).await.unwrap();
    assert_eq!(network.classify(&nothing()), None);

    let authority = Authority::new();
    let asks = serve_tls(&authority.server("127.0.0.1"), Some(&authority), &TLS12).await;
    let endpoint = at("127.0.0.1", asks.port());
    let tls = Tls { roots: authority.roots(), ..Tls::default() };
    let alert = || std::io::Error::other(rustls::Error::AlertReceived(rustls::AlertDescription::BadCertificate));
    let stream = network.dial(&endpoint).await.unwrap();
    let _ = network.secure(stream, &tls, &endpoint).await;
    let class = |network: &Network| network.classify(&alert()).map(|failure| failure.class());
    assert_eq!(class(&network), Some(FailureClass::ClientCertificateRequired));
    let _stream = network.dial(&at("127.0.0.1", silent.port())).await.unwrap();
    assert_eq!(class(&network), Some(FailureClass::TlsFailed));
}
