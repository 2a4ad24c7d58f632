//! What every schema must be like, so that the API server takes it, bounds it and explains it.

use connection_operator::{
    api::{self, Connection},
    connections::{ConnectionType, Members},
    failure,
};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

/// The schema of a Connection's spec, as the API server gets it.
pub fn spec() -> Value {
    open_api(&json!(Connection::crd()))["properties"]["spec"].take()
}

#[test]
fn every_property_is_described_and_bounded_and_takes_null_where_it_may_be_absent() {
    for crd in api::crds() {
        let root = open_api(&json!(crd));
        for part in ["spec", "status"] {
            let mut broken = Vec::new();
            walk(&root["properties"][part], part, &mut broken);
            assert!(broken.is_empty(), "{}", broken.join("\n"));
        }
    }
}

#[test]
fn the_walk_sees_what_is_wrong() {
    for (property, complaint) in [
        (json!({"type": "string", "maxLength": 3, "nullable": true}), "description"),
        (json!({"description": "x", "type": "string", "nullable": true}), "maxLength"),
        (json!({"description": "x", "type": "array", "nullable": true, "items": {"type": "integer"}}), "maxItems"),
        (
            json!({"description": "x", "type": "object", "nullable": true, "additionalProperties": {"type": "integer"}}),
            "maxProperties",
        ),
        (json!({"description": "x", "type": "integer"}), "nullable"),
        (json!({"description": "x", "type": "string", "enum": ["a"], "nullable": true}), "enum"),
        (json!({"description": "x", "type": "integer", "format": "uint16", "nullable": true}), "format"),
        (json!({"description": "x", "type": "integer", "nullable": true, "oneOf": []}), "oneOf"),
        (
            json!({"description": "x", "type": "integer", "nullable": true, "x-kubernetes-validations": [{"rule": "true"}]}),
            "message",
        ),
        (
            json!({"description": "x", "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true}),
            "preserve",
        ),
    ] {
        let mut broken = Vec::new();
        walk(&json!({"type": "object", "properties": {"field": property}}), "spec", &mut broken);
        assert!(broken.len() == 1 && broken[0].contains(complaint), "{complaint}: {broken:?}");
    }
}

#[test]
fn no_rule_is_lost_on_the_way_into_the_definition() {
    let of_spec = rules(&spec());
    let members = rules(&json!(schemars::schema_for!(Members)));
    assert!(members.len() >= ConnectionType::ALL.len());
    for rule in &members {
        assert_eq!(of_spec.iter().filter(|found| *found == rule).count(), 1, "{rule}");
    }
    // For each type one rule about the keys it has, and one about its permissions where it has not all of them.
    let partial = ConnectionType::ALL.iter().filter(|kind| kind.about().permissions.len() < 3).count();
    assert_eq!(of_spec.len(), members.len() + ConnectionType::ALL.len() + partial);
    for kind in ConnectionType::ALL {
        let tie = of_spec.iter().find(|rule| rule["fieldPath"] == json!(format!(".{}", kind.member())));
        let expected = format!("(self.type == '{}') == has(self.{})", kind.as_str(), kind.member());
        assert_eq!(tie.map(|rule| &rule["rule"]), Some(&json!(expected)));
    }
}

#[test]
fn every_rule_of_the_common_fields_is_there() {
    for (pointer, count) in [
        ("/properties/type", 1),
        ("/properties/credentials", 1),
        ("/properties/tls/properties/ca", 1),
        ("/properties/probe", 1),
        ("/properties/probe/properties/interval", 1),
        ("/properties/probe/properties/timeout", 1),
    ] {
        assert_eq!(rules(spec().pointer(pointer).unwrap()).len(), count, "{pointer}");
    }
}

#[test]
fn a_new_object_has_a_status_that_says_what_is_not_known() {
    let status = &open_api(&json!(Connection::crd()))["properties"]["status"];
    let default: api::ConnectionStatus = serde_json::from_value(status["default"].clone()).unwrap();
    assert_eq!(default.observed_generation, Some(-1));
    assert_eq!(default.conditions, api::conditions::standing_default());
    let message = &status["properties"]["conditions"]["items"]["properties"]["message"];
    assert_eq!(message["maxLength"], failure::MESSAGE_LIMIT);
}

#[test]
fn no_field_takes_a_value_that_the_schema_would_keep_for_ever() {
    let defaults = |value: &Value| value.to_string().matches("\"default\":").count();
    let ports = spec().to_string().matches("\"default\":").count();
    for property in spec()["properties"].as_object().unwrap().iter().filter(|(name, _)| !is_member(name)) {
        assert_eq!(defaults(property.1), 0, "{}", property.0);
    }
    assert!(ports <= ConnectionType::ALL.len(), "only ports have a default in the schema");
}

fn is_member(name: &str) -> bool {
    ConnectionType::ALL.iter().any(|kind| kind.member() == name)
}

fn open_api(crd: &Value) -> Value {
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().expect("a definition has a schema")
}

fn rules(schema: &Value) -> Vec<Value> {
    schema["x-kubernetes-validations"].as_array().cloned().unwrap_or_default()
}

/// Complains about every property below `schema` that is not as it must be.
fn walk(schema: &Value, path: &str, broken: &mut Vec<String>) {
    check(schema, path, broken);
    let required = |name: &str| schema["required"].as_array().into_iter().flatten().any(|entry| entry == name);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
            broken.push(format!("{path} has no description"));
        }
        let absent = property["nullable"] == true || property.get("default").is_some();
        if !required(name) && !absent {
            broken.push(format!("{path} may be absent and is neither nullable nor has it a default"));
        }
        walk(property, &path, broken);
    }
    for (key, name) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{path}{name}"), broken);
        }
    }
}

/// Complains about what is wrong with one schema by itself.
fn check(schema: &Value, path: &str, broken: &mut Vec<String>) {
    let has = |key: &str| schema.get(key).is_some();
    let mut complain = |is_broken: bool, what: &str| {
        if is_broken {
            broken.push(format!("{path}: {what}"));
        }
    };
    let kind = schema["type"].as_str();
    complain(
        kind == Some("string") && !has("maxLength") && !has("enum") && !has("format"),
        "a string without maxLength",
    );
    complain(kind == Some("array") && !has("maxItems"), "a list without maxItems");
    complain(has("additionalProperties") && !has("maxProperties"), "a map without maxProperties");
    complain(schema["nullable"] == true && has("enum"), "nullable and enum: null never matches");
    complain(has("anyOf") || has("oneOf") || has("allOf") || has("not"), "anyOf, oneOf, allOf or not");
    complain(schema["format"].as_str().is_some_and(|format| format.starts_with("uint")), "a format that is not known");
    complain(has("x-kubernetes-preserve-unknown-fields"), "fields that nobody knows are preserved");
    complain(rules(schema).iter().any(|rule| rule["message"].as_str().is_none()), "a rule without a message");
}
