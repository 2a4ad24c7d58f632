//! A child of the operator, whatever it does: a look at it ends in time, says what happened, and nothing of it is left. Most are played
//! by a script (`victim`), some by the operator's own program.

mod ends;
mod relays;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use connection_operator::{
    failure::{Proof, Reason, Report, Stage},
    net::{
        Endpoint, Network, Policy, SystemResolver, World,
        child::{Document, Task},
        climb,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{case::LIMIT, harness::eventually};

/// The script that plays a child.
fn victim() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systems/child/victim")
}

/// The operator's own program.
fn own() -> PathBuf {
    env!("CARGO_BIN_EXE_connection-operator").into()
}

/// The operator's own program where it is started with files that nobody meant to hand on to it, in a directory that is removed
/// with it.
pub struct Heir(PathBuf);

impl Heir {
    pub fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("heir-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory");
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systems/child/heir");
        std::os::unix::fs::symlink(here, directory.join("program")).expect("a link");
        std::os::unix::fs::symlink(own(), directory.join("operator")).expect("a link");
        Self(directory)
    }

    /// A world in which it is what does work in a child.
    pub fn world(&self) -> Arc<World> {
        world(self.0.join("program"))
    }

    /// The number of the process that it was started as.
    async fn process(&self) -> u32 {
        let text = eventually(LIMIT, "the child appears", async || fs::read_to_string(self.0.join("pid")).ok()).await;
        text.trim().parse().expect("a number")
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A world in which loopback may be dialled and `program` is what does work in a child.
fn world(program: PathBuf) -> Arc<World> {
    let loopback = "127.0.0.0/8".parse().expect("a rule");
    let world = World::new(Policy::new(vec![loopback], Vec::new()), Arc::new(SystemResolver), 10_000);
    world.set_program(program);
    world
}

/// A question to a child that does `job`.
async fn ask<T: DeserializeOwned + Send + 'static>(
    net: &Network,
    job: &str,
    told: &Value,
) -> Result<T, connection_operator::failure::Failure> {
    net.ask_child(Task { job, environment: &[("LANG", "C")], document: Document::of(told)? }).await
}

/// One look in which a child does `job` and answers `done`, as the operator takes it.
async fn look(world: &Arc<World>, limit: Duration, job: &'static str, told: Value) -> Report {
    climb(world.network("shop"), limit, async move |net| {
        net.step(Stage::Reach);
        net.turn_to(&Endpoint::exactly("nn.example.com", 8020));
        let answer: String = ask(&net, job, &told).await?;
        assert_eq!(answer, "done");
        Ok(Proof::default())
    })
    .await
}

/// What a look says that did not pass while it reached the server.
fn words(report: &Report) -> (Reason, String) {
    let (stage, failure) = report.failure().expect("it passed");
    assert_eq!(stage, Stage::Reach, "{}", failure.message());
    (failure.reason(), failure.message())
}

/// A file that does not exist yet, by which a child says who it is, and one that it waits for.
struct Signs {
    directory: PathBuf,
}

impl Signs {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("child-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory");
        Self { directory }
    }

    fn told(&self) -> Value {
        json!({"pid": self.directory.join("pid"), "go": self.directory.join("go")})
    }

    /// The numbers of the processes that the child has told of: its own first.
    async fn processes(&self) -> Vec<u32> {
        let text = eventually(LIMIT, "the child appears", async || fs::read_to_string(self.directory.join("pid")).ok());
        text.await.split_whitespace().map(|number| number.parse().expect("a number")).collect()
    }

    fn go(&self) {
        fs::write(self.directory.join("go"), "").expect("a file");
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Whether a process is there, be it one that has ended and was not waited for.
fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
