//! The laws of the parent module.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams, WatchParams},
};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::{
    leadership::{Leadership, Role, Seat},
    net::stand_in::taken,
};

/// The real limits, a hundred times as fast.
const FAST: Limits = Limits {
    call: Duration::from_millis(100),
    watch_start: Duration::from_millis(300),
    pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(50),
    ..LIMITS
};

#[derive(Clone, Copy)]
enum Server {
    /// Answers with this status and these seconds in `Retry-After`.
    Says(u16, Option<u64>),
    /// Says 503 so often, then 200.
    RecoversAfter(u32),
    /// Never answers.
    Hangs,
    /// Answers, and never ends its answer.
    Dribbles,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Server {
    async fn answer(self, number: u32) -> Answer {
        let (status, asked) = match self {
            Self::Says(status, asked) => (status, asked),
            Self::RecoversAfter(times) => (if number <= times { 503 } else { 200 }, None),
            Self::Hangs => std::future::pending().await,
            Self::Dribbles => {
                let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"{")))]);
                let endless = first.chain(futures::stream::pending());
                return Response::new(StreamBody::new(endless).boxed_unsync());
            }
        };
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
        let list = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status});
        let body = if status < 300 { object } else { list };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed_unsync());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(seconds) = asked {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

struct Fixture {
    api: Api<ConfigMap>,
    requests: Arc<AtomicU32>,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Without sockets, so that the clock can be paused: the real limits.
fn mocked(server: Server, fence: Fence) -> Fixture {
    let (requests, metrics) = (Arc::new(AtomicU32::new(0)), Arc::new(Metrics::new()));
    let counter = Arc::clone(&requests);
    let service = tower::service_fn(move |_: Request<Body>| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let body = |body: UnsyncBoxBody<_, Infallible>| Box::new(body.map_err(BoxError::from)) as Box<DynBody>;
            Ok::<_, BoxError>(server.answer(number).await.map(body))
        }
    });
    let bounds = Bounds { limits: LIMITS, metrics: Arc::clone(&metrics), fence };
    let client = ClientBuilder::new(service, "default").with_layer(&bounds).build();
    Fixture { api: Api::default_namespaced(client), requests, metrics }
}

