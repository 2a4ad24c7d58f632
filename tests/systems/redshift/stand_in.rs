//! What peers may do in the place of a Redshift that PostgreSQL does not: silence, noise, its own codes and its own ways to log in.

use tokio::{net::TcpStream, sync::mpsc};

use super::*;
use crate::harness::{
    authority::{Authority, Clients},
    pgwire::{CLEARTEXT, MD5, OK, READY, answering, authentication, error, message, read_to_end, send, start_up},
};
use peer::Peer;

/// A case against `peer`, with and without TLS.
fn plain(peer: &Peer) -> Case {
    encrypted(peer).tls(|tls| tls.mode = Mode::Disable)
}

fn encrypted(peer: &Peer) -> Case {
    Case::at(peer.address).secret("username", "analyst").secret("password", "analyst-secret")
}

/// A peer that is verified, and says `parts` one after the other, each when it has heard a message.
async fn verified(parts: &'static [&'static [u8]]) -> (Peer, Case) {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], Clients::Anybody);
    let peer = Peer::that(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            start_up(&mut stream).await;
            send(&mut stream, &[b"S"]).await;
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            start_up(&mut stream).await;
            for (n, part) in parts.iter().enumerate() {
                if n > 0 {
                    message(&mut stream).await;
                }
                send(&mut stream, &[part]).await;
            }
            read_to_end(&mut stream).await;
        }
    })
    .await;
    let case = encrypted(&peer).tls(|tls| tls.roots = authority.roots());
    (peer, case)
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let peer = Peer::that(async |mut stream: TcpStream| drop(read_to_end(&mut stream).await)).await;
    for case in [plain(&peer), encrypted(&peer)] {
        case.soon().ends(Stage::Reach, Reason::TimedOut).await;
    }
}

