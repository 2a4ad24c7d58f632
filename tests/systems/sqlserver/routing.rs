//! A server that sends the login elsewhere, as the gateways of Azure SQL do.

use super::*;
use crate::{case::world, harness::peer::nobody};

/// A server that sends to `address`.
async fn gateway(address: SocketAddr) -> Server {
    let (host, port) = (address.ip().to_string(), address.port());
    server(move |manner| manner.login = Box::new(move |_| tokens::routed(&host, port))).await
}

#[tokio::test]
async fn a_login_is_made_where_the_server_sends_it() {
    let target = server(|manner| manner.question = Box::new(|_, _| tokens::row([Some(1); 5]))).await;
    let gateway = gateway(target.peer.address).await;
    Case::at(&gateway).on("dbo", "orders", &[Read, Write]).passes().await;
    let (first, second) = (gateway.heard(), target.heard());
    assert_eq!((gateway.peer.accepted(), target.peer.accepted()), (1, 1));
    assert_eq!((first.logins.len(), second.logins.len(), first.questions.len()), (1, 1, 0));
    assert_eq!(second.logins[0].password, "reader-Secret;é");
}

#[tokio::test]
async fn a_rejection_counts_where_it_is_made() {
    let target = server(|manner| manner.login = Box::new(|_| tokens::refused(&[18_456]))).await;
    let gateway = gateway(target.peer.address).await;
    let message = Case::at(&gateway).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.starts_with(&target.peer.address.to_string()), "{message}");
    assert_eq!((gateway.heard().logins.len(), target.heard().logins.len()), (1, 1));
}

#[tokio::test]
async fn a_second_redirect_is_not_followed() {
    let last = server(|_| {}).await;
    let between = gateway(last.peer.address).await;
    let first = gateway(between.peer.address).await;
    let message = Case::at(&first).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("sends it on"), "{message}");
    assert_eq!(last.peer.accepted(), 0);
}

#[tokio::test]
async fn where_a_login_is_sent_is_judged_by_the_egress_policy() {
    let target = server(|_| {}).await;
    let gateway = gateway(target.peer.address).await;
    let world = world(&[&format!("127.0.0.0/8:{}", gateway.peer.address.port())], &[]);
    let message = Case::at(&gateway).in_world(world).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&target.peer.address.to_string()), "{message}");
    assert_eq!(target.peer.accepted(), 0);
}

#[tokio::test]
async fn who_cannot_show_a_certificate_for_its_own_name_is_sent_no_login() {
    let stranger = Authority::new().config(&["127.0.0.1"], Clients::Anybody, rustls::DEFAULT_VERSIONS);
    let other = AUTHORITY.config(&["orders.database.example"], Clients::Anybody, rustls::DEFAULT_VERSIONS);
    for (config, reason) in [(stranger, Reason::CertificateUntrusted), (other, Reason::CertificateNameMismatch)] {
        let target = server(|manner| manner.tls = Arc::new(config)).await;
        let gateway = gateway(target.peer.address).await;
        Case::at(&gateway).ends(Stage::Reach, reason).await;
        assert_eq!((target.peer.accepted(), target.heard().logins.len()), (1, 0));
    }
}

#[tokio::test]
async fn the_name_in_the_spec_is_the_first_servers_and_not_the_next_ones() {
    let config = |names: &[&str]| Arc::new(AUTHORITY.config(names, Clients::Anybody, rustls::DEFAULT_VERSIONS));
    let target = server(|_| {}).await;
    let (host, port) = (target.peer.address.ip().to_string(), target.peer.address.port());
    let gateway = server(move |manner| {
        manner.tls = config(&["orders.database.example"]);
        manner.login = Box::new(move |_| tokens::routed(&host, port));
    })
    .await;
    let case = Case::at(&gateway).tls(|tls| tls.server_name = Some("orders.database.example".to_owned()));
    case.passes().await;
    assert_eq!(target.heard().logins[0].server, "127.0.0.1");
}

#[tokio::test]
async fn a_host_that_a_server_names_is_not_repeated() {
    let gone = nobody();
    let server = server(move |manner| {
        manner.login = Box::new(move |_| tokens::routed("canary.invalid", gone.port()));
    })
    .await;
    let message = Case::at(&server).ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("an address that the server advertises"), "{message}");
}

#[tokio::test]
async fn a_redirect_to_what_is_no_host_is_none() {
    for (host, port) in [("", 1433), ("canary host", 1433), ("canary/x", 1433), ("127.0.0.1", 0)] {
        let server = server(move |manner| manner.login = Box::new(move |_| tokens::routed(host, port))).await;
        Case::at(&server).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
}
