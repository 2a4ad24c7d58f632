//! Waiting for what must come: by asking again, never by trusting a time.

use std::time::Duration;

/// How long a test waits for what must come. Long, since the machine may be busy; what must be quick is measured.
pub const DEADLINE: Duration = Duration::from_secs(90);

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
