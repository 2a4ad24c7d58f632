//! What passes between the client and a broker, read along the way: who answers, how the login goes, and how it ends. Pure. What the
//! client sends goes on as it is; what the broker answers is written anew, by [`message`](super::message).
//!
//! A message is a length, then the api key, version and correlation id of a request, or the correlation id of a response.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::message::{
    self, API_VERSIONS, Cluster, DESCRIBE_GROUPS, FIND_COORDINATOR, METADATA, Reader, SASL_AUTHENTICATE, SASL_HANDSHAKE,
};

/// Longest message before the login is accepted, in bytes; what is told to who need not log in is none. The longest honest one is the list of api versions, some 600 bytes.
const LONGEST: usize = 64 * 1024;

/// Longest message after it, in bytes: what is told about one topic grows with its partitions, some 40 bytes each.
const LONGEST_ANSWER: usize = 1_000_000;

/// Most rounds of SCRAM that are computed: a hundred times Kafka's default of 4096 and a quarter of a second.
const ROUNDS: u32 = 1_000_000;

/// Fewest: fewer make the proof cheap to guess the password from, and Kafka's own clients refuse them (`ScramMechanism`).
const FEWEST_ROUNDS: u32 = 4096;

/// Most requests that wait for their answer; before the login there is one.
const OPEN: usize = 16;

/// How one logs in, as far as messages show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// Not at all, or by the client certificate.
    None,
    /// PLAIN: the user and the password, answered once.
    Plain,
    /// SCRAM: answered twice.
    Scram,
    /// OAUTHBEARER: the token, answered by nothing where it is good, and by an explanation where it is not.
    Bearer,
}

/// Whether the peer is known to be the one that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// It is, so that it may be told a secret.
    Verified,
    /// It is not.
    Unverified,
}

/// What has become certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The peer has answered a request, as a broker does.
    Answered,
    /// The login is accepted, or none is needed.
    Accepted,
}

/// Why the conversation does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// What the peer sends is no answer of a broker.
    NotTheProtocol,
    /// The peer speaks TLS.
    Tls,
    /// The broker knows the mechanism not, or has not switched it on (33).
    Mechanism,
    /// The listener takes no login (34).
    NoLogin,
    /// The broker rejects who we say we are (58).
    Rejected,
    /// The broker answers the login with another error.
    Failed(i16),
    /// The broker asks for more rounds of SCRAM than are computed.
    TooManyRounds,
    /// The broker asks for so few rounds of SCRAM that the proof gives the password away.
    TooFewRounds,
    /// A password or a token would be readable for a peer that is not verified.
    UnverifiedPeer,
    /// The broker is too old, or does not offer what is needed.
    TooOld,
    /// The client asks something that it was not told it may.
    Unforeseen,
}

/// How far the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The peer has said nothing that a broker says.
    Silent,
    /// It is a broker.
    Answering,
    /// It has accepted the login.
    Accepted,
}

/// The conversation over one connection.
#[derive(Debug)]
pub(super) struct Wire {
    login: Login,
    peer: Identity,
    cluster: Arc<Mutex<Cluster>>,
    progress: Progress,
    /// Answers to the login so far.
    answers: usize,
    open: VecDeque<Request>,
    sent: Frames,
    received: Frames,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    api: i16,
    version: i16,
    correlation: i32,
}

impl Wire {
    pub(super) fn new(login: Login, peer: Identity, cluster: Arc<Mutex<Cluster>>) -> Self {
        Self {
            login,
            peer,
            cluster,
            progress: Progress::Silent,
            answers: 0,
            open: VecDeque::new(),
            sent: Frames::default(),
            received: Frames::default(),
        }
    }

    pub(super) const fn progress(&self) -> Progress {
        self.progress
    }

