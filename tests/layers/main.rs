//! The shape of the house: which way dependencies point, which files decide without doing, what a type's folder holds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and its helpers do too")]

mod source;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use connection_operator::connections::ConnectionType;

use crate::source::{Source, contains};

/// The modules, from the ground up. Each may use what stands before it; those of one row may not use each other.
const LAYERS: [&[&str]; 12] = [
    &["secret", "failure"],
    &["net"],
    &["connections"],
    &["api"],
    &["watching"],
    &["usage", "probing"],
    &["reconcile"],
    &["controller", "observability"],
    &["leadership"],
    &["kubernetes"],
    &["app", "cli"],
    &["main", "bin"],
];

/// What a module may use in its own row, or above it.
const EXCEPTIONS: [(&str, &str); 2] = [
    // What goes wrong with a Secret is said in the one vocabulary of failures.
    ("secret", "failure"),
    // The arguments of `run` are what the operator is built from.
    ("app", "cli"),
];

/// Files that decide: they know no clock, no client and no wait. Those of a folder that is there must be there.
const PURE: &[&str] = &[
    "secret.rs",
    "net/policy.rs",
    "net/targets.rs",
    "connections/fields.rs",
    "connections/text.rs",
    "connections/azureblob/probe/codes.rs",
    "connections/azureblob/probe/login.rs",
    "connections/azureblob/probe/sas.rs",
    "connections/azureblob/probe/sharedkey.rs",
    "connections/family/aws/codes.rs",
    "connections/family/aws/json.rs",
    "connections/family/aws/xml.rs",
    "connections/family/jwt.rs",
    "connections/family/pgwire/messages.rs",
    "connections/googlestorage/probe/answer.rs",
    "connections/googlestorage/probe/key.rs",
    "connections/hdfs/probe/answer.rs",
    "connections/hdfs/probe/token.rs",
    "connections/hdfs/probe/rpc_codes.rs",
    "connections/hdfs/probe/rpc_keytab.rs",
    "connections/hdfs/probe/rpc_wire.rs",
    "connections/kafka/probe/message.rs",
    "connections/kafka/probe/wire.rs",
    "connections/qubole/probe/answer.rs",
    "connections/qubole/probe/member.rs",
    "connections/elasticsearch/probe/answer.rs",
    "connections/elasticsearch/probe/index.rs",
    "connections/elasticsearch/probe/place.rs",
    "connections/snowflake/probe/answer.rs",
    "connections/snowflake/probe/statement.rs",
    "connections/spotinstvpc/probe/answer.rs",
    "connections/spotinstvpc/probe/refused.rs",
    "connections/sqlserver/probe/answer.rs",
    "connections/sqlserver/probe/browser.rs",
    "connections/sqlserver/probe/codes.rs",
    "connections/sqlserver/probe/names.rs",
    "connections/sqlserver/probe/packet.rs",
    "connections/mysql/probe/codes.rs",
    "connections/mysql/probe/login.rs",
    "connections/mysql/probe/target.rs",
    "connections/mysql/probe/wire.rs",
    "usage/extract.rs",
    "usage/index.rs",
    "probing/schedule.rs",
    "probing/verdict.rs",
    "probing/permits.rs",
    "probing/rejections.rs",
    "probing/roster.rs",
    "reconcile/materials.rs",
    "reconcile/events.rs",
    "reconcile/seen.rs",
    "reconcile/standing.rs",
    "usage/users.rs",
    "reconcile/plan.rs",
    "reconcile/conclude.rs",
];

/// Folders in which every file decides.
const PURE_FOLDERS: [&str; 2] = ["api/", "failure/"];

/// What deciding code does not contain.
const IMPURE: [&str; 8] =
    ["async", ".await", "Client", "Instant::now", "SystemTime", "Timestamp::now", "std::env", "tokio::"];

