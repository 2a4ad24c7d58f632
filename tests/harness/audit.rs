//! The audit log of the API server: who asked for what, exactly.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::Value;

use super::{caller::Caller, eventually};

/// The log of one API server.
#[derive(Clone)]
pub struct Audit {
    path: PathBuf,
    caller: Caller,
}

/// A place in the log; requests after it can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Position(u64);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was received, as the log writes it; the order of these texts is the order in time.
    pub received: String,
    /// When it was answered, or a watch began.
    pub answered: String,
    /// get, list, watch, create, update, patch, delete …
    pub verb: String,
    /// The resource, with its subresource after a slash.
    pub resource: String,
    /// The namespace; empty where there is none.
    pub namespace: String,
    /// The object's name; empty for a list.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u64,
    /// Path and query.
    pub uri: String,
    /// What was sent about a Connection; null for everything else.
    pub body: Value,
}

impl Audit {
    /// The log in the file `path` of the API server that `caller` talks to.
    pub fn new(path: PathBuf, caller: Caller) -> Self {
        Self { path, caller }
    }

    /// The end of the log.
    pub fn position(&self) -> Position {
        Position(fs::metadata(&self.path).map_or(0, |file| file.len()))
    }

    /// The requests of `user` that were received after `position` and whose URI contains `about`, in the order they came in. Every one
    /// that was received before this call is among them: what a request did may show before it is answered. For the same reason one that
    /// was received before `position` is not, whenever it is answered.
    pub async fn requests(&self, user: &str, about: &str, position: Position) -> Vec<Request> {
        self.settled().await;
        let received = unanswered(&self.events(user, about, position));
        let mut seen: Vec<Request> = eventually(Duration::from_secs(20), "what was received is answered", async || {
            let events = self.events(user, about, position);
            let after = ids(&events, |event| event["stage"] == "RequestReceived");
            let is_after = |event: &&Value| event["auditID"].as_str().is_some_and(|id| after.contains(id));
            let answered = unanswered(&events).is_disjoint(&received);
            answered.then(|| events.iter().filter(is_after).filter_map(request).collect())
        })
        .await;
        seen.sort_by(|a, b| a.received.cmp(&b.received));
        seen
    }

    /// The entries of `user` after `position` whose URI contains `about`.
    fn events(&self, user: &str, about: &str, position: Position) -> Vec<Value> {
        let user = format!("\"username\":\"{user}\"");
        let text = self.text_after(position);
        let lines = text.lines().filter(|line| line.contains(&user) && line.contains(about));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["requestURI"].as_str().is_some_and(|uri| uri.contains(about))).collect()
    }

    /// Waits until the log holds a request that was made just now.
    async fn settled(&self) {
        static MARK: AtomicU64 = AtomicU64::new(0);
        let mark = format!("/version?settled={}-{}", std::process::id(), MARK.fetch_add(1, Ordering::Relaxed));
        let before = self.position();
        self.caller.get(&mark).await.object();
        eventually(Duration::from_secs(20), "the audit log is written", async || {
            self.text_after(before).contains(&mark).then_some(())
        })
        .await;
    }

    fn text_after(&self, position: Position) -> String {
        let mut bytes = Vec::new();
        let mut file = fs::File::open(&self.path).expect("the audit log");
        file.seek(SeekFrom::Start(position.0)).and_then(|_| file.read_to_end(&mut bytes)).expect("the audit log");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Request {
    /// Whether the request changes anything.
    pub fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.verb, self.resource, self.name)?;
        if self.code >= 300 { write!(f, " ({})", self.code) } else { Ok(()) }
    }
}

/// One line per request, for comparing and for messages: `patch connections/status orders-db`.
pub fn lines(requests: &[Request]) -> Vec<String> {
    requests.iter().map(ToString::to_string).map(|line| line.trim_end().to_owned()).collect()
}

/// The seconds of the day in a time of the log, `2026-01-01T10:20:30.123456Z`.
pub fn seconds(time: &str) -> f64 {
    let part = |range: std::ops::Range<usize>| time[range].parse::<f64>().expect("a time");
    part(11..13) * 3600.0 + part(14..16) * 60.0 + part(17..time.len() - 1)
}

/// The requests that were received and not answered yet; watches, which are long, are not among them.
fn unanswered(events: &[Value]) -> BTreeSet<String> {
    let received = ids(events, |event| event["stage"] == "RequestReceived" && event["verb"] != "watch");
    &received - &ids(events, |event| matches!(event["stage"].as_str(), Some("ResponseComplete" | "Panic")))
}

/// Which requests the entries that are `such` belong to.
fn ids(events: &[Value], such: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let events = events.iter().filter(|event| such(event));
    events.filter_map(|event| event["auditID"].as_str().map(str::to_owned)).collect()
}

/// A request by its last entry: watches are long and are taken when they begin, the others when they end.
fn request(event: &Value) -> Option<Request> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (verb, stage) = (text("/verb"), text("/stage"));
    let counts = if verb == "watch" { stage == "ResponseStarted" } else { stage == "ResponseComplete" };
    let refused = verb == "watch" && event.pointer("/responseStatus/code")?.as_u64()? >= 300;
    if !counts && !refused {
        return None;
    }
    let subresource = text("/objectRef/subresource");
    let resource = text("/objectRef/resource");
    Some(Request {
        received: text("/requestReceivedTimestamp"),
        answered: text("/stageTimestamp"),
        resource: if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") },
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        uri: text("/requestURI"),
        body: event["requestObject"].clone(),
        verb,
    })
}
