//! What a type says about itself is there and fits together: its keys, its interval, its permissions, its page, its schema.

use std::{collections::BTreeSet, time::Duration};

use connection_operator::{api::Connection, connections::ConnectionType, net::tls::Tls};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::example;

/// The sections that every page has, in this order; a type may have more of its own between them.
const SECTIONS: [&str; 6] = [
    "## What a probe does",
    "## Secret",
    "## Least rights",
    "## What each failure is called",
    "## Cost",
    "## Tested against",
];

/// What a type can be tested against: the system itself, somebody's imitation of it, or what plays its part in the tests only.
const KINDS: [&str; 3] = ["real server", "emulator", "stand-in"];

#[test]
fn every_page_has_the_same_sections_with_something_in_each() {
    for kind in ConnectionType::ALL {
        let page = kind.about().docs;
        let mut from = 0;
        for section in SECTIONS {
            let found = page[from..].find(&format!("{section}\n"));
            from +=
                found.unwrap_or_else(|| panic!("{}: docs.md lacks `{section}`, or has it too early", kind.as_str()));
            assert!(!text_of(page, section).trim().is_empty(), "{}: `{section}` is empty", kind.as_str());
        }
        let before = page.split("\n## ").next().unwrap_or_default();
        assert!(!before.trim().is_empty() && !before.starts_with('#'), "{}: what is it?", kind.as_str());
    }
}

#[test]
fn a_page_names_every_key_of_the_secret_and_every_permission() {
    for kind in ConnectionType::ALL {
        let about = kind.about();
        let secret = text_of(about.docs, "## Secret");
        for name in about.keys.iter().flat_map(|key| std::iter::once(&key.name).chain(key.aliases)) {
            assert!(secret.contains(&format!("`{name}`")), "{}: ## Secret does not name `{name}`", kind.as_str());
        }
        for permission in about.permissions {
            let named = about.docs.contains(&format!("`{}`", permission.as_str()));
            assert!(named, "{}: docs.md does not say what {} means", kind.as_str(), permission.as_str());
        }
    }
}

#[test]
fn a_page_says_what_the_failures_that_every_type_has_are_called() {
    for kind in ConnectionType::ALL {
        let table = text_of(kind.about().docs, "## What each failure is called");
        for reason in ["ConnectionRefused", "TimedOut", "ConnectionClosed", "ProtocolMismatch"] {
            assert!(table.contains(&format!("`{reason}`")), "{}: {reason}", kind.as_str());
        }
    }
}

#[test]
fn a_type_says_all_that_is_asked_of_it() {
    let mut members = BTreeSet::new();
    for kind in ConnectionType::ALL {
        let (name, about) = (kind.as_str(), kind.about());
        let bounds = Duration::from_secs(5)..=Duration::from_hours(24);
        assert!(bounds.contains(&about.interval), "{name}: {:?}", about.interval);
        for text in [about.minimal, about.full, about.docs, about.tested_against, kind.summary()] {
            assert!(!text.trim().is_empty(), "{name}");
        }
        let names = about.keys.iter().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()));
        let names: Vec<&str> = names.collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{name}: one key has one meaning");
        assert!(names.iter().all(|name| is_key(name)), "{name}: {names:?}");
        assert!(about.permissions.is_sorted_by(|a, b| a < b), "{name}: each permission once, in their order");
        assert!(is_camel_case(kind.member()), "{name}: {}", kind.member());
        assert!(members.insert(kind.member()), "{name}: the member is another type's too");
    }
}

#[test]
fn a_type_says_in_one_of_three_words_what_it_is_tested_against() {
    for kind in ConnectionType::ALL {
        let (name, about) = (kind.as_str(), kind.about());
        let page = text_of(about.docs, "## Tested against").to_lowercase();
        for word in kinds(about.tested_against).unwrap_or_else(|part| panic!("{name}: `{part}` does not begin so")) {
            assert!(page.contains(word), "{name}: its page has to say more about `{word}`");
        }
    }
}

