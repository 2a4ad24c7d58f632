//! JSON Web Tokens that an RSA key signs (RS256 of RFC 7518), and the keys that sign them, as Secrets hold them.
//!
//! It knows no clock: whoever makes the claims says when that is. To unlock an encrypted key takes up to a second of work, so a look
//! does it, on a thread of its own.

use aws_lc_rs::{
    digest,
    encoding::AsDer as _,
    rand::SystemRandom,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::HeaderMap;
use pkcs8::EncryptedPrivateKeyInfo;
use rustls::pki_types::{
    PrivateKeyDer,
    pem::{self, PemObject as _},
};
use secrecy::zeroize::Zeroize as _;
use serde::Serialize;
use serde_json::json;

use crate::{
    failure::{Failure, FailureClass, Setting},
    net::http::date,
    secret::SecretValue,
};

/// Most rounds of PBKDF2: OpenSSL takes 2,048 where nobody asks for more, and a million are about a second of work.
const ROUNDS_LIMIT: u32 = 1_000_000;

/// How far apart two clocks may be, in seconds: services take a token that was made a minute ago, and none that is made in future.
const SKEW_LIMIT: u64 = 60;

/// A private key as a Secret holds it.
pub struct PrivateKey {
    der: SecretValue,
    form: Form,
}

/// How the key is written.
enum Form {
    Pkcs8,
    Pkcs1,
    /// PKCS#8 in the envelope of PKCS#5 (PBES2).
    Encrypted(SecretValue),
}

impl PrivateKey {
    /// The first key in a PEM text: PKCS#8, encrypted or not, or PKCS#1. A passphrase is used where the key is encrypted.
    ///
    /// # Errors
    /// What makes it unusable. Whether the passphrase is right is seen by [`unlock`](Self::unlock) only.
    pub fn from_pem(text: &[u8], passphrase: Option<SecretValue>) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(text).map_err(|_| Unusable::NoKey)?;
        if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(Unusable::Encryption);
        }
        // The two forms of PKCS#8 are framed alike, but for this word, with which the reader of PEM leaves the key out.
        let framed = SecretValue::new(text.replace(" ENCRYPTED PRIVATE KEY-----", " PRIVATE KEY-----").into_bytes());
        let encrypted = framed.expose().len() != text.len();
        let mut key = PrivateKeyDer::from_pem_slice(framed.expose()).map_err(|error| match error {
            pem::Error::NoItemsFound => Unusable::NoKey,
            _ => Unusable::Pem,
        })?;
        let der = SecretValue::new(key.secret_der().to_vec());
        let form = match (&key, encrypted, passphrase) {
            (PrivateKeyDer::Pkcs8(_), true, None) => Err(Unusable::NoPassphrase),
            (PrivateKeyDer::Pkcs8(_), true, Some(passphrase)) => {
                envelope(der.expose()).map(|_| Form::Encrypted(passphrase))
            }
            (PrivateKeyDer::Pkcs8(_), false, _) => Ok(Form::Pkcs8),
            (PrivateKeyDer::Pkcs1(_), false, _) => Ok(Form::Pkcs1),
            _ => Err(Unusable::NotRsa),
        };
        key.zeroize();
        let read = Self { der, form: form? };
        if !encrypted {
            read.unlock()?;
        }
        Ok(read)
    }

    /// The key, ready to sign. It blocks: an encrypted one takes up to a million rounds of PBKDF2.
    ///
    /// # Errors
    /// What makes it unusable, a wrong passphrase among it.
    pub fn unlock(&self) -> Result<Signer, Unusable> {
        let pair = match &self.form {
            Form::Pkcs8 => RsaKeyPair::from_pkcs8(self.der.expose()),
            Form::Pkcs1 => RsaKeyPair::from_der(self.der.expose()),
            Form::Encrypted(passphrase) => {
                let plain = envelope(self.der.expose())?.decrypt(passphrase.expose());
                RsaKeyPair::from_pkcs8(plain.map_err(|_| Unusable::Passphrase)?.as_bytes())
            }
        };
        pair.map(Signer).map_err(|_| Unusable::NotRsa)
    }
}

