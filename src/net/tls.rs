//! TLS: how much is asked for, whom to trust, and who we are. It turns a Connection's `tls` into a rustls configuration with the
//! one provider of this program. It does no I/O, and a private key is never printed.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject as _},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use secrecy::zeroize::Zeroize as _;

/// Most certificates in one PEM file: the longest chains have five, and the largest private bundles a few dozen.
pub const CERTIFICATES_LIMIT: usize = 64;

/// How much TLS is asked for. Every mode but `Disable` refuses a server that does not offer TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// No TLS: what is sent can be read on the way.
    Disable,
    /// TLS, without a look at the certificate.
    Require,
    /// TLS, with a certificate of a trusted CA, whatever its name.
    VerifyCa,
    /// TLS, with a certificate of a trusted CA for the server's name.
    #[default]
    VerifyFull,
}

/// How TLS is done for one connection.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// How much is asked for.
    pub mode: Mode,
    /// Whom to trust.
    pub roots: Roots,
    /// The client certificate to show where the server asks for one.
    pub identity: Option<Identity>,
    /// The name to verify instead of the host.
    pub server_name: Option<String>,
}

impl Tls {
    /// Whether the peer that answers is known to be the one that is meant, so that it may be told a password.
    ///
    /// It is with `VerifyFull`. It is with `VerifyCa` too where the CA is one of the user's own: whoever holds a certificate
    /// of it was let in by the user. With the system's roots `VerifyCa` verifies nothing that matters, since everybody can
    /// have a certificate of a public CA.
    pub const fn peer_is_verified(&self) -> bool {
        match (self.mode, &self.roots) {
            (Mode::VerifyFull, Roots::System | Roots::Bundle(_)) | (Mode::VerifyCa, Roots::Bundle(_)) => true,
            (Mode::VerifyCa, Roots::System) | (Mode::Disable | Mode::Require, Roots::System | Roots::Bundle(_)) => {
                false
            }
        }
    }
}

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The CAs that the operator's system trusts.
    #[default]
    System,
    /// The CAs of one bundle, and no others.
    Bundle(Bundle),
}

impl Roots {
    /// The bundle in `text`, PEM with 1 to [`CERTIFICATES_LIMIT`] certificates. Anything else in it is left out.
    ///
    /// # Errors
    /// What makes it unusable.
    pub fn from_pem(text: &[u8]) -> Result<Self, Unusable> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(text)? {
            store.add(certificate).map_err(|_| Unusable::MalformedCertificate)?;
        }
        Ok(Self::Bundle(Bundle(Arc::new(store))))
    }
}

/// The CAs of one bundle.
#[derive(Clone)]
pub struct Bundle(Arc<RootCertStore>);

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({} certificates)", self.0.len())
    }
}

