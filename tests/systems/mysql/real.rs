//! What the real MariaDB answers, as users with exactly the rights that docs.md prints.

use connection_operator::{connections::mysql::Settings, net::tls::Roots};

use super::*;
use crate::harness::{DEADLINE, eventually, proxy::Proxy};

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(Case::of("reader").on("orders", &[Read]).passes().await, Proof::default());
    Case::of("inserter").on("orders", &[Write]).passes().await;
    Case::of("writer").on("orders", &[Read, Write]).passes().await;
    Case::of("reader").database().passes().await;
    Case::of("nobody").passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    for case in [
        Case::of("reader").secret("password", "hunter2-wrong"),
        Case::of("elsewhere"),
        Case::of("edward").secret("password", "hunter2-wrong"),
        Case::of("either").secret("password", "hunter2-wrong"),
        Case::of("locked").secret("password", "hunter2-wrong"),
        // The administrator is let in at the socket only.
        Case::of("root"),
    ] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(1045)") && message.contains("clientCertificateSecretRef"), "{message}");
    }
    let message = Case::of("socket").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(1698)"), "{message}");
    // They are asked to log in as some other user would be, so that nobody learns who is there.
    for n in 0..20 {
        let case = Case::of(&format!("a-user-who-is-not-there-{n}"));
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(1045)") || message.contains("(1698)"), "{message}");
    }
}

#[tokio::test]
async fn a_missing_target_is_named() {
    server()
        .execute(
            "CREATE USER everywhere IDENTIFIED BY 'everywhere-secret'
             GRANT SELECT, INSERT ON *.* TO everywhere",
        )
        .await;
    let payments = |settings: &mut Settings| settings.database = Some("payments".to_owned());
    let message = Case::of("everywhere").with(payments).ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("database payments does not exist (1049)"), "{message}");
    for name in ["absent", "Orders", "orders`; DROP TABLE orders", "orders'", "\"orders\"", "orders.orders", "orders "]
    {
        for permissions in [&[][..], &[Read], &[Write]] {
            let case = Case::of("everywhere").on(name, permissions);
            let message = case.ends(Stage::Access, Reason::TargetNotFound).await;
            assert!(message.starts_with(&format!("table orders.{name} does not exist (11")), "{message}");
        }
    }
}

