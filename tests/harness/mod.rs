//! What the tests against real servers stand on. It starts servers and asks them; it judges nothing, and no test is in it.
//!
//! Every server ends with the test process, however that ends.

use std::{sync::LazyLock, time::Duration};

pub mod audit;
pub mod caller;
pub mod control_plane;
pub mod namespace;
pub mod operator;
pub mod proxy;
pub mod script;

/// How long a test waits for what must come. Long, since the machine may be busy; what must be quick is measured.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// The one runtime. Tests run on threads of their own, and a client's connections must not end with the test that made them.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"));

/// Runs one test to its end.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    RUNTIME.block_on(test)
}

/// Asks until there is an answer.
///
/// # Panics
/// Where there is none within `deadline`; `what` says what was waited for.
pub async fn eventually<T>(deadline: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "not within {deadline:?}: {what}");
        pause().await;
    }
}

/// The time between two questions.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
