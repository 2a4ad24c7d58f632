//! What tests beside the code talk to: authorities, servers that misbehave, and a resolver with a fixed table. It is not compiled
//! into the program.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Network, Policy, World,
    resolve::Resolver,
    tls::{Identity, Roots},
};

/// A fixed table of names; a name with no addresses is never answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(BTreeMap<String, Vec<IpAddr>>);

impl Table {
    pub(crate) fn of(names: &[(&str, &[&str])]) -> Arc<Self> {
        let entry = |(name, addresses): &(&str, &[&str])| {
            ((*name).to_owned(), addresses.iter().map(|address| address.parse().unwrap()).collect())
        };
        Arc::new(Self(names.iter().map(entry).collect()))
    }
}

#[async_trait]
impl Resolver for Table {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match self.0.get(host) {
            Some(addresses) if addresses.is_empty() => std::future::pending().await,
            Some(addresses) => Ok(addresses.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A world in which 127.0.0.0/8 may be dialled.
pub(crate) fn local_world(names: &[(&str, &[&str])]) -> Arc<World> {
    World::new(Policy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()), Table::of(names), 600)
}

/// A network of such a world.
pub(crate) fn local_network(names: &[(&str, &[&str])]) -> Network {
    local_world(names).network("shop")
}

/// A port of loopback that is taken and not listened at, for as long as the socket is there: no other test can open it meanwhile.
pub(crate) fn taken() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A server on loopback that counts the connections made to it. It ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Serves every connection with `behave`.
pub(crate) async fn serve<F, B>(behave: B) -> Server
where
    B: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    serve_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), behave).await
}

/// As [`serve`], at an address.
pub(crate) async fn serve_at<F, B>(address: SocketAddr, behave: B) -> Server
where
    B: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(behave(stream));
        }
    });
    Server { address, accepted }
}

/// Never says a word, and never closes.
pub(crate) async fn stay_silent(stream: TcpStream) {
    std::future::pending::<()>().await;
    drop(stream);
}

/// Closes at once.
pub(crate) async fn close(stream: TcpStream) {
    drop(stream);
}

/// Sends `bytes` and waits for the peer to leave.
pub(crate) async fn send(mut stream: TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    Now,
    Past,
    Future,
}

/// A CA that issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose, validity: Validity) -> Issued {
        self.sign(&KeyPair::generate().unwrap(), name, purpose, validity)
    }

    /// A client's certificate for a key that was made elsewhere.
    pub(crate) fn issue_for(&self, key: &KeyPair, name: &str) -> Issued {
        self.sign(key, name, ExtendedKeyUsagePurpose::ClientAuth, Validity::Now)
    }

    fn sign(&self, key: &KeyPair, name: &str, purpose: ExtendedKeyUsagePurpose, validity: Validity) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        (params.not_before, params.not_after) = match validity {
            Validity::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1)),
            Validity::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
            Validity::Future => (date_time_ymd(2120, 1, 1), date_time_ymd(2121, 1, 1)),
        };
        let certificate = params.signed_by(key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    pub(crate) fn server(&self, name: &str) -> Issued {
        self.issue(name, ExtendedKeyUsagePurpose::ServerAuth, Validity::Now)
    }

    pub(crate) fn client(&self) -> Identity {
        self.issue("reader", ExtendedKeyUsagePurpose::ClientAuth, Validity::Now).identity()
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem(self.pem.as_bytes()).unwrap()
    }
}

impl Issued {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    /// The certificate of this one with the key of `other`: what a thief of a certificate could show.
    pub(crate) fn with_key_of(self, other: Self) -> Self {
        Self { certificate: self.certificate, key: other.key }
    }
}

