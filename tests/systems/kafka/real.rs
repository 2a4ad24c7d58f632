//! What the real Kafka answers, as users with exactly the rights that docs.md prints.

use std::sync::Arc;

use connection_operator::net::tls::{Identity, Roots};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::*;
use crate::{
    case::Zone,
    harness::{
        DEADLINE,
        authority::{Authority, Clients},
        eventually,
        peer::Peer,
        proxy::Proxy,
    },
};

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(Case::scram("nobody").passes().await, Proof::default());
    Case::scram("describer").on("orders", &[]).passes().await;
    Case::scram("describer").on("orders", &[List]).passes().await;
    Case::scram("reader").on("orders", &[List, Read]).passes().await;
    Case::scram("reader").on("orders", &[Read]).group("analytics").passes().await;
    Case::scram("writer").on("orders", &[List, Write]).passes().await;
}

#[tokio::test]
async fn every_mechanism_logs_in_with_and_without_tls() {
    let server = server();
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        Case::scram("reader").login(mechanism, "reader").on("orders", &[Read]).passes().await;
        let plain = Case::at(server.sasl_plaintext).login(mechanism, "reader").on("orders", &[]);
        match mechanism {
            Mechanism::Plain => drop(plain.ends(Stage::Authenticate, Reason::EncryptionRequired).await),
            _ => assert_eq!(plain.passes().await, Proof::default()),
        }
    }
    let by_spec =
        Case::scram("reader").secret("username", "").with(|settings| settings.username = Some("reader".to_owned()));
    by_spec.on("orders", &[Read]).passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_after_exactly_one_login() {
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        for (user, password) in [("reader", "hunter2-wrong"), ("reader-who-is-not-there", "hunter2-wrong")] {
            let proxy = Proxy::to(server().sasl_ssl).await;
            let case = Case::scram(user)
                .brokers(&[proxy.address])
                .login(mechanism, user)
                .secret("password", password)
                .on("orders", &[Read]);
            let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
            assert!(message.contains("(58)"), "{message}");
            assert_eq!(proxy.connections(), 1, "{mechanism:?}: a login is a connection");
        }
    }
}

#[tokio::test]
async fn a_missing_topic_is_named() {
    // Who may not describe a topic is not told whether it is there.
    let message = Case::scram("admin").on("absent", &[]).ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("topic absent does not exist (3)"), "{message}");
    Case::scram("admin").on("absent", &[Read]).ends(Stage::Access, Reason::TargetNotFound).await;
    for permissions in [&[][..], &[List, Read]] {
        for topic in ["absent", "payments"] {
            let case = Case::scram("reader").on(topic, permissions);
            let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
            assert!(message.starts_with(&format!("topic {topic} does not exist or may not be seen")), "{message}");
        }
    }
    // Nothing was made by asking.
    Case::scram("admin").on("absent", &[]).ends(Stage::Access, Reason::TargetNotFound).await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody = peer::nobody();
    let message = Case::scram("reader").brokers(&[nobody]).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.starts_with(&nobody.to_string()), "{message}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let other = server().said.other_ca();
    let case = Case::scram("reader").tls(|tls| tls.roots = other);
    case.clone().ends(Stage::Reach, Reason::CertificateUntrusted).await;
    case.tls(|tls| tls.mode = Mode::VerifyCa).ends(Stage::Reach, Reason::CertificateUntrusted).await;
    Case::scram("reader").tls(|tls| tls.roots = Roots::System).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, words) in [("describer", "(Read, Write)"), ("reader", "(Write)"), ("writer", "(Read)")] {
        let case = Case::scram(user).on("orders", &[List, Read, Write]);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on topic orders {words}")), "{user}: {message}");
    }
}

