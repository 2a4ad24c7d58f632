//! Peers that are no SQL Server, and servers that say what no server says: counts of -1, lengths of gigabytes, one byte changed.
//! Whatever it is, a look ends with a name for it, and never by falling over.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::harness::{peer::Peer, tds::packets};

/// A look that asks about a table ends in time, and not by falling over.
async fn survives(server: &Server, what: &str) {
    let report = Case::at(server).on("dbo", "orders", &[Read]).within(LIMIT).probe().await;
    let Some((stage, failure)) = report.failure() else { return };
    let reason = failure.reason();
    assert!(reason != Reason::InternalError && reason != Reason::TimedOut, "{what}: {stage:?} {}", failure.message());
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_no_server_of_this_kind() {
    let long = b"SSH-2.0-OpenSSH_9\r\n".repeat(50);
    for noise in [&b"+OK"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"N", &long, &[0; 64], &[0xff; 64], &[0x12; 64]] {
        let noise = noise.to_vec();
        let peer = Peer::that(move |mut stream: TcpStream| {
            let noise = noise.clone();
            async move {
                let _ = stream.write_all(&noise).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        Case::of("reader", peer.address).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
}

#[tokio::test]
async fn a_greeting_that_cannot_be_is_none() {
    let version = b"\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff\x10\0\0\0\0\0\x01";
    let good = packets(4, version);
    let changed = |at: usize, byte: u8| {
        let mut greeting = good.clone();
        greeting[at] = byte;
        greeting
    };
    // Too short for its own header, longer than anything was agreed on, not the last one, options outside of it, none at all.
    for greeting in [
        changed(3, 7),
        changed(2, 0xff),
        changed(1, 0),
        changed(9, 0xff),
        changed(11, 0xff),
        changed(12, 1),
        packets(4, &[0xff]),
        packets(4, &[]),
    ] {
        let peer = Peer::that(move |mut stream: TcpStream| {
            let greeting = greeting.clone();
            async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(&greeting).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        Case::of("reader", peer.address).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
}

#[tokio::test]
async fn a_handshake_that_is_none_is_called_so() {
    for noise in
        [&[0; 64][..], b"\x12\x01\x00\x07\0\0\0\0", b"\x04\x01\x00\x10\0\0\0\0garbage!", b"SSH-2.0-OpenSSH_9\r\n"]
    {
        let noise = noise.to_vec();
        let peer = Peer::that(move |mut stream: TcpStream| {
            let noise = noise.clone();
            async move {
                let greeting = b"\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff\x10\0\0\0\0\0\x01";
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(&packets(4, greeting)).await;
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(&noise).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let report = Case::of("reader", peer.address).probe().await;
        let (stage, failure) = report.failure().expect("it failed");
        let named = [Reason::TLSNotOffered, Reason::TLSFailed].contains(&failure.reason());
        assert!(stage == Stage::Reach && named, "{}", failure.message());
        assert!(!failure.message().contains("Disable"), "{}", failure.message());
    }
}

#[tokio::test]
async fn who_only_does_not_refuse_a_login_has_not_accepted_it() {
    for answer in [tokens::done(), [tokens::info(5701), tokens::done()].concat(), tokens::database("orders")] {
        let server = server(|manner| {
            manner.login = Box::new(move |_| answer.clone());
            manner.then = Then::HangUpAfter(Turn::Login);
        })
        .await;
        let message = Case::at(&server).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains("does not speak the expected protocol"), "{message}");
    }
}

#[tokio::test]
async fn no_length_of_an_answer_is_believed_before_it_is_there() {
    let columns = |count: [u8; 2]| [&[0x81][..], &count].concat();
    let column = |kind: &[u8]| [&[0, 0, 0, 0, 0, 0][..], kind, &[0]].concat();
    let huge = [0xff; 16];
    let one = |kind: &[u8], value: &[u8]| [columns([1, 0]), column(kind), vec![0xd1], value.to_vec()].concat();
    for answer in [
        // A count of -1, and no columns behind it; rows before any columns; endless rows of no columns.
        columns([0xff, 0xff]),
        [columns([0xfe, 0xff]), huge.to_vec()].concat(),
        vec![0xd1, 4, 0, 0, 0, 0],
        vec![0xd2, 0xff],
        [columns([0, 0]), vec![0xd1; 100_000]].concat(),
        // Long values: in chunks of unknown number, with a length of 2^64 - 2, as an image, as XML, as a type of the server's.
        one(
            &[0xe7, 0xff, 0xff, 0, 0, 0, 0, 0],
            &[&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0xff; 4]].concat(),
        ),
        one(&[0xe7, 0xff, 0xff, 0, 0, 0, 0, 0], &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        one(&[0xa5, 0xff, 0xff], &[&[0; 7][..], &[0x40], &[0xff, 0xff, 0xff, 0x7f]].concat()),
        one(&[0x22, 0xff, 0xff, 0xff, 0x7f, 0], &[&[16][..], &[0; 24], &[0xff, 0xff, 0xff, 0x7f]].concat()),
        one(&[0xf1, 0], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        one(&[0x62, 0xff, 0xff, 0xff, 0x7f], &[0xff, 0xff, 0xff, 0x7f]),
        // Numbers with a length of their own, decimals with a precision that is none, dates of no calendar.
        one(&[0x26, 3], &[3, 0, 0, 0]),
        one(&[0x26, 4], &[0xff; 8]),
        one(&[0x6a, 17, 99, 99], &[&[17][..], &huge, &[0xff]].concat()),
        one(&[0x2a, 7], &[&[8][..], &[0xff; 8]].concat()),
        one(&[0x6f, 8], &[&[8][..], &[0xff; 8]].concat()),
        // Tokens that are in no answer to this: a session's state and a token's endpoint of gigabytes, sums, a redirect.
        [&[0xe4][..], &[0xff; 4], &huge].concat(),
        [&[0xee][..], &[0xff, 0xff, 0xff, 0], &huge].concat(),
        [&[0x88][..], &[0xff; 8]].concat(),
        [&[0xa4][..], &[0xff; 8]].concat(),
        [&[0xae][..], &[1, 0xff, 0xff, 0xff, 0xff]].concat(),
        [&[0xac][..], &[0xff; 24]].concat(),
        tokens::packet_size("8"),
        tokens::packet_size("4294967295"),
        tokens::routed("canary.example", 1433),
        tokens::done(),
        [tokens::row([Some(1); 5]), tokens::row([Some(1); 5])].concat(),
    ] {
        for ended in [true, false] {
            let answer = if ended { [&answer[..], &tokens::done()].concat() } else { answer.clone() };
            let what = format!("{:?}", &answer[..answer.len().min(40)]);
            let server = server(|manner| {
                manner.question = Box::new(move |_, _| answer.clone());
                manner.then = Then::HangUpAfter(Turn::Question);
            })
            .await;
            survives(&server, &what).await;
            assert_eq!(server.heard().logins.len(), 1);
        }
    }
}

#[tokio::test]
async fn one_byte_of_an_answer_may_be_anything() {
    let good = |login: &Login| packets(4, &tokens::accepted(login)).len();
    let login = good(&Login { database: "orders".to_owned(), ..Login::default() });
    let question = packets(4, &tokens::row([Some(1); 5])).len();
    let places = (0..login).map(|at| (Turn::Login, at)).chain((0..question).map(|at| (Turn::Question, at)));
    for (turn, at) in places {
        for change in [0x00, 0x80, 0xff] {
            let server = server(|manner| {
                manner.question = Box::new(|_, _| tokens::row([Some(1); 5]));
                manner.then = Then::HangUpAfter(turn);
                manner.spoil = Box::new(move |now, mut answer| {
                    if now == turn {
                        answer[at] = if change == 0x80 { answer[at] ^ change } else { change };
                    }
                    answer
                });
            })
            .await;
            survives(&server, &format!("{turn:?}, byte {at}, {change:#x}")).await;
        }
    }
}

#[tokio::test]
async fn ten_megabytes_are_not_read() {
    for turn in [Turn::Login, Turn::Question] {
        let server = server(|manner| {
            manner.spoil = Box::new(move |now, answer| {
                let notice = tokens::info(0);
                let endless = || packets(4, &notice.repeat(10 * 1024 * 1024 / notice.len()));
                if now == turn { endless() } else { answer }
            });
        })
        .await;
        let case = Case::at(&server).on("dbo", "orders", &[Read]);
        let message = case.ends(Stage::Reach, Reason::ProtocolMismatch).await;
        // An answer to a login is given up long before the budget of the probe is.
        assert_eq!(message.contains("more than a probe accepts"), turn == Turn::Question, "{message}");
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_out_of_time_where_it_got_to() {
    let peer = Peer::that(async |mut stream: TcpStream| {
        let mut clock = tokio::time::interval(Duration::from_millis(50));
        for byte in packets(4, &[0; 1000]) {
            clock.tick().await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    })
    .await;
    Case::of("reader", peer.address).soon().ends(Stage::Reach, Reason::TimedOut).await;
}
