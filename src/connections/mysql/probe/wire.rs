//! What a server and we say to each other, as bytes: frames, the greeting, our answer to it, results. Pure. What comes is bounded and
//! taken apart here; `mysql_common` writes what we send, and reads nothing: a peer can make its readers panic.
//!
//! The rules are those of "Client/Server Protocol" in MySQL's internals documentation and in MariaDB's.

use std::collections::HashMap;

use mysql_common::{
    constants::CapabilityFlags,
    packets::{AuthPlugin, HandshakeResponse, SslRequest},
    proto::MySerialize as _,
};
use secrecy::zeroize::Zeroizing;

/// Longest packet that is taken, and that the server is told we take, in bytes. Honest ones have some hundred.
pub(super) const LONGEST: usize = 64 * 1024;

/// Most columns of a result: the limit of MySQL for a table.
const COLUMNS: usize = 4096;

/// `COM_QUIT` and `COM_QUERY`, the commands we know.
const QUIT: u8 = 1;
const QUERY: u8 = 3;

/// `utf8mb4_general_ci`: the character set that every server since MySQL 5.5.3 knows.
const CHARACTER_SET: u8 = 45;

/// What every server of the last fifteen years can do, and we cannot do without.
const NEEDED: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH);

/// What we take beside that. Without `LOCAL_FILES` no file is asked for, without `MULTI_STATEMENTS` one statement is one, and
/// without `COMPRESS` an answer is as long as it looks. The first tells MariaDB that we know none of its own additions.
const TAKEN: CapabilityFlags = CapabilityFlags::CLIENT_LONG_PASSWORD;

/// What the peer sends is not the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the peer sends is not the protocol")]
pub(super) struct NotTheProtocol;

/// What stands before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How long the packet is.
    pub length: usize,
    /// Its number in the exchange.
    pub sequence: u8,
}

impl Header {
    /// Reads one. A packet is never empty, and never longer than [`LONGEST`].
    pub(super) fn read(bytes: [u8; 4]) -> Result<Self, NotTheProtocol> {
        let [a, b, c, sequence] = bytes;
        let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        if (1..=LONGEST).contains(&length) { Ok(Self { length, sequence }) } else { Err(NotTheProtocol) }
    }

    /// Whether a packet with this header may come where `expected` is the next number. A server that ends a connection says so at
    /// any time, and under any number.
    pub(super) fn fits(self, expected: u8, body: &[u8]) -> bool {
        self.sequence == expected || error(body).is_some()
    }
}

/// A packet as it is sent. It may hold a password, and is wiped.
pub(super) fn frame(sequence: u8, body: &[u8]) -> Zeroizing<Vec<u8>> {
    let [a, b, c, ..] = body.len().to_le_bytes();
    let mut frame = Zeroizing::new(Vec::with_capacity(4 + body.len()));
    frame.extend_from_slice(&[a, b, c, sequence]);
    frame.extend_from_slice(body);
    frame
}

/// The first thing that a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Its greeting.
    Greeting(Greeting),
    /// That it does not talk to us, by the number of an error.
    Error(u16),
}

/// What matters of a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    capabilities: CapabilityFlags,
    /// What our first answer is made with.
    pub nonce: [u8; 20],
    /// The name of the way to log in that the server begins with.
    pub plugin: Vec<u8>,
}

impl Greeting {
    fn read(body: &[u8]) -> Option<Self> {
        let (10, rest) = body.split_first()? else { return None };
        let (_version, rest) = name(rest)?;
        let (_connection, rest) = rest.split_first_chunk::<4>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let ([_, a, b], rest) = rest.split_first_chunk::<3>()?;
        let (_character_set_and_status, rest) = rest.split_first_chunk::<3>()?;
        let ([c, d, length], rest) = rest.split_first_chunk::<3>()?;
        let (_reserved, rest) = rest.split_first_chunk::<10>()?;
        // The rest of the nonce is as long as is said, but at least 13 bytes, of which 12 count.
        let (second, rest) = rest.split_at_checked(usize::from(*length).saturating_sub(8).max(13))?;
        let capabilities = CapabilityFlags::from_bits_truncate(u32::from_le_bytes([*a, *b, *c, *d]));
        let mut nonce = [0; 20];
        nonce[..8].copy_from_slice(first);
        nonce[8..].copy_from_slice(&second[..12]);
        // Some servers forget the byte that ends the name.
        let plugin = name(rest).map_or(rest, |(plugin, _)| plugin).to_vec();
        capabilities.contains(NEEDED).then_some(Self { capabilities, nonce, plugin })
    }