#[tokio::test]
async fn reading_is_about_the_group_too_where_one_is_named() {
    let loner = |permissions| Case::scram("loner").on("orders", permissions).group("analytics");
    let message = loner(&[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on consumer group analytics (Read"), "{message}");
    loner(&[List]).passes().await;
    Case::scram("loner").on("orders", &[Read]).passes().await;
    // One that nobody has joined yet.
    Case::scram("admin").on("orders", &[Read]).group("not-there-yet").passes().await;
}

// TLS.

#[tokio::test]
async fn each_tls_mode_checks_what_it_says_and_no_more() {
    let server = server();
    let zone = Arc::new(Zone::default());
    let named = |host: &str| vec![HostPort(format!("{host}:{}", server.sasl_ssl.port()))];
    let (right, other) = (server.said.ca(), server.said.other_ca());
    for (mode, roots, host, found) in [
        (Mode::VerifyFull, &right, "127.0.0.1", None),
        (Mode::VerifyFull, &right, Zone::NAME, Some(Reason::CertificateNameMismatch)),
        (Mode::VerifyCa, &right, Zone::NAME, None),
        (Mode::VerifyCa, &other, "127.0.0.1", Some(Reason::CertificateUntrusted)),
        (Mode::Require, &other, Zone::NAME, None),
    ] {
        let case = Case::scram("reader").with(|settings| settings.brokers = named(host)).in_world(zone.world());
        let case = case.tls(|tls| (tls.mode, tls.roots) = (mode, roots.clone()));
        match found {
            None => assert_eq!(case.passes().await, Proof::default()),
            Some(reason) => assert_ne!(case.ends(Stage::Reach, reason).await, ""),
        }
    }
    let case = Case::scram("reader").with(|settings| settings.brokers = named(Zone::NAME)).in_world(zone.world());
    case.tls(|tls| tls.server_name = Some("localhost".to_owned())).passes().await;
    // Names are looked up at one place, once for each look.
    assert_eq!(zone.asked(), [Zone::NAME; 4]);
}

#[tokio::test]
async fn a_client_certificate_is_a_login_by_itself() {
    let server = server();
    let case = Case::scram("reader")
        .brokers(&[server.ssl])
        .with(|settings| settings.sasl_mechanism = None)
        .on("orders", &[Read]);
    case.ends(Stage::Authenticate, Reason::ClientCertificateRequired).await;
    let proof = case.tls(|tls| tls.identity = Some(server.said.identity())).passes().await;
    assert_eq!(proof, Proof::default());
}

#[tokio::test]
async fn a_client_certificate_that_nobody_asked_for_is_no_login() {
    let (server, authority) = (server(), Authority::new());
    // TLS before the listener that lets everybody in, as of a listener with `ssl.client.auth=none`.
    let acceptor = authority.acceptor(&["127.0.0.1"], Clients::Anybody);
    let front = Peer::that(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut near) = acceptor.accept(stream).await else { return };
            let Ok(mut far) = TcpStream::connect(server.plaintext).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    })
    .await;
    // It asks for the certificate, and hangs up before it has answered.
    let acceptor = authority.acceptor(&["127.0.0.1"], Clients::Ours);
    let asking = Peer::that(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.read_u32().await;
        }
    })
    .await;
    let (certificate, key) = authority.client();
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect("an identity");
    let case = Case::at(front.address).tls(|tls| {
        (tls.mode, tls.roots, tls.identity) = (Mode::VerifyFull, authority.roots(), Some(identity));
    });
    case.passes_as_nobody().await;
    case.brokers(&[asking.address, front.address]).passes_as_nobody().await;
    assert_eq!(asking.accepted(), 1);
}

#[tokio::test]
async fn the_wrong_kind_of_listener_is_called_what_it_is() {
    let server = server();
    let encrypted = Case::scram("reader");
    let message = encrypted.brokers(&[server.sasl_plaintext]).ends(Stage::Reach, Reason::ConnectionClosed).await;
    assert!(message.contains("speaks TLS"), "{message}");
    let plain = Case::at(server.sasl_ssl).login(Mechanism::ScramSha512, "reader");
    let report = plain.probe().await;
    let (stage, failure) = report.failure().expect("a listener with TLS says nothing else");
    assert!(stage == Stage::Reach && failure.message().contains("tls.mode"), "{}", failure.message());
    // A login where none is taken, and none where one is asked for.
    let login = Case::at(server.plaintext).login(Mechanism::ScramSha512, "reader");
    login.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
    let message =
        Case::at(server.sasl_plaintext).on("orders", &[]).ends(Stage::Authenticate, Reason::ConnectionClosed).await;
    assert!(message.contains("saslMechanism"), "{message}");
}

#[tokio::test]
async fn a_mechanism_that_is_not_enabled_is_called_so() {
    let case = Case::scram("reader").brokers(&[server().oauth]);
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
    assert!(message.contains("33"), "{message}");
}

#[tokio::test]
async fn who_logs_in_nowhere_is_anonymous() {
    let case = Case::at(server().plaintext);
    assert_eq!(case.passes_as_nobody().await, Proof::default());
    case.clone().on("orders", &[Read]).passes_as_nobody().await;
    case.on("payments", &[]).ends_as_nobody(Reason::TargetNotFoundOrNotPermitted).await;
}

#[tokio::test]
async fn a_token_is_taken_or_rejected() {
    let case = |token: &str| {
        let case = Case::at(server().oauth).tls(|tls| (tls.mode, tls.roots) = (Mode::VerifyFull, server().said.ca()));
        case.secret("token", token)
            .with(|settings| settings.sasl_mechanism = Some(Mechanism::OauthBearer))
            .on("orders", &[Read])
    };
    case(server().token()).passes().await;
    let message = case(server().expired_token()).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("put a new token into the Secret"), "{message}");
    case("hunter2-no-token").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn a_password_or_token_that_could_be_read_goes_to_a_verified_broker_only() {
    let server = server();
    for mode in [Mode::Disable, Mode::Require] {
        let address = if mode == Mode::Disable { server.sasl_plaintext } else { server.sasl_ssl };
        let case = Case::scram("unverified")
            .brokers(&[address])
            .login(Mechanism::Plain, "unverified")
            .tls(|tls| tls.mode = mode);
        let message = case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
        assert!(message.contains("tls.mode"), "{message}");
        // SCRAM gives nothing away.
        let case = case.login(Mechanism::ScramSha256, "reader").secret("username", "reader");
        case.passes().await;
    }
    let token = Case::at(server.oauth).tls(|tls| tls.mode = Mode::Require).secret("token", server.token());
    let token = token.with(|settings| settings.sasl_mechanism = Some(Mechanism::OauthBearer));
    token.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
}

