//! What peers may do that the real PostgreSQL does rarely or never: silence, noise, lies, and codes of rare states.

use std::sync::atomic::{AtomicU32, Ordering};

use connection_operator::net::tls::Mode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::harness::pgwire::{
    CLEARTEXT, MD5, OK, READY, answering, authentication, columns, empty, error, letting_in, message, read_to_end,
    request, row, scram, scram_nonce, send, start_up,
};
use peer::Peer;

/// A case against `peer`, with and without TLS.
fn plain(peer: &Peer) -> Case {
    encrypted(peer).tls(|tls| tls.mode = Mode::Disable)
}

fn encrypted(peer: &Peer) -> Case {
    Case::at(peer.address).secret("username", "reader").secret("password", "reader-secret")
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let peer = Peer::that(async |mut stream| drop(read_to_end(&mut stream).await)).await;
    for case in [plain(&peer), encrypted(&peer)] {
        let begun = Instant::now();
        case.soon().ends(Stage::Reach, Reason::TimedOut).await;
        assert!(begun.elapsed() < LIMIT / 2);
    }
    let peer = Peer::that(async |mut stream| {
        // It agrees to TLS and then does none.
        send(&mut stream, &[b"S"]).await;
        read_to_end(&mut stream).await;
    })
    .await;
    encrypted(&peer).soon().ends(Stage::Reach, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_peer_that_closes_at_once_closes_the_connection_while_it_is_reached() {
    let peer = Peer::that(async |stream| drop(stream)).await;
    for case in [plain(&peer), encrypted(&peer)] {
        case.ends(Stage::Reach, Reason::ConnectionClosed).await;
    }
}

#[tokio::test]
async fn after_its_first_answer_a_peer_is_silent_or_gone_in_the_next_stage() {
    let silent = Peer::that(async |mut stream| {
        start_up(&mut stream).await;
        send(&mut stream, &[&scram("SCRAM-SHA-256")]).await;
        read_to_end(&mut stream).await;
    })
    .await;
    plain(&silent).later().ends(Stage::Authenticate, Reason::TimedOut).await;
    let gone = Peer::that(async |mut stream| {
        start_up(&mut stream).await;
        send(&mut stream, &[&scram("SCRAM-SHA-256")]).await;
        message(&mut stream).await;
    })
    .await;
    plain(&gone).ends(Stage::Authenticate, Reason::ConnectionClosed).await;
    let silent = Peer::that(async |mut stream| {
        start_up(&mut stream).await;
        send(&mut stream, &[OK, READY]).await;
        read_to_end(&mut stream).await;
    })
    .await;
    plain(&silent).on("public", "orders", &[]).later().ends(Stage::Access, Reason::TimedOut).await;
    let gone = Peer::that(async |mut stream| {
        start_up(&mut stream).await;
        send(&mut stream, &[OK, READY]).await;
        message(&mut stream).await;
    })
    .await;
    plain(&gone).on("public", "orders", &[]).ends(Stage::Access, Reason::ConnectionClosed).await;
}

#[tokio::test]
async fn a_peer_without_tls_does_not_offer_it() {
    let peer = Peer::that(async |mut stream| {
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.unwrap();
        send(&mut stream, &[b"N"]).await;
        assert_eq!(read_to_end(&mut stream).await, b"", "nothing is said without the encryption that is asked for");
    })
    .await;
    encrypted(&peer).ends(Stage::Reach, Reason::TLSNotOffered).await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_no_server_of_this_kind() {
    for noise in
        ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9\r\n", "\0\0\0\0\0\0", "E", "R\0\0\0\x04", "Rabbit"]
    {
        let peer = Peer::that(async |mut stream| {
            send(&mut stream, &[noise.as_bytes()]).await;
            stream.shutdown().await.unwrap();
            read_to_end(&mut stream).await;
        })
        .await;
        let (stage, failure) = plain(&peer).probe().await.failure().map(|(stage, f)| (stage, f.reason())).unwrap();
        // One letter that a server may begin with is not noise yet.
        let expected = if noise == "E" { Reason::ConnectionClosed } else { Reason::ProtocolMismatch };
        assert_eq!((stage, failure), (Stage::Reach, expected), "{noise}");
    }
    let peer = Peer::that(async |mut stream| {
        send(&mut stream, &[b"HTTP/1.1 400 Bad Request\r\n\r\n"]).await;
        read_to_end(&mut stream).await;
    })
    .await;
    encrypted(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    let peer = Peer::that(async |mut stream| {
        send(&mut stream, &[b"+OK"]).await;
        read_to_end(&mut stream).await;
    })
    .await;
    // It is known by its first byte: waiting for more would call it slow.
    plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled() {
    let peer = letting_in(|_| empty()).await;
    let message = plain(&peer).in_world(case::world(&[], &[])).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&peer.address.to_string()), "{message}");
    assert_eq!(peer.accepted(), 0);
    plain(&peer).passes().await;
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn ten_megabytes_are_not_read() {
    for beginning in [&[OK, READY][..], &[OK][..]] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let beginning: Vec<Vec<u8>> = beginning.iter().map(|part| part.to_vec()).collect();
        let peer = Peer::that(move |mut stream| {
            let (sent, beginning) = (sent.clone(), beginning.clone());
            async move {
                start_up(&mut stream).await;
                send(&mut stream, &beginning.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
                // One row that does not end.
                let mut total = 0;
                let mut chunk = [&b"D\x7f\xff\xff\xff"[..], &vec![0; 64 * 1024]].concat();
                while total < 10 * 1024 * 1024 && stream.write_all(&chunk).await.is_ok() {
                    total += chunk.len();
                    chunk.fill(0);
                }
                let _ = sent.send(total);
            }
        })
        .await;
        let message = plain(&peer).on("public", "orders", &[]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains("more than a probe accepts"), "{message}");
        assert!(heard.recv().await.unwrap() < 10 * 1024 * 1024);
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_out_of_time_where_it_got_to() {
    let drip = async |mut stream: TcpStream| {
        start_up(&mut stream).await;
        let mut clock = tokio::time::interval(Duration::from_millis(100));
        for byte in [&error("28P01", "canary", "auth_failed")[..], &[0; 1000]].concat() {
            clock.tick().await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    let peer = Peer::that(drip).await;
    plain(&peer).later().ends(Stage::Authenticate, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_peer_cannot_make_us_ask_for_types_that_are_made_of_types() {
    const FIRST: u32 = 70_000;
    let (sent, mut heard) = mpsc::unbounded_channel();
    let depth = AtomicU32::new(0);
    let peer = letting_in(move |asked| {
        let _ = sent.send(asked[0].1.clone());
        match &asked[0] {
            // What is asked for in the catalog, to whoever wants to know a type.
            (b'P', body) if body[0] != 0 => {
                let parsed = b"1\0\0\0\x04t\0\0\0\x0a\0\x01\0\0\0\x1a";
                [&parsed[..], &columns(&[19, 18, 26, 26, 26, 19, 26]), READY].concat()
            }
            (b'P', _) => {
                let parsed = b"1\0\0\0\x042\0\0\0\x04t\0\0\0\x06\0\0";
                [&parsed[..], &columns(&[FIRST]), b"C\0\0\0\x0dSELECT 0\0", READY].concat()
            }
            // The type is made of another one.
            _ => {
                let other = FIRST + 1 + depth.fetch_add(1, Ordering::Relaxed);
                let (other, none) = (other.to_be_bytes(), [0; 4]);
                let values = [&b"t"[..], b"b", &other, &none, &none, b"public", &none];
                [&b"2\0\0\0\x04"[..], &row(&values), b"C\0\0\0\x0dSELECT 1\0", READY].concat()
            }
        }
    })
    .await;
    let case = plain(&peer).on("public", "orders", &[Permission::Read]);
    let message = case.ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("a type that no probe asks for"), "{message}");
    drop(peer);
    assert_eq!(heard.recv().await.unwrap()[0], 0, "a statement without a name");
    assert_eq!(heard.recv().await, None, "and no other");
}

#[tokio::test]
async fn every_code_of_a_refused_login_has_its_name() {
    use {Reason as R, Stage as S};
    for (code, stage, reason) in [
        ("28P01", S::Authenticate, R::AuthenticationFailed),
        ("28000", S::Authenticate, R::EncryptionRequired),
        ("28P99", S::Authenticate, R::AuthenticationFailed),
        ("3D000", S::Access, R::TargetNotFound),
        ("57P04", S::Access, R::TargetNotFound),
        ("42501", S::Access, R::PermissionDenied),
        ("55000", S::Access, R::TargetUnavailable),
        ("53300", S::Authenticate, R::ServerUnavailable),
        ("53400", S::Authenticate, R::ServerUnavailable),
        ("57P01", S::Authenticate, R::ServerUnavailable),
        ("57P02", S::Authenticate, R::ServerUnavailable),
        ("57P03", S::Authenticate, R::ServerUnavailable),
        ("XX000", S::Authenticate, R::ServerUnavailable),
        ("57014", S::Authenticate, R::TimedOut),
        ("08P01", S::Reach, R::ProtocolMismatch),
        ("0A000", S::Reach, R::ProtocolMismatch),
    ] {
        let peer = answering(&[&error(code, "canary", "canary")]).await;
        let message = plain(&peer).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
        assert_eq!(peer.accepted(), 1, "one login per look");
    }
    let peer = answering(&[&error("hunter2", "canary", "canary")]).await;
    let message = plain(&peer).ends(Stage::Authenticate, Reason::ServerUnavailable).await;
    assert!(message.contains("unlisted code"), "{message}");
}

#[tokio::test]
async fn a_server_that_asked_for_a_password_and_says_28000_rejects_it() {
    // So do LDAP, PAM and RADIUS; here after SCRAM, which needs no verified peer.
    let peer = Peer::that(async |mut stream| {
        start_up(&mut stream).await;
        send(&mut stream, &[&scram("SCRAM-SHA-256")]).await;
        message(&mut stream).await;
        send(&mut stream, &[&error("28000", "canary", "auth_failed")]).await;
    })
    .await;
    plain(&peer).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn what_a_pooler_says_behind_its_one_code_is_understood() {
    use {Reason as R, Stage as S};
    for (text, stage, reason) in [
        ("SASL authentication failed", S::Authenticate, R::AuthenticationFailed),
        ("password authentication failed", S::Authenticate, R::AuthenticationFailed),
        ("no such user: canary", S::Authenticate, R::AuthenticationFailed),
        ("certificate authentication failed", S::Authenticate, R::ClientCertificateRequired),
        ("login rejected", S::Authenticate, R::SourceNotAllowed),
        ("SSL required", S::Authenticate, R::EncryptionRequired),
        ("no such database: canary", S::Access, R::TargetNotFound),
        ("database \"canary\" does not exist", S::Access, R::TargetNotFound),
        ("database \"canary\" is disabled", S::Access, R::TargetUnavailable),
        ("no more connections allowed (max_client_conn)", S::Authenticate, R::ServerUnavailable),
        ("query_wait_timeout", S::Authenticate, R::ServerUnavailable),
        ("canary", S::Authenticate, R::ServerUnavailable),
    ] {
        let peer = Peer::that(async move |mut stream| {
            start_up(&mut stream).await;
            send(&mut stream, &[&scram("SCRAM-SHA-256")]).await;
            message(&mut stream).await;
            send(&mut stream, &[&error("08P01", text, "canary")]).await;
        })
        .await;
        let message = plain(&peer).ends(stage, reason).await;
        assert!(message.contains("(08P01)"), "{message}");
    }
    // Where it asks for no password it says so before anything else.
    for text in ["client connections exceeded (max_db_client_connections)", "pooler is shutting down"] {
        let peer = answering(&[&error("08P01", text, "canary")]).await;
        plain(&peer).ends(Stage::Authenticate, Reason::ServerUnavailable).await;
    }
}

#[tokio::test]
async fn what_a_pooler_says_of_the_server_behind_it_is_understood_after_its_login() {
    for (text, reason) in [
        ("server conn crashed?", Reason::ServerUnavailable),
        ("server shutting down", Reason::ServerUnavailable),
        ("query_wait_timeout", Reason::ServerUnavailable),
        ("server login has been failing, cached error: connect failed (server_login_retry)", Reason::ServerUnavailable),
        (
            "server login has been failing, cached error: password authentication failed for user \"canary\"",
            Reason::ServerUnavailable,
        ),
        ("server login has been failing, cached error: database \"canary\" does not exist", Reason::TargetNotFound),
    ] {
        let peer = letting_in(move |_| [&error("08P01", text, "canary"), READY].concat()).await;
        let message = plain(&peer).on("public", "orders", &[]).ends(Stage::Access, reason).await;
        assert!(message.contains("(08P01)"), "{message}");
    }
}

#[tokio::test]
async fn who_names_no_target_is_told_that_there_is_nobody_behind_a_pooler() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = letting_in(move |asked| {
        let _ = sent.send(asked[0].clone());
        let failing = "server login has been failing, cached error: connect failed (server_login_retry)";
        [&error("08P01", failing, "canary"), READY].concat()
    })
    .await;
    plain(&peer).ends(Stage::Access, Reason::ServerUnavailable).await;
    assert_eq!(heard.recv().await.unwrap(), (b'P', b"\0SELECT 1\0\0\0".to_vec()));
}

#[tokio::test]
async fn every_code_of_a_refused_statement_has_its_name() {
    use {Reason as R, Stage as S};
    for (code, stage, reason) in [
        ("42501", S::Access, R::PermissionDenied),
        ("57014", S::Access, R::TimedOut),
        ("57P01", S::Access, R::ServerUnavailable),
        ("42P01", S::Reach, R::ProtocolMismatch),
        ("42883", S::Reach, R::ProtocolMismatch),
        ("XX000", S::Access, R::ServerUnavailable),
    ] {
        let peer = Peer::that(async move |mut stream| {
            start_up(&mut stream).await;
            send(&mut stream, &[OK, READY]).await;
            message(&mut stream).await;
            send(&mut stream, &[&error(code, "canary", "canary"), READY]).await;
            read_to_end(&mut stream).await;
        })
        .await;
        let message = plain(&peer).on("public", "orders", &[]).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
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
                // Split, so that a watcher of whole reads would miss it.
                for byte in request {
                    stream.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                let _ = sent.send(read_to_end(&mut stream).await);
            }
        })
        .await;
        plain(&peer).ends(Stage::Authenticate, Reason::EncryptionRequired).await;
        assert_eq!(heard.recv().await.unwrap(), b"", "the password was sent");
    }
}

#[tokio::test]
async fn a_way_to_log_in_that_is_not_known_is_called_so() {
    // Kerberos V5, SCM, GSSAPI, SSPI, one that does not exist yet, and SASL with OAuth.
    for request in [
        &authentication(2, b""),
        &authentication(6, b""),
        &authentication(7, b""),
        &authentication(9, b""),
        &authentication(99, b""),
        &scram("OAUTHBEARER"),
    ] {
        let peer = answering(&[request]).await;
        plain(&peer).ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
    }
}

#[tokio::test]
async fn a_peer_that_asks_for_no_password_passes_with_a_word_about_it() {
    let peer = letting_in(|_| empty()).await;
    assert_eq!(plain(&peer).passes().await.unproven(), ["the password, which the server did not ask for"]);
}

#[tokio::test]
async fn a_peer_that_does_not_know_the_password_cannot_play_the_server() {
    let peer = Peer::that(async |mut stream| {
        let nonce = scram_nonce(&mut stream).await;
        let first = format!("r={nonce}x,s=c2FsdHNhbHQ=,i=4096");
        send(&mut stream, &[&authentication(11, first.as_bytes())]).await;
        message(&mut stream).await;
        let last = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        send(&mut stream, &[&authentication(12, last), OK, READY]).await;
        read_to_end(&mut stream).await;
    })
    .await;
    plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
}

#[tokio::test]
async fn a_peer_cannot_make_us_compute() {
    for rounds in ["100001", "4294967295"] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let peer = Peer::that(move |mut stream| {
            let sent = sent.clone();
            async move {
                let nonce = scram_nonce(&mut stream).await;
                let first = format!("r={nonce}x,s=c2FsdHNhbHQ=,i={rounds}");
                send(&mut stream, &[&authentication(11, first.as_bytes())]).await;
                let _ = sent.send(read_to_end(&mut stream).await);
            }
        })
        .await;
        let message = plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains("more rounds than a probe computes"), "{message}");
        assert_eq!(heard.recv().await.unwrap(), b"");
    }
}

#[tokio::test]
async fn scram_is_bound_to_the_channel_where_the_server_offers_it() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = Peer::that(move |mut stream| {
        let (sent, acceptor) = (sent.clone(), acceptor.clone());
        async move {
            start_up(&mut stream).await;
            send(&mut stream, &[b"S"]).await;
            let mut stream = acceptor.accept(stream).await.unwrap();
            start_up(&mut stream).await;
            send(&mut stream, &[&scram("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256")]).await;
            let _ = sent.send(message(&mut stream).await.1);
        }
    })
    .await;
    let report = encrypted(&peer).tls(|tls| tls.mode = Mode::Require).probe().await;
    assert!(report.proof().is_none());
    let first = String::from_utf8_lossy(&heard.recv().await.unwrap()).into_owned();
    assert!(first.starts_with("SCRAM-SHA-256-PLUS\0") && first.contains("p=tls-server-end-point,,"), "{first:?}");
}

#[tokio::test]
async fn a_pooler_is_asked_nothing_that_it_does_not_understand() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = Peer::that(move |mut stream| {
        let sent = sent.clone();
        async move {
            let _ = sent.send(start_up(&mut stream).await);
            send(&mut stream, &[OK, READY]).await;
            let (tag, body) = message(&mut stream).await;
            let _ = sent.send([&[tag][..], &body[..]].concat());
        }
    })
    .await;
    plain(&peer).on("public", "orders", &[]).ends(Stage::Access, Reason::ConnectionClosed).await;
    let start_up = heard.recv().await.unwrap();
    let names: Vec<&[u8]> = start_up[4..].split(|byte| *byte == 0).step_by(2).filter(|name| !name.is_empty()).collect();
    let known: [&[u8]; 4] = [b"client_encoding", b"user", b"database", b"application_name"];
    assert_eq!(names, known, "PgBouncer rejects start-up parameters that it does not know");
    assert_eq!(heard.recv().await.unwrap()[..2], *b"P\0", "a statement without a name");
}

#[tokio::test]
async fn a_look_says_goodbye() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = Peer::that(move |mut stream| {
        let sent = sent.clone();
        async move {
            start_up(&mut stream).await;
            send(&mut stream, &[OK, READY]).await;
            request(&mut stream).await;
            send(&mut stream, &[&empty()]).await;
            let _ = sent.send(read_to_end(&mut stream).await);
        }
    })
    .await;
    plain(&peer).passes().await;
    assert_eq!(heard.recv().await.unwrap(), b"X\0\0\0\x04");
}