    /// Takes bytes that the client sends, and returns what has become certain. They go on as they are, where nothing is refused.
    pub(super) fn sent(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Refused> {
        let mut events = Vec::new();
        for frame in self.sent.take(bytes, LONGEST)? {
            let mut reader = Reader(&frame);
            let (api, version, correlation) = (reader.i16()?, reader.i16()?, reader.i32()?);
            if self.open.len() == OPEN {
                return Err(Refused::Unforeseen);
            }
            let readable = matches!(self.login, Login::Plain | Login::Bearer);
            if api == SASL_AUTHENTICATE && readable && self.peer == Identity::Unverified {
                return Err(Refused::UnverifiedPeer);
            }
            let about_the_login = [API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE].contains(&api);
            if self.login != Login::None && !about_the_login && self.progress == Progress::Answering {
                // The client goes on only where it holds the login for accepted: with SCRAM the broker has then proven that it knows
                // the password, too. That the broker calls the login accepted proves nothing.
                self.progress = Progress::Accepted;
                events.push(Event::Accepted);
            }
            self.open.push_back(Request { api, version, correlation });
        }
        Ok(events)
    }

    /// Takes bytes that the peer sends, and returns what the client may have of them, and what has become certain.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, Vec<Event>), Refused> {
        let (mut passed, mut events) = (Vec::new(), Vec::new());
        // Who does not log in is let in by the first answer about the cluster; the next may come with it.
        let let_in = self.login == Login::None && self.open.iter().any(|asked| asked.api == METADATA);
        let longest = if self.progress == Progress::Accepted || let_in { LONGEST_ANSWER } else { LONGEST };
        for frame in self.received.take(bytes, longest)? {
            let mut reader = Reader(&frame);
            let asked = self.open.pop_front().ok_or(Refused::NotTheProtocol)?;
            if reader.i32()? != asked.correlation {
                return Err(Refused::NotTheProtocol);
            }
            if self.progress == Progress::Silent {
                self.progress = Progress::Answering;
                events.push(Event::Answered);
            }
            let (body, accepts) = self.answer(asked, &mut reader)?;
            if accepts && self.progress != Progress::Accepted {
                self.progress = Progress::Accepted;
                events.push(Event::Accepted);
            }
            let length = u32::try_from(body.len() + 4).map_err(|_| Refused::NotTheProtocol)?;
            passed.extend(length.to_be_bytes());
            passed.extend(asked.correlation.to_be_bytes());
            passed.extend(body);
        }
        Ok((passed, events))
    }

    /// An answer as the client may have it, and whether it lets us in where nobody logs in.
    fn answer(&mut self, asked: Request, answer: &mut Reader<'_>) -> Result<(Vec<u8>, bool), Refused> {
        match asked.api {
            API_VERSIONS => Ok((message::versions(asked.version, answer)?, false)),
            SASL_HANDSHAKE => match answer.i16()? {
                0 => Ok((message::handshake(), false)),
                33 => Err(Refused::Mechanism),
                34 => Err(Refused::NoLogin),
                code => Err(Refused::Failed(code)),
            },
            SASL_AUTHENTICATE => {
                self.answers += 1;
                match answer.i16()? {
                    0 => {}
                    33 => return Err(Refused::Mechanism),
                    34 => return Err(Refused::NoLogin),
                    58 => return Err(Refused::Rejected),
                    code => return Err(Refused::Failed(code)),
                }
                answer.nullable()?;
                let said = answer.bytes()?;
                // SCRAM speaks in printable characters (RFC 5802), the others say nothing.
                if !said.iter().all(|byte| (32..127).contains(byte)) {
                    return Err(Refused::NotTheProtocol);
                }
                self.judge(said)?;
                Ok((message::authenticated(asked.version, said), false))
            }
            METADATA | FIND_COORDINATOR | DESCRIBE_GROUPS => {
                let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
                let body = match asked.api {
                    METADATA => message::metadata(asked.version, answer, &mut cluster)?,
                    FIND_COORDINATOR => message::coordinator(answer, &mut cluster)?,
                    _ => message::groups(asked.version, answer)?,
                };
                Ok((body, self.login == Login::None))
            }
            _ => Err(Refused::Unforeseen),
        }
    }

    /// Whether the client may go on with what the broker says in the login.
    fn judge(&self, said: &[u8]) -> Result<(), Refused> {
        match self.login {
            Login::None => Err(Refused::NotTheProtocol),
            Login::Plain => Ok(()),
            Login::Bearer if said.is_empty() => Ok(()),
            Login::Bearer => Err(Refused::Rejected),
            Login::Scram if self.answers > 1 => Ok(()),
            Login::Scram => rounds(said),
        }
    }
}

