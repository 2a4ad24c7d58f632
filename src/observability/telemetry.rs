//! Logs: text or JSON lines on the standard error, and a panic hook that does not repeat what the panic said.
//!
//! Dependencies log at `warn` at most, the Kubernetes client and a driver not at all, whatever level is asked for: their lines can
//! hold bodies of requests and answers, and with them Secrets or words of a peer.

use std::panic::{self, PanicHookInfo};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Someone must act.
    Error,
    /// It will be retried.
    Warn,
    /// State changed.
    Info,
    /// How a decision came about.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// The process already writes its logs somewhere.
#[derive(Debug, thiserror::Error)]
#[error("logging is set up already")]
pub struct AlreadySetUp;

/// Sends logs to the standard error from now on, and makes panics say where they happened and nothing else.
///
/// # Errors
/// [`AlreadySetUp`] where the process has a subscriber.
pub fn set_up(format: LogFormat, level: LogLevel) -> Result<(), AlreadySetUp> {
    // `try_init` also sets the `log` crate's logger where that feature is on; it is not, so drivers that use `log` are silent.
    match format {
        LogFormat::Text => text(level, std::io::stderr).try_init(),
        LogFormat::Json => json(level, std::io::stderr).try_init(),
    }
    .map_err(|_| AlreadySetUp)?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn text<W>(level: LogLevel, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    Registry::default().with(fmt::layer().with_ansi(false).with_writer(writer).with_filter(targets(level)))
}

fn json<W>(level: LogLevel, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().json().flatten_event(true).with_writer(writer);
    Registry::default().with(lines.with_filter(targets(level)))
}

/// Ours at `level`; the rest at `warn` or above. `kube_client` is off: when an answer cannot be decoded it logs the whole
/// answer at `warn`, which may be a Secret; every failed call is logged by its caller and counted. `tiberius` is off: it logs the
/// text of every error of a server at `error`, which is a peer's word.
fn targets(level: LogLevel) -> Targets {
    Targets::new()
        .with_default(level.filter().min(LevelFilter::WARN))
        .with_target("connection_operator", level.filter())
        .with_target("kubectl_connection", level.filter())
        .with_target("kube_client", LevelFilter::OFF)
        .with_target("tiberius", LevelFilter::OFF)
}

/// The payload of a panic may repeat a value that should not be seen; the place is enough to find the cause.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let (file, line) = panic.location().map_or(("unknown", 0), |place| (place.file(), place.line()));
    tracing::error!(file, line, "panicked");
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn writer(&self) -> impl for<'a> MakeWriter<'a> + Send + Sync + 'static {
            let lines = self.clone();
            move || lines.clone()
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn the_level_is_obeyed() {
        let lines = Lines::default();
        tracing::subscriber::with_default(text(LogLevel::Info, lines.writer()), || {
            tracing::info!("shown");
            tracing::debug!("hidden");
        });
        assert!(lines.text().contains("shown") && !lines.text().contains("hidden"), "{}", lines.text());
    }

    #[test]
    fn a_json_line_is_one_object_with_the_fields_at_its_top() {
        let lines = Lines::default();
        tracing::subscriber::with_default(json(LogLevel::Info, lines.writer()), || {
            tracing::info!(namespace = "shop", "ready");
        });
        let line: serde_json::Value = serde_json::from_str(&lines.text()).unwrap();
        assert_eq!((line["message"].as_str(), line["namespace"].as_str()), (Some("ready"), Some("shop")));
    }

    #[test]
    fn dependencies_never_write_bodies_even_at_trace() {
        let lines = Lines::default();
        tracing::subscriber::with_default(text(LogLevel::Trace, lines.writer()), || {
            tracing::trace!("ours");
            tracing::warn!(target: "kube_client::client", "hunter2");
            tracing::error!(target: "tiberius::tds::stream::token", "hunter2");
            tracing::debug!(target: "kube_runtime::watcher", "hunter2");
            tracing::trace!(target: "hyper::proto", "hunter2");
            tracing::debug!(target: "rustls::client", "hunter2");
            tracing::warn!(target: "kube_runtime::watcher", "lagging");
        });
        let text = lines.text();
        assert!(text.contains("ours") && text.contains("lagging") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_quiet_level_quietens_dependencies_too() {
        let lines = Lines::default();
        tracing::subscriber::with_default(text(LogLevel::Error, lines.writer()), || {
            tracing::warn!(target: "kube_runtime::watcher", "lagging");
        });
        assert_eq!(lines.text(), "");
    }

    #[test]
    fn a_panic_is_logged_by_its_place_and_never_by_its_payload() {
        let lines = Lines::default();
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        tracing::subscriber::with_default(text(LogLevel::Info, lines.writer()), || {
            assert!(panic::catch_unwind(|| panic!("hunter2")).is_err());
        });
        panic::set_hook(before);
        let text = lines.text();
        assert!(text.contains("panicked") && text.contains("telemetry.rs") && !text.contains("hunter2"), "{text}");
    }
}