/// A TLS server that answers `hello` after each handshake, and asks for a client certificate of `clients` where there is one.
pub(crate) async fn serve_tls(
    issued: &Issued,
    clients: Option<&Authority>,
    version: &'static SupportedProtocolVersion,
) -> Server {
    serve_secured(acceptor(issued, clients, version), |mut stream| async move {
        let _ = stream.write_all(b"hello").await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// Serves every connection with `behave` once its handshake is done.
pub(crate) async fn serve_secured<F, B>(acceptor: TlsAcceptor, behave: B) -> Server
where
    B: Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let behave = Arc::new(behave);
    serve(move |tcp| {
        let (acceptor, behave) = (acceptor.clone(), Arc::clone(&behave));
        async move {
            if let Ok(stream) = acceptor.accept(tcp).await {
                behave(stream).await;
            }
        }
    })
    .await
}

/// The TLS side of a server that asks for a client certificate of `clients` where there is one.
pub(crate) fn acceptor(
    issued: &Issued,
    clients: Option<&Authority>,
    version: &'static SupportedProtocolVersion,
) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(rustls::pki_types::CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
    // Made part by part, so that a key that does not belong to the certificate is not refused here.
    let certified = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).unwrap());
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    TlsAcceptor::from(Arc::new(config))
}

/// Ways of writing forbidden addresses: every mix of decimal, octal and hexadecimal with one to four parts that a resolver
/// understands, and every IPv6 form of the same addresses.
pub(crate) fn forbidden_forms() -> Vec<String> {
    let mut forms = Vec::new();
    for octets in [
        [127, 0, 0, 1],
        [127, 255, 255, 254],
        [0, 0, 0, 0],
        [169, 254, 169, 254],
        [168, 63, 129, 16],
        [198, 51, 100, 7],
    ] {
        let [a, b, c, d] = octets.map(u32::from);
        for parts in [vec![a, b, c, d], vec![a, b, c << 8 | d], vec![a, b << 16 | c << 8 | d]] {
            forms.extend(spellings(&parts));
        }
        forms.extend(disguises(Ipv4Addr::from(octets)));
    }
    for address in [
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(192, 0, 0, 192),
        Ipv4Addr::new(100, 100, 100, 200),
    ] {
        forms.push(address.to_string());
        forms.extend(disguises(address));
    }
    let v6 = [
        "::",
        "::1",
        "0:0:0:0:0:0:0:1",
        "0000::0001",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "fd00:ec2::254",
        "FD00:0EC2::0254",
        "fd00:ec2:0:0::254",
    ];
    forms.extend(v6.iter().flat_map(|address| [(*address).to_owned(), format!("[{address}]")]));
    forms.extend(["localhost", "LOCALHOST"].map(str::to_owned));
    forms
}

/// Every mix of bases for the parts of an IPv4 address.
fn spellings(parts: &[u32]) -> Vec<String> {
    let (first, rest) = parts.split_first().unwrap();
    let bases =
        [format!("{first}"), format!("{first:#x}"), format!("{first:#X}").replace("0X", "0x0"), format!("0{first:o}")];
    if rest.is_empty() {
        return bases.to_vec();
    }
    let tails = spellings(rest);
    bases.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}.{tail}"))).collect()
}

/// The IPv6 addresses that stand for an IPv4 one, each in several spellings.
fn disguises(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let mut forms = vec![
        format!("2002:{high:x}:{low:x}::"),
        format!("2002:{high:x}:{low:x}::1"),
        format!("[2002:{high:X}:{low:X}:0:0:0:0:2]"),
    ];
    for prefix in ["::ffff:", "0:0:0:0:0:FFFF:", "64:ff9b::", "0064:FF9B:0:0:0:0:", "64:ff9b:1::", "::ffff:0:"] {
        forms.push(format!("{prefix}{address}"));
        forms.push(format!("{prefix}{high:x}:{low:x}"));
        forms.push(format!("[{prefix}{high:04X}:{low:04X}]"));
    }
    // `::0.0.0.0` is the unspecified address itself, and forbidden as that.
    forms.push(format!("::{address}"));
    forms
}
