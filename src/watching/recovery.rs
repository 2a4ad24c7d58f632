//! What a watch does after an error, and when. Pure: the time and the jitter are passed in.

use std::time::Duration;

use kube::{core::Status, runtime::watcher};
use tokio::time::Instant;

/// The first pause after a failure, doubled by each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: a right that is granted takes effect within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A watch that ran this long is well again; the next pause is the first.
const WELL: Duration = Duration::from_secs(10);

/// What is done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Go on from the last event seen.
    Resume,
    /// List everything again.
    StartOver,
    /// List everything again, at once and in pages: the server knows no streaming lists.
    StartOverInPages,
    /// Say that listing is not permitted, and list everything again.
    Forbidden,
    /// Find out whether the kind is served at all, and list everything again.
    NotFound,
}

/// How a listing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// As the beginning of the watch (Kubernetes 1.32, 1.34 and later). kube's watcher has no fall-back of its own.
    Streamed,
    /// In pages, before the watch.
    Paged,
}

/// Where a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The listing has not ended.
    Listing,
    /// Changes are followed.
    Following,
}

/// What is done about `error` in `phase`. kube's watcher goes on after every error as if it had lost nothing; where
/// something may be lost it is thrown away here and a new one lists again.
pub fn remedy(error: &watcher::Error, phase: Phase, listing: Listing) -> Remedy {
    use kube::Error::{Api, SerdeError};
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    let status: Option<&Status> = match error {
        InitialListFailed(Api(status))
        | WatchStartFailed(Api(status))
        | WatchFailed(Api(status))
        | WatchError(status) => Some(status),
        _ => None,
    };
    match (status, phase) {
        // By the code: `Status::is_forbidden` and its like do not look at it where the body was no `Status`.
        (Some(status), _) if status.code == 403 => Remedy::Forbidden,
        (Some(status), _) if status.code == 404 => Remedy::NotFound,
        (Some(status), Phase::Listing) if status.code == 422 && listing == Listing::Streamed => {
            Remedy::StartOverInPages
        }
        // kube's watcher never recovers from a 410 in answer to the request: it asks with the same version again.
        (Some(status), Phase::Following) if status.code == 410 => Remedy::StartOver,
        // An object that could not be decoded was skipped.
        (None, Phase::Following) if matches!(error, WatchFailed(SerdeError(_)) | NoResourceVersion) => {
            Remedy::StartOver
        }
        (Some(_) | None, Phase::Following) => Remedy::Resume,
        (Some(_) | None, Phase::Listing) => Remedy::StartOver,
    }
}

/// How long a watch that was synced must be refused before that is believed: an API server that starts refuses everybody
/// until it has read its roles.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);

/// Whether a refusal is believed.
#[derive(Debug, Default)]
pub struct Doubt {
    synced: Option<Synced>,
}

#[derive(Debug, Default)]
struct Synced {
    refused_since: Option<Instant>,
}

impl Doubt {
    /// A listing was complete: from now on a single refusal says little.
    pub fn synced(&mut self) {
        self.synced = Some(Synced::default());
    }

    /// The watch was refused at `now`. The refusal of a watch that never was synced is believed at once.
    pub fn is_believed(&mut self, now: Instant) -> bool {
        let Some(synced) = &mut self.synced else { return true };
        let since = *synced.refused_since.get_or_insert(now);
        now.duration_since(since) >= BELIEVED_AFTER
    }
}

/// When one watch tries again.
#[derive(Debug, Default)]
pub struct Pace {
    failures: u32,
    /// Since when it has been running, if it is.
    running: Option<Instant>,
    /// When the last pause was begun.
    paused: Option<Instant>,
}

impl Pace {
    /// Something arrived at `now`.
    pub fn runs(&mut self, now: Instant) {
        self.running.get_or_insert(now);
    }

    /// How long to wait after a failure at `now`: doubling, and shortened by up to a half, by as much as `random` says, so
    /// that the watches of all kinds and replicas do not come back together.
    pub fn pause(&mut self, now: Instant, random: u64) -> Duration {
        let ran_well = self.running.take().is_some_and(|since| now - since >= WELL);
        // A watch that was resumed may be well for hours without an event.
        let long_ago = self.paused.is_some_and(|last| now - last >= 3 * LONGEST_PAUSE);
        if ran_well || long_ago {
            self.failures = 0;
        }
        let whole = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.paused = Some(now);
        let thousandths = u32::try_from(random % 501).unwrap_or(0);
        whole.saturating_sub(whole * thousandths / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("no", "Other").with_code(code).boxed())
    }

