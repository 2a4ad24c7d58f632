//! Name nodes and key distribution centres that no real system plays, asked by RPC: hostile, silent, or with a code for everything.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use connection_operator::{
    connections::Refusal,
    failure::{Failure, Proof},
    net::{
        Endpoint, Policy, Resolver, World,
        child::{Document, Task},
        climb,
    },
};
use prost::encoding::{encode_varint, int32, string, uint32};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{
    child::Heir,
    harness::peer::{Peer, nobody},
};

/// Enough for a child to begin, on a busy machine.
const SHORT: Duration = Duration::from_secs(8);

const SUCCESS: i32 = 0;
const ERROR: i32 = 1;
const FATAL: i32 = 2;

/// The number of the call that a login belongs to.
const LOGIN: u32 = u32::MAX - 32;

fn delimited(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

fn framed(parts: &[Vec<u8>]) -> Vec<u8> {
    let frame: Vec<u8> = parts.iter().flat_map(|part| delimited(part)).collect();
    [&u32::try_from(frame.len()).expect("a length").to_be_bytes()[..], &frame].concat()
}

fn head(call: u32, status: i32, exception: &str) -> Vec<u8> {
    let mut out = Vec::new();
    uint32::encode(1, &call, &mut out);
    int32::encode(2, &status, &mut out);
    if !exception.is_empty() {
        string::encode(4, &exception.to_owned(), &mut out);
        string::encode(5, &"canary".to_owned(), &mut out);
    }
    out
}

/// A path that is there.
fn found(call: u32, kind: i32, name: &[u8]) -> Vec<u8> {
    let mut status = Vec::new();
    int32::encode(1, &kind, &mut status);
    prost::encoding::bytes::encode(2, &name.to_vec(), &mut status);
    uint32::encode(3, &0, &mut status);
    status.extend(b"\x22\x02\x08\x00");
    string::encode(5, &"hdfs".to_owned(), &mut status);
    string::encode(6, &"readers".to_owned(), &mut status);
    uint32::encode(7, &0, &mut status);
    uint32::encode(8, &0, &mut status);
    let mut answer = vec![0x0a];
    answer.extend(delimited(&status));
    framed(&[head(call, SUCCESS, ""), answer])
}

/// A directory in which there is nothing.
fn listed(call: u32) -> Vec<u8> {
    framed(&[head(call, SUCCESS, ""), b"\x0a\x02\x10\x00".to_vec()])
}

fn exception(call: u32, status: i32, name: &str) -> Vec<u8> {
    framed(&[head(call, status, name)])
}

fn sasl(state: i32, offers: &[[&str; 4]]) -> Vec<u8> {
    let mut out = Vec::new();
    int32::encode(2, &state, &mut out);
    for offer in offers {
        let mut encoded = Vec::new();
        for (tag, text) in (1..).zip(offer) {
            string::encode(tag, &(*text).to_owned(), &mut encoded);
        }
        out.push(0x22);
        out.extend(delimited(&encoded));
    }
    framed(&[head(LOGIN, SUCCESS, ""), out])
}

/// One frame of the client.
async fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = usize::try_from(stream.read_u32().await.ok()?).ok()?;
    assert!(length < 64 * 1024, "what we send is small");
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// A name node that says `answers`, one to each frame of the client; an empty one is none.
async fn node(answers: Vec<Vec<u8>>) -> Peer {
    Peer::that(move |mut stream: TcpStream| {
        let answers = answers.clone();
        async move {
            let mut preamble = [0; 7];
            if stream.read_exact(&mut preamble).await.is_err() {
                return;
            }
            assert!(preamble.starts_with(b"hrpc\x09\0"), "{preamble:?}");
            for answer in answers {
                if frame(&mut stream).await.is_none() || stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await
}

/// The answers to who says a name: the first frame of the client is no question.
fn answers(answers: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[Vec::new()][..], answers].concat()
}

/// A connection by a name.
fn simple(nodes: &[SocketAddr]) -> Case {
    let settings = json!({"nameNodes": nodes, "path": "/data/orders", "user": "reader"});
    Case::new(ConnectionType::HDFS, serde_json::from_value(settings).expect("settings"))
}

/// A connection by Kerberos.
fn kerberos(node: SocketAddr, kdc: SocketAddr) -> Case {
    let kerberos = json!({"principal": "reader", "realm": "EXAMPLE.COM", "kdc": kdc.to_string()});
    let settings = json!({"nameNodes": [node.to_string()], "path": "/data/orders", "kerberos": kerberos});
    let case = Case::new(ConnectionType::HDFS, serde_json::from_value(settings).expect("settings"));
    case.file("keytab", keytab("reader", "EXAMPLE.COM"))
}

/// A keytab with one key, which nobody has.
fn keytab(principal: &str, realm: &str) -> Vec<u8> {
    let counted = |text: &[u8]| [&u16::try_from(text.len()).expect("short").to_be_bytes()[..], text].concat();
    let entry = [
        &b"\0\x01"[..],
        &counted(realm.as_bytes()),
        &counted(principal.as_bytes()),
        b"\0\0\0\x01\x65\0\0\0\x01\0\x12",
        &counted(b"0123456789abcdef0123456789abcdef"),
    ]
    .concat();
    [b"\x05\x02", &u32::try_from(entry.len()).expect("short").to_be_bytes()[..], &entry].concat()
}

/// The name node that offers Kerberos, and then hears what comes of it.
async fn offering(service: &str, host: &str) -> Peer {
    node(vec![sasl(1, &[["TOKEN", "DIGEST-MD5", "", "default"], ["KERBEROS", "GSSAPI", service, host]])]).await
}

/// A key distribution centre that refuses everything with this number (RFC 4120, 5.9.1).
async fn refusing(number: u8) -> Peer {
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).expect("short")][..], content].concat()
    }
    let text = |text: &str| der(0x1b, text.as_bytes());
    let name = [der(0xa0, &der(2, &[2])), der(0xa1, &der(0x30, &[text("krbtgt"), text("EXAMPLE.COM")].concat()))];
    let fields = [
        der(0xa0, &der(2, &[5])),
        der(0xa1, &der(2, &[30])),
        der(0xa4, &der(0x18, b"20260101000000Z")),
        der(0xa5, &der(2, &[0])),
        der(0xa6, &der(2, &[number])),
        der(0xa9, &text("EXAMPLE.COM")),
        der(0xaa, &der(0x30, &name.concat())),
    ];
    let error = der(0x7e, &der(0x30, &fields.concat()));
    let answer = [&u32::try_from(error.len()).expect("short").to_be_bytes()[..], &error].concat();
    Peer::that(move |mut stream| {
        let answer = answer.clone();
        async move {
            if frame(&mut stream).await.is_some() {
                let _ = stream.write_all(&answer).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_name_is_enough_where_it_is_believed() {
    let peer = node(answers(&[found(0, 1, b""), listed(1)])).await;
    let proof = simple(&[peer.address]).asks(&[List]).passes_as_nobody().await;
    assert!(proof.unproven().is_empty(), "{proof:?}");
    let proof = simple(&[peer.address]).asks(&[List, Read]).passes_as_nobody().await;
    assert!(proof.unproven().iter().any(|what| what.contains("files in it")), "{proof:?}");
    simple(&[peer.address]).passes_as_nobody().await;
    assert_eq!(peer.accepted(), 3, "one connection per look");
}

#[tokio::test]
async fn a_file_that_is_to_be_read_is_not_provable() {
    let peer = node(answers(&[found(0, 2, b""), listed(1)])).await;
    simple(&[peer.address]).asks(&[List]).passes_as_nobody().await;
    let message = simple(&[peer.address]).asks(&[Read]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    assert!(message.contains("/data/orders") && message.contains("it is a file"), "{message}");
}

#[tokio::test]
async fn a_path_that_is_not_there_is_named() {
    let nothing = framed(&[head(0, SUCCESS, ""), Vec::new()]);
    let peer = node(answers(&[nothing])).await;
    let message = simple(&[peer.address]).ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.contains("/data/orders"), "{message}");
}

#[tokio::test]
async fn every_exception_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, name, stage, reason) in [
        (ERROR, "org.apache.hadoop.ipc.StandbyException", S::Access, R::ServerUnavailable),
        (ERROR, "org.apache.hadoop.ipc.RetriableException", S::Access, R::ServerUnavailable),
        (ERROR, "org.apache.hadoop.hdfs.server.namenode.SafeModeException", S::Access, R::ServerUnavailable),
        (ERROR, "org.apache.hadoop.security.AccessControlException", S::Access, R::PermissionDenied),
        (ERROR, "org.apache.hadoop.security.authorize.AuthorizationException", S::Access, R::PermissionDenied),
        (ERROR, "java.io.FileNotFoundException", S::Access, R::TargetNotFound),
        (ERROR, "org.apache.hadoop.fs.ParentNotDirectoryException", S::Access, R::TargetNotFound),
        (ERROR, "org.apache.hadoop.hdfs.protocol.UnresolvedPathException", S::Access, R::TargetUnavailable),
        (ERROR, "org.apache.hadoop.ipc.RpcNoSuchProtocolException", S::Reach, R::ProtocolMismatch),
        (ERROR, "canary", S::Access, R::ServerUnavailable),
        (FATAL, "org.apache.hadoop.ipc.RPC$VersionMismatch", S::Reach, R::ProtocolMismatch),
        (FATAL, "org.apache.hadoop.security.authorize.AuthorizationException", S::Access, R::PermissionDenied),
        (
            FATAL,
            "org.apache.hadoop.security.AccessControlException",
            S::Authenticate,
            R::AuthenticationMethodNotSupported,
        ),
        (FATAL, "canary", S::Authenticate, R::ServerUnavailable),
    ] {
        let call = if status == FATAL { u32::MAX } else { 0 };
        let peer = node(answers(&[exception(call, status, name)])).await;
        let message = simple(&[peer.address]).ends(stage, reason).await;
        let word = name.rsplit(['.', '$']).next().expect("a word");
        assert!(message.contains(if name == "canary" { "unlisted code" } else { word }), "{message}");
        assert_eq!(peer.accepted(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_permission_that_is_denied_is_listed() {
    let denied = exception(1, ERROR, "org.apache.hadoop.security.AccessControlException");
    let peer = node(answers(&[found(0, 1, b""), denied])).await;
    let message = simple(&[peer.address]).asks(&[List, Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("List") && message.contains("Read") && message.contains("/data/orders"), "{message}");
}

#[tokio::test]
async fn a_name_node_that_does_not_serve_is_passed_over_and_each_is_named() {
    let standby = node(answers(&[exception(0, ERROR, "org.apache.hadoop.ipc.StandbyException")])).await;
    let active = node(answers(&[found(0, 1, b"")])).await;
    let (gone, silent) = (nobody(), Peer::that(async |stream| hold(stream).await).await);
    let proof = simple(&[standby.address, active.address]).passes_as_nobody().await;
    assert!(proof.unproven().is_empty(), "{proof:?}");
    let proof = simple(&[gone, standby.address, active.address]).passes_as_nobody().await;
    assert_eq!(proof, case::past([gone]), "one that stands by is of use");
    simple(&[silent.address, active.address]).passes_as_nobody().await;
    let message = simple(&[standby.address, gone]).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&gone.to_string()), "{message}");
    assert!(message.contains(&format!("{}: is a standby", standby.address)), "{message}");
    let message = simple(&[standby.address]).ends(Stage::Access, Reason::ServerUnavailable).await;
    assert!(message.contains("StandbyException") && message.contains(&standby.address.to_string()), "{message}");
    // One that starts is passed over, too; where nobody serves it is the one to wait for.
    let starting = node(answers(&[exception(0, ERROR, "org.apache.hadoop.ipc.RetriableException")])).await;
    let proof = simple(&[starting.address, active.address]).passes_as_nobody().await;
    assert_eq!(proof, case::past([starting.address]));
    for nodes in [[starting.address, standby.address], [standby.address, starting.address]] {
        let message = simple(&nodes).ends(Stage::Access, Reason::ServerUnavailable).await;
        assert!(
            message.starts_with(&starting.address.to_string()) && message.contains("RetriableException"),
            "{message}"
        );
        assert!(message.contains(&format!("{}: is a standby", standby.address)), "{message}");
    }
    let message = simple(&[starting.address, gone]).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&format!("{}: cannot serve yet", starting.address)), "{message}");
    // One that answers is asked, and nobody after it.
    let denied = node(answers(&[exception(0, ERROR, "org.apache.hadoop.security.AccessControlException")])).await;
    let before = active.accepted();
    simple(&[denied.address, active.address]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert_eq!(active.accepted(), before);
}

async fn hold(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_or_hangs_up_is_called_so_where_it_got_to() {
    let silent = Peer::that(async |stream| hold(stream).await).await;
    let begun = Instant::now();
    simple(&[silent.address]).within(SHORT).ends(Stage::Reach, Reason::TimedOut).await;
    let mute = offering("hdfs", "127.0.0.1").await;
    let kdc = Peer::that(async |stream| hold(stream).await).await;
    let message = kerberos(mute.address, kdc.address).within(SHORT).ends(Stage::Reach, Reason::TimedOut).await;
    assert!(message.contains(&kdc.address.to_string()), "{message}");
    assert!(begun.elapsed() < SHORT * 6, "{:?}", begun.elapsed());
    let closing = Peer::that(async |stream| drop(stream)).await;
    simple(&[closing.address]).ends(Stage::Reach, Reason::ConnectionClosed).await;
    simple(&[nobody()]).ends(Stage::Reach, Reason::ConnectionRefused).await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_no_name_node() {
    for noise in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x15\x03\x03\0\x02\x02\x46",
        // Four gigabytes.
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        // A status that there is not, and none.
        b"\0\0\0\x05\x04\x08\0\x10\x09",
        b"\0\0\0\x03\x02\x08\0",
    ] {
        let peer = Peer::that(async move |mut stream| {
            let _ = stream.write_all(noise).await;
            hold(stream).await;
        })
        .await;
        simple(&[peer.address]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        kerberos(peer.address, nobody()).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_disturbs_nobody() {
    for (what, second) in [
        // More than an answer has, after one that was one.
        ("four gigabytes", b"\xff\xff\xff\xff".to_vec()),
        ("ten megabytes", [&b"\0\x0f\xff\xff"[..], &vec![0; 10 << 20]].concat()),
        // What hdfs-native panics at, or cannot read.
        ("no text", found(0, 1, b"\xff\xfe")),
        ("no status", framed(&[head(0, SUCCESS, ""), b"\x0a\x02\x08".to_vec()])),
        ("half a message", framed(&[head(0, SUCCESS, ""), b"\x0a\x7f".to_vec()])),
    ] {
        let first = if what.contains("bytes") { exception(77, SUCCESS, "") } else { Vec::new() };
        let peer = node(answers(&[[first, second].concat()])).await;
        let message = simple(&[peer.address]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(!message.contains("bug"), "{what}: {message}");
    }
    // A kind of file that there is not yet.
    let peer = node(answers(&[found(0, 77, b"")])).await;
    simple(&[peer.address]).passes_as_nobody().await;
    // An answer to a question that nobody asked.
    let peer = node(answers(&[found(99, 1, b"")])).await;
    simple(&[peer.address]).within(SHORT).ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn who_is_asked_for_kerberos_and_proves_nothing_is_refused() {
    for (answer, words) in [
        (sasl(0, &[]), "believes every name"),
        (sasl(1, &[["SIMPLE", "", "", ""]]), "believes every name"),
        (sasl(1, &[["TOKEN", "DIGEST-MD5", "", "default"]]), "does not offer Kerberos"),
        (sasl(1, &[]), "does not offer Kerberos"),
        (sasl(1, &[["KERBEROS", "GSSAPI", "hdfs", "evil.example.com"]]), "another one than is expected"),
        (sasl(1, &[["KERBEROS", "GSSAPI", "http", "127.0.0.1"]]), "another one than is expected"),
    ] {
        let peer = node(vec![answer]).await;
        let kdc = Peer::that(async |stream| drop(stream)).await;
        let case = kerberos(peer.address, kdc.address);
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
        assert!(message.contains(words), "{message}");
        assert_eq!((peer.accepted(), kdc.accepted()), (1, 0), "nobody is told anything");
    }
    for state in [2, 3, 4, 5, 6, -1, i32::MAX] {
        let peer = node(vec![sasl(state, &[])]).await;
        let case = kerberos(peer.address, nobody());
        let report = case.probe().await;
        let (_, failure) = report.failure().expect("it passed");
        assert!(failure.reason() == Reason::ProtocolMismatch, "{state}: {}", failure.message());
    }
}

#[tokio::test]
async fn whatever_a_name_node_says_before_a_login_is_no_login_and_no_rejection_of_the_key() {
    use Reason as R;
    for (name, reason) in [
        ("javax.security.sasl.SaslException", R::AuthenticationMethodNotSupported),
        ("org.ietf.jgss.GSSException", R::AuthenticationMethodNotSupported),
        ("org.apache.hadoop.security.AccessControlException", R::AuthenticationMethodNotSupported),
        ("org.apache.hadoop.security.authorize.AuthorizationException", R::ServerUnavailable),
        ("java.io.FileNotFoundException", R::ServerUnavailable),
        ("org.apache.hadoop.ipc.StandbyException", R::ServerUnavailable),
        ("org.apache.hadoop.ipc.RetriableException", R::ServerUnavailable),
        ("canary", R::ServerUnavailable),
    ] {
        for status in [ERROR, FATAL] {
            let peer = node(vec![exception(LOGIN, status, name)]).await;
            kerberos(peer.address, nobody()).ends(Stage::Authenticate, reason).await;
        }
    }
}

/// A name node that offers Kerberos and has no key: it says `answers` to a real ticket, and then hangs up or holds the line.
async fn impostor(answers: Vec<Vec<u8>>, holds: bool) -> Peer {
    Peer::that(move |mut stream: TcpStream| {
        let answers = answers.clone();
        async move {
            stream.read_exact(&mut [0; 7]).await.expect("a greeting");
            frame(&mut stream).await.expect("it asks for a way to log in");
            stream.write_all(&sasl(1, &[["KERBEROS", "GSSAPI", "hdfs", "localhost"]])).await.expect("a reader");
            frame(&mut stream).await.expect("it shows a ticket");
            for (n, answer) in answers.iter().enumerate() {
                if stream.write_all(answer).await.is_err() {
                    return;
                }
                if holds || n + 1 < answers.len() {
                    // What has proven nothing gets no answer.
                    let _ = tokio::time::timeout(Duration::from_millis(200), frame(&mut stream)).await;
                }
            }
            if holds {
                hold(stream).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_impostor_does_not_make_a_login() {
    let proof = |state: i32, token: &[u8]| {
        let mut out = Vec::new();
        int32::encode(2, &state, &mut out);
        prost::encoding::bytes::encode(3, &token.to_vec(), &mut out);
        framed(&[head(LOGIN, SUCCESS, ""), out])
    };
    let (garbage, empty, welcome) = (proof(3, b"canary"), proof(3, b""), sasl(0, &[]));
    let both = [garbage.clone(), welcome.clone()].concat();
    for (answers, holds) in [
        (vec![both.clone()], false),
        (vec![[both, found(0, 1, b"")].concat()], true),
        (vec![garbage.clone()], true),
        (vec![garbage, welcome.clone()], false),
        (vec![empty, welcome], true),
        // The whole token of an answer of Kerberos, with nothing in it.
        (vec![proof(3, b"\x60\x0f\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x02\x00\x6f\x00")], true),
    ] {
        let peer = impostor(answers, holds).await;
        let case = Case::rpc(&[&format!("localhost:{}", peer.address.port())], "/data/orders");
        let case = case.principal("reader", &server().said["KDC"]).keytab("KEYTAB_READER");
        let report = case.probe().await;
        let (stage, failure) = report.failure().expect("it passed");
        assert!(stage == Stage::Authenticate && !report.authenticated(), "{}", failure.message());
        let reason = failure.reason();
        // Who hangs up may be faster than the library finds out.
        let hung_up = !holds && reason == Reason::ConnectionClosed;
        assert!(hung_up || reason == Reason::AuthenticationMethodNotSupported, "{}", failure.message());
    }
}

/// A name server that says nothing.
struct Mute;

#[async_trait::async_trait]
impl Resolver for Mute {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_silent_name_server_is_the_cause_however_many_name_nodes_there_are() {
    let world = World::new(Policy::new(Vec::new(), Vec::new()), Arc::new(Mute), 10_000);
    world.set_program(env!("CARGO_BIN_EXE_connection-operator").into());
    let all = ["nn1.lake.test:8020", "nn2.lake.test:8020", "nn3.lake.test:8020"];
    let looks = (1..=3).map(async |count| {
        let case = Case::rpc(&all[..count], "/data/orders").named("reader").in_world(Arc::clone(&world)).within(SHORT);
        let message = case.ends(Stage::Reach, Reason::NameResolutionFailed).await;
        assert!(message.contains("nn1.lake.test:8020") && message.contains("no name server answered"), "{message}");
    });
    futures::future::join_all(looks).await;
}

#[tokio::test]
async fn every_number_of_a_kdc_has_its_name() {
    use {Reason as R, Stage as S};
    for (number, stage, reason) in [
        (1, S::Authenticate, R::CredentialsExpired),
        (2, S::Authenticate, R::AuthenticationMethodNotSupported),
        (6, S::Authenticate, R::AuthenticationFailed),
        (12, S::Authenticate, R::AuthenticationFailed),
        (14, S::Authenticate, R::AuthenticationMethodNotSupported),
        (18, S::Authenticate, R::AccountLocked),
        (23, S::Authenticate, R::CredentialsExpired),
        (24, S::Authenticate, R::AuthenticationFailed),
        (29, S::Authenticate, R::ServerUnavailable),
        (31, S::Authenticate, R::AuthenticationFailed),
        (37, S::Authenticate, R::ClockSkewed),
        // Whatever is no word about the principal is no rejection of it.
        (9, S::Authenticate, R::ServerUnavailable),
        (60, S::Authenticate, R::ServerUnavailable),
    ] {
        let peer = offering("hdfs", "127.0.0.1").await;
        let kdc = refusing(number).await;
        let message = kerberos(peer.address, kdc.address).ends(stage, reason).await;
        assert!(message.contains(&number.to_string()), "{message}");
        assert!(message.contains(&kdc.address.to_string()), "{message}");
        assert_eq!(peer.accepted(), 1);
    }
}

#[tokio::test]
async fn a_login_finds_its_files_whatever_the_child_was_started_with() {
    let heir = Heir::new("kerberos");
    let (peer, kdc) = (offering("hdfs", "127.0.0.1").await, refusing(6).await);
    let case = kerberos(peer.address, kdc.address).in_world(heir.world());
    case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn a_kdc_that_is_none_is_called_so() {
    let peer = offering("hdfs", "127.0.0.1").await;
    let gone = nobody();
    let message = kerberos(peer.address, gone).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&gone.to_string()), "{message}");
    let closing = Peer::that(async |stream| drop(stream)).await;
    let message = kerberos(peer.address, closing.address).ends(Stage::Reach, Reason::ConnectionClosed).await;
    assert!(message.contains(&closing.address.to_string()), "{message}");
    for noise in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\xff\xff\xff\xff", b"\0\0\0\x02\x30\x00"] {
        let other = Peer::that(async move |mut stream| {
            let _ = stream.write_all(noise).await;
            hold(stream).await;
        })
        .await;
        let message = kerberos(peer.address, other.address).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert!(message.contains(&other.address.to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_keytab_of_others_is_malformed_and_nobody_is_asked() {
    let peer = offering("hdfs", "127.0.0.1").await;
    let case = kerberos(peer.address, nobody());
    for (value, words) in [
        (keytab("nobody", "EXAMPLE.COM"), "no key for spec.hdfs.kerberos.principal"),
        (keytab("reader", "OTHER.COM"), "no key for spec.hdfs.kerberos.principal"),
        (b"\x05\x02\0\0\0\x09canary".to_vec(), "MIT keytab"),
    ] {
        let case = case.clone().file("keytab", value);
        let Err(Refusal::Unusable(failure)) = case.prepare() else { panic!("it was taken") };
        assert_eq!(failure.reason(), Reason::CredentialsMalformed);
        let message = failure.message();
        assert!(
            message.contains(words) && message.contains("Secret orders") && !message.contains("canary"),
            "{message}"
        );
    }
    assert_eq!(peer.accepted(), 0);
}

/// A look at what the program does that the operator starts, told `document`.
async fn told(world: &Arc<World>, document: Value) -> Result<Value, Failure> {
    let network = world.network("shop");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    climb(network, SHORT * 3, async move |net| {
        net.step(Stage::Reach);
        net.turn_to(&Endpoint::exactly("nn.example.com", 8020));
        let task = Task { job: "hdfs", environment: &[], document: Document::of(&document)? };
        let _ = sender.send(net.ask_child::<Value>(task).await);
        Ok(Proof::default())
    })
    .await;
    receiver.await.expect("it has ended")
}

#[tokio::test]
async fn a_child_without_a_relay_may_die_of_what_it_is_sent_and_nobody_else_does() {
    // The client believes the length and asks for four gigabytes.
    let peer = node(answers(&[b"\xff\xff\xff\xff".to_vec()])).await;
    let world = case::world(&["127.0.0.0/8"], &[]);
    let document = json!({"name_node": peer.address, "path": "/", "list": false, "user": "reader", "kerberos": null});
    let failure = told(&world, document).await.expect_err("there is no such memory");
    assert!(failure.message().contains("it needs more memory than it may have"), "{}", failure.message());
    let good = node(answers(&[found(0, 1, b"")])).await;
    simple(&[good.address]).in_world(world).passes_as_nobody().await;
}

#[tokio::test]
async fn a_child_that_is_told_something_else_says_so() {
    let world = case::world(&["127.0.0.0/8"], &[]);
    for document in [json!({}), json!("canary"), json!({"name_node": "nn1:8020"})] {
        let answer = told(&world, document).await.expect("an answer");
        assert_eq!(answer, json!({"Failed": {"found": false, "how": "Unable"}}));
    }
}

#[test]
fn a_child_ends_when_the_operator_does() {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address");
    let mut child = Command::new(env!("CARGO_BIN_EXE_connection-operator"))
        .args(["probe-child", "hdfs"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the operator's program");
    let mut stdin = child.stdin.take().expect("a pipe");
    let document = json!({"name_node": address, "path": "/", "list": false, "user": "canary", "kerberos": null});
    writeln!(stdin, "{document}").expect("it listens");
    let (_asked, _) = silent.accept().expect("it asks");
    let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("a command line");
    assert!(!String::from_utf8_lossy(&line).contains("canary"));
    assert_eq!(std::fs::read(format!("/proc/{}/environ", child.id())).expect("an environment"), b"");
    assert!(child.try_wait().expect("a child").is_none(), "it waits");
    // As when the operator is killed: nobody holds the other end.
    drop(stdin);
    assert!(!child.wait().expect("it ends").success());
}

#[tokio::test]
async fn a_machine_without_the_library_of_kerberos_is_called_so() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("no-kerberos-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory");
    // What stands in its place is none.
    std::fs::write(directory.join("libgssapi_krb5.so.2"), "").expect("a file");
    let here: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systems/hdfs/without_kerberos");
    std::os::unix::fs::symlink(here, directory.join("program")).expect("a link");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_connection-operator"), directory.join("operator")).expect("a link");
    let world = World::new(
        connection_operator::net::Policy::new(vec!["127.0.0.0/8".parse().expect("a rule")], Vec::new()),
        Arc::new(connection_operator::net::SystemResolver),
        10_000,
    );
    world.set_program(directory.join("program"));
    let peer = offering("hdfs", "127.0.0.1").await;
    let case = kerberos(peer.address, nobody()).in_world(world);
    let message = case.ends(Stage::Authenticate, Reason::InternalError).await;
    assert!(message.contains("libgssapi_krb5.so.2") && message.contains("libgssapi-krb5-2"), "{message}");
    let _ = std::fs::remove_dir_all(&directory);
}
