//! What a name node says, read frame by frame before the client gets it: the client allocates what a frame announces, panics at numbers
//! that it does not know, logs in without a proof where it is offered that, and takes for the server whoever says that it is. It
//! decides about bytes and does no I/O.

use prost::Message;

/// Longest frame until the login is over: a ticket of a user with a thousand groups has a quarter of it.
const LOGIN_LIMIT: usize = 64 * 1024;

/// Longest frame after it: a list of a thousand names and owners.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// The call that messages of a login belong to: -33 as it is sent.
const LOGIN_CALL: u32 = u32::MAX - 32;

/// The head of every answer (`RpcHeader.proto` of Hadoop); what is not used is not read. What must be there is optional, so that it is
/// known when it is not.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(uint32, optional, tag = "1")]
    pub(super) call: Option<u32>,
    #[prost(int32, optional, tag = "2")]
    pub(super) status: Option<i32>,
    #[prost(string, optional, tag = "4")]
    pub(super) exception: Option<String>,
}

/// A message of a login.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Sasl {
    #[prost(uint32, optional, tag = "1")]
    pub(super) version: Option<u32>,
    #[prost(int32, optional, tag = "2")]
    pub(super) state: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) token: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub(super) offers: Vec<Offer>,
}

/// A way to log in that the server offers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Offer {
    #[prost(string, required, tag = "1")]
    pub(super) method: String,
    #[prost(string, required, tag = "2")]
    pub(super) mechanism: String,
    #[prost(string, optional, tag = "3")]
    pub(super) service: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(super) host: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) challenge: Option<Vec<u8>>,
}

/// The states of a login that a server sends.
mod state {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const NEGOTIATE: i32 = 1;
    pub(super) const CHALLENGE: i32 = 3;
    pub(super) const WRAP: i32 = 5;
}

/// What came of a call.
mod status {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const ERROR: i32 = 1;
    pub(super) const FATAL: i32 = 2;
}

/// How one logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// By saying a name.
    Simple,
    /// By Kerberos, at a server that has one of these principals.
    Kerberos(Vec<Principal>),
}

/// A principal without its realm: a service at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// `hdfs`, for example.
    pub(super) service: String,
    /// Where it runs.
    pub(super) host: String,
}

impl Principal {
    /// The principals that a name node at `host` may have: the one of the settings, in which `_HOST` stands for the host, or one of
    /// Hadoop's usual two.
    pub(super) fn expected(setting: Option<&str>, host: &str) -> Vec<Self> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let of = |service: &str, host: &str| Self { service: service.to_owned(), host: host.to_owned() };
        match setting {
            None => vec![of("nn", &host), of("hdfs", &host)],
            Some(setting) => match setting.split_once('/') {
                Some((service, "_HOST")) => vec![of(service, &host)],
                Some((service, named)) => vec![of(service, named)],
                None => vec![of(setting, "")],
            },
        }
    }
}

/// What is learned from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The first well-formed answer has come.
    Answered,
    /// It has sent what it says is a proof of who it is.
    Challenged,
    /// The login is over.
    Accepted,
}

/// Why an answer is not given to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is no answer of a name node.
    NotTheProtocol,
    /// It announces more than an answer may have.
    TooLarge,
    /// It does not offer Kerberos.
    NoKerberos,
    /// It takes everybody for who they say they are.
    Simple,
    /// It calls itself by another principal than is expected.
    AnotherServer,
    /// It goes on in the login before the client can have shown who it is, or looked at who answers.
    Unproven,
    /// It ends the conversation by an exception, whose class this is.
    Fatal(String),
    /// A key distribution centre says that it cannot serve now.
    Busy,
}

/// How far a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// Nothing well-formed has come.
    Silent,
    /// It has answered.
    Answering,
    /// It has made us prove something, and says that it proves something itself.
    Challenged,
    /// It says that the login is over. Whether it has proven who it is the client knows alone.
    Welcomed,
    /// The login is over: the client has gone on to speak.
    Accepted,
}

/// The part of what a client says that is being said: a greeting, then frames, each after its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The greeting, of which so many bytes are missing.
    Greeting(u8),
    /// A length, of which so many bytes are missing, and its value so far.
    Length(u8, u32),
    /// A frame, of which so many bytes are missing.
    Frame(u32),
}

