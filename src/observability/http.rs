//! The operator's own small server: `/metrics`, `/healthz` and `/readyz`, for the kubelet and Prometheus.
//!
//! Nobody logs in here, so it must not be possible to hold it: a connection carries one request, has a few seconds for it,
//! and is the first to go when there are too many. It changes nothing.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use http::{Method, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    health::Health,
    metrics::{CONTENT_TYPE, Metrics},
};

/// Connections open at once. The kubelet and a pair of Prometheus servers use three; the rest is room.
const CONNECTIONS: usize = 64;

/// Time for a client to send its request line and headers.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Time for a connection from its first byte to its last; Prometheus gives up after 10 s by default.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

/// Largest request that is read, in bytes; hyper's smallest. A probe of the kubelet has about 100.
const REQUEST_LIMIT: usize = 8192;

/// Pause after the operating system could not give a connection (out of file descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves on `listener` until `token` is cancelled; connections that are open then are closed.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, health: Arc<Health>, token: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {
                oldest.retain(|connection| !connection.is_finished());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(error = %error.kind(), "no connection could be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // The oldest goes, not the newest: whoever holds connections open loses them to those who want an answer.
        if oldest.len() >= CONNECTIONS
            && let Some(connection) = oldest.pop_front()
        {
            connection.abort();
        }
        oldest.push_back(connections.spawn(converse(stream, Arc::clone(&metrics), Arc::clone(&health))));
    }
}

/// One request and its answer.
async fn converse(stream: TcpStream, metrics: Arc<Metrics>, health: Arc<Health>) {
    let service = service_fn(|request: http::Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &metrics, &health, Instant::now());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(REQUEST_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong with a client is the client's business, and a scan of ports must not fill the log.
    let _ = timeout(CONNECTION_DEADLINE, connection).await;
}

fn answer(method: &Method, path: &str, metrics: &Metrics, health: &Health, now: Instant) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let sentence = |lacking: Vec<&'static str>, status| match lacking.as_slice() {
        [] => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        _ => (status, TEXT, lacking.join("; ") + "\n"),
    };
    let (status, kind, body) = match path {
        "/metrics" | "/healthz" | "/readyz" if !matches!(*method, Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned())
        }
        "/metrics" => (StatusCode::OK, CONTENT_TYPE, metrics.encode()),
        "/healthz" => {
            let stuck = health.stuck(now).into_iter().map(super::health::Loop::stuck).collect();
            sentence(stuck, StatusCode::INTERNAL_SERVER_ERROR)
        }
        "/readyz" => {
            let missing = health.missing().into_iter().map(super::health::Need::lacking).collect();
            sentence(missing, StatusCode::SERVICE_UNAVAILABLE)
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "see /metrics, /healthz and /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::observability::health::{Loop, Need, STUCK_AFTER};

    async fn served(health: Health) -> (SocketAddr, Arc<Health>, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, token) = (Arc::new(health), CancellationToken::new());
        tokio::spawn(serve(listener, Arc::new(Metrics::new()), Arc::clone(&health), token.clone()));
        (address, health, token)
    }

    #[expect(clippy::disallowed_methods, reason = "the test is the client of a server on this machine")]
    async fn connected(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }

    /// Sends `text`, and reads until the server closes the connection.
    async fn ask(address: SocketAddr, text: &str) -> String {
        let mut stream = connected(address).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await.unwrap().unwrap();
        String::from_utf8(all).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: operator\r\n\r\n")).await
    }

    #[tokio::test]
    async fn ready_only_once_nothing_is_missing_and_says_what_is() {
        let (address, health, _token) = served(Health::new(&[Need::Definitions, Need::Users], Instant::now())).await;
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains(Need::Definitions.lacking()) && answer.contains(Need::Users.lacking()), "{answer}");
        health.met(Need::Definitions);
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && !answer.contains(Need::Definitions.lacking()), "{answer}");
        health.met(Need::Users);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn alive_until_a_loop_stands_still_whatever_is_missing() {
        let began = Instant::now();
        let health = Health::new(&Need::ALL, began);
        let status = |now| answer(&Method::GET, "/healthz", &Metrics::new(), &health, now).status();
        health.beat(Loop::Controller, began);
        assert_eq!(status(began), StatusCode::OK);
        assert_eq!(status(began + STUCK_AFTER * 2), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn metrics_are_served_in_their_format() {
        let (address, _, _token) = served(Health::new(&[], Instant::now())).await;
        let answer = get(address, "/metrics").await;
        assert!(answer.to_lowercase().contains(&format!("content-type: {CONTENT_TYPE}")), "{answer}");
        assert!(answer.contains("connection_operator_build_info") && answer.ends_with("# EOF\n"), "{answer}");
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: operator\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn only_three_paths_and_two_methods_are_known() {
        let (address, _, _token) = served(Health::new(&[], Instant::now())).await;
        for path in ["/", "/metrics/", "/debug", "/healthz/x"] {
            assert!(get(address, path).await.starts_with("HTTP/1.1 404 "), "{path}");
        }
        let post = ask(address, "POST /metrics HTTP/1.1\r\nHost: operator\r\nContent-Length: 0\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    }

    #[tokio::test]
    async fn clients_that_hold_connections_do_not_keep_others_out() {
        let (address, _, _token) = served(Health::new(&[], Instant::now())).await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS * 2 {
            let mut stream = connected(address).await;
            stream.write_all(b"GET /healthz HT").await.unwrap();
            held.push(stream);
        }
        let answer = timeout(HEADER_DEADLINE / 2, get(address, "/healthz")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut rest = Vec::new();
        timeout(HEADER_DEADLINE / 2, held[0].read_to_end(&mut rest)).await.unwrap().ok();
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut() {
        let (address, _, _token) = served(Health::new(&[], Instant::now())).await;
        let endless = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(REQUEST_LIMIT));
        let answer = ask(address, &endless).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_is_let_go() {
        let (client, server) = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = connected(listener.local_addr().unwrap()).await;
            (client, listener.accept().await.unwrap().0)
        };
        // With the clock paused it jumps to the next timer as soon as everyone waits.
        tokio::time::pause();
        let began = Instant::now();
        let health = Arc::new(Health::new(&[], began));
        converse(server, Arc::new(Metrics::new()), health).await;
        assert!(began.elapsed() <= CONNECTION_DEADLINE, "{:?}", began.elapsed());
        drop(client);
    }

    #[tokio::test]
    async fn the_server_ends_when_told_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let token = CancellationToken::new();
        let health = Arc::new(Health::new(&[], Instant::now()));
        let server = tokio::spawn(serve(listener, Arc::new(Metrics::new()), health, token.clone()));
        token.cancel();
        timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
    }
}