/// A client certificate and its private key. The key's text is wiped after it was read, the key itself when it is dropped.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// The identity of a PEM certificate chain, the client's own first, and a PEM key in PKCS#8, PKCS#1 or SEC1 form.
    ///
    /// # Errors
    /// What makes it unusable.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, Unusable> {
        let chain = certificates(certificate)?;
        let mut key = private_key(key)?;
        let signer = aws_lc_rs::sign::any_supported_type(&key);
        key.zeroize();
        let identity = CertifiedKey::new(chain, signer.map_err(|_| Unusable::UnsupportedPrivateKey)?);
        match identity.keys_match() {
            Ok(()) => Ok(Self(Arc::new(identity))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(Unusable::PrivateKeyMismatch),
            Err(_) => Err(Unusable::MalformedCertificate),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Why a CA bundle or a client certificate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is no certificate in it.
    NoCertificate,
    /// There are more than [`CERTIFICATES_LIMIT`] certificates in it.
    TooManyCertificates,
    /// Its PEM form is broken.
    MalformedPem,
    /// A certificate in it cannot be read.
    MalformedCertificate,
    /// There is no private key in it.
    NoPrivateKey,
    /// The private key is encrypted.
    EncryptedPrivateKey,
    /// The private key is of a kind that cannot be used.
    UnsupportedPrivateKey,
    /// The private key is not the one of the certificate.
    PrivateKeyMismatch,
}

impl Unusable {
    /// The reason in our words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no PEM certificate",
            Self::TooManyCertificates => "more than 64 certificates",
            Self::MalformedPem => "broken PEM",
            Self::MalformedCertificate => "a certificate that cannot be read",
            Self::NoPrivateKey => "no PEM private key",
            Self::EncryptedPrivateKey => "an encrypted private key",
            Self::UnsupportedPrivateKey => "a private key that is not RSA of 2048 to 8192 bits, ECDSA or Ed25519",
            Self::PrivateKeyMismatch => "a private key that does not belong to the certificate",
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Unusable {}

/// Whether the server asked for a client certificate, and what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    /// It did not ask.
    NotAsked,
    /// It asked, and we have none.
    NoneShown,
    /// It asked, and was shown ours.
    Shown,
}

/// Remembers the last answer to a server that asked for a client certificate. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness(Arc<AtomicU8>);

impl Witness {
    pub(super) fn seen(&self) -> ClientCertificate {
        match self.0.load(Ordering::Acquire) {
            0 => ClientCertificate::NotAsked,
            1 => ClientCertificate::NoneShown,
            _ => ClientCertificate::Shown,
        }
    }

    /// Forgets an earlier server.
    pub(super) fn begin_anew(&self) {
        self.saw(ClientCertificate::NotAsked);
    }

    fn saw(&self, answer: ClientCertificate) {
        let stored = match answer {
            ClientCertificate::NotAsked => 0,
            ClientCertificate::NoneShown => 1,
            ClientCertificate::Shown => 2,
        };
        self.0.store(stored, Ordering::Release);
    }
}

/// What every TLS configuration of the process shares: the provider, and the system's roots, read once when first needed.
#[derive(Debug)]
pub(super) struct Ground {
    provider: Arc<CryptoProvider>,
    system: OnceLock<Arc<RootCertStore>>,
}

/// No configuration can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Impossible {
    /// The mode is `Disable`: there is nothing to configure.
    Disabled,
    /// The operator's system trusts nobody.
    NoSystemRoots,
    /// The provider cannot do TLS 1.2 and 1.3.
    Provider,
}

impl Ground {
    pub(super) fn new() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), system: OnceLock::new() }
    }

    /// The configuration for one probe. It shares roots and keys with all others, so making it costs microseconds, and it
    /// resumes no session: every probe is a full handshake.
    pub(super) fn config(&self, tls: &Tls, witness: &Witness) -> Result<ClientConfig, Impossible> {
        let algorithms = self.provider.signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = match tls.mode {
            Mode::Disable => return Err(Impossible::Disabled),
            Mode::Require => Arc::new(Lenient { trust: Trust::Everybody, algorithms }),
            Mode::VerifyCa => Arc::new(Lenient { trust: Trust::Signed(self.roots(&tls.roots)?), algorithms }),
            Mode::VerifyFull => {
                WebPkiServerVerifier::builder_with_provider(self.roots(&tls.roots)?, Arc::clone(&self.provider))
                    .build()
                    .map_err(|_| Impossible::NoSystemRoots)?
            }
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|_| Impossible::Provider)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(Answer { identity: tls.identity.clone(), witness: witness.clone() }));
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn roots(&self, roots: &Roots) -> Result<Arc<RootCertStore>, Impossible> {
        let store = match roots {
            Roots::Bundle(bundle) => Arc::clone(&bundle.0),
            Roots::System => Arc::clone(self.system.get_or_init(|| {
                let mut store = RootCertStore::empty();
                // What of the system's store cannot be read is left out: the rest is still worth trusting.
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Arc::new(store)
            })),
        };
        if store.is_empty() { Err(Impossible::NoSystemRoots) } else { Ok(store) }
    }
}

/// Answers a server that asks for a client certificate, and remembers that it did.
#[derive(Debug)]
struct Answer {
    identity: Option<Identity>,
    witness: Witness,
}