impl Part {
    /// Takes one byte more; returns whether a frame is whole by it.
    fn takes(&mut self, byte: u8) -> bool {
        const LENGTH: Part = Part::Length(4, 0);
        let (next, is_whole) = match *self {
            Self::Greeting(1) => (LENGTH, false),
            Self::Greeting(missing) => (Self::Greeting(missing - 1), false),
            Self::Length(missing, length) => match (missing - 1, length << 8 | u32::from(byte)) {
                (0, 0) => (LENGTH, true),
                (0, length) => (Self::Frame(length), false),
                (missing, length) => (Self::Length(missing, length), false),
            },
            Self::Frame(1) => (LENGTH, true),
            Self::Frame(missing) => (Self::Frame(missing - 1), false),
        };
        *self = next;
        is_whole
    }
}

/// One conversation with a name node.
#[derive(Debug)]
pub(super) struct Wire {
    login: Login,
    progress: Progress,
    pending: Vec<u8>,
    saying: Part,
    /// The client has said something since the server did.
    is_asked: bool,
    /// What the server says is encrypted, or signed, for the client.
    is_wrapped: bool,
}

impl Wire {
    /// A conversation in which nothing was said.
    pub(super) const fn new(login: Login) -> Self {
        // Four letters, a version, a class of service, and how one logs in.
        let saying = Part::Greeting(7);
        Self { login, progress: Progress::Silent, pending: Vec::new(), saying, is_asked: false, is_wrapped: false }
    }

    /// How far it is.
    pub(super) const fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether what the server says can be read by the client only.
    pub(super) const fn is_wrapped(&self) -> bool {
        self.is_wrapped
    }

