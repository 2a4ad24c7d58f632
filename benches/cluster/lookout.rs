//! Somebody who waits for Connections as `kubectl wait` does: by a watch.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::watcher::{Config, Event, watcher},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};

/// How long anything may take; ten thousand creations take minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// A watch on the Connections of all namespaces, but those with the label [`super::stage::FLOOR`].
pub struct Lookout {
    seen: UnboundedReceiver<Sight>,
    task: JoinHandle<()>,
}

/// Something that was seen first at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// `namespace/name`.
    pub name: String,
    /// What.
    pub what: What,
    /// When.
    pub at: Instant,
}

/// What can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The watch has begun.
    Began,
    /// Ready is True.
    Ready,
    /// The object is gone.
    Gone,
}

impl Lookout {
    /// Watches; returns once the watch has begun.
    pub async fn new(client: kube::Client) -> Self {
        let resource = ApiResource::erase::<connection_operator::api::Connection>(&());
        let api: Api<DynamicObject> = Api::all_with(client, &resource);
        let (tell, seen) = unbounded_channel();
        let task = tokio::spawn(async move {
            let config = Config::default().labels(&format!("!{}", super::stage::FLOOR)).streaming_lists();
            let mut events = std::pin::pin!(watcher(api, config));
            let mut ready: HashSet<String> = HashSet::new();
            while let Some(event) = events.next().await {
                let at = Instant::now();
                let say = |name: String, what| drop(tell.send(Sight { name, what, at }));
                match event {
                    Ok(Event::InitDone) => say(String::new(), What::Began),
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        let name = name(&object);
                        if is_ready(&object) && ready.insert(name.clone()) {
                            say(name, What::Ready);
                        }
                    }
                    Ok(Event::Delete(object)) => {
                        ready.remove(&name(&object));
                        say(name(&object), What::Gone);
                    }
                    Ok(Event::Init) | Err(_) => {}
                }
            }
        });
        let mut lookout = Self { seen, task };
        lookout.until(|sight| sight.what == What::Began).await;
        lookout
    }

    /// Waits for the one.
    pub async fn ready(&mut self, name: &str) -> Instant {
        self.until(|sight| sight.what == What::Ready && sight.name == name).await
    }

    /// Waits for the `count`th sight of `what` from now, and returns when it was.
    pub async fn all(&mut self, what: What, count: usize) -> Instant {
        let mut seen = 0;
        self.until(|sight| {
            seen += usize::from(sight.what == what);
            seen == count
        })
        .await
    }

    async fn until(&mut self, mut found: impl FnMut(&Sight) -> bool) -> Instant {
        let search = async {
            loop {
                let sight = self.seen.recv().await.expect("the watch goes on for as long as it is asked");
                if found(&sight) {
                    return sight.at;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("not seen within {PATIENCE:?}"))
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(object: &DynamicObject) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&object.metadata.namespace), text(&object.metadata.name))
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
