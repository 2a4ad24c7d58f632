//! Against a server that knows logins, users, tables and grants as far as a look asks about them, and verifies what it is sent.
//! What it makes of the question about the catalog is written from the documentation of the functions that the question uses; that
//! the statement is T-SQL at all it cannot tell.

use super::*;
use crate::harness::peer::{Peer, nobody};

/// What a login may do with `dbo.orders`, in the words of the grants that docs.md prints.
type Grants = &'static [&'static str];

/// The logins with a user in the database `orders`, and what was granted to them. `dbo` is the default schema of all.
const USERS: [(&str, Grants); 5] = [
    ("reader", &["SELECT"]),
    ("writer", &["SELECT", "INSERT"]),
    ("inserter", &["INSERT"]),
    ("viewer", &["VIEW DEFINITION"]),
    ("nobody", &[]),
];

fn grants(login: &Login) -> Option<Grants> {
    USERS.iter().find(|(name, _)| *name == login.user).map(|(_, grants)| *grants)
}

/// A server with one database and one table.
async fn orders() -> Server {
    server(|manner| {
        manner.login = Box::new(|login| match (grants(login), login.user == "stranger") {
            _ if login.password != format!("{}-Secret;é", login.user) => tokens::refused(&[18_456]),
            (None, false) => tokens::refused(&[18_456]),
            // A login without a user in it is told the same as one that asks for a database that is not there.
            (Some(_), _) if login.database == "orders" => tokens::accepted(login),
            _ if login.needs_the_database => tokens::refused(&[4060, 18_456]),
            _ => tokens::accepted(login),
        });
        manner.question = Box::new(answer);
    })
    .await
}

/// What the catalog says: an object may be seen by who has a right on it, and a schema by everybody.
fn answer(login: &Login, question: &Question) -> Vec<u8> {
    let [object, schema] = &question.parameters[..] else { return tokens::refused(&[8178]) };
    let grants = grants(login).expect("it has logged in");
    let schema = match schema.as_str() {
        "" => Some(0),
        "dbo" => Some(1),
        "archive" => Some(5),
        _ => None,
    };
    let there = ["[dbo].[orders]", "[orders]"].contains(&object.as_str()) && !grants.is_empty();
    let granted = |right: &str| there.then_some(i32::from(grants.contains(&right)));
    tokens::row([schema, there.then_some(901_578_250), granted("SELECT"), granted("INSERT"), Some(1)])
}

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    let server = orders().await;
    for (user, permissions) in
        [("viewer", &[][..]), ("reader", &[]), ("reader", &[Read]), ("writer", &[Read, Write]), ("inserter", &[Write])]
    {
        for schema in ["dbo", ""] {
            Case::of(user, server.peer.address).on(schema, "orders", permissions).passes().await;
        }
    }
    Case::of("nobody", server.peer.address).passes().await;
    Case::of("nobody", server.peer.address).on("archive", "", &[]).passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let server = orders().await;
    for case in [
        Case::at(&server).secret("password", "another one"),
        Case::at(&server).secret("username", "hunter2"),
        Case::at(&server).with(|settings| settings.username = Some("writer".to_owned())),
    ] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(18456)"), "{message}");
    }
    assert_eq!(server.heard().logins.len(), 3);
}

#[tokio::test]
async fn a_target_that_is_missing_or_hidden_is_named() {
    let server = orders().await;
    let at = |user: &str| Case::of(user, server.peer.address);
    let hidden = Reason::TargetNotFoundOrNotPermitted;
    for (case, name) in [
        (at("reader").with(|settings| settings.database = "missing".to_owned()), "database missing"),
        (at("stranger"), "database orders"),
        (at("reader").on("missing", "", &[]), "schema missing"),
        (at("reader").on("missing", "orders", &[Read]), "schema missing"),
        (at("reader").on("dbo", "missing", &[Read]), "table dbo.missing"),
        (at("reader").on("", "missing", &[]), "table missing"),
        (at("nobody").on("dbo", "orders", &[Read]), "table dbo.orders"),
    ] {
        let message = case.ends(Stage::Access, hidden).await;
        assert!(message.starts_with(&format!("{name} does not exist or may not be seen")), "{message}");
    }
}

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    let server = orders().await;
    for (user, asked, listed) in [
        ("reader", &[Read, Write][..], "(Write)"),
        ("inserter", &[Read], "(Read)"),
        ("inserter", &[Read, Write], "(Read)"),
    ] {
        let case = Case::of(user, server.peer.address).on("dbo", "orders", asked);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.contains(listed) && message.contains("table dbo.orders"), "{message}");
    }
}

