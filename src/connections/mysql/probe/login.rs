//! The login: what is answered to whatever the server asks, and what is not. Pure; `mysql_common` computes the answers.
//!
//! A server may ask to log in another way, more than once: MariaDB tries each way that an account has, and makes ways up for a user
//! that it does not know. Whatever it asks, the password itself goes to a verified server only, and a server is never asked for a
//! key to encrypt it with: a peer in the middle would send one of its own.

use std::fmt;

use mysql_common::{packets::AuthPlugin, scramble::create_response_for_parsec};
use secrecy::zeroize::Zeroizing;

use super::wire;
use crate::secret::SecretValue;

/// Most ways that a server may ask for after the first: an account with more is none that we have heard of.
const SWITCHES: u8 = 4;

/// Largest exponent of the rounds of `parsec`: 1024 times 2 to the power of it, 65,536 rounds and some fifty milliseconds. MariaDB
/// has 3 at most in its other clients; `mysql_common` would compute with 20, for a quarter of an hour.
const EXPONENT: u8 = 6;

/// Whether the peer is known to be the one that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// It is, so that it may be told the password.
    Verified,
    /// It is not.
    Unverified,
}

/// What is sent; it may be the password, so nothing prints it, and it is wiped.
#[derive(PartialEq, Eq)]
pub(super) struct Words(Zeroizing<Vec<u8>>);

impl Words {
    /// The bytes, for the stream and for nothing else.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(…)")
    }
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This is sent.
    Say(Words),
    /// Nothing is sent: the server goes on.
    Listen,
    /// The challenge is signed, which takes a while, and the signature is sent.
    Sign(Challenge),
    /// The server accepts the login.
    Accepted,
    /// The server refuses the login, by the number of an error.
    Rejected(u16),
}

/// What a server asks to be signed with a key that is made from the password in many rounds (`parsec`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    nonce: [u8; 32],
    salt: [u8; 18],
    rounds: u32,
}

impl Challenge {
    /// The signature, with the nonce of our own that it is about as well.
    pub(super) fn sign(&self, password: &SecretValue) -> Vec<u8> {
        create_response_for_parsec(password.expose(), &self.nonce, self.rounds, &self.salt).to_vec()
    }
}

/// Why the login is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// What the server sends belongs to no login.
    NotTheProtocol,
    /// The server asks for a way to log in that is not known, or for a second factor.
    UnknownWay,
    /// The server asks for the password itself and is not verified.
    Readable,
    /// The server does not know the answer that needs no password, or not any longer, and asks for the password itself; it is not
    /// verified (`caching_sha2_password`). So it does where the password is wrong.
    NotCached,
    /// The server asks for more rounds than are computed.
    TooManyRounds,
}

/// A login that is going on.
pub(super) struct Login<'a> {
    password: &'a SecretValue,
    peer: Peer,
    switches: u8,
    awaited: Awaited,
}

/// What a server that keeps to the protocol sends next, beside the end of the login or another way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing.
    End,
    /// Whether it knows our answer (`caching_sha2_password`).
    Cached,
    /// The salt of the password (`parsec`).
    Salt { nonce: [u8; 32] },
}

impl<'a> Login<'a> {
    pub(super) const fn new(password: &'a SecretValue, peer: Peer) -> Self {
        Self { password, peer, switches: 0, awaited: Awaited::End }
    }

    /// What answers the greeting: the way to log in, and the proof. Two ways can be begun with; a server that wants a third says so.
    pub(super) fn begin(&mut self, greeting: &wire::Greeting) -> Result<(AuthPlugin<'static>, Vec<u8>), Refused> {
        let plugin = match AuthPlugin::from_bytes(&greeting.plugin) {
            AuthPlugin::CachingSha2Password => {
                self.awaited = Awaited::Cached;
                AuthPlugin::CachingSha2Password
            }
            _ => AuthPlugin::MysqlNativePassword,
        };
        let proof = self.prove(&plugin, &greeting.nonce)?;
        Ok((plugin, proof))
    }

    /// What follows from the next packet.
    pub(super) fn answer(&mut self, body: &[u8]) -> Result<Step, Refused> {
        match (body, self.awaited) {
            // Not while it owes us a salt: it has seen no proof of the way that it has asked for itself.
            (body @ [0, ..], Awaited::End | Awaited::Cached) if wire::is_ok(body) => Ok(Step::Accepted),
            ([0xff, ..], _) => wire::error(body).map(Step::Rejected).ok_or(Refused::NotTheProtocol),
            // `mysql_old_password` without its name, and a second factor.
            ([0xfe] | [2, ..], _) => Err(Refused::UnknownWay),
            ([0xfe, request @ ..], _) => self.switch(request),
            // The first servers with `parsec` forget the byte that says that this is data.
            ([1, data @ ..], awaited) | (data @ [b'P', ..], awaited @ Awaited::Salt { .. }) => {
                self.go_on(data, awaited)
            }
            _ => Err(Refused::NotTheProtocol),
        }
    }

