//! What the real Elasticsearch answers, as users with exactly the rights that docs.md prints.

use connection_operator::net::tls::Roots;

use super::*;

fn case(user: &str) -> Case {
    Case::of(Server::elasticsearch(), user)
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(case("nobody").passes().await, Proof::default());
    assert_eq!(case("finder").on("orders", &[]).passes().await, Proof::default());
    case("reader").on("orders", &[]).passes().await;
    case("reader").on("orders", &[Read]).passes().await;
    case("writer").on("orders", &[Write]).passes().await;
    case("clerk").on("orders", &[Read, Write]).passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_after_one_login() {
    let server = Server::elasticsearch();
    for wrong in [
        case("reader").secret("password", "hunter2-wrong"),
        case("reader-who-is-not-there"),
        case("reader").by("apiKey", "c2hvcA:hunter2-wrong-key"),
        case("reader").by("apiKey", "aWQ6aHVudGVyMi13cm9uZw=="),
        case("reader").by("bearerToken", "hunter2-wrong-token"),
    ] {
        let (first, second) = (Proxy::to(server.address).await, Proxy::to(server.address).await);
        let wrong = wrong.hosts(&[first.address, second.address]).on("orders", &[Read]);
        let message = wrong.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.starts_with(&format!("{} rejects", first.address)), "{message}");
        assert!(message.contains("(401, security_exception)"), "{message}");
        assert!(message.contains("while its security index is not available"), "{message}");
        assert_eq!((first.connections(), second.connections()), (2, 0), "who is there, and who we are; no other host");
    }
}

#[tokio::test]
async fn a_login_without_credentials_is_asked_for() {
    let message = case("reader").nobody().ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("name a Secret in spec.credentials"), "{message}");
}

#[tokio::test]
async fn a_missing_index_is_named_where_it_may_be_looked_for() {
    for permissions in [&[][..], &[Read], &[Write], &[Read, Write]] {
        let message = case("admin").on("absent", permissions).ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with("index absent does not exist (404, index_not_found_exception)"), "{message}");
        for index in ["absent", "payments"] {
            let case = case("reader").on(index, permissions);
            let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
            assert!(message.starts_with(&format!("index {index} does not exist or may not be seen")), "{message}");
        }
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody = peer::nobody();
    let message = case("reader").hosts(&[nobody]).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.starts_with(&nobody.to_string()), "{message}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let other = Server::elasticsearch().said.other_ca();
    let case = case("reader").tls(|tls| tls.roots = other);
    case.clone().ends(Stage::Reach, Reason::CertificateUntrusted).await;
    case.clone().tls(|tls| tls.mode = Mode::VerifyCa).ends(Stage::Reach, Reason::CertificateUntrusted).await;
    case.tls(|tls| tls.roots = Roots::System).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, words) in [("finder", "(Read, Write)"), ("reader", "(Write)"), ("writer", "(Read)")] {
        let case = case(user).on("orders", &[Read, Write]);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on index orders {words}")), "{user}: {message}");
    }
}

#[tokio::test]
async fn who_may_write_and_not_look_is_not_told_that_the_index_is_there() {
    for (permissions, words) in
        [(&[][..], "credentials:"), (&[Write], "credentials:"), (&[Read], "credentials (Read):")]
    {
        let case = case("appender").on("orders", permissions);
        let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
        assert!(message.contains(words) && message.contains("view_index_metadata"), "{message}");
    }
}

#[tokio::test]
async fn an_index_that_is_closed_or_held_cannot_be_read_now() {
    let message = case("reader").on("shut", &[Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.starts_with("index shut exists and cannot be used now (400, index_closed_exception)"), "{message}");
    let message = case("reader").on("held", &[Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(
        message.starts_with("index held exists and cannot be used now (403, cluster_block_exception)"),
        "{message}"
    );
}

#[tokio::test]
async fn an_index_that_is_closed_or_held_is_not_there_to_be_written_to_either() {
    for permissions in [&[][..], &[Write]] {
        let message = case("admin").on("shut", permissions).ends(Stage::Access, Reason::TargetUnavailable).await;
        assert!(message.starts_with("index shut exists and cannot be used now (it is closed)"), "{message}");
    }
    for permissions in [&[Write][..], &[Read, Write]] {
        let message = case("admin").on("full", permissions).ends(Stage::Access, Reason::TargetUnavailable).await;
        assert!(message.starts_with("index full exists and cannot be used now (a block holds back"), "{message}");
        case("admin").on("orders", permissions).passes().await;
    }
    case("admin").on("full", &[Read]).passes().await;
    case("admin").on("held", &[Write]).passes().await;
}

#[tokio::test]
async fn an_alias_of_which_a_part_does_not_answer_cannot_be_read_now() {
    let message = case("admin").on("partly", &[Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.starts_with("index partly exists and cannot be used now (a shard does not answer)"), "{message}");
    case("admin").on("partly", &[]).passes().await;
    let message = case("admin").on("lost", &[Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.contains("(503, search_phase_execution_exception)"), "{message}");
}

#[tokio::test]
async fn an_alias_is_a_target_like_an_index() {
    case("admin").on("recent", &[Read, Write]).passes().await;
    case("reader").on("recent", &[Read]).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
}

// Ways to log in.

#[tokio::test]
async fn a_bearer_token_of_a_service_account_logs_in() {
    let token = &Server::elasticsearch().said["TOKEN"];
    assert_eq!(case("reader").by("bearerToken", token).passes().await, Proof::default());
    let case = case("reader").by("bearerToken", token).on("orders", &[Read]);
    case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
}

#[tokio::test]
async fn a_password_is_sent_to_a_verified_peer_only() {
    let proxy = Proxy::to(Server::elasticsearch().address).await;
    let case = case("reader").hosts(&[proxy.address]).tls(|tls| tls.mode = Mode::Require);
    let message = case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(message.contains("VerifyFull"), "{message}");
    assert_eq!(proxy.connections(), 1);
    // With nothing to send there is nothing to protect.
    let message = case.nobody().ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(401, security_exception)"), "{message}");
}

#[tokio::test]
async fn a_host_that_speaks_tls_is_not_spoken_to_without() {
    let address = Server::elasticsearch().address;
    Case::plain(address).ends(Stage::Reach, Reason::ConnectionClosed).await;
}

// Several hosts.

#[tokio::test]
async fn one_host_that_answers_is_enough_and_those_that_do_not_are_named() {
    let server = Server::elasticsearch();
    let (refuses, proxy, behind) = (peer::nobody(), Proxy::to(server.address).await, Proxy::to(server.address).await);
    let proof = case("reader").hosts(&[proxy.address, refuses]).on("orders", &[Read]).passes().await;
    assert_eq!(proof, Proof::default());
    let several = case("reader").hosts(&[refuses, proxy.address, behind.address]).on("orders", &[Read]);
    let proof = several.passes().await;
    assert_eq!(proof, case::past([refuses]));
    assert_eq!(behind.connections(), 0, "hosts behind the one that answers are not dialled");
}

#[tokio::test]
async fn one_look_is_three_requests_to_one_host() {
    let proxy = Proxy::to(Server::elasticsearch().address).await;
    case("reader").hosts(&[proxy.address]).on("orders", &[Read]).passes().await;
    assert_eq!(proxy.connections(), 3, "who, with which privileges, on what");
}