/// Files with unsafe code: those that talk to a library of C where its safe wrapper ends, or where there is none.
const UNSAFE: [&str; 2] = ["connections/kafka/probe/native.rs", "net/child/inherited.rs"];

/// Longest main.rs, in lines.
const MAIN_LIMIT: usize = 30;

#[test]
fn dependencies_point_left() {
    for file in sources() {
        let uses = file.uses();
        for used in uses.iter().filter(|used| **used != file.module) {
            assert!(may_use(&file.module, used), "{} uses `{used}`, which does not stand below it", file.path);
        }
    }
}

#[test]
fn every_module_has_a_place() {
    for file in sources() {
        assert!(row(&file.module).is_some(), "{} is in no layer", file.path);
    }
}

#[test]
fn what_decides_neither_waits_nor_looks_at_a_clock() {
    let files = sources();
    for path in PURE.iter().copied() {
        let folder = path.split_once('/').map_or("", |(folder, _)| folder);
        let expected = folder.is_empty() || root().join("src").join(folder).exists();
        assert!(!expected || files.iter().any(|file| file.path == path), "src/{path} is gone");
    }
    let settings = |path: &str| path.strip_prefix("connections/").is_some_and(|rest| rest.ends_with("/mod.rs"));
    let decides =
        |path: &str| PURE.contains(&path) || PURE_FOLDERS.iter().any(|f| path.starts_with(f)) || settings(path);
    for file in files.iter().filter(|file| decides(&file.path)) {
        for word in IMPURE {
            assert!(!contains(&file.code, word), "src/{} decides, and contains `{word}`", file.path);
        }
    }
}

#[test]
fn a_type_is_three_files() {
    let expected = BTreeSet::from(["mod.rs", "probe.rs", "docs.md"].map(str::to_owned));
    let folders = folders("src/connections").into_iter().filter(|name| name != "family").collect::<BTreeSet<_>>();
    for name in &folders {
        let path = format!("src/connections/{name}");
        let mut found: BTreeSet<String> = entries(&path).into_iter().collect();
        // The parts of a probe that is too long for one file.
        if found.remove("probe") {
            let parts = entries(&format!("{path}/probe"));
            assert!(
                parts.len() > 1 && parts.iter().all(|part| Path::new(part).extension().is_some_and(|e| e == "rs")),
                "{path}/probe: {parts:?}"
            );
        }
        assert_eq!(found, expected, "{path}");
    }
    assert_eq!(folders.len(), ConnectionType::ALL.len(), "one folder for each type: {folders:?}");
}

#[test]
fn unsafe_code_stands_where_a_library_of_c_demands_it() {
    for file in sources() {
        let expected = UNSAFE.contains(&file.path.as_str());
        let allowed = file.text.contains("(unsafe_code");
        assert!(
            allowed == expected && (expected || !contains(&file.code, "unsafe")),
            "src/{} has unsafe code",
            file.path
        );
        // Each block and each function says why it is sound, or what is asked of who calls it.
        let blocks = file.code.matches("unsafe {").count() + file.code.matches("unsafe fn ").count();
        let reasons = file.text.matches("// SAFETY: ").count() + file.text.matches("/// # Safety").count();
        assert!(reasons >= blocks, "src/{}: {blocks} blocks and {reasons} reasons", file.path);
    }
    for path in UNSAFE {
        assert!(sources().iter().any(|file| file.path == path), "src/{path} is gone");
    }
}

