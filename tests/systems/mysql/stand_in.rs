//! What peers may do that MariaDB does rarely or never: silence, noise, lies, and codes of rare states.

use mysql_common::constants::CapabilityFlags;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::mpsc, time::Instant};

use super::{
    player::{END, NATIVE, OK, Player, encrypted, error, greeting, plain, playing, result, well, without_tls},
    *,
};
use crate::harness::{
    authority::{Authority, Clients},
    mysql::{framed, packet},
};
use peer::Peer;

/// A peer that begins with these packets, and then only listens.
async fn beginning(packets: Vec<Vec<u8>>) -> Peer {
    Peer::that(move |stream| {
        let packets = packets.clone();
        async move {
            let mut player = Player::of(stream);
            player.say(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
            player.rest().await;
        }
    })
    .await
}

// Who is reached.

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let peer = beginning(vec![]).await;
    for case in [plain(&peer), encrypted(&peer)] {
        let begun = Instant::now();
        case.soon().ends(Stage::Reach, Reason::TimedOut).await;
        assert!(begun.elapsed() < LIMIT / 2);
    }
    // It agrees to TLS and then does none.
    let peer = beginning(vec![greeting(NATIVE, CapabilityFlags::all())]).await;
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
    let silent = playing(NATIVE, async |mut player, _| drop(player.rest().await)).await;
    plain(&silent).later().ends(Stage::Authenticate, Reason::TimedOut).await;
    let gone = playing(NATIVE, async |_, _| {}).await;
    plain(&gone).ends(Stage::Authenticate, Reason::ConnectionClosed).await;
    let silent = playing(NATIVE, async |mut player, _| {
        player.say(&[OK]).await;
        player.rest().await;
    })
    .await;
    plain(&silent).later().ends(Stage::Access, Reason::TimedOut).await;
    let gone = playing(NATIVE, async |mut player, _| {
        player.say(&[OK]).await;
        player.hear().await;
    })
    .await;
    plain(&gone).ends(Stage::Access, Reason::ConnectionClosed).await;
}

#[tokio::test]
async fn a_peer_without_tls_does_not_offer_it() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = Peer::that(move |stream| {
        let sent = sent.clone();
        async move {
            let mut player = Player::of(stream);
            player.say(&[&greeting(NATIVE, without_tls())]).await;
            let _ = sent.send(player.rest().await);
        }
    })
    .await;
    encrypted(&peer).ends(Stage::Reach, Reason::TLSNotOffered).await;
    assert_eq!(heard.recv().await.unwrap(), b"", "nothing is said without the encryption that is asked for");
    // It offers TLS, and answers the request in the clear.
    let peer = Peer::that(async |stream| {
        let mut player = Player::of(stream);
        player.say(&[&greeting(NATIVE, CapabilityFlags::all())]).await;
        player.hear().await;
        player.say(&[&error(1045)]).await;
        player.rest().await;
    })
    .await;
    encrypted(&peer).ends(Stage::Reach, Reason::TLSNotOffered).await;
}

#[tokio::test]
async fn what_is_put_behind_the_greeting_is_not_taken_for_what_comes_through_tls() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], Clients::Anybody);
    let peer = Peer::that(move |mut stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            // The greeting, and a packet that somebody in the middle has added.
            let both = [framed(0, &greeting(NATIVE, CapabilityFlags::all())), framed(3, OK)].concat();
            stream.write_all(&both).await.unwrap();
            let _ = packet(&mut stream).await;
            let _ = acceptor.accept(stream).await;
        }
    })
    .await;
    let roots = authority.roots();
    encrypted(&peer).tls(|tls| tls.roots = roots).ends(Stage::Reach, Reason::TLSNotOffered).await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_no_server_of_this_kind() {
    for noise in [
        &b"SSH-2.0-OpenSSH_9\r\n"[..],
        b"220 mail.example ESMTP\r\n",
        b"\0\0\0\0\0\0",
        b"\x01\0\0\0\x0a",
        b"\x01\0\0\0\x09",
        b"\x05\0\0\0\x0a5.7\0",
        &framed(0, &greeting(NATIVE, CapabilityFlags::CLIENT_PROTOCOL_41)),
        &framed(7, &greeting(NATIVE, CapabilityFlags::all())),
        &framed(0, &vec![10; 70_000]),
    ] {
        let noise = noise.to_vec();
        let peer = Peer::that(move |stream| {
            let noise = noise.clone();
            async move {
                let mut player = Player::of(stream);
                player.send(&noise).await;
                player.rest().await;
            }
        })
        .await;
        for case in [plain(&peer), encrypted(&peer)] {
            case.ends(Stage::Reach, Reason::ProtocolMismatch).await;
        }
    }
}

