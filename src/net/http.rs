//! One HTTP/1.1 request and its answer, over a connection of its own: dialled, judged and secured by [`Network`], with a limit
//! on the head and on the body. It follows no redirect, reads no proxy from the environment, keeps no cookie and no connection.
//!
//! A user name, a query or a body of a request may hold a secret, so nothing of a request is ever shown.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONNECTION, DATE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Endpoint, Network,
    tls::{Mode, Tls},
};
use crate::failure::{Failure, FailureClass, Stage};

/// Most bytes of a body that are read: answers to what probes ask have a few KiB, and whoever sends more sends data.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Most bytes of a status line with its headers. hyper reads into a buffer of at most this size.
pub const HEAD_LIMIT: usize = 32 * 1024;

/// Most headers of an answer: the services that are probed send about twenty.
const HEADERS_LIMIT: usize = 128;

/// Who we say we are. Some services refuse requests without it.
const AGENT: &str = concat!("connection-operator/", env!("CARGO_PKG_VERSION"));

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Bytes,
    rest: Rest,
}

/// Whether all of a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    None,
    LeftUnread,
}

impl Answer {
    /// The whole body.
    ///
    /// # Errors
    /// `AnswerTooLarge` where it is larger than [`BODY_LIMIT`].
    pub fn whole(&self) -> Result<Bytes, Failure> {
        match self.rest {
            Rest::None => Ok(self.body.clone()),
            Rest::LeftUnread => Err(Failure::new(FailureClass::AnswerTooLarge)),
        }
    }

    /// The beginning of the body, at most [`BODY_LIMIT`] bytes; for an answer whose body does not matter.
    pub fn beginning(&self) -> Bytes {
        self.body.clone()
    }
}

/// What time it is for whoever sent these headers, where that is said.
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(DATE).and_then(|date| rfc2822::parse(date.to_str().ok()?).ok());
    date.map(|date| date.timestamp())
}

/// The parts of an absolute URL that say where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to dial.
    pub endpoint: Endpoint,
    /// Whether the URL says `https`.
    pub scheme: Scheme,
}

/// What a URL begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Readable on the way.
    Http,
    /// Over TLS.
    Https,
}

impl Target {
    /// Where `url` leads; `None` where it is no absolute URL of HTTP with a host.
    pub fn of(url: &Uri) -> Option<Self> {
        let (scheme, port) = match url.scheme_str()? {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            _ => return None,
        };
        let host = url.host().filter(|host| !host.is_empty())?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let endpoint = Endpoint::exactly(bare, url.port_u16().unwrap_or(port));
        Some(Self { endpoint, scheme })
    }
}

impl Network {
    /// Sends `request`, whose URI is absolute, and reads the answer. While the peer has not answered anything in this probe, the
    /// stage in progress is `Reach`; then it is again the one before, and at least `Authenticate`.
    ///
    /// A URL with `https` is secured as `tls` says, and with everything verified where that says `Disable`, which is about the
    /// URLs that say `http`.
    ///
    /// # Errors
    /// What did not pass, about the endpoint: what dialling, TLS or a deadline gives, `ConnectionClosed`, `ProtocolMismatch`
    /// where the answer is not HTTP, `AnswerTooLarge` for its head.
    pub async fn exchange(&self, tls: &Tls, request: Request<Bytes>) -> Result<Answer, Failure> {
        let target = Target::of(request.uri()).ok_or_else(|| Failure::new(FailureClass::Internal))?;
        let endpoint = &target.endpoint;
        let stage = self.0.ladder.current().max(Stage::Authenticate);
        let stream = self.dial(endpoint).await?;
        let answer = match target.scheme {
            Scheme::Http => self.ask(stream, stage, endpoint, request).await,
            Scheme::Https => {
                let mode = if tls.mode == Mode::Disable { Mode::VerifyFull } else { tls.mode };
                let stream = self.secure(stream, &Tls { mode, ..tls.clone() }, endpoint).await?;
                self.ask(stream, stage, endpoint, request).await
            }
        };
        answer.map_err(|failure| failure.about_at_least(&endpoint.shown()))
    }

