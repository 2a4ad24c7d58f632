//! A server that speaks TDS as far as a login and questions go ([MS-TDS]), and answers as a test says. It is written from the
//! specification and shares no code with what it tests: it complains about whatever it is sent that the specification forbids,
//! and when it is dropped it fails the test over a complaint.

use std::{
    io::{self, Read as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{ServerConfig, ServerConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::peer::Peer;

/// How a server behaves.
pub struct Manner {
    /// How it does TLS.
    pub tls: Arc<ServerConfig>,
    /// When TLS begins.
    pub opening: Opening,
    /// What it says about encryption.
    pub encryption: u8,
    /// What it says about the instance that was asked for.
    pub instance: u8,
    /// How it sends what follows the handshake of TLS 1.3.
    pub tickets: Tickets,
    /// What it answers to a login; nothing, ever, where that is empty.
    pub login: ToLogin,
    /// What it answers to a question; likewise.
    pub question: ToQuestion,
    /// What becomes of an answer on its way, packets and all.
    pub spoil: Spoil,
    /// What it does when it has answered.
    pub then: Then,
}

/// An answer to a login.
pub type ToLogin = Box<dyn Fn(&Login) -> Vec<u8> + Send + Sync>;
/// An answer to a question.
pub type ToQuestion = Box<dyn Fn(&Login, &Question) -> Vec<u8> + Send + Sync>;
/// What becomes of an answer.
pub type Spoil = Box<dyn Fn(Turn, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// After a greeting, in packets (TDS 7).
    Seven,
    /// At once (TDS 8).
    Eight,
}

/// How the tickets of TLS 1.3 are sent, which no client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tickets {
    /// In packets, as the handshake.
    InPackets,
    /// As they are.
    AsTheyAre,
}

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A login.
    Login,
    /// A question.
    Question,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next question.
    Listen,
    /// The end.
    HangUpAfter(Turn),
}

impl Manner {
    /// A server that is as `tls` says, accepts every login, and finds nothing.
    pub fn of(tls: Arc<ServerConfig>) -> Self {
        Self {
            tls,
            opening: Opening::Seven,
            encryption: 1,
            instance: 0,
            tickets: Tickets::InPackets,
            login: Box::new(tokens::accepted),
            question: Box::new(|_, _| tokens::row([None; 5])),
            spoil: Box::new(|_, answer| answer),
            then: Then::Listen,
        }
    }
}

/// A login as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub workstation: String,
    pub user: String,
    pub password: String,
    pub application: String,
    pub server: String,
    pub database: String,
    /// The token, where the login is made with one.
    pub token: Option<String>,
    /// Whether the login fails where the database cannot be used.
    pub needs_the_database: bool,
    /// Whether it is made to read only.
    pub reads_only: bool,
}

/// A statement, and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub statement: String,
    pub parameters: Vec<String>,
}

/// What a server was told.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The instances that were asked for, as they were greeted.
    pub instances: Vec<String>,
    /// Whether a token was announced, each time.
    pub announced: Vec<bool>,
    /// What came before TLS was done, beside the greeting and the handshake.
    pub readable: Vec<u8>,
    pub logins: Vec<Login>,
    pub questions: Vec<Question>,
    /// How many clients have said goodbye.
    pub goodbyes: usize,
    complaints: Vec<String>,
}

/// A server.
pub struct Server {
    /// The peer: where it is, and how many came.
    pub peer: Peer,
    heard: Arc<Mutex<Heard>>,
}

impl Server {
    /// A server that behaves so.
    pub async fn that(manner: Manner) -> Self {
        Self::at("127.0.0.1:0", manner).await
    }

    /// The same at an address.
    pub async fn at(address: &str, manner: Manner) -> Self {
        let (manner, heard) = (Arc::new(manner), Arc::<Mutex<Heard>>::default());
        let notes = Arc::clone(&heard);
        let peer = Peer::at(address, move |tcp| {
            let (manner, notes) = (Arc::clone(&manner), Arc::clone(&notes));
            async move {
                let mut line = Line { tcp, tls: None, plain: Vec::new(), notes };
                // An error is the client that leaves.
                let _ = line.serve(&manner).await;
            }
        });
        Self { peer: peer.await, heard }
    }

