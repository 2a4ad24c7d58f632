//! The image, as far as it can be judged without building it: everything the compiler reads is copied, and its versions are
//! those of the project.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn everything_the_compiler_reads_is_copied() {
    let copied = copied();
    let read = read_by_the_compiler();
    assert!(read.contains(Path::new("src/main.rs")) && read.contains(Path::new("src/connections/postgresql/docs.md")));
    for file in read.iter().map(PathBuf::as_path).chain(["Cargo.toml", "Cargo.lock"].map(Path::new)) {
        assert!(copied.iter().any(|copied| file.starts_with(copied)), "the image is built without {}", file.display());
        assert!(is_in_the_context(file), ".dockerignore leaves out {}", file.display());
    }
}

#[test]
fn what_is_copied_is_there() {
    for path in copied() {
        assert!(root().join(&path).exists(), "{} is copied and not there", path.display());
    }
}

#[test]
fn the_toolchain_is_the_projects_and_both_stages_are_of_one_debian() {
    let [build, run] = &words("FROM")[..] else { panic!("two stages") };
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let version = build[0].strip_prefix("rust:").and_then(|tag| tag.strip_suffix("-bookworm")).unwrap();
    assert_eq!(version, channel);
    // Bookworm is Debian 12.
    assert!(run[0].starts_with("debian:12.") && run[0].ends_with("-slim"), "{run:?}");
}

#[test]
fn the_binary_that_is_built_is_the_one_that_runs_and_not_as_root() {
    let entry = &words("ENTRYPOINT")[0].join(" ");
    let binary = words("COPY").into_iter().filter(|copy| copy[0] == "--from=build").find_map(|copy| {
        let name = copy[1].strip_prefix("/build/target/release/")?.to_owned();
        Some((name, copy[2].clone()))
    });
    let (name, place) = binary.expect("the binary is copied");
    assert!(Path::new(env!("CARGO_BIN_EXE_connection-operator")).ends_with(name));
    assert_eq!(*entry, format!("[\"{place}\"]"));
    assert!(words("USER")[0][0].starts_with("65532"));
    assert!(text("charts/connection-operator/templates/deployment.yaml").contains("runAsUser: 65532"));
}

#[test]
fn what_is_loaded_when_it_is_used_is_installed() {
    // hdfs-native loads it for Kerberos; nothing else would miss it.
    assert!(text("Cargo.lock").contains("name = \"hdfs-native\""));
    assert!(words("RUN").iter().any(|run| run.iter().any(|word| word == "libgssapi-krb5-2")));
}

/// What `COPY` takes from the context.
fn copied() -> BTreeSet<PathBuf> {
    let copies = words("COPY").into_iter().filter(|copy| !copy[0].starts_with("--"));
    copies.flat_map(|mut copy| copy.drain(..copy.len() - 1).map(PathBuf::from).collect::<Vec<_>>()).collect()
}

/// What rustc reads to make the operator's binary: every source, and every file that a source includes.
fn read_by_the_compiler() -> BTreeSet<PathBuf> {
    let mut read = BTreeSet::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder of sources") {
            let path = folder.join(entry.expect("an entry").file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                read.extend(included(&folder, &text(&path.display().to_string())));
                read.insert(path);
            }
        }
    }
    read
}

/// The files that a source in `folder` includes.
fn included(folder: &Path, source: &str) -> Vec<PathBuf> {
    let after = ["include_str!(\"", "include_bytes!(\"", "include!(\""].map(|word| source.split(word).skip(1));
    let names = after.into_iter().flatten().filter_map(|rest| rest.split_once('"'));
    names
        .map(|(name, _)| {
            let mut path = folder.to_path_buf();
            for part in Path::new(name).components() {
                match part {
                    std::path::Component::ParentDir => assert!(path.pop(), "{name} is outside of the project"),
                    part => path.push(part),
                }
            }
            path
        })
        .collect()
}

/// Whether `.dockerignore` lets a file through: everything is left out but what a line `!NAME` names.
fn is_in_the_context(file: &Path) -> bool {
    let ignored = text(".dockerignore");
    assert!(ignored.lines().any(|line| line == "*"));
    ignored.lines().filter_map(|line| line.strip_prefix('!')).any(|kept| file.starts_with(kept))
}

/// The words after each instruction of that name in the Dockerfile.
fn words(instruction: &str) -> Vec<Vec<String>> {
    let file = text("Dockerfile");
    let lines = file.lines().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
