//! The examples are what users copy: they are read without loss, and a real API server takes them.

use std::collections::BTreeSet;

use connection_operator::{api::Connection, connections::ConnectionType};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::{
    example::{self, Example},
    harness::{caller::Caller, run},
    process::plane,
};

#[test]
fn an_example_is_of_its_type_and_sets_its_member_only() {
    for example in example::all() {
        let spec = example.connection().spec;
        assert_eq!(spec.type_, example.kind, "{}", example.name);
        assert_eq!(spec.settings().err(), None, "{}", example.name);
        let members = serde_json::to_value(&spec.members).unwrap();
        let set: Vec<&String> = members.as_object().unwrap().keys().collect();
        assert_eq!(set, [example.kind.member()], "{}", example.name);
    }
}

#[test]
fn an_example_is_written_as_it_was_read() {
    for example in example::all() {
        let connection = example.connection();
        let written = serde_json::to_value(&connection).unwrap();
        let again: Connection = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(again, connection, "{}", example.name);
        // A misspelt field would be read as no field.
        lost(example.manifest(), &written, &example.name);
    }
}

#[test]
fn the_full_example_shows_more_of_its_type_than_the_minimal_one() {
    let fields = |example: &Example| {
        let member = example.manifest()["spec"][example.kind.member()].as_object().unwrap();
        member.keys().cloned().collect::<BTreeSet<_>>()
    };
    for pair in example::all().chunks(2) {
        let (few, all) = (fields(&pair[0]), fields(&pair[1]));
        let shown = |field: &String| {
            all.contains(field) || all.iter().any(|other| exclude_each_other(pair[0].kind, field, other))
        };
        let shows_more = few.len() < all.len() && few.iter().all(shown);
        assert!(shows_more, "{}: {all:?}, and the minimal one has {few:?}", pair[1].name);
    }
}

/// Whether a rule of a type says of two of its fields, and of nothing else, that one of them is absent.
fn exclude_each_other(kind: ConnectionType, one: &str, other: &str) -> bool {
    let crd = json!(Connection::crd());
    let rules = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations");
    let member = kind.member();
    let rule = |a: &str, b: &str| format!("!has(self.{member}) || !has(self.{member}.{a}) || !has(self.{member}.{b})");
    let expected = [rule(one, other), rule(other, one)];
    let rules = rules.and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| rule["rule"].as_str()).any(|rule| expected.iter().any(|expected| expected == rule))
}

#[test]
fn an_example_has_every_object_that_it_names_and_no_other() {
    for example in example::all() {
        let spec = example.connection().spec;
        let mut named: Vec<String> = spec.sources().iter().map(|source| format!("{:?}", source.object)).collect();
        let of = |kind: &'static str| {
            let names = example.of_kind(kind).map(|document| document["metadata"]["name"].as_str().unwrap());
            names.map(|name| format!("{kind}({name:?})")).collect::<Vec<_>>()
        };
        let mut there = [of("Secret"), of("ConfigMap")].concat();
        named.sort();
        named.dedup();
        there.sort();
        assert_eq!(there, named, "{}", example.name);
        assert_eq!(there.len() + 1, example.documents.len(), "{}", example.name);
    }
}

#[test]
fn a_real_api_server_takes_every_example() {
    run(async {
        let admin = &plane().await.admin;
        for example in example::all() {
            for document in &example.documents {
                let answer = dry_run(admin, document).await;
                assert_eq!(answer, Ok(()), "{}", example.name);
            }
            let mut misspelt = example.manifest().clone();
            misspelt["spec"][example.kind.member()]["hots"] = json!("x");
            assert!(dry_run(admin, &misspelt).await.is_err(), "{}: nothing is checked", example.name);
        }
    });
}

/// Creates an object without storing it; fields that are not known are refused.
async fn dry_run(admin: &Caller, document: &Value) -> Result<(), String> {
    let path = match document["kind"].as_str() {
        Some("Connection") => "/apis/connectivity.dev/v1alpha1/namespaces/default/connections",
        Some("Secret") => "/api/v1/namespaces/default/secrets",
        Some("ConfigMap") => "/api/v1/namespaces/default/configmaps",
        other => panic!("{other:?} is in no example"),
    };
    let answer = admin.create(&format!("{path}?dryRun=All&fieldValidation=Strict"), document).await;
    if answer.code == 201 { Ok(()) } else { Err(answer.message()) }
}

/// Fails where something of `read` is not in `written`.
#[track_caller]
fn lost(read: &Value, written: &Value, path: &str) {
    match (read, written) {
        (Value::Object(read), Value::Object(_)) => {
            for (name, value) in read {
                lost(value, &written[name], &format!("{path}.{name}"));
            }
        }
        (Value::Array(read), Value::Array(found)) if read.len() == found.len() => {
            for (at, value) in read.iter().enumerate() {
                lost(value, &written[at], &format!("{path}[{at}]"));
            }
        }
        (read, written) => assert_eq!(read, written, "{path}"),
    }
}
