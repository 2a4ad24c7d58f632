//! The laws of the parent module.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    election::{FENCE, RENEW},
    *,
};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// How the network treats one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Works,
    /// Nothing arrives, and nothing is answered.
    Silent,
    /// All arrives; no answer does.
    Deaf,
    /// All arrives; answers to writes do not.
    DeafToWrites,
    /// Lists and watches are refused.
    Unwatched,
}

/// An API server that knows one Lease.
#[derive(Clone, Default)]
struct ApiServer(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    lease: Option<Value>,
    version: u64,
    watches: Vec<UnboundedSender<Bytes>>,
}

impl Stored {
    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        self.tell("MODIFIED", &lease);
        lease
    }

    fn tell(&mut self, kind: &str, lease: &Value) {
        let line = json!({"type": kind, "object": lease}).to_string() + "\n";
        self.watches.retain(|watch| watch.unbounded_send(Bytes::from(line.clone())).is_ok());
    }

    fn answer(&mut self, method: &Method, uri: &http::Uri, body: Option<Value>, network: Network) -> Answer {
        if uri.query().is_some_and(|query| query.contains("watch=true")) {
            if network == Network::Unwatched {
                return error(403, "Forbidden");
            }
            assert!(uri.query().unwrap().contains("metadata.name%3Dlease"), "{uri}");
            let (sender, receiver) = unbounded();
            self.watches.push(sender);
            let frames = receiver.map(|line| Ok(Frame::data(line)));
            return Response::new(StreamBody::new(frames).boxed_unsync());
        }
        match (method.as_str(), &self.lease, body) {
            ("GET", Some(lease), _) => whole(200, lease),
            ("GET" | "PUT", None, _) => error(404, "NotFound"),
            ("PUT", Some(lease), Some(new))
                if new["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"] =>
            {
                whole(200, &self.store(new))
            }
            ("PUT", Some(_), _) => error(409, "Conflict"),
            ("POST", Some(_), _) => error(409, "AlreadyExists"),
            ("POST", None, Some(new)) => whole(201, &self.store(new)),
            other => panic!("{other:?}"),
        }
    }
}

fn whole(status: u16, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

fn error(code: u16, reason: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason});
    whole(code, &status)
}

