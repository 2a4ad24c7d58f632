//! Packets of TDS, and the two messages before a login ([MS-TDS] 2.2.3 and 2.2.6.5). Pure: what a server sends is taken apart
//! here, and what the client is given instead is written anew.

/// Bytes before the payload of each packet.
pub(super) const HEADER: usize = 8;

/// Largest packet before a login, in bytes: nothing else was agreed on yet.
pub(super) const LONGEST: usize = 4096;

/// The type of a packet in which a client or a server greets, and in which it hides a TLS handshake.
pub(super) const PRELOGIN: u8 = 0x12;

/// The type of a packet of a server.
pub(super) const ANSWER: u8 = 0x04;

/// The status of the last packet of a message.
const LAST: u8 = 0x01;

// The options of a greeting.
const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const INSTANCE: u8 = 2;
const THREAD: u8 = 3;
const MARS: u8 = 4;
const TOKEN: u8 = 6;
const NONCE: u8 = 7;
const END: u8 = 0xff;

// What can be said about encryption; the highest bit is about client certificates.
const ON: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const REQUIRED: u8 = 3;
const ABOUT_CERTIFICATES: u8 = 0x80;

/// How many bytes the packet has that begins with `header`, and whether it is the last one of its message. `None`: it is none.
pub(super) fn measure(header: [u8; HEADER]) -> Option<(usize, Part)> {
    let [_kind, status, high, low, ..] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let part = if status & LAST == 0 { Part::More } else { Part::Last };
    (length >= HEADER).then_some((length, part))
}

/// Where in its message a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Others follow.
    More,
    /// It is the last one.
    Last,
}

/// A message, in packets of a size that is always allowed.
pub(super) fn packets(kind: u8, message: &[u8]) -> Vec<u8> {
    let chunks: Vec<&[u8]> = message.chunks(LONGEST - HEADER).collect();
    let mut all = Vec::with_capacity(message.len() + chunks.len() * HEADER);
    for (n, chunk) in chunks.iter().enumerate() {
        let status = if n + 1 == chunks.len() { LAST } else { 0 };
        let length = u16::try_from(HEADER + chunk.len()).unwrap_or(u16::MAX).to_be_bytes();
        let number = u8::try_from((n + 1) % 256).unwrap_or_default();
        all.extend([kind, status, length[0], length[1], 0, 0, number, 0]);
        all.extend_from_slice(chunk);
    }
    all
}

/// What is said to the server first: that everything shall be encrypted, which instance is meant, and whether a token follows.
pub(super) fn hello(instance: Option<&str>, way: Way) -> Vec<u8> {
    let name = [instance.unwrap_or_default().as_bytes(), b"\0"].concat();
    let options = [
        (VERSION, vec![0; 6]),
        (ENCRYPTION, vec![ON]),
        (INSTANCE, name),
        (THREAD, vec![0; 4]),
        (MARS, vec![0]),
        (TOKEN, vec![1]),
    ];
    let told = options.iter().filter(|(option, _)| *option != TOKEN || way == Way::Token);
    packets(PRELOGIN, &greeting(told))
}

/// How one logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// With a user's password.
    Password,
    /// With a token of a directory.
    Token,
}

/// What the server answers to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    version: [u8; 6],
    encryption: Option<u8>,
    instance: Option<u8>,
    token: Option<u8>,
    nonce: Option<[u8; 32]>,
}

impl Greeting {
    /// Takes a greeting apart. `None`: it is none. Options that are not known are left out.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let mut found = Self { version: [0; 6], encryption: None, instance: None, token: None, nonce: None };
        let mut versions = 0;
        let mut rest = message;
        loop {
            let (option, after) = rest.split_first()?;
            if *option == END {
                break;
            }
            let ([a, b, c, d], after) = after.split_first_chunk::<4>()?;
            let (offset, length) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            let value = message.get(usize::from(offset)..)?.get(..usize::from(length))?;
            match *option {
                VERSION => {
                    found.version = value.try_into().ok()?;
                    versions += 1;
                }
                ENCRYPTION => found.encryption = Some(*value.first()?),
                INSTANCE => found.instance = value.first().copied(),
                TOKEN => found.token = Some(*value.first()?),
                NONCE => found.nonce = Some(value.try_into().ok()?),
                _ => {}
            }
            rest = after;
        }
        // Every server tells its version, once.
        (versions == 1).then_some(found)
    }

    /// Whether all that follows will be encrypted.
    pub(super) fn encrypts(&self) -> bool {
        self.encryption.is_some_and(|said| matches!(said & !ABOUT_CERTIFICATES, ON | REQUIRED))
    }

    /// Whether the server is another instance than the one it was asked for.
    pub(super) fn is_another_instance(&self) -> bool {
        self.instance.is_some_and(|said| said != 0)
    }

    /// The greeting as the client is given it. It has nothing to encrypt: that is done by then.
    pub(super) fn for_the_client(&self) -> Vec<u8> {
        let options = [
            (VERSION, Some(self.version.to_vec())),
            (ENCRYPTION, Some(vec![NOT_SUPPORTED])),
            (TOKEN, self.token.map(|said| vec![said])),
            (NONCE, self.nonce.map(|nonce| nonce.to_vec())),
        ];
        let told: Vec<_> = options.into_iter().filter_map(|(option, value)| Some((option, value?))).collect();
        packets(ANSWER, &greeting(told.iter()))
    }
}