    /// Reads what the client says; returns whether the login is over by it. The client checks what the server proves, and goes on to
    /// speak only where it is proven.
    pub(super) fn said(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            self.is_asked |= self.saying.takes(*byte);
        }
        let is_over = self.progress == Progress::Welcomed && self.is_asked;
        if is_over {
            self.progress = Progress::Accepted;
        }
        is_over
    }

    /// Reads what the server has sent; returns what the client is given of it, and what is learned.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, Vec<Event>), Refused> {
        self.pending.extend_from_slice(bytes);
        let (mut passed, mut events) = (Vec::new(), Vec::new());
        let mut read = 0;
        while let Some((length, rest)) = self.pending[read..].split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Refused::TooLarge)?;
            match (self.progress, length) {
                (Progress::Silent, 0 | LOGIN_LIMIT..) => return Err(Refused::NotTheProtocol),
                (Progress::Answering | Progress::Challenged | Progress::Welcomed, LOGIN_LIMIT..)
                | (Progress::Accepted, ANSWER_LIMIT..) => return Err(Refused::TooLarge),
                _ => {}
            }
            let Some(frame) = rest.get(..length) else { break };
            let frame = frame.to_vec();
            read += 4 + length;
            self.frame(&frame, &mut passed, &mut events)?;
        }
        self.pending.drain(..read);
        Ok((passed, events))
    }

    fn frame(&mut self, frame: &[u8], passed: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<(), Refused> {
        let mut rest = frame;
        let head = Head::decode_length_delimited(&mut rest).map_err(|_| Refused::NotTheProtocol)?;
        let (Some(call), Some(status)) = (head.call, head.status) else { return Err(Refused::NotTheProtocol) };
        if self.progress == Progress::Silent {
            self.progress = Progress::Answering;
            events.push(Event::Answered);
        }
        match status {
            status::FATAL => return Err(Refused::Fatal(head.exception.unwrap_or_default())),
            status::ERROR if self.waits() => return Err(Refused::Fatal(head.exception.unwrap_or_default())),
            status::SUCCESS if self.waits() || call == LOGIN_CALL => {
                // A login that nobody has begun.
                if self.login == Login::Simple {
                    return Err(Refused::NotTheProtocol);
                }
                let sasl = Sasl::decode_length_delimited(&mut rest).map_err(|_| Refused::NotTheProtocol)?;
                let sasl = self.sasl(sasl, events)?;
                pass(&head, &sasl, passed);
                return Ok(());
            }
            status::SUCCESS | status::ERROR => {}
            _ => return Err(Refused::NotTheProtocol),
        }
        if self.progress < Progress::Accepted {
            self.progress = Progress::Accepted;
            events.push(Event::Accepted);
        }
        passed.extend_from_slice(&u32::try_from(frame.len()).unwrap_or_default().to_be_bytes());
        passed.extend_from_slice(frame);
        Ok(())
    }

    /// Whether a login is going on.
    fn waits(&self) -> bool {
        self.login != Login::Simple && self.progress < Progress::Accepted
    }

    fn sasl(&mut self, mut sasl: Sasl, events: &mut Vec<Event>) -> Result<Sasl, Refused> {
        let is_asked = std::mem::take(&mut self.is_asked);
        match (sasl.state.unwrap_or(-1), self.progress) {
            // This is how a server without Kerberos says that it believes everybody.
            (state::SUCCESS, Progress::Answering) => return Err(Refused::Simple),
            (state::WRAP, Progress::Accepted) => self.is_wrapped = true,
            // Who does not wait for the client's answer cannot have looked at it.
            (state::NEGOTIATE | state::CHALLENGE | state::SUCCESS, _) if !is_asked => return Err(Refused::Unproven),
            (state::NEGOTIATE, Progress::Answering) => {
                sasl.offers = vec![self.chosen(sasl.offers)?];
            }
            (state::CHALLENGE, Progress::Answering | Progress::Challenged) => {
                self.progress = Progress::Challenged;
                events.push(Event::Challenged);
            }
            (state::SUCCESS, Progress::Challenged) => self.progress = Progress::Welcomed,
            _ => return Err(Refused::NotTheProtocol),
        }
        Ok(sasl)
    }

    /// The one offer that the client is shown.
    fn chosen(&self, offers: Vec<Offer>) -> Result<Offer, Refused> {
        let Login::Kerberos(expected) = &self.login else { return Err(Refused::NotTheProtocol) };
        let simple = offers.iter().any(|offer| offer.method == "SIMPLE");
        let Some(offer) = offers.into_iter().find(|offer| offer.method == "KERBEROS" && offer.mechanism == "GSSAPI")
        else {
            return Err(if simple { Refused::Simple } else { Refused::NoKerberos });
        };
        let (service, host) = (offer.service.as_deref().unwrap_or_default(), offer.host.as_deref().unwrap_or_default());
        if !expected.iter().any(|principal| principal.service == service && principal.host == host) {
            return Err(Refused::AnotherServer);
        }
        // Kerberos has no challenge in an offer.
        Ok(Offer { challenge: None, ..offer })
    }
}

/// Writes a message of a login anew.
fn pass(head: &Head, sasl: &Sasl, passed: &mut Vec<u8>) {
    let frame = [head.encode_length_delimited_to_vec(), sasl.encode_length_delimited_to_vec()].concat();
    passed.extend_from_slice(&u32::try_from(frame.len()).unwrap_or_default().to_be_bytes());
    passed.extend_from_slice(&frame);
}

/// What a key distribution centre says over TCP: messages, each with its length before it.
#[derive(Debug, Default)]
pub(super) struct Centre {
    pending: Vec<u8>,
    answered: bool,
}

impl Centre {
    /// Whether it has given a well-formed answer.
    pub(super) const fn has_answered(&self) -> bool {
        self.answered
    }

    /// Reads what it has sent; returns what the client is given of it, which is whole messages.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        /// Application tags of the answers to a login and to a request for a ticket, and of a refusal (RFC 4120, 5.10).
        const ANSWERS: [u8; 3] = [0x6b, 0x6d, 0x7e];
        self.pending.extend_from_slice(bytes);
        let mut passed = Vec::new();
        while let Some((length, rest)) = self.pending.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Refused::TooLarge)?;
            if length == 0 || length > LOGIN_LIMIT || rest.first().is_some_and(|tag| !ANSWERS.contains(tag)) {
                return Err(Refused::NotTheProtocol);
            }
            if rest.len() < length {
                break;
            }
            self.answered = true;
            if error_code(&rest[..length]) == Some(BUSY) {
                return Err(Refused::Busy);
            }
            passed.extend(self.pending.drain(..4 + length));
        }
        Ok(passed)
    }
}

