//! Everything a pass reads: the object where it could not be decoded, and the Secrets and ConfigMaps it names.
//!
//! It reads and decides nothing; what is read lives as long as the pass.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client,
    core::{ApiResource, DeserializeGuard, DynamicObject},
};

use crate::{
    api::{Connection, ConnectionSpec, Object},
    secret::SecretValue,
};

use super::{
    Error,
    materials::{Content, Reading},
    seen::Seen,
};

/// The Connection of this pass. One that cannot be decoded is read once more, as it is stored; `None`: it is gone.
///
/// # Errors
/// Where the API server does not answer.
pub async fn see(object: &Arc<DeserializeGuard<Connection>>, client: &Client) -> Result<Option<Seen>, Error> {
    let invalid = match &object.0 {
        Ok(connection) => return Ok(Some(Seen::whole(connection))),
        Err(invalid) => invalid,
    };
    let (namespace, name) = (&invalid.metadata.namespace, &invalid.metadata.name);
    let resource = ApiResource::erase::<Connection>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace.as_deref().unwrap_or_default(), &resource);
    let found = api.get_opt(name.as_deref().unwrap_or_default()).await.map_err(Error::api)?;
    Ok(found.map(|found| Seen::broken(&found, &invalid.error)))
}

/// Reads each Secret and ConfigMap that the spec names, each once.
///
/// # Errors
/// Where the API server does not answer; that something is absent or forbidden is an answer.
pub async fn read<'a>(
    spec: &'a ConnectionSpec,
    namespace: &str,
    client: &Client,
) -> Result<BTreeMap<Object<'a>, Reading>, Error> {
    let mut readings = BTreeMap::new();
    for source in spec.sources() {
        if readings.contains_key(&source.object) {
            continue;
        }
        let reading = match source.object {
            Object::Secret(name) => read_secret(client, namespace, name).await?,
            Object::ConfigMap(name) => read_config_map(client, namespace, name).await?,
        };
        readings.insert(source.object, reading);
    }
    Ok(readings)
}

async fn read_secret(client: &Client, namespace: &str, name: &str) -> Result<Reading, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    answered(api.get(name).await, |secret| Content {
        version: secret.metadata.resource_version.unwrap_or_default(),
        type_: secret.type_.unwrap_or_default(),
        data: wrap(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0))),
    })
}

async fn read_config_map(client: &Client, namespace: &str, name: &str) -> Result<Reading, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    answered(api.get(name).await, |map| {
        let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Content {
            version: map.metadata.resource_version.unwrap_or_default(),
            type_: String::new(),
            data: wrap(binary.chain(text)),
        }
    })
}

fn answered<T>(answer: Result<T, kube::Error>, content: impl FnOnce(T) -> Content) -> Result<Reading, Error> {
    match answer {
        Ok(found) => Ok(Reading::Present(content(found))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Reading::Absent),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Reading::Forbidden),
        Err(error) => Err(Error::api(error)),
    }
}

fn wrap(data: impl Iterator<Item = (String, Vec<u8>)>) -> BTreeMap<String, SecretValue> {
    data.map(|(key, value)| (key, SecretValue::new(value))).collect()
}
