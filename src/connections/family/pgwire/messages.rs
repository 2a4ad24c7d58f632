//! The server's messages up to the one that accepts the login, which of them may be answered, and what the driver may send. Pure.

use std::sync::OnceLock;

/// Longest message before the login is accepted, in bytes: libpq's limit for an error at this point (`MAX_ERRLEN`).
const LONGEST: usize = 30_000;

/// Most rounds of SCRAM that the driver computes. It refuses more by itself, and does not say that this is why.
const ROUNDS: u32 = 100_000;

/// How the server wants to know who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Not at all, or by the client certificate.
    Nothing,
    /// By a password, in whatever form.
    Password,
}

/// Why the login is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("what the server sends is not the start of a login")]
    NotTheProtocol,
    #[error("the server asks for a way to log in that is not known")]
    UnknownWay,
    #[error("the server asks for a password, and there is none")]
    NoPassword,
    #[error("the server asks for a readable password and is not verified")]
    UnverifiedPeer,
    #[error("the server asks for more rounds than are computed")]
    TooManyRounds,
    #[error("the server answers with a type that has to be asked for")]
    UnknownType,
}

/// Decides what the server may ask for.
pub(super) struct Gate<'a> {
    pub verified: bool,
    pub password: bool,
    pub asked: &'a OnceLock<Asked>,
}

impl Gate<'_> {
    /// `kind` and `body` of an authentication message (PostgreSQL's "Message Formats", `Authentication…`).
    pub fn judge(&self, kind: u32, body: &[u8]) -> Result<(), Refused> {
        let password = match kind {
            // CleartextPassword, MD5Password
            3 | 5 if self.verified => Ok(()),
            3 | 5 => Err(Refused::UnverifiedPeer),
            // SASL, with the names of its mechanisms
            10 if body.split(|b| *b == 0).any(|name| name == b"SCRAM-SHA-256" || name == b"SCRAM-SHA-256-PLUS") => {
                Ok(())
            }
            // SASLContinue, SASLFinal
            11 => return rounds(body),
            12 => return Ok(()),
            _ => Err(Refused::UnknownWay),
        };
        password?;
        self.asked.get_or_init(|| Asked::Password);
        if self.password { Ok(()) } else { Err(Refused::NoPassword) }
    }
}

/// Refuses too many rounds in the server's first message of SCRAM: `r=…,s=…,i=…` (RFC 5802, section 5.1). What is no such message
/// the driver refuses.
fn rounds(body: &[u8]) -> Result<(), Refused> {
    let rounds = body.split(|byte| *byte == b',').find_map(|part| part.strip_prefix(b"i=")).unwrap_or_default();
    let number = std::str::from_utf8(rounds).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match number.map(|text| (text.parse::<u32>(), text)) {
        Some((Ok(..=ROUNDS), _) | (Err(_), "")) | None => Ok(()),
        Some(_) => Err(Refused::TooManyRounds),
    }
}

/// The server's messages up to the one that accepts the login, found in the bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// What has come of the current message.
    part: Vec<u8>,
    progress: Progress,
}

/// How far the login is, by the server's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Silent,
    Answering,
    Accepted,
}

/// What has become certain about the server's messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The first one has begun as the protocol says.
    First,
    /// One about the login has come: its kind and the rest.
    Authentication(u32, Vec<u8>),
    /// The login is accepted; what follows is not looked at.
    Accepted,
}

impl Messages {
    /// Takes the next bytes. A message is found no later than the driver can find it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Message>, Refused> {
        let mut found = Vec::new();
        for byte in bytes {
            if self.progress == Progress::Accepted {
                break;
            }
            self.part.push(*byte);
            let [tag, a, b, c, d, body @ ..] = &self.part[..] else {
                // The first byte tells already; what speaks another protocol may never send a fifth.
                if !matches!(self.part[0], b'R' | b'E' | b'N' | b'v') {
                    return Err(Refused::NotTheProtocol);
                }
                continue;
            };
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            if !(8..=LONGEST).contains(&length) {
                return Err(Refused::NotTheProtocol);
            }
            if self.progress == Progress::Silent {
                self.progress = Progress::Answering;
                found.push(Message::First);
            }
            if 4 + body.len() < length {
                continue;
            }
            if let (b'R', [a, b, c, d, rest @ ..]) = (tag, body) {
                match u32::from_be_bytes([*a, *b, *c, *d]) {
                    0 => {
                        self.progress = Progress::Accepted;
                        found.push(Message::Accepted);
                    }
                    kind => found.push(Message::Authentication(kind, rest.to_vec())),
                }
            }
            self.part.clear();
        }
        Ok(found)
    }
}

/// What the driver sends, as far as it tells whether a statement is given a name.
///
/// A look gives none. The driver does where a column has a type that it does not know: it then asks for the type, and for those
/// that the type is made of, one inside the other and without an end, on a stack that has one. So that is never sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// The start-up message, which has no tag, is over.
    started: bool,
    /// The tag and the length of the current message.
    head: [u8; 5],
    /// How much of the current message has been sent.
    at: usize,
}

impl Sent {
    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        for byte in bytes {
            let tag = usize::from(self.started);
            if self.at < tag + 4 {
                self.head[self.at] = *byte;
            } else if self.started && self.head[0] == b'P' && self.at == 5 && *byte != 0 {
                // What is parsed begins with its name, which ends with a zero.
                return Err(Refused::UnknownType);
            }
            self.at += 1;
            let [first, a, b, c, d] = self.head;
            let length = if self.started { [a, b, c, d] } else { [first, a, b, c] };
            let length = u32::from_be_bytes(length) as usize;
            if self.at >= tag + 4 && self.at >= tag + length {
                (self.started, self.at) = (true, 0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_bounded_by_what_is_computed() {
        for (body, expected) in [
            ("r=x,s=c2FsdA==,i=4096", Ok(())),
            ("r=i=9999999,s=c2FsdA==,i=100000", Ok(())),
            ("r=x,s=c2FsdA==,i=100001", Err(Refused::TooManyRounds)),
            ("r=x,s=c2FsdA==,i=99999999999999999999", Err(Refused::TooManyRounds)),
            // The driver knows what to think of these.
            ("r=x,s=c2FsdA==", Ok(())),
            ("r=x,s=c2FsdA==,i=", Ok(())),
            ("r=x,s=c2FsdA==,i=+9", Ok(())),
        ] {
            assert_eq!(rounds(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_statement_with_a_name_is_noticed_wherever_the_bytes_are_cut() {
        let start_up = b"\0\0\0\x0a\0\x03\0\0Pq";
        let password = b"p\0\0\0\x08P\0\0\0";
        let unnamed = b"P\0\0\0\x0e\0SELECT 1\0B\0\0\0\x05PS\0\0\0\x04";
        let named = b"P\0\0\0\x0es0\0SELECT\0";
        let all = [&start_up[..], password, unnamed, unnamed, named].concat();
        let first = all.len() - named.len() + 5;
        for size in 1..all.len() {
            let mut sent = Sent::default();
            let refused = all.chunks(size).position(|chunk| sent.take(chunk).is_err());
            assert_eq!(refused, Some(first / size), "{size}");
        }
    }
}
