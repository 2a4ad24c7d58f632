//! Servers of MySQL's protocol that a script of `hack/` starts, asked what they saw; and the protocol as far as tests speak it
//! themselves: the packets of stand-ins, and a client that is let in at a Unix socket without a password, as the administrator is.

use std::{net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
};

use super::script::{self, Said};

/// A server with TLS on loopback.
pub struct Server {
    /// Where it listens. Its certificate is good for this address; it listens at 127.0.0.2 too, for which it is not.
    pub address: SocketAddr,
    /// What else its script says: CAs, a client certificate, the logs.
    pub said: Said,
}

/// What a server saw of one connection, in the words of its general log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The login: `reader@127.0.0.1 on orders using SSL/TLS`.
    pub login: String,
    /// What came after it, one a line: `Query SELECT 1`, `Quit`.
    pub commands: Vec<String>,
}

/// Starts a server of `hack/SCRIPT` in a directory of that name, with more options.
///
/// # Errors
/// A sentence that says what is missing.
pub fn start(script: &str, name: &str, options: &str) -> Result<Server, String> {
    let key = script.to_uppercase();
    script::required(&format!("CONNECTION_OPERATOR_TEST_{key}"))?;
    let said = script::up(script, &script::run_directory().join(name), &[], &[("OPTIONS", options)])?;
    Ok(Server { address: said.address(&key)?, said })
}

impl Server {
    /// Runs statements, one a line, as the administrator, and returns the first value of the last row that comes.
    pub async fn execute(&self, statements: &str) -> Option<String> {
        self.administrator().await.execute(statements).await
    }

    /// A session of the administrator.
    pub async fn administrator(&self) -> Administrator {
        Administrator::at(Path::new(&self.said["SOCKET"])).await
    }

    /// The connections of `user` so far, in the order of their logins.
    pub fn sessions(&self, user: &str) -> Vec<Session> {
        let mut sessions: Vec<(String, Session)> = Vec::new();
        for line in self.said.log("GENERAL_LOG").lines() {
            // A time or nothing, then the connection's number and the command, then what it is about.
            let (head, about) = line.rsplit_once('\t').map_or((line, ""), |(head, about)| (head, about));
            let mut words = head.rsplit('\t').next().unwrap_or_default().split_whitespace();
            let (Some(id), Some(command)) = (words.next(), words.next()) else { continue };
            match sessions.iter_mut().rfind(|(known, _)| known == id) {
                // Quit ends with a tab.
                Some((_, session)) => session.commands.push(format!("{command} {about}").trim().to_owned()),
                None => sessions.push((id.to_owned(), Session { login: about.to_owned(), commands: Vec::new() })),
            }
        }
        let login = format!("{user}@");
        sessions.into_iter().map(|(_, session)| session).filter(|session| session.login.starts_with(&login)).collect()
    }
}

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
