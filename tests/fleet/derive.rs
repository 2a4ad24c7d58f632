//! The manifests of a type, made from one of its examples: other addresses, a CA and other values in the Secret, and nothing else.
//! What is made is held beside what it is made from, by a look that knows nothing of how it was made.

use std::{collections::BTreeMap, net::SocketAddr};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::{
    address::{aim, aim_document},
    example::Example,
};

/// The ConfigMap that the CA is put into, by the name that the full examples use.
const AUTHORITY: &str = "company-ca";

/// What is put into an example.
#[derive(Clone)]
pub struct Change {
    /// Whether the full example is changed, and not the minimal one.
    pub full: bool,
    /// Where the system is.
    pub address: SocketAddr,
    /// What an endpoint has beside the address, as the settings have it.
    pub place: Value,
    /// Addresses of what is asked beside the system, as the settings have them.
    pub beside: Value,
    /// Whom to trust, where there is TLS.
    pub ca: Option<String>,
    /// The values of the Secret. It has these keys and no other.
    pub secret: Vec<(&'static str, Vec<u8>)>,
}

/// The objects of the example, changed so, for a namespace; the Connection is the last.
///
/// # Panics
/// Where more of the example would be changed.
pub fn manifests(example: &Example, namespace: &str, change: &Change) -> Vec<Value> {
    let mut made = example.documents.clone();
    for document in &mut made {
        document["metadata"]["namespace"] = json!(namespace);
        match document["kind"].as_str() {
            Some("Secret") => fill(document, change),
            Some("Connection") => {
                let settings = &mut document["spec"][example.kind.member()];
                json_patch::merge(settings, &change.place);
                aim(example.kind, settings, change.address);
                json_patch::merge(settings, &change.beside);
                if change.ca.is_some() {
                    let ca = json!({"tls": {"ca": {"configMapRef": {"name": AUTHORITY, "key": "ca.crt"}}}});
                    json_patch::merge(&mut document["spec"], &ca);
                }
            }
            _ => {}
        }
    }
    if let Some(ca) = &change.ca {
        made.retain(|document| document["kind"] != "ConfigMap");
        let metadata = json!({"name": AUTHORITY, "namespace": namespace});
        made.insert(0, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": ca}}));
    }
    made.sort_by_key(|document| document["kind"] == "Connection");
    if let Err(sentence) = compare(&example.documents, &made) {
        panic!("{}: {sentence}", example.name);
    }
    made
}

/// Puts the values into the Secret, as text where they are text.
fn fill(secret: &mut Value, change: &Change) {
    let mut values: BTreeMap<&str, Vec<u8>> = change.secret.iter().cloned().collect();
    for value in values.values_mut() {
        // A key may say where it is to be used.
        aim_document(value, change.address);
    }
    for (field, write) in [
        ("stringData", (|value| String::from_utf8(value).ok()) as fn(Vec<u8>) -> Option<String>),
        ("data", |value| Some(BASE64_STANDARD.encode(value))),
    ] {
        for (key, old) in secret[field].as_object_mut().into_iter().flatten() {
            let value = values.remove(key.as_str()).and_then(write);
            *old = json!(value.unwrap_or_else(|| panic!("{field}.{key} of the example has no value here")));
        }
    }
    assert!(values.is_empty(), "the example's Secret has no key {:?}", values.keys());
}

/// Says where two lists of objects differ in more than addresses, the CA and the values of Secrets.
fn compare(from: &[Value], made: &[Value]) -> Result<(), String> {
    let named = |documents: &[Value]| -> BTreeMap<String, Value> {
        let kept = documents.iter().filter(|document| document["kind"] != "ConfigMap");
        let name = |document: &Value| format!("{} {}", document["kind"], document["metadata"]["name"]);
        kept.map(|document| (name(document), document.clone())).collect()
    };
    let (from, made) = (named(from), named(made));
    if !from.keys().eq(made.keys()) {
        return Err(format!("{:?} is not {:?}", made.keys(), from.keys()));
    }
    let mut differences = Vec::new();
    for (name, document) in &from {
        differ(name, document, &made[name], &mut differences);
    }
    let other = differences.into_iter().find(|difference| !difference.is_allowed());
    other.map_or(Ok(()), |other| Err(format!("{} was {} and is {}", other.path, other.from, other.made)))
}

/// A value that is another one.
struct Difference<'a> {
    path: String,
    from: &'a Value,
    made: &'a Value,
}

fn differ<'a>(path: &str, from: &'a Value, made: &'a Value, found: &mut Vec<Difference<'a>>) {
    match (from, made) {
        (from, made) if from == made => {}
        (Value::Object(old), Value::Object(new)) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                differ(&format!("{path}.{name}"), &from[name], &made[name], found);
            }
        }
        // What is added as a whole is looked at in its parts.
        (Value::Null, Value::Object(new)) => {
            new.iter().for_each(|(name, made)| differ(&format!("{path}.{name}"), &Value::Null, made, found));
        }
        (from, made) => found.push(Difference { path: path.to_owned(), from, made }),
    }
}