    #[test]
    fn whatever_may_have_lost_something_lists_again() {
        use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
        let undecodable = || kube::Error::SerdeError(serde_json::from_str::<u8>("x").unwrap_err());
        let broken = || kube::Error::ReadEvents(std::io::ErrorKind::ConnectionReset.into());
        let gone = || WatchError(Status::failure("old", "Expired").with_code(410).boxed());
        let cases = [
            (WatchStartFailed(refused(410)), Phase::Following, Remedy::StartOver),
            (gone(), Phase::Following, Remedy::StartOver),
            (gone(), Phase::Listing, Remedy::StartOver),
            (WatchFailed(undecodable()), Phase::Following, Remedy::StartOver),
            (WatchFailed(undecodable()), Phase::Listing, Remedy::StartOver),
            (WatchFailed(broken()), Phase::Listing, Remedy::StartOver),
            (InitialListFailed(refused(500)), Phase::Listing, Remedy::StartOver),
            (NoResourceVersion, Phase::Following, Remedy::StartOver),
            (WatchFailed(broken()), Phase::Following, Remedy::Resume),
            (WatchStartFailed(refused(503)), Phase::Following, Remedy::Resume),
            (WatchStartFailed(refused(401)), Phase::Following, Remedy::Resume),
        ];
        for (error, phase, expected) in cases {
            assert_eq!(remedy(&error, phase, Listing::Streamed), expected, "{error} {phase:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_every_phase_and_pages_are_tried_once() {
        use watcher::Error::{InitialListFailed, WatchStartFailed};
        for (code, told) in [(403, Remedy::Forbidden), (404, Remedy::NotFound)] {
            for phase in [Phase::Listing, Phase::Following] {
                assert_eq!(remedy(&WatchStartFailed(refused(code)), phase, Listing::Streamed), told);
                assert_eq!(remedy(&InitialListFailed(refused(code)), phase, Listing::Paged), told);
            }
        }
        let unprocessable = WatchStartFailed(refused(422));
        assert_eq!(remedy(&unprocessable, Phase::Listing, Listing::Streamed), Remedy::StartOverInPages);
        assert_eq!(remedy(&unprocessable, Phase::Listing, Listing::Paged), Remedy::StartOver);
    }

    #[test]
    fn a_watch_that_was_synced_must_be_refused_for_a_while_before_that_is_believed() {
        let now = Instant::now();
        let mut doubt = Doubt::default();
        assert!(doubt.is_believed(now), "it never was allowed");
        doubt.synced();
        assert!(!doubt.is_believed(now));
        assert!(!doubt.is_believed(now + BELIEVED_AFTER / 2));
        assert!(doubt.is_believed(now + BELIEVED_AFTER));
        doubt.synced();
        assert!(!doubt.is_believed(now + 2 * BELIEVED_AFTER), "it was allowed again in between");
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_again_after_a_good_run() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let pauses: Vec<u64> = (0..8).map(|_| pace.pause(start, 0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        pace.runs(start);
        assert_eq!(pace.pause(start + WELL / 2, 0), LONGEST_PAUSE, "too short a run to be well");
        pace.runs(start + WELL);
        assert_eq!(pace.pause(start + 2 * WELL, 0), FIRST_PAUSE);
        assert_eq!(pace.pause(start + 2 * WELL, 0), 2 * FIRST_PAUSE);
        assert_eq!(pace.pause(start + 2 * WELL + 3 * LONGEST_PAUSE, 0), FIRST_PAUSE, "nothing failed for long");
    }

    #[test]
    fn a_pause_is_shortened_by_at_most_a_half() {
        let now = Instant::now();
        let pauses: Vec<Duration> = (0..2000).map(|random| Pace::default().pause(now, random)).collect();
        assert_eq!(pauses.iter().max(), Some(&FIRST_PAUSE));
        assert_eq!(pauses.iter().min(), Some(&(FIRST_PAUSE / 2)));
    }
}
