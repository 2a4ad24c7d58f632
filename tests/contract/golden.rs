//! Files that are made from code: each equals what the code makes now.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use connection_operator::{
    api,
    cli::print,
    connections::{ConnectionType, fields::Permission},
};
use kube::ResourceExt as _;

use crate::{pages, schema};

const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test --test contract";

#[test]
fn the_definitions_are_those_of_the_code() {
    let expected: Vec<(String, String)> =
        api::crds().iter().map(|crd| (format!("crds/{}.yaml", crd.name_any()), print::yaml(crd).unwrap())).collect();
    for (path, text) in &expected {
        same(path, text);
    }
    nothing_else("crds", expected.iter().map(|(path, _)| path));
    let chart = "charts/connection-operator/crds";
    if root().join("charts").exists() {
        let copies = expected.iter().map(|(path, text)| (path.replace("crds", chart), text)).collect::<Vec<_>>();
        for (path, text) in &copies {
            same(path, text);
        }
        nothing_else(chart, copies.iter().map(|(path, _)| path));
    }
}

#[test]
fn the_definitions_are_printed_as_they_are_committed() {
    let mut printed = Vec::new();
    print::crds(&mut printed).unwrap();
    let committed = api::crds().into_iter().map(|crd| {
        let path = format!("crds/{}.yaml", crd.name_any());
        same(&path, &print::yaml(&crd).unwrap());
        read(&path)
    });
    let committed: Vec<String> = committed.collect();
    assert_eq!(String::from_utf8(printed).unwrap(), committed.join("---\n"));
}

#[test]
fn yaml_says_what_json_says() {
    for crd in api::crds() {
        let text = print::yaml(&crd).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(as_numbers(&read), as_numbers(&serde_json::to_value(&crd).unwrap()));
    }
}

#[test]
fn the_conditions_are_documented_as_they_are() {
    same("docs/conditions.md", &pages::conditions());
}

#[test]
fn every_type_has_its_examples_and_its_page() {
    let mut expected = Vec::new();
    for kind in ConnectionType::ALL {
        let file = pages::file_name(*kind);
        let about = kind.about();
        expected.push((format!("examples/{file}.yaml"), about.minimal.to_owned()));
        expected.push((format!("examples/{file}-full.yaml"), about.full.to_owned()));
        expected.push((format!("docs/connections/{file}.md"), pages::connection(*kind)));
    }
    for (path, text) in &expected {
        same(path, text);
    }
    nothing_else("docs/connections", expected.iter().map(|(path, _)| path));
}

#[test]
fn every_example_is_a_connection_of_its_type() {
    for kind in ConnectionType::ALL {
        for text in [kind.about().minimal, kind.about().full] {
            let found: Vec<api::Connection> = pages::documents(text)
                .filter(|document| document["kind"] == "Connection")
                .map(|document| serde_json::from_value(document).unwrap())
                .collect();
            let [connection] = found.as_slice() else {
                panic!("{kind:?}: one Connection is shown, not {}", found.len())
            };
            assert_eq!(connection.spec.type_, *kind);
            assert_eq!(connection.spec.settings().err(), None, "{kind:?}");
        }
    }
}

#[test]
fn the_full_example_sets_every_field_of_its_type() {
    for kind in ConnectionType::ALL {
        let full = pages::documents(kind.about().full).find(|document| document["kind"] == "Connection").unwrap();
        for field in pages::fields(*kind) {
            let top = field.path.split(['.', '[']).next().unwrap();
            let settings = &full["spec"][kind.member()];
            let shown = !settings[top].is_null() || is_excluded(*kind, top, settings);
            assert!(shown, "{kind:?}: {} is not shown", field.path);
        }
        for permission in kind.about().permissions {
            let shown =
                serde_json::from_value::<Vec<Permission>>(full["spec"]["permissions"].clone()).unwrap_or_default();
            assert!(!shown.is_empty(), "{kind:?}: no permission is shown, not even {permission:?}");
        }
    }
}

/// Whether a rule lets the field stand only where another one does not, which is shown.
fn is_excluded(kind: ConnectionType, field: &str, settings: &serde_json::Value) -> bool {
    let absent = |field: &str| format!("!has(self.{}.{field})", kind.member());
    let rules = schema::spec()["x-kubernetes-validations"].as_array().cloned().unwrap_or_default();
    let shown: Vec<&String> = settings.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    rules.iter().filter_map(|rule| rule["rule"].as_str()).any(|rule| {
        let parts: Vec<&str> = rule.split(" || ").collect();
        // It says nothing but that one of the two is absent.
        let only = parts.len() == 3 && parts.iter().all(|part| part.starts_with("!has("));
        only && parts.contains(&absent(field).as_str())
            && shown.iter().any(|other| parts.contains(&absent(other).as_str()))
    })
}

#[test]
fn the_readme_lists_the_types() {
    let (begin, end) = ("<!-- types:begin -->\n", "<!-- types:end -->");
    let readme = read("README.md");
    let (before, rest) = readme.split_once(begin).expect("README.md has the line <!-- types:begin -->");
    let (_, after) = rest.split_once(end).expect("README.md has the line <!-- types:end -->");
    same("README.md", &format!("{before}{begin}{}{end}{after}", pages::types()));
}

/// Fails where the committed file is not `text`, or makes it so where that is asked for.
#[track_caller]
fn same(path: &str, text: &str) {
    let file = root().join(path);
    #[expect(clippy::disallowed_methods, reason = "a test has no command line of its own")]
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    if update {
        fs::create_dir_all(file.parent().expect("a file of the project is in a directory")).unwrap();
        fs::write(&file, text).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let line = committed.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = line.unwrap_or_else(|| committed.lines().count().min(text.lines().count())) + 1;
    assert!(committed == text, "{path} is not what the code makes, from line {line} on; {UPDATE} rewrites it");
}

/// Fails where the directory has a file that nothing makes.
fn nothing_else<'a>(directory: &str, made: impl Iterator<Item = &'a String>) {
    let made: BTreeSet<PathBuf> = made.map(|path| root().join(path)).collect();
    for entry in fs::read_dir(root().join(directory)).unwrap() {
        let path = entry.unwrap().path();
        assert!(made.contains(&path), "{} is made by nothing", path.display());
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `1.0` and `1` are one number.
fn as_numbers(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(as_numbers).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), as_numbers(value))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}