/// The envelope of an encrypted key, if it is one that may be opened: what it asks for is bounded before anything is computed.
fn envelope(der: &[u8]) -> Result<EncryptedPrivateKeyInfo<'_>, Unusable> {
    let envelope = EncryptedPrivateKeyInfo::try_from(der).map_err(|_| Unusable::Encryption)?;
    let rounds =
        envelope.encryption_algorithm.pbes2().and_then(|scheme| scheme.kdf.pbkdf2()).map(|kdf| kdf.iteration_count);
    match rounds {
        Some(rounds) if rounds <= ROUNDS_LIMIT => Ok(envelope),
        Some(_) => Err(Unusable::TooManyRounds),
        None => Err(Unusable::Encryption),
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// An RSA key that signs.
pub struct Signer(RsaKeyPair);

impl Signer {
    /// The fingerprint of the public key: SHA-256 of its `SubjectPublicKeyInfo`, in base64.
    ///
    /// # Errors
    /// `Internal` where the key cannot be written.
    pub fn fingerprint(&self) -> Result<String, Failure> {
        let public = self.0.public_key().as_der().map_err(|_| Failure::new(FailureClass::Internal))?;
        Ok(BASE64_STANDARD.encode(digest::digest(&digest::SHA256, public.as_ref())))
    }

    /// The token with these claims, in its compact form.
    ///
    /// # Errors
    /// `Internal` where the claims are no JSON, or the signature cannot be made.
    pub fn sign(&self, claims: &impl Serialize) -> Result<SecretValue, Failure> {
        self.sign_as(None, claims)
    }

    /// As [`sign`](Self::sign), for a service that finds the public key by this id, which stands in the header as `kid`.
    ///
    /// # Errors
    /// As for [`sign`](Self::sign).
    pub fn sign_as(&self, id: Option<&str>, claims: &impl Serialize) -> Result<SecretValue, Failure> {
        let internal = || Failure::new(FailureClass::Internal);
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = id {
            header["kid"] = json!(id);
        }
        let claims = serde_json::to_vec(claims).map_err(|_| internal())?;
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", part(header.to_string().as_bytes()), part(&claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| internal())?;
        Ok(SecretValue::new(format!("{signed}.{}", part(&signature)).into_bytes()))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// Why a private key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is no private key in it.
    NoKey,
    /// Its PEM form is broken.
    Pem,
    /// It is none of RSA, or too short or too long.
    NotRsa,
    /// It is encrypted in a way that is not supported.
    Encryption,
    /// It is encrypted with more rounds than are computed.
    TooManyRounds,
    /// It is encrypted, and there is no passphrase.
    NoPassphrase,
    /// The passphrase is not its.
    Passphrase,
}

impl Unusable {
    /// The failure that this is: about the Secret that `about` names, in whose key `name` it stands.
    pub fn failure(self, name: &'static str, about: &Setting) -> Failure {
        Failure::new(FailureClass::CredentialsMalformed).about(about.clone()).word(name).advice(match self {
            Self::NoKey => "it must be a private key in PEM, from its BEGIN line to its END line",
            Self::Pem => "its PEM form is broken; store the file as it is, with its line breaks",
            Self::NotRsa => "it must be a key of RSA of 2048 to 8192 bits, in the form of PKCS#8 or PKCS#1",
            Self::Encryption => {
                "its encryption is not supported; take PKCS#8 with PBES2, PBKDF2 and AES or 3DES in CBC mode, as `openssl pkcs8 -topk8` writes it"
            }
            Self::TooManyRounds => "it is encrypted with more than 1,000,000 rounds of PBKDF2; take fewer",
            Self::NoPassphrase => "it is encrypted; add its passphrase",
            Self::Passphrase => "it cannot be decrypted; correct its passphrase",
        })
    }
}

/// Whether the clock of who sent these headers is more than a minute away from `now`, ours in seconds since 1970: to such a peer a
/// token that was just made is one of another time. Who does not say its time is believed.
pub fn clocks_differ(headers: &HeaderMap, now: u64) -> bool {
    let theirs = date(headers).and_then(|date| u64::try_from(date.as_second()).ok());
    theirs.is_some_and(|theirs| theirs.abs_diff(now) > SKEW_LIMIT)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rsa::KeySize,
        signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
    };
    use http::header::DATE;
    use pkcs8::{
        Document, LineEnding, PrivateKeyInfo, SecretDocument,
        pkcs5::{pbes2, scrypt},
    };
    use serde_json::Value;

    use super::*;

    fn pair() -> RsaKeyPair {
        RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
    }

    fn pem(label: &'static str, der: &[u8]) -> String {
        Document::try_from(der).unwrap().to_pem(label, LineEnding::LF).unwrap()
    }

    fn encrypted(pkcs8: &[u8], scheme: pbes2::Parameters<'_>) -> String {
        let info = PrivateKeyInfo::try_from(pkcs8).unwrap();
        let document = info.encrypt_with_params(scheme, "hunter2").unwrap();
        document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap().to_string()
    }

    fn read(text: &str, passphrase: Option<&str>) -> Result<Signer, Unusable> {
        let passphrase = passphrase.map(|text| SecretValue::new(text.as_bytes().to_vec()));
        PrivateKey::from_pem(text.as_bytes(), passphrase)?.unlock()
    }

    #[test]
    fn a_token_is_what_the_key_has_signed() {
        let pair = pair();
        let signer = read(&pem("PRIVATE KEY", pair.as_der().unwrap().as_ref()), None).unwrap();
        let claims = json!({"iss": "A.B", "iat": 7});
        let token = signer.sign(&claims).unwrap();
        let text = token.text().unwrap();
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let (head, body) = signed.split_once('.').unwrap();
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&decoded(head)).unwrap(), json!({"alg": "RS256", "typ": "JWT"}));
        assert_eq!(serde_json::from_slice::<Value>(&decoded(body)).unwrap(), claims);
        let named = signer.sign_as(Some("7\"x"), &claims).unwrap();
        let head = decoded(named.text().unwrap().split('.').next().unwrap());
        let expected = json!({"alg": "RS256", "typ": "JWT", "kid": "7\"x"});
        assert_eq!(serde_json::from_slice::<Value>(&head).unwrap(), expected);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        assert!(public.verify(signed.as_bytes(), &decoded(signature)).is_ok());
        assert!(public.verify(b"something else", &decoded(signature)).is_err());
    }

    #[test]
    fn a_key_is_read_in_each_of_its_forms() {
        let pair = pair();
        let pkcs8 = pair.as_der().unwrap();
        // The PKCS#8 form of a key of 2048 bits is 26 bytes of frame and the PKCS#1 form.
        let pkcs1 = pem("RSA PRIVATE KEY", &pkcs8.as_ref()[26..]);
        let plain = pem("PRIVATE KEY", pkcs8.as_ref());
        let fingerprint = read(&plain, None).unwrap().fingerprint().unwrap();
        let spki = pair.public_key().as_der().unwrap();
        let expected = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, spki.as_ref()));
        assert_eq!(fingerprint, expected);
        let (salt, iv, short) = ([7; 16], [8; 16], [9; 8]);
        let sha256 = pbes2::Parameters::pbkdf2_sha256_aes256cbc(2048, &salt, &iv).unwrap();
        let sha1 = pbes2::Parameters {
            kdf: pbes2::Pbkdf2Params { prf: pbes2::Pbkdf2Prf::HmacWithSha1, ..*sha256.kdf.pbkdf2().unwrap() }.into(),
            encryption: pbes2::EncryptionScheme::DesEde3Cbc { iv: &short },
        };
        for (text, passphrase) in [
            (pkcs1, None),
            (plain.replace('\n', "\r\n"), None),
            (format!("a note\n{plain}\nand another"), Some("of no use")),
            (encrypted(pkcs8.as_ref(), sha256), Some("hunter2")),
            (encrypted(pkcs8.as_ref(), sha1), Some("hunter2")),
        ] {
            assert_eq!(read(&text, passphrase).unwrap().fingerprint().unwrap(), fingerprint);
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_refused_in_our_words() {
        let pkcs8 = pair().as_der().unwrap();
        let (salt, iv) = ([7; 16], [8; 16]);
        let plain = pem("PRIVATE KEY", pkcs8.as_ref());
        let rounds = |rounds| pbes2::Parameters::pbkdf2_sha256_aes256cbc(rounds, &salt, &iv).unwrap();
        let locked = encrypted(pkcs8.as_ref(), rounds(1));
        let scrypt = pbes2::Parameters::scrypt_aes256cbc(scrypt::Params::default(), &salt, &iv).unwrap();
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        for (text, passphrase, expected) in [
            ("", None, Unusable::NoKey),
            ("hunter2", None, Unusable::NoKey),
            (&plain[..400], None, Unusable::Pem),
            (&plain.replace('\n', " "), None, Unusable::Pem),
            (&elliptic, None, Unusable::NotRsa),
            (&pem("PRIVATE KEY", &[0x30, 0]), None, Unusable::NotRsa),
            (legacy, Some("hunter2"), Unusable::Encryption),
            (&pem("ENCRYPTED PRIVATE KEY", &[0x30, 0]), Some("hunter2"), Unusable::Encryption),
            (&empty(rounds(ROUNDS_LIMIT + 1)), Some("hunter2"), Unusable::TooManyRounds),
            (&empty(scrypt), Some("hunter2"), Unusable::Encryption),
            (&locked, None, Unusable::NoPassphrase),
            (&locked, Some("hunter3"), Unusable::Passphrase),
        ] {
            let unusable = read(text, passphrase).unwrap_err();
            assert_eq!(unusable, expected);
            let failure = unusable.failure("privateKey", &Setting::from_spec("Secret orders"));
            let shown = format!("{failure:?} {}", failure.message());
            assert!(shown.contains("Secret orders") && !shown.contains("hunter"), "{shown}");
        }
    }

    /// An envelope around nothing.
    fn empty(scheme: pbes2::Parameters<'_>) -> String {
        let envelope = EncryptedPrivateKeyInfo { encryption_algorithm: scheme.into(), encrypted_data: &[0; 16] };
        let document = SecretDocument::try_from(envelope).unwrap();
        document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap().to_string()
    }

    #[test]
    fn nothing_of_a_key_shows_in_debug() {
        let key = PrivateKey::from_pem(pem("PRIVATE KEY", pair().as_der().unwrap().as_ref()).as_bytes(), None).unwrap();
        assert_eq!(format!("{key:?} {:?}", key.unlock().unwrap()), "PrivateKey(…) Signer(…)");
    }

    #[test]
    fn clocks_differ_where_they_are_more_than_a_minute_apart() {
        let mut headers = HeaderMap::new();
        assert!(!clocks_differ(&headers, 0));
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        let then = 784_111_777;
        for (now, differ) in
            [(then, false), (then - 60, false), (then + 60, false), (then - 61, true), (then + 61, true)]
        {
            assert_eq!(clocks_differ(&headers, now), differ, "{now}");
        }
        headers.insert(DATE, "hunter2".parse().unwrap());
        assert!(!clocks_differ(&headers, 0));
    }
}
