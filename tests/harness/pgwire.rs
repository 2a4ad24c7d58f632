//! The server's side of PostgreSQL's protocol, word by word, for peers that say what no real server can be made to say.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use super::peer::Peer;

/// The login is accepted.
pub const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
/// The server waits for a statement.
pub const READY: &[u8] = b"Z\0\0\0\x05I";
/// A password is asked for as it is.
pub const CLEARTEXT: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
/// A password is asked for by MD5.
pub const MD5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05salt";

/// A peer that says `parts` once it was greeted.
pub async fn answering(parts: &[&[u8]]) -> Peer {
    let answer = parts.concat();
    Peer::that(move |mut stream| {
        let answer = answer.clone();
        async move {
            start_up(&mut stream).await;
            send(&mut stream, &[&answer]).await;
            read_to_end(&mut stream).await;
        }
    })
    .await
}

/// A peer that lets everybody in, and gives `answer` to what it is asked.
pub async fn letting_in(answer: impl Fn(&[(u8, Vec<u8>)]) -> Vec<u8> + Send + Sync + 'static) -> Peer {
    let answer = Arc::new(answer);
    Peer::that(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            start_up(&mut stream).await;
            send(&mut stream, &[OK, READY]).await;
            while let Some(asked) = request(&mut stream).await {
                send(&mut stream, &[&answer(&asked)]).await;
            }
        }
    })
    .await
}

/// Reads the start-up message, without its length.
pub async fn start_up(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let length = stream.read_u32().await.expect("a length") as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.expect("a whole message");
    body
}

/// Reads what belongs together, up to the message that asks for an answer to it; `None` where there is nothing more.
pub async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut messages = Vec::new();
    while messages.last().is_none_or(|(tag, _)| *tag != b'S') {
        messages.push((stream.read_u8().await.ok()?, start_up(stream).await));
    }
    Some(messages)
}

/// Reads a message: its type and its body.
pub async fn message(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    (stream.read_u8().await.expect("a message"), start_up(stream).await)
}

/// Plays a server up to the client's first SCRAM message, and returns its nonce.
pub async fn scram_nonce(stream: &mut TcpStream) -> String {
    start_up(stream).await;
    send(stream, &[&scram("SCRAM-SHA-256")]).await;
    let (_, body) = message(stream).await;
    String::from_utf8_lossy(&body).split_once("r=").expect("a nonce").1.to_owned()
}

/// Says `parts`.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), parts: &[&[u8]]) {
    stream.write_all(&parts.concat()).await.expect("somebody listens");
}

/// Hears everything until the other side ends.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    all
}

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len() + 4).expect("a short body").to_be_bytes(), body].concat()
}

/// What a statement has for columns, each of a type with this OID.
pub fn columns(types: &[u32]) -> Vec<u8> {
    let column = |oid: &u32| [&b"c\0\0\0\0\0\0\0"[..], &oid.to_be_bytes(), &[0; 8]].concat();
    let columns: Vec<u8> = types.iter().flat_map(column).collect();
    framed(b'T', &[&u16::try_from(types.len()).expect("few columns").to_be_bytes()[..], &columns].concat())
}

/// A row of a statement.
pub fn row(values: &[&[u8]]) -> Vec<u8> {
    let sized = |value: &&[u8]| [&u32::try_from(value.len()).expect("a short value").to_be_bytes(), *value].concat();
    let sized: Vec<u8> = values.iter().flat_map(sized).collect();
    framed(b'D', &[&u16::try_from(values.len()).expect("few values").to_be_bytes()[..], &sized].concat())
}

/// A message about the login.
pub fn authentication(kind: u32, rest: &[u8]) -> Vec<u8> {
    framed(b'R', &[&kind.to_be_bytes(), rest].concat())
}

/// The question for a login by SASL.
pub fn scram(mechanism: &str) -> Vec<u8> {
    authentication(10, format!("{mechanism}\0\0").as_bytes())
}

/// The answer to a statement that finds nothing.
pub fn empty() -> Vec<u8> {
    [b"1\0\0\0\x042\0\0\0\x04t\0\0\0\x06\0\0", &columns(&[23])[..], b"C\0\0\0\x0dSELECT 0\0", READY].concat()
}

/// The end of a login or of a statement.
pub fn error(code: &str, text: &str, routine: &str) -> Vec<u8> {
    framed(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0R{routine}\0\0").as_bytes())
}
