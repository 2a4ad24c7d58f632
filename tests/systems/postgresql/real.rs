//! What the real PostgreSQL answers, as roles with exactly the rights that docs.md prints.

use connection_operator::net::tls::{Identity, Mode, Roots};

use super::*;
use Permission::{List, Read, Write};

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    let proof = Case::of("reader").on("public", "orders", &[List, Read]).passes().await;
    assert_eq!(proof, Proof::default());
    Case::of("writer").on("public", "orders", &[List, Read, Write]).passes().await;
    Case::of("nobody").passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    for case in [
        Case::of("reader").secret("password", "hunter2-wrong"),
        Case::of("reader-who-is-not-there"),
        Case::of("expired"),
    ] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(28P01)"), "{message}");
    }
}

#[tokio::test]
async fn a_missing_target_is_named() {
    let missing = |change: fn(&mut Settings)| async move {
        Case::of("reader").with(change).ends(Stage::Access, Reason::TargetNotFound).await
    };
    let message = missing(|settings| settings.database = "payments".to_owned()).await;
    assert!(message.starts_with("database payments does not exist (3D000)"), "{message}");
    let message = missing(|settings| settings.schema = Some("Public".to_owned())).await;
    assert!(message.starts_with("schema Public does not exist"), "{message}");
    for name in ["absent", "Orders", "orders; DROP TABLE orders", "orders'", "\"orders\""] {
        let case = Case::of("reader").on("public", name, &[Read]);
        let message = case.ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with(&format!("table public.{name} does not exist")), "{message}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nowhere = Case::at(peer::nobody()).settings;
    let case = Case::of("reader").with(|settings| *settings = nowhere);
    case.ends(Stage::Reach, Reason::ConnectionRefused).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let other = server().said.other_ca();
    let case = Case::of("reader").tls(|tls| tls.roots = other);
    case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    case.clone().tls(|tls| tls.mode = Mode::VerifyCa).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    let message = Case::of("reader")
        .on("public", "orders", &[List, Read, Write])
        .ends(Stage::Access, Reason::PermissionDenied)
        .await;
    assert!(message.starts_with("not permitted on table public.orders (Write):"), "{message}");
    let message = Case::of("nobody")
        .on("public", "orders", &[List, Read, Write])
        .ends(Stage::Access, Reason::PermissionDenied)
        .await;
    assert!(message.starts_with("not permitted on table public.orders (Read, Write):"), "{message}");
}

#[tokio::test]
async fn a_table_in_a_schema_that_may_not_be_used_is_there_and_cannot_be_read() {
    Case::of("reader").on("private", "secrets", &[]).passes().await;
    let message =
        Case::of("reader").on("private", "secrets", &[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("USAGE"), "{message}");
}

#[tokio::test]
async fn a_right_on_the_table_is_worth_nothing_without_its_schema() {
    let server = server();
    server
        .execute(
            "CREATE ROLE schemaless LOGIN PASSWORD 'schemaless-secret'; GRANT CONNECT ON DATABASE orders TO schemaless; \
             GRANT SELECT ON public.orders TO schemaless",
        )
        .await;
    let case = Case::of("schemaless").on("public", "orders", &[Read]);
    case.ends(Stage::Access, Reason::PermissionDenied).await;
    server.execute("GRANT USAGE ON SCHEMA public TO schemaless").await;
    case.passes().await;
}

#[tokio::test]
async fn a_table_without_a_schema_is_looked_for_along_the_search_path() {
    let alone = |case: Case| case.on("public", "orders", &[Read]).with(|settings| settings.schema = None);
    alone(Case::of("reader")).passes().await;
    // The search path leaves out what the user may not use.
    let message = alone(Case::of("nobody")).ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("table orders does not exist") && message.contains("USAGE"), "{message}");
}

#[tokio::test]
async fn everything_that_is_read_like_a_table_is_one_and_nothing_else() {
    server()
        .execute(
            "CREATE SCHEMA shapes; GRANT USAGE ON SCHEMA shapes TO reader; CREATE TABLE shapes.\"Odd.Name\" (id int); \
             CREATE VIEW shapes.view AS SELECT 1; CREATE MATERIALIZED VIEW shapes.materialised AS SELECT 1; \
             CREATE TABLE shapes.partitioned (id int) PARTITION BY RANGE (id); \
             GRANT SELECT ON ALL TABLES IN SCHEMA shapes TO reader; \
             CREATE INDEX an_index ON shapes.\"Odd.Name\" (id); CREATE SEQUENCE shapes.a_sequence",
        )
        .await;
    for name in ["Odd.Name", "view", "materialised", "partitioned"] {
        Case::of("reader").on("shapes", name, &[Read]).passes().await;
    }
    for name in ["an_index", "a_sequence"] {
        Case::of("reader").on("shapes", name, &[]).ends(Stage::Access, Reason::TargetNotFound).await;
    }
}

#[tokio::test]
async fn what_no_row_can_be_put_into_is_not_written_whatever_is_granted() {
    role_of_its_own("filler").await;
    server()
        .execute(
            "CREATE SCHEMA rooms; GRANT USAGE ON SCHEMA rooms TO filler; CREATE TABLE rooms.plain (id int); \
             CREATE TABLE rooms.partitioned (id int) PARTITION BY RANGE (id); \
             CREATE VIEW rooms.simple AS SELECT id FROM rooms.plain; CREATE VIEW rooms.counted AS SELECT count(*) FROM rooms.plain; \
             CREATE VIEW rooms.ruled AS SELECT count(*) FROM rooms.plain; \
             CREATE RULE fill AS ON INSERT TO rooms.ruled DO INSTEAD INSERT INTO rooms.plain VALUES (1); \
             CREATE MATERIALIZED VIEW rooms.kept AS SELECT 1 AS id; \
             GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA rooms TO filler",
        )
        .await;
    for name in ["plain", "partitioned", "simple", "ruled"] {
        Case::of("filler").on("rooms", name, &[Read, Write]).passes().await;
    }
    for name in ["counted", "kept"] {
        Case::of("filler").on("rooms", name, &[List, Read]).passes().await;
        let case = Case::of("filler").on("rooms", name, &[Read, Write]);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(
            message.starts_with(&format!("not permitted on table rooms.{name} (Write): name a table")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_written() {
    role_of_its_own("standing_by").await;
    server()
        .execute(
            "GRANT USAGE ON SCHEMA public TO standing_by; GRANT SELECT, INSERT ON public.orders TO standing_by; \
             ALTER ROLE standing_by SET default_transaction_read_only = on",
        )
        .await;
    let case = Case::of("standing_by").on("public", "orders", &[List, Read]);
    case.passes().await;
    let message = case.clone().asks(&[Read, Write]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.contains("takes no writes"), "{message}");
    server().execute("REVOKE INSERT ON public.orders FROM standing_by").await;
    case.asks(&[Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
}

#[tokio::test]
async fn a_database_that_may_not_be_connected_to_is_not_permitted() {
    let message = Case::of("noconnect").ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on database orders (CONNECT, 42501)"), "{message}");
}

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
    for (mode, encrypted) in
        [(Mode::Disable, false), (Mode::Require, true), (Mode::VerifyCa, true), (Mode::VerifyFull, true)]
    {
        let role = format!("mode_{mode:?}").to_lowercase();
        role_of_its_own(&role).await;
        Case::of(&role).tls(|tls| tls.mode = mode).passes().await;
        let authorized = server().log(&role).into_iter().find(|line| line.contains("connection authorized")).unwrap();
        assert_eq!(authorized.contains("SSL enabled"), encrypted, "{authorized}");
    }
}

#[tokio::test]
async fn a_client_certificate_logs_in_without_a_password() {
    let identity = server().said.identity();
    let case = Case::of("certuser").tls(|tls| tls.identity = Some(identity)).on("public", "orders", &[Read]);
    case.clone().secret("password", "").passes().await;
    // A password that is there is not asked for, and the report does not pretend that it was.
    assert_eq!(case.passes().await.unproven().len(), 1);
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_or_not_the_users_is_asked_for() {
    let case = Case::of("certuser");
    case.ends(Stage::Authenticate, Reason::ClientCertificateRequired).await;
    let somebodys = server().identity_of("somebody");
    let message = case
        .clone()
        .tls(|tls| tls.identity = Some(somebodys))
        .ends(Stage::Authenticate, Reason::ClientCertificateRequired)
        .await;
    assert!(message.contains("common name"), "{message}");
    let made = rcgen::generate_simple_self_signed(["certuser".to_owned()]).unwrap();
    let unknown = Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
    case.tls(|tls| tls.identity = Some(unknown)).ends(Stage::Authenticate, Reason::ClientCertificateRequired).await;
}

#[tokio::test]
async fn a_password_that_is_asked_for_and_is_not_there_is_said() {
    let identity = server().said.identity();
    let case = Case::of("reader").tls(|tls| tls.identity = Some(identity)).secret("password", "");
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
    assert!(message.contains("password"), "{message}");
}

// What is given away to whom.

#[tokio::test]
async fn a_readable_password_goes_to_a_verified_server_only() {
    for user in ["clearuser", "md5user"] {
        let case = Case::of(user).on("public", "orders", &[Read]);
        for mode in [Mode::Disable, Mode::Require] {
            let message =
                case.clone().tls(|tls| tls.mode = mode).ends(Stage::Authenticate, Reason::EncryptionRequired).await;
            assert!(message.contains("VerifyFull"), "{message}");
        }
        // A password that came, right or wrong, leaves a line: authenticated, authorized or failed.
        let told = server().log(user);
        assert!(!told.iter().any(|line| line.contains("auth")), "{told:?}");
        for mode in [Mode::VerifyCa, Mode::VerifyFull] {
            case.clone().tls(|tls| tls.mode = mode).passes().await;
        }
        let wrong = case.secret("password", "hunter2-wrong");
        wrong.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    }
}

#[tokio::test]
async fn scram_goes_to_anybody_since_it_gives_nothing_away() {
    for mode in [Mode::Disable, Mode::Require] {
        Case::of("reader").tls(|tls| tls.mode = mode).passes().await;
    }
}

// Who is let in.

#[tokio::test]
async fn a_user_who_is_not_let_in_from_here_is_told_from_a_wrong_password() {
    for user in ["rejected", "nohba", "nologin"] {
        let message = Case::of(user).ends(Stage::Authenticate, Reason::SourceNotAllowed).await;
        assert!(message.contains("(28000)"), "{message}");
    }
}

#[tokio::test]
async fn a_user_who_is_let_in_with_tls_only_is_told_to_switch_it_on() {
    Case::of("tlsonly").passes().await;
    let message = Case::of("tlsonly")
        .tls(|tls| tls.mode = Mode::Disable)
        .ends(Stage::Authenticate, Reason::EncryptionRequired)
        .await;
    // The server says the same to a user whom it would not let in with TLS either.
    assert!(message.contains("VerifyFull") && message.contains("network"), "{message}");
}

#[tokio::test]
async fn a_user_without_a_free_connection_finds_the_server_unavailable() {
    let message = Case::of("limited").ends(Stage::Access, Reason::ServerUnavailable).await;
    assert!(message.contains("(53300)"), "{message}");
}

#[tokio::test]
async fn a_database_that_allows_no_connections_is_unavailable() {
    server().execute("CREATE DATABASE closed ALLOW_CONNECTIONS false").await;
    let case = Case::of("reader").with(|settings| settings.database = "closed".to_owned());
    case.ends(Stage::Access, Reason::TargetUnavailable).await;
}

// What a look leaves behind.

#[tokio::test]
async fn one_look_is_one_login_and_no_connection_outlives_it() {
    for (role, change, passes) in
        [("once_right", None, true), ("once_wrong", Some(("password", "hunter2-wrong")), false)]
    {
        role_of_its_own(role).await;
        let case = change.into_iter().fold(Case::of(role), |case, (key, value)| case.secret(key, value));
        let report = case.on("public", "orders", &[List]).probe().await;
        assert_eq!(report.proof().is_some(), passes, "{report:?}");
        assert_eq!(server().logins(role), 1, "{:?}", server().log(role));
        // A second one shows that logins are counted at all.
        Case::of(role).passes().await;
        assert_eq!(server().logins(role), 2);
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        let nobody_is_left = async {
            while server().execute(&sessions).await.as_deref() != Some("0") {
                clock.tick().await;
            }
        };
        tokio::time::timeout(LIMIT, nobody_is_left).await.expect("a session is left");
    }
}

#[tokio::test]
async fn a_look_says_who_it_is() {
    role_of_its_own("named").await;
    Case::of("named").on("public", "orders", &[]).passes().await;
    let log = server().log("named");
    assert!(log.iter().any(|line| line.contains("application_name=connection-operator")), "{log:?}");
}

/// Makes a role that one test only uses, so that what the log says about it is about that test.
async fn role_of_its_own(role: &str) {
    server()
        .execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{role}-secret'; GRANT CONNECT ON DATABASE orders TO {role}"
        ))
        .await;
}
