//! An API server made of a map of objects. It knows what the reconciler needs: reading, JSON patches with their tests, the
//! status subresource, finalizers. It writes down every request, and can be told to fail.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex},
};

use http::{Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Bytes;
use json_patch::{Patch, PatchOperation};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::{BoxError, service_fn};

/// One request as it came in, and how it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, PATCH, POST …
    pub method: String,
    /// The path.
    pub path: String,
    /// The query; empty where there is none.
    pub query: String,
    /// The content type; empty where there is none.
    pub content_type: String,
    /// The body; null where there is none.
    pub body: Value,
}

/// What happens to a request instead of what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status is answered, and nothing is done.
    Says(u16),
    /// The connection breaks before anything is done.
    BreaksBefore,
    /// The connection breaks after it was done.
    BreaksAfter,
    /// The process is killed before anything is done.
    KillsBefore,
    /// The process is killed after it was done.
    KillsAfter,
}

/// The API server.
#[derive(Clone, Default)]
pub struct Server(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    killed: Notify,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    log: Vec<Request>,
    rules: Vec<(String, Fault)>,
    nth: Option<(usize, Fault)>,
    listing: usize,
    most_listing: usize,
}

impl Server {
    /// A client of it.
    pub fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            service_fn(move |request: http::Request<Body>| {
                let server = server.clone();
                async move { server.serve(request).await }
            }),
            "default",
        )
    }

    /// Stores an object under its path, as a user does; resourceVersion and uid are the server's.
    pub fn store(&self, path: &str, mut object: Value) {
        self.with(|state| {
            state.version += 1;
            let uid = state.objects.get(path).map(|known| known["metadata"]["uid"].clone());
            object["metadata"]["uid"] = uid.unwrap_or_else(|| json!(format!("uid-{}", state.version)));
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            state.objects.insert(path.to_owned(), object);
        });
    }

    /// Changes an object, as a user does.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.object(path).unwrap_or_else(|| panic!("no {path}"));
        change(&mut object);
        self.store(path, object);
    }

    /// Takes an object away, whatever holds it.
    pub fn remove(&self, path: &str) {
        self.with(|state| state.objects.remove(path));
    }

    /// An object, if it is there.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.with(|state| state.objects.get(path).cloned())
    }

    /// The events about anything, as `reason`, in their order.
    pub fn events(&self) -> Vec<String> {
        let reason = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
        let requests = self.requests();
        requests.iter().filter(|request| request.method == "POST").map(|request| reason(&request.body)).collect()
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.with(|state| state.log.clone())
    }

    /// The requests since the last call, one line for each.
    pub fn news(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.log)).iter().map(ToString::to_string).collect()
    }

    /// Every request whose line is `line` meets a fault from now on.
    pub fn always(&self, line: &str, fault: Fault) {
        self.with(|state| state.rules.push((line.to_owned(), fault)));
    }

    /// Requests meet no faults any more.
    pub fn heal(&self) {
        self.with(|state| {
            state.rules.clear();
            state.nth = None;
        });
    }

    /// The request after `before` others meets a fault, once.
    pub fn once(&self, before: usize, fault: Fault) {
        self.with(|state| state.nth = Some((before, fault)));
    }

    /// Whether the fault of [`Server::once`] is still to come.
    pub fn is_waiting_to_fail(&self) -> bool {
        self.with(|state| state.nth.is_some())
    }

    /// Waits until a request kills the process.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Most lists that were under way at once.
    pub fn most_lists_at_once(&self) -> usize {
        self.with(|state| state.most_listing)
    }

    /// A list takes some turns of the runtime, in which other requests come.
    async fn list(&self) {
        self.with(|state| {
            state.listing += 1;
            state.most_listing = state.most_listing.max(state.listing);
        });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.with(|state| state.listing -= 1);
    }

    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.0.state.lock().unwrap())
    }

    async fn serve(&self, request: http::Request<Body>) -> Result<Response<Full<Bytes>>, BoxError> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await?;
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let request = Request {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            content_type: content_type.to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        if request.method == "GET" && request.is_list() {
            self.list().await;
        }
        let broken = || Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        match self.with(|state| state.meet(&request)) {
            None => Ok(self.with(|state| state.answer(&request))),
            Some(Fault::Says(code)) => Ok(refusal(code)),
            Some(Fault::BreaksBefore) => broken(),
            Some(Fault::BreaksAfter) => {
                self.with(|state| state.answer(&request));
                broken()
            }
            Some(fault @ (Fault::KillsBefore | Fault::KillsAfter)) => {
                if fault == Fault::KillsAfter {
                    self.with(|state| state.answer(&request));
                }
                self.0.killed.notify_one();
                std::future::pending().await
            }
        }
    }
}