    /// Whether the server can do TLS.
    pub(super) const fn offers_tls(&self) -> bool {
        self.capabilities.contains(CapabilityFlags::CLIENT_SSL)
    }
}

/// Reads the first packet.
pub(super) fn first(body: &[u8]) -> Result<First, NotTheProtocol> {
    match error(body) {
        Some(code) => Ok(First::Error(code)),
        None => Greeting::read(body).map(First::Greeting).ok_or(NotTheProtocol),
    }
}

/// Whether what is said goes through TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// It does.
    Encrypted,
    /// It does not.
    Plain,
}

/// Who logs in, and where to.
#[derive(Clone, Copy)]
pub(super) struct Account<'a> {
    pub user: &'a [u8],
    pub database: Option<&'a str>,
}

/// What the conversation is like. It is said twice where TLS is asked for, and MariaDB believes the first time.
fn capabilities(greeting: &Greeting, channel: Channel, account: Account<'_>) -> CapabilityFlags {
    let mut all = NEEDED | TAKEN | (greeting.capabilities & CapabilityFlags::CLIENT_CONNECT_ATTRS);
    all.set(CapabilityFlags::CLIENT_SSL, channel == Channel::Encrypted);
    all.set(CapabilityFlags::CLIENT_CONNECT_WITH_DB, account.database.is_some());
    all
}

/// Asks for TLS.
pub(super) fn tls_request(greeting: &Greeting, account: Account<'_>) -> Vec<u8> {
    let capabilities = capabilities(greeting, Channel::Encrypted, account);
    written(|body| SslRequest::new(capabilities, longest(), CHARACTER_SET).serialize(body))
}

/// Our answer to a greeting: who logs in, and `proof` of it by `plugin`.
pub(super) fn response(
    greeting: &Greeting,
    channel: Channel,
    account: Account<'_>,
    plugin: AuthPlugin<'static>,
    proof: &[u8],
) -> Vec<u8> {
    let capabilities = capabilities(greeting, channel, account);
    let attributes = capabilities.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS);
    let response = HandshakeResponse::new(
        Some(proof),
        // Only asks for the character set above.
        (5, 5, 3),
        Some(account.user),
        account.database.map(str::as_bytes),
        Some(plugin),
        capabilities,
        attributes.then(|| HashMap::from([("program_name".to_owned(), "connection-operator".to_owned())])),
        longest(),
    );
    written(|body| response.serialize(body))
}

/// Says goodbye.
pub(super) const fn quit() -> [u8; 1] {
    [QUIT]
}

/// Asks the server to run a statement.
pub(super) fn query(statement: &str) -> Vec<u8> {
    [&[QUERY], statement.as_bytes()].concat()
}

/// The number of an error, where `body` is one. Its text is not looked at.
pub(super) fn error(body: &[u8]) -> Option<u16> {
    match body {
        [0xff, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    }
}

/// Whether `body` says that all is well: at least two counts of a byte each, the status and the number of warnings follow.
pub(super) const fn is_ok(body: &[u8]) -> bool {
    matches!(body, [0, _, _, _, _, _, _, ..])
}

/// What precedes the first zero byte, and what follows it.
pub(super) fn name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// What came of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was run; with the first value of the first row, where there is a row. A value that is null or longer than 250 bytes is empty.
    Done(Option<Vec<u8>>),
    /// It was refused.
    Error(u16),
}

/// The answer to a statement, found in the packets as they come.
#[derive(Debug, Default)]
pub(super) struct Reply {
    awaited: Awaited,
    row: Option<Vec<u8>>,
}

/// What the next packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    Beginning,
    /// The description of a column; so many are left.
    Column(usize),
    /// The end of the descriptions.
    Divider,
    /// A row, or the end of all.
    Row,
}