#[tokio::test]
async fn a_peer_that_closes_or_speaks_something_else_is_called_so_while_it_is_reached() {
    let peer = Peer::that(async |stream| drop(stream)).await;
    for case in [plain(&peer), encrypted(&peer)] {
        case.ends(Stage::Reach, Reason::ConnectionClosed).await;
    }
    let peer = answering(&[b"HTTP/1.1 400 Bad Request\r\n\r\n"]).await;
    for case in [plain(&peer), encrypted(&peer)] {
        case.ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
    let peer = answering(&[b"N"]).await;
    encrypted(&peer).ends(Stage::Reach, Reason::TLSNotOffered).await;
}

#[tokio::test]
async fn a_wrong_password_is_28000_whether_it_was_asked_for_or_not() {
    // As a Redshift of 2024 sent it (aws/amazon-redshift-python-driver#237).
    const WRONG: &[u8] = b"E\0\0\0\x35SFATAL\0C28000\0Mcanary\0Fauth.c\0L425\0Rauth_failed\0\0";
    for parts in [&[CLEARTEXT, WRONG][..], &[MD5, WRONG], &[WRONG]] {
        let (peer, case) = verified(parts).await;
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(28000)") && message.contains("unknown user"), "{message}");
        assert_eq!(peer.accepted(), 1, "one login per look");
    }
}

#[tokio::test]
async fn a_digest_or_a_token_is_no_way_to_log_in_here_and_the_sentence_says_which_is() {
    // What Redshift's drivers call AUTH_REQ_DIGEST and AUTH_REQ_IDP; and GSSAPI.
    for kind in [13, 14, 7] {
        let peer = answering(&[&authentication(kind, &[0; 16])]).await;
        let message = plain(&peer).ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
        assert!(message.contains("SHA-256") && message.contains("redshift.iam"), "{message}");
    }
}

#[tokio::test]
async fn a_readable_password_is_not_sent_to_a_peer_that_is_not_verified() {
    for request in [CLEARTEXT, MD5] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let peer = Peer::that(move |mut stream| {
            let sent = sent.clone();
            async move {
                start_up(&mut stream).await;
                send(&mut stream, &[request]).await;
                let _ = sent.send(read_to_end(&mut stream).await);
            }
        })
        .await;
        plain(&peer).ends(Stage::Authenticate, Reason::EncryptionRequired).await;
        assert_eq!(heard.recv().await.unwrap(), b"", "the password was sent");
    }
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled_whoever_is_there() {
    let silent = || Peer::that(async |mut stream: TcpStream| drop(read_to_end(&mut stream).await));
    let (host, api, sts) = (silent().await, silent().await, silent().await);
    let iam = json!({"clusterIdentifier": "sales", "dbUser": "analyst"});
    let asking = Case::at(host.address).asking(api.address, iam, "AKIAIOSFODNN7EXAMPLE", "hunter2");
    let asking = asking.tls(|tls| tls.roots = Authority::new().roots());
    let role = json!({
        "roleARN": "arn:aws:iam::123456789012:role/analyst", "endpoint": format!("https://{}", sts.address),
    });
    for (peer, case) in
        [(&host, plain(&host)), (&api, asking.clone()), (&sts, asking.but(&json!({ "assumeRole": role })))]
    {
        let forbidden = case.clone().in_world(case::world(&[], &[]));
        let message = forbidden.ends(Stage::Reach, Reason::AddressNotAllowed).await;
        assert!(message.contains(&peer.address.to_string()), "{message}");
        assert_eq!(peer.accepted(), 0);
        // What is allowed comes to it.
        case.soon().ends(Stage::Reach, Reason::TimedOut).await;
        assert_eq!(peer.accepted(), 1);
    }
}

#[tokio::test]
async fn every_code_of_a_refused_login_has_its_name() {
    use {Reason as R, Stage as S};
    for (code, stage, reason) in [
        ("28000", S::Authenticate, R::EncryptionRequired),
        ("28P01", S::Authenticate, R::AuthenticationFailed),
        ("28P99", S::Authenticate, R::AuthenticationFailed),
        ("3D000", S::Access, R::TargetNotFound),
        ("42501", S::Access, R::PermissionDenied),
        ("55000", S::Access, R::TargetUnavailable),
        ("53300", S::Authenticate, R::ServerUnavailable),
        ("57P03", S::Authenticate, R::ServerUnavailable),
        ("08P01", S::Authenticate, R::ServerUnavailable),
        ("XX000", S::Authenticate, R::ServerUnavailable),
        ("57014", S::Authenticate, R::TimedOut),
        ("0A000", S::Reach, R::ProtocolMismatch),
    ] {
        let peer = answering(&[&error(code, "canary", "canary")]).await;
        let message = plain(&peer).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
    }
}

#[tokio::test]
async fn every_code_of_a_refused_statement_has_its_name() {
    use {Reason as R, Stage as S};
    for (code, stage, reason) in [
        ("42501", S::Access, R::PermissionDenied),
        ("57014", S::Access, R::TimedOut),
        ("57P01", S::Access, R::ServerUnavailable),
        ("XX000", S::Access, R::ServerUnavailable),
        // What Redshift says where a function of the leader node meets what is not there.
        ("0A000", S::Reach, R::ProtocolMismatch),
        ("42883", S::Reach, R::ProtocolMismatch),
    ] {
        let peer = Peer::that(async move |mut stream| {
            start_up(&mut stream).await;
            send(&mut stream, &[OK, READY]).await;
            message(&mut stream).await;
            send(&mut stream, &[&error(code, "canary", "canary"), READY]).await;
            read_to_end(&mut stream).await;
        })
        .await;
        let message = plain(&peer).on("sales", "orders", &[]).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
    }
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_is_to_be_known_and_a_look_says_goodbye() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = Peer::that(move |mut stream| {
        let sent = sent.clone();
        async move {
            let _ = sent.send(start_up(&mut stream).await);
            send(&mut stream, &[OK, READY]).await;
            let _ = sent.send(read_to_end(&mut stream).await);
        }
    })
    .await;
    let proof = plain(&peer).passes().await;
    assert_eq!(proof.unproven(), ["the password, which the server did not ask for", SILENT]);
    let start_up = heard.recv().await.unwrap();
    assert_eq!(start_up[..4], [0, 3, 0, 0], "the version of the protocol that Redshift has");
    let names: Vec<&[u8]> = start_up[4..].split(|byte| *byte == 0).step_by(2).filter(|name| !name.is_empty()).collect();
    let known: [&[u8]; 4] = [b"client_encoding", b"user", b"database", b"application_name"];
    assert_eq!(names, known, "Redshift rejects start-up parameters that it does not know");
    assert_eq!(heard.recv().await.unwrap(), b"X\0\0\0\x04", "a statement would be billed");
}
