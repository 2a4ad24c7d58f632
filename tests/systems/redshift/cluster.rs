//! What moto answers about a cluster, an emulator of AWS that enforces policies, and what the database then takes: users with exactly
//! the rights that docs.md prints, and which requests reach the service. The temporary password holds the word that no message may show.

use std::collections::BTreeSet;

use super::*;
use crate::harness::{
    moto::{self, Credentials},
    proxy::Proxy,
};

/// A connection as the database user `analyst`, with a temporary password that is asked for with `user`'s key.
fn of(user: &str) -> Case {
    with_keys(&moto::server().user(user))
}

fn with_keys(keys: &Credentials) -> Case {
    let (database, service) = (server(), moto::server());
    let iam = json!({"clusterIdentifier": "sales", "dbUser": "analyst"});
    let case = Case::at(database.address).asking(service.https, iam, &keys.key, &keys.secret);
    let case = case.secret("sessionToken", keys.token.as_deref().unwrap_or_default());
    case.tls(|tls| tls.roots = both(&database.said.ca_pem(), &service.said.ca_pem()))
}

/// The same as the role that may ask.
fn assuming(case: Case, external_id: &str) -> Case {
    let service = moto::server();
    let endpoint = format!("https://{}", service.https);
    case.but(&json!({"assumeRole": {"roleARN": service.role(), "externalID": external_id, "endpoint": endpoint}}))
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(of("analyst").on("sales", "orders", &[List, Read]).passes().await, Proof::default());
    let by_username = of("analyst").but(&json!({"dbUser": null}));
    by_username.with(|settings| settings.username = Some("analyst".to_owned())).passes().await;
    let message = of("analyst").on("sales", "orders", &[Write]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on table sales.orders (Write)"), "{message}");
}

#[tokio::test]
async fn wrong_keys_are_called_so_by_the_service() {
    let service = moto::server().https.to_string();
    for (case, code) in [
        (of("analyst").secret("accessKeyId", "AKIAIOSFODNN7EXAMPLE"), "(InvalidClientTokenId)"),
        (of("analyst").secret("secretAccessKey", "hunter2-wrong"), "(SignatureDoesNotMatch)"),
    ] {
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.starts_with(&service) && message.contains(code), "{message}");
    }
}

#[tokio::test]
async fn a_database_user_who_is_not_there_is_told_from_a_wrong_key() {
    let case = of("admin").but(&json!({"dbUser": "stranger"}));
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.starts_with(&server().address.to_string()) && message.contains("dbUser"), "{message}");
}

#[tokio::test]
async fn a_missing_cluster_is_named() {
    let case = of("admin").but(&json!({"clusterIdentifier": "absent"}));
    let message = case.ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.starts_with("cluster absent does not exist (ClusterNotFound)"), "{message}");
}

#[tokio::test]
async fn nobody_listens_and_nobody_is_trusted_at_each_of_the_two() {
    let nobody = peer::nobody();
    let service = of("analyst").but(&json!({"endpoint": format!("https://{nobody}")}));
    let database = of("analyst").with(|settings| settings.port.0 = nobody.port());
    for case in [service, database] {
        let message = case.ends(Stage::Reach, Reason::ConnectionRefused).await;
        assert!(message.starts_with(&nobody.to_string()), "{message}");
    }
    let (ours, theirs) = (server().address, moto::server().https);
    for (roots, named) in [(server().said.ca(), theirs), (moto::server().said.ca(), ours)] {
        let case = of("analyst").tls(|tls| tls.roots = roots);
        let message = case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
        assert!(message.contains(&named.to_string()), "{message}");
    }
}

#[tokio::test]
async fn the_service_is_verified_though_the_database_need_not_be() {
    // With `Require` the database would be taken, and is not told the password.
    let case = of("analyst").tls(|tls| tls.mode = Mode::Require);
    let message = case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(message.starts_with(&server().address.to_string()), "{message}");
    let case = case.tls(|tls| tls.roots = server().said.ca());
    let message = case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    assert!(message.contains(&moto::server().https.to_string()), "{message}");
}

// Rights on the call.

#[tokio::test]
async fn each_right_that_the_call_needs_is_needed() {
    for case in [
        of("nobody"),
        of("guest"),
        of("analyst").but(&json!({"dbUser": "loader"})),
        of("analyst").with(|settings| settings.database = "orders".to_owned()),
    ] {
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        let expected = "not permitted on cluster sales (AccessDenied, redshift:GetClusterCredentials)";
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn a_role_asks_for_what_its_owner_may_not() {
    of("assumer").ends(Stage::Access, Reason::PermissionDenied).await;
    assuming(of("assumer"), "ext-1").on("sales", "orders", &[Read]).passes().await;
    let message = assuming(of("assumer"), "another").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains(moto::server().role()) && message.contains("sts:AssumeRole"), "{message}");
}

#[tokio::test]
async fn a_temporary_key_needs_its_token_and_ends() {
    let session = with_keys(&moto::server().session());
    session.clone().passes().await;
    session.secret("sessionToken", "").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    let message =
        with_keys(&moto::server().expired_session()).ends(Stage::Authenticate, Reason::CredentialsExpired).await;
    assert!(message.contains("(ExpiredToken)"), "{message}");
}

// What reaches whom.

#[tokio::test]
async fn one_look_is_one_call_and_one_login() {
    // A database user of its own tells which logins are this test's, and who comes to the services is counted on the way.
    server()
        .execute("SET password_encryption = 'md5'; CREATE ROLE \"IAM:lonely\" LOGIN PASSWORD 'lonely-canary'")
        .await;
    let (service, database) = (Proxy::to(moto::server().https).await, Proxy::to(server().address).await);
    let lonely = of("admin").but(&json!({"dbUser": "lonely", "endpoint": format!("https://{}", service.address)}));
    let lonely = lonely.with(|settings| settings.port.0 = database.address.port()).asks(&[List]);
    lonely.passes().await;
    let counts = || (service.connections(), database.connections(), server().logins("IAM:lonely"));
    assert_eq!(counts(), (1, 1, 1), "{:?}", server().log("IAM:lonely"));
    lonely.secret("secretAccessKey", "hunter2-wrong").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert_eq!(counts(), (2, 1, 1), "who has no password does not come to the database");
}

#[tokio::test]
async fn no_request_but_those_of_the_documentation_reaches_the_service() {
    of("analyst").on("sales", "orders", &[List, Read]).passes().await;
    of("guest").ends(Stage::Access, Reason::PermissionDenied).await;
    assuming(of("assumer"), "ext-1").passes().await;
    let requests = moto::server().requests_to("redshift");
    let shapes: BTreeSet<_> = requests.into_iter().map(|r| (r.action, r.method, r.target, r.tls)).collect();
    let listed = ("redshift:GetClusterCredentials".to_owned(), "POST".to_owned(), "/".to_owned(), true);
    assert_eq!(shapes, BTreeSet::from([listed]));
}