impl Reply {
    /// Takes the next packet; returns the answer when it is complete.
    pub(super) fn take(&mut self, body: &[u8]) -> Result<Option<Answer>, NotTheProtocol> {
        if let Some(code) = error(body) {
            return Ok(Some(Answer::Error(code)));
        }
        self.awaited = match (self.awaited, body) {
            (Awaited::Beginning, body) if is_ok(body) => return Ok(Some(Answer::Done(None))),
            (Awaited::Beginning, body) => Awaited::Column(columns(body).ok_or(NotTheProtocol)?),
            (Awaited::Column(1), _) => Awaited::Divider,
            (Awaited::Column(left), _) => Awaited::Column(left - 1),
            (Awaited::Divider, body) if is_end(body) => Awaited::Row,
            (Awaited::Divider, _) => return Err(NotTheProtocol),
            (Awaited::Row, body) if is_end(body) => return Ok(Some(Answer::Done(self.row.take()))),
            (Awaited::Row, body) => {
                self.row.get_or_insert_with(|| value(body).to_vec());
                Awaited::Row
            }
        };
        Ok(None)
    }
}

/// How many columns a result has. What begins with 0xfb is no count: it asks for a file of ours.
fn columns(body: &[u8]) -> Option<usize> {
    let count = match body {
        [count @ ..=250] => usize::from(*count),
        [0xfc, low, high] => usize::from(u16::from_le_bytes([*low, *high])),
        _ => return None,
    };
    (1..=COLUMNS).contains(&count).then_some(count)
}

/// Whether `body` ends the descriptions of columns, or the rows. A row may begin with the same byte, and is longer.
const fn is_end(body: &[u8]) -> bool {
    matches!(body, [0xfe, _, _, _, _])
}

/// The first value of a row.
fn value(row: &[u8]) -> &[u8] {
    match row {
        [length @ ..=250, rest @ ..] => rest.get(..usize::from(*length)).unwrap_or_default(),
        _ => &[],
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut body);
    body
}

