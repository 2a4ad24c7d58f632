//! A library that cannot be trusted with the process works in a child of it: the same program, started anew, that is told one thing
//! and answers one line. Here is what the operator does: it starts the child, bounds it, tells it what it needs, reads its answer,
//! and ends it. Nothing of it is left when the look is over.
//!
//! What is enforced: time, memory, the size of what it is told and answers, an empty environment and no file of ours. What is not: a
//! child is in no network namespace of its own. It is told no address but those of [`relay::Relay`]s, where the operator itself goes
//! on; a child that a peer has taken over could open other sockets.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions},
};
use secrecy::zeroize::Zeroizing;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Network;
use crate::failure::{Code, Failure, FailureClass};

mod inherited;
mod owner;
pub mod relay;

pub use inherited::close_what_was_inherited;

/// The subcommand of the program that does a job.
pub const SUBCOMMAND: &str = "probe-child";

/// Most bytes that a child is told: the largest value of a Secret in base64, and settings.
pub const DOCUMENT_LIMIT: usize = 256 * 1024;

/// Most bytes that a child answers.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How long a child may take to end when it has closed its output, which is the last thing that it does.
const ENDING: Duration = Duration::from_secs(2);

/// How much of what a child complains about is looked at.
const COMPLAINTS_LIMIT: u64 = 64 * 1024;

/// How long they are waited for: the child has ended, so they are there.
const COMPLAINTS_WAIT: Duration = Duration::from_secs(1);

/// Most memory that a child may have: what it begins with and a MiB of answers are a fifth of it. A few of them at once must not
/// use up what the operator's container has.
const MEMORY_LIMIT: u64 = 64 * 1024 * 1024;

/// Most addresses that it may take up: what is only mapped costs nothing, and the program is mapped.
const ADDRESSES_LIMIT: u64 = 1024 * 1024 * 1024;

/// Largest file that it may write: a keytab, in memory.
const FILE_LIMIT: u64 = DOCUMENT_LIMIT as u64;

/// Most files that it may have open.
const DESCRIPTORS_LIMIT: u64 = 64;

/// What a child is to do.
pub struct Task<'a> {
    /// The name of the job.
    pub job: &'a str,
    /// All of its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// What it is told.
    pub document: Document,
}

/// Settings and secrets for a child, as one line. It is wiped when it is dropped.
pub struct Document(Zeroizing<Vec<u8>>);

impl Document {
    /// Writes `content` down.
    ///
    /// # Errors
    /// `Internal` where it is no JSON, or larger than a child is told; whoever calls this has bounded its parts.
    pub fn of(content: &impl Serialize) -> Result<Self, Failure> {
        // Room for all of it at once: a buffer that grows leaves copies behind.
        let mut line = Zeroizing::new(vec![0; DOCUMENT_LIMIT]);
        let mut rest = &mut line[..];
        let written = serde_json::to_writer(&mut rest, content).map_err(|_| Failure::new(FailureClass::Internal));
        let left = rest.len();
        written?;
        line.truncate(DOCUMENT_LIMIT - left);
        Ok(Self(line))
    }
}

impl Network {
    /// Lets a child do `task` and returns its answer. Whatever ends this call ends the child: [`super::climb`] returns only when
    /// it is gone.
    ///
    /// # Errors
    /// `ChildFailed` where it gives no answer, of the stage in progress.
    pub async fn ask_child<T>(&self, task: Task<'_>) -> Result<T, Failure>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let given_up = CancellationToken::new();
        let _given_up = given_up.clone().drop_guard();
        let command = command(self.0.world.program(), &task);
        let life = live(self.clone(), command, task.document, given_up);
        let answer = self.0.children.spawn(life).await.map_err(|_panicked| Failure::new(FailureClass::Internal))??;
        read(&answer)
    }
}