#[tokio::test]
async fn every_code_in_the_place_of_a_greeting_has_its_name() {
    for (code, reason) in [
        (1040, Reason::ServerUnavailable),
        (1129, Reason::SourceNotAllowed),
        (1130, Reason::SourceNotAllowed),
        (1053, Reason::ServerUnavailable),
        // It has heard nothing yet that it could reject.
        (1045, Reason::ServerUnavailable),
        (1049, Reason::ServerUnavailable),
        (65_535, Reason::ServerUnavailable),
    ] {
        // Before the greeting no SQLSTATE is sent.
        let packet = [b"\xff", &u16::to_le_bytes(code)[..], b"canary"].concat();
        let peer = beginning(vec![packet]).await;
        for case in [plain(&peer), encrypted(&peer)] {
            let message = case.ends(Stage::Authenticate, reason).await;
            assert!(message.contains(&format!("({code})")), "{message}");
            for statement in ["TRUNCATE TABLE performance_schema.host_cache (MySQL)", "FLUSH HOSTS (MariaDB)"] {
                assert_eq!(message.contains(statement), code == 1129, "{message}");
            }
        }
    }
}

// What is too much.

#[tokio::test]
async fn ten_megabytes_are_not_read() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = playing(NATIVE, move |mut player, _| {
        let sent = sent.clone();
        async move {
            player.say(&[OK]).await;
            player.hear().await;
            // Rows that do not end.
            player.say(&[&[1], b"\x03def", END]).await;
            let mut total = 0;
            for sequence in 4.. {
                let row = framed(sequence, &vec![1; 60_000]);
                total += row.len();
                if total > 10 << 20 || !player.send(&row).await {
                    break;
                }
            }
            let _ = sent.send(total);
        }
    })
    .await;
    let message = plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("more than a probe accepts"), "{message}");
    assert!(heard.recv().await.unwrap() < 10 << 20);
}

