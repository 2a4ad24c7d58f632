//! `Connection`: the resource as it is stored, and the rules that the API server holds it to.
//!
//! Defaults that may differ by type or change later are stated in descriptions and filled in by [`super::spec`], not here:
//! a default in the schema is stored with every object and can never change.

use std::collections::BTreeMap;

use kube::{
    CustomResource, KubeSchema,
    core::{Message, Rule, validate},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::spec::{CLIENT_CERTIFICATE_KEYS, Object, ProbePolicy, Role, Source};
use super::{duration, status::ConnectionStatus, tls::Tls};
use crate::connections::{ConnectionType, Members, Permission};

/// What is asked of the connection: which system, with which credentials, and what must be possible with them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "connectivity.dev",
    version = "v1alpha1",
    kind = "Connection",
    namespaced,
    plural = "connections",
    shortname = "cxn",
    category = "connectivity",
    doc = "A connection to a data system. Its status tells whether it works, and who uses it.",
    status = "ConnectionStatus",
    derive = "PartialEq",
    selectable = ".spec.type",
    selectable = ".spec.credentials.secretRef.name",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Used-By", type_ = "integer", json_path = ".status.usage.count"),
    printcolumn(name = "Connection-String", type_ = "string", json_path = ".status.connectionString"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Users", type_ = "string", json_path = ".status.usage.summary", priority = 1),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.credentials.secretRef.name", priority = 1),
    printcolumn(name = "ID", type_ = "string", json_path = ".metadata.uid", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = type_rules)]
pub struct ConnectionSpec {
    /// Kind of system; it cannot be changed.
    #[serde(rename = "type")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("`type` cannot be changed"))]
    pub type_: ConnectionType,

    /// What the connection is for, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,

    /// The settings: exactly the member that `type` names is set.
    #[serde(flatten)]
    pub members: Members,

    /// Where the credentials are stored. Absent only where the type can be used without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// How TLS is done. Default: mode VerifyFull, with the certificates that the operator's system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// What the connection must be allowed to do. Absent or empty: only that the named target exists is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub permissions: Option<Vec<Permission>>,

    /// When and how patiently the connection is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,

    /// True stops probing: Ready becomes Unknown, with the reason Suspended. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Where the credentials are stored: exactly one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef)").message(Credentials::RULE).field_path(".secretRef"))]
pub struct Credentials {
    /// A Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,

    /// Which key of the Secret holds which credential: canonical key to key in the Secret. Needed only where the Secret
    /// uses names that the type does not know by itself; naming a key switches its other known names off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" =
        {"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$"}))]
    pub keys: Option<BTreeMap<String, String>>,
}

impl Credentials {
    /// The sentence for credentials that are stored nowhere.
    pub const RULE: &str = "`credentials` must say where they are stored: set `secretRef`";
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// When and how patiently the connection is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(concat!(
    "!has(self.timeout) || !has(self.interval)",
    " || !self.timeout.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",
    " || !self.interval.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",
    " || duration(self.timeout) <= duration(self.interval)"
)).message(Probe::TIMEOUT_RULE).field_path(".timeout"))]
pub struct Probe {
    /// Time from one look to the next, 5s to 24h. Default: 60s, and 5m for types that are billed or limited per account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = duration::MAX_LENGTH), regex(pattern = duration::PATTERN))]
    #[x_kube(validation = Rule::new(concat!(
        "!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",
        " || (duration(self) >= duration('5s') && duration(self) <= duration('24h'))"
    )).message("`interval` must be 5s to 24h"))]
    pub interval: Option<String>,

    /// How long one look may take, 1s to 60s and not longer than the interval. Default: 10s, or the interval where that
    /// is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = duration::MAX_LENGTH), regex(pattern = duration::PATTERN))]
    #[x_kube(validation = Rule::new(concat!(
        "!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",
        " || (duration(self) >= duration('1s') && duration(self) <= duration('60s'))"
    )).message("`timeout` must be 1s to 60s"))]
    pub timeout: Option<String>,

    /// How many failures in a row that may pass by themselves make a working connection a broken one, 1 to 10. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10), extend("format" = "int32"))]
    pub failure_threshold: Option<u32>,

    /// How many successes in a row make a broken connection a working one, 1 to 10. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10), extend("format" = "int32"))]
    pub success_threshold: Option<u32>,
}

impl Probe {
    /// The sentence for a timeout that is longer than the interval.
    pub const TIMEOUT_RULE: &str = "`timeout` must not be longer than `interval`";
}

/// Adds, for each type, the rules about the keys it has and the permissions it can prove.
fn type_rules(schema: &mut schemars::Schema) {
    let listed = |words: Vec<&str>| format!("['{}']", words.join("', '"));
    for kind in ConnectionType::ALL {
        let name = kind.as_str();
        let about = kind.about();
        let keys = listed(about.keys.iter().map(|key| key.name).collect());
        let rule = Rule::new(format!(
            "self.type != '{name}' || !has(self.credentials) || !has(self.credentials.keys) \
             || self.credentials.keys.all(key, key in {keys})"
        ));
        let rule = rule.message(Message::Message(keys_message(*kind))).field_path(".credentials.keys");
        validate(schema, rule).expect("a rule is JSON");
        if [Permission::List, Permission::Read, Permission::Write]
            .iter()
            .all(|permission| about.permissions.contains(permission))
        {
            continue;
        }
        let permissions = listed(about.permissions.iter().map(|permission| permission.as_str()).collect());
        let rule = Rule::new(format!(
            "self.type != '{name}' || !has(self.permissions) || self.permissions.all(asked, asked in {permissions})"
        ));
        let rule = rule.message(Message::Message(permissions_message(*kind))).field_path(".permissions");
        validate(schema, rule).expect("a rule is JSON");
    }
}

/// The sentence for a key of `credentials.keys` that the type does not have.
pub(super) fn keys_message(kind: ConnectionType) -> String {
    let known: Vec<&str> = kind.about().keys.iter().map(|key| key.name).collect();
    format!("`credentials.keys` of type {} can map only: {}", kind.as_str(), known.join(", "))
}

/// The sentence for a permission that the type cannot prove.
pub(super) fn permissions_message(kind: ConnectionType) -> String {
    let known: Vec<&str> = kind.about().permissions.iter().map(|permission| permission.as_str()).collect();
    match known.as_slice() {
        [] => format!("type {} has no permissions to ask for", kind.as_str()),
        some => format!("`permissions` of type {} can be only: {}", kind.as_str(), some.join(", ")),
    }
}