fn command(program: &Path, task: &Task<'_>) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("connection-operator")
        .args([SUBCOMMAND, task.job])
        .env_clear()
        .envs(task.environment.iter().copied())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What a library has to say may hold a peer's words: it is looked at for one thing, and shown to nobody.
        .stderr(Stdio::piped())
        // What the child may start ends with it.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// A child from its start to its end.
async fn live(
    net: Network,
    mut command: Command,
    document: Document,
    given_up: CancellationToken,
) -> Result<Vec<u8>, Failure> {
    let mut child = command.spawn().map_err(|_| failed("it could not be started"))?;
    let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
        return Err(failed("it could not be started"));
    };
    net.0.child.send_replace(Some(pid));
    let ended = tokio::select! {
        biased;
        () = given_up.cancelled() => Err(failed("it was given up")),
        ended = outlive(&mut child, pid, document) => ended,
    };
    // What it has started ends too, however it has ended itself. Its number is its own, and its group's, until it was waited for.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    let status = child.wait().await;
    let starved = match (&status, child.stderr.take()) {
        (Ok(status), Some(complaints)) if ended.is_ok() && !status.success() => has_starved(complaints).await,
        _ => false,
    };
    // The next one may be there already.
    net.0.child.send_if_modified(|child| child.take_if(|there| *there == pid).is_some());
    match status {
        Ok(status) if status.success() => ended,
        Ok(_) if starved => Err(failed("it needs more memory than it may have")),
        Ok(status) => ended.and_then(|_| Err(unsuccessful(status))),
        Err(_) => Err(Failure::new(FailureClass::Internal)),
    }
}

/// Returns what the child has said when it has ended. It is not waited for yet.
async fn outlive(child: &mut Child, pid: Pid, document: Document) -> Result<Vec<u8>, Failure> {
    let answer = converse(child, pid, document).await?;
    match timeout(ENDING, end_of(pid)).await {
        Ok(Ok(())) => Ok(answer),
        Ok(Err(_)) => Err(Failure::new(FailureClass::Internal)),
        Err(_elapsed) => Err(failed("it does not end")),
    }
}

/// Waits until the child has ended, and leaves it to be waited for.
async fn end_of(pid: Pid) -> io::Result<()> {
    // First of all, so that no end is missed.
    let mut some_child_has_ended = signal(SignalKind::child())?;
    while !has_ended(pid)? {
        some_child_has_ended.recv().await;
    }
    Ok(())
}

fn has_ended(pid: Pid) -> Result<bool, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    rustix::process::waitid(WaitId::Pid(pid), options).map(|ended| ended.is_some())
}

/// Tells the child what it needs and returns all that it says.
async fn converse(child: &mut Child, pid: Pid, document: Document) -> Result<Vec<u8>, Failure> {
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::new(FailureClass::Internal));
    };
    // It waits for what it is told, so it is bounded before it does anything. One that has ended already needs no bounds.
    if bound(pid).is_err() && has_ended(pid) != Ok(true) {
        return Err(failed("it could not be bounded"));
    }
    let tell = async {
        // A child that does not listen is known by what it answers.
        if stdin.write_all(&document.0).await.is_ok() {
            let _ = stdin.write_all(b"\n").await;
        }
        drop(document);
        // It ends when this is closed, so it is kept until the answer has come.
        stdin
    };
    let (answer, _stdin) = tokio::try_join!(hear(&mut stdout), async { Ok(tell.await) })?;
    Ok(answer)
}

/// All that the child says, to its end.
async fn hear(stdout: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Failure> {
    let mut answer = Vec::new();
    let most = u64::try_from(ANSWER_LIMIT).unwrap_or(u64::MAX);
    match stdout.take(most + 1).read_to_end(&mut answer).await {
        Ok(_) if answer.len() > ANSWER_LIMIT => Err(failed("it answers too much")),
        Ok(_) => Ok(answer),
        Err(_) => Err(Failure::new(FailureClass::Internal)),
    }
}

/// Whether a child that has ended has complained about memory, in the words of Rust's runtime, which then aborts. A child has no
/// reason to say more than fits into a pipe, which nobody reads until it has ended.
async fn has_starved(complaints: ChildStderr) -> bool {
    let mut said = Vec::new();
    // What the child has started may hold the other end.
    let _ = timeout(COMPLAINTS_WAIT, complaints.take(COMPLAINTS_LIMIT).read_to_end(&mut said)).await;
    said.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"memory allocation of "))
}