#[test]
fn nobody_outside_its_folder_names_a_type() {
    let modules = folders("src/connections").into_iter().filter(|name| name != "family").collect::<Vec<_>>();
    for file in sources().iter().filter(|file| file.path != "connections/mod.rs") {
        for module in modules.iter().filter(|module| !file.path.starts_with(&format!("connections/{module}/"))) {
            assert!(!contains(&file.code, &format!("{module}::")), "src/{} names the type {module}", file.path);
        }
        for kind in ConnectionType::ALL {
            let variant = format!("ConnectionType::{}", kind.as_str());
            assert!(!contains(&file.code, &variant), "src/{} names {variant}", file.path);
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for file in sources() {
        assert!(file.text.starts_with("//! "), "src/{} has no module doc", file.path);
    }
}

#[test]
fn main_is_short() {
    let lines = sources().iter().find(|file| file.path == "main.rs").map(|file| file.text.lines().count());
    assert!(lines.is_some_and(|lines| lines <= MAIN_LIMIT), "{lines:?}");
}

#[test]
fn nothing_dials_past_the_network() {
    for file in sources() {
        assert!(!contains(&file.code, "reqwest"), "src/{} uses reqwest, which dials by itself", file.path);
    }
}

#[test]
fn nothing_starts_a_process_but_the_one_that_ends_it() {
    for file in sources().iter().filter(|file| !["net/child.rs", "net/child/owner.rs"].contains(&file.path.as_str())) {
        // A test may start its own program anew.
        let starts = file.code.split("#[cfg(test)]").next().is_some_and(|code| contains(code, "Command::new"));
        assert!(!starts, "src/{} starts a process", file.path);
    }
}

#[test]
fn who_asks_a_child_stands_in_the_line_for_children() {
    let sources = sources();
    for folder in folders("src/connections") {
        let of_it = |word: &str| {
            let prefix = format!("connections/{folder}/");
            sources.iter().any(|file| file.path.starts_with(&prefix) && contains(&file.code, word))
        };
        assert_eq!(
            of_it("ask_child"),
            of_it("Workplace::Child"),
            "src/connections/{folder}: it asks a child, and its `workplace` says so"
        );
    }
}

#[test]
fn no_file_knows_where_it_was_made() {
    // Put together here, so that this file does not contain them.
    let words = [["../sha", "red"], ["/wo", "rk/"], ["/ho", "me/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    // Where a package comes from is the machine's business: its clients know their registries.
    let places =
        [["\"reso", "lved\":"], ["--index-", "url"], ["GOPR", "OXY="], ["--regi", "stry"]].map(|parts| parts.concat());
    let words: Vec<String> = words.into_iter().chain(places).collect();
    for path in files(root()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for word in &words {
            assert!(!text.contains(word), "{} contains `{word}`", path.display());
        }
    }
}

#[test]
fn the_layers_forbid_what_they_should() {
    for (module, used, allowed) in [
        ("net", "failure", true),
        ("failure", "net", false),
        ("secret", "failure", true),
        ("failure", "secret", false),
        ("usage", "probing", false),
        ("reconcile", "usage", true),
        ("usage", "reconcile", false),
        ("app", "cli", true),
        ("cli", "app", false),
        ("main", "app", true),
        ("net", "elsewhere", false),
    ] {
        assert_eq!(may_use(module, used), allowed, "{module} uses {used}");
    }
}

fn may_use(module: &str, used: &str) -> bool {
    EXCEPTIONS.contains(&(module, used)) || row(used).zip(row(module)).is_some_and(|(used, own)| used < own)
}

fn row(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Every Rust file below src but lib.rs, which only lists the modules.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        Source::new(&name, &fs::read_to_string(&path).unwrap())
    };
    files(&src).into_iter().filter(is_rust).map(read).filter(|file| file.path != "lib.rs").collect()
}

/// Every file below `directory`, in the order of names, without what is built or fetched.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in entries_of(directory) {
        let path = directory.join(&name);
        if path.is_dir() && !["target", "node_modules", ".git"].contains(&name.as_str()) {
            found.extend(files(&path));
        } else if path.is_file() && name != ".git" {
            found.push(path);
        }
    }
    found
}

fn folders(path: &str) -> Vec<String> {
    entries(path).into_iter().filter(|name| root().join(path).join(name).is_dir()).collect()
}

fn entries(path: &str) -> Vec<String> {
    entries_of(&root().join(path))
}

fn entries_of(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