fn longest() -> u32 {
    u32::try_from(LONGEST).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use mysql_common::{
        constants::StatusFlags,
        io::ParseBuf,
        packets::{HandshakePacket, SslRequest},
    };

    use super::*;

    fn greeting(capabilities: CapabilityFlags) -> Vec<u8> {
        let mut nonce = b"abcdefghijkl".to_vec();
        nonce.push(0);
        let packet = HandshakePacket::new(
            10,
            &b"5.5.5-10.11.19-MariaDB"[..],
            7,
            *b"12345678",
            Some(nonce),
            capabilities,
            45,
            StatusFlags::empty(),
            Some(&b"mysql_native_password"[..]),
        );
        written(|body| packet.serialize(body))
    }

    #[test]
    fn a_length_is_bounded_before_anything_is_made_of_it() {
        assert_eq!(Header::read([1, 0, 0, 9]), Ok(Header { length: 1, sequence: 9 }));
        assert_eq!(Header::read([0, 0, 1, 0]), Ok(Header { length: LONGEST, sequence: 0 }));
        for bytes in [[0, 0, 0, 0], [1, 0, 1, 0], [0xff, 0xff, 0xff, 0], *b"SSH-", *b"HTTP"] {
            assert_eq!(Header::read(bytes), Err(NotTheProtocol), "{bytes:?}");
        }
    }

    #[test]
    fn a_packet_out_of_turn_is_none_unless_it_is_an_error() {
        let header = Header { length: 3, sequence: 4 };
        assert!(header.fits(4, b"\0") && !header.fits(3, b"\0"));
        assert!(header.fits(3, b"\xff\x10\x04"));
    }

    #[test]
    fn a_greeting_is_read_and_a_cut_one_is_none() {
        let all = greeting(CapabilityFlags::all());
        let Ok(First::Greeting(found)) = first(&all) else { panic!("it is one") };
        assert_eq!((&found.nonce, &found.plugin[..]), (b"12345678abcdefghijkl", &b"mysql_native_password"[..]));
        assert!(found.offers_tls());
        let after_the_nonce = all.len() - b"mysql_native_password\0".len();
        for length in 0..after_the_nonce {
            assert_eq!(first(&all[..length]), Err(NotTheProtocol), "{length}");
        }
        assert_eq!(first(&[&[9], &all[1..]].concat()), Err(NotTheProtocol), "an older protocol");
    }

    #[test]
    fn no_greeting_makes_us_panic() {
        // Every value of the length of the nonce, which mysql_common's own reader trips over.
        let all = greeting(CapabilityFlags::all());
        let length = 1 + b"5.5.5-10.11.19-MariaDB\0".len() + 4 + 8 + 1 + 2 + 1 + 2 + 2;
        assert_eq!(all[length], 21);
        for said in 0..=u8::MAX {
            let mut odd = all.clone();
            odd[length] = said;
            assert_eq!(first(&odd).is_ok(), usize::from(said).saturating_sub(8).max(13) <= 35, "{said}");
        }
    }

    #[test]
    fn a_server_that_cannot_do_what_is_needed_is_too_old() {
        for lacking in [NEEDED - CapabilityFlags::CLIENT_PLUGIN_AUTH, CapabilityFlags::empty()] {
            assert_eq!(first(&greeting(lacking)), Err(NotTheProtocol));
        }
        let Ok(First::Greeting(found)) = first(&greeting(NEEDED)) else { panic!("it is one") };
        assert!(!found.offers_tls());
    }

    #[test]
    fn an_error_in_the_place_of_a_greeting_is_read() {
        assert_eq!(first(b"\xff\x10\x04Too many connections"), Ok(First::Error(1040)));
        assert_eq!(first(b"\xff\x69\x04"), Ok(First::Error(1129)));
        assert_eq!(first(b"\xff\x69"), Err(NotTheProtocol));
    }

    #[test]
    fn what_we_send_asks_for_nothing_dangerous() {
        let Ok(First::Greeting(all)) = first(&greeting(CapabilityFlags::all())) else { panic!("it is one") };
        for (channel, database) in [(Channel::Plain, None), (Channel::Encrypted, Some("orders"))] {
            let account = Account { user: b"reader", database };
            let body = response(&all, channel, account, AuthPlugin::MysqlNativePassword, &[7; 20]);
            let read: HandshakeResponse<'_> = ParseBuf(&body).parse(()).unwrap();
            assert_eq!((read.user(), read.scramble_buf()), (&b"reader"[..], &[7; 20][..]));
            assert_eq!(read.db_name(), database.map(str::as_bytes));
            let mut asked = NEEDED | CapabilityFlags::CLIENT_LONG_PASSWORD | CapabilityFlags::CLIENT_CONNECT_ATTRS;
            if channel == Channel::Encrypted {
                asked |= CapabilityFlags::CLIENT_SSL | CapabilityFlags::CLIENT_CONNECT_WITH_DB;
            }
            assert_eq!(read.capabilities(), asked);
            let body = tls_request(&all, account);
            let request: SslRequest = ParseBuf(&body).parse(()).unwrap();
            assert_eq!(request.capabilities(), asked | CapabilityFlags::CLIENT_SSL);
            assert_eq!((request.max_packet_size(), request.character_set()), (65_536, read.collation()));
        }
    }

    fn reply(packets: &[&[u8]]) -> Result<Option<Answer>, NotTheProtocol> {
        let mut reply = Reply::default();
        for packet in packets {
            match reply.take(packet) {
                Ok(None) => {}
                ended => return ended,
            }
        }
        Ok(None)
    }

    #[test]
    fn an_answer_is_complete_when_its_end_has_come() {
        const END: &[u8] = b"\xfe\0\0\0\0";
        let done = |value: Option<&[u8]>| Ok(Some(Answer::Done(value.map(<[u8]>::to_vec))));
        assert_eq!(reply(&[b"\0\0\0\x02\0\0\0"]), done(None));
        assert_eq!(reply(&[b"\x01", b"column", END, END]), done(None));
        assert_eq!(reply(&[b"\x02", b"a", b"b", END, b"\x01x\x01y", b"\x01z\x01y", END]), done(Some(b"x")));
        assert_eq!(reply(&[b"\x01", b"a", END, b"\xfb", END]), done(Some(b"")));
        assert_eq!(reply(&[b"\x01", b"a", END]), Ok(None));
        assert_eq!(reply(&[b"\x01", b"a", END, b"\xff\x01\x02"]), Ok(Some(Answer::Error(0x201))));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        // An OK that is cut, a file that is asked for, no columns, too many, no end of them.
        for odd in [
            &b"\0\0\0"[..],
            b"\0",
            b"\xfb",
            b"\xfb/etc/passwd",
            b"\xfe",
            b"\xfc\x01\x10",
            b"\xfd\xff\xff\xff",
            b"\x01\x02",
        ] {
            assert_eq!(reply(&[odd]), Err(NotTheProtocol), "{odd:?}");
        }
        assert_eq!(reply(&[b"\x01", b"a", b"\x01x"]), Err(NotTheProtocol));
        assert_eq!(value(b"\x05abc"), b"", "a value that is longer than its row");
    }
}