/// With kube's whole stack and a server on this machine.
async fn served(limits: Limits, server: Server) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counter = Arc::clone(&counter);
            let service = service_fn(move |_: Request<Incoming>| {
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                async move { Ok::<_, Infallible>(server.answer(number).await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let metrics = Arc::new(Metrics::new());
    let api = api_at(limits, address, &metrics);
    Fixture { api, requests, metrics }
}

fn api_at(limits: Limits, address: SocketAddr, metrics: &Arc<Metrics>) -> Api<ConfigMap> {
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let client = client_within(limits, config, Arc::clone(metrics), Fence::open()).unwrap();
    Api::default_namespaced(client)
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result.unwrap_err() {
        kube::Error::Api(status) => status.code,
        other => panic!("{other:?}"),
    }
}

async fn patch(api: &Api<ConfigMap>) -> kube::Result<ConfigMap> {
    let test = json!([{"op": "test", "path": "/metadata/uid", "value": "1"}]);
    let patch: json_patch::Patch = serde_json::from_value(test).unwrap();
    api.patch("x", &PatchParams::default(), &Patch::<ConfigMap>::Json(patch)).await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_unavailable_is_reported_as_such_within_the_deadline() {
    let fixture = mocked(Server::Says(503, None), Fence::open());
    let began = Instant::now();
    assert_eq!(code(fixture.api.get("x").await), 503);
    assert!(began.elapsed() <= LIMITS.call, "{:?}", began.elapsed());
    assert_eq!(fixture.requests(), LIMITS.tries);
    let line = "api_requests_total{verb=\"GET\",resource=\"configmaps\",code=\"503\"} 3";
    assert!(fixture.metrics.encode().contains(line), "{}", fixture.metrics.encode());
}

#[tokio::test(start_paused = true)]
async fn a_server_cannot_ask_for_a_day() {
    let fixture = mocked(Server::Says(429, Some(86_400)), Fence::open());
    let began = Instant::now();
    assert_eq!(code(fixture.api.get("x").await), 429);
    assert!(began.elapsed() <= LIMITS.call, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_short_pause_that_a_server_asks_for_is_kept() {
    let fixture = mocked(Server::Says(429, Some(3)), Fence::open());
    let began = Instant::now();
    assert_eq!(code(patch(&fixture.api).await), 429);
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(fixture.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_and_a_hung_answer_end_at_the_deadline_and_are_counted() {
    for server in [Server::Hangs, Server::Dribbles] {
        let fixture = mocked(server, Fence::open());
        let began = Instant::now();
        tokio::time::timeout(LIMITS.call * 2, fixture.api.get("x")).await.unwrap().unwrap_err();
        let spent = began.elapsed();
        assert!(spent >= LIMITS.call && spent < LIMITS.call + Duration::from_millis(10), "{spent:?}");
        assert!(fixture.metrics.encode().contains("api_requests_total{verb=\"GET\""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_lives_on_and_only_its_start_has_a_deadline() {
    let fixture = mocked(Server::Hangs, Fence::open());
    let began = Instant::now();
    let error = fixture.api.watch(&WatchParams::default(), "0").await.err().unwrap();
    assert_eq!((GivenUp::cause_of(&error), began.elapsed().as_secs()), (Some(GivenUp::TimedOut), 30));
    let fixture = mocked(Server::Dribbles, Fence::open());
    let mut watch = Box::pin(fixture.api.watch(&WatchParams::default(), "0").await.unwrap());
    assert!(tokio::time::timeout(LIMITS.call * 20, watch.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_write_is_not_repeated_where_it_may_have_been_carried_out() {
    for status in [500, 502, 503, 504] {
        let fixture = mocked(Server::Says(status, None), Fence::open());
        assert_eq!(code(patch(&fixture.api).await), status);
        assert_eq!(code(fixture.api.create(&PostParams::default(), &ConfigMap::default()).await), status);
        assert_eq!(fixture.requests(), 2);
    }
}

#[test]
fn only_what_is_harmless_is_repeated_and_never_for_ever() {
    let status = |code| StatusCode::from_u16(code).unwrap();
    for tried in 1..10 {
        for (call, outcome, harmless) in [
            (Call::Read, Outcome::Broken, true),
            (Call::Read, Outcome::NotSent, true),
            (Call::Read, Outcome::Answered(status(503), None), true),
            (Call::Read, Outcome::Answered(status(404), None), false),
            (Call::Read, Outcome::Answered(status(403), Some(Duration::ZERO)), false),
            (Call::Write, Outcome::NotSent, true),
            (Call::Write, Outcome::Broken, false),
            (Call::Write, Outcome::Answered(status(429), None), true),
            (Call::Write, Outcome::Answered(status(503), Some(Duration::ZERO)), false),
            (Call::Write, Outcome::Answered(status(422), None), false),
            (Call::Watch, Outcome::NotSent, false),
            (Call::Watch, Outcome::Answered(status(429), None), false),
        ] {
            let pause = pause(&LIMITS, call, tried, outcome);
            assert_eq!(pause.is_some(), harmless && tried < LIMITS.tries, "{call:?} {outcome:?} {tried}");
            assert!(pause.is_none_or(|p| p >= LIMITS.pause && p <= LIMITS.longest_pause));
        }
    }
}

#[tokio::test]
async fn the_whole_stack_is_bounded() {
    let fixture = served(FAST, Server::Hangs).await;
    assert_eq!(GivenUp::cause_of(&fixture.api.get("x").await.unwrap_err()), Some(GivenUp::TimedOut));
    let patient = Limits { call: Duration::from_secs(20), ..FAST };
    let fixture = served(patient, Server::Says(503, Some(86_400))).await;
    assert_eq!(code(fixture.api.get("x").await), 503);
    assert_eq!(fixture.requests(), FAST.tries);
    let fixture = served(patient, Server::RecoversAfter(2)).await;
    assert_eq!(fixture.api.get("x").await.unwrap().metadata.name.as_deref(), Some("x"));
    assert_eq!(fixture.requests(), 3);
}

#[tokio::test]
async fn a_write_that_was_never_sent_is_tried_again() {
    let (_taken, closed) = taken();
    let metrics = Arc::new(Metrics::new());
    let patient = Limits { call: Duration::from_secs(20), ..FAST };
    patch(&api_at(patient, closed, &metrics)).await.unwrap_err();
    let line = "api_requests_total{verb=\"PATCH\",resource=\"configmaps\",code=\"none\"} 3";
    assert!(metrics.encode().contains(line), "{}", metrics.encode());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_reads_and_never_writes() {
    let nobody = mocked(Server::Hangs, Fence::open());
    let seat = Seat { namespace: "default".into(), name: "lease".into(), identity: "me".into() };
    let follower = Leadership::campaign(nobody.api.into_client(), seat, &tokio_util::sync::CancellationToken::new());
    assert_eq!(*follower.role().borrow(), Role::Follower);
    let fixture = mocked(Server::Says(200, None), follower.fence());
    for _ in 0..20 {
        assert_eq!(GivenUp::cause_of(&patch(&fixture.api).await.unwrap_err()), Some(GivenUp::NotLeading));
    }
    assert_eq!(fixture.requests(), 0);
    fixture.api.get("x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_is_given_up_when_the_fence_closes() {
    let began = Instant::now();
    let (_until, fence) = Fence::closing_at(began + Duration::from_secs(2));
    let fixture = mocked(Server::Hangs, fence);
    assert_eq!(GivenUp::cause_of(&patch(&fixture.api).await.unwrap_err()), Some(GivenUp::NotLeading));
    assert_eq!((fixture.requests(), began.elapsed().as_secs()), (1, 2));
}