impl ResolvesClientCert for Answer {
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = self.identity.as_ref().filter(|identity| identity.0.key.choose_scheme(schemes).is_some());
        self.witness.saw(match usable {
            Some(_) => ClientCertificate::Shown,
            None => ClientCertificate::NoneShown,
        });
        usable.map(|identity| Arc::clone(&identity.0))
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

/// A verifier that does not look at names. It always checks that the peer holds the key of the certificate it shows.
#[derive(Debug)]
struct Lenient {
    trust: Trust,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Trust {
    Everybody,
    Signed(Arc<RootCertStore>),
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Everybody => {}
            Trust::Signed(roots) => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                verify_server_cert_signed_by_trust_anchor(
                    &certificate,
                    roots,
                    intermediates,
                    now,
                    self.algorithms.all,
                )?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificates in a PEM text, 1 to [`CERTIFICATES_LIMIT`].
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text)
        .take(CERTIFICATES_LIMIT + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| Unusable::MalformedPem)?;
    match found.len() {
        0 => Err(Unusable::NoCertificate),
        1..=CERTIFICATES_LIMIT => Ok(found),
        _ => Err(Unusable::TooManyCertificates),
    }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, Unusable> {
    // Both forms of encryption say so in capital letters: in the section's name, or in the header `Proc-Type: 4,ENCRYPTED`.
    let encrypted = b"ENCRYPTED";
    if text.windows(encrypted.len()).any(|part| part == encrypted) {
        return Err(Unusable::EncryptedPrivateKey);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => Unusable::NoPrivateKey,
        _ => Unusable::MalformedPem,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_RSA_SHA256};

    use super::*;
    use crate::net::stand_in::{Authority, Issued};

    fn bundle(certificates: usize) -> String {
        Authority::new().pem.repeat(certificates)
    }

    fn identity(issued: &Issued, key: &str) -> Result<Identity, Unusable> {
        Identity::from_pem(issued.certificate.as_bytes(), key.as_bytes())
    }

    /// PEM of `der`, made here since the keys' usual libraries write one form each.
    fn pem(label: &str, der: &[u8]) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let encoded: String = der
            .chunks(3)
            .flat_map(|chunk| {
                let bits =
                    chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
                let sign = move |n: usize| {
                    if n > chunk.len() { '=' } else { char::from(alphabet[(bits >> (18 - 6 * n) & 63) as usize]) }
                };
                (0..4).map(sign)
            })
            .collect();
        format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n")
    }

