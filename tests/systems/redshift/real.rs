//! What a real server answers, as roles with exactly the rights that docs.md prints.

use super::*;

// The six cases; silence is a stand-in's.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(Case::of("analyst").on("sales", "orders", &[List, Read]).passes().await, Proof::default());
    Case::of("loader").on("sales", "orders", &[List, Read, Write]).passes().await;
    assert_eq!(Case::of("visitor").asks(&[List]).passes().await, Proof::default());
    assert_eq!(Case::of("visitor").passes().await.unproven(), [SILENT]);
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    for case in [Case::of("analyst").secret("password", "hunter2-wrong"), Case::of("a-stranger")] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(28P01)") && message.contains("unknown user"), "{message}");
        assert!(message.starts_with(&server().address.to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_missing_target_is_named() {
    let missing = |change: fn(&mut Settings)| async move {
        Case::of("analyst").with(change).ends(Stage::Access, Reason::TargetNotFound).await
    };
    let message = missing(|settings| settings.database = "absent".to_owned()).await;
    assert!(message.starts_with("database absent does not exist (3D000)"), "{message}");
    let message = missing(|settings| settings.schema = Some("Sales".to_owned())).await;
    assert!(message.starts_with("schema Sales does not exist") && message.contains("metadata security"), "{message}");
    for name in ["absent", "Orders", "orders; DROP TABLE orders", "orders'", "\"orders\"", "orders\\"] {
        let case = Case::of("analyst").on("sales", name, &[Read]);
        let message = case.ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with(&format!("table sales.{name} does not exist")), "{message}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nowhere = Case::at(peer::nobody()).settings;
    Case::of("analyst").with(|settings| *settings = nowhere).ends(Stage::Reach, Reason::ConnectionRefused).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let other = server().said.other_ca();
    Case::of("analyst").tls(|tls| tls.roots = other).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, words) in [("analyst", "(Write)"), ("visitor", "(Read, Write)")] {
        let case = Case::of(user).on("sales", "orders", &[List, Read, Write]);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on table sales.orders {words}")), "{message}");
    }
}

#[tokio::test]
async fn a_view_takes_no_rows_whatever_is_granted() {
    server()
        .execute_in(
            "warehouse",
            "CREATE ROLE filler_of_views LOGIN; SET password_encryption = 'md5'; \
             ALTER ROLE filler_of_views PASSWORD 'filler_of_views-secret'; CREATE SCHEMA rooms; CREATE TABLE rooms.plain (id int); \
             CREATE VIEW rooms.simple AS SELECT id FROM rooms.plain; CREATE MATERIALIZED VIEW rooms.kept AS SELECT 1 AS id; \
             GRANT USAGE ON SCHEMA rooms TO filler_of_views; \
             GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA rooms TO filler_of_views; \
             ALTER ROLE filler_of_views IN DATABASE warehouse SET search_path = rooms",
        )
        .await;
    for on_path in [false, true] {
        let case = |name, permissions: &[Permission]| {
            let case = Case::of("filler_of_views").on("rooms", name, permissions);
            if on_path { case.with(|settings| settings.schema = None) } else { case }
        };
        case("plain", &[Read, Write]).passes().await;
        for name in ["simple", "kept"] {
            case(name, &[Read]).passes().await;
            let message = case(name, &[Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
            assert!(message.contains("(Write): name a table"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_table_in_a_schema_that_may_not_be_used_is_there_and_cannot_be_read() {
    Case::of("analyst").on("private", "secrets", &[]).passes().await;
    let message =
        Case::of("analyst").on("private", "secrets", &[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("USAGE"), "{message}");
    let case = Case::of("analyst").on("private", "absent", &[]);
    let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    assert!(message.starts_with("table private.absent") && message.contains("USAGE"), "{message}");
}

#[tokio::test]
async fn a_table_without_a_schema_is_looked_for_along_the_search_path_in_its_order() {
    let alone = |user: &str, table: &str| Case::of(user).on("", table, &[Read]).with(|settings| settings.schema = None);
    let message = alone("loader", "orders").ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("table orders does not exist") && message.contains("name its schema"), "{message}");
    server()
        .execute(
            "ALTER ROLE loader IN DATABASE warehouse SET search_path = private, sales, lake; \
             ALTER ROLE visitor IN DATABASE warehouse SET search_path = private, sales",
        )
        .await;
    alone("loader", "orders").passes().await;
    // The search path leaves out what the user may not use.
    for (user, table) in [("loader", "secrets"), ("visitor", "orders")] {
        alone(user, table).ends(Stage::Access, Reason::TargetNotFound).await;
    }
}

#[tokio::test]
async fn of_two_tables_the_first_along_the_search_path_counts() {
    server()
        .execute_in(
            "warehouse",
            "CREATE ROLE walker LOGIN; SET password_encryption = 'md5'; ALTER ROLE walker PASSWORD 'walker-secret'; \
             CREATE SCHEMA b_first; CREATE SCHEMA a_second; \
             CREATE TABLE b_first.twice (id int); CREATE TABLE a_second.twice (id int); \
             GRANT USAGE ON SCHEMA b_first, a_second TO walker; GRANT SELECT ON b_first.twice TO walker; \
             ALTER ROLE walker IN DATABASE warehouse SET search_path = b_first, a_second",
        )
        .await;
    let case = Case::of("walker").on("", "twice", &[Read]).with(|settings| settings.schema = None);
    case.passes().await;
    server().execute("ALTER ROLE walker IN DATABASE warehouse SET search_path = a_second, b_first").await;
    case.ends(Stage::Access, Reason::PermissionDenied).await;
}

#[tokio::test]
async fn what_redshift_does_not_tell_of_a_table_elsewhere_is_said() {
    let case = |table, permissions| Case::of("analyst").on("lake", table, permissions);
    for table in ["events", "visits"] {
        assert_eq!(case(table, &[]).passes().await, Proof::default());
        assert_eq!(case(table, &[List]).passes().await, Proof::default());
    }
    assert_eq!(case("events", &[Read]).passes().await.unproven(), ["the rights behind an external table"]);
    for (table, permissions, words) in [
        ("events", &[Write][..], "(Write)"),
        ("events", &[Read, Write], "(Write)"),
        ("visits", &[Read], "(Read)"),
        ("visits", &[List, Read, Write], "(Read, Write)"),
    ] {
        let message = case(table, permissions).ends(Stage::Access, Reason::PermissionNotProvable).await;
        assert!(message.contains(&format!("on table lake.{table}")) && message.contains(words), "{message}");
    }
    case("absent", &[]).ends(Stage::Access, Reason::TargetNotFound).await;
}

#[tokio::test]
async fn a_table_elsewhere_needs_the_right_on_its_schema() {
    let message =
        Case::of("analyst").on("shown", "events", &[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on table shown.events (Read)"), "{message}");
    let case = Case::of("analyst").on("closed", "events", &[Read]);
    case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
}

// What is given away to whom.

#[tokio::test]
async fn a_readable_password_goes_to_a_verified_server_only() {
    role_of_its_own("careful").await;
    let case = Case::of("careful");
    let require = case.clone().tls(|tls| tls.mode = Mode::Require);
    let message = require.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(message.contains("VerifyFull"), "{message}");
    // This server lets nobody in without TLS, and says so before it asks.
    let message =
        case.clone().tls(|tls| tls.mode = Mode::Disable).ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(message.contains("(28000)") && message.contains("VerifyFull"), "{message}");
    // A password that came, right or wrong, leaves a line: authenticated, authorized or failed.
    let told = server().log("careful");
    assert!(!told.iter().any(|line| line.contains("auth")), "{told:?}");
    for mode in [Mode::VerifyCa, Mode::VerifyFull] {
        case.clone().tls(|tls| tls.mode = mode).passes().await;
    }
}

// What a look leaves behind.

#[tokio::test]
async fn one_look_is_one_login_that_says_who_it_is_and_ends() {
    role_of_its_own("counted").await;
    for (password, passes) in [("counted-secret", true), ("hunter2-wrong", false)] {
        let before = server().logins("counted");
        let report = Case::of("counted").secret("password", password).asks(&[List]).probe().await;
        assert_eq!(report.proof().is_some(), passes, "{report:?}");
        assert_eq!(server().logins("counted"), before + 1, "{:?}", server().log("counted"));
    }
    let log = server().log("counted");
    assert!(log.iter().any(|line| line.contains("application_name=connection-operator")), "{log:?}");
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    let nobody_is_left = async {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'counted'";
        while server().execute(sessions).await.as_deref() != Some("0") {
            clock.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, nobody_is_left).await.expect("a session is left");
}

/// Makes a role that one test only uses, so that what the log says about it is about that test.
async fn role_of_its_own(role: &str) {
    let statements = format!("SET password_encryption = 'md5'; CREATE ROLE \"{role}\" LOGIN PASSWORD '{role}-secret'");
    server().execute(&statements).await;
}
