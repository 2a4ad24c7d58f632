//! Credentials that cannot be printed, and the way from a Secret's keys to a type's canonical keys.
//!
//! Nothing here knows Kubernetes, a clock or a socket. A value leaves its wrapper only through [`SecretValue::expose`] and
//! [`SecretValue::text`], whose callers are the probes.

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use aws_lc_rs::digest;
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::failure::{Failure, FailureClass, Setting};

/// Largest value of one Secret key that is used, in bytes: no credential is longer, and a mistake may be.
pub const VALUE_LIMIT: usize = 64 * 1024;

/// One value of a Secret. Its bytes are wiped when it is dropped, and neither `Debug` nor anything else prints them.
pub struct SecretValue(SecretSlice<u8>);

impl SecretValue {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes. For the code that sends them to the server, and for nothing else.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// The bytes as text; `None` where they are not UTF-8, are empty, or hold a NUL.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.expose()).ok().filter(|text| !text.is_empty() && !text.contains('\0'))
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// A fingerprint of values: equal for equal values, and of no use to find them. It is kept in memory and never shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The fingerprint of `parts`, in their order. Each part is framed by its length, so that moving a byte from one part
    /// to the next changes the fingerprint.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// The fingerprint's bytes, to make a fingerprint of fingerprints.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// A canonical key of a connection type, and the names under which others store the same thing.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The canonical name, which messages use.
    pub name: &'static str,
    /// Names tried after the canonical one, in this order.
    pub aliases: &'static [&'static str],
}

impl Key {
    /// A key with no other names.
    pub const fn plain(name: &'static str) -> Self {
        Self { name, aliases: &[] }
    }
}

/// One way to log in: the canonical keys it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// What the method is called in messages.
    pub name: &'static str,
    /// Keys it cannot do without.
    pub required: Vec<&'static str>,
    /// Keys it uses where they are there.
    pub optional: Vec<&'static str>,
}

