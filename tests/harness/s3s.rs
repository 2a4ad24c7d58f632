//! s3s-fs in this process: a server of the S3 protocol over a directory, with and without TLS. It verifies every signature and
//! knows two access keys and no policies. It runs on a thread of its own and ends with the process.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use connection_operator::net::tls::{Identity, Roots};
use hyper_util::rt::TokioIo;
use s3s::{
    S3Result,
    auth::SimpleAuth,
    host::{S3Host, VirtualHost},
    service::S3ServiceBuilder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    authority::{Authority, Clients},
    script,
};

/// The names in its certificate.
const NAMES: &[&str] = &["localhost", "lake.test", "*.lake.test", "127.0.0.1"];

/// The access keys that it knows, with their secrets.
pub const KEYS: [(&str, &str); 2] = [("reader", "reader-secret"), ("writer", "writer-secret")];

/// The server: where it listens, and whom to trust.
pub struct Server {
    /// Without TLS.
    pub plain: SocketAddr,
    /// With TLS, and a certificate for localhost, 127.0.0.1, lake.test and the names below that.
    pub tls: SocketAddr,
    /// With the same certificate, at 127.0.0.2, for which it is not.
    pub misnamed: SocketAddr,
    /// With TLS, for those alone who show a certificate of its CA.
    pub mutual: SocketAddr,
    ca: String,
    client: (String, String),
    requests: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

/// The server, started by the first test that asks. It has the buckets `orders`, with one object, and `empty`.
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(start);
    &SERVER
}

impl Server {
    /// The CA that signed its certificate.
    pub fn ca(&self) -> Roots {
        Roots::from_pem(self.ca.as_bytes()).expect("a CA")
    }

    /// A client certificate that it takes.
    pub fn identity(&self) -> Identity {
        Identity::from_pem(self.client.0.as_bytes(), self.client.1.as_bytes()).expect("a client certificate")
    }

    /// Every request for a bucket, as `METHOD path?query`, in the order of their arrival.
    pub fn requests(&self, bucket: &str) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned().unwrap_or_default()
    }
}

fn start() -> Server {
    let root = script::run_directory().join("s3s");
    fs::create_dir_all(root.join("orders/2026")).expect("a directory");
    fs::create_dir_all(root.join("empty")).expect("a directory");
    fs::create_dir_all(root.join("recorded/2026")).expect("a directory");
    fs::write(root.join("orders/2026/a.txt"), "hello").expect("a file");
    fs::write(root.join("recorded/2026/a.txt"), "hello").expect("a file");
    let mut auth = SimpleAuth::new();
    for (id, secret) in KEYS {
        auth.register(id.to_owned(), secret.into());
    }
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&root).expect("a file system"));
    builder.set_auth(auth);
    builder.set_host(Zone);
    let service = builder.build();
    let authority = Authority::new();
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let places = [
        (Ipv4Addr::LOCALHOST, None),
        (Ipv4Addr::LOCALHOST, Some(authority.acceptor(NAMES, Clients::Anybody))),
        (other, Some(authority.acceptor(NAMES, Clients::Anybody))),
        (Ipv4Addr::LOCALHOST, Some(authority.acceptor(NAMES, Clients::Ours))),
    ];
    let requests: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let recorded = Arc::clone(&requests);
    let (sent, listening) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let mut serving = Vec::new();
            for (ip, acceptor) in places {
                let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
                sent.send(listener.local_addr().expect("an address")).expect("the starter waits");
                serving.push(serve(listener, acceptor, service.clone(), Arc::clone(&recorded)));
            }
            futures::future::join_all(serving).await;
        });
    });
    let address = || listening.recv().expect("the server listens");
    let (plain, tls, misnamed, mutual) = (address(), address(), address(), address());
    Server { plain, tls, misnamed, mutual, ca: authority.pem.clone(), client: authority.client(), requests }
}

type Requests = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    service: s3s::service::S3Service,
    requests: Requests,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, service, requests) = (acceptor.clone(), service.clone(), Arc::clone(&requests));
        tokio::spawn(async move {
            match acceptor {
                None => answer(stream, service, requests).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream, service, requests).await;
                    }
                }
            }
        });
    }
}

async fn answer<S>(stream: S, service: s3s::service::S3Service, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let recording = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let line = format!("{} {}", request.method(), request.uri());
        let bucket = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
        requests.lock().unwrap_or_else(PoisonError::into_inner).entry(bucket).or_default().push(line);
        let service = service.clone();
        async move { hyper::service::Service::call(&service, request).await }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), recording).await;
}

/// Buckets below `lake.test`, whatever the port; elsewhere they stand in the path.
struct Zone;

impl S3Host for Zone {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        Ok(match name.strip_suffix(".lake.test") {
            Some(bucket) => VirtualHost::new(name).with_bucket(bucket),
            None => VirtualHost::new(name),
        })
    }
}
