//! Runs the scripts of `hack/` that start servers, and reads what they say about them.
//!
//! What a script starts ends with the test process, however that ends: the scripts watch it (`OWNER_PID`).

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    ops::Index,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use connection_operator::net::tls::{Identity, Roots};

/// What a script has said about the server that it has started: the lines of `DIR/env`, and the files that they name.
pub struct Said {
    script: String,
    values: BTreeMap<String, String>,
}

impl Said {
    /// The value of a key.
    ///
    /// # Errors
    /// A sentence, where there is none.
    pub fn text(&self, key: &str) -> Result<&str, String> {
        self.values.get(key).map(String::as_str).ok_or_else(|| format!("hack/{} says nothing about {key}", self.script))
    }

    /// The address that a key holds.
    ///
    /// # Errors
    /// A sentence, where there is none.
    pub fn address(&self, key: &str) -> Result<SocketAddr, String> {
        let text = self.text(key)?;
        text.parse().map_err(|error| format!("{key}={text}: {error}"))
    }

    /// What is now in the file that a key names.
    ///
    /// # Panics
    /// Where it cannot be read.
    pub fn file(&self, key: &str) -> Vec<u8> {
        fs::read(&self[key]).unwrap_or_else(|error| panic!("{key}: {error}"))
    }

    /// The log whose name a key says, as far as its lines are whole: the last one may be half written.
    ///
    /// # Panics
    /// Where it cannot be read.
    pub fn log(&self, key: &str) -> String {
        let log = self.file(key);
        let whole = log.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &log[..end]);
        String::from_utf8_lossy(whole).into_owned()
    }

    /// The CA that signed the server's certificate.
    pub fn ca(&self) -> Roots {
        Roots::from_pem(&self.ca_pem()).expect("a CA")
    }

    /// The same as text.
    pub fn ca_pem(&self) -> Vec<u8> {
        self.file("CA")
    }

    /// A CA that signed nothing.
    pub fn other_ca(&self) -> Roots {
        Roots::from_pem(&self.file("OTHER_CA")).expect("a CA")
    }

    /// A client certificate that the server takes.
    pub fn identity(&self) -> Identity {
        Identity::from_pem(&self.file("CLIENT_CERT"), &self.file("CLIENT_KEY")).expect("a client certificate")
    }
}

impl Index<&str> for Said {
    type Output = String;

    /// The value of a key that every start has.
    fn index(&self, key: &str) -> &String {
        &self.values[key]
    }
}

/// The directory of this run: logs, data, kubeconfigs. It stays for the reader of a failure, until a later run clears it away.
///
/// # Panics
/// Where the directory cannot be made.
pub fn run_directory() -> PathBuf {
    static CLEARED: Once = Once::new();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let own = root.join(format!("run-{}", std::process::id()));
    CLEARED.call_once(|| {
        if !has_servers(&own) {
            // One of that name is of an earlier process with the same number.
            let _ = fs::remove_dir_all(&own);
        }
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
    });
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
pub fn up(name: &str, directory: &Path, extra: &[&str], variables: &[(&str, &str)]) -> Result<Said, String> {
    let mut command = Command::new(root().join("hack").join(name).join(name));
    command.arg("up").arg(directory).args(extra).envs(variables.iter().copied());
    run(command.env("OWNER_PID", std::process::id().to_string()))?;
    let said =
        fs::read_to_string(directory.join("env")).map_err(|error| format!("{name} left no env file: {error}"))?;
    let values = said.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into()));
    Ok(Said { script: name.to_owned(), values: values.collect() })
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
