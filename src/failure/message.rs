//! What a message is made of: our own sentences and typed parts, none of which a peer or a driver can fill.

use std::{fmt, panic::Location};

use super::{FailureClass, Reason};

/// Longest message of a condition, in characters.
pub const MESSAGE_LIMIT: usize = 512;

/// A value of the spec as a message may show it: it holds no secret, no control character, and at most 160 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Setting(String);

impl Setting {
    /// Longest setting in a message, in characters.
    const LIMIT: usize = 160;

    /// Takes a value that stands in a Connection's spec or name. Never call it with anything from a Secret or a peer.
    pub fn from_spec(value: impl AsRef<str>) -> Self {
        Self(shorten(value.as_ref(), Self::LIMIT))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A code of a peer, as a message may show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A number, such as an HTTP status or an error number.
    Number(i64),
    /// A SQLSTATE: five capital letters or digits.
    SqlState([u8; 5]),
    /// A word of a known list.
    Known(&'static str),
}

impl Code {
    /// Takes a code that a peer sent, if it is one of the words in `table`; else says that it is not listed.
    pub fn known(table: &'static [&'static str], seen: &str) -> Self {
        Self::Known(table.iter().find(|known| **known == seen).copied().unwrap_or("unlisted code"))
    }

    /// Takes a SQLSTATE that a peer sent, if it has the form of one.
    pub fn sql_state(seen: &str) -> Self {
        match <[u8; 5]>::try_from(seen.as_bytes()) {
            Ok(bytes) if bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) => Self::SqlState(bytes),
            _ => Self::Known("unlisted code"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::SqlState(bytes) => bytes.iter().try_for_each(|b| write!(f, "{}", *b as char)),
            Self::Known(word) => f.write_str(word),
        }
    }
}

/// What follows the hint where the server rejects the credentials: it is not asked again soon, so that no account is locked.
const AGAIN: &str = "tried again as soon as the Secret's values change; after a repair elsewhere, request a probe with the annotation \
                     connectivity.dev/requested-at";

/// All that a message may hold beside our own sentences.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A value of the spec.
    Setting(Setting),
    /// A code of a peer.
    Code(Code),
    /// Our own words, or a canonical name such as a Secret key or a permission.
    Word(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(setting) => setting.fmt(f),
            Self::Code(code) => code.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// One thing that went wrong: its class, what it is about, and typed details.
#[derive(Clone, Debug)]
pub struct Failure {
    class: FailureClass,
    about: Option<Setting>,
    details: Vec<Part>,
    advice: Option<&'static str>,
    raised: &'static Location<'static>,
}

impl Failure {
    /// A failure of `class`, raised where this is called.
    #[track_caller]
    pub fn new(class: FailureClass) -> Self {
        Self { class, about: None, details: Vec::new(), advice: None, raised: Location::caller() }
    }

    /// Says what the failure is about (`{}` in the sentence); without it the sentence says "the server".
    #[must_use]
    pub fn about(mut self, about: Setting) -> Self {
        self.about = Some(about);
        self
    }

    /// As [`Failure::about`], where nothing was said yet.
    #[must_use]
    pub fn about_at_least(mut self, about: &Setting) -> Self {
        self.about.get_or_insert_with(|| about.clone());
        self
    }

    /// Adds a code of the peer.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.details.push(Part::Code(code));
        self
    }

    /// Adds our own words, or a canonical name such as a Secret key or a permission.
    #[must_use]
    pub fn word(mut self, word: &'static str) -> Self {
        self.details.push(Part::Word(word));
        self
    }

    /// Adds each of these as [`Failure::word`] does, such as the permissions that are missing.
    #[must_use]
    pub fn words(mut self, words: impl IntoIterator<Item = impl Into<&'static str>>) -> Self {
        self.details.extend(words.into_iter().map(|word| Part::Word(word.into())));
        self
    }

    /// Adds a value of the spec.
    #[must_use]
    pub fn setting(mut self, setting: Setting) -> Self {
        self.details.push(Part::Setting(setting));
        self
    }

    /// Replaces the reason's hint by a better one for this case.
    #[must_use]
    pub fn advice(mut self, advice: &'static str) -> Self {
        self.advice = Some(advice);
        self
    }

    /// The same failure as another class.
    #[must_use]
    pub(super) fn reclassed(mut self, class: FailureClass) -> Self {
        self.class = class;
        self
    }

    /// The class.
    pub const fn class(&self) -> FailureClass {
        self.class
    }

    /// The reason, from the table.
    pub const fn reason(&self) -> Reason {
        self.class.row().reason
    }

    /// Where in our code it was raised; for logs.
    pub const fn raised(&self) -> &'static Location<'static> {
        self.raised
    }

    /// The message of the condition: a sentence, details in brackets, a hint. At most [`MESSAGE_LIMIT`] characters, and the
    /// same for the same cause.
    pub fn message(&self) -> String {
        use std::fmt::Write as _;
        let about = self.about.as_ref().map_or("the server", |s| s.0.as_str());
        let mut text = self.class.row().sentence.replacen("{}", about, 1);
        for (n, part) in self.details.iter().enumerate() {
            let _ = write!(text, "{}{part}", if n == 0 { " (" } else { ", " });
        }
        if !self.details.is_empty() {
            text.push(')');
        }
        let hint = self.advice.unwrap_or_else(|| self.reason().hint());
        if !hint.is_empty() {
            let _ = write!(text, ": {hint}");
        }
        if self.reason().is_rejection() {
            let _ = write!(text, "; {AGAIN}");
        }
        shorten(&text, MESSAGE_LIMIT)
    }
}

impl PartialEq for Failure {
    /// Two failures are equal when they read the same; where they were raised does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.class == other.class
            && self.about == other.about
            && self.details == other.details
            && self.advice == other.advice
    }
}

impl Eq for Failure {}

/// Cuts `text` to `limit` characters with `…`, and replaces control characters.
pub fn shorten(text: &str, limit: usize) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    if text.chars().count() <= limit {
        return text.chars().map(clean).collect();
    }
    text.chars().take(limit - 1).map(clean).chain(['…']).collect()
}
