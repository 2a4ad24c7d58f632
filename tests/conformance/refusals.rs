//! What the API server refuses of each type: every rule that a type brings is seen to refuse, with its sentence. A type brings a
//! file of its own, `refusals/MEMBER.json`: changes to the spec of its minimal example, and what is said about each.

use std::{collections::BTreeSet, fs};

use connection_operator::{api::Connection, connections::ConnectionType};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::{
    example,
    harness::{run, script},
    process::plane,
    subject::Subject,
};

#[test]
fn every_rule_of_a_type_refuses_with_its_sentence() {
    run(async {
        let admin = &plane().await.admin;
        for kind in ConnectionType::ALL {
            let refusals = refusals(*kind);
            let path =
                "/apis/connectivity.dev/v1alpha1/namespaces/default/connections?dryRun=All&fieldValidation=Strict";
            let good = admin.create(path, &changed(*kind, &json!({}))).await;
            assert_eq!(good.code, 201, "{}: {}", kind.as_str(), good.message());
            for (change, sentence) in &refusals {
                let answer = admin.create(path, &changed(*kind, change)).await;
                let said = answer.message();
                assert!(answer.code == 422 && said.contains(sentence), "{} {change}: {said}", kind.as_str());
            }
        }
    });
}

#[test]
fn what_cannot_be_used_without_credentials_is_refused_where_it_names_none() {
    run(async {
        let admin = &plane().await.admin;
        let path = "/apis/connectivity.dev/v1alpha1/namespaces/default/connections?dryRun=All&fieldValidation=Strict";
        for example in example::all() {
            for subject in Subject::variants(&example) {
                let subject =
                    subject.with(|spec| drop(spec.as_object_mut().and_then(|spec| spec.remove("credentials"))));
                let mut object = example.manifest().clone();
                object["spec"] = subject.spec.clone();
                let answer = admin.create(path, &object).await;
                let makes_sense = subject.prepare().is_ok();
                assert_eq!(answer.code == 201, makes_sense, "{}: {}", subject.name, answer.message());
            }
        }
    });
}

#[test]
fn every_sentence_of_a_type_is_tried() {
    let crd = json!(Connection::crd());
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").expect("a schema");
    for kind in ConnectionType::ALL {
        let tried: BTreeSet<String> = refusals(*kind).into_iter().map(|(_, sentence)| sentence).collect();
        let mut sentences = BTreeSet::new();
        below(&spec["properties"][kind.member()], &mut sentences);
        let of_spec = spec["x-kubernetes-validations"].as_array().into_iter().flatten();
        let about_it = format!("has(self.{})", kind.member());
        let own = of_spec.filter(|rule| rule["rule"].as_str().is_some_and(|rule| rule.contains(&about_it)));
        // Whether the member is there at all is tried for all types at once.
        sentences.extend(own.filter(|rule| rule["fieldPath"].is_null()).filter_map(message));
        for sentence in sentences {
            assert!(tried.contains(&sentence), "{}: nothing in its file is refused with `{sentence}`", kind.as_str());
        }
    }
}

fn message(rule: &Value) -> Option<String> {
    rule["message"].as_str().map(str::to_owned)
}

/// The sentences of every rule below a schema.
fn below(schema: &Value, sentences: &mut BTreeSet<String>) {
    sentences.extend(schema["x-kubernetes-validations"].as_array().into_iter().flatten().filter_map(message));
    let properties = schema["properties"].as_object().into_iter().flatten().map(|(_, property)| property);
    for part in properties.chain([&schema["items"], &schema["additionalProperties"]]).filter(|part| part.is_object()) {
        below(part, sentences);
    }
}

/// The changes of a type's file, and what is said about each.
fn refusals(kind: ConnectionType) -> Vec<(Value, String)> {
    let path = script::root().join(format!("tests/conformance/refusals/{}.json", kind.member()));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Connection of the type's minimal example, with changes merged into its spec.
fn changed(kind: ConnectionType, change: &Value) -> Value {
    let minimal = example::all().into_iter().find(|example| example.kind == kind && !example.is_full());
    let mut object = minimal.expect("a minimal example").manifest().clone();
    json_patch::merge(&mut object["spec"], change);
    object
}
