//! The SQL Server Browser: a datagram that asks where an instance listens, and what is taken from the answer ([MC-SQLR] 2.2.3 and
//! 2.2.5). Pure.
//!
//! Nobody vouches for the answer, so nothing but a port is taken from it: at the host of the spec, where TLS tells who is there.

/// The port of the browser.
pub(super) const PORT: u16 = 1434;

const ABOUT_ONE_INSTANCE: u8 = 0x04;
const ANSWER: u8 = 0x05;

/// Most bytes that may be said about one instance.
const LONGEST: usize = 1024;

/// What is learnt from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The instance listens at this port.
    Port(u16),
    /// The instance is there and listens at no port of TCP.
    NoPort,
    /// It is no answer about this instance.
    Nothing,
}

/// Asks about one instance.
pub(super) fn question(instance: &str) -> Vec<u8> {
    [&[ABOUT_ONE_INSTANCE][..], instance.as_bytes(), b"\0"].concat()
}

/// Reads the answer: names and values between semicolons, the instance's name before its ports.
pub(super) fn read(answer: &[u8], instance: &str) -> Found {
    let Some(([ANSWER, low, high], text)) = answer.split_first_chunk::<3>() else { return Found::Nothing };
    if usize::from(u16::from_le_bytes([*low, *high])) != text.len() || text.len() > LONGEST {
        return Found::Nothing;
    }
    let mut parts = text.split(|byte| *byte == b';');
    let mut found = Found::Nothing;
    // An empty name ends what is said about an instance.
    while let (Some(name @ [_, ..]), Some(value)) = (parts.next(), parts.next()) {
        match (name, found) {
            (b"InstanceName", Found::Nothing) if value.eq_ignore_ascii_case(instance.as_bytes()) => {
                found = Found::NoPort;
            }
            (b"tcp", Found::NoPort) => {
                let port = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).filter(|port| *port > 0);
                found = port.map_or(Found::NoPort, Found::Port);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Vec<u8> {
        [&[ANSWER][..], &u16::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
    }

    const SALES: &str = "ServerName;ORDERS;InstanceName;SALES;IsClustered;No;Version;16.0.1000.6;\
        np;\\\\ORDERS\\pipe\\MSSQL$SALES\\sql\\query;tcp;49172;;";

    #[test]
    fn an_instance_is_asked_about_by_its_name() {
        assert_eq!(question("SALES"), b"\x04SALES\0");
    }

    #[test]
    fn the_port_of_the_instance_is_taken_and_nothing_else() {
        for (text, found) in [
            (SALES.to_owned(), Found::Port(49_172)),
            (SALES.replace("SALES;Is", "sales;Is"), Found::Port(49_172)),
            (SALES.replace("ORDERS;", "elsewhere.example;"), Found::Port(49_172)),
            (SALES.replace("tcp;49172;", ""), Found::NoPort),
            (SALES.replace("49172", "0"), Found::NoPort),
            (SALES.replace("49172", "65536"), Found::NoPort),
            (SALES.replace("49172", "evil"), Found::NoPort),
            (SALES.replace("SALES;Is", "OTHER;Is"), Found::Nothing),
            (format!("tcp;1;{SALES}"), Found::Port(49_172)),
            (format!("{SALES}tcp;1;;"), Found::Port(49_172)),
            (SALES.replace("tcp;", ";;tcp;"), Found::NoPort),
            (String::new(), Found::Nothing),
            (";;;;".to_owned(), Found::Nothing),
            ("InstanceName".to_owned(), Found::Nothing),
        ] {
            assert_eq!(read(&answer(&text), "SALES"), found, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_not_read() {
        let whole = answer(SALES);
        let mut other = whole.clone();
        other[0] = 0x04;
        let long = answer(&format!("{SALES}{}", "x".repeat(1024)));
        for answer in [vec![], vec![ANSWER], whole[..whole.len() - 1].to_vec(), [whole, vec![0]].concat(), other, long]
        {
            assert_eq!(read(&answer, "SALES"), Found::Nothing, "{answer:?}");
        }
        assert_eq!(read(&answer("InstanceName;\u{fffd};tcp;1;;"), "SALES"), Found::Nothing);
    }
}
