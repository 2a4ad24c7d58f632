//! What the real OpenSearch answers, as users with exactly the rights that docs.md prints.

use super::*;

fn case(user: &str) -> Case {
    Case::of(Server::opensearch(), user)
}

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(case("nobody").passes().await, Proof::default());
    assert_eq!(case("finder").on("orders", &[]).passes().await, Proof::default());
    case("searcher").on("orders", &[]).passes().await;
    case("searcher").on("orders", &[Read]).passes().await;
    case("reader").on("orders", &[Read]).passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_at_the_first_host() {
    let server = Server::opensearch();
    for wrong in [
        case("reader").secret("password", "hunter2-wrong"),
        case("reader-who-is-not-there"),
        case("reader").by("bearerToken", "hunter2-wrong-token"),
        case("reader").by("bearerToken", &server.said["TOKEN_EXPIRED"]),
    ] {
        let (first, second) = (Proxy::to(server.address).await, Proxy::to(server.address).await);
        let wrong = wrong.hosts(&[first.address, second.address]).on("orders", &[Read]);
        let message = wrong.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(401)"), "{message}");
        // The first question is Elasticsearch's, without the login and with it, which nobody looks at the login for.
        assert_eq!((first.connections(), second.connections()), (3, 0));
    }
    let message =
        case("reader").by("apiKey", "id:hunter2").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("knows no API keys"), "{message}");
    let message = case("reader").nobody().ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("name a Secret"), "{message}");
}

#[tokio::test]
async fn a_missing_index_is_named_where_it_may_be_looked_for() {
    for permissions in [&[][..], &[Read], &[Write]] {
        let message = case("admin").on("absent", permissions).ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with("index absent does not exist (404, index_not_found_exception)"), "{message}");
        for (user, index) in [("reader", "absent"), ("reader", "payments"), ("finder", "absent"), ("nobody", "orders")]
        {
            let case = case(user).on(index, permissions);
            let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
            assert!(message.starts_with(&format!("index {index} does not exist or may not be seen")), "{message}");
        }
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_one_that_cannot_be_known_is_not_green() {
    let message = case("finder").on("orders", &[Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on index orders (Read)"), "{message}");
    for (user, permissions) in [("admin", &[Read, Write][..]), ("reader", &[Read, Write]), ("finder", &[Write])] {
        let message = case(user).on("orders", permissions).ends(Stage::Access, Reason::PermissionNotProvable).await;
        assert!(message.contains("index orders") && message.contains("(Write)"), "{message}");
    }
}

#[tokio::test]
async fn an_index_that_is_closed_cannot_be_read_now() {
    let message = case("admin").on("shut", &[]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.starts_with("index shut exists and cannot be used now (it is closed)"), "{message}");
    let message = case("reader").on("shut", &[Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
    assert!(message.starts_with("index shut exists and cannot be used now (400, index_closed_exception)"), "{message}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let other = Server::opensearch().said.other_ca();
    case("reader").tls(|tls| tls.roots = other).ends(Stage::Reach, Reason::CertificateUntrusted).await;
}

#[tokio::test]
async fn a_client_certificate_logs_in() {
    let server = Server::opensearch();
    let case = case("reader").nobody();
    let known = case.clone().tls(|tls| tls.identity = Some(server.said.identity()));
    assert_eq!(known.on("orders", &[Read]).passes().await, Proof::default());
    case.on("orders", &[Read]).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn a_bearer_token_logs_in() {
    let token = &Server::opensearch().said["TOKEN"];
    assert_eq!(case("reader").by("bearerToken", token).on("orders", &[Read]).passes().await, Proof::default());
}