#[tokio::test]
async fn whoever_may_write_to_a_database_that_takes_no_writes_is_told_so() {
    // What is granted is the same on a replica, and in a database that is set to read only.
    for (writable, reason, word) in [
        (Some(0), Reason::TargetUnavailable, "(the database takes no writes)"),
        (None, Reason::PermissionNotProvable, "(Write)"),
    ] {
        let answer = tokens::row([Some(1), Some(7), Some(1), Some(1), writable]);
        let server = server(|manner| manner.question = Box::new(move |_, _| answer.clone())).await;
        let case = Case::at(&server).on("dbo", "orders", &[Read, Write]);
        let message = case.ends(Stage::Access, reason).await;
        assert!(message.starts_with("table dbo.orders") || message.contains("on table dbo.orders"), "{message}");
        assert!(message.contains(word), "{message}");
        case.clone().asks(&[Read]).passes().await;
        case.asks(&[]).passes().await;
    }
    // What may not be done is said first: it stays so when writes are taken again.
    let answer = tokens::row([Some(1), Some(7), Some(0), Some(1), Some(0)]);
    let server = server(|manner| manner.question = Box::new(move |_, _| answer.clone())).await;
    let case = Case::at(&server).on("dbo", "orders", &[Read, Write]);
    let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("(Read)"), "{message}");
}

#[tokio::test]
async fn names_reach_the_server_as_parameters_with_every_character_for_itself() {
    let server = server(|manner| {
        manner.question = Box::new(|_, _| tokens::row([Some(1); 5]));
    })
    .await;
    let (schema, table) = ("a]b'.c", "x'); DROP TABLE [y]; -- é😀");
    Case::at(&server).on(schema, table, &[Read]).passes().await;
    let [question] = &server.heard().questions[..] else { panic!("one question") };
    assert_eq!(question.parameters, ["[a]]b'.c].[x'); DROP TABLE [y]]; -- é😀]", schema]);
    assert!(question.statement.starts_with("SELECT ") && !question.statement.contains("DROP"), "{question:?}");
}

#[tokio::test]
async fn one_look_is_one_login_one_question_and_a_goodbye() {
    let server = orders().await;
    Case::at(&server).on("dbo", "orders", &[Read]).passes().await;
    Case::at(&server).passes().await;
    let heard = server.heard();
    assert_eq!((server.peer.accepted(), heard.logins.len(), heard.questions.len()), (2, 2, 1));
    // The second one is served when the first one has ended.
    assert!(heard.goodbyes >= 1, "{heard:?}");
}

#[tokio::test]
async fn a_look_says_who_it_is_and_asks_for_what_it_needs() {
    let server = orders().await;
    Case::at(&server).passes().await;
    let expected = Login {
        workstation: "connection-operator".to_owned(),
        user: "reader".to_owned(),
        password: "reader-Secret;é".to_owned(),
        application: "connection-operator".to_owned(),
        server: "127.0.0.1".to_owned(),
        database: "orders".to_owned(),
        token: None,
        needs_the_database: true,
        reads_only: false,
    };
    let heard = server.heard();
    assert_eq!((heard.logins, heard.instances, heard.announced), (vec![expected], vec![String::new()], vec![false]));
}

#[tokio::test]
async fn a_long_password_of_any_letters_arrives_whole() {
    let server = server(|_| {}).await;
    let password = "😀 é\u{7f}\u{1}\n".repeat(18);
    Case::at(&server).secret("password", &password).passes().await;
    assert_eq!(server.heard().logins[0].password, password);
}

#[tokio::test]
async fn a_handshake_goes_through_whatever_version_and_however_its_end_is_sent() {
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        for tickets in [Tickets::InPackets, Tickets::AsTheyAre] {
            let config = AUTHORITY.config(&["127.0.0.1"], Clients::Anybody, versions);
            let server = server(|manner| (manner.tls, manner.tickets) = (Arc::new(config), tickets)).await;
            Case::at(&server).passes().await;
        }
    }
}

#[tokio::test]
async fn a_long_client_certificate_is_sent_in_packets_of_the_right_size() {
    let (certificate, key) = AUTHORITY.client();
    // The chain is no chain, and long.
    let chain = certificate + &AUTHORITY.pem.repeat(12);
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("a pair");
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let config = AUTHORITY.config(&["127.0.0.1"], Clients::Ours, versions);
        let server = server(|manner| manner.tls = Arc::new(config)).await;
        Case::at(&server).tls(|tls| tls.identity = Some(identity.clone())).passes().await;
        assert_eq!(server.heard().logins.len(), 1);
    }
}

