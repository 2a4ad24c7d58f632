//! How connection strings are written: percent-encoded parts, bracketed IPv6 addresses, a cut at 256 characters.

use std::{fmt::Write as _, net::Ipv6Addr};

use crate::failure::shorten;

/// Longest connection string, in characters.
pub const LIMIT: usize = 256;

/// Percent-encodes every byte of `part` but the unreserved ones of RFC 3986 §2.3.
pub fn encode(part: &str) -> String {
    part.bytes().fold(String::with_capacity(part.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte as char);
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// `HOST:PORT`, with an IPv6 address in brackets.
pub fn authority(host: &str, port: u16) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{}:{port}", encode(host)),
    }
}

/// `?NAME=VALUE&…` of those that have a value, which is taken as it is; nothing where none has one.
pub fn query<'a>(parts: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let parts = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    parts.fold(String::new(), |text, (name, value)| {
        let begin = if text.is_empty() { '?' } else { '&' };
        format!("{text}{begin}{name}={value}")
    })
}

/// Cuts a connection string at [`LIMIT`] characters with `…`.
pub fn cut(text: &str) -> String {
    shorten(text, LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_percent_encoded() {
        assert_eq!(encode("a b/ü@~"), "a%20b%2F%C3%BC%40~");
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        assert_eq!(authority("fd00::1", 5432), "[fd00::1]:5432");
        assert_eq!(authority("[fd00::1]", 5432), "[fd00::1]:5432");
        assert_eq!(authority("db.shop.svc", 5432), "db.shop.svc:5432");
    }

    #[test]
    fn a_query_has_what_has_a_value() {
        assert_eq!(query([("a", None), ("b", None)]), "");
        assert_eq!(query([("a", Some("1".to_owned())), ("b", None), ("c", Some("x/y".to_owned()))]), "?a=1&c=x/y");
    }

    #[test]
    fn a_long_string_is_cut() {
        assert_eq!(cut(&"x".repeat(300)).chars().count(), LIMIT);
    }
}
