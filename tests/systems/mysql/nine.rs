//! What MySQL 9 answers, as users with exactly the rights that docs.md prints: the laws of its own way to log in, and its own codes.

use std::{sync::LazyLock, time::Duration};

use connection_operator::{
    connections::Permission,
    failure::{Proof, Reason, Stage},
    net::tls::Mode,
};

use super::{caching, connection::Case};
use crate::harness::{
    DEADLINE, eventually,
    mysql::{self, Server},
};
use Permission::{Read, Write};

/// The server, started by the first test that asks.
fn server() -> &'static Server {
    static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(|| mysql::start("mysql9", "mysql9", ""));
    SERVER.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

fn of(user: &str) -> Case {
    Case::at_server(server(), user)
}

/// A user that nobody has logged in as.
async fn fresh(user: &str) -> Case {
    server().execute(&format!("CREATE USER {user} IDENTIFIED BY '{user}-secret'")).await;
    of(user)
}

#[tokio::test]
async fn the_password_is_told_to_a_verified_server_only_and_then_known_by_its_answer() {
    caching::the_password_goes_to_a_verified_server_only(fresh("told").await).await;
}

#[tokio::test]
async fn a_wrong_password_is_known_where_it_may_be_told() {
    caching::a_wrong_password_is_rejected_where_it_may_be_told(fresh("mistaken").await).await;
}

#[tokio::test]
async fn sha256_password_is_told_to_a_verified_server_only() {
    of("older").on("orders", &[Read]).passes().await;
    for mode in [Mode::Disable, Mode::Require] {
        of("older").tls(|tls| tls.mode = mode).ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    }
}

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(of("reader").on("orders", &[Read]).passes().await, Proof::default());
    of("inserter").on("orders", &[Write]).passes().await;
    of("overseer").on("orders", &[Read, Write]).passes().await;
    of("reader").database().passes().await;
    of("nobody").passes().await;
    of("inserter").on("orders", &[]).passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    for case in [of("reader").secret("password", "hunter2-wrong"), of("a-user-who-is-not-there")] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(1045)"), "{message}");
    }
    of("tlsonly").passes().await;
    let plain = of("tlsonly").tls(|tls| tls.mode = Mode::Disable);
    let message = plain.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(1045)") && message.contains("spec.tls.mode"), "{message}");
}

#[tokio::test]
async fn a_missing_target_is_named_or_not_told() {
    for name in ["absent", "Orders", "orders`; DROP TABLE orders", "orders "] {
        for permissions in [&[][..], &[Read], &[Write]] {
            of("overseer").on(name, permissions).ends(Stage::Access, Reason::TargetNotFound).await;
        }
    }
    for table in ["absent", "payments"] {
        for permissions in [&[][..], &[Read], &[Write], &[Read, Write]] {
            let case = of("reader").on(table, permissions);
            case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
        }
    }
    let message = of("nobody").database().ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    assert!(message.contains("(1044)"), "{message}");
    let everywhere = fresh("everywhere").await;
    server().execute("GRANT SELECT ON *.* TO everywhere").await;
    let payments = everywhere.with(|settings| settings.database = Some("payments".to_owned()));
    let message = payments.ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.contains("(1049)"), "{message}");
}

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, missing) in [("reader", "Write"), ("inserter", "Read")] {
        let message = of(user).on("orders", &[Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.contains(&format!("({missing}, 1142)")), "{message}");
    }
}

#[tokio::test]
async fn asking_whether_one_may_write_writes_nothing() {
    server()
        .execute(
            "CREATE TABLE orders.strict (id int PRIMARY KEY AUTO_INCREMENT, note enum('x') NOT NULL, next int AS (note + 1) STORED)
             CREATE TABLE orders.seen (id int)
             CREATE TRIGGER orders.watch BEFORE INSERT ON orders.strict FOR EACH ROW INSERT INTO orders.seen VALUES (1)",
        )
        .await;
    of("overseer").on("strict", &[Read, Write]).passes().await;
    for table in ["strict", "seen"] {
        let count = server().execute(&format!("SELECT count(*) FROM orders.{table}")).await;
        assert_eq!(count.as_deref(), Some("0"), "{table}");
    }
    of("overseer").on("big_orders", &[Read, Write]).passes().await;
}

#[tokio::test]
async fn a_locked_account_and_an_expired_password_are_told_from_a_wrong_one() {
    let message = of("locked").ends(Stage::Authenticate, Reason::AccountLocked).await;
    assert!(message.contains("(3118)"), "{message}");
    let message = of("expired").ends(Stage::Authenticate, Reason::CredentialsExpired).await;
    assert!(message.contains("(1862)"), "{message}");
    let case = fresh("careless").await;
    server().execute("ALTER USER careless FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1").await;
    case.clone().secret("password", "hunter2-wrong").ends(Stage::Authenticate, Reason::AccountLocked).await;
    let message = case.ends(Stage::Authenticate, Reason::AccountLocked).await;
    assert!(message.contains("(3955)"), "{message}");
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_without_tls_and_takes_no_writes_says_so() {
    let server = mysql::start("mysql9", "mysql9-strict", "--require-secure-transport --read-only").unwrap();
    let case = Case::at_server(&server, "reader");
    case.passes().await;
    let message = case.tls(|tls| tls.mode = Mode::Disable).ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(message.contains("(3159)"), "{message}");
    let writer = Case::at_server(&server, "overseer").on("orders", &[Write]);
    let message = writer.ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.contains("1290"), "{message}");
}

#[tokio::test]
async fn a_table_that_somebody_has_locked_is_out_of_time_and_a_look_says_who_it_is() {
    let server = server();
    let case = fresh("patient").await;
    server
        .execute(
            "CREATE TABLE orders.busy (id int)
             GRANT SELECT, INSERT ON orders.busy TO patient",
        )
        .await;
    let case = case.on("busy", &[Read]);
    case.passes().await;
    let mut holder = server.administrator().await;
    holder.execute("LOCK TABLES orders.busy WRITE").await;
    let looking = tokio::spawn({
        let case = case.clone().within(Duration::from_secs(3));
        async move { case.ends(Stage::Access, Reason::TimedOut).await }
    });
    let question = "SELECT ATTR_VALUE FROM performance_schema.session_connect_attrs a JOIN information_schema.PROCESSLIST p \
                    ON a.PROCESSLIST_ID = p.ID WHERE p.USER = 'patient' AND ATTR_NAME = 'program_name'";
    let name = eventually(DEADLINE, "a session", async || server.execute(question).await).await;
    assert_eq!(name, "connection-operator");
    let message = looking.await.unwrap();
    assert!(message.contains("(1205)"), "{message}");
    holder.execute("UNLOCK TABLES").await;
    case.passes().await;
    let sessions = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = 'patient'";
    eventually(DEADLINE, "no session is left", async || {
        (server.execute(sessions).await.as_deref() == Some("0")).then_some(())
    })
    .await;
    for session in server.sessions("patient") {
        assert_eq!(session.commands.last().map(String::as_str), Some("Quit"), "{session:?}");
    }
}
