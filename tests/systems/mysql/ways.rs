//! The ways to log in that MariaDB 10.11 does not have, at a player that verifies what it is sent; and what is given away to whom.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use mysql_common::scramble::create_response_for_ed25519;
use tokio::{sync::mpsc, time::Instant};

use super::{
    caching,
    player::{
        CACHING, LONG_NONCE, NATIVE, NONCE, OK, cached_is_right, encrypted, error, native_is_right, plain, playing,
        secured, signature_is_right, switch, well,
    },
    *,
};
use connection_operator::net::tls::Roots;
use peer::Peer;

// How one logs in.

#[tokio::test]
async fn what_a_server_is_told_is_right_and_no_more_than_needed() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = playing(NATIVE, move |mut player, told| {
        let sent = sent.clone();
        async move {
            player.serve(well).await;
            let _ = sent.send(told);
        }
    })
    .await;
    plain(&peer).database().passes().await;
    let told = heard.recv().await.unwrap();
    assert_eq!((&told.user[..], told.database.as_deref(), &told.plugin[..]), ("reader", Some("orders"), NATIVE));
    assert_eq!(told.program.as_deref(), Some("connection-operator"));
    assert!(native_is_right(&told.proof, NONCE, "reader-secret"));
    assert!(!native_is_right(&told.proof, NONCE, "another") && !native_is_right(&[], NONCE, "reader-secret"));
    plain(&peer).passes().await;
    assert_eq!(heard.recv().await.unwrap().database, None);
}

#[tokio::test]
async fn every_way_that_gives_no_password_away_goes_to_anybody() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = playing("sha256_password", move |mut player, told| {
        let sent = sent.clone();
        async move {
            // It begins with a way that we do not begin with.
            assert!(native_is_right(&told.proof, NONCE, "reader-secret") && told.plugin == NATIVE);
            let terminated = [&b"jihgfedcba9876543210"[..], b"\0"].concat();
            let native = player.switch(NATIVE, &terminated).await.unwrap();
            assert!(native_is_right(&native, &terminated[..20], "reader-secret"));
            let cached = player.switch(CACHING, NONCE).await.unwrap();
            assert!(cached_is_right(&cached, NONCE, "reader-secret"));
            let signed = player.switch("client_ed25519", LONG_NONCE).await.unwrap();
            assert_eq!(signed, create_response_for_ed25519(b"reader-secret", LONG_NONCE));
            player.serve(well).await;
            let _ = sent.send(());
        }
    })
    .await;
    plain(&peer).passes().await;
    heard.recv().await.unwrap();
}

#[tokio::test]
async fn a_challenge_that_ends_with_a_zero_is_answered_as_a_whole() {
    let mut nonce = *LONG_NONCE;
    nonce[31] = 0;
    let peer = playing(NATIVE, move |mut player, _| async move {
        let signed = player.switch("client_ed25519", &nonce).await.unwrap();
        assert_eq!(signed, create_response_for_ed25519(b"reader-secret", &nonce));
        player.serve(well).await;
    })
    .await;
    plain(&peer).passes().await;
}

#[tokio::test]
async fn a_challenge_of_another_length_is_not_answered() {
    for (plugin, nonce) in [
        (NATIVE, &b""[..]),
        (NATIVE, &NONCE[..8]),
        (NATIVE, LONG_NONCE),
        (CACHING, b"\0"),
        ("client_ed25519", NONCE),
        ("client_ed25519", b""),
        ("parsec", NONCE),
    ] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let peer = playing(NATIVE, move |mut player, _| {
            let sent = sent.clone();
            async move {
                let _ = sent.send(player.switch(plugin, nonce).await);
            }
        })
        .await;
        plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert_eq!(heard.recv().await.unwrap(), None, "{plugin}");
    }
}

#[tokio::test]
async fn a_server_cannot_have_us_answer_challenges_without_end() {
    let (sent, mut heard) = mpsc::unbounded_channel();
    let peer = playing(NATIVE, move |mut player, _| {
        let sent = sent.clone();
        async move {
            let mut answers = 0;
            while player.switch(NATIVE, NONCE).await.is_some() {
                answers += 1;
            }
            let _ = sent.send(answers);
        }
    })
    .await;
    plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert_eq!(heard.recv().await.unwrap(), 4);
}

#[tokio::test]
async fn a_way_to_log_in_that_is_not_known_is_called_so() {
    for request in [
        // The ancient one without and with its name, PAM, Kerberos, Windows, LDAP, a second factor.
        b"\xfe".to_vec(),
        switch("mysql_old_password", b"01234567\0"),
        switch("dialog", b"\x02password"),
        switch("auth_gssapi_client", b"x"),
        switch("authentication_windows_client", b""),
        switch("authentication_ldap_sasl_client", b"SCRAM-SHA-256"),
        switch("canary", NONCE),
        b"\x02mysql_clear_password\0".to_vec(),
    ] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let peer = playing(NATIVE, move |mut player, _| {
            let (sent, request) = (sent.clone(), request.clone());
            async move {
                player.say(&[&request]).await;
                let _ = sent.send(player.rest().await);
            }
        })
        .await;
        plain(&peer).ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
        assert_eq!(heard.recv().await.unwrap(), b"", "it was answered");
    }
}

