//! Tells events. What happens again soon is counted on the event that told it first; what is told in other words is an event
//! of its own.
//!
//! kube's recorder looks at the reason only and sends the old note again: the second cause of `Broken` was never read.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as Stored},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::events::Reporter,
};
use serde_json::json;

use super::{
    events::{Event, Severity},
    seen::Seen,
};

/// How long the same event is counted and not told anew, as other recorders have it.
const AGAIN: Duration = Duration::from_mins(6);
/// Most of a Connection's name that goes into an event's: a name has 253 characters, and the time takes 17 of them.
const NAME: usize = 200;

/// Tells events, in the name of one process.
pub struct Recorder {
    client: Client,
    reporter: Reporter,
    told: Mutex<HashMap<Key, Told>>,
}

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    reason: &'static str,
    note: String,
}

/// An event that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    name: String,
    count: i32,
    last: Instant,
}

impl Recorder {
    /// Nothing was told yet.
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, told: Mutex::default() }
    }

    /// Tells one event about a Connection, at the time `now`.
    ///
    /// # Errors
    /// Where the API server does not take it, as in a namespace that is going.
    pub async fn publish(&self, event: &Event, about: &Seen, now: Timestamp) -> kube::Result<()> {
        let uid = about.metadata.uid.clone().unwrap_or_default();
        let key = Key { uid, reason: event.reason, note: event.note.clone() };
        let events: Api<Stored> = Api::namespaced(self.client.clone(), about.namespace());
        if let Some(told) = self.told_before(&key, Instant::now()) {
            let series = json!({"series": {"count": told.count, "lastObservedTime": MicroTime(now)}});
            match events.patch(&told.name, &PatchParams::default(), &Patch::Merge(&series)).await {
                Ok(_) => {
                    self.remember(key, told);
                    return Ok(());
                }
                // It has expired, or somebody has deleted it.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let new = self.stored(event, about, now);
        let name = new.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &new).await?;
        self.remember(key, Told { name, count: 1, last: Instant::now() });
        Ok(())
    }

    /// The event that told the same not long ago, counted once more.
    fn told_before(&self, key: &Key, now: Instant) -> Option<Told> {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, told| now.saturating_duration_since(told.last) < AGAIN);
        let told = all.get(key)?;
        Some(Told { name: told.name.clone(), count: told.count.saturating_add(1), last: now })
    }

    fn remember(&self, key: Key, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(key, told);
    }

    fn stored(&self, event: &Event, about: &Seen, now: Timestamp) -> Stored {
        let start: String = about.name().chars().take(NAME).collect();
        let name = format!("{}.{:x}", start.trim_end_matches(['.', '-']), now.as_nanosecond());
        let namespace = Some(about.namespace().to_owned());
        let Reporter { controller, instance } = &self.reporter;
        Stored {
            metadata: ObjectMeta { name: Some(name), namespace: namespace.clone(), ..ObjectMeta::default() },
            action: Some(event.action.to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(event.note.clone()),
            reason: Some(event.reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(format!("{}/v1alpha1", crate::api::GROUP)),
                kind: Some("Connection".to_owned()),
                name: about.metadata.name.clone(),
                namespace,
                uid: about.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(controller.clone()),
            reporting_instance: Some(instance.as_ref().unwrap_or(controller).clone()),
            type_: Some(
                match event.severity {
                    Severity::Normal => "Normal",
                    Severity::Warning => "Warning",
                }
                .to_owned(),
            ),
            ..Stored::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use http::{Method, Request, Response};
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Bytes;
    use kube::{client::Body, core::DynamicObject};
    use serde_json::Value;
    use tower::service_fn;

    use super::*;

    type Log = Arc<Mutex<Vec<(Method, Value)>>>;

    /// A recorder whose patches are answered with `code`.
    fn recorder(code: u16) -> (Recorder, Log) {
        let log = Log::default();
        let known = Arc::clone(&log);
        let service = service_fn(move |request: Request<Body>| {
            let known = Arc::clone(&known);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let patched = head.method == Method::PATCH;
                known.lock().unwrap().push((head.method, serde_json::from_slice(&body).unwrap()));
                let status =
                    json!({"kind": "Status", "status": "Failure", "code": code, "reason": "R", "message": "m"});
                let (code, body) = if patched && code != 200 { (code, status.to_string().into()) } else { (200, body) };
                let body = if patched && code == 200 { Bytes::from(r#"{"eventTime": null}"#) } else { body };
                Ok::<_, Infallible>(Response::builder().status(code).body(Full::new(body)).unwrap())
            }
        });
        let reporter = Reporter { controller: "connection-operator".into(), instance: None };
        (Recorder::new(Client::new(service, "default"), reporter), log)
    }

    fn seen(name: &str) -> Seen {
        let object = json!({"metadata": {"name": name, "namespace": "shop", "uid": "u"}});
        Seen::broken(&serde_json::from_value::<DynamicObject>(object).unwrap(), "")
    }

    fn broken(note: &str) -> Event {
        Event { severity: Severity::Warning, reason: "Broken", action: "Probe", note: note.to_owned() }
    }

    /// Tells these notes one after the other; what was sent.
    async fn told(code: u16, notes: &[&str]) -> Vec<(Method, Value)> {
        let (recorder, log) = recorder(code);
        for (time, note) in (1..).zip(notes) {
            let now = Timestamp::from_second(time).unwrap();
            recorder.publish(&broken(note), &seen("orders-db"), now).await.unwrap();
        }
        log.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn the_same_again_is_counted_and_other_words_are_another_event() {
        let sent = told(200, &["refused", "refused", "too slow", "refused"]).await;
        let (methods, bodies): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        assert_eq!(methods, [Method::POST, Method::PATCH, Method::POST, Method::PATCH]);
        assert_eq!((&bodies[0]["note"], &bodies[2]["note"]), (&json!("refused"), &json!("too slow")));
        assert_ne!(bodies[0]["metadata"]["name"], bodies[2]["metadata"]["name"]);
        assert_eq!((&bodies[1]["series"]["count"], &bodies[3]["series"]["count"]), (&json!(2), &json!(3)));
    }

    #[tokio::test]
    async fn an_event_that_has_expired_is_told_anew() {
        let methods: Vec<Method> =
            told(404, &["refused", "refused"]).await.into_iter().map(|(method, _)| method).collect();
        assert_eq!(methods, [Method::POST, Method::PATCH, Method::POST]);
    }

    #[tokio::test]
    async fn after_a_while_the_same_is_news() {
        let (recorder, _) = recorder(200);
        let key = |note: &str| Key { uid: "u".into(), reason: "Broken", note: note.into() };
        let begin = Instant::now();
        recorder.remember(key("refused"), Told { name: "e".into(), count: 1, last: begin });
        let again = Told { name: "e".into(), count: 2, last: begin + AGAIN / 2 };
        assert_eq!(recorder.told_before(&key("refused"), begin + AGAIN / 2), Some(again));
        assert_eq!(recorder.told_before(&key("too slow"), begin), None);
        assert_eq!(recorder.told_before(&key("refused"), begin + AGAIN), None);
        assert!(recorder.told.lock().unwrap().is_empty(), "what is old is forgotten");
    }

    #[tokio::test]
    async fn an_events_name_is_a_name_however_long_the_connections_is() {
        let (recorder, _) = recorder(200);
        let now = Timestamp::from_second(4_000_000_000).unwrap();
        let long = format!("{}-.{}", "a".repeat(NAME - 1), "b".repeat(52));
        let stored = recorder.stored(&broken("refused"), &seen(&long), now);
        let name = stored.metadata.name.unwrap();
        assert!(name.len() <= 253 && name.starts_with("aaa") && !name.contains("-."), "{name}");
        assert_eq!(stored.regarding.unwrap().name.unwrap(), long);
    }
}