    /// Logs in as the server asks.
    fn switch(&mut self, request: &[u8]) -> Result<Step, Refused> {
        self.switches += 1;
        let (name, data) = wire::name(request).filter(|_| self.switches <= SWITCHES).ok_or(Refused::NotTheProtocol)?;
        self.awaited = Awaited::End;
        let plugin = AuthPlugin::from_bytes(name).into_owned();
        let proof = match &plugin {
            AuthPlugin::MysqlNativePassword => self.prove(&plugin, &nonce::<20>(data)?)?,
            AuthPlugin::CachingSha2Password => {
                self.awaited = Awaited::Cached;
                self.prove(&plugin, &nonce::<20>(data)?)?
            }
            AuthPlugin::Ed25519 => self.prove(&plugin, &nonce::<32>(data)?)?,
            AuthPlugin::MariadbParsec { .. } => {
                self.awaited = Awaited::Salt { nonce: nonce(data)? };
                Vec::new()
            }
            AuthPlugin::MysqlClearPassword => return self.tell(Refused::Readable),
            AuthPlugin::Other(name) if **name == *b"sha256_password" => return self.tell(Refused::Readable),
            AuthPlugin::MysqlOldPassword | AuthPlugin::Other(_) => return Err(Refused::UnknownWay),
        };
        Ok(Step::Say(Words(proof.into())))
    }

    /// Takes what the way that is logged in by sends on its way.
    fn go_on(&mut self, data: &[u8], awaited: Awaited) -> Result<Step, Refused> {
        self.awaited = Awaited::End;
        match (awaited, data) {
            (Awaited::Cached, [3]) => Ok(Step::Listen),
            (Awaited::Cached, [4]) => self.tell(Refused::NotCached),
            (Awaited::Salt { nonce }, [b'P', exponent, salt @ ..]) => {
                let salt = salt.try_into().map_err(|_| Refused::NotTheProtocol)?;
                if *exponent > EXPONENT {
                    return Err(Refused::TooManyRounds);
                }
                Ok(Step::Sign(Challenge { nonce, salt, rounds: 1024 << exponent }))
            }
            _ => Err(Refused::NotTheProtocol),
        }
    }

    /// Tells the password itself, if the peer may be told.
    fn tell(&self, otherwise: Refused) -> Result<Step, Refused> {
        match self.peer {
            Peer::Verified => {
                let mut password = Zeroizing::new(Vec::with_capacity(self.password.expose().len() + 1));
                password.extend_from_slice(self.password.expose());
                password.push(0);
                Ok(Step::Say(Words(password)))
            }
            Peer::Unverified => Err(otherwise),
        }
    }

    /// The answer to a challenge, from which a password can be guessed and not read.
    fn prove(&self, plugin: &AuthPlugin<'_>, nonce: &[u8]) -> Result<Vec<u8>, Refused> {
        let proof = plugin.gen_data(self.password.text(), nonce).ok_or(Refused::UnknownWay)?;
        Ok(proof.to_vec())
    }
}

/// A challenge of so many bytes, which a zero may end. One of another length makes guessing easier, or belongs to another way.
fn nonce<const LENGTH: usize>(data: &[u8]) -> Result<[u8; LENGTH], Refused> {
    let bare = match data {
        [nonce @ .., 0] if nonce.len() == LENGTH => nonce,
        all => all,
    };
    bare.try_into().map_err(|_| Refused::NotTheProtocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [Peer; 2] = [Peer::Verified, Peer::Unverified];

    /// Packets that bring a login to each of the places where it can be.
    fn places() -> Vec<Vec<u8>> {
        let switch = |name: &str, nonce: usize| [b"\xfe", name.as_bytes(), b"\0", &vec![7; nonce]].concat();
        vec![
            b"\x01\x03".to_vec(),
            switch("mysql_native_password", 20),
            switch("caching_sha2_password", 20),
            switch("client_ed25519", 32),
            switch("parsec", 32),
            switch("mysql_clear_password", 0),
        ]
    }

    #[test]
    fn nothing_that_is_said_makes_us_panic() {
        let password = SecretValue::new(b"reader-secret".to_vec());
        let bytes = [0, 1, 2, 3, 4, 20, b'P', 0xfe, 0xff];
        let mut packets = vec![vec![]];
        for _ in 0..3 {
            let longer = packets.iter().flat_map(|packet| bytes.map(|byte| [&packet[..], &[byte]].concat()));
            packets = longer.chain([vec![]]).collect();
        }
        packets.extend((0..=u8::MAX).map(|exponent| [&[1, b'P', exponent][..], &[7; 18]].concat()));
        for peer in PEERS {
            for place in places() {
                for packet in &packets {
                    let mut login = Login::new(&password, peer);
                    let _ = login.answer(&place);
                    let _ = login.answer(packet);
                }
            }
        }
    }

    #[test]
    fn rounds_are_bounded_before_anything_is_computed() {
        let password = SecretValue::new(b"reader-secret".to_vec());
        for exponent in 0..=u8::MAX {
            let mut login = Login::new(&password, Peer::Verified);
            login.answer(&places()[4]).unwrap();
            match login.answer(&[&[1, b'P', exponent][..], &[7; 18]].concat()) {
                Ok(Step::Sign(challenge)) => assert!(challenge.rounds <= 65_536 && exponent <= EXPONENT),
                other => assert_eq!((other, exponent > EXPONENT), (Err(Refused::TooManyRounds), true)),
            }
        }
    }

    #[test]
    fn the_password_itself_is_told_to_a_verified_peer_only() {
        let password = SecretValue::new(b"reader-secret".to_vec());
        for peer in PEERS {
            let mut told = Vec::new();
            for place in places() {
                for then in [&b"\x01\x04"[..], &place] {
                    let mut login = Login::new(&password, peer);
                    let answers = [login.answer(&place), login.answer(then)];
                    told.extend(answers.into_iter().flatten().filter(
                        |step| matches!(step, Step::Say(words) if words.expose().windows(6).any(|part| part == b"secret")),
                    ));
                }
            }
            assert_eq!(told.is_empty(), peer == Peer::Unverified, "{told:?}");
            assert!(told.iter().all(|step| format!("{step:?}") == "Say(Words(…))"), "it is printed");
        }
    }
}