    /// What it was told so far.
    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let complaints = self.heard().complaints;
        assert!(complaints.is_empty() || std::thread::panicking(), "{complaints:?}");
    }
}

const LONGEST: usize = 4096;
const HEADER: usize = 8;

/// One connection.
struct Line {
    tcp: TcpStream,
    tls: Option<ServerConnection>,
    plain: Vec<u8>,
    notes: Arc<Mutex<Heard>>,
}

impl Line {
    async fn serve(&mut self, manner: &Manner) -> io::Result<()> {
        if manner.opening == Opening::Eight {
            self.shake_hands(manner, Opening::Eight).await?;
            let chosen = self.tls.as_ref().and_then(|tls| tls.alpn_protocol().map(<[u8]>::to_vec));
            self.expect(chosen.as_deref() == Some(b"tds/8.0"), "TDS 8 is not named in the handshake");
        }
        let (kind, hello) = self.message().await?;
        self.expect(kind == 0x12, "a client greets first");
        self.read_hello(&hello);
        self.send(&packets(0x04, &greeting(manner))).await?;
        if manner.opening == Opening::Seven {
            if !matches!(manner.encryption, 1 | 3) {
                let mut rest = Vec::new();
                self.tcp.read_to_end(&mut rest).await?;
                self.note(|heard| heard.readable.extend(rest));
                return Ok(());
            }
            self.shake_hands(manner, Opening::Seven).await?;
        }
        let (kind, login) = self.message().await?;
        self.expect(kind == 0x10, "a client logs in next");
        let login = self.read_login(&login);
        self.note(|heard| heard.logins.push(login.clone()));
        self.answer(manner, Turn::Login, &(manner.login)(&login)).await?;
        loop {
            match self.message().await {
                Ok((kind, request)) => {
                    self.expect(kind == 0x03, "questions are calls of a procedure");
                    let question = self.read_question(&request);
                    self.note(|heard| heard.questions.push(question.clone()));
                    self.answer(manner, Turn::Question, &(manner.question)(&login, &question)).await?;
                }
                Err(error) => {
                    // A close of TLS, not of the socket alone.
                    self.note(|heard| heard.goodbyes += usize::from(error.kind() == io::ErrorKind::ConnectionAborted));
                    return Err(error);
                }
            }
        }
    }