    async fn ask<S>(
        &self,
        stream: S,
        stage: Stage,
        endpoint: &Endpoint,
        request: Request<Bytes>,
    ) -> Result<Answer, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if self.has_answered(endpoint) {
            self.step(stage);
        }
        let request = complete(request).ok_or_else(|| Failure::new(FailureClass::Internal))?;
        let explain = |error: &hyper::Error| self.explain(error);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .max_headers(HEADERS_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| explain(&error))?;
        let exchange = async {
            let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
            self.answered(endpoint);
            self.step(stage);
            let (body, rest) = read(body).await?;
            Ok(Answer { status: head.status, headers: head.headers, body, rest })
        };
        // The connection is driven here and nowhere else, so that nothing outlives the exchange. Where it ends first, the
        // exchange knows why.
        let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
        let done: Result<Answer, hyper::Error> = tokio::select! {
            biased;
            done = &mut exchange => done,
            _ended = &mut connection => exchange.await,
        };
        done.map_err(|error| explain(&error))
    }

    fn explain(&self, error: &hyper::Error) -> Failure {
        if error.is_parse_too_large() {
            return Failure::new(FailureClass::AnswerTooLarge);
        }
        if error.is_parse() {
            return Failure::new(FailureClass::ProtocolMismatch);
        }
        self.classify(error).unwrap_or_else(|| {
            let ended = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
            Failure::new(if ended { FailureClass::ConnectionClosed } else { FailureClass::ProtocolMismatch })
        })
    }
}

/// The request as it goes out: the path alone, with the headers that every request of ours has.
fn complete(request: Request<Bytes>) -> Option<Request<Bytes>> {
    let (mut head, body) = request.into_parts();
    let authority = HeaderValue::try_from(head.uri.authority()?.as_str()).ok()?;
    head.headers.entry(HOST).or_insert(authority);
    for (name, value) in [(ACCEPT_ENCODING, "identity"), (CONNECTION, "close"), (USER_AGENT, AGENT)] {
        head.headers.insert(name, HeaderValue::from_static(value));
    }
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    head.uri = path.parse().ok()?;
    Some(Request::from_parts(head, body))
}

