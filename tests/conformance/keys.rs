//! A Secret that lacks a key is told so by the name that the documentation uses, and told nothing about the keys it has.

use std::collections::BTreeMap;

use connection_operator::{connections::Refusal, failure::Reason, net::tls::Tls, secret::Method};
use serde_json::json;

use crate::{canary, peers::subjects, subject::Subject};

#[test]
fn every_key_that_is_missing_is_named() {
    for (subject, method) in methods() {
        for missing in &method.required {
            let lacking = filled(&subject, &method, |key| key != *missing);
            let Err(Refusal::Unusable(failure)) = lacking.materials() else {
                panic!("{}: nothing is said about the missing `{missing}` of {}", subject.name, method.name)
            };
            let message = failure.message();
            assert_eq!(failure.reason(), Reason::SecretKeyMissing, "{}: {message}", subject.name);
            assert!(words(&message).contains(missing), "{}: `{missing}` is not in: {message}", subject.name);
            let others: Vec<_> = method.required.iter().filter(|other| *other != missing).collect();
            assert!(others.iter().all(|other| !words(&message).contains(other)), "{}: {message}", subject.name);
            canary::absent(&subject.name, &message);
        }
    }
}

#[test]
fn a_complete_secret_lacks_nothing() {
    for (subject, method) in methods() {
        let complete = filled(&subject, &method, |_| true);
        let found = complete.materials().unwrap_or_else(|refusal| panic!("{}: {refusal:?}", subject.name));
        for key in method.required.iter().chain(&method.optional) {
            assert!(found.given.credentials.get(key).is_some(), "{}: `{key}`", subject.name);
        }
    }
}

#[test]
fn a_key_is_found_under_each_of_its_other_names() {
    for (subject, method) in methods() {
        for key in subject.kind.about().keys.iter().filter(|key| method.required.contains(&key.name)) {
            for alias in key.aliases {
                let by_alias = filled(&subject, &method, |_| true).with(|spec| {
                    spec["credentials"]["keys"].as_object_mut().unwrap().remove(key.name);
                });
                let by_alias = by_alias.with_credentials(|data| {
                    let value = data.remove(key.name).unwrap();
                    data.insert((*alias).to_owned(), value);
                });
                let found = by_alias.materials().unwrap_or_else(|refusal| panic!("{}: {refusal:?}", subject.name));
                assert!(found.given.credentials.get(key.name).is_some(), "{}: `{alias}`", subject.name);
            }
        }
    }
}

/// Each way to log in of each subject that logs in.
fn methods() -> Vec<(Subject, Method)> {
    let of = |subject: Subject| {
        let spec = subject.read();
        let methods = spec.settings().unwrap().methods(&Tls::default());
        methods.into_iter().map(move |method| (subject.clone(), method)).collect::<Vec<_>>()
    };
    subjects().into_iter().filter(|subject| subject.read().credentials.is_some()).flat_map(of).collect()
}

/// The subject with a Secret that holds those keys of a method for which `has` is true, and a key that nobody knows. The spec
/// names every key of the method, so that no other one is meant.
fn filled(subject: &Subject, method: &Method, has: impl Fn(&str) -> bool) -> Subject {
    let keys = || method.required.iter().chain(&method.optional);
    let named: BTreeMap<_, _> = keys().map(|key| (*key, *key)).collect();
    subject.clone().with(|spec| spec["credentials"]["keys"] = json!(named)).with_credentials(|data| {
        data.clear();
        data.insert(canary::KEY.to_owned(), canary::VALUE.into());
        data.extend(keys().filter(|key| has(key)).map(|key| ((*key).to_owned(), format!("value of {key}").into())));
    })
}

fn words(message: &str) -> Vec<&str> {
    message.split(|c: char| !(c.is_alphanumeric() || "-._".contains(c))).collect()
}
