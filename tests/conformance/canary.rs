//! A value that is in a Secret and must be seen nowhere, in all the ways in which it could be seen.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// The value. It has characters that every encoding changes.
pub const VALUE: &str = "q7Z\"x\\é<&k%v=+/ 9wX~canary-N0t-se3n?>?>?>~";

/// Another one, which every type takes that takes any text: so it gets as far as the server.
pub const PLAIN: &str = "q7Z9wXcanary-N0t-se3n-k4V2";

/// The name of a key of a Secret that no type uses.
pub const KEY: &str = "Canary-Key.of_Secrets-5b1e";

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Fails where `text` holds any encoding of one of the values, or the key's name.
#[track_caller]
pub fn absent(what: &str, text: &str) {
    if let Some(found) = find(text) {
        panic!("{what}: a Secret shows, as {found}: {text}");
    }
}

/// Which encoding of one of the values, or of the key's name, `text` holds.
pub fn find(text: &str) -> Option<&'static str> {
    if text.contains(KEY) { Some("the name of a key") } else { find_any(VALUE, text).or_else(|| find_any(PLAIN, text)) }
}

/// Which encoding of `secret` a text holds.
pub fn find_any(secret: &str, text: &str) -> Option<&'static str> {
    encodings(secret).into_iter().find(|(_, form)| text.contains(form.as_str())).map(|(name, _)| name)
}

/// What `text` looks like wherever it is printed or sent: enough of it to be known again, whatever stands before or after it.
fn encodings(text: &str) -> Vec<(&'static str, String)> {
    let bytes = text.as_bytes();
    let middle = text.floor_char_boundary(text.len() / 2);
    let (wide, narrow): (Vec<u8>, Vec<u8>) = (
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    );
    let json = |text: &str| serde_json::to_string(text).expect("text").trim_matches('"').to_owned();
    vec![
        ("itself", text.to_owned()),
        ("its first half", text[..middle].to_owned()),
        ("its second half", text[middle..].to_owned()),
        ("capitals", text.to_uppercase()),
        ("small letters", text.to_lowercase()),
        ("backwards", text.chars().rev().collect()),
        ("rot13", text.chars().map(rotated).collect()),
        ("base64", base64(bytes, STANDARD, 0)),
        ("base64, one byte later", base64(bytes, STANDARD, 1)),
        ("base64, two bytes later", base64(bytes, STANDARD, 2)),
        ("base64 for URLs", base64(bytes, URL, 0)),
        ("base64 for URLs, one byte later", base64(bytes, URL, 1)),
        ("base64 for URLs, two bytes later", base64(bytes, URL, 2)),
        ("base64 of UTF-16", base64(&wide, STANDARD, 0)),
        ("base64 of base64", base64(base64(bytes, STANDARD, 0).as_bytes(), STANDARD, 0)),
        ("base32", base32(bytes)),
        ("hex", each(bytes, |byte| format!("{byte:02x}"), "")),
        ("capital hex", each(bytes, |byte| format!("{byte:02X}"), "")),
        ("hex with colons", each(bytes, |byte| format!("{byte:02x}"), ":")),
        ("hex with spaces", each(bytes, |byte| format!("{byte:02x}"), " ")),
        ("hex of UTF-16, little end first", each(&wide, |byte| format!("{byte:02x}"), "")),
        ("hex of UTF-16, big end first", each(&narrow, |byte| format!("{byte:02x}"), "")),
        ("UTF-16", String::from_utf8_lossy(&wide).into_owned()),
        ("a list of bytes", each(bytes, u8::to_string, ", ")),
        ("a list of hex bytes", each(bytes, |byte| format!("{byte:x}"), ", ")),
        ("percents", percent(bytes, str::to_uppercase)),
        ("small percents", percent(bytes, str::to_owned)),
        ("percents everywhere", each(bytes, |byte| format!("%{byte:02X}"), "")),
        ("a form", percent(bytes, str::to_uppercase).replace("%20", "+")),
        ("quoted-printable", percent(bytes, str::to_uppercase).replace('%', "=")),
        ("JSON, and what Rust prints", json(text)),
        ("JSON in JSON", json(&json(text))),
        ("JSON with numbers", text.encode_utf16().fold(String::new(), |all, unit| all + &format!("\\u{unit:04x}"))),
        ("Rust's ASCII text", text.escape_default().to_string()),
        ("Rust's bytes", bytes.escape_ascii().to_string()),
        ("octal", each(bytes, |byte| format!("\\{byte:03o}"), "")),
        ("HTML", text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")),
        ("SHA-1", hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes)),
        ("SHA-256", hash(&digest::SHA256, bytes)),
        ("SHA-512", hash(&digest::SHA512, bytes)),
        ("SHA-256 in base64", base64(digest::digest(&digest::SHA256, bytes).as_ref(), STANDARD, 0)),
    ]
}