/// `KDC_ERR_SVC_UNAVAILABLE` (RFC 4120, 7.5.9).
const BUSY: u32 = 29;

/// The number in a refusal of a key distribution centre (`KRB-ERROR`, RFC 4120, 5.9.1); `None` in anything else.
fn error_code(message: &[u8]) -> Option<u32> {
    let (tag, refusal, _) = element(message)?;
    let (_, mut fields, _) = element(refusal).filter(|_| tag == 0x7e)?;
    loop {
        let (tag, field, rest) = element(fields)?;
        if tag == 0xa6 {
            let (_, number, _) = element(field)?;
            let small = number.len() <= 4;
            return small.then(|| number.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)));
        }
        fields = rest;
    }
}

/// The first element of DER: its tag, what is in it, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        ..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "nn1.example.com";

    /// A conversation in which the client has asked for Kerberos.
    fn kerberos() -> Wire {
        at(None, HOST)
    }

    fn at(setting: Option<&str>, host: &str) -> Wire {
        let mut wire = Wire::new(Login::Kerberos(Principal::expected(setting, host)));
        assert!(!wire.said(b"hrpc\x09\0\xdf") && !wire.said(SAID));
        wire
    }

    /// A frame of the client.
    const SAID: &[u8] = b"\0\0\0\x03abc";

    fn framed(parts: &[Vec<u8>]) -> Vec<u8> {
        let frame = parts.concat();
        [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat()
    }

    fn head(call: u32, status: i32, exception: Option<&str>) -> Vec<u8> {
        Head { call: Some(call), status: Some(status), exception: exception.map(str::to_owned) }
            .encode_length_delimited_to_vec()
    }

    fn sasl(state: i32, offers: Vec<Offer>) -> Vec<u8> {
        let sasl = Sasl { version: None, state: Some(state), token: Some(b"token".to_vec()), offers };
        framed(&[head(LOGIN_CALL, status::SUCCESS, None), sasl.encode_length_delimited_to_vec()])
    }

    fn offer(method: &str, service: &str, host: &str) -> Offer {
        let mechanism = if method == "KERBEROS" { "GSSAPI" } else { "" };
        Offer {
            method: method.to_owned(),
            mechanism: mechanism.to_owned(),
            service: Some(service.to_owned()),
            host: Some(host.to_owned()),
            challenge: Some(b"challenge".to_vec()),
        }
    }

    fn offers(frame: &[u8]) -> Vec<Offer> {
        let mut rest = &frame[4..];
        Head::decode_length_delimited(&mut rest).unwrap();
        Sasl::decode_length_delimited(&mut rest).unwrap().offers
    }

    #[test]
    fn a_login_by_kerberos_is_over_when_both_sides_have_proven_something() {
        let mut wire = kerberos();
        let both = vec![offer("TOKEN", "", "default"), offer("KERBEROS", "nn", HOST), offer("SIMPLE", "", "")];
        let (passed, events) = wire.received(&sasl(state::NEGOTIATE, both)).unwrap();
        assert_eq!(events, [Event::Answered]);
        let expected = Offer { challenge: None, ..offer("KERBEROS", "nn", HOST) };
        assert_eq!(offers(&passed), [expected], "the client is shown the one way");
        for _ in 0..2 {
            assert!(!wire.said(SAID));
            assert_eq!(wire.received(&sasl(state::CHALLENGE, vec![])).unwrap().1, [Event::Challenged]);
        }
        assert!(!wire.said(SAID));
        assert_eq!(wire.received(&sasl(state::SUCCESS, vec![])).unwrap().1, []);
        assert_eq!(wire.progress(), Progress::Welcomed, "it says so");
        assert!(!wire.said(&SAID[..6]) && wire.said(&SAID[6..]), "the client has seen it");
        let answer = framed(&[head(0, status::SUCCESS, None), b"\x00".to_vec()]);
        assert_eq!(wire.received(&answer).unwrap(), (answer, vec![]));
        assert!(!wire.is_wrapped());
        assert!(wire.received(&sasl(state::WRAP, vec![])).is_ok() && wire.is_wrapped());
        assert_eq!(wire.progress(), Progress::Accepted);
    }

    #[test]
    fn a_server_that_proves_nothing_is_refused() {
        let simple = vec![offer("SIMPLE", "", "")];
        assert_eq!(kerberos().received(&sasl(state::NEGOTIATE, simple)), Err(Refused::Simple));
        assert_eq!(kerberos().received(&sasl(state::SUCCESS, vec![])), Err(Refused::Simple));
        assert_eq!(
            kerberos().received(&sasl(state::NEGOTIATE, vec![offer("TOKEN", "", "")])),
            Err(Refused::NoKerberos)
        );
        assert_eq!(kerberos().received(&sasl(state::NEGOTIATE, vec![])), Err(Refused::NoKerberos));
        let mut hasty = kerberos();
        hasty.received(&sasl(state::NEGOTIATE, vec![offer("KERBEROS", "nn", HOST)])).unwrap();
        assert_eq!(hasty.received(&sasl(state::SUCCESS, vec![])), Err(Refused::Simple));
        // It answers a question before anybody has logged in.
        let answer = framed(&[head(0, status::SUCCESS, None), b"\x00".to_vec()]);
        assert_eq!(kerberos().received(&answer), Err(Refused::NotTheProtocol));
    }

    #[test]
    fn a_server_that_does_not_wait_for_the_client_has_let_nobody_in() {
        let offer = || sasl(state::NEGOTIATE, vec![offer("KERBEROS", "nn", HOST)]);
        let (challenge, success) = (sasl(state::CHALLENGE, vec![]), sasl(state::SUCCESS, vec![]));
        let not = |found: Result<_, Refused>| assert_eq!(found, Err(Refused::Unproven));
        // Before the client has asked, before it has answered, and before it has answered whole.
        not(Wire::new(Login::Kerberos(Principal::expected(None, HOST))).received(&offer()));
        not(kerberos().received(&[offer(), challenge.clone()].concat()));
        for said in [&b""[..], &SAID[..3], &SAID[..6]] {
            let mut wire = kerberos();
            wire.received(&offer()).unwrap();
            wire.said(SAID);
            wire.received(&challenge).unwrap();
            wire.said(said);
            not(wire.received(&success));
        }
        // And nothing is an answer before the client has gone on.
        let welcomed = || {
            let mut wire = kerberos();
            for frame in [&offer(), &challenge] {
                wire.received(frame).unwrap();
                wire.said(SAID);
            }
            wire.received(&success).unwrap();
            wire
        };
        let answer = framed(&[head(0, status::SUCCESS, None), b"\x00".to_vec()]);
        for answer in [answer, sasl(state::WRAP, vec![])] {
            assert_eq!(welcomed().received(&answer), Err(Refused::NotTheProtocol));
        }
        let fatal = framed(&[head(u32::MAX - 2, status::FATAL, Some("x"))]);
        assert_eq!(welcomed().received(&fatal), Err(Refused::Fatal("x".to_owned())));
    }

    #[test]
    fn a_server_with_another_principal_is_another_server() {
        for (setting, service, host, expected) in [
            (None, "nn", HOST, true),
            (None, "hdfs", HOST, true),
            (None, "http", HOST, false),
            (None, "nn", "evil.example.com", false),
            (None, "nn", "", false),
            (Some("hdfs/_HOST"), "hdfs", HOST, true),
            (Some("hdfs/_HOST"), "nn", HOST, false),
            (Some("nn/other.example.com"), "nn", "other.example.com", true),
            (Some("nn/other.example.com"), "nn", HOST, false),
        ] {
            let mut wire = at(setting, "NN1.Example.com.");
            let seen = wire.received(&sasl(state::NEGOTIATE, vec![offer("KERBEROS", service, host)]));
            assert_eq!(seen.map(drop), if expected { Ok(()) } else { Err(Refused::AnotherServer) }, "{service}/{host}");
        }
    }

    #[test]
    fn a_name_is_believed_where_nothing_else_is_asked_for() {
        let mut wire = Wire::new(Login::Simple);
        let answer = framed(&[head(0, status::SUCCESS, None), b"\x00".to_vec()]);
        // One byte after the other.
        let mut passed = Vec::new();
        let mut events = Vec::new();
        for byte in &answer {
            let (more, learned) = wire.received(&[*byte]).unwrap();
            passed.extend(more);
            events.extend(learned);
        }
        assert_eq!((passed, events), (answer, vec![Event::Answered, Event::Accepted]));
        let denied = framed(&[head(1, status::ERROR, Some("x.AccessControlException"))]);
        assert_eq!(wire.received(&denied).unwrap(), (denied, vec![]));
        let fatal = framed(&[head(u32::MAX, status::FATAL, Some("x.AccessControlException"))]);
        assert_eq!(wire.received(&fatal), Err(Refused::Fatal("x.AccessControlException".to_owned())));
        assert_eq!(Wire::new(Login::Simple).received(&sasl(state::NEGOTIATE, vec![])), Err(Refused::NotTheProtocol));
    }

    #[test]
    fn an_error_during_a_login_ends_it() {
        let error = framed(&[head(LOGIN_CALL, status::ERROR, Some("x.SaslException"))]);
        assert_eq!(kerberos().received(&error), Err(Refused::Fatal("x.SaslException".to_owned())));
    }

    #[test]
    fn what_cannot_be_is_not_given_to_the_client() {
        let large = u32::try_from(ANSWER_LIMIT).unwrap().to_be_bytes();
        for noise in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"\xff\xff\xff\xff",
            b"\0\x01\0\0",
            b"\0\0\0\0",
            // A header longer than its frame, one that is none, and one without a status.
            b"\0\0\0\x02\x7f\x08",
            b"\0\0\0\x03\x02\xff\xff",
            b"\0\0\0\x03\x02\x08\x01",
            // A status that does not exist.
            b"\0\0\0\x05\x04\x08\x00\x10\x09",
        ] {
            assert_eq!(Wire::new(Login::Simple).received(noise), Err(Refused::NotTheProtocol), "{noise:?}");
            assert_eq!(kerberos().received(noise), Err(Refused::NotTheProtocol), "{noise:?}");
        }
        for odd in [state::WRAP, 2, 4, 6, -1, i32::MAX] {
            assert_eq!(kerberos().received(&sasl(odd, vec![])), Err(Refused::NotTheProtocol), "{odd}");
        }
        let mut wire = Wire::new(Login::Simple);
        wire.received(&framed(&[head(0, status::SUCCESS, None)])).unwrap();
        assert_eq!(wire.received(&large), Err(Refused::TooLarge));
        let mut wire = kerberos();
        wire.received(&sasl(state::NEGOTIATE, vec![offer("KERBEROS", "nn", HOST)])).unwrap();
        assert_eq!(wire.received(b"\x7f\xff\xff\xff"), Err(Refused::TooLarge));
    }

    #[test]
    fn a_centre_says_whole_messages_of_three_kinds() {
        let mut centre = Centre::default();
        assert_eq!(centre.received(b"\0\0\0\x02\x7e").unwrap(), b"");
        assert!(!centre.has_answered());
        assert_eq!(centre.received(b"\0\0\0").unwrap(), b"\0\0\0\x02\x7e\0");
        assert!(centre.has_answered());
        assert_eq!(centre.received(b"\0\x01\x6b").unwrap(), b"\0\0\0\x01\x6b");
        let busy = b"\0\0\0\x09\x7e\x07\x30\x05\xa6\x03\x02\x01\x1d";
        assert_eq!(Centre::default().received(busy), Err(Refused::Busy));
        let other = b"\0\0\0\x0b\x7e\x81\x08\x30\x82\0\x04\xa6\x03\x02\x01\x06";
        assert!(Centre::default().received(other).is_ok());
        for noise in [&b"HTTP/1.1 400"[..], b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x02\x30", b"\0\x01\0\x01"] {
            assert_eq!(Centre::default().received(noise), Err(Refused::NotTheProtocol), "{noise:?}");
        }
    }
}