// How often it dials and logs in, and where.

#[tokio::test]
async fn a_look_logs_in_once_and_once_more_at_the_broker_that_knows_about_the_topic() {
    let server = server();
    let behind = Proxy::to(server.sasl_ssl).await;
    // The broker is asked under the name it advertises, which is not the proxy's.
    for (n, address, case, logins) in [
        (1, server.sasl_ssl, Case::scram("reader").on("orders", &[]), 2),
        (2, server.sasl_ssl, Case::scram("reader").on("orders", &[List, Read]), 2),
        (3, behind.address, Case::scram("reader").on("orders", &[]), 2),
        (4, behind.address, Case::scram("reader").on("orders", &[List, Read]).group("analytics"), 2),
    ] {
        let before = behind.connections();
        let client = format!("counted-{n}");
        let named = [("client.id".to_owned(), client.clone())].into();
        case.brokers(&[address]).with(|settings| settings.properties = Some(named)).passes().await;
        assert_eq!(behind.connections() - before, usize::from(address == behind.address), "{client}");
        let seen = || {
            let requests = server.requests_of("reader").into_iter().filter(|request| request.client == client);
            requests.map(|request| request.connection).collect::<std::collections::BTreeSet<_>>().len()
        };
        // The log may be a moment late; what must not be there is counted when what must be is.
        eventually(DEADLINE, &format!("{client} has logged in {logins} times"), async || {
            (seen() >= logins).then_some(())
        })
        .await;
        assert_eq!(seen(), logins, "{client}");
    }
}

#[tokio::test]
async fn a_login_alone_is_one_connection() {
    let behind = Proxy::to(server().sasl_ssl).await;
    Case::scram("nobody").brokers(&[behind.address]).passes().await;
    assert_eq!(behind.connections(), 1);
}

#[tokio::test]
async fn an_advertised_listener_is_judged_like_every_address() {
    let server = server();
    let case = Case::at(server.advertised).login(Mechanism::ScramSha256, "reader");
    let only = |addresses: &[String]| {
        let rules: Vec<&str> = addresses.iter().map(String::as_str).collect();
        case::world(&rules, &[])
    };
    let rule = |address: SocketAddr| format!("{}/32:{}", address.ip(), address.port());
    let (first, other) = (rule(server.advertised), rule(server.advertised_to));
    // A login alone needs no other one.
    case.clone().in_world(only(std::slice::from_ref(&first))).passes().await;
    let about = case.on("orders", &[Read]);
    let forbidden = about.clone().in_world(only(std::slice::from_ref(&first)));
    let message = forbidden.ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&server.advertised_to.to_string()), "{message}");
    about.in_world(only(&[first, other])).passes().await;
}

#[tokio::test]
async fn one_broker_that_answers_is_enough_and_the_next_is_not_dialled() {
    let (nobody, first, second) =
        (peer::nobody(), Proxy::to(server().sasl_ssl).await, Proxy::to(server().sasl_ssl).await);
    let case = Case::scram("reader").brokers(&[nobody, first.address, second.address]);
    assert_eq!(case.passes().await, case::past([nobody]));
    assert_eq!((first.connections(), second.connections()), (1, 0));
    // A rejection is an answer: nobody else is asked.
    case.secret("password", "hunter2-wrong").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert_eq!((first.connections(), second.connections()), (2, 0));
    let other = peer::nobody();
    let message = Case::scram("reader").brokers(&[nobody, other]).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.starts_with(&format!("{nobody} refuses connections ({other}: ConnectionRefused)")), "{message}");
}

#[tokio::test]
async fn of_brokers_that_do_not_answer_one_is_told_that_may_soon() {
    // One that is never right again must not make a fault of what may pass by itself.
    let (forbidden, restarts) = (SocketAddr::from(([127, 0, 0, 9], 9093)), peer::nobody());
    for brokers in [[forbidden, restarts], [restarts, forbidden]] {
        let case = Case::scram("reader").brokers(&brokers).in_world(case::world(&["127.0.0.1/32"], &[]));
        let message = case.ends(Stage::Reach, Reason::ConnectionRefused).await;
        let named = format!("{restarts} refuses connections ({forbidden}: AddressNotAllowed)");
        assert!(message.starts_with(&named), "{message}");
    }
}

#[tokio::test]
async fn looks_at_the_same_time_do_not_disturb_each_other() {
    let case = Arc::new(Case::scram("reader").on("orders", &[Read]));
    let looks = (0..8).map(|_| {
        let case = Arc::clone(&case);
        async move { case.passes().await }
    });
    futures::future::join_all(looks).await;
}