impl Difference<'_> {
    fn is_allowed(&self) -> bool {
        let (object, path) = self.path.split_once('.').unwrap_or_default();
        let parts: Vec<&str> = path.split('.').collect();
        let changed = !self.from.is_null() && !self.made.is_null();
        match (object.split(' ').next(), &parts[..]) {
            (_, ["metadata", "namespace"]) => self.from.is_null(),
            (Some("\"Secret\""), ["data" | "stringData", ..]) => changed,
            (Some("\"Connection\""), ["spec", "tls", "ca", ..]) => true,
            (Some("\"Connection\""), ["spec", _, .., name]) if is_address(name) => !self.made.is_null(),
            (Some("\"Connection\""), ["spec", _, ..]) if changed => same_but_for_the_host(self.from, self.made),
            _ => false,
        }
    }
}

/// Whether fields of this name hold addresses, whole.
fn is_address(name: &str) -> bool {
    ["host", "port", "hosts", "brokers", "nameNodes", "kdc"].contains(&name)
        || name.to_lowercase().ends_with("endpoint")
}

/// Whether two URLs differ in nothing but the host and port.
fn same_but_for_the_host(from: &Value, made: &Value) -> bool {
    fn parts(url: &Value) -> Option<(&str, &str)> {
        let (scheme, rest) = url.as_str()?.split_once("://")?;
        Some((scheme, rest.find('/').map_or("", |at| &rest[at..])))
    }
    parts(from).is_some_and(|old| parts(made) == Some(old))
}

#[test]
fn whatever_else_differs_from_an_example_is_told() {
    let secret = json!({"kind": "Secret", "metadata": {"name": "a"}, "stringData": {"password": "x"}});
    let spec = json!({
        "type": "X", "x": {"host": "h", "database": "d", "queueURL": "https://a/1/q"}, "credentials": {"secretRef": {"name": "a"}},
    });
    let connection = json!({"kind": "Connection", "metadata": {"name": "a"}, "spec": spec});
    let from = [secret, connection];
    let changed = |at: usize, change: Value| {
        let mut made = from.to_vec();
        json_patch::merge(&mut made[at], &change);
        compare(&from, &made)
    };
    for (at, change) in [
        (0, json!({"stringData": {"password": "y"}})),
        (0, json!({"metadata": {"namespace": "n"}})),
        (1, json!({"spec": {"x": {"host": "i", "port": 7, "sqsEndpoint": "https://b"}}})),
        (1, json!({"spec": {"x": {"queueURL": "https://b:7/1/q"}}})),
        (1, json!({"spec": {"tls": {"ca": {"configMapRef": {"name": "ca", "key": "ca.crt"}}}}})),
    ] {
        assert_eq!(changed(at, change.clone()), Ok(()), "{change}");
    }
    for (at, change) in [
        (0, json!({"stringData": {"username": "y"}})),
        (0, json!({"stringData": {"password": null}})),
        (0, json!({"metadata": {"name": "b"}})),
        (1, json!({"metadata": {"labels": {"a": "b"}}})),
        (1, json!({"spec": {"x": {"database": "e"}}})),
        (1, json!({"spec": {"x": {"host": null}}})),
        (1, json!({"spec": {"x": {"table": "t"}}})),
        (1, json!({"spec": {"x": {"queueURL": "https://b/1/r"}}})),
        (1, json!({"spec": {"tls": {"mode": "Disable"}}})),
        (1, json!({"spec": {"credentials": null}})),
        (1, json!({"spec": {"permissions": ["Read"]}})),
        (1, json!({"spec": {"probe": {"timeout": "1s"}}})),
    ] {
        assert!(changed(at, change.clone()).is_err(), "{change}");
    }
}