/// Checks the rounds that the server's first message asks for: `r=…,s=…,i=…` (RFC 5802, section 5.1).
fn rounds(said: &[u8]) -> Result<(), Refused> {
    let text = std::str::from_utf8(said).map_err(|_| Refused::NotTheProtocol)?;
    let rounds = text.split(',').find_map(|part| part.strip_prefix("i=")).ok_or(Refused::NotTheProtocol)?;
    match rounds.parse::<u32>() {
        Ok(..FEWEST_ROUNDS) => Err(Refused::TooFewRounds),
        Ok(..=ROUNDS) => Ok(()),
        Ok(_) => Err(Refused::TooManyRounds),
        Err(_) if rounds.bytes().all(|byte| byte.is_ascii_digit()) && !rounds.is_empty() => Err(Refused::TooManyRounds),
        Err(_) => Err(Refused::NotTheProtocol),
    }
}

/// Messages, found in the bytes as they come.
#[derive(Debug, Default)]
struct Frames {
    part: Vec<u8>,
}

impl Frames {
    /// The messages that are complete with `bytes`, without their lengths. What a peer of another protocol says is known by its
    /// first four bytes.
    fn take(&mut self, bytes: &[u8], longest: usize) -> Result<Vec<Vec<u8>>, Refused> {
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let missing = self.missing(longest)?;
            let (now, later) = rest.split_at(missing.min(rest.len()));
            self.part.extend(now);
            rest = later;
            if self.part.len() > 4 && self.missing(longest)? == 0 {
                found.push(self.part.split_off(4));
                self.part.clear();
            }
        }
        // What came last may tell already.
        self.missing(longest)?;
        Ok(found)
    }

    /// How many bytes are missing to the next thing that can be judged: the length, then the whole message.
    fn missing(&self, longest: usize) -> Result<usize, Refused> {
        match &self.part[..] {
            [] => Ok(4),
            // A length is below 16 MiB, so its first byte is nothing; an alert of TLS begins with 21, a handshake with 22.
            [21 | 22, ..] => Err(Refused::Tls),
            [first, ..] if *first > 0 => Err(Refused::NotTheProtocol),
            [a, b, c, d, body @ ..] => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if (4..=longest).contains(&length) { Ok(length - body.len()) } else { Err(Refused::NotTheProtocol) }
            }
            part => Ok(4 - part.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
    }

    fn request(api: i16, version: i16, correlation: i32) -> Vec<u8> {
        frame(&[&api.to_be_bytes()[..], &version.to_be_bytes(), &correlation.to_be_bytes(), b"\0\x01x"].concat())
    }

    fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
        frame(&[&correlation.to_be_bytes()[..], body].concat())
    }

    fn handshake(code: i16) -> Vec<u8> {
        [&code.to_be_bytes()[..], b"\0\0\0\0"].concat()
    }

    fn authenticate(code: i16, said: &str) -> Vec<u8> {
        let length = u32::try_from(said.len()).unwrap().to_be_bytes();
        [&code.to_be_bytes()[..], b"\xff\xff", &length, said.as_bytes()].concat()
    }

    fn wire(login: Login) -> Wire {
        Wire::new(login, Identity::Verified, Arc::new(Mutex::new(Cluster::new("a.example:9092".to_owned()))))
    }

    /// The list of versions that is just enough, in its oldest form.
    fn versions() -> Vec<u8> {
        let rows = [[3, 0, 8], [17, 0, 1], [36, 0, 1]].concat();
        [&[0, 0, 0, 0, 0, 3][..], &rows.iter().flat_map(|number: &i16| number.to_be_bytes()).collect::<Vec<_>>()]
            .concat()
    }

    /// One broker and no topic.
    fn metadata() -> Vec<u8> {
        let node = b"\0\0\0\x01\0\x09a.example\0\0\x23\x84\xff\xff";
        [&b"\0\0\0\0\0\0\0\x01"[..], node, b"\xff\xff\0\0\0\x01\0\0\0\0\x80\0\0\0"].concat()
    }

    /// A conversation: each request with its answer.
    fn conversation(login: Login, steps: &[(i16, i16, Vec<u8>)]) -> Result<Vec<Event>, Refused> {
        let mut talk = wire(login);
        let mut events = Vec::new();
        for (correlation, (api, version, answer)) in (7..).zip(steps) {
            events.extend(talk.sent(&request(*api, *version, correlation))?);
            // Byte by byte: what is known early must not be known wrongly.
            for byte in response(correlation, answer) {
                events.extend(talk.received(&[byte])?.1);
            }
        }
        Ok(events)
    }

    fn listed() -> (i16, i16, Vec<u8>) {
        (API_VERSIONS, 0, versions())
    }

    #[test]
    fn a_login_is_accepted_when_the_client_goes_on_and_not_when_the_broker_says_so() {
        use Event::{Accepted, Answered};
        let first = "r=abc,s=c2FsdA==,i=4096";
        for (login, steps) in [
            (Login::Plain, vec![listed(), (17, 1, handshake(0)), (36, 1, authenticate(0, ""))]),
            (Login::Bearer, vec![listed(), (17, 1, handshake(0)), (36, 1, authenticate(0, ""))]),
            (
                Login::Scram,
                vec![listed(), (17, 1, handshake(0)), (36, 0, authenticate(0, first)), (36, 0, authenticate(0, "v=x"))],
            ),
        ] {
            assert_eq!(conversation(login, &steps), Ok(vec![Answered]), "{login:?}: the broker's word is taken for it");
            let on = [&steps[..], &[(METADATA, 8, metadata())]].concat();
            assert_eq!(conversation(login, &on), Ok(vec![Answered, Accepted]), "{login:?}");
        }
    }

    #[test]
    fn who_does_not_log_in_is_let_in_by_an_answer() {
        use Event::{Accepted, Answered};
        assert_eq!(conversation(Login::None, &[listed()]), Ok(vec![Answered]));
        assert_eq!(conversation(Login::None, &[listed(), (METADATA, 8, metadata())]), Ok(vec![Answered, Accepted]));
    }

    #[test]
    fn what_is_told_to_who_does_not_log_in_may_be_long_at_once() {
        // 3,000 topics are more than may be told before a login, and may come in one piece with what lets in.
        let topics = [&3000_u32.to_be_bytes()[..], &b"\0\0\0\x0bxxxxxxxxxxx\0\0\0\0\0\x80\0\0\0".repeat(3000)].concat();
        let (brokers, rest) = (metadata().len() - 8, b"\x80\0\0\0");
        let long = [&metadata()[..brokers], &topics, rest].concat();
        assert!(long.len() > LONGEST);
        let mut talk = wire(Login::None);
        talk.sent(&request(API_VERSIONS, 0, 1)).unwrap();
        talk.received(&response(1, &versions())).unwrap();
        talk.sent(&[request(METADATA, 8, 2), request(METADATA, 8, 3)].concat()).unwrap();
        let both = [response(2, &metadata()), response(3, &long)].concat();
        assert_eq!(talk.received(&both).map(|(_, events)| events), Ok(vec![Event::Accepted]));
        // Who has to log in is told no such thing before.
        let mut talk = wire(Login::Scram);
        talk.sent(&request(API_VERSIONS, 0, 1)).unwrap();
        assert_eq!(talk.received(&response(1, &long)), Err(Refused::NotTheProtocol));
    }

    #[test]
    fn a_readable_secret_goes_to_a_verified_peer_only() {
        for (login, refused) in [(Login::Plain, true), (Login::Bearer, true), (Login::Scram, false)] {
            let mut talk = wire(login);
            talk.peer = Identity::Unverified;
            assert_eq!(talk.sent(&request(SASL_HANDSHAKE, 1, 1)), Ok(vec![]));
            let sent = talk.sent(&request(SASL_AUTHENTICATE, 1, 2));
            assert_eq!(sent, if refused { Err(Refused::UnverifiedPeer) } else { Ok(vec![]) }, "{login:?}");
        }
    }

    #[test]
    fn every_end_of_a_login_has_its_name() {
        let first = |rounds: &str| authenticate(0, &format!("r=abc,s=c2FsdA==,i={rounds}"));
        for (login, step, refused) in [
            (Login::Plain, (17, 1, handshake(33)), Refused::Mechanism),
            (Login::Plain, (17, 1, handshake(34)), Refused::NoLogin),
            (Login::Plain, (17, 1, handshake(-1)), Refused::Failed(-1)),
            (Login::Plain, (36, 1, authenticate(58, "canary")), Refused::Rejected),
            (Login::Scram, (36, 1, authenticate(58, "canary")), Refused::Rejected),
            (Login::Plain, (36, 1, authenticate(7, "")), Refused::Failed(7)),
            (Login::Bearer, (36, 1, authenticate(0, "{\"status\":\"invalid_token\"}")), Refused::Rejected),
            (Login::Scram, (36, 1, first("1000001")), Refused::TooManyRounds),
            (Login::Scram, (36, 1, first("99999999999999999999")), Refused::TooManyRounds),
            (Login::Scram, (36, 1, first("4095")), Refused::TooFewRounds),
            (Login::Scram, (36, 1, first("0")), Refused::TooFewRounds),
            (Login::Scram, (36, 1, first("many")), Refused::NotTheProtocol),
            (Login::Scram, (36, 1, first("")), Refused::NotTheProtocol),
            (Login::Scram, (36, 1, authenticate(0, "nothing")), Refused::NotTheProtocol),
            (Login::Plain, (36, 1, b"\0".to_vec()), Refused::NotTheProtocol),
            (Login::Scram, (36, 1, authenticate(0, "r=\u{7f}")), Refused::NotTheProtocol),
            (Login::Plain, (1, 4, b"anything".to_vec()), Refused::Unforeseen),
        ] {
            assert_eq!(conversation(login, &[listed(), step.clone()]), Err(refused), "{login:?} {step:?}");
        }
    }

    #[test]
    fn what_is_no_answer_of_a_broker_is_known_by_its_first_bytes() {
        for (noise, refused) in [
            (&b"HTTP/1.1 400 Bad Request"[..], Refused::NotTheProtocol),
            (b"\xef\xbb\xbf", Refused::NotTheProtocol),
            (b"\x15\x03\x03\0\x02", Refused::Tls),
            (b"\x16\x03\x01", Refused::Tls),
            (b"\0\0\0\x03", Refused::NotTheProtocol),
            (b"\0\x01\0\x01", Refused::NotTheProtocol),
        ] {
            let mut talk = wire(Login::Plain);
            talk.sent(&request(API_VERSIONS, 3, 1)).unwrap();
            assert_eq!(talk.received(noise), Err(refused), "{noise:?}");
        }
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_none() {
        let mut talk = wire(Login::None);
        talk.sent(&request(API_VERSIONS, 3, 1)).unwrap();
        assert_eq!(talk.received(&response(2, b"")), Err(Refused::NotTheProtocol));
        let mut talk = wire(Login::None);
        assert_eq!(talk.received(&response(1, b"")), Err(Refused::NotTheProtocol));
        // What we sent, sent back.
        let mut talk = wire(Login::None);
        let sent = request(API_VERSIONS, 3, 1);
        talk.sent(&sent).unwrap();
        assert_eq!(talk.received(&sent), Err(Refused::NotTheProtocol));
    }

    #[test]
    fn the_client_has_what_was_written_here_and_nothing_that_came() {
        let mut talk = wire(Login::None);
        talk.sent(&[request(API_VERSIONS, 0, 1), request(METADATA, 8, 2)].concat()).unwrap();
        let both = [response(1, &versions()), response(2, &metadata())].concat();
        let (passed, events) = talk.received(&both).unwrap();
        assert_eq!(events, [Event::Answered, Event::Accepted]);
        // All that the broker listed is used; versions are narrowed, and the rest is the same.
        assert_eq!((passed.len(), talk.progress()), (both.len(), Progress::Accepted));
        assert_ne!(passed, both);
        talk.sent(&request(METADATA, 8, 3)).unwrap();
        assert_eq!(talk.received(&response(3, b"\0\0\0\0\xff\xff\xff\xff")), Err(Refused::NotTheProtocol));
    }
}
