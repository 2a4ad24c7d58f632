//! The operator's binary as a process of its own, as a Pod would run it.

use std::{
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    control_plane::{Account, INSTALLED_IN},
    eventually, pause,
    proxy::free_port,
    script,
};

/// How long the operator may take to become ready; a machine that runs many tests at once is slow.
const STARTING: Duration = Duration::from_mins(1);

/// A running operator.
pub struct Operator {
    /// The name the audit log knows it by.
    pub user: String,
    http: SocketAddr,
    log: PathBuf,
    process: Mutex<Child>,
}

/// A signal that a test sends.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Please end.
    Term,
    /// End now.
    Kill,
}

impl Operator {
    /// Starts `connection-operator run FLAGS` and waits until it says that it is ready.
    pub async fn start(account: &Account, flags: &[&str]) -> Self {
        let operator = Self::launch(account, flags).await;
        operator.ready().await.unwrap_or_else(|sentence| panic!("{sentence}"));
        operator
    }

    /// Starts it, and waits for nothing.
    pub async fn launch(account: &Account, flags: &[&str]) -> Self {
        Self::launch_in(account, flags, &[]).await
    }

    /// As [`Operator::launch`], with more in its environment.
    pub async fn launch_in(account: &Account, flags: &[&str], environment: &[(&str, String)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let http = SocketAddr::from(([127, 0, 0, 1], free_port().await));
        let log = script::run_directory().join(format!("operator-{number}.log"));
        let file = File::create(&log).expect("a log file");
        let process = Command::new(binary())
            .arg("run")
            .args(["--http-address", &http.to_string()])
            .args(flags)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("KUBECONFIG", &account.kubeconfig)
            .env("POD_NAME", format!("operator-{number}"))
            .env("POD_NAMESPACE", INSTALLED_IN)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log file twice"))
            .stderr(file)
            .spawn()
            .expect("the operator's binary");
        Watchdog::tell(&format!("{}\n", process.id()));
        Self { user: account.user.clone(), http, log, process: Mutex::new(process) }
    }

    /// Waits until `/readyz` is 200.
    ///
    /// # Errors
    /// The operator's log, where it ends before or does not become ready.
    pub async fn ready(&self) -> Result<(), String> {
        let end = Instant::now() + STARTING;
        while self.http("/readyz").await.0 != Some(200) {
            if let Some(status) = self.ended() {
                return Err(format!("the operator ended with {status}:\n{}", self.log()));
            }
            if Instant::now() > end {
                return Err(format!("the operator is not ready within {STARTING:?}:\n{}", self.log()));
            }
            pause().await;
        }
        Ok(())
    }

    /// `GET path`: status and body; no status where nobody answers.
    pub async fn http(&self, path: &str) -> (Option<u16>, String) {
        let asked = async {
            let mut stream = TcpStream::connect(self.http).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let answer = match tokio::time::timeout(Duration::from_secs(5), asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => String::new(),
        };
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let (status, body) = self.http("/metrics").await;
        assert_eq!(status, Some(200), "/metrics");
        body
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The exit status, once it has ended.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process.lock().expect("no panic while it was held").try_wait().expect("our own child")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        assert_eq!(self.ended(), None, "it must not have ended yet:\n{}", self.log());
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Kill => "-KILL",
        };
        let id = self.process.lock().expect("no panic while it was held").id().to_string();
        script::run(Command::new("kill").args([name, &id])).expect("our own child");
    }

    /// Sends SIGTERM, waits for the end, and returns how long it took and with what status.
    pub async fn stop(&self) -> (Duration, ExitStatus) {
        let begin = Instant::now();
        self.signal(Signal::Term);
        let status = eventually(Duration::from_secs(30), "the operator ends", async || self.ended()).await;
        (begin.elapsed(), status)
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(&self) {
        self.signal(Signal::Kill);
        eventually(Duration::from_secs(30), "the operator is gone", async || self.ended()).await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let process = self.process.get_mut().expect("no panic while it was held");
        if process.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Nothing is left to do about a failure here.
            let _ = process.kill();
            let _ = process.wait();
        }
        Watchdog::tell(&format!("-{}\n", process.id()));
    }
}

/// Runs the binary with another subcommand to its end: exit code, standard output, standard error.
pub fn command(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("the operator's binary");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_connection-operator"))
}

/// A shell that kills the operators that are left when this process is gone, however it went: its input ends then.
struct Watchdog(ChildStdin);

impl Watchdog {
    /// `PID` remembers a process, `-PID` forgets it.
    fn tell(line: &str) {
        static SHELL: LazyLock<Mutex<Watchdog>> = LazyLock::new(|| {
            let script = r#"left=" "
                trap "" INT TERM HUP
                while read -r pid; do
                  case $pid in -*) left=${left%% "${pid#-}" *}" "${left#* "${pid#-}" } ;; *) left="$left$pid " ;; esac
                done
                for pid in $left; do kill -KILL "$pid"; done"#;
            let mut shell =
                Command::new("bash").args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
            let stdin = shell.as_mut().ok().and_then(|shell| shell.stdin.take()).expect("bash");
            Mutex::new(Watchdog(stdin))
        });
        SHELL.lock().expect("no panic while it was held").0.write_all(line.as_bytes()).expect("the shell reads");
    }
}