#[test]
fn another_word_for_what_a_type_is_tested_against_is_noticed() {
    assert_eq!(kinds("real server: X 1; stand-in: Y, for z"), Ok(vec!["real server", "stand-in"]));
    for text in ["X 1, real server", "real server: X 1; no Y", "stand-in: ", "stand-ins: X", "emulator X", ""] {
        assert!(kinds(text).is_err(), "{text}");
    }
}

#[test]
fn a_type_knows_every_key_that_it_logs_in_with() {
    for example in example::all() {
        let spec = example.connection().spec;
        let known: Vec<&str> = example.kind.about().keys.iter().map(|key| key.name).collect();
        for method in spec.settings().unwrap().methods(&Tls::default()) {
            for key in method.required.iter().chain(&method.optional) {
                assert!(known.contains(key), "{}: `{key}` of {} is not in ABOUT", example.name, method.name);
            }
        }
        for key in spec.credentials.iter().flat_map(|credentials| credentials.keys.iter().flatten()).map(|(key, _)| key)
        {
            assert!(known.contains(&key.as_str()), "{}: `{key}`", example.name);
        }
    }
}

#[test]
fn the_full_example_asks_for_permissions_that_the_type_has() {
    for example in example::all() {
        let has = example.kind.about().permissions;
        let asked = example.connection().spec.asked_permissions();
        assert!(asked.iter().all(|asked| has.contains(asked)), "{}: {asked:?} of {has:?}", example.name);
        assert!(!example.is_full() || asked.is_empty() == has.is_empty(), "{}: show the permissions", example.name);
    }
}

#[test]
fn every_field_of_a_type_is_described_and_named_in_camel_case() {
    let crd = json!(Connection::crd());
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
    for kind in ConnectionType::ALL {
        let fields = fields(&spec[kind.member()], kind.member());
        assert!(!fields.is_empty(), "{}: its member has no field", kind.as_str());
        for (path, description) in fields {
            assert!(description.ends_with('.'), "{path} has no description: a sentence or more");
            let name = path.rsplit('.').next().unwrap_or_default();
            assert!(is_camel_case(name), "{path}");
        }
    }
}

#[test]
fn the_examples_set_only_what_the_schema_has() {
    let crd = json!(Connection::crd());
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
    for example in example::all() {
        let known: BTreeSet<String> =
            fields(&spec[example.kind.member()], "").into_iter().map(|(path, _)| path).collect();
        for name in example.manifest()["spec"][example.kind.member()].as_object().unwrap().keys() {
            assert!(known.contains(&format!(".{name}")), "{}: {name}", example.name);
        }
    }
}

#[test]
fn camel_case_is_told_from_other_ways_of_writing() {
    for (name, expected) in
        [("host", true), ("s3OverSQS", true), ("queueURL", true), ("Host", false), ("table_name", false), ("", false)]
    {
        assert_eq!(is_camel_case(name), expected, "{name}");
    }
}

/// What the parts of a type's words on its tests begin with, or a part that begins otherwise.
fn kinds(tested_against: &str) -> Result<Vec<&'static str>, &str> {
    let kind = |part| {
        let (word, what) = str::split_once(part, ": ").ok_or(part)?;
        let known = KINDS.into_iter().find(|known| *known == word);
        known.filter(|_| !what.trim().is_empty()).ok_or(part)
    };
    tested_against.split("; ").map(kind).collect()
}

/// What stands in a section of a page.
fn text_of<'a>(page: &'a str, section: &str) -> &'a str {
    let after = page.split_once(&format!("{section}\n")).map(|(_, after)| after).unwrap_or_default();
    after.split("\n## ").next().unwrap_or_default()
}

/// Every field below an object, with its description.
fn fields(object: &Value, path: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, field) in object["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.push((path.clone(), field["description"].as_str().unwrap_or_default().trim().to_owned()));
        found.extend(fields(field, &path));
        found.extend(fields(&field["items"], &path));
    }
    found
}

fn is_camel_case(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// Whether a Secret can have a key of this name.
fn is_key(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}
