//! What a shared access signature says about itself: when it ends, and what it lets do. Pure: whoever asks whether it has ended says
//! what time it is.
//!
//! From "Create a service SAS", "Create an account SAS" and "Create a user delegation SAS" of the REST reference, 2026. The words of
//! a token can be read by anybody, and changed by nobody: they are what is signed.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{connections::Permission, secret::SecretValue};

/// Longest token, in bytes: those with the key of a user's delegation and an address range have some 600.
const LIMIT: usize = 4096;

/// A token, and what it says.
pub struct Sas {
    query: SecretValue,
    ends: Option<Timestamp>,
    /// The letters of what it permits; not there where a policy that the container has stored says so.
    permits: Option<String>,
    /// The letters of what it is about: services, containers, objects. Only a SAS of the account has them.
    about: Option<String>,
}

/// Why a text is no token that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is a URL.
    Url,
    /// It is something else, or has a word that no token has: such a word could make another request of ours.
    Form,
    /// It is for one blob, which cannot be listed.
    OneBlob,
    /// It is not for blobs.
    OtherService,
}

impl Unusable {
    /// What is said about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Url => {
                "it must be the token alone, without the URL before it: the host and the container stand in the spec"
            }
            Self::Form => "a SAS has the form sv=…&sig=…, percent-encoded, with each of its words once",
            Self::OneBlob => "it is for one blob; use a SAS for the container, or for the account",
            Self::OtherService => "it is not for blobs; use a SAS for the container, or for the account with ss=b",
        }
    }
}

impl Sas {
    /// Reads a token, with or without the question mark that it is often shown with.
    ///
    /// # Errors
    /// What makes it unusable.
    pub fn read(text: &str) -> Result<Self, Unusable> {
        let query = text.strip_prefix('?').unwrap_or(text);
        if query.contains("://") {
            return Err(Unusable::Url);
        }
        let sendable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&byte);
        if query.len() > LIMIT || !query.bytes().all(sendable) {
            return Err(Unusable::Form);
        }
        let mut words = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !is_of_a_sas(&name) || words.insert(name, value).is_some() {
                return Err(Unusable::Form);
            }
        }
        let word = |name: &str| words.get(name).map(Cow::as_ref).filter(|value| !value.is_empty());
        if word("sv").is_none() || word("sig").is_none() {
            return Err(Unusable::Form);
        }
        match (word("sr"), word("ss"), word("srt")) {
            (Some("b" | "bv" | "bs"), ..) => return Err(Unusable::OneBlob),
            (Some("c" | "d"), ..) => {}
            (None, Some(services), Some(_)) if services.contains('b') => {}
            _ => return Err(Unusable::OtherService),
        }
        Ok(Self {
            ends: word("se").and_then(time),
            permits: word("sp").map(str::to_owned),
            about: word("srt").map(str::to_owned),
            query: SecretValue::new(query.as_bytes().to_vec()),
        })
    }

    /// The token, as it stands at the end of a query.
    pub fn query(&self) -> &str {
        // It was made of text.
        self.query.text().unwrap_or_default()
    }

    /// Whether it ended before `now`. Where its end stands in a stored policy only the service knows.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    /// Whether it says of itself that it does not let do this.
    pub fn denies(&self, permission: Permission) -> bool {
        let (one_of, level) = match permission {
            Permission::List => (&['l'][..], 'c'),
            Permission::Read => (&['r'][..], 'o'),
            Permission::Write => (&['w', 'c'][..], 'o'),
        };
        self.permits.as_ref().is_some_and(|letters| !letters.contains(one_of))
            || self.about.as_ref().is_some_and(|letters| !letters.contains(level))
    }
}

/// Whether a token may have a word of this name. All that it is made of begins so and is this short, and nothing is that an
/// operation of the service asks for.
fn is_of_a_sas(name: &str) -> bool {
    name.len() <= 7
        && name.bytes().all(|byte| byte.is_ascii_lowercase())
        && (name.starts_with('s') || name.starts_with("rsc"))
}