impl State {
    /// Writes a request down, and says what happens to it.
    fn meet(&mut self, request: &Request) -> Option<Fault> {
        self.log.push(request.clone());
        match &mut self.nth {
            Some((0, fault)) => {
                let fault = *fault;
                self.nth = None;
                return Some(fault);
            }
            Some((before, _)) => *before -= 1,
            None => {}
        }
        let line = request.to_string();
        self.rules.iter().find(|(meant, _)| *meant == line).map(|(_, fault)| *fault)
    }

    fn answer(&mut self, request: &Request) -> Response<Full<Bytes>> {
        match request.method.as_str() {
            "GET" if request.is_list() => {
                let inside = format!("{}/", request.path);
                let items: Vec<&Value> = self
                    .objects
                    .iter()
                    .filter(|(path, _)| path.starts_with(&inside))
                    .map(|(_, object)| object)
                    .collect();
                let metadata = json!({"resourceVersion": self.version.to_string()});
                response(200, &json!({"kind": "List", "metadata": metadata, "items": items}))
            }
            "GET" => self.objects.get(&request.path).map_or_else(|| refusal(404), |object| response(200, object)),
            "POST" => response(201, &request.body),
            "PATCH" => self.patch(request),
            other => panic!("{other} is no request of the reconciler"),
        }
    }

    fn patch(&mut self, request: &Request) -> Response<Full<Bytes>> {
        let (path, is_status) = match request.path.strip_suffix("/status") {
            Some(path) => (path.to_owned(), true),
            None => (request.path.clone(), false),
        };
        let Some(before) = self.objects.get(&path).cloned() else { return refusal(404) };
        let mut after = before.clone();
        let Ok(patch) = serde_json::from_value::<Patch>(request.body.clone()) else { return refusal(400) };
        // What is not there is null to the API server's tests.
        let holds = |operation: &PatchOperation| match operation {
            PatchOperation::Test(test) if test.value.is_null() => before.pointer(test.path.as_str()).is_none(),
            _ => false,
        };
        let patch = Patch(patch.0.into_iter().filter(|operation| !holds(operation)).collect());
        if json_patch::patch(&mut after, &patch).is_err() {
            return refusal(422);
        }
        let (kept, changed) = if is_status { (&before, &after) } else { (&after, &before) };
        let mut object = kept.clone();
        object["status"] = changed["status"].clone();
        if object != before {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        let is_free = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if is_free && object["metadata"]["deletionTimestamp"].is_string() {
            self.objects.remove(&path);
        } else {
            self.objects.insert(path, object.clone());
        }
        response(200, &object)
    }
}

impl Request {
    /// The path behind the namespace: `pods`, `connections/orders-db/status`.
    fn place(&self) -> &str {
        let inside = self.path.split_once("/namespaces/").and_then(|(_, inside)| inside.split_once('/'));
        inside.map_or(&self.path, |(_, place)| place)
    }

    fn is_list(&self) -> bool {
        !self.place().contains('/')
    }

    /// The operations of a JSON patch.
    pub fn operations(&self) -> Vec<&Value> {
        self.body.as_array().into_iter().flatten().collect()
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.method.as_str() {
            "GET" if self.is_list() => "LIST",
            other => other,
        };
        write!(f, "{verb} {}", self.place())
    }
}

fn refusal(code: u16) -> Response<Full<Bytes>> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        422 => "Invalid",
        _ => "InternalError",
    };
    let message = "the tests' API server says no";
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    response(code, &status)
}

fn response(code: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::new(Bytes::from(body.to_string()))).unwrap()
}
