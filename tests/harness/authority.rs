//! A certificate authority of a test, and what it signs.

use std::sync::Arc;

use connection_operator::net::tls::Roots;
use rustls::{pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tokio_rustls::TlsAcceptor;

/// A CA, and what it signs.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// Its certificate.
    pub pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: rcgen::Issuer::new(parameters, key), pem, der }
    }

    /// Who trusts it and nobody else.
    pub fn roots(&self) -> Roots {
        Roots::from_pem(self.pem.as_bytes()).expect("an authority")
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let parameters = rcgen::CertificateParams::new(names).expect("names");
        (parameters.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A client's certificate and its key.
    pub fn client(&self) -> (String, String) {
        self.certified(&["reader"])
    }

    /// A certificate for `names` and its key, as PEM.
    pub fn certified(&self, names: &[&str]) -> (String, String) {
        let (certificate, key) = self.issue(names);
        (certificate.pem(), key.serialize_pem())
    }

    /// The TLS side of a server that has a certificate for `names`.
    pub fn acceptor(&self, names: &[&str], clients: Clients) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.config(names, clients, rustls::DEFAULT_VERSIONS)))
    }

    /// The same for some versions of TLS, as what rustls takes.
    pub fn config(
        &self,
        names: &[&str],
        clients: Clients,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (certificate, key) = self.issue(names);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("versions");
        let builder = match clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Ours => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(self.der.clone()).expect("a CA");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair")
    }
}

/// Whom a server lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Everybody.
    Anybody,
    /// Who shows a certificate of the same authority.
    Ours,
}
