//! Whether some bytes are a keytab, and whose keys are in it. It decides about bytes and does no I/O.
//!
//! The form is MIT's second one, which every tool has written for decades: numbers are in network order.

/// What is wrong with a keytab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connections::hdfs) enum Fault {
    /// It is no keytab.
    Malformed,
    /// It has no key of the principal.
    OfOthers,
}

impl Fault {
    /// What to do about it.
    pub(in crate::connections::hdfs) const fn advice(self) -> &'static str {
        match self {
            Self::Malformed => {
                "it must be the bytes of an MIT keytab as they are, which in a Secret's `data` are base64 once"
            }
            Self::OfOthers => "it has no key for spec.hdfs.kerberos.principal in its realm; export one with it",
        }
    }
}

/// Whether `keytab` is one, and has a key of `principal`, which is written without its realm.
pub(in crate::connections::hdfs) fn check(keytab: &[u8], principal: &str, realm: &str) -> Result<(), Fault> {
    let mut rest = keytab.strip_prefix(&[5, 2]).ok_or(Fault::Malformed)?;
    let mut found = false;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(Fault::Malformed)?;
        let length = i32::from_be_bytes(*length);
        // Zero ends the file; a hole, where a key was deleted, has a negative length.
        if length == 0 {
            break;
        }
        let size = usize::try_from(length.unsigned_abs()).map_err(|_| Fault::Malformed)?;
        let (entry, after) = after.split_at_checked(size).ok_or(Fault::Malformed)?;
        rest = after;
        if length > 0 {
            found |= is_of(entry, principal, realm).ok_or(Fault::Malformed)?;
        }
    }
    if found { Ok(()) } else { Err(Fault::OfOthers) }
}

/// Whether an entry is of the principal; `None` where it is no entry.
fn is_of(entry: &[u8], principal: &str, realm: &str) -> Option<bool> {
    let mut rest = entry;
    let components = number(&mut rest)?;
    let mut is = text(&mut rest)? == realm.as_bytes();
    let mut expected = principal.split('/');
    for _ in 0..components {
        let component = text(&mut rest)?;
        is &= expected.next().is_some_and(|expected| expected.as_bytes() == component);
    }
    is &= expected.next().is_none();
    // The kind of the name, the time, the short number of the key, its kind.
    rest = rest.get(4 + 4 + 1 + 2..)?;
    let key = text(&mut rest)?;
    (!key.is_empty()).then_some(is)
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let (number, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*number))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(number(rest)?);
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn entry(principal: &str, realm: &str) -> Vec<u8> {
        let parts: Vec<&str> = principal.split('/').collect();
        let mut entry = u16::try_from(parts.len()).unwrap().to_be_bytes().to_vec();
        entry.extend(counted(realm));
        for part in parts {
            entry.extend(counted(part));
        }
        entry.extend(b"\0\0\0\x01\x65\0\0\0\x02\0\x12");
        entry.extend(counted("0123456789abcdef0123456789abcdef"));
        entry.extend(b"\0\0\0\x02");
        [&u32::try_from(entry.len()).unwrap().to_be_bytes()[..], &entry].concat()
    }

    fn keytab(entries: &[Vec<u8>]) -> Vec<u8> {
        [b"\x05\x02".to_vec(), entries.concat()].concat()
    }

    #[test]
    fn a_key_of_the_principal_must_be_there() {
        let realm = "EXAMPLE.COM";
        let hole = [&(-5_i32).to_be_bytes()[..], b"12345"].concat();
        let both = keytab(&[entry("nobody", realm), hole, entry("reader/host.example.com", realm)]);
        assert_eq!(check(&both, "nobody", realm), Ok(()));
        assert_eq!(check(&both, "reader/host.example.com", realm), Ok(()));
        for (principal, realm) in [
            ("reader", realm),
            ("nobody/host.example.com", realm),
            ("reader/host.example.com", "OTHER.COM"),
            ("reader/host.example.com/x", realm),
        ] {
            assert_eq!(check(&both, principal, realm), Err(Fault::OfOthers), "{principal}@{realm}");
        }
        assert_eq!(check(&keytab(&[]), "reader", realm), Err(Fault::OfOthers));
    }

    #[test]
    fn what_is_no_keytab_is_found() {
        let whole = keytab(&[entry("reader", "EXAMPLE.COM")]);
        for cut in 3..whole.len() {
            assert_eq!(check(&whole[..cut], "reader", "EXAMPLE.COM"), Err(Fault::Malformed), "{cut} bytes");
        }
        for noise in [
            &b""[..],
            b"\x05\x01\0\0",
            b"BQIAAAA7AAEAC0VYQU1QTEUuQ09N",
            b"\x05\x02\x7f\xff\xff\xff",
            b"\x05\x02\x80\0\0\0",
            b"\x05\x02\0\0\0\x02\xff\xff",
        ] {
            assert_eq!(check(noise, "reader", "EXAMPLE.COM"), Err(Fault::Malformed), "{noise:?}");
        }
    }
}
