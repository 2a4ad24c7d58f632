//! Objects that were stored under another version are still read; one that cannot be read hides nobody else.

use connection_operator::{api::Connection, connections::ConnectionType};
use kube::{ResourceExt as _, core::DeserializeGuard};
use serde_json::{Value, json};

use crate::pages;

#[test]
fn what_is_not_known_is_ignored() {
    for kind in ConnectionType::ALL {
        let mut object = example(*kind);
        object["spec"]["futureField"] = json!({"a": [1]});
        object["spec"][kind.member()]["futureField"] = json!("x");
        object["status"] = json!({"futureField": 1, "observedGeneration": 4});
        let connection = read(object).0.expect("readable");
        assert_eq!(connection.spec.settings().err(), None);
        assert_eq!(connection.status.and_then(|status| status.observed_generation), Some(4));
    }
}

#[test]
fn null_is_absent() {
    for kind in ConnectionType::ALL {
        let mut object = example(*kind);
        let plain = read(object.clone()).0.expect("readable");
        let spec = crate::schema::spec();
        nulls(&spec, &mut object["spec"]);
        let connection = read(object.clone()).0.unwrap_or_else(|error| panic!("{error:?}: {object:#}"));
        assert_eq!(connection.spec, plain.spec);
        object["status"] = json!({"conditions": null, "usage": {"count": 1, "users": null}, "binding": null});
        assert!(read(object).0.is_ok());
    }
}

#[test]
fn a_status_may_be_missing() {
    let mut object = example(ConnectionType::ALL[0]);
    object.as_object_mut().unwrap().remove("status");
    assert_eq!(read(object.clone()).0.unwrap().status, None);
    object["status"] = json!({});
    assert!(read(object).0.unwrap().status.is_some());
}

#[test]
fn what_is_written_is_read_again() {
    for kind in ConnectionType::ALL {
        for text in [kind.about().minimal, kind.about().full] {
            let object = pages::documents(text).find(|document| document["kind"] == "Connection").unwrap();
            let connection = read(object).0.unwrap();
            let again = read(serde_json::to_value(&connection).unwrap()).0.unwrap();
            assert_eq!(again.spec, connection.spec);
        }
    }
}

#[test]
fn an_object_of_an_unknown_type_is_an_error_with_a_name() {
    let mut object = example(ConnectionType::ALL[0]);
    object["metadata"]["namespace"] = json!("shop");
    object["metadata"]["uid"] = json!("u");
    object["spec"]["type"] = json!("Oracle");
    let guard = read(object);
    assert!(guard.0.is_err());
    assert_eq!((guard.namespace().as_deref(), guard.uid().as_deref()), (Some("shop"), Some("u")));
}

fn example(kind: ConnectionType) -> Value {
    let minimal = pages::documents(kind.about().minimal);
    minimal.into_iter().find(|document| document["kind"] == "Connection").expect("the example has a Connection")
}

fn read(object: Value) -> DeserializeGuard<Connection> {
    serde_json::from_value(object).expect("a guard takes every object")
}

/// Sets every nullable field that is absent to null, at every depth.
fn nulls(schema: &Value, value: &mut Value) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        match value.get_mut(name) {
            Some(found) => nulls(property, found),
            None if property["nullable"] == true => value[name] = Value::Null,
            None => {}
        }
    }
}
