//! Every value of every Secret, right ones and wrong ones, of looks that got as far as a login: none is to be seen in anything that
//! the operator says. What peers do that are no servers is asked in `tests/conformance/secrecy.rs`.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;

use crate::harness::control_plane::ControlPlane;

/// Keys whose values are names: servers and audit logs show them.
const NAMES: [&str; 2] = ["username", "accessKeyId"];

/// Shortest text that is not found by chance.
const SHORTEST: usize = 6;

/// What must not be seen, each with the place where it stands.
pub struct Secrets(BTreeSet<(String, String)>);

impl Secrets {
    /// Those of all Secrets of the cluster that hold credentials.
    pub async fn of(plane: &ControlPlane) -> Self {
        let list = plane.admin.get("/api/v1/secrets").await.object();
        let mut found = BTreeSet::new();
        for secret in list["items"].as_array().expect("a list") {
            let named = format!("{}/{}", text(&secret["metadata"]["namespace"]), text(&secret["metadata"]["name"]));
            let data = secret["data"].as_object().into_iter().flatten();
            for (key, value) in data.filter(|(key, _)| secret["type"] == "Opaque" && !NAMES.contains(&key.as_str())) {
                let value = BASE64_STANDARD.decode(text(value)).expect("base64");
                found.extend(parts(&value).into_iter().map(|part| (part, format!("{named}, {key}"))));
            }
        }
        Self(found)
    }

    /// From how many keys of Secrets they are.
    pub fn keys(&self) -> usize {
        self.0.iter().map(|(_, place)| place).collect::<BTreeSet<_>>().len()
    }

    /// Fails where `said` has one of them.
    pub fn must_not_be_in(&self, what: &str, said: &str) {
        assert!(!said.is_empty(), "{what} is empty");
        for (part, place) in &self.0 {
            assert!(!said.contains(part.as_str()), "{what} has the value of {place}, as {part}");
        }
    }

    /// Fails where the API server has one of them in a Connection or in an event.
    pub async fn must_not_be_told(&self, plane: &ControlPlane) {
        for (what, path) in [
            ("a Connection", "/apis/connectivity.dev/v1alpha1/connections"),
            ("an event", "/apis/events.k8s.io/v1/events"),
        ] {
            let list = plane.admin.get(path).await.object();
            let items = list["items"].as_array().expect("a list");
            assert!(!items.is_empty(), "there is none: {path}");
            self.must_not_be_in(what, &list.to_string());
        }
    }
}

/// What a value would be known by: itself where it is one line of text, its long lines, and its base64.
fn parts(value: &[u8]) -> Vec<String> {
    let encoded = [BASE64_STANDARD_NO_PAD.encode(value), BASE64_URL_SAFE_NO_PAD.encode(value)];
    let Ok(text) = std::str::from_utf8(value) else { return encoded.into() };
    // Only the key is secret in a file that says whose it is.
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let text = document["private_key"].as_str().unwrap_or(text);
    // The words of PEM are nobody's secret.
    let lines = text.lines().filter(|line| line.len() >= SHORTEST && !line.starts_with("-----"));
    lines.map(str::to_owned).chain(encoded).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_value_is_known_by_its_lines_and_its_base64() {
    let known = |value: &[u8]| {
        let secrets = Secrets(parts(value).into_iter().map(|part| (part, "here".to_owned())).collect());
        move |said: &str| std::panic::catch_unwind(|| secrets.must_not_be_in("it", said)).is_err()
    };
    let password = known(b"hunter2!");
    assert!(password("it is hunter2! now") && password("Basic aHVudGVyMiE=") && !password("hunter"));
    let key = known(br#"{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nMIIEvQIB\n-----END PRIVATE KEY-----\n"}"#);
    assert!(key("MIIEvQIB") && !key("service_account") && !key("-----BEGIN PRIVATE KEY-----"));
    assert!(known(b"\xff\x00\xfe\x01")("/wD+AQ==") && known(b"\xff\x00\xfe\x01")("_wD-AQ"));
}
