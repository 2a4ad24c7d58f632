//! The form of a delegation token, as WebHDFS's `GETDELEGATIONTOKEN` shows it: base64 of what Hadoop's `Token` writes. What is in it
//! is not looked at.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};

/// Whether a text is one. Name nodes have no good answer to what is none.
pub fn is_token(text: &[u8]) -> bool {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(without_padding(text));
    bytes.is_ok_and(|bytes| has_its_parts(&bytes))
}

/// Hadoop writes none; other tools may.
fn without_padding(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1);
    &text[..end]
}

/// Identifier, password, kind and service stand one after the other, each after its length, and nothing follows.
fn has_its_parts(bytes: &[u8]) -> bool {
    let parts = (0..4).try_fold((bytes, 0), |(rest, empty), part| {
        let (length, rest) = length(rest)?;
        // A token without an identifier or a kind is nobody's; the service may be empty.
        let empty = empty + usize::from(length == 0 && part != 3);
        Some((rest.get(length..)?, empty))
    });
    matches!(parts, Some(([], 0)))
}

/// A length as `WritableUtils.writeVInt` writes it: one byte up to 127, else the count of bytes that follow, from -113 downwards.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let first = i8::from_ne_bytes([*first]);
    if first >= 0 {
        return Some((usize::try_from(first).ok()?, rest));
    }
    // Four bytes hold more than any token has.
    let count = usize::try_from(-112 - i32::from(first)).ok().filter(|count| (1..=4).contains(count))?;
    let (digits, rest) = rest.split_at_checked(count)?;
    Some((digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a name node of Hadoop 3.4, which is gone.
    const TOKEN: &str = "LAAScmVhZGVyQEVYQU1QTEUuQ09NBnJlYWRlcgCKAaIZI6Y_igGiPTAqPwECFCLB80V4K9cUhSknYetEBI0XGUp0FUhERlNfREVM\
        RUdBVElPTl9UT0tFTg8xMjcuMC4wLjE6NDM3ODM";

    #[test]
    fn a_token_of_a_name_node_is_one() {
        assert!(is_token(TOKEN.as_bytes()));
        assert!(is_token(format!("{TOKEN}=").as_bytes()));
        let long = [&[0x8f_u8, 200][..], &[b'x'; 200], &[1, b'p', 1, b'k', 0]].concat();
        assert!(is_token(BASE64_URL_SAFE_NO_PAD.encode(long).as_bytes()));
    }

    #[test]
    fn whatever_else_is_none() {
        let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        for text in [
            String::new(),
            "=".to_owned(),
            "xyz".to_owned(),
            "AAAA".to_owned(),
            TOKEN[..TOKEN.len() - 4].to_owned(),
            format!("{TOKEN}AAAA"),
            TOKEN.replacen('L', "M", 1),
            format!("HDTS{TOKEN}"),
            format!("{TOKEN}\n"),
            TOKEN.replace('_', "/"),
            encoded(&[0x8c, 0x7f, 0xff, 0xff, 0xff]),
            encoded(&[0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            encoded(&[0x80]),
            encoded(&[1, b'i', 1, b'p', 0, 0]),
            encoded(&[1, b'i']),
        ] {
            assert!(!is_token(text.as_bytes()), "{text}");
        }
    }
}
