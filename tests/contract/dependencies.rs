//! What is linked into the binary: one TLS stack, no copyleft.

use std::{collections::BTreeSet, process::Command};

/// Packages that must not be linked, and why. `openssl-sys` is linked: librdkafka computes SCRAM with it, and is given sockets on
/// which TLS is done.
const BANNED: [(&str, &str); 4] = [
    ("ring", "aws-lc-rs is the one cryptographic provider"),
    ("native-tls", "rustls is the one TLS stack"),
    ("openssl", "rustls is the one TLS stack"),
    ("reqwest", "it dials by itself, past the egress policy"),
];

/// Packages that must be there once at most.
const SINGLE: [&str; 4] = ["rustls", "hyper", "tokio", "kube-client"];

#[test]
fn nothing_banned_is_linked() {
    let linked = linked();
    for (name, why) in BANNED {
        assert!(linked.iter().all(|package| package.name != name), "{name} is linked: {why}");
    }
}

#[test]
fn openssl_is_there_for_librdkafka_alone() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--target", "x86_64-unknown-linux-gnu", "--edges", "normal,build"])
        .args(["--prefix", "depth", "--invert", "openssl-sys", "--depth", "1", "--format", " {p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let users: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("1 ")?.split(' ').next()).collect();
    assert_eq!(users, ["rdkafka-sys"], "{text}");
}

#[test]
fn what_must_be_one_is_one() {
    let linked = linked();
    for name in SINGLE {
        let versions: BTreeSet<&str> =
            linked.iter().filter(|package| package.name == name).map(|package| package.version.as_str()).collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

#[test]
fn no_licence_binds_who_uses_the_binary() {
    for Package { name, version, licence } in linked() {
        assert!(is_free_of_copyleft(&licence), "{name} {version}: `{licence}`");
    }
}

#[test]
fn a_choice_of_licences_is_free_where_one_of_them_is() {
    for (licence, free) in [
        ("MIT OR Apache-2.0", true),
        ("Apache-2.0/MIT", true),
        ("MIT OR LGPL-2.1-or-later", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("ISC AND (Apache-2.0 OR ISC)", true),
        ("GPL-3.0-only", false),
        ("AGPL-3.0", false),
        ("MIT AND LGPL-3.0", false),
        ("SSPL-1.0", false),
        ("", false),
    ] {
        assert_eq!(is_free_of_copyleft(licence), free, "{licence}");
    }
}

/// Whether every part that must be taken leaves a choice without copyleft.
fn is_free_of_copyleft(licence: &str) -> bool {
    let copyleft = |part: &str| ["GPL", "SSPL", "EUPL", "OSL"].iter().any(|family| part.contains(family));
    let parts = licence.split(" AND ").map(|part| part.replace('/', " OR "));
    !licence.is_empty() && parts.into_iter().all(|part| part.split(" OR ").any(|choice| !copyleft(choice)))
}

/// A package in the binary's tree.
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// Every package that is linked into the binary on Linux, or runs while it is built. `cargo tree` and not `cargo metadata`,
/// whose graph holds optional packages that no feature switches on.
fn linked() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--target", "x86_64-unknown-linux-gnu", "--edges", "normal,build"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 50, "only {} packages were found", lines.len());
    let package = |line: &&str| {
        let (package, licence) = line.split_once('|').expect("a line has the form that was asked for");
        let mut words = package.split(' ').map(str::to_owned);
        Package {
            name: words.next().unwrap_or_default(),
            version: words.next().unwrap_or_default(),
            licence: licence.to_owned(),
        }
    };
    lines.iter().map(package).collect()
}
