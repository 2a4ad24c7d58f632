//! What the papers say that can be checked: flags, metrics, links, and the names of files, tests and modules.
//!
//! Names are found in code spans: a path that begins with a folder of the project is there, and a word of three parts or more
//! is the name of a test.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::CommandFactory as _;
use connection_operator::{
    cli::Cli,
    connections::ConnectionType,
    failure::{Reason, Stage, Status},
    observability::metrics::{Metrics, ProbeResult},
    watching::State,
};

const OPERATIONS: &str = "docs/operations.md";
const PREFIX: &str = "connection_operator_";

#[test]
fn every_flag_is_documented_with_its_default_and_no_other_is() {
    let text = read(OPERATIONS);
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `--")).collect();
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let flags: Vec<&clap::Arg> = run.get_arguments().filter(|flag| flag.get_env().is_some()).collect();
    for flag in &flags {
        let name = format!("| `--{}`", flag.get_long().unwrap());
        let found: Vec<&&str> = rows.iter().filter(|row| row.starts_with(&name)).collect();
        let [row] = found.as_slice() else { panic!("{OPERATIONS} has {} rows for {name}", found.len()) };
        for default in flag.get_default_values() {
            let default = default.to_str().unwrap();
            assert!(row.contains(&format!("`{default}`")), "{name}: the default {default} is not in its row");
        }
    }
    assert_eq!(rows.len(), flags.len(), "{OPERATIONS} has a row for a flag that is not there: {rows:#?}");
}

#[test]
fn every_metric_is_documented_with_its_labels_and_no_other_is() {
    let text = read(OPERATIONS);
    let series = series();
    // What is registered and shows no series here could not be looked for.
    let registered = read("src/observability/metrics.rs").matches("registry.register").count();
    let names: BTreeSet<&str> = series.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), registered, "{names:?}");
    for (name, labels) in &series {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("{OPERATIONS} has no row for {name}"));
        for label in labels {
            assert!(row.contains(&format!("`{label}`")), "{name}: the label {label} is not in its row");
        }
    }
    for page in papers() {
        let text = fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices(PREFIX) {
            let word: String = text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(names.contains(family(&word)), "{}: there is no metric {word}", page.display());
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for page in papers() {
        for link in links(&prose(&fs::read_to_string(&page).unwrap())) {
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if path.is_empty() { page.clone() } else { page.parent().expect("a file's folder").join(path) };
            assert!(target.exists(), "{} links to {link}, which is not there", page.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                assert!(anchors(&text).contains(anchor), "{} links to {link}: no such heading", page.display());
            }
        }
    }
    assert!(count > 10, "only {count} links were found");
}

#[test]
fn every_file_and_every_test_that_is_named_is_there() {
    let tests = names_of_tests();
    assert!(tests.len() > 300, "only {} tests were found", tests.len());
    for page in papers() {
        for span in spans(&fs::read_to_string(&page).unwrap()) {
            if is_path(&span) {
                let there = root().join(span.trim_end_matches('/')).exists();
                assert!(there, "{} names {span}, which is not there", page.display());
            }
            // The pages of types speak of the systems, and use their words.
            if is_test(&span) && !page.starts_with(root().join("docs/connections")) {
                assert!(tests.contains(span.as_str()), "{} names the test {span}, which is not there", page.display());
            }
        }
    }
    let adding = spans(&read("docs/adding-a-connection-type.md"));
    assert!(adding.iter().filter(|span| is_test(span)).count() > 10, "each step names the test that checks it");
}

#[test]
fn the_architecture_names_every_module() {
    let text = read("docs/ARCHITECTURE.md");
    let library = read("src/lib.rs");
    let modules: Vec<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 10, "only {modules:?} were found");
    for module in modules {
        assert!(text.contains(&format!("| `{module}`")), "docs/ARCHITECTURE.md has no row for `{module}`");
    }
}

#[test]
fn the_reader_of_papers_sees_what_is_there() {
    let page = "# A `b` c: d\nSee [x](y.md#z) and `src/lib.rs`.\n```\n[not](a-link)\n```\n";
    assert_eq!(links(&prose(page)), ["y.md#z"]);
    assert_eq!(spans(page), ["b", "src/lib.rs"]);
    assert_eq!(anchors(page), BTreeSet::from(["a-b-c-d".to_owned()]));
    assert!(is_path("tests/layers/main.rs") && !is_path("src/connections/<type>/mod.rs") && !is_path("cargo test"));
    assert!(is_test("a_type_is_three_files") && !is_test("prepare") && !is_test("connection_operator_leader_x"));
    assert_eq!(family("connection_operator_x_seconds_bucket"), "connection_operator_x_seconds");
}

/// Every metric that the binary exposes, with its labels, after each thing that can be counted has happened.
fn series() -> BTreeSet<(String, Vec<String>)> {
    let metrics = Metrics::new();
    let kind = ConnectionType::ALL[0];
    metrics.probe_ended(kind, ProbeResult::Passed);
    metrics.stage_ended(kind, Stage::Reach, Duration::from_millis(1));
    metrics.verdict_changed(kind, None, Some((Status::True, Reason::Succeeded)));
    metrics.failure_held_back(kind, Reason::TimedOut);
    metrics.api_request(&http::Method::GET, &"/api/v1/pods".parse().unwrap(), Some(http::StatusCode::OK));
    metrics.watch_changed("pods", None, Some(State::Synced));
    let text = metrics.encode();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        (family(name).to_owned(), labels.filter(|label| label != "le").collect())
    };
    samples.map(read).collect()
}

/// The metric that a sample of a histogram belongs to.
fn family(sample: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|part| sample.strip_suffix(part)).unwrap_or(sample)
}

/// The papers: every Markdown file that people read.
fn papers() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["README.md", "CHANGELOG.md", "SECURITY.md", "charts/connection-operator/README.md"]
        .iter()
        .map(|path| root().join(path))
        .collect();
    for folder in ["docs", "docs/connections"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    found
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let parts = page.split("```").step_by(2);
    parts.collect::<Vec<_>>().join("\n")
}

/// Where the links of a text lead.
fn links(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// What stands between backquotes outside of blocks of code.
fn spans(page: &str) -> Vec<String> {
    prose(page)
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The anchors that a renderer makes of a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
    };
    headings.map(slug).collect()
}

/// Whether a code span is a path in this project; one with a placeholder is not.
fn is_path(span: &str) -> bool {
    let folders = ["src/", "tests/", "hack/", "docs/", "charts/", "crds/", "examples/"];
    folders.iter().any(|folder| span.starts_with(folder)) && !span.contains(['<', '*', ' ', '{'])
}

/// Whether a code span is the name of a test.
fn is_test(span: &str) -> bool {
    let words: Vec<&str> = span.split('_').collect();
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    words.len() > 2 && words.iter().all(is_word) && !span.starts_with(PREFIX)
}

/// The names of every test of the project.
fn names_of_tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in rust(&root().join("src")).into_iter().chain(rust(&root().join("tests"))) {
        let text = fs::read_to_string(file).unwrap();
        for part in text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1)) {
            let name = part.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            names.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    names
}

fn rust(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
