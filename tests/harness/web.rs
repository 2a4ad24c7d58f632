//! A peer that speaks HTTP and answers as a test says. It keeps what it was asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::constant_time;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsAcceptor;

use super::peer::Peer;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `METHOD path?query`.
    pub line: String,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: String,
}

impl Asked {
    /// A request that nobody has sent.
    pub fn of<'a>(line: &str, headers: impl IntoIterator<Item = (&'a str, &'a str)>, body: &str) -> Self {
        let header = |(name, value): (&str, &str)| {
            (http::HeaderName::try_from(name).expect("a name"), http::HeaderValue::try_from(value).expect("a value"))
        };
        // One that is there twice has the last value.
        let mut all = http::HeaderMap::new();
        for (name, value) in headers.into_iter().map(header) {
            all.insert(name, value);
        }
        Self { line: line.to_owned(), headers: all, body: body.to_owned() }
    }

    /// The value of a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A status with a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// The status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The same with a header more.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What came to a stand-in and should never have been sent: it fails the test that owns it.
#[derive(Default)]
pub struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    /// Where they are written down.
    pub fn book(&self) -> impl Fn(Option<String>) + Send + Sync + 'static {
        let faults = Arc::clone(&self.0);
        move |fault| faults.lock().unwrap_or_else(PoisonError::into_inner).extend(fault)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(faults.is_empty() || std::thread::panicking(), "never to be sent: {faults:#?}");
    }
}

/// What belongs to a token. Each is compared, and each takes as long as another.
pub fn of_token<'a, T>(known: &'a BTreeMap<String, T>, token: &str) -> Option<&'a T> {
    let same = |known: &str| constant_time::verify_slices_are_equal(known.as_bytes(), token.as_bytes()).is_ok();
    known.iter().fold(None, |found, (known, theirs)| if same(known) { Some(theirs) } else { found })
}

/// A peer that speaks HTTP.
pub struct Web {
    /// The peer: where it is, and how many came.
    pub peer: Peer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    /// A peer that gives `answer` to each request; where that is nothing, it says nothing.
    pub async fn that<F>(answer: F) -> Self
    where
        F: Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    {
        Self::over(None, answer).await
    }

    /// The same over TLS, where there is an acceptor for it.
    pub async fn over<F>(tls: Option<TlsAcceptor>, answer: F) -> Self
    where
        F: Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    {
        let (answer, asked) = (Arc::new(answer), Arc::<Mutex<Vec<Asked>>>::default());
        let heard = Arc::clone(&asked);
        let peer = Peer::that(move |stream| {
            let (answer, heard, tls) = (Arc::clone(&answer), Arc::clone(&heard), tls.clone());
            async move {
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                    async move {
                        let asked = read(request).await;
                        heard.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
                        match answer(&asked) {
                            Some(answer) => Ok::<_, std::convert::Infallible>(write(answer)),
                            None => std::future::pending().await,
                        }
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                match tls {
                    None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            let _ = server.serve_connection(TokioIo::new(stream), service).await;
                        }
                    }
                }
            }
        });
        Self { peer: peer.await, asked }
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn read(request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let line = format!("{} {}", head.method, head.uri);
    Asked { line, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn write(answer: Answer) -> Response<Full<Bytes>> {
    let response = Response::builder().status(answer.status);
    let response = answer.headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
    response.body(Full::new(answer.body.into())).expect("an answer of the test")
}
