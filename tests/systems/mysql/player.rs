//! Plays the server's side of a conversation, and verifies what it is sent as a server does: from what a server stores of a password,
//! never from the password itself.

use aws_lc_rs::{digest, pbkdf2, signature};
use connection_operator::net::tls::{Mode, Roots};
use mysql_common::{
    constants::{CapabilityFlags, StatusFlags},
    io::ParseBuf,
    packets::{HandshakePacket, HandshakeResponse},
    proto::MySerialize as _,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::connection::Case;
use crate::harness::{
    authority::{Authority, Clients},
    mysql::{framed, packet},
    peer::Peer,
};

/// The names of the ways to log in that servers begin with.
pub const NATIVE: &str = "mysql_native_password";
pub const CACHING: &str = "caching_sha2_password";

/// What an OK and the end of columns or rows look like.
pub const OK: &[u8] = b"\0\0\0\x02\0\0\0";
pub const END: &[u8] = b"\xfe\0\0\x02\0";

/// The nonce of every greeting, and of a request for another way to log in.
pub const NONCE: &[u8; 20] = b"0123456789abcdefghij";
pub const LONG_NONCE: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// A stream of any kind.
trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Channel for S {}

/// A conversation with a client.
pub struct Player {
    stream: Box<dyn Channel>,
    sequence: u8,
}

/// What a client says about itself.
pub struct Told {
    pub user: String,
    pub database: Option<String>,
    pub plugin: String,
    pub proof: Vec<u8>,
    pub program: Option<String>,
}

impl Player {
    pub fn of(stream: TcpStream) -> Self {
        Self { stream: Box::new(stream), sequence: 0 }
    }

    /// Greets, does TLS where the client asks for it, and reads what the client says about itself.
    pub async fn greet(stream: TcpStream, plugin: &str, acceptor: Option<&TlsAcceptor>) -> Option<(Self, Told)> {
        let mut player = Self { stream: Box::new(tokio::io::empty()), sequence: 0 };
        let mut stream = stream;
        let offers = if acceptor.is_some() { CapabilityFlags::all() } else { without_tls() };
        stream.write_all(&framed(0, &greeting(plugin, offers))).await.ok()?;
        let (sequence, mut body) = packet(&mut stream).await?;
        player.sequence = sequence + 1;
        // The request for TLS is the beginning of what comes after it, and nothing else.
        let mut asked = None;
        if let (Some(acceptor), 32) = (acceptor, body.len()) {
            asked = Some(body);
            let mut secured = acceptor.accept(stream).await.ok()?;
            let (sequence, response) = packet(&mut secured).await?;
            (player.sequence, body) = (sequence + 1, response);
            player.stream = Box::new(secured);
        } else {
            player.stream = Box::new(stream);
        }
        // MariaDB believes what it is told before TLS.
        assert!(asked.is_none_or(|asked| asked == body[..32]), "it says two things about itself");
        let response: HandshakeResponse<'_> = ParseBuf(&body).parse(()).expect("an answer to a greeting");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let told = Told {
            user: text(response.user()),
            database: response.db_name().map(text),
            plugin: response.auth_plugin().map(|plugin| text(plugin.as_bytes())).unwrap_or_default(),
            proof: response.scramble_buf().to_vec(),
            program: response.connect_attributes().and_then(|attributes| attributes.get("program_name").cloned()),
        };
        Some((player, told))
    }

    /// Reads the next packet.
    pub async fn hear(&mut self) -> Option<Vec<u8>> {
        let (sequence, body) = packet(&mut self.stream).await?;
        self.sequence = sequence.wrapping_add(1);
        Some(body)
    }

    /// Sends packets, as many as somebody listens to.
    pub async fn say(&mut self, packets: &[&[u8]]) {
        for body in packets {
            let _ = self.stream.write_all(&framed(self.sequence, body)).await;
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Asks to log in another way, and reads the answer.
    pub async fn switch(&mut self, plugin: &str, data: &[u8]) -> Option<Vec<u8>> {
        self.say(&[&switch(plugin, data)]).await;
        self.hear().await
    }

    /// Reads to the end.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.stream.read_to_end(&mut all).await;
        all
    }

    /// Accepts the login, and answers statements with `answer` until the client is gone; returns them.
    pub async fn serve(&mut self, answer: impl Fn(&str) -> Vec<Vec<u8>>) -> Vec<String> {
        self.say(&[OK]).await;
        let mut statements = Vec::new();
        while let Some(body) = self.hear().await {
            let [3, statement @ ..] = &body[..] else { break };
            let statement = String::from_utf8_lossy(statement).into_owned();
            let packets = answer(&statement);
            self.say(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
            statements.push(statement);
        }
        statements
    }
}

/// A peer that plays a server to whoever comes.
pub async fn playing<F, A>(plugin: &'static str, act: A) -> Peer
where
    A: Fn(Player, Told) -> F + Send + Sync + Clone + 'static,
    F: Future<Output = ()> + Send,
{
    Peer::that(move |stream| {
        let act = act.clone();
        async move {
            if let Some((player, told)) = Player::greet(stream, plugin, None).await {
                act(player, told).await;
            }
        }
    })
    .await
}

/// A server with TLS that plays `act`, and the authority of its certificate.
pub async fn secured<F, A>(plugin: &'static str, act: A) -> (Peer, Roots)
where
    A: Fn(Player, Told) -> F + Send + Sync + Clone + 'static,
    F: Future<Output = ()> + Send,
{
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], Clients::Anybody);
    let roots = authority.roots();
    let peer = Peer::that(move |stream| {
        let (act, acceptor) = (act.clone(), acceptor.clone());
        async move {
            if let Some((player, told)) = Player::greet(stream, plugin, Some(&acceptor)).await {
                act(player, told).await;
            }
        }
    })
    .await;
    (peer, roots)
}

/// A case against `peer`, without TLS.
pub fn plain(peer: &Peer) -> Case {
    encrypted(peer).tls(|tls| tls.mode = Mode::Disable)
}

/// The same with TLS.
pub fn encrypted(peer: &Peer) -> Case {
    Case::at(peer.address).login("reader")
}

/// A greeting that begins with `plugin`.
pub fn greeting(plugin: &str, capabilities: CapabilityFlags) -> Vec<u8> {
    let second = [&NONCE[8..], &[0]].concat();
    let first = *NONCE.first_chunk().expect("twenty bytes");
    let status = StatusFlags::empty();
    let mut body = Vec::new();
    HandshakePacket::new(10, &b"8.4.0"[..], 7, first, Some(second), capabilities, 45, status, Some(plugin.as_bytes()))
        .serialize(&mut body);
    body
}

/// All that a server can do, but TLS.
pub fn without_tls() -> CapabilityFlags {
    CapabilityFlags::all() - CapabilityFlags::CLIENT_SSL
}

/// A request to log in another way.
pub fn switch(plugin: &str, data: &[u8]) -> Vec<u8> {
    [b"\xfe", plugin.as_bytes(), b"\0", data].concat()
}

/// An error whose text must not show.
pub fn error(code: u16) -> Vec<u8> {
    [b"\xff", &code.to_le_bytes()[..], b"#HY000canary"].concat()
}

/// A result with one column, and a row with `value` where there is one.
pub fn result(value: Option<&str>) -> Vec<Vec<u8>> {
    let row = value.map(|value| [&[u8::try_from(value.len()).expect("short")], value.as_bytes()].concat());
    [vec![1], b"\x03def".to_vec(), END.to_vec()].into_iter().chain(row).chain([END.to_vec()]).collect()
}

/// What every statement of a look is answered with where all is well.
pub fn well(statement: &str) -> Vec<Vec<u8>> {
    if statement.starts_with("SET ") { vec![OK.to_vec()] } else { result(Some("reader@%")) }
}

/// Whether `proof` is the one of `password` for a nonce, with `mysql_native_password`: the server stores its SHA-1, twice.
pub fn native_is_right(proof: &[u8], nonce: &[u8], password: &str) -> bool {
    is_right(&digest::SHA1_FOR_LEGACY_USE_ONLY, proof, |stored| [nonce, stored].concat(), password)
}

/// The same with `caching_sha2_password`: the server caches its SHA-256, twice.
pub fn cached_is_right(proof: &[u8], nonce: &[u8], password: &str) -> bool {
    is_right(&digest::SHA256, proof, |stored| [stored, nonce].concat(), password)
}

fn is_right(
    algorithm: &'static digest::Algorithm,
    proof: &[u8],
    mixed: impl Fn(&[u8]) -> Vec<u8>,
    password: &str,
) -> bool {
    let hash = |bytes: &[u8]| digest::digest(algorithm, bytes).as_ref().to_vec();
    let stored = hash(&hash(password.as_bytes()));
    let mask = hash(&mixed(&stored));
    let once: Vec<u8> = proof.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
    proof.len() == mask.len() && hash(&once) == stored
}

/// Whether `answer` signs both nonces with the key that `password` makes, with `parsec`: the server stores the public half.
pub fn signature_is_right(answer: &[u8], salt: &[u8], rounds: u32, password: &str) -> bool {
    let mut seed = [0; 32];
    let rounds = rounds.try_into().expect("some rounds");
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, salt, password.as_bytes(), &mut seed);
    let pair = signature::Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
    let key = signature::KeyPair::public_key(&pair).as_ref().to_vec();
    let Some((nonce, signed)) = answer.split_at_checked(32) else { return false };
    let message = [&LONG_NONCE[..], nonce].concat();
    signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(&message, signed).is_ok()
}