/// The characters that `bytes` become `shift` bytes after the beginning, without those that depend on what is around them.
fn base64(bytes: &[u8], alphabet: &[u8; 64], shift: usize) -> String {
    let whole = plain_base64(&[&vec![0; shift], bytes].concat(), alphabet);
    let complete = (shift + bytes.len()) * 8 / 6;
    whole[(shift * 8).div_ceil(6)..complete].to_owned()
}

fn plain_base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    groups(bytes, 6).map(|group| char::from(alphabet[group])).collect()
}

fn base32(bytes: &[u8]) -> String {
    let whole: String = groups(bytes, 5).map(|group| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[group])).collect();
    whole[..bytes.len() * 8 / 5].to_owned()
}

/// The bits of `bytes` in groups of `width`; the last one is filled with zeros.
fn groups(bytes: &[u8], width: usize) -> impl Iterator<Item = usize> {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    (0..(bytes.len() * 8).div_ceil(width))
        .map(move |group| (0..width).fold(0, |all, n| all << 1 | bit(group * width + n)))
}

fn each(bytes: &[u8], show: impl Fn(&u8) -> String, separator: &str) -> String {
    bytes.iter().map(show).collect::<Vec<_>>().join(separator)
}

fn percent(bytes: &[u8], digits: impl Fn(&str) -> String) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{}", digits(&format!("{byte:02x}")));
        }
        text
    })
}

fn rotated(letter: char) -> char {
    let turned = |first: u8, letter: u8| char::from(first + (letter - first + 13) % 26);
    match u8::try_from(letter) {
        Ok(small @ b'a'..=b'z') => turned(b'a', small),
        Ok(capital @ b'A'..=b'Z') => turned(b'A', capital),
        Ok(_) | Err(_) => letter,
    }
}

fn hash(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> String {
    each(digest::digest(algorithm, bytes).as_ref(), |byte| format!("{byte:02x}"), "")
}

#[test]
fn there_are_many_encodings_and_no_two_are_the_same() {
    let mut forms: Vec<String> = encodings(VALUE).into_iter().map(|(_, form)| form).collect();
    assert!(forms.iter().all(|form| form.len() > 15), "a short one would be found by chance");
    let count = forms.len();
    forms.sort();
    forms.dedup();
    assert!(forms.len() == count && count >= 24, "{count}");
}

#[test]
fn it_is_found_in_base64_whatever_stands_around_it() {
    for before in 0..6 {
        for after in 0..6 {
            let around = ["x".repeat(before), VALUE.to_owned(), "y".repeat(after)].concat();
            for alphabet in [STANDARD, URL] {
                assert!(find(&plain_base64(around.as_bytes(), alphabet)).is_some(), "{before} {after}");
            }
        }
    }
}

#[test]
fn the_encodings_are_those_that_others_make() {
    assert_eq!(plain_base64(b"hunter2", STANDARD), "aHVudGVyMg");
    assert_eq!(base32(b"hunte"), "NB2W45DF");
    assert_eq!(hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, b"hunter2"), "f3bbbd66a63d4bf1747940578ec3d0103530e21d");
    assert_eq!("hunter2".chars().map(rotated).collect::<String>(), "uhagre2");
    assert_eq!(percent("a é".as_bytes(), str::to_uppercase), "a%20%C3%A9");
    assert!(find(&format!("{:?}", VALUE.as_bytes())).is_some());
    assert!(find(&format!("{:?}", Some(VALUE))).is_some());
    assert_eq!(find("a message about nothing"), None);
}
