//! The answer to a login, token by token ([MS-TDS] 2.2.7). Pure.
//!
//! The client takes a login for accepted that nobody has said is refused. Here it must have been said that it is accepted; and no
//! token passes that has no place in such an answer.

use super::packet::Way;

/// Longest answer to a login, in bytes: a real one has a few hundred.
pub(super) const LONGEST: usize = 32 * 1024;

// Tokens. Those of the first row are followed by their length.
const ERROR: u8 = 0xaa;
const INFO: u8 = 0xab;
const ACCEPTED: u8 = 0xad;
const CHANGE: u8 = 0xe3;
const FEATURES: u8 = 0xae;
const DONE: u8 = 0xfd;

/// The change that sends the client elsewhere, and the feature that a login with a token is.
const ROUTING: u8 = 20;
const TOKEN: u8 = 0x02;
const NO_MORE_FEATURES: u8 = 0xff;

/// What a server says about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is accepted.
    Accepted,
    /// It is to be made elsewhere.
    Routed,
    /// It is refused.
    Refused,
}

/// What was said is no answer to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the server sends is no answer to a login")]
pub(super) struct NoAnswer;

/// Reads a whole answer.
pub(super) fn judge(message: &[u8], way: Way) -> Result<Verdict, NoAnswer> {
    let (mut refused, mut routed, mut accepted) = (false, false, false);
    let mut token = way == Way::Password;
    let mut rest = message;
    loop {
        let (kind, after) = rest.split_first().ok_or(NoAnswer)?;
        rest = match *kind {
            ERROR | INFO | ACCEPTED | CHANGE => {
                let (length, after) = after.split_first_chunk::<2>().ok_or(NoAnswer)?;
                let (body, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(NoAnswer)?;
                match *kind {
                    ERROR => refused = true,
                    ACCEPTED => accepted = true,
                    CHANGE if body.first() == Some(&ROUTING) => routed = true,
                    _ => {}
                }
                after
            }
            FEATURES => {
                let (found, after) = features(after)?;
                token |= found;
                after
            }
            DONE => {
                // Its status, the command and a count; it ends the answer.
                return match (after.len(), refused, routed) {
                    (12, true, _) => Ok(Verdict::Refused),
                    (12, false, true) => Ok(Verdict::Routed),
                    (12, false, false) if accepted && token => Ok(Verdict::Accepted),
                    _ => Err(NoAnswer),
                };
            }
            _ => return Err(NoAnswer),
        };
    }
}

/// Whether the token was taken, among the features that the server says it uses; and what stands behind them.
fn features(mut rest: &[u8]) -> Result<(bool, &[u8]), NoAnswer> {
    let mut token = false;
    loop {
        let (feature, after) = rest.split_first().ok_or(NoAnswer)?;
        if *feature == NO_MORE_FEATURES {
            return Ok((token, after));
        }
        let (length, after) = after.split_first_chunk::<4>().ok_or(NoAnswer)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| NoAnswer)?;
        let (_, after) = after.split_at_checked(length).ok_or(NoAnswer)?;
        token |= *feature == TOKEN;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &u16::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
    }

    fn answer(tokens: &[Vec<u8>]) -> Vec<u8> {
        [tokens.concat(), vec![DONE; 1], vec![0; 12]].concat()
    }

    fn accepted() -> Vec<u8> {
        token(ACCEPTED, b"\x01\x74\x00\x00\x04\x00\x10\x00\x00\x00")
    }

    fn taken() -> Vec<u8> {
        vec![FEATURES, TOKEN, 0, 0, 0, 0, NO_MORE_FEATURES]
    }

    #[test]
    fn a_login_is_accepted_refused_or_sent_elsewhere() {
        let route = token(CHANGE, &[ROUTING, 0, 0]);
        let database = token(CHANGE, &[1, 0, 0]);
        for (tokens, way, verdict) in [
            (vec![database.clone(), token(INFO, b"x"), accepted()], Way::Password, Ok(Verdict::Accepted)),
            (vec![accepted(), taken()], Way::Token, Ok(Verdict::Accepted)),
            (vec![accepted(), route.clone()], Way::Password, Ok(Verdict::Routed)),
            (vec![route.clone()], Way::Token, Ok(Verdict::Routed)),
            (vec![token(ERROR, b"x"), token(ERROR, b"y")], Way::Password, Ok(Verdict::Refused)),
            (vec![accepted(), token(ERROR, b"x"), route], Way::Password, Ok(Verdict::Refused)),
            // Nobody said that it is accepted, or that the token was looked at.
            (vec![], Way::Password, Err(NoAnswer)),
            (vec![database, token(INFO, b"x")], Way::Password, Err(NoAnswer)),
            (vec![accepted()], Way::Token, Err(NoAnswer)),
            (vec![taken()], Way::Token, Err(NoAnswer)),
        ] {
            assert_eq!(judge(&answer(&tokens), way), verdict, "{tokens:?}");
        }
    }

    #[test]
    fn what_has_no_place_in_an_answer_does_not_pass() {
        let whole = answer(&[accepted()]);
        for message in [
            vec![],
            whole[..whole.len() - 1].to_vec(),
            [whole.clone(), vec![0]].concat(),
            answer(&[token(0xed, b"sspi"), accepted()]),
            answer(&[vec![0x81, 0xff, 0xff], accepted()]),
            answer(&[vec![0xe4, 0xff, 0xff, 0xff, 0xff], accepted()]),
            answer(&[vec![0xee, 0xff, 0xff, 0xff, 0x7f], accepted()]),
            answer(&[accepted(), vec![FEATURES, 1, 0xff, 0xff, 0xff, 0xff]]),
            answer(&[vec![ACCEPTED, 0xff, 0xff]]),
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        ] {
            assert_eq!(judge(&message, Way::Password), Err(NoAnswer), "{message:?}");
        }
    }

    #[test]
    fn nothing_in_an_answer_makes_us_fall_over() {
        let whole = answer(&[token(CHANGE, &[ROUTING, 0, 0]), accepted(), taken(), token(INFO, b"hello")]);
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut message = whole.clone();
                message[at] = byte;
                let _ = judge(&message, Way::Token);
                let _ = judge(&message[..at], Way::Token);
            }
        }
    }
}