    async fn answer(&mut self, manner: &Manner, turn: Turn, message: &[u8]) -> io::Result<()> {
        if message.is_empty() {
            return std::future::pending().await;
        }
        self.send(&(manner.spoil)(turn, packets(0x04, message))).await?;
        if manner.then == Then::HangUpAfter(turn) { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    fn note(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn expect(&self, holds: bool, complaint: &str) {
        if !holds {
            self.note(|heard| heard.complaints.push(complaint.to_owned()));
        }
    }

    /// The handshake; in TDS 7 each flight is a message of packets.
    async fn shake_hands(&mut self, manner: &Manner, opening: Opening) -> io::Result<()> {
        let mut tls = ServerConnection::new(Arc::clone(&manner.tls)).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            let flight = match opening {
                Opening::Seven => {
                    let (kind, flight) = self.message().await?;
                    self.expect(kind == 0x12, "a handshake is in packets of a greeting");
                    flight
                }
                Opening::Eight => {
                    let mut flight = vec![0; LONGEST];
                    let length = self.tcp.read(&mut flight).await?;
                    if length == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    flight.truncate(length);
                    flight
                }
            };
            let mut rest = &flight[..];
            while !rest.is_empty() {
                tls.read_tls(&mut rest)?;
                let processed = tls.process_new_packets();
                let mut answer = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut answer)?;
                }
                let wrapped =
                    opening == Opening::Seven && (tls.is_handshaking() || manner.tickets == Tickets::InPackets);
                // TLS 1.2 ends with a flight of the server.
                let last_of_tls_1_2 = tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_2);
                if !answer.is_empty() {
                    if wrapped || (opening == Opening::Seven && last_of_tls_1_2) {
                        self.tcp.write_all(&packets(0x12, &answer)).await?;
                    } else {
                        self.tcp.write_all(&answer).await?;
                    }
                }
                processed.map_err(io::Error::other)?;
            }
        }
        self.tls = Some(tls);
        // The client may have gone on already.
        let early = std::mem::take(&mut self.plain);
        self.absorb(&early)
    }

    /// Reads until `length` bytes are there.
    async fn need(&mut self, length: usize) -> io::Result<()> {
        while self.plain.len() < length {
            let mut raw = vec![0; LONGEST];
            let read = self.tcp.read(&mut raw).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.absorb(&raw[..read])?;
        }
        Ok(())
    }

    /// Takes what came.
    fn absorb(&mut self, mut raw: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            self.plain.extend_from_slice(raw);
            return Ok(());
        };
        loop {
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut part)?;
            self.plain.extend(part);
            if raw.is_empty() {
                return if state.peer_has_closed() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) };
            }
            tls.read_tls(&mut raw)?;
        }
    }

    /// A message: the type of its packets, and what is in them.
    async fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let (mut message, mut first) = (Vec::new(), None);
        loop {
            self.need(HEADER).await?;
            let [kind, status, high, low, ..] = self.plain[..] else { unreachable!("a header was waited for") };
            let length = usize::from(u16::from_be_bytes([high, low]));
            self.expect((HEADER..=LONGEST).contains(&length), "a packet has at most 4096 bytes");
            self.expect(status & !1 == 0, "a packet is the last one or not");
            self.expect(*first.get_or_insert(kind) == kind, "the packets of a message are of one type");
            if length < HEADER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.need(length).await?;
            let packet: Vec<u8> = self.plain.drain(..length).collect();
            message.extend_from_slice(&packet[HEADER..]);
            if status & 1 == 1 {
                return Ok((kind, message));
            }
            self.expect(length == LONGEST, "only the last packet of a message is not full");
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.tcp.write_all(bytes).await,
            Some(tls) => {
                for part in bytes.chunks(16 * 1024) {
                    tls.writer().write_all(part)?;
                    let mut raw = Vec::new();
                    while tls.wants_write() {
                        tls.write_tls(&mut raw)?;
                    }
                    self.tcp.write_all(&raw).await?;
                }
                Ok(())
            }
        }
    }

    fn read_hello(&self, hello: &[u8]) {
        let (mut at, mut told) = (0, Vec::new());
        while hello.get(at).is_some_and(|option| *option != 0xff) {
            let number = |from: usize| usize::from(u16::from_be_bytes([hello[from], hello[from + 1]]));
            let (offset, length) = (number(at + 1), number(at + 3));
            let value = hello.get(offset..offset + length).map(<[u8]>::to_vec);
            self.expect(value.is_some(), "an option lies outside of the greeting");
            told.push((hello[at], value.unwrap_or_default()));
            at += 5;
        }
        let of = |option: u8| told.iter().find(|(name, _)| *name == option).map(|(_, value)| value.clone());
        self.expect(hello.get(at) == Some(&0xff), "the options of a greeting end");
        self.expect(told.first().is_some_and(|(name, value)| *name == 0 && value.len() == 6), "the version is first");
        self.expect(of(1).as_deref() == Some(&[1]), "everything is to be encrypted");
        self.expect(of(4).as_deref() == Some(&[0]), "several questions at once are not asked for");
        let instance = of(2).unwrap_or_default();
        let name = instance.strip_suffix(b"\0").unwrap_or_default();
        self.expect(instance.ends_with(b"\0") && !name.contains(&0), "the name of an instance ends with a NUL");
        self.note(|heard| {
            heard.instances.push(String::from_utf8_lossy(name).into_owned());
            heard.announced.push(of(6).is_some_and(|value| value == [1]));
        });
    }

    /// LOGIN7 (2.2.6.4).
    fn read_login(&self, login: &[u8]) -> Login {
        let long = |at: usize| u32::from_le_bytes([login[at], login[at + 1], login[at + 2], login[at + 3]]);
        let short = |at: usize| usize::from(u16::from_le_bytes([login[at], login[at + 1]]));
        if login.len() < 94 || long(0) as usize != login.len() {
            self.expect(false, "a login is as long as it says");
            return Login::default();
        }
        let bytes = |at: usize| login.get(short(at)..short(at) + 2 * short(at + 2)).unwrap_or_default().to_vec();
        let secret: Vec<u8> = bytes(44).iter().map(|byte| (byte ^ 0xa5).rotate_left(4)).collect();
        self.expect(long(4) == 0x7400_0004, "TDS 7.4 is spoken");
        self.expect(login[25] & 0x80 == 0, "nobody logs in as whoever runs the operator");
        self.expect(short(88) == 0, "no password is changed");
        let extended = login[27] & 0x10 != 0;
        let token = extended.then(|| {
            let at = long(short(56)) as usize;
            let length = long(at + 1) as usize;
            let options = login[at + 5];
            let text = &login[at + 10..at + 10 + long(at + 6) as usize];
            self.expect(login[at] == 2 && login[at + 5 + length] == 0xff, "the only feature is a token");
            self.expect(options >> 1 == 1, "the token is one of a library");
            self.expect(options & 1 == 1, "what the server said about tokens is repeated");
            utf_16(text)
        });
        Login {
            workstation: utf_16(&bytes(36)),
            user: utf_16(&bytes(40)),
            password: utf_16(&secret),
            application: utf_16(&bytes(48)),
            server: utf_16(&bytes(52)),
            database: utf_16(&bytes(68)),
            token,
            needs_the_database: login[24] & 0x40 != 0,
            reads_only: login[26] & 0x20 != 0,
        }
    }

    /// A call of `sp_executesql` (2.2.6.6), whose parameters are texts.
    fn read_question(&self, request: &[u8]) -> Question {
        let mut parts = Parts(request);
        let headers = parts.long();
        parts.bytes(headers.saturating_sub(4));
        let (by_number, procedure, _flags) = (parts.short(), parts.short(), parts.short());
        self.expect((by_number, procedure) == (0xffff, 10), "sp_executesql is called, by its number");
        let mut texts = Vec::new();
        while !parts.0.is_empty() {
            let name = parts.byte();
            parts.bytes(2 * name);
            let _status = parts.byte();
            self.expect(parts.byte() == 0xe7, "a parameter is a text");
            let longest = parts.short();
            parts.bytes(5);
            let value = if longest == 0xffff {
                parts.bytes(8);
                let mut all = Vec::new();
                loop {
                    match parts.long() {
                        0 => break,
                        length => all.extend_from_slice(parts.bytes(length)),
                    }
                }
                all
            } else {
                let length = parts.short();
                parts.bytes(length).to_vec()
            };
            texts.push(utf_16(&value));
        }
        self.expect(texts.len() >= 2, "a statement and the types of its parameters are given");
        let statement = texts.first().cloned().unwrap_or_default();
        Question { statement, parameters: texts.split_off(2.min(texts.len())) }
    }
}