#[tokio::test]
async fn what_the_server_does_not_tell_is_not_guessed() {
    let payments = |settings: &mut Settings| settings.database = Some("payments".to_owned());
    for case in [Case::of("overseer").with(payments), Case::of("nobody").database()] {
        let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
        assert!(message.starts_with("database ") && message.contains("(1044)"), "{message}");
    }
    for table in ["absent", "payments"] {
        for permissions in [&[][..], &[Read], &[Write], &[Read, Write]] {
            let case = Case::of("reader").on(table, permissions);
            let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
            assert!(message.starts_with(&format!("table orders.{table} does not exist or may not")), "{message}");
            assert!(message.contains("(1142)"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nowhere = Case::at(peer::nobody()).settings;
    Case::of("reader").with(|settings| *settings = nowhere).ends(Stage::Reach, Reason::ConnectionRefused).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let other = server().said.other_ca();
    let case = Case::of("reader").tls(|tls| tls.roots = other);
    case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    case.tls(|tls| tls.mode = Mode::VerifyCa).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

#[tokio::test]
async fn a_look_that_the_server_counts_against_our_address_says_so() {
    let other = server().said.other_ca();
    let untrusted = Case::of("reader").tls(|tls| tls.roots = other);
    assert!(untrusted.probe().await.was_broken_off());
    let nowhere = Case::at(peer::nobody()).settings;
    let answered = [
        Case::of("reader"),
        Case::of("reader").secret("password", "wrong"),
        Case::of("reader").on("absent", &[]),
        Case::of("reader").with(|settings| *settings = nowhere),
    ];
    for case in answered {
        assert!(!case.probe().await.was_broken_off());
    }
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    server()
        .execute(
            "CREATE USER cleaner IDENTIFIED BY 'cleaner-secret'
             GRANT DELETE ON orders.orders TO cleaner",
        )
        .await;
    for (user, asked, missing) in [
        ("reader", &[Read, Write][..], "Write"),
        ("inserter", &[Read, Write], "Read"),
        ("inserter", &[Read], "Read"),
        ("cleaner", &[Read], "Read"),
        ("cleaner", &[Read, Write], "Read, Write"),
    ] {
        let message = Case::of(user).on("orders", asked).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on table orders.orders ({missing}, 1142):")), "{message}");
    }
    for user in ["reader", "inserter", "cleaner"] {
        // Whoever has any right on a table sees that it is there.
        Case::of(user).on("orders", &[]).passes().await;
    }
}

#[tokio::test]
async fn a_table_is_seen_under_any_spelling_that_the_server_takes_for_its_name() {
    let spelled =
        |case: Case| case.on("Orders", &[Read]).with(|settings| settings.database = Some("ORDERS".to_owned()));
    let server = mariadb::with("mariadb-folding", "--lower-case-table-names=1");
    server
        .execute(
            "CREATE USER cleaner IDENTIFIED BY 'cleaner-secret'
             GRANT DELETE ON orders.orders TO cleaner",
        )
        .await;
    let case = spelled(Case::at_server(&server, "cleaner"));
    let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on table ORDERS.Orders (Read, 1142):"), "{message}");
    case.asks(&[]).passes().await;
    spelled(Case::at_server(&server, "reader")).passes().await;
}

#[tokio::test]
async fn a_right_on_one_column_counts() {
    Case::of("column").on("orders", &[Read, Write]).passes().await;
}

#[tokio::test]
async fn a_right_of_a_role_that_is_not_switched_on_does_not_count() {
    server()
        .execute(
            "CREATE ROLE readers
             GRANT SELECT ON orders.orders TO readers
             CREATE USER roled IDENTIFIED BY 'roled-secret'
             GRANT readers TO roled",
        )
        .await;
    let case = Case::of("roled").on("orders", &[Read]);
    case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    server().execute("SET DEFAULT ROLE readers FOR roled").await;
    case.passes().await;
}

#[tokio::test]
async fn a_view_is_read_like_a_table_and_written_to_where_that_can_be_told() {
    server()
        .execute(
            "CREATE DEFINER = root@localhost VIEW orders.how_many AS SELECT count(*) FROM orders.orders
             CREATE DEFINER = nobody_any_more VIEW orders.broken AS SELECT id FROM orders.orders
             CREATE USER viewer IDENTIFIED BY 'viewer-secret'
             GRANT SELECT, INSERT, SHOW VIEW ON orders.* TO viewer
             CREATE USER onlooker IDENTIFIED BY 'onlooker-secret'
             GRANT SELECT, SHOW VIEW ON orders.* TO onlooker",
        )
        .await;
    Case::of("overseer").on("big_orders", &[Read]).passes().await;
    let message =
        Case::of("overseer").on("big_orders", &[Read, Write]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    assert!(message.contains("SHOW VIEW") && message.contains("1345"), "{message}");
    Case::of("viewer").on("big_orders", &[Read, Write]).passes().await;
    Case::of("viewer").on("how_many", &[Read]).passes().await;
    let message = Case::of("viewer").on("how_many", &[Write]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("(Write, 1471)"), "{message}");
    let message = Case::of("onlooker").on("big_orders", &[Write]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("(Write, 1142)"), "{message}");
    let message = Case::of("viewer").on("broken", &[Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.contains("broken") && message.contains("1045"), "{message}");
}

#[tokio::test]
async fn asking_whether_one_may_write_writes_nothing() {
    let server = server();
    server
        .execute(
            "CREATE TABLE orders.strict (id int PRIMARY KEY AUTO_INCREMENT, note enum('x') NOT NULL, next int AS (note + 1) STORED)
             CREATE TABLE orders.seen (id int)
             CREATE TRIGGER orders.watch BEFORE INSERT ON orders.strict FOR EACH ROW INSERT INTO orders.seen VALUES (1)",
        )
        .await;
    Case::of("overseer").on("strict", &[Read, Write]).passes().await;
    for (question, expected) in [
        ("SELECT count(*) FROM orders.strict", "0"),
        ("SELECT count(*) FROM orders.seen", "0"),
        ("SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_NAME = 'strict'", "1"),
    ] {
        assert_eq!(server.execute(question).await.as_deref(), Some(expected), "{question}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_writes_says_so() {
    let server = mariadb::with("mariadb-strict", STRICT);
    let case = Case::at_server(&server, "writer").on("orders", &[Read, Write]);
    let message = case.ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.contains("takes no writes") && message.contains("1290"), "{message}");
    case.asks(&[Read]).passes().await;
    // It has more rules of its own.
    let plain = Case::at_server(&server, "reader").tls(|tls| tls.mode = Mode::Disable);
    let message = plain.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("spec.tls.mode"), "{message}");
    let message = Case::at_server(&server, "expired").ends(Stage::Authenticate, Reason::CredentialsExpired).await;
    assert!(message.contains("(1862)"), "{message}");
    let wrong = Case::at_server(&server, "reader").secret("password", "hunter2-wrong");
    wrong.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    let message = Case::at_server(&server, "reader").ends(Stage::Authenticate, Reason::AccountLocked).await;
    assert!(message.contains("(4150)"), "{message}");
}

/// A server that is read only, lets nobody in without TLS, ends sessions whose password has expired, and blocks a user after a wrong
/// one. (Of wrong passwords without TLS it does not count any, since it does not look at them.)
const STRICT: &str = "--read-only --require-secure-transport --disconnect-on-expired-password --max-password-errors=1";

// TLS.

#[tokio::test]
async fn each_mode_checks_what_it_says_and_no_more() {
    use Mode::{Disable, Require, VerifyCa, VerifyFull};
    let server = server();
    let (right, other) = (server.said.ca(), server.said.other_ca());
    for (mode, roots, host, found) in [
        (VerifyFull, &right, "127.0.0.1", None),
        (VerifyFull, &right, "localhost", None),
        (VerifyFull, &right, "127.0.0.2", Some(Reason::CertificateNameMismatch)),
        (VerifyFull, &other, "127.0.0.1", Some(Reason::CertificateUntrusted)),
        (VerifyFull, &Roots::System, "127.0.0.1", Some(Reason::CertificateUntrusted)),
        (VerifyCa, &right, "127.0.0.2", None),
        (VerifyCa, &other, "127.0.0.1", Some(Reason::CertificateUntrusted)),
        (Require, &other, "127.0.0.2", None),
        (Disable, &other, "127.0.0.2", None),
    ] {
        let case = Case::of("reader").with(|settings| settings.host.0 = host.to_owned()).tls(|tls| {
            tls.mode = mode;
            tls.roots = roots.clone();
        });
        match found {
            None => assert_eq!(case.passes().await, Proof::default()),
            Some(reason) => assert_ne!(case.ends(Stage::Reach, reason).await, ""),
        }
    }
}

#[tokio::test]
async fn the_server_name_stands_in_for_the_host() {
    let case = Case::of("reader").with(|settings| settings.host.0 = "127.0.0.2".to_owned());
    case.tls(|tls| tls.server_name = Some("localhost".to_owned())).passes().await;
}

#[tokio::test]
async fn every_mode_but_disable_is_encrypted() {
    for (mode, how) in [
        (Mode::Disable, "TCP/IP"),
        (Mode::Require, "SSL/TLS"),
        (Mode::VerifyCa, "SSL/TLS"),
        (Mode::VerifyFull, "SSL/TLS"),
    ] {
        let user = format!("mode_{mode:?}").to_lowercase();
        user_of_its_own(&user).await;
        Case::of(&user).tls(|tls| tls.mode = mode).passes().await;
        let [session] = &server().sessions(&user)[..] else { panic!("one login") };
        assert!(session.login.ends_with(&format!("using {how}")), "{session:?}");
    }
}

#[tokio::test]
async fn an_account_that_wants_tls_is_hinted_at() {
    Case::of("tlsonly").passes().await;
    let plain = Case::of("tlsonly").tls(|tls| tls.mode = Mode::Disable);
    let message = plain.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(1045)") && message.contains("spec.tls.mode to VerifyFull"), "{message}");
}

#[tokio::test]
async fn an_account_that_wants_a_client_certificate_is_hinted_at() {
    let identity = server().said.identity();
    let case = Case::of("certonly");
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(1045)") && message.contains("clientCertificateSecretRef"), "{message}");
    case.tls(|tls| tls.identity = Some(identity)).on("orders", &[Read]).passes().await;
}

// Who is let in, and how.

#[tokio::test]
async fn a_user_of_ed25519_logs_in_whatever_the_channel() {
    for mode in [Mode::Disable, Mode::Require, Mode::VerifyFull] {
        for user in ["edward", "either"] {
            Case::of(user).tls(|tls| tls.mode = mode).on("orders", &[Read]).passes().await;
        }
    }
}

#[tokio::test]
async fn a_locked_account_and_an_expired_password_are_told_from_a_wrong_one() {
    let message = Case::of("locked").ends(Stage::Authenticate, Reason::AccountLocked).await;
    assert!(message.contains("(4151)"), "{message}");
    for case in [Case::of("expired"), Case::of("expired").tls(|tls| tls.mode = Mode::Disable)] {
        let message = case.ends(Stage::Authenticate, Reason::CredentialsExpired).await;
        assert!(message.contains("(1820)"), "{message}");
    }
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_unavailable() {
    // The administrator has one more.
    let server = mariadb::with("mariadb-crowded", "--max-connections=10 --connect-timeout=600");
    let mut crowd = Vec::new();
    for _ in 0..10 {
        crowd.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
    }
    let case = Case::at_server(&server, "reader");
    // They are counted when they have been accepted, which takes a moment.
    let message = eventually(DEADLINE, "no connection is free", async || {
        let report = case.probe().await;
        let (stage, failure) = report.failure()?;
        assert_eq!((stage, failure.reason()), (Stage::Authenticate, Reason::ServerUnavailable));
        Some(failure.message())
    })
    .await;
    assert!(message.contains("(1040)") && message.contains("max_connections"), "{message}");
    drop(crowd);
    eventually(DEADLINE, "they are free again", async || case.probe().await.proof().cloned()).await;
}

#[tokio::test]
async fn an_account_without_a_free_login_finds_the_server_unavailable() {
    server().execute("CREATE USER hourly IDENTIFIED BY 'hourly-secret' WITH MAX_CONNECTIONS_PER_HOUR 1").await;
    Case::of("hourly").passes().await;
    let message = Case::of("hourly").ends(Stage::Authenticate, Reason::ServerUnavailable).await;
    assert!(message.contains("(1226)") && message.contains("spec.probe.interval"), "{message}");
}

#[tokio::test]
async fn a_server_that_looks_at_no_password_passes_as_nobody_with_a_word_about_it() {
    // It knows no socket and no account, but TLS.
    let server = mariadb::with("mariadb-open", "--skip-grant-tables");
    let case = Case::at_server(&server, "reader").on("orders", &[Read]);
    let proof = case.clone().secret("password", "hunter2-wrong").passes_as_nobody().await;
    assert_eq!(proof.unproven().len(), 1, "{proof:?}");
    assert!(proof.unproven()[0].contains("password"), "{proof:?}");
    case.clone()
        .with(|settings| settings.table = Some("absent".to_owned()))
        .ends_as_nobody(Reason::TargetNotFound)
        .await;
    case.with(|settings| settings.table = None).asks(&[]).passes_as_nobody().await;
}

// Locks.

#[tokio::test]
async fn a_table_that_somebody_has_locked_is_out_of_time_and_is_not_waited_for_any_longer() {
    let server = server();
    user_of_its_own("patient").await;
    server
        .execute(
            "CREATE TABLE orders.busy (id int)
             GRANT SELECT, INSERT ON orders.busy TO patient",
        )
        .await;
    let case = Case::of("patient").on("busy", &[Read]);
    case.passes().await;
    let mut holder = server.administrator().await;
    holder.execute("LOCK TABLES orders.busy WRITE").await;
    let message = case.clone().within(Duration::from_secs(6)).ends(Stage::Access, Reason::TimedOut).await;
    assert!(message.contains("(1205)") && message.contains("lock"), "{message}");
    // One whose deadline comes first leaves nobody behind either.
    case.clone().within(Duration::from_millis(950)).ends(Stage::Access, Reason::TimedOut).await;
    nobody_is_left("patient").await;
    holder.execute("UNLOCK TABLES").await;
    case.asks(&[Read, Write]).passes().await;
}

// What a look does to the server.

#[tokio::test]
async fn one_look_is_one_login_and_no_connection_outlives_it() {
    for (user, wrong) in [("once_right", None), ("once_wrong", Some("hunter2-wrong"))] {
        user_of_its_own(user).await;
        let proxy = Proxy::to(server().address).await;
        let case = Case::of(user).with(|settings| settings.port.0 = proxy.address.port());
        let case = wrong.into_iter().fold(case, |case, password| case.secret("password", password));
        let report = case.database().probe().await;
        assert_eq!(report.proof().is_some(), wrong.is_none(), "{report:?}");
        assert_eq!(server().sessions(user).len(), 1, "{:?}", server().sessions(user));
        assert_eq!(proxy.connections(), 1);
        // A second one shows that logins are counted at all.
        Case::of(user).passes().await;
        assert_eq!(server().sessions(user).len(), 2);
        nobody_is_left(user).await;
    }
}

#[tokio::test]
async fn a_look_runs_the_statements_that_are_listed_and_no_other() {
    const WHO: &str = "Query SELECT CURRENT_USER()";
    const PATIENCE: &str = "Query SET SESSION lock_wait_timeout = ";
    const READ: &str = "Query SELECT 1 FROM `orders`.`orders` LIMIT 0";
    const WRITE: &str = "Query EXPLAIN FORMAT=TRADITIONAL INSERT INTO `orders`.`orders` () VALUES ()";
    const VISIBLE: &str = "Query SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = X'6f7264657273' AND \
                           TABLE_NAME = X'6f7264657273'";
    for (user, table, permissions, expected) in [
        ("few", None, &[][..], &[WHO][..]),
        ("some", Some("orders"), &[], &[WHO, PATIENCE, READ]),
        ("more", Some("orders"), &[Read, Write], &[WHO, PATIENCE, READ, WRITE]),
        ("blind", Some("orders"), &[Write], &[WHO, PATIENCE, WRITE, VISIBLE]),
    ] {
        user_of_its_own(user).await;
        if user != "blind" {
            server().execute(&format!("GRANT SELECT, INSERT ON orders.orders TO {user}")).await;
        }
        let case = Case::of(user);
        let case = if let Some(table) = table { case.on(table, permissions) } else { case };
        case.probe().await;
        // The goodbye is written down after we are gone.
        let commands = eventually(DEADLINE, "the look is over", async || {
            let [session] = &server().sessions(user)[..] else { panic!("one login") };
            (session.commands.last().map(String::as_str) == Some("Quit")).then(|| session.commands.clone())
        })
        .await;
        assert_eq!(commands.len(), expected.len() + 1, "{commands:?}");
        for (command, expected) in commands.iter().zip(expected) {
            assert!(command.starts_with(expected), "{command:?} is not {expected:?}");
        }
    }
}

/// Makes a user that one test only uses, so that what the log says about it is about that test. It may use the database.
async fn user_of_its_own(user: &str) {
    server()
        .execute(&format!(
            "CREATE USER {user} IDENTIFIED BY '{user}-secret'
             GRANT SELECT ON orders.payments TO {user}"
        ))
        .await;
}

/// Waits until the server has no session of `user`.
async fn nobody_is_left(user: &str) {
    let question = format!("SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = '{user}'");
    let sessions = async || (server().execute(&question).await.as_deref() == Some("0")).then_some(());
    eventually(LIMIT, "no session is left", sessions).await;
}
