//! An API server made of one function, for the tests of the watches and of the live reading. It has no state of its own.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower::service_fn;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub query: BTreeMap<String, String>,
}

impl Asked {
    /// Whether the path ends with `plural`.
    pub fn is_for(&self, plural: &str) -> bool {
        self.path.ends_with(&format!("/{plural}"))
    }

    pub fn is_watch(&self) -> bool {
        self.query.contains_key("watch")
    }

    /// Whether it begins a watch that streams its listing.
    pub fn is_streamed_listing(&self) -> bool {
        self.query.contains_key("sendInitialEvents")
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A body, and no more.
    Json(Value),
    /// A `Status` with this code and reason.
    Refused(u16, &'static str),
    /// Watch events, after which the stream ends.
    Events(Vec<Value>),
    /// Watch events, after which the stream stays open.
    EventsAndSilence(Vec<Value>),
    /// No answer at all.
    Silence,
}

pub type Log = Arc<Mutex<Vec<Asked>>>;

/// A client whose requests `answer` answers. It is told how many requests of the same path came before. The log takes every
/// request.
pub fn client(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> (Client, Log) {
    let log = Log::default();
    let answer = Arc::new(answer);
    let service = service_fn({
        let log = log.clone();
        move |request: Request<Body>| {
            let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            let query = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let asked = Asked { path: request.uri().path().to_owned(), query };
            let before = {
                let mut log = log.lock().unwrap();
                let before = log.iter().filter(|known| known.path == asked.path).count();
                log.push(asked.clone());
                before
            };
            let answer = answer(&asked, before);
            async move { response(answer).await }
        }
    });
    (Client::new(service, "default"), log)
}

/// A page of a list.
pub fn page(items: &[Value], next: &str) -> Answer {
    Answer::Json(json!({"metadata": {"resourceVersion": "10", "continue": next}, "items": items}))
}

/// A Pod that takes `secret`.
pub fn pod(name: &str, secret: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "5"},
        "spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": secret}}]}]},
    })
}

pub fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

/// The event that ends a streamed listing.
pub fn listed() -> Value {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    event(
        "BOOKMARK",
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": "9", "annotations": annotations}}),
    )
}

async fn response(answer: Answer) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let whole = |value: &Value| Full::new(Bytes::from(value.to_string())).boxed_unsync();
    let lines = |events: Vec<Value>| {
        stream::iter(events).map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))))
    };
    let (code, body) = match answer {
        Answer::Json(value) => (200, whole(&value)),
        Answer::Refused(code, reason) => (
            code,
            whole(&json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no"})),
        ),
        Answer::Events(events) => (200, StreamBody::new(lines(events)).boxed_unsync()),
        Answer::EventsAndSilence(events) => {
            (200, StreamBody::new(lines(events).chain(stream::pending())).boxed_unsync())
        }
        Answer::Silence => std::future::pending().await,
    };
    Ok(Response::builder().status(code).body(body).unwrap())
}
