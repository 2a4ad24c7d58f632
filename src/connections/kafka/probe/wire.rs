//! What passes between the client and a broker until the login is accepted, read along the way: who answers, how the login goes,
//! and how it ends. Pure. It sees the heads of messages and the few answers about the login, and changes nothing.
//!
//! Message formats are those of the Kafka protocol guide: a length, then the api key, version and correlation id of a request, or
//! the correlation id of a response.

use std::collections::VecDeque;

/// Longest message before the login is accepted, in bytes. The longest honest one is the list of api versions, some 600 bytes.
const LONGEST: usize = 64 * 1024;

/// Most rounds of SCRAM that are computed: a hundred times Kafka's default of 4096 and a quarter of a second.
const ROUNDS: u32 = 1_000_000;

/// Most requests that wait for their answer; before the login there is one.
const OPEN: usize = 16;

const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;

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

/// What has become certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The peer has answered a request, as a broker does.
    Answered,
    /// The login is accepted, or none is needed; what follows is not looked at.
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
    /// The broker is too old to be told how the login ends.
    TooOld,
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
    pub(super) fn new(login: Login) -> Self {
        Self {
            login,
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

    /// Takes bytes that the client sends.
    pub(super) fn sent(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if self.progress == Progress::Accepted {
            return Ok(());
        }
        for frame in self.sent.take(bytes)? {
            let mut reader = Reader(&frame);
            let (Some(api), Some(version), Some(correlation)) = (reader.i16(), reader.i16(), reader.i32()) else {
                return Err(Refused::NotTheProtocol);
            };
            // Without the login in messages of its own nobody tells how it ended.
            if api == SASL_HANDSHAKE && version == 0 {
                return Err(Refused::TooOld);
            }
            if self.open.len() == OPEN {
                return Err(Refused::NotTheProtocol);
            }
            self.open.push_back(Request { api, version, correlation });
        }
        Ok(())
    }

    /// Takes bytes that the peer sends, before the client has them.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Refused> {
        let mut events = Vec::new();
        if self.progress == Progress::Accepted {
            return Ok(events);
        }
        for frame in self.received.take(bytes)? {
            let mut reader = Reader(&frame);
            let asked = self.open.pop_front().ok_or(Refused::NotTheProtocol)?;
            if reader.i32() != Some(asked.correlation) {
                return Err(Refused::NotTheProtocol);
            }
            if self.progress == Progress::Silent {
                self.progress = Progress::Answering;
                events.push(Event::Answered);
            }
            if self.accepts(asked, &mut reader)? {
                self.progress = Progress::Accepted;
                events.push(Event::Accepted);
                break;
            }
        }
        Ok(events)
    }

    /// Whether an answer accepts the login.
    fn accepts(&mut self, asked: Request, answer: &mut Reader<'_>) -> Result<bool, Refused> {
        match asked.api {
            SASL_HANDSHAKE => match answer.i16().ok_or(Refused::NotTheProtocol)? {
                0 => Ok(false),
                33 => Err(Refused::Mechanism),
                34 => Err(Refused::NoLogin),
                code => Err(Refused::Failed(code)),
            },
            SASL_AUTHENTICATE => {
                self.answers += 1;
                match answer.i16().ok_or(Refused::NotTheProtocol)? {
                    0 => {}
                    33 => return Err(Refused::Mechanism),
                    34 => return Err(Refused::NoLogin),
                    58 => return Err(Refused::Rejected),
                    code => return Err(Refused::Failed(code)),
                }
                // The version with short lengths (2) is not used by the client.
                if asked.version > 1 {
                    return Err(Refused::NotTheProtocol);
                }
                answer.string().ok_or(Refused::NotTheProtocol)?;
                let said = answer.bytes().ok_or(Refused::NotTheProtocol)?;
                self.judge(said)
            }
            // Any other request is sent once the client takes itself for logged in.
            api => Ok(api != API_VERSIONS && self.login == Login::None),
        }
    }

    /// Whether what the broker says in the login accepts it.
    fn judge(&self, said: &[u8]) -> Result<bool, Refused> {
        match self.login {
            Login::None => Err(Refused::NotTheProtocol),
            Login::Plain => Ok(true),
            Login::Bearer if said.is_empty() => Ok(true),
            Login::Bearer => Err(Refused::Rejected),
            Login::Scram if self.answers > 1 => Ok(true),
            Login::Scram => rounds(said).map(|()| false),
        }
    }
}

