//! `status` as it is stored. Nothing in it moves unless something happened.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::conditions;
use crate::failure::MESSAGE_LIMIT;

/// Most users that a status lists; the count has them all.
pub const USERS_LIMIT: usize = 10;

/// What is known about the connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = standing)]
pub struct ConnectionStatus {
    /// The generation of the spec that this status is about; -1 before the operator has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The connection for people: made of the spec's fields, percent-encoded, without any secret. Do not parse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub connection_string: Option<String>,

    /// What holds and what does not, and why.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        transform = condition_bounds,
        extend("nullable" = true, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,

    /// Which versions of the Secret were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,

    /// Who uses the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,

    /// The Secret that a consumer may mount (Service Binding "provisioned service").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,

    /// The request annotation that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
}

/// Which versions of the credentials' Secret were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// The resourceVersion of the Secret that was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub observed_version: Option<String>,

    /// The resourceVersion of the Secret that the server accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub verified_version: Option<String>,
}

/// Who uses the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// How many objects use it.
    #[schemars(range(min = 0))]
    pub count: i64,

    /// The users in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub summary: Option<String>,

    /// The first users, sorted by kind and name. They are of the Connection's own namespace.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = USERS_LIMIT), extend("nullable" = true, "x-kubernetes-list-type" = "atomic"))]
    pub users: Vec<User>,
}

/// One object that uses the connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Its kind.
    #[schemars(length(max = 64))]
    pub kind: String,

    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,

    /// Its API version.
    #[schemars(length(max = 320))]
    pub api_version: String,

    /// How it says so.
    pub via: Via,
}

/// How a use is known. Where several ways say the same, the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Via {
    /// The object, or its pod template, names the Connection in the annotation `connectivity.dev/uses`.
    Annotation,
    /// Its pod template takes a Secret of the Connection.
    Secret,
    /// A ReferenceRule says in which field it names the Connection.
    Rule,
}

/// The Secret that a consumer may mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// The status that the API server gives to a new object: a reader never meets an empty one.
fn standing(schema: &mut Schema) {
    let conditions = conditions::standing_default();
    schema.insert("default".to_owned(), json!({"observedGeneration": -1, "conditions": conditions}));
}

/// Bounds the library's conditions as the contract does.
fn condition_bounds(schema: &mut Schema) {
    let Some(properties) = schema.pointer_mut("/items/properties").and_then(|found| found.as_object_mut()) else {
        return;
    };
    for (name, bounds) in [
        ("type", json!({"maxLength": 64})),
        ("status", json!({"enum": ["True", "False", "Unknown"]})),
        ("reason", json!({"minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"})),
        ("message", json!({"maxLength": MESSAGE_LIMIT})),
        ("observedGeneration", json!({"minimum": 0, "nullable": true})),
    ] {
        if let (Some(property), Some(bounds)) = (properties.get_mut(name), bounds.as_object()) {
            property.as_object_mut().into_iter().for_each(|property| property.extend(bounds.clone()));
        }
    }
}

/// Reads null as an empty list.
fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
