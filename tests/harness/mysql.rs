//! MySQL's protocol as far as tests speak it themselves: the packets of stand-ins, and a client that is let in at a Unix socket without
//! a password, as the administrator is.

use std::path::Path;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
};

/// Reads a packet: its number and what is in it. `None` where the other side has ended.
pub async fn packet(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.ok()?;
    let [a, b, c, sequence] = header;
    let mut body = vec![0; usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16];
    stream.read_exact(&mut body).await.ok()?;
    Some((sequence, body))
}

/// A packet as it is sent.
pub fn framed(sequence: u8, body: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = body.len().to_le_bytes();
    [&[a, b, c, sequence], body].concat()
}

/// A session of `root`, who is let in at a socket without a password. It ends when it is dropped.
pub struct Administrator(UnixStream);

impl Administrator {
    /// Logs in.
    ///
    /// # Panics
    /// Where nobody is let in.
    pub async fn at(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).await.expect("the administrator's socket");
        packet(&mut stream).await.expect("a greeting");
        // PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH; an empty proof, since there is no password.
        let capabilities = 0x0000_0200_u32 | 0x0000_8000 | 0x0008_0000;
        let head = [&capabilities.to_le_bytes()[..], &[0, 0, 1, 0, 45], &[0; 23]].concat();
        send(&mut stream, 1, &[&head, &b"root\0\0mysql_native_password\0"[..]].concat()).await;
        loop {
            match packet(&mut stream).await.expect("the end of the login") {
                (_, body) if body[0] == 0 => return Self(stream),
                // Another way to log in, of which a password is no part either.
                (sequence, body) if body[0] == 0xfe => send(&mut stream, sequence + 1, &[]).await,
                (_, body) => panic!("the administrator is not let in: {}", String::from_utf8_lossy(&body)),
            }
        }
    }

    /// Runs statements, one a line; returns the first value of the last row that comes.
    ///
    /// # Panics
    /// Where the server refuses one: it is the test's mistake.
    pub async fn execute(&mut self, statements: &str) -> Option<String> {
        let mut value = None;
        for statement in statements.lines().map(str::trim).filter(|line| !line.is_empty()) {
            send(&mut self.0, 0, &[b"\x03", statement.as_bytes()].concat()).await;
            value = answer(&mut self.0, statement).await.or(value);
        }
        value
    }
}

/// Reads the answer to a statement.
async fn answer(stream: &mut UnixStream, statement: &str) -> Option<String> {
    let mut ends = 0;
    let mut value = None;
    for n in 0.. {
        let (_, body) = packet(stream).await.expect("an answer");
        match body[0] {
            0xff => panic!("{statement}: {}", String::from_utf8_lossy(&body)),
            0 if n == 0 => return None,
            0xfe if body.len() == 5 => ends += 1,
            length if ends == 1 => {
                let end = 1 + usize::from(length);
                value = body.get(1..end).map(|value| String::from_utf8_lossy(value).into_owned());
            }
            _ => {}
        }
        if ends == 2 {
            break;
        }
    }
    value
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), sequence: u8, body: &[u8]) {
    stream.write_all(&framed(sequence, body)).await.expect("somebody listens");
}