impl ApiServer {
    /// A client of a process, and the process's network.
    fn client(&self) -> (Client, watch::Sender<Network>) {
        let (sender, network) = watch::channel(Network::Works);
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, network) = (server.clone(), *network.borrow());
            async move {
                sleep(Duration::from_millis(5)).await;
                if network == Network::Silent {
                    std::future::pending::<()>().await;
                }
                let deaf =
                    network == Network::Deaf || network == Network::DeafToWrites && request.method() != Method::GET;
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).ok();
                let answer = server.0.lock().unwrap().answer(&parts.method, &parts.uri, body, network);
                if deaf {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        (Client::new(service, "default"), sender)
    }

    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut stored = self.0.lock().unwrap();
        let mut lease = stored.lease.clone().unwrap();
        edit(&mut lease);
        stored.store(lease);
    }

    fn holder(&self) -> Option<String> {
        let stored = self.0.lock().unwrap();
        stored.lease.as_ref()?["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }
}

struct Process {
    leadership: Leadership,
    network: watch::Sender<Network>,
}

fn process(server: &ApiServer, identity: &str) -> Process {
    let (client, network) = server.client();
    let seat = Seat { namespace: "default".into(), name: "lease".into(), identity: identity.into() };
    Process { leadership: Leadership::campaign(client, seat, &CancellationToken::new()), network }
}

impl Process {
    /// Waits until it leads, and says how long that took.
    async fn leads(&self) -> Duration {
        let began = Instant::now();
        let mut role = self.leadership.role();
        timeout(LEASE * 3, role.wait_for(|role| *role == Role::Leader)).await.unwrap().unwrap();
        assert!(self.may_write());
        began.elapsed()
    }

    async fn follows(&self) -> Duration {
        let began = Instant::now();
        let mut role = self.leadership.role();
        timeout(LEASE * 3, role.wait_for(|role| *role == Role::Follower)).await.unwrap().unwrap();
        assert!(!self.may_write());
        began.elapsed()
    }

    fn may_write(&self) -> bool {
        self.leadership.fence().holds(Instant::now())
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_goes_on_leading() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    assert!(first.leads().await < Duration::from_secs(1));
    let second = process(&server, "second");
    for _ in 0..100 {
        sleep(Duration::from_secs(1)).await;
        assert!(first.may_write() && !second.may_write());
    }
    assert_eq!(server.holder().as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn one_of_many_that_begin_at_once_leads() {
    let server = ApiServer::default();
    let all: Vec<Process> = (0..5).map(|n| process(&server, &format!("p{n}"))).collect();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(all.iter().filter(|p| p.may_write()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_hands_over_within_a_moment() {
    let server = ApiServer::default();
    let (first, second) = (process(&server, "first"), process(&server, "second"));
    first.leads().await;
    sleep(LEASE).await;
    let fence = first.leadership.fence();
    let began = Instant::now();
    first.leadership.release().await;
    assert!(!fence.holds(Instant::now()));
    second.leads().await;
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_falls_silent_has_stopped_before_another_leads_and_is_replaced_within_ten_seconds() {
    for mode in [Network::Silent, Network::Deaf] {
        let server = ApiServer::default();
        let (first, second) = (process(&server, "first"), process(&server, "second"));
        first.leads().await;
        sleep(RENEW * 2 + RENEW / 4).await;
        first.network.send(mode).unwrap();
        let began = Instant::now();
        assert!(first.follows().await <= FENCE);
        assert!(!second.may_write());
        second.leads().await;
        assert!(!first.may_write());
        // One whose writes still arrive, unheard, is replaced later: its Lease goes on changing for a while.
        let limit = if mode == Network::Silent { 10 } else { 20 };
        assert!(began.elapsed() <= Duration::from_secs(limit), "{mode:?} {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_network_comes_back_leads_again_if_nobody_took_over() {
    let server = ApiServer::default();
    let only = process(&server, "only");
    only.leads().await;
    only.network.send(Network::Silent).unwrap();
    only.follows().await;
    sleep(LEASE * 10).await;
    only.network.send(Network::Works).unwrap();
    assert!(only.leads().await < ATTEMPT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_edit_by_someone_else_changes_no_leader() {
    let server = ApiServer::default();
    let (first, second) = (process(&server, "first"), process(&server, "second"));
    first.leads().await;
    for number in 0..20 {
        sleep(Duration::from_millis(1300)).await;
        server.edit(|lease| lease["metadata"]["annotations"] = json!({"number": number.to_string()}));
        assert!(first.may_write() && !second.may_write());
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_finds_another_holder_steps_down() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    first.leads().await;
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("other"));
    assert!(first.follows().await <= RENEW + Duration::from_secs(1));
    assert!(first.leads().await >= LEASE.saturating_sub(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_again() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    first.leads().await;
    server.0.lock().unwrap().lease = None;
    assert!(first.follows().await <= RENEW + Duration::from_secs(1));
    first.leads().await;
    assert_eq!(server.holder().as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_may_not_watch_takes_over_all_the_same() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    first.leads().await;
    let second = process(&server, "second");
    second.network.send(Network::Unwatched).unwrap();
    sleep(LEASE * 2).await;
    assert!(!second.may_write());
    first.leadership.release().await;
    assert!(second.leads().await < Duration::from_secs(1));
    let third = process(&server, "third");
    third.network.send(Network::Unwatched).unwrap();
    sleep(LEASE * 2).await;
    second.network.send(Network::Silent).unwrap();
    let began = Instant::now();
    third.leads().await;
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_ends_when_the_fence_closes() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    first.leads().await;
    let fence = first.leadership.fence();
    let closed = fence.closed();
    tokio::pin!(closed);
    // It stays open through many renewals …
    assert!(timeout(LEASE * 5, &mut closed).await.is_err());
    first.network.send(Network::Silent).unwrap();
    // … and closes on time without them.
    timeout(FENCE, closed).await.unwrap();
    assert!(!fence.holds(Instant::now()));
    assert!(timeout(LEASE, Fence::open().closed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_without_knowing_is_given_back_too() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    first.network.send(Network::DeafToWrites).unwrap();
    timeout(LEASE, async {
        while server.holder().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    assert!(!first.may_write());
    first.network.send(Network::Works).unwrap();
    first.leadership.release().await;
    assert_eq!(server.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn releasing_without_a_server_does_not_take_for_ever() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    first.leads().await;
    first.network.send(Network::Silent).unwrap();
    timeout(RELEASE_DEADLINE + Duration::from_millis(10), first.leadership.release()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_lease_tells_people_who_leads_since_when_and_how_often_that_changed() {
    let server = ApiServer::default();
    let first = process(&server, "first");
    first.leads().await;
    sleep(RENEW * 3).await;
    let before = server.0.lock().unwrap().lease.clone().unwrap();
    assert_eq!((&before["spec"]["leaseTransitions"], &before["spec"]["leaseDurationSeconds"]), (&json!(1), &json!(9)));
    assert!(before["spec"]["renewTime"].as_str() > before["spec"]["acquireTime"].as_str());
    let second = process(&server, "second");
    first.leadership.release().await;
    second.leads().await;
    let after = server.0.lock().unwrap().lease.clone().unwrap();
    assert_eq!((&after["spec"]["holderIdentity"], &after["spec"]["leaseTransitions"]), (&json!("second"), &json!(2)));
}

#[test]
fn those_who_act_on_other_connections_compete_for_other_leases() {
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert_eq!(lease_name(&[], None), "connection-operator");
    assert_eq!(lease_name(&list(&["a", "b"]), None), lease_name(&list(&["b", "a"]), None));
    let names = [
        lease_name(&[], None),
        lease_name(&list(&["a"]), None),
        lease_name(&list(&["a", "b"]), None),
        lease_name(&[], Some("a")),
        lease_name(&[], Some("shard in (a)")),
        lease_name(&list(&["a"]), Some("shard in (a)")),
    ];
    for (n, name) in names.iter().enumerate() {
        assert!(name.len() <= 63 && !names[..n].contains(name), "{name}");
    }
}