/// The few values of one Secret that a probe uses, by canonical key.
#[derive(Debug, Default)]
pub struct Credentials(BTreeMap<&'static str, SecretValue>);

impl Credentials {
    /// The value of a canonical key.
    pub fn get(&self, name: &str) -> Option<&SecretValue> {
        self.0.get(name)
    }

    /// Takes the value of a canonical key out.
    pub fn take(&mut self, name: &str) -> Option<SecretValue> {
        self.0.remove(name)
    }

    /// Takes the value of a canonical key out, which must be text: most drivers and protocols carry nothing else. `about` is
    /// the Secret it came from.
    ///
    /// # Errors
    /// `CredentialsMalformed` where it is not UTF-8, is empty, or holds a NUL.
    pub fn take_text(&mut self, name: &'static str, about: &Setting) -> Result<Option<SecretValue>, Failure> {
        match self.take(name) {
            Some(value) if value.text().is_none() => Err(Failure::new(FailureClass::CredentialsMalformed)
                .about(about.clone())
                .word(name)
                .advice("it must be UTF-8 text, not empty, without a NUL byte")),
            value => Ok(value),
        }
    }

    /// As [`take_text`](Self::take_text), of a value that a header or a token's message carries.
    ///
    /// # Errors
    /// `CredentialsMalformed` too where it is not printable ASCII without a space.
    pub fn take_printable(&mut self, name: &'static str, about: &Setting) -> Result<Option<SecretValue>, Failure> {
        match self.take_text(name, about)? {
            Some(value) if !value.expose().iter().all(u8::is_ascii_graphic) => {
                Err(Failure::new(FailureClass::CredentialsMalformed)
                    .about(about.clone())
                    .word(name)
                    .advice("it must be printable ASCII, without a space or a line break"))
            }
            value => Ok(value),
        }
    }

    /// What is said where the canonical key `name` is needed and was not there to take.
    pub fn missing(name: &'static str, about: &Setting) -> Failure {
        Failure::new(FailureClass::SecretKeyMissing).about(about.clone()).word(name)
    }

    /// The fingerprint of all values.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.iter().flat_map(|(name, value)| [name.as_bytes(), value.expose()]))
    }

    /// Selects from `data`, the content of the Secret that `about` names, the values of the one complete method.
    ///
    /// `renamed` maps canonical keys to keys of this Secret (`spec.credentials.keys`); it switches the aliases of these keys
    /// off, and while it names any key of a method only methods whose keys are all named count.
    ///
    /// # Errors
    /// `SecretKeyMissing` where no method is complete (it names what the nearest one lacks), `CredentialsMalformed` where
    /// several are or where a value is larger than [`VALUE_LIMIT`].
    pub fn select(
        mut data: BTreeMap<String, SecretValue>,
        renamed: &BTreeMap<String, String>,
        keys: &'static [Key],
        methods: &[Method],
        about: &Setting,
    ) -> Result<Self, Failure> {
        let place = |name: &str| -> Option<String> {
            if let Some(given) = renamed.get(name) {
                return data.contains_key(given).then(|| given.clone());
            }
            let key = keys.iter().find(|key| key.name == name)?;
            std::iter::once(&key.name).chain(key.aliases).find(|n| data.contains_key(**n)).map(|n| (*n).to_owned())
        };
        let named = |method: &&Method| {
            renamed.is_empty() || method.required.is_empty() || {
                // Keys that are named say which method is meant; a method none of whose keys is named is not.
                let all = method.required.iter().chain(&method.optional);
                methods.len() == 1 || all.clone().any(|name| renamed.contains_key(*name))
            }
        };
        let lacking = |method: &Method| -> Vec<&'static str> {
            method.required.iter().copied().filter(|name| place(name).is_none()).collect()
        };
        let candidates: Vec<&Method> = methods.iter().filter(named).collect();
        let complete: Vec<&Method> = candidates.iter().copied().filter(|m| lacking(m).is_empty()).collect();
        let method = match complete.as_slice() {
            [method] => *method,
            [] => {
                // The nearest lacks least, and of those that lack as much it has most.
                let nearest = candidates.iter().min_by_key(|m| (lacking(m).len(), Reverse(m.required.len())));
                let nearest = nearest.map(|m| lacking(m)).unwrap_or_default();
                let failure = Failure::new(FailureClass::SecretKeyMissing).about(about.clone());
                return Err(nearest.into_iter().fold(failure, Failure::word));
            }
            several => {
                let failure = Failure::new(FailureClass::CredentialsMalformed)
                    .about(about.clone())
                    .advice("it holds several complete ways to log in; name the keys of one in spec.credentials.keys");
                return Err(several.iter().fold(failure, |failure, m| failure.word(m.name)));
            }
        };
        let mut selected = BTreeMap::new();
        let wanted: Vec<(&'static str, String)> = method
            .required
            .iter()
            .chain(&method.optional)
            .filter_map(|name| place(name).map(|place| (*name, place)))
            .collect();
        for (name, place) in wanted {
            // Every place was found above, so it is gone only where another key has taken it.
            let Some(value) = data.remove(&place) else {
                return Err(Failure::new(FailureClass::CredentialsMalformed)
                    .about(about.clone())
                    .word(name)
                    .advice("spec.credentials.keys maps two keys to one; name a key of its own for each"));
            };
            if value.expose().len() > VALUE_LIMIT {
                return Err(Failure::new(FailureClass::CredentialsMalformed)
                    .about(about.clone())
                    .word(name)
                    .advice("a value is larger than 64 KiB; store the credential alone"));
            }
            selected.insert(name, value);
        }
        Ok(Self(selected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Reason;

    const KEYS: &[Key] = &[
        Key { name: "username", aliases: &["user"] },
        Key::plain("password"),
        Key { name: "token", aliases: &["TOKEN"] },
    ];

    fn methods() -> Vec<Method> {
        vec![
            Method { name: "token", required: vec!["token"], optional: vec![] },
            Method { name: "password", required: vec!["username", "password"], optional: vec![] },
        ]
    }

    fn select(data: &[(&str, &str)], renamed: &[(&str, &str)]) -> Result<Credentials, Failure> {
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let renamed = renamed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Credentials::select(data, &renamed, KEYS, &methods(), &Setting::from_spec("Secret db"))
    }

    #[test]
    fn a_secret_made_by_others_is_understood_through_aliases() {
        let found = select(&[("user", "reader"), ("password", "p")], &[]).unwrap();
        assert_eq!(found.get("username").and_then(SecretValue::text), Some("reader"));
    }

    #[test]
    fn a_named_key_switches_its_aliases_off() {
        let failure = select(&[("user", "reader"), ("password", "p")], &[("username", "USER")]).unwrap_err();
        assert_eq!(failure.reason(), Reason::SecretKeyMissing);
        assert!(failure.message().contains("username"), "{}", failure.message());
    }

    #[test]
    fn a_missing_key_is_named_by_its_canonical_name_and_the_keys_that_are_there_are_not() {
        let message = select(&[("username", "reader"), ("hunter2", "p")], &[]).unwrap_err().message();
        assert!(message.contains("password") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn what_is_missing_is_said_of_the_method_that_was_begun() {
        let message = select(&[("username", "reader")], &[]).unwrap_err().message();
        assert!(message.contains("(password)"), "{message}");
    }

    #[test]
    fn several_complete_methods_are_refused_unless_keys_say_which() {
        let both = [("username", "reader"), ("password", "p"), ("TOKEN", "t")];
        let failure = select(&both, &[]).unwrap_err();
        assert_eq!(failure.reason(), Reason::CredentialsMalformed);
        assert!(failure.message().contains("(token, password)"), "{}", failure.message());
        assert!(select(&both, &[("token", "TOKEN")]).unwrap().get("token").is_some());
    }

    #[test]
    fn a_value_over_the_limit_is_refused() {
        let failure = select(&[("TOKEN", &"x".repeat(VALUE_LIMIT + 1))], &[]).unwrap_err();
        assert_eq!(failure.reason(), Reason::CredentialsMalformed);
        assert!(select(&[("TOKEN", &"x".repeat(VALUE_LIMIT))], &[]).is_ok());
    }

    #[test]
    fn no_secret_byte_shows_in_debug() {
        let found = select(&[("token", "hunter2")], &[]).unwrap();
        assert!(!format!("{found:?} {:?}", found.digest()).contains("hunter2"));
    }

    #[test]
    fn the_digest_tells_values_apart_and_keys_too() {
        let digest = |data: &[(&str, &str)]| select(data, &[]).unwrap().digest();
        assert_eq!(digest(&[("username", "ab"), ("password", "c")]), digest(&[("user", "ab"), ("password", "c")]));
        assert_ne!(digest(&[("username", "ab"), ("password", "c")]), digest(&[("username", "a"), ("password", "bc")]));
    }
}