fn bound(pid: Pid) -> Result<(), Errno> {
    for (resource, most) in [
        (Resource::Data, MEMORY_LIMIT),
        (Resource::As, ADDRESSES_LIMIT),
        (Resource::Nofile, DESCRIPTORS_LIMIT),
        (Resource::Fsize, FILE_LIMIT),
        // What it was told does not get into a file.
        (Resource::Core, 0),
    ] {
        // What the operator itself may not have cannot be granted.
        let own = rustix::process::getrlimit(resource).maximum;
        let most = Some(own.map_or(most, |own| own.min(most)));
        rustix::process::prlimit(Some(pid), resource, Rlimit { current: most, maximum: most })?;
    }
    Ok(())
}

/// Reads an answer: one line of JSON of the form that is expected, and nothing else.
fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    if answer.is_empty() {
        return Err(failed("it answers nothing"));
    }
    let line = answer.strip_suffix(b"\n").filter(|line| !line.contains(&b'\n'));
    line.and_then(|line| serde_json::from_slice(line).ok()).ok_or_else(|| failed("its answer cannot be read"))
}

fn unsuccessful(status: ExitStatus) -> Failure {
    match (status.signal(), status.code()) {
        (Some(signal), _) => failed("it was ended by signal").code(Code::Number(signal.into())),
        (None, Some(code)) => failed("it ended with exit code").code(Code::Number(code.into())),
        (None, None) => failed("it ended in a strange way"),
    }
}

#[track_caller]
fn failed(how: &'static str) -> Failure {
    Failure::new(FailureClass::ChildFailed).word(how)
}

/// The side of the child: what it was told, on standard input.
///
/// # Errors
/// Where it is no line, or larger than a child is told.
pub fn told() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(vec![0; DOCUMENT_LIMIT + 1]);
    let mut filled = 0;
    loop {
        // Without a buffer that nobody would wipe.
        match rustix::io::read(io::stdin(), &mut line[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        if line[..filled].last() == Some(&b'\n') {
            line.truncate(filled - 1);
            return Ok(line);
        }
    }
}

/// The side of the child: ends the process when the operator closes standard input, as it does when it ends, however it ends.
pub fn end_with_the_operator() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(rustix::io::read(io::stdin(), &mut byte), Err(rustix::io::Errno::INTR)) {}
        leave();
    });
}

#[expect(
    clippy::disallowed_methods,
    reason = "nobody is left to return an error to, and a library may hang in the other thread"
)]
fn leave() -> ! {
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_answer_is_one_line_of_the_form_that_is_expected() {
        assert_eq!(read::<Vec<u8>>(b"[1,2]\n").unwrap(), [1, 2]);
        for (answer, words) in [
            (&b""[..], "answers nothing"),
            (b"[1,2]", "cannot be read"),
            (b"\n", "cannot be read"),
            (b"[1]\n[2]\n", "cannot be read"),
            (b"[1]\n\n", "cannot be read"),
            (b"[1] [2]\n", "cannot be read"),
            (b"{}\n", "cannot be read"),
            (b"\xff\n", "cannot be read"),
            (b"hunter2\n", "cannot be read"),
        ] {
            let failure = read::<Vec<u8>>(answer).unwrap_err();
            assert_eq!(failure.class(), FailureClass::ChildFailed);
            assert!(failure.message().contains(words), "{}", failure.message());
        }
    }

    #[test]
    fn a_document_is_one_line_and_no_larger_than_a_child_is_told() {
        let content = BTreeMap::from([("keytab", "a\nb")]);
        assert_eq!(**Document::of(&content).unwrap().0, br#"{"keytab":"a\nb"}"#[..]);
        assert!(Document::of(&"x".repeat(DOCUMENT_LIMIT - 2)).is_ok());
        assert!(Document::of(&"x".repeat(DOCUMENT_LIMIT - 1)).is_err());
    }
}