/// Reads numbers and bytes; what is not there is zero.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, length: usize) -> usize {
        self.bytes(length).iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn byte(&mut self) -> usize {
        self.number(1)
    }

    fn short(&mut self) -> usize {
        self.number(2)
    }

    fn long(&mut self) -> usize {
        self.number(4)
    }
}

fn utf_16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// What the server says first: version, encryption, instance, thread, several questions at once, tokens.
fn greeting(manner: &Manner) -> Vec<u8> {
    let options: [(u8, &[u8]); 6] = [
        (0, b"\x10\x00\x10\x00\x00\x00"),
        (1, &[manner.encryption]),
        (2, &[manner.instance]),
        (3, b""),
        (4, &[0]),
        (6, &[1]),
    ];
    let (mut table, mut values) = (Vec::new(), Vec::new());
    for (name, value) in options {
        let offset = u16::try_from(5 * options.len() + 1 + values.len()).expect("short");
        let length = u16::try_from(value.len()).expect("short");
        table.push(name);
        table.extend(offset.to_be_bytes());
        table.extend(length.to_be_bytes());
        values.extend_from_slice(value);
    }
    table.push(0xff);
    [table, values].concat()
}

/// A message in packets.
pub fn packets(kind: u8, message: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = message;
    loop {
        let (packet, after) = rest.split_at(rest.len().min(LONGEST - HEADER));
        let length = u16::try_from(packet.len() + HEADER).expect("short").to_be_bytes();
        all.extend([kind, u8::from(after.is_empty()), length[0], length[1], 0, 52, 1, 0]);
        all.extend_from_slice(packet);
        rest = after;
        if rest.is_empty() {
            return all;
        }
    }
}