#[tokio::test]
async fn strict_encryption_begins_before_anything_is_said() {
    let mut config = AUTHORITY.config(&["127.0.0.1"], Clients::Anybody, rustls::DEFAULT_VERSIONS);
    config.alpn_protocols = vec![b"tds/8.0".to_vec()];
    let server = server(|manner| (manner.tls, manner.opening) = (Arc::new(config), Opening::Eight)).await;
    let strict = |case: Case| case.with(|settings| settings.encryption = Some(Encryption::Strict));
    strict(Case::at(&server)).passes().await;
    // What it says about encryption there does not matter.
    let heard = server.heard();
    assert_eq!((heard.logins.len(), heard.readable), (1, Vec::new()));
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_sent_nothing() {
    for said in [0, 2, 0x80, 4, 0xff] {
        let server = server(|manner| manner.encryption = said).await;
        let message = Case::at(&server).ends(Stage::Reach, Reason::TLSNotOffered).await;
        assert!(message.contains("does not offer TLS") && !message.contains("Disable"), "{message}");
        let heard = server.heard();
        assert_eq!((heard.readable, heard.logins), (Vec::new(), Vec::new()), "{said}");
    }
    // "Required" is what a server says that insists on it.
    Case::at(&server(|manner| manner.encryption = 3).await).passes().await;
}

#[tokio::test]
async fn a_login_goes_to_a_verified_server_only() {
    let server = server(|_| {}).await;
    let system = Case::at(&server).tls(|tls| (tls.mode, tls.roots) = (Mode::Require, Roots::System));
    for case in [system, Case::at(&server).tls(|tls| tls.mode = Mode::Require)] {
        let message = case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
        assert!(message.contains("set spec.tls.mode to VerifyFull"), "{message}");
    }
    let heard = server.heard();
    assert_eq!((heard.logins, heard.instances.len()), (Vec::new(), 2));
    Case::at(&server).tls(|tls| tls.mode = Mode::VerifyCa).passes().await;
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_called_what_it_is() {
    let server = server(|_| {}).await;
    let other = Authority::new().roots();
    Case::at(&server).tls(|tls| tls.roots = other).ends(Stage::Reach, Reason::CertificateUntrusted).await;
    let named = |name: &str| Case::at(&server).tls(|tls| tls.server_name = Some(name.to_owned()));
    named("db.example.com").ends(Stage::Reach, Reason::CertificateNameMismatch).await;
    assert_eq!(server.heard().logins, Vec::new());
}

#[tokio::test]
async fn the_server_is_called_by_the_name_that_was_verified() {
    let config = AUTHORITY.config(&["orders.database.example"], Clients::Anybody, rustls::DEFAULT_VERSIONS);
    let server = server(|manner| manner.tls = Arc::new(config)).await;
    Case::at(&server).tls(|tls| tls.server_name = Some("orders.database.example".to_owned())).passes().await;
    assert_eq!(server.heard().logins[0].server, "orders.database.example");
}

#[tokio::test]
async fn a_server_of_the_other_opening_is_called_what_it_is() {
    // A greeting where a handshake is expected, and the other way round.
    let server = server(|manner| manner.opening = Opening::Eight).await;
    let report = Case::at(&server).within(LIMIT).probe().await;
    let (stage, failure) = report.failure().expect("it failed");
    assert_eq!(stage, Stage::Reach, "{}", failure.message());
    let peer = Peer::that(async |mut stream| {
        // It takes the handshake for nonsense.
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await;
    })
    .await;
    let case = Case::of("reader", peer.address).with(|settings| settings.encryption = Some(Encryption::Strict));
    let message = case.ends(Stage::Reach, Reason::ConnectionClosed).await;
    assert!(message.contains("TDS 8"), "{message}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let address = nobody();
    let message = Case::of("reader", address).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&address.to_string()), "{message}");
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_where_it_got_to() {
    let peer = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    Case::of("reader", peer.address).soon().ends(Stage::Reach, Reason::TimedOut).await;
    let server = server(|manner| manner.login = Box::new(|_| Vec::new())).await;
    Case::at(&server).later().ends(Stage::Authenticate, Reason::TimedOut).await;
    let server = super::server(|manner| manner.question = Box::new(|_, _| Vec::new())).await;
    let case = Case::at(&server).on("dbo", "orders", &[Read]);
    case.later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_called_so_where_it_did() {
    let peer = Peer::that(async |stream| drop(stream)).await;
    Case::of("reader", peer.address).ends(Stage::Reach, Reason::ConnectionClosed).await;
    let hangs_up = async |turn: Turn| {
        server(move |manner| {
            manner.then = Then::HangUpAfter(turn);
            // Nothing is said before.
            manner.spoil = Box::new(move |at, answer| if at == turn { Vec::new() } else { answer });
        })
        .await
    };
    let server = hangs_up(Turn::Login).await;
    Case::at(&server).ends(Stage::Authenticate, Reason::ConnectionClosed).await;
    let server = hangs_up(Turn::Question).await;
    Case::at(&server).on("dbo", "orders", &[]).ends(Stage::Access, Reason::ConnectionClosed).await;
}
