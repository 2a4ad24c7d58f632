//! A named instance: the SQL Server Browser is asked for its port, over UDP, and believed in nothing else.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::case::world;

/// A host of its own for each test: the port of a browser is always the same. All of 127.0.0.0/8 is this machine.
fn host() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_be_bytes();
    format!("127.{}.{}.{}", 100 + process[2] % 100, process[3], NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A browser that says `answer` to whoever asks about an instance.
struct Browser {
    asked: Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
    _task: AbortOnDropHandle<()>,
}

impl Browser {
    async fn at(host: &str, answer: Vec<u8>) -> Self {
        let socket = UdpSocket::bind((host, 1434)).await.expect("the port of a browser");
        let asked = Arc::<std::sync::Mutex<Vec<Vec<u8>>>>::default();
        let notes = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut question = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                notes.lock().expect("no panic while it was held").push(question[..length].to_vec());
                if !answer.is_empty() {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { asked, _task: AbortOnDropHandle::new(task) }
    }

    fn asked(&self) -> Vec<Vec<u8>> {
        self.asked.lock().expect("no panic while it was held").clone()
    }
}

/// What a browser says about the instance SALES; its host is another one, which nobody must believe.
fn says(end: &str) -> Vec<u8> {
    let text = format!("ServerName;192.0.2.1;InstanceName;SALES;IsClustered;No;Version;16.0.1000.6;{end};;");
    [&[5][..], &u16::try_from(text.len()).expect("short").to_le_bytes(), text.as_bytes()].concat()
}

/// A server at a port of `host`.
async fn server_at(host: &str, change: impl FnOnce(&mut Manner)) -> Server {
    let mut manner = Manner::of(Arc::new(AUTHORITY.config(&[host], Clients::Anybody, rustls::DEFAULT_VERSIONS)));
    change(&mut manner);
    Server::at(&format!("{host}:0"), manner).await
}

/// A connection to the instance of a host.
fn sales(host: &str) -> Case {
    Case::of("reader", "127.0.0.1:1".parse().expect("an address")).with(|settings| {
        settings.host = Host(host.to_owned());
        (settings.port, settings.instance) = (None::<Port>, Some("SALES".to_owned()));
    })
}

#[tokio::test]
async fn the_port_of_an_instance_is_asked_for_and_dialled() {
    let host = host();
    let server = server_at(&host, |_| {}).await;
    let browser = Browser::at(&host, says(&format!("tcp;{}", server.peer.address.port()))).await;
    sales(&host).passes().await;
    assert_eq!(browser.asked(), [b"\x04SALES\0"]);
    // The server is told which one is meant, too: the browser may be wrong.
    assert_eq!((server.heard().instances, server.heard().logins.len()), (vec!["SALES".to_owned()], 1));
}

#[tokio::test]
async fn a_server_that_is_another_instance_is_sent_no_login() {
    let host = host();
    let server = server_at(&host, |manner| manner.instance = 1).await;
    let _browser = Browser::at(&host, says(&format!("tcp;{}", server.peer.address.port()))).await;
    let message = sales(&host).ends(Stage::Reach, Reason::ServerUnavailable).await;
    assert!(message.contains("another instance"), "{message}");
    assert_eq!(server.heard().logins, Vec::new());
}

#[tokio::test]
async fn a_silent_browser_is_named() {
    let host = host();
    let browser = Browser::at(&host, Vec::new()).await;
    let message = sales(&host).later().ends(Stage::Reach, Reason::TimedOut).await;
    assert!(message.contains("UDP port 1434") && message.contains("instance that it does not know"), "{message}");
    assert!(message.starts_with(&format!("{host}:1434 ")), "{message}");
    assert_eq!(browser.asked().len(), 2);
}

#[tokio::test]
async fn a_host_without_a_browser_refuses() {
    let host = host();
    let message = sales(&host).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.starts_with(&format!("{host}:1434 ")) && message.contains("SQL Server Browser"), "{message}");
}

#[tokio::test]
async fn what_a_browser_says_without_a_port_has_a_name() {
    for (answer, reason) in [
        (says("np;\\\\canary\\pipe\\sql\\query"), Reason::ServerUnavailable),
        (says("tcp;canary"), Reason::ServerUnavailable),
        (b"\x05\xff\xffcanary".to_vec(), Reason::ProtocolMismatch),
        (b"canary".to_vec(), Reason::ProtocolMismatch),
        (vec![5; 1500], Reason::ProtocolMismatch),
    ] {
        let host = host();
        let _browser = Browser::at(&host, answer).await;
        let message = sales(&host).ends(Stage::Reach, reason).await;
        assert!(message.contains(&format!("{host}:1434")), "{message}");
    }
}

#[tokio::test]
async fn the_egress_policy_judges_the_browser_and_the_port_it_names() {
    let host = host();
    let server = server_at(&host, |_| {}).await;
    let port = server.peer.address.port();
    let browser = Browser::at(&host, says(&format!("tcp;{port}"))).await;
    let case = sales(&host).in_world(world(&[&format!("{host}/32:{port}")], &[]));
    let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&format!("{host}:1434")) && browser.asked().is_empty(), "{message}");
    let case = sales(&host).in_world(world(&[&format!("{host}/32:1434")], &[]));
    let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&format!("{host}:{port}")), "{message}");
    assert_eq!((browser.asked().len(), server.peer.accepted()), (1, 0));
}
