//! Everything a pass writes: the finalizer, the status, events. Each write is a JSON patch that starts by testing the UID,
//! so that nothing is ever written on an object that was recreated under the same name.

use json_patch::Patch as JsonPatch;
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde_json::{Value, json};

use crate::api::{Connection, ConnectionStatus, annotations::FINALIZER};

use super::{Error, events::Event, recorder::Recorder, seen::Seen, standing::Answer};

/// Puts the finalizer on.
///
/// # Errors
/// [`Error::Outdated`] where the object is another one than was seen.
pub async fn adopt(seen: &Seen, client: &Client) -> Result<Answer, Error> {
    let add = match &seen.metadata.finalizers {
        None => vec![
            json!({"op": "test", "path": "/metadata/finalizers", "value": null}),
            json!({"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}),
        ],
        Some(_) => vec![json!({"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER})],
    };
    patch(seen, client, add, None).await
}

/// Takes the finalizer off, so that the object can go.
///
/// # Errors
/// [`Error::Outdated`] where the object is another one than was seen, [`Error::Gone`] where it has gone already.
pub async fn release(seen: &Seen, at: usize, client: &Client) -> Result<Answer, Error> {
    let path = format!("/metadata/finalizers/{at}");
    let remove = vec![json!({"op": "test", "path": path, "value": FINALIZER}), json!({"op": "remove", "path": path})];
    patch(seen, client, remove, None).await
}

/// Replaces the whole status.
///
/// # Errors
/// As [`release`].
pub async fn write(seen: &Seen, status: &ConnectionStatus, client: &Client) -> Result<Answer, Error> {
    let value = serde_json::to_value(status).map_err(|_| Error::Outdated)?;
    patch(seen, client, vec![json!({"op": "replace", "path": "/status", "value": value})], Some(status)).await
}

/// Publishes events. That one is refused, as in a namespace that is going, is no failure of the pass.
pub async fn publish(seen: &Seen, events: Vec<Event>, recorder: &Recorder) {
    for event in events {
        if recorder.publish(&event, seen, super::wall_clock()).await.is_err() {
            tracing::debug!(namespace = seen.namespace(), name = seen.name(), event.reason, "an event was not taken");
        }
    }
}

async fn patch(
    seen: &Seen,
    client: &Client,
    change: Vec<Value>,
    status: Option<&ConnectionStatus>,
) -> Result<Answer, Error> {
    let test = json!({"op": "test", "path": "/metadata/uid", "value": seen.metadata.uid});
    let operations = std::iter::once(test).chain(change).collect();
    let patch: JsonPatch = serde_json::from_value(Value::Array(operations)).map_err(|_| Error::Outdated)?;
    let patch: Patch<()> = Patch::Json(patch);
    let api: Api<PartialObjectMeta<Connection>> = Api::namespaced(client.clone(), seen.namespace());
    let parameters = PatchParams::default();
    let answer = match status {
        None => api.patch(seen.name(), &parameters, &patch).await,
        Some(_) => api.patch_status(seen.name(), &parameters, &patch).await,
    };
    match answer {
        Ok(PartialObjectMeta { metadata: ObjectMeta { resource_version, finalizers, .. }, .. }) => {
            let version = resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or_default();
            Ok(Answer { version, resource_version, finalizers, status: status.cloned() })
        }
        // A failed test is 422, a change in between 409: read again and decide again. 404: it is gone.
        Err(kube::Error::Api(answer)) if answer.code == 422 || answer.code == 409 => Err(Error::Outdated),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Err(Error::Gone),
        Err(error) => Err(Error::api(error)),
    }
}