    #[test]
    fn a_bundle_holds_one_to_sixty_four_certificates() {
        for (count, expected) in [(1, Ok(1)), (64, Ok(64)), (65, Err(Unusable::TooManyCertificates))] {
            let counted = Roots::from_pem(bundle(count).as_bytes()).map(|roots| match roots {
                Roots::Bundle(bundle) => bundle.0.len(),
                Roots::System => 0,
            });
            assert_eq!(counted, expected);
        }
        let with_notes = format!("# our CA\r\n{}\nthe end", bundle(2).replace('\n', "\r\n"));
        assert!(Roots::from_pem(with_notes.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_a_bundle_is_refused_in_our_words() {
        let broken = bundle(1).replacen('M', "?", 1);
        let cut = bundle(1).replace("-----END CERTIFICATE-----", "");
        for (text, expected) in [
            (String::new(), Unusable::NoCertificate),
            ("hunter2".to_owned(), Unusable::NoCertificate),
            (KeyPair::generate().unwrap().serialize_pem(), Unusable::NoCertificate),
            (broken, Unusable::MalformedPem),
            (cut, Unusable::MalformedPem),
            (pem("CERTIFICATE", b"hunter2"), Unusable::MalformedCertificate),
        ] {
            let error = Roots::from_pem(text.as_bytes()).unwrap_err();
            assert_eq!(error, expected);
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_key_is_read_in_each_of_its_forms() {
        let authority = Authority::new();
        let issued = authority.server("client");
        assert!(identity(&issued, &issued.key).is_ok(), "PKCS#8");

        let pkcs8 = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let pair = aws_lc_rs_signature(pkcs8.secret_der());
        assert!(identity(&issued, &pair).is_ok(), "SEC1");

        let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let issued = authority.issue_for(&rsa, "client");
        // The PKCS#8 form of an RSA key of 2048 bits is 26 bytes of frame and the PKCS#1 form.
        let pkcs1 = pem("RSA PRIVATE KEY", &rsa.serialized_der()[26..]);
        assert!(identity(&issued, &pkcs1).is_ok(), "PKCS#1");
        let with_parameters =
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{pkcs1}");
        assert!(identity(&issued, &with_parameters).is_ok(), "something before the key");
    }

    fn aws_lc_rs_signature(pkcs8: &[u8]) -> String {
        use ::aws_lc_rs::{encoding::AsDer as _, signature};
        let pair = signature::EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).unwrap();
        pem("EC PRIVATE KEY", pair.private_key().as_der().unwrap().as_ref())
    }

    #[test]
    fn a_key_that_cannot_be_used_is_refused_in_our_words() {
        let issued = Authority::new().server("client");
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        for (key, expected) in [
            (String::new(), Unusable::NoPrivateKey),
            (issued.certificate.clone(), Unusable::NoPrivateKey),
            (pem("ENCRYPTED PRIVATE KEY", b"hunter2"), Unusable::EncryptedPrivateKey),
            (legacy.to_owned(), Unusable::EncryptedPrivateKey),
            (pem("PRIVATE KEY", b"hunter2"), Unusable::UnsupportedPrivateKey),
            ("-----BEGIN PRIVATE KEY-----\nhunter2\n".to_owned(), Unusable::MalformedPem),
            (KeyPair::generate().unwrap().serialize_pem(), Unusable::PrivateKeyMismatch),
        ] {
            let error = identity(&issued, &key).unwrap_err();
            assert_eq!(error, expected, "{key}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        let not_a_certificate = Issued { certificate: pem("CERTIFICATE", b"hunter2"), key: issued.key.clone() };
        assert_eq!(identity(&not_a_certificate, &issued.key).unwrap_err(), Unusable::MalformedCertificate);
    }

    #[test]
    fn a_password_is_told_to_verified_peers_only() {
        let own = Authority::new().roots();
        for (mode, system, bundle) in [
            (Mode::Disable, false, false),
            (Mode::Require, false, false),
            (Mode::VerifyCa, false, true),
            (Mode::VerifyFull, true, true),
        ] {
            let verified = |roots: &Roots| Tls { mode, roots: roots.clone(), ..Tls::default() }.peer_is_verified();
            assert_eq!((verified(&Roots::System), verified(&own)), (system, bundle), "{mode:?}");
        }
    }

    #[test]
    fn nothing_of_a_key_shows_in_debug() {
        let issued = Authority::new().server("client");
        let tls = Tls { identity: Some(issued.identity()), roots: Authority::new().roots(), ..Tls::default() };
        let shown = format!("{tls:?}");
        assert!(shown.contains("Identity(…)") && shown.contains("Bundle(1 certificates)"), "{shown}");
        let config = Ground::new().config(&tls, &Witness::default()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        // The bytes of a key, as derived formatting would list them.
        let listed: Vec<String> = key.secret_der()[40..48].iter().map(ToString::to_string).collect();
        assert!(!format!("{config:?}").contains(&listed.join(", ")));
    }

    #[test]
    fn every_probe_is_a_full_handshake_without_a_log_of_keys() {
        let tls = Tls { roots: Authority::new().roots(), ..Tls::default() };
        let config = Ground::new().config(&tls, &Witness::default()).unwrap();
        assert!(!config.enable_early_data);
        assert!(!config.key_log.will_log("CLIENT_RANDOM"));
        assert!(format!("{:?}", config.resumption).contains("Disabled"), "{:?}", config.resumption);
    }

    #[test]
    fn a_disabled_mode_has_no_configuration() {
        let tls = Tls { mode: Mode::Disable, ..Tls::default() };
        assert_eq!(Ground::new().config(&tls, &Witness::default()).unwrap_err(), Impossible::Disabled);
    }
}