/// The body, up to the limit.
async fn read(mut body: Incoming) -> Result<(Bytes, Rest), hyper::Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = BODY_LIMIT - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read.freeze(), Rest::LeftUnread));
        }
    }
    Ok((read.freeze(), Rest::None))
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::mpsc,
    };

    use super::*;
    use crate::{
        failure::{Finding, Proof, Reason, Report},
        net::{
            climb,
            stand_in::{Authority, Server, close, local_network, serve, serve_tls, stay_silent},
        },
    };

    const PLAIN: Tls =
        Tls { mode: Mode::Disable, roots: super::super::tls::Roots::System, identity: None, server_name: None };

    /// A request to a path of `server`.
    fn get(scheme: &str, address: SocketAddr, path: &str) -> Request<Bytes> {
        Request::get(format!("{scheme}://{address}{path}")).body(Bytes::new()).unwrap()
    }

    /// Reads a request and answers with `answer`, whatever it was.
    async fn answering(answer: &'static [u8]) -> Server {
        serve(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await
    }

    async fn read_head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// One exchange in the form of a look.
    async fn look(server: &Server) -> Report {
        let request = get("http", server.address, "/");
        climb(local_network(&[]), Duration::from_secs(3), async move |net| {
            net.step(Stage::Access);
            net.exchange(&PLAIN, request).await.map(|_| Proof::default())
        })
        .await
    }

    fn ended(report: &Report) -> (Stage, Reason) {
        report.failure().map(|(stage, failure)| (stage, failure.reason())).expect("it failed")
    }

    #[tokio::test]
    async fn a_request_says_who_asks_and_keeps_nothing_open() {
        let (sent, mut heard) = mpsc::unbounded_channel();
        let server = serve(move |mut stream| {
            let sent = sent.clone();
            async move {
                sent.send(read_head(&mut stream).await).unwrap();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
                // It ends only if we end it.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let request = get("http", server.address, "/a%20b?c=d");
        let answer = local_network(&[]).exchange(&PLAIN, request).await.unwrap();
        assert_eq!((answer.status, answer.whole().unwrap()), (StatusCode::OK, Bytes::from_static(b"hello")));
        let head = heard.recv().await.unwrap();
        assert!(head.starts_with("GET /a%20b?c=d HTTP/1.1\r\n"), "{head}");
        let host = format!("host: {}", server.address);
        for line in [&host, "accept-encoding: identity", "connection: close", &format!("user-agent: {AGENT}")] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is not in {head}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let server =
            answering(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
        let request = get("http", server.address, "/");
        let answer = local_network(&[]).exchange(&PLAIN, request).await.unwrap();
        assert_eq!((answer.status, server.accepted()), (StatusCode::FOUND, 1));
    }

    #[tokio::test]
    async fn the_first_answer_ends_reaching() {
        let server = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello").await;
        let report = look(&server).await;
        assert_eq!(ended(&report), (Stage::Access, Reason::ConnectionClosed));
        assert_eq!(report.at(Stage::Authenticate), Finding::Passed);
    }

    #[tokio::test]
    async fn who_has_answered_once_is_late_in_the_stage_of_the_request() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let server = serve(move |mut stream| {
            let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            async move {
                read_head(&mut stream).await;
                if first {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
                stay_silent(stream).await;
            }
        })
        .await;
        let address = server.address;
        let report = climb(local_network(&[]), Duration::from_secs(3), async move |net| {
            net.exchange(&PLAIN, get("http", address, "/")).await?;
            net.step(Stage::Access);
            net.exchange(&PLAIN, get("http", address, "/")).await.map(|_| Proof::default())
        })
        .await;
        assert_eq!(ended(&report), (Stage::Access, Reason::TimedOut));
    }

    #[tokio::test]
    async fn a_peer_that_is_silent_closes_or_speaks_something_else_is_called_so_while_it_is_reached() {
        for (server, reason) in [
            (serve(stay_silent).await, Reason::TimedOut),
            (serve(close).await, Reason::ConnectionClosed),
            (answering(b"SSH-2.0-OpenSSH_9\r\n\r\n").await, Reason::ProtocolMismatch),
            (answering(b"").await, Reason::ConnectionClosed),
            (answering(b"HTTP/1.1 2").await, Reason::ConnectionClosed),
        ] {
            assert_eq!(ended(&look(&server).await), (Stage::Reach, reason));
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_not_read() {
        let server = serve(async |mut stream: TcpStream| {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        })
        .await;
        let report = look(&server).await;
        assert_eq!(report.failure().map(|(_, failure)| failure.class()), Some(FailureClass::AnswerTooLarge));
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_cut_and_its_end_not_made_up() {
        let server = serve(async |mut stream: TcpStream| {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        })
        .await;
        let request = get("http", server.address, "/");
        let answer = local_network(&[]).exchange(&PLAIN, request).await.unwrap();
        assert_eq!(answer.beginning().len(), BODY_LIMIT);
        assert_eq!(answer.whole().unwrap_err().class(), FailureClass::AnswerTooLarge);
    }

    #[tokio::test]
    async fn a_url_with_https_is_verified_even_where_tls_is_disabled_for_others() {
        let authority = Authority::new();
        let server = serve_tls(&authority.server("127.0.0.1"), None, &rustls::version::TLS13).await;
        let failed = async |tls: &Tls| {
            let request = get("https", server.address, "/");
            local_network(&[]).exchange(tls, request).await.unwrap_err().class()
        };
        assert_eq!(failed(&Tls { roots: Authority::new().roots(), ..PLAIN }).await, FailureClass::CertificateUntrusted);
        // It says hello, which is not HTTP.
        assert_eq!(failed(&Tls { roots: authority.roots(), ..PLAIN }).await, FailureClass::ProtocolMismatch);
    }

    #[test]
    fn the_time_of_a_peer_is_what_it_says() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date(&headers), "1994-11-06T08:49:37Z".parse().ok());
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        assert_eq!(date(&headers), None);
    }

    #[test]
    fn where_a_url_leads_is_read_from_it_alone() {
        let target = |url: &str| Target::of(&url.parse().unwrap()).map(|t| (t.endpoint.to_string(), t.scheme));
        assert_eq!(target("https://a.example/x"), Some(("a.example:443".to_owned(), Scheme::Https)));
        assert_eq!(target("http://a.example"), Some(("a.example:80".to_owned(), Scheme::Http)));
        assert_eq!(target("https://[fd00::1]:9000/x"), Some(("[fd00::1]:9000".to_owned(), Scheme::Https)));
        assert_eq!(target("ftp://a.example/"), None);
        assert_eq!(target("/path"), None);
    }
}