#[tokio::test]
async fn what_belongs_to_no_login_is_refused() {
    for packet in [&b"\x01\x03"[..], b"\x01\x04", b"\x01P\0saltsaltsaltsaltsa", b"\0", b"\xfename-without-end", b"\x0a"]
    {
        let peer = playing(NATIVE, move |mut player, _| async move {
            player.say(&[packet]).await;
            player.rest().await;
        })
        .await;
        plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
}

#[tokio::test]
async fn parsec_is_signed_in_as_many_rounds_as_are_asked_for() {
    const SALT: &[u8; 18] = b"eighteen salt byte";
    for (exponent, escape) in [(0_u8, &b"\x01"[..]), (3, b"\x01"), (6, b"\x01"), (3, b"")] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let peer = playing(NATIVE, move |mut player, _| {
            let sent = sent.clone();
            async move {
                assert_eq!(player.switch("parsec", LONG_NONCE).await.unwrap(), b"", "the salt is asked for");
                player.say(&[&[escape, b"P", &[exponent], SALT].concat()]).await;
                let answer = player.hear().await.unwrap();
                let right = signature_is_right(&answer, SALT, 1024 << exponent, "reader-secret");
                let another = signature_is_right(&answer, SALT, 1024 << exponent, "another");
                let _ = sent.send((right, another));
                player.serve(well).await;
            }
        })
        .await;
        plain(&peer).passes().await;
        assert_eq!(heard.recv().await.unwrap(), (true, false), "{exponent}");
    }
}

#[tokio::test]
async fn a_peer_cannot_make_us_compute() {
    for data in [
        &b"\x01P\x07eighteen salt byte"[..],
        b"\x01P\x14eighteen salt byte",
        b"\x01P\xffeighteen salt byte",
        b"\x01Q\0eighteen salt byte",
        b"\x01P\0short",
        b"\x01",
        OK,
    ] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let peer = playing(NATIVE, move |mut player, _| {
            let sent = sent.clone();
            async move {
                player.switch("parsec", LONG_NONCE).await;
                player.say(&[data]).await;
                let _ = sent.send(player.rest().await);
            }
        })
        .await;
        let begun = Instant::now();
        plain(&peer).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(begun.elapsed() < LIMIT / 2);
        assert_eq!(heard.recv().await.unwrap(), b"");
    }
}

// What is given away to whom.

#[tokio::test]
async fn a_readable_password_goes_to_a_verified_server_only() {
    for plugin in ["mysql_clear_password", "sha256_password"] {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let (peer, roots) = secured(NATIVE, move |mut player, _| {
            let sent = sent.clone();
            async move {
                let answer = player.switch(plugin, NONCE).await;
                if answer.is_some() {
                    player.serve(well).await;
                }
                let _ = sent.send(answer);
            }
        })
        .await;
        let case = encrypted(&peer).tls(|tls| tls.roots = roots);
        for (mode, told) in
            [(Mode::Disable, false), (Mode::Require, false), (Mode::VerifyCa, true), (Mode::VerifyFull, true)]
        {
            let case = case.clone().tls(|tls| tls.mode = mode);
            if told {
                case.passes().await;
            } else {
                let message = case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
                assert!(message.contains("spec.tls.mode to VerifyFull"), "{message}");
            }
            assert_eq!(heard.recv().await.unwrap(), told.then(|| b"reader-secret\0".to_vec()), "{plugin} {mode:?}");
        }
    }
}

/// A server with `caching_sha2_password` alone. It knows the answers of those who have told it their password.
async fn caching_server() -> (Peer, Roots) {
    let cache = Arc::new(Mutex::new(BTreeSet::new()));
    secured(CACHING, move |mut player, told| {
        let cache = Arc::clone(&cache);
        async move {
            assert_eq!(told.plugin, CACHING);
            let password = format!("{}-secret", told.user);
            let known = cache.lock().unwrap_or_else(PoisonError::into_inner).contains(&told.user);
            if known && cached_is_right(&told.proof, NONCE, &password) {
                player.say(&[b"\x01\x03"]).await;
                player.serve(well).await;
                return;
            }
            player.say(&[b"\x01\x04"]).await;
            match player.hear().await {
                Some(answer) if answer == [password.as_bytes(), b"\0"].concat() => {
                    cache.lock().unwrap_or_else(PoisonError::into_inner).insert(told.user);
                    player.serve(well).await;
                }
                // A request for its key would be this one byte.
                Some(answer) if answer == b"\x02" => panic!("the server's key is asked for"),
                Some(_) => player.say(&[&error(1045)]).await,
                None => {}
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_password_is_told_to_a_verified_server_only_and_then_known_by_its_answer() {
    let (peer, roots) = caching_server().await;
    caching::the_password_goes_to_a_verified_server_only(encrypted(&peer).tls(|tls| tls.roots = roots)).await;
}

#[tokio::test]
async fn a_wrong_password_is_known_where_it_may_be_told() {
    let (peer, roots) = caching_server().await;
    caching::a_wrong_password_is_rejected_where_it_may_be_told(encrypted(&peer).tls(|tls| tls.roots = roots)).await;
}
