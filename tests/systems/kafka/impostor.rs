//! A peer that plays the broker of a SCRAM login without knowing the password: it takes any proof, and cannot give its own.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::harness::peer::Peer;

const VERSIONS: i16 = 18;
const HANDSHAKE: i16 = 17;
const AUTHENTICATE: i16 = 36;

/// Says yes to everything, and puts its own `r=` behind the client's.
async fn agree(mut stream: TcpStream) {
    while let Ok(length) = stream.read_u32().await {
        let mut asked = vec![0; usize::try_from(length).expect("a length")];
        if stream.read_exact(&mut asked).await.is_err() {
            return;
        }
        let text = String::from_utf8_lossy(&asked).into_owned();
        let body = match i16::from_be_bytes([asked[0], asked[1]]) {
            VERSIONS => {
                // In the form of version 3: metadata 0 to 8, handshake 0 to 1, versions 0 to 3, authenticate 0 to 1.
                let listed = [(3, 0, 8), (HANDSHAKE, 0, 1), (VERSIONS, 0, 3), (AUTHENTICATE, 0, 1)];
                let range = |(api, least, most): (i16, i16, i16)| {
                    [&[api, least, most].map(i16::to_be_bytes).concat()[..], &[0]].concat()
                };
                [vec![0, 0, 5], listed.map(range).concat(), vec![0; 5]].concat()
            }
            HANDSHAKE => b"\0\0\0\0\0\x01\0\x0dSCRAM-SHA-512".to_vec(),
            AUTHENTICATE => match text.split_once(",r=") {
                Some((_, nonce)) if !text.contains(",p=") => said(&format!("r={nonce}more,s=c2FsdHNhbHQ=,i=4096")),
                _ => said("v=aW1wb3N0b3I="),
            },
            _ => return,
        };
        let length = u32::try_from(body.len() + 4).expect("a length").to_be_bytes();
        if stream.write_all(&[&length[..], &asked[4..8], &body].concat()).await.is_err() {
            return;
        }
    }
}

fn said(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a length").to_be_bytes();
    // No error, no message, what is said, and no end of the session.
    [&b"\0\0\xff\xff"[..], &length, text.as_bytes(), &[0; 8]].concat()
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_is_none() {
    let peer = Peer::that(agree).await;
    for case in [
        Case::at(peer.address).login(Mechanism::ScramSha512, "reader"),
        Case::at(peer.address).login(Mechanism::ScramSha512, "reader").on("orders", &[Read]),
    ] {
        let message = case.ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains("does not prove that it knows the password"), "{message}");
    }
    assert_eq!(peer.accepted(), 2, "one login per look");
}