/// Checks the rounds that the server's first message asks for: `r=…,s=…,i=…` (RFC 5802, section 5.1).
fn rounds(said: &[u8]) -> Result<(), Refused> {
    let text = std::str::from_utf8(said).map_err(|_| Refused::NotTheProtocol)?;
    let rounds = text.split(',').find_map(|part| part.strip_prefix("i=")).ok_or(Refused::NotTheProtocol)?;
    match rounds.parse::<u32>() {
        Ok(rounds) if rounds <= ROUNDS => Ok(()),
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
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
        let mut found = Vec::new();
        for byte in bytes {
            self.part.push(*byte);
            let [a, b, c, d, rest @ ..] = &self.part[..] else {
                // A length is below 64 KiB, so its first byte is nothing; an alert of TLS begins with 21, a handshake with 22.
                match self.part[0] {
                    0 => {}
                    21 | 22 => return Err(Refused::Tls),
                    _ => return Err(Refused::NotTheProtocol),
                }
                continue;
            };
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            if !(4..=LONGEST).contains(&length) {
                return Err(Refused::NotTheProtocol);
            }
            if rest.len() == length {
                found.push(rest.to_vec());
                self.part.clear();
            }
        }
        Ok(found)
    }
}

/// Reads the fields of a message, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2).and_then(|bytes| bytes.try_into().ok()).map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes)
    }

    /// A string that may be null, which is a length of -1.
    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.i32()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: i16 = 3;

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

    /// A conversation: each request with its answer.
    fn conversation(login: Login, steps: &[(i16, i16, Vec<u8>)]) -> Result<Vec<Event>, Refused> {
        let mut wire = Wire::new(login);
        let mut events = Vec::new();
        for (correlation, (api, version, answer)) in (7..).zip(steps) {
            wire.sent(&request(*api, *version, correlation))?;
            // Byte by byte: what is known early must not be known wrongly.
            for byte in response(correlation, answer) {
                events.extend(wire.received(&[byte])?);
            }
        }
        Ok(events)
    }

    const VERSIONS: (i16, i16, Vec<u8>) = (API_VERSIONS, 3, Vec::new());

    #[test]
    fn a_login_is_accepted_by_its_last_answer() {
        use Event::{Accepted, Answered};
        let first = "r=abc,s=c2FsdA==,i=4096";
        for (login, steps) in [
            (Login::None, vec![VERSIONS, (METADATA, 9, b"x".to_vec())]),
            (Login::Plain, vec![VERSIONS, (17, 1, handshake(0)), (36, 1, authenticate(0, ""))]),
            (Login::Bearer, vec![VERSIONS, (17, 1, handshake(0)), (36, 1, authenticate(0, ""))]),
            (
                Login::Scram,
                vec![VERSIONS, (17, 1, handshake(0)), (36, 0, authenticate(0, first)), (36, 0, authenticate(0, "v=x"))],
            ),
        ] {
            assert_eq!(conversation(login, &steps), Ok(vec![Answered, Accepted]), "{login:?}");
            let before = &steps[..steps.len() - 1];
            assert_eq!(conversation(login, before), Ok(vec![Answered]), "{login:?} before its last answer");
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
            (Login::Scram, (36, 1, first("many")), Refused::NotTheProtocol),
            (Login::Scram, (36, 1, first("")), Refused::NotTheProtocol),
            (Login::Scram, (36, 1, authenticate(0, "nothing")), Refused::NotTheProtocol),
            (Login::Plain, (36, 1, b"\0".to_vec()), Refused::NotTheProtocol),
            (Login::Plain, (36, 2, authenticate(0, "")), Refused::NotTheProtocol),
            (Login::Plain, (17, 0, handshake(0)), Refused::TooOld),
        ] {
            assert_eq!(conversation(login, &[VERSIONS, step.clone()]), Err(refused), "{login:?} {step:?}");
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
            let mut wire = Wire::new(Login::Plain);
            wire.sent(&request(API_VERSIONS, 3, 1)).unwrap();
            assert_eq!(wire.received(noise), Err(refused), "{noise:?}");
        }
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_none() {
        let mut wire = Wire::new(Login::None);
        wire.sent(&request(API_VERSIONS, 3, 1)).unwrap();
        assert_eq!(wire.received(&response(2, b"")), Err(Refused::NotTheProtocol));
        let mut wire = Wire::new(Login::None);
        assert_eq!(wire.received(&response(1, b"")), Err(Refused::NotTheProtocol));
        // What we sent, sent back.
        let mut wire = Wire::new(Login::None);
        let sent = request(API_VERSIONS, 3, 1);
        wire.sent(&sent).unwrap();
        assert_eq!(wire.received(&sent), Err(Refused::NotTheProtocol));
    }

    #[test]
    fn after_the_login_nothing_is_looked_at() {
        let mut wire = Wire::new(Login::None);
        wire.sent(&[request(API_VERSIONS, 3, 1), request(METADATA, 9, 2)].concat()).unwrap();
        let both = [response(1, b""), response(2, b"x")].concat();
        assert_eq!(wire.received(&both), Ok(vec![Event::Answered, Event::Accepted]));
        assert_eq!(wire.received(b"\xff\xff\xff\xff anything"), Ok(vec![]));
        assert_eq!(wire.sent(b"\xff\xff\xff\xff anything"), Ok(()));
        assert_eq!(wire.progress(), Progress::Accepted);
    }
}
