//! The ladder of stages: which one is in progress, and how long each took. It decides nothing; the dialers of [`super::Network`]
//! and the probes step it, so that a deadline or a panic belongs to the stage that was in progress.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::failure::{Failure, Proof, Report, Stage};

/// Most steps that are remembered: a probe of many endpoints steps back and forth a few times per endpoint, and a client
/// that reconnects for ever must not fill the memory.
const STEPS_LIMIT: usize = 64;

/// The stages that one probe has entered. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ladder(Arc<Mutex<Vec<(Stage, Instant)>>>);

impl Ladder {
    /// Says that `stage` is now in progress. It may be an earlier one than before: a second endpoint is reached anew.
    pub(super) fn step(&self, stage: Stage) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.last().is_some_and(|(current, _)| *current == stage) {
            return;
        }
        if steps.len() == STEPS_LIMIT {
            steps.pop();
        }
        steps.push((stage, Instant::now()));
    }

    /// The stage in progress.
    pub(super) fn current(&self) -> Stage {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.last().map_or(Stage::Resolve, |(stage, _)| *stage)
    }

    /// Ends the climb.
    pub(super) fn finish(&self, end: Result<Proof, Failure>) -> Report {
        let now = Instant::now();
        let current = self.current();
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = steps.iter().skip(1).map(|(_, entered)| *entered).chain([now]);
        let times: Vec<(Stage, Duration)> =
            steps.iter().zip(ends).map(|((stage, entered), left)| (*stage, left - *entered)).collect();
        match end {
            Ok(proof) => Report::passed(proof, times),
            Err(failure) => Report::failed(current, failure, times),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{FailureClass, Finding};

    #[tokio::test(start_paused = true)]
    async fn each_stage_is_given_the_time_until_the_next_one() {
        let ladder = Ladder::default();
        ladder.step(Stage::Reach);
        tokio::time::advance(Duration::from_millis(30)).await;
        ladder.step(Stage::Reach);
        tokio::time::advance(Duration::from_millis(20)).await;
        ladder.step(Stage::Authenticate);
        tokio::time::advance(Duration::from_millis(7)).await;
        let report = ladder.finish(Ok(Proof::default()));
        let expected = [(Stage::Reach, Duration::from_millis(50)), (Stage::Authenticate, Duration::from_millis(7))];
        assert_eq!(report.steps(), expected);
    }

    #[tokio::test]
    async fn a_client_that_steps_for_ever_fills_no_memory_and_the_last_stage_is_kept() {
        let ladder = Ladder::default();
        for _ in 0..1000 {
            ladder.step(Stage::Reach);
            ladder.step(Stage::Authenticate);
        }
        let report = ladder.finish(Err(Failure::new(FailureClass::TimedOut)));
        assert!(report.steps().len() <= STEPS_LIMIT);
        assert!(matches!(report.at(Stage::Authenticate), Finding::Failed(_)));
    }
}