/// A time in one of the forms that a token may have it in, in UTC.
fn time(text: &str) -> Option<Timestamp> {
    let midnight = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    text.parse().ok().or_else(|| midnight().map(|day| day.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Permission::{List, Read, Write};

    const ALL: [Permission; 3] = [List, Read, Write];

    fn read(text: &str) -> Result<Sas, Unusable> {
        Sas::read(text)
    }

    fn denied(text: &str) -> Vec<Permission> {
        let sas = read(text).unwrap_or_else(|unusable| panic!("{text}: {unusable:?}"));
        ALL.into_iter().filter(|permission| sas.denies(*permission)).collect()
    }

    #[test]
    fn a_token_is_sent_as_it_is_without_its_question_mark() {
        let token = "sv=2023-11-03&sr=c&sp=rl&sig=a%2Bb%3D";
        assert_eq!(read(token).map(|sas| sas.query().to_owned()), Ok(token.to_owned()));
        assert_eq!(read(&format!("?{token}")).map(|sas| sas.query().to_owned()), Ok(token.to_owned()));
    }

    #[test]
    fn what_a_token_does_not_permit_is_known_without_asking() {
        for (text, expected) in [
            ("sv=1&sr=c&sig=x&sp=rlw", &[][..]),
            ("sv=1&sr=c&sig=x&sp=rl", &[Write]),
            ("sv=1&sr=c&sig=x&sp=lc", &[Read]),
            ("sv=1&sr=c&sig=x&sp=d", &[List, Read, Write]),
            ("sv=1&sr=d&sdd=1&sig=x&sp=rl", &[Write]),
            // The policy says it, and only the service knows the policy.
            ("sv=1&sr=c&sig=x&si=policy", &[]),
            ("sv=1&ss=b&srt=sco&sig=x&sp=rwdl", &[]),
            ("sv=1&ss=bfqt&srt=c&sig=x&sp=rwl", &[Read, Write]),
            ("sv=1&ss=b&srt=o&sig=x&sp=rwl", &[List]),
        ] {
            assert_eq!(denied(text), expected, "{text}");
        }
    }

    #[test]
    fn a_token_ends_when_it_says_so_in_any_of_its_forms() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        for (end, expected) in [
            ("2026-11-26T12:00:00Z", true),
            ("2026-11-26T12%3A00%3A01Z", false),
            ("2026-11-26T12:00Z", true),
            ("2026-11-26T12:01Z", false),
            ("2026-11-26T12:00:00.0000001Z", false),
            ("2026-11-26", true),
            ("2026-11-27", false),
            ("9999-12-31", false),
            // Only the service knows what it makes of this.
            ("yesterday", false),
            ("", false),
        ] {
            let sas = read(&format!("sv=1&sr=c&sp=l&sig=x&se={end}")).unwrap_or_else(|unusable| panic!("{unusable:?}"));
            assert_eq!(sas.has_ended(now), expected, "{end}");
        }
        assert!(read("sv=1&sr=c&si=policy&sig=x").is_ok_and(|sas| !sas.has_ended(now)));
    }

    #[test]
    fn what_is_no_token_for_a_container_is_refused() {
        for (text, expected) in [
            ("https://one.blob.core.windows.net/orders?sv=1&sr=c&sig=x", Unusable::Url),
            ("", Unusable::Form),
            ("hunter2", Unusable::Form),
            ("sv=1&sr=c", Unusable::Form),
            ("sr=c&sig=x", Unusable::Form),
            ("sv=1&sr=c&sig=", Unusable::Form),
            ("sv=1&sr=c&sig=x&sig=y", Unusable::Form),
            ("sv=1&sr=c&sig=x#y", Unusable::Form),
            ("sv=1&sr=c&sig=x y", Unusable::Form),
            ("sv=1&sr=b&sig=x", Unusable::OneBlob),
            ("sv=1&sr=s&sig=x", Unusable::OtherService),
            ("sv=1&ss=q&srt=sco&sig=x", Unusable::OtherService),
            ("sv=1&sp=r&sig=x", Unusable::OtherService),
            (&format!("sv=1&sr=c&sig={}", "x".repeat(LIMIT)), Unusable::Form),
        ] {
            assert_eq!(read(text).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_token_cannot_make_another_request_of_ours() {
        for word in [
            "comp=lease",
            "restype=account",
            "prefix=x",
            "snapshot=x",
            "timeout=1",
            "versionid=x",
            "SIG=x",
            "%63omp=acl",
        ] {
            assert_eq!(read(&format!("sv=1&sr=c&sp=l&sig=x&{word}")).err(), Some(Unusable::Form), "{word}");
        }
    }
}