/// A greeting with `options`: a table of where each one stands, and then what it says.
fn greeting<'a>(options: impl Iterator<Item = &'a (u8, Vec<u8>)> + Clone) -> Vec<u8> {
    let mut offset = options.clone().count() * 5 + 1;
    let mut message = Vec::new();
    for (option, value) in options.clone() {
        let [place, length] =
            [offset, value.len()].map(|number| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
        message.extend([*option, place[0], place[1], length[0], length[1]]);
        offset += value.len();
    }
    message.push(END);
    options.for_each(|(_, value)| message.extend_from_slice(value));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A greeting of SQL Server 2019: version, encryption, instance, thread (empty), MARS.
    const SERVER: &[u8] =
        b"\x00\x00\x1a\x00\x06\x01\x00\x20\x00\x01\x02\x00\x21\x00\x01\x03\x00\x22\x00\x00\x04\x00\x22\x00\x01\
        \xff\x0f\x00\x07\xd0\x00\x00\x01\x00\x00";

    fn read(message: &[u8]) -> Option<Greeting> {
        // The table is written for a message that begins after the five entries and the end.
        Greeting::read(message)
    }

    #[test]
    fn a_long_message_is_cut_into_packets_of_which_the_last_says_so() {
        let message: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let (mut rest, mut found, mut parts) = (&packets(PRELOGIN, &message)[..], Vec::new(), Vec::new());
        while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
            let (length, part) = measure(*header).unwrap();
            assert!(header[0] == PRELOGIN && length <= LONGEST);
            found.extend_from_slice(&rest[HEADER..length]);
            parts.push(part);
            rest = &rest[length..];
        }
        assert_eq!((found, parts), (message, vec![Part::More, Part::More, Part::Last]));
    }

    #[test]
    fn a_header_that_is_longer_than_its_packet_is_none() {
        assert_eq!(measure([4, 1, 0, 7, 0, 0, 1, 0]), None);
        assert_eq!(measure([4, 1, 0, 8, 0, 0, 1, 0]), Some((8, Part::Last)));
        assert_eq!(measure([4, 0, 255, 255, 0, 0, 1, 0]), Some((65_535, Part::More)));
    }

    #[test]
    fn a_server_is_asked_to_encrypt_for_an_instance_and_a_token_where_there_is_one() {
        let sent = hello(None, Way::Password);
        let (header, message) = sent.split_at(HEADER);
        assert_eq!(header, [PRELOGIN, 1, 0, u8::try_from(sent.len()).unwrap(), 0, 0, 1, 0]);
        let said = read(message).unwrap();
        assert_eq!((said.encryption, said.instance, said.token), (Some(ON), Some(0), None));
        let sent = hello(Some("SALES"), Way::Token);
        let said = read(&sent[HEADER..]).unwrap();
        assert_eq!((said.encryption, said.instance, said.token), (Some(ON), Some(b'S'), Some(1)));
        assert!(sent.windows(7).any(|part| part == b"SALES\0\0"), "{sent:?}");
    }

    #[test]
    fn what_a_server_says_about_encryption_is_understood() {
        let server = read(SERVER).unwrap();
        assert!(server.encrypts() && !server.is_another_instance());
        for (said, encrypts) in [(0, false), (1, true), (2, false), (3, true), (4, false), (0x81, true), (0x80, false)]
        {
            assert_eq!(Greeting { encryption: Some(said), ..server.clone() }.encrypts(), encrypts, "{said}");
        }
        assert!(!Greeting { encryption: None, ..server.clone() }.encrypts());
        assert!(Greeting { instance: Some(1), ..server }.is_another_instance());
    }

    #[test]
    fn the_client_is_told_nothing_but_what_it_needs() {
        let server = Greeting { token: Some(1), nonce: Some([7; 32]), instance: Some(1), ..read(SERVER).unwrap() };
        let message = server.for_the_client();
        assert_eq!(message[0], ANSWER);
        let told = read(&message[HEADER..]).unwrap();
        let expected = Greeting { encryption: Some(NOT_SUPPORTED), instance: None, ..server };
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_no_greeting_is_not_read() {
        let longer = |at: usize, byte: u8| {
            let mut message = SERVER.to_vec();
            message[at] = byte;
            message
        };
        for message in [
            vec![],
            vec![END],
            b"\x00".to_vec(),
            SERVER[..20].to_vec(),
            SERVER[..30].to_vec(),
            // An option beyond the end, one with a length beyond it, a version of the wrong size, no end.
            longer(1, 0xff),
            longer(3, 0xff),
            longer(4, 5),
            longer(25, 0x09),
            [SERVER[..5].repeat(2), SERVER[5..].to_vec()].concat(),
        ] {
            assert_eq!(read(&message), None, "{message:?}");
        }
        // Nothing in it makes us fall over.
        for at in 0..SERVER.len() {
            for byte in [0, 1, 5, 0x7f, 0xfe, 0xff] {
                let _ = read(&longer(at, byte));
            }
        }
    }
}