#[tokio::test]
async fn a_long_packet_is_refused_before_it_is_read() {
    for body in [&b"\x01\0\x01\x01"[..], b"\xff\xff\xff\x02"] {
        let header = body.to_vec();
        let peer = playing(NATIVE, move |mut player, _| {
            let header = header.clone();
            async move {
                player.send(&header).await;
                player.rest().await;
            }
        })
        .await;
        plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_out_of_time_where_it_got_to() {
    let peer = playing(NATIVE, async |mut player, _| {
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        for byte in framed(2, &error(1045)) {
            clock.tick().await;
            if !player.send(&[byte]).await {
                return;
            }
        }
    })
    .await;
    plain(&peer).later().ends(Stage::Authenticate, Reason::TimedOut).await;
}

// What codes are called.

#[tokio::test]
async fn every_code_of_a_refused_login_has_its_name() {
    use {Reason as R, Stage as S};
    for (code, stage, reason) in [
        (1045, S::Authenticate, R::AuthenticationFailed),
        (1698, S::Authenticate, R::AuthenticationFailed),
        (1820, S::Authenticate, R::CredentialsExpired),
        (1862, S::Authenticate, R::CredentialsExpired),
        (3118, S::Authenticate, R::AccountLocked),
        (3955, S::Authenticate, R::AccountLocked),
        (4150, S::Authenticate, R::AccountLocked),
        (4151, S::Authenticate, R::AccountLocked),
        (1129, S::Authenticate, R::SourceNotAllowed),
        (1130, S::Authenticate, R::SourceNotAllowed),
        (3159, S::Authenticate, R::EncryptionRequired),
        (1251, S::Authenticate, R::AuthenticationMethodNotSupported),
        (1275, S::Authenticate, R::AuthenticationMethodNotSupported),
        (1524, S::Authenticate, R::AuthenticationMethodNotSupported),
        (1040, S::Authenticate, R::ServerUnavailable),
        (1203, S::Authenticate, R::ServerUnavailable),
        (1226, S::Authenticate, R::ServerUnavailable),
        (1053, S::Authenticate, R::ServerUnavailable),
        (3032, S::Authenticate, R::ServerUnavailable),
        (1043, S::Reach, R::ProtocolMismatch),
        (1153, S::Reach, R::ProtocolMismatch),
        (1156, S::Reach, R::ProtocolMismatch),
        (1835, S::Reach, R::ProtocolMismatch),
        (1044, S::Access, R::TargetNotFoundOrNotPermitted),
        (1049, S::Access, R::TargetNotFound),
        (1102, S::Access, R::TargetNotFound),
        (60_000, S::Authenticate, R::ServerUnavailable),
    ] {
        let peer = playing(NATIVE, move |mut player, _| async move { player.say(&[&error(code)]).await }).await;
        let message = plain(&peer).database().ends(stage, reason).await;
        assert!(message.contains(&format!("({code})")), "{message}");
        assert_eq!(peer.accepted(), 1, "one login per look");
    }
}

#[tokio::test]
async fn every_code_of_a_refused_statement_has_its_name() {
    use {Reason as R, Stage as S};
    for (statement, code, stage, reason) in [
        ("SELECT CURRENT_USER()", 1820, S::Authenticate, R::CredentialsExpired),
        ("SELECT CURRENT_USER()", 1184, S::Access, R::ServerUnavailable),
        ("SELECT CURRENT_USER()", 1226, S::Access, R::ServerUnavailable),
        ("SELECT CURRENT_USER()", 1927, S::Access, R::ServerUnavailable),
        ("SELECT CURRENT_USER()", 1064, S::Reach, R::ProtocolMismatch),
        ("SELECT CURRENT_USER()", 1044, S::Access, R::TargetNotFoundOrNotPermitted),
        ("SELECT CURRENT_USER()", 1049, S::Access, R::TargetNotFound),
        ("SELECT CURRENT_USER()", 1102, S::Access, R::TargetNotFound),
        ("SET ", 1227, S::Access, R::ServerUnavailable),
        ("SELECT 1 FROM `", 1146, S::Access, R::TargetNotFound),
        ("SELECT 1 FROM `", 1103, S::Access, R::TargetNotFound),
        ("SELECT 1 FROM `", 1142, S::Access, R::PermissionDenied),
        ("SELECT 1 FROM `", 1143, S::Access, R::PermissionDenied),
        ("SELECT 1 FROM `", 1205, S::Access, R::TimedOut),
        ("SELECT 1 FROM `", 1317, S::Access, R::TimedOut),
        ("SELECT 1 FROM `", 1969, S::Access, R::TimedOut),
        ("SELECT 1 FROM `", 3024, S::Access, R::TimedOut),
        ("SELECT 1 FROM `", 1356, S::Access, R::TargetUnavailable),
        ("SELECT 1 FROM `", 1449, S::Access, R::TargetUnavailable),
        ("SELECT 1 FROM `", 1194, S::Access, R::TargetUnavailable),
        ("SELECT 1 FROM `", 1932, S::Access, R::TargetUnavailable),
        ("SELECT 1 FROM `", 1064, S::Reach, R::ProtocolMismatch),
        ("SELECT 1 FROM `", 1047, S::Access, R::ServerUnavailable),
        ("EXPLAIN ", 1142, S::Access, R::PermissionDenied),
        ("EXPLAIN ", 1471, S::Access, R::PermissionDenied),
        ("EXPLAIN ", 1290, S::Access, R::TargetUnavailable),
        ("EXPLAIN ", 1836, S::Access, R::TargetUnavailable),
        ("EXPLAIN ", 1792, S::Access, R::TargetUnavailable),
        ("EXPLAIN ", 1345, S::Access, R::PermissionNotProvable),
        ("EXPLAIN ", 1064, S::Access, R::PermissionNotProvable),
        ("EXPLAIN ", 1235, S::Access, R::PermissionNotProvable),
        ("EXPLAIN ", 60_000, S::Access, R::ServerUnavailable),
    ] {
        let peer = playing(NATIVE, move |mut player, _| async move {
            let answer = |asked: &str| if asked.starts_with(statement) { vec![error(code)] } else { well(asked) };
            player.serve(answer).await;
        })
        .await;
        let message = plain(&peer).on("orders", &[Read, Write]).ends(stage, reason).await;
        assert!(message.contains(&code.to_string()), "{statement}: {message}");
        // A proxy may find out so late that there is no such database.
        assert_eq!(
            message.starts_with("database orders"),
            [1044, 1049, 1102].contains(&code),
            "{statement}: {message}"
        );
    }
}

#[tokio::test]
async fn a_missing_read_is_told_whatever_is_unclear_about_write() {
    for unclear in [1345, 1064, 1235, 1290] {
        let peer = playing(NATIVE, move |mut player, _| async move {
            let answer = |asked: &str| match asked {
                asked if asked.starts_with("SELECT 1 FROM `") => vec![error(1142)],
                asked if asked.starts_with("EXPLAIN ") => vec![error(unclear)],
                asked => well(asked),
            };
            player.serve(answer).await;
        })
        .await;
        let case = plain(&peer).on("orders", &[Read, Write]);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.contains("(Read, 1142)"), "{unclear}: {message}");
    }
}

#[tokio::test]
async fn a_server_without_locks_of_that_kind_is_looked_at_all_the_same() {
    let peer = playing(NATIVE, async |mut player, _| {
        let answer = |asked: &str| if asked.starts_with("SET ") { vec![error(1193)] } else { well(asked) };
        player.serve(answer).await;
    })
    .await;
    plain(&peer).on("orders", &[Read, Write]).passes().await;
}

#[tokio::test]
async fn an_insert_without_columns_that_a_view_does_not_take_is_permitted() {
    let peer = playing(NATIVE, async |mut player, _| {
        player.serve(|asked| if asked.starts_with("EXPLAIN") { vec![error(1136)] } else { well(asked) }).await;
    })
    .await;
    plain(&peer).on("orders", &[Write]).passes().await;
}

#[tokio::test]
async fn a_server_that_looks_at_no_accounts_is_known_by_its_name_for_us() {
    for (who, nobody) in [("@", true), ("skip-grants user@skip-grants host", true), ("reader@%", false), ("@%", false)]
    {
        let peer =
            playing(NATIVE, move |mut player, _| async move { drop(player.serve(|_| result(Some(who))).await) }).await;
        let case = plain(&peer);
        let proof = if nobody { case.passes_as_nobody().await } else { case.passes().await };
        assert_eq!(proof.unproven().len(), usize::from(nobody), "{who}");
    }
}

#[tokio::test]
async fn what_is_no_answer_to_a_statement_is_refused() {
    // A file of ours, columns without an end, a packet out of turn, no columns, an OK that is cut.
    for answer in
        [vec![&b"\xfb/etc/passwd"[..]], vec![&[1], b"\x03def", b"\x03def"], vec![b"\xfe\0\0\0\0"], vec![b"\0\0\0"]]
    {
        let answer: Vec<Vec<u8>> = answer.iter().map(|packet| packet.to_vec()).collect();
        let (sent, mut heard) = mpsc::unbounded_channel();
        let peer = playing(NATIVE, move |mut player, _| {
            let (sent, answer) = (sent.clone(), answer.clone());
            async move {
                let _ = sent.send(player.serve(|_| answer.clone()).await);
            }
        })
        .await;
        plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert_eq!(heard.recv().await.unwrap().len(), 1, "nothing is said after it");
    }
}

#[tokio::test]
async fn a_packet_out_of_turn_is_refused_unless_it_is_an_error() {
    for (packet, stage, reason) in [
        (OK.to_vec(), Stage::Reach, Reason::ProtocolMismatch),
        (error(1927), Stage::Authenticate, Reason::ServerUnavailable),
    ] {
        let peer = playing(NATIVE, move |mut player, _| {
            let packet = packet.clone();
            async move {
                player.send(&framed(9, &packet)).await;
                player.rest().await;
            }
        })
        .await;
        plain(&peer).ends(stage, reason).await;
    }
}

#[tokio::test]
async fn a_look_says_goodbye() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = playing(NATIVE, move |mut player, _| {
        let sent = sent.clone();
        async move {
            player.say(&[OK]).await;
            player.hear().await;
            player.say(&[&error(1820)]).await;
            let _ = sent.send(player.rest().await);
        }
    })
    .await;
    plain(&peer).ends(Stage::Authenticate, Reason::CredentialsExpired).await;
    assert_eq!(heard.recv().await.unwrap(), b"\x01\0\0\0\x01");
}
