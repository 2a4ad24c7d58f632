//! Runs the scripts of `hack/` that start servers, and reads what they say about them.
//!
//! What a script starts ends with the test process, however that ends: the scripts watch it (`OWNER_PID`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The directory of this run: logs, data, kubeconfigs. It stays for the reader of a failure, until a later run clears it away.
///
/// # Panics
/// Where the directory cannot be made.
pub fn run_directory() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let own = root.join(format!("run-{}", std::process::id()));
    if !own.exists() {
        for old in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = old.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix("run-"));
            // Who stops the servers of a run that has ended finds them by what is written there.
            if owner.is_some_and(|pid| !runs(pid)) && !has_servers(&old.path()) {
                // Another test binary may clear the same directory away at this moment: one of the two wins.
                let _ = fs::remove_dir_all(old.path());
            }
        }
        fs::create_dir_all(&own).expect("a directory under target/tmp");
    }
    own
}

fn runs(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Whether a server that was started in a run's directory is still there.
fn has_servers(run: &Path) -> bool {
    let lists = fs::read_dir(run).into_iter().flatten().flatten().map(|server| server.path().join("pids"));
    let listed: Vec<String> = lists.filter_map(|list| fs::read_to_string(list).ok()).collect();
    listed.iter().flat_map(|list| list.lines()).filter_map(|line| line.split(' ').next()).any(runs)
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the environment says about a tool of the tests.
///
/// # Errors
/// A sentence that says how the tests are started, where the variable is missing.
#[expect(clippy::disallowed_methods, reason = "what `hack/test` made ready is named by the environment")]
pub fn required(variable: &str) -> Result<String, String> {
    std::env::var(variable).map_err(|_| {
        format!("{variable} is not set: start the tests with `make test`, which gets the servers they need")
    })
}

/// Runs `hack/NAME/NAME up DIRECTORY EXTRA…` and returns what `DIRECTORY/env` says.
///
/// # Errors
/// The script's own words where it fails.
pub fn up(
    name: &str,
    directory: &Path,
    extra: &[&str],
    variables: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, String> {
    let mut command = Command::new(root().join("hack").join(name).join(name));
    command.arg("up").arg(directory).args(extra).envs(variables.iter().copied());
    run(command.env("OWNER_PID", std::process::id().to_string()))?;
    let said =
        fs::read_to_string(directory.join("env")).map_err(|error| format!("{name} left no env file: {error}"))?;
    Ok(said.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect())
}

/// Runs `hack/NAME/NAME VERB DIRECTORY` about a server that `up` started.
///
/// # Errors
/// The script's own words where it fails.
pub fn call(name: &str, verb: &str, directory: &Path) -> Result<(), String> {
    let script = root().join("hack").join(name).join(name);
    run(Command::new(script).arg(verb).arg(directory)).map(drop)
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// What it printed, where it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    Err(format!("{command:?} failed, {}: {printed}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