/// What a server says, token by token (2.2.7).
pub mod tokens {
    use super::Login;

    fn short(number: usize) -> [u8; 2] {
        u16::try_from(number).expect("short").to_le_bytes()
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn text(text: &str) -> Vec<u8> {
        [vec![u8::try_from(text.encode_utf16().count()).expect("short")], wide(text)].concat()
    }

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &short(body.len()), body].concat()
    }

    /// An error. Its words must be seen nowhere.
    pub fn error(number: u32) -> Vec<u8> {
        message(0xaa, number, 14)
    }

    /// A message that is none.
    pub fn info(number: u32) -> Vec<u8> {
        message(0xab, number, 0)
    }

    fn message(kind: u8, number: u32, class: u8) -> Vec<u8> {
        let words = "canary: Login failed for user 'canary'.";
        let body = [
            &number.to_le_bytes()[..],
            &[1, class],
            &short(words.encode_utf16().count()),
            &wide(words),
            &text("canary-server"),
            &text(""),
            &1u32.to_le_bytes(),
        ];
        framed(kind, &body.concat())
    }

    /// The end of an answer.
    pub fn done() -> Vec<u8> {
        [&[0xfd][..], &[0; 12]].concat()
    }

    /// The end of an answer with errors.
    pub fn failed() -> Vec<u8> {
        [&[0xfd, 2, 0][..], &[0; 10]].concat()
    }

    /// A refusal, with as many errors as are named.
    pub fn refused(numbers: &[u32]) -> Vec<u8> {
        [numbers.iter().flat_map(|number| error(*number)).collect(), failed()].concat()
    }

    /// The acceptance alone.
    pub fn acknowledged() -> Vec<u8> {
        framed(0xad, &[&[1, 0x74, 0, 0, 4][..], &text("Microsoft SQL Server"), &[16, 0, 16, 0]].concat())
    }

    /// That the database is changed to this one.
    pub fn database(name: &str) -> Vec<u8> {
        framed(0xe3, &[vec![1], text(name), text("master")].concat())
    }

    /// That a token was looked at.
    pub fn token_taken() -> Vec<u8> {
        vec![0xae, 2, 0, 0, 0, 0, 0xff]
    }

    /// That packets may be so long.
    pub fn packet_size(size: &str) -> Vec<u8> {
        framed(0xe3, &[vec![4], text(size), text("4096")].concat())
    }

    /// Everything that a server says to a login that it accepts.
    pub fn accepted(login: &Login) -> Vec<u8> {
        let token = if login.token.is_some() { token_taken() } else { Vec::new() };
        [database(&login.database), info(5701), acknowledged(), packet_size("4096"), token, done()].concat()
    }

    /// That the login is to be made elsewhere.
    pub fn routed(host: &str, port: u16) -> Vec<u8> {
        let route = [&[0][..], &port.to_le_bytes(), &short(host.encode_utf16().count()), &wide(host)].concat();
        let body = [&[20][..], &short(route.len()), &route, &[0, 0]].concat();
        [acknowledged(), framed(0xe3, &body), done()].concat()
    }

    /// One row of numbers, as a procedure gives it.
    pub fn row(values: [Option<i32>; 5]) -> Vec<u8> {
        let column = [&[0, 0, 0, 0, 0x21, 0, 0x26, 4][..], &text("")].concat();
        let cell = |value: Option<i32>| value.map_or(vec![0], |n| [&[4][..], &n.to_le_bytes()].concat());
        let mut all = [vec![0x81, 5, 0], column.repeat(5), vec![0xd1]].concat();
        all.extend(values.into_iter().flat_map(cell));
        // The end of the statement, what the procedure returns, and its end.
        all.extend([0xff, 0x11, 0, 0xc1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x79, 0, 0, 0, 0, 0xfe, 0, 0, 0xe0, 0]);
        all.extend([0; 8]);
        all
    }
}
