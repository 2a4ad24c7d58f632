//! When the next probe is due, from history alone. No clock, no randomness: what spreads probes is a hash, passed in.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use crate::connections::Lockout;

use super::Tempo;

/// Probes of one Connection start at least this far apart, whatever asks.
pub const MIN_GAP: Duration = Duration::from_secs(5);
/// First wait while failures are held back, doubling.
const HELD_BACK_FIRST: Duration = Duration::from_secs(5);
/// First wait of a broken connection, doubling.
const BROKEN_FIRST: Duration = Duration::from_secs(10);
/// Longest wait of a broken connection, and the longest before the first probe after a restart.
const BROKEN_LONGEST: Duration = Duration::from_secs(300);
/// First and longest wait after a rejected credential that may lock an account.
const LOCKING: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));
/// First and longest wait after a rejected credential that cannot lock one.
const HARMLESS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));
/// First and longest wait after a look that the server counts against the operator's address. MySQL lets nobody in from an address
/// after a hundred in a row: of one Connection, in three weeks, those counted in that were held back before.
const COUNTED: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(6 * 3600));
/// How much of an interval probes are spread over, so that a fleet created at once does not probe at once for ever.
const SPREAD: f64 = 0.1;

/// A number in `0.0..1.0` that is the same for the same object and count, and differs between objects.
pub fn spread(uid: &str, count: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (uid, count).hash(&mut hasher);
    // 32 bits are exact in an f64.
    f64::from((hasher.finish() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

/// The wait from the start of a probe that left the connection green: 90 to 100 % of the interval.
pub fn after_green(tempo: &Tempo, spread: f64) -> Duration {
    tempo.interval.mul_f64(1.0 - SPREAD * spread)
}

/// The wait after the `failures`-th consecutive failure that is held back: 5 s, 10 s, 20 s …, never later than the interval.
pub fn after_held_back(failures: u32, tempo: &Tempo) -> Duration {
    doubled(HELD_BACK_FIRST, failures.saturating_sub(1), tempo.interval)
}

/// The wait after the `tries`-th look at a broken connection: 10 s, doubling to the interval, at most 5 min.
pub fn after_broken(tries: u32, tempo: &Tempo) -> Duration {
    doubled(BROKEN_FIRST, tries.saturating_sub(1), tempo.interval.min(BROKEN_LONGEST))
}

/// The wait after the `rejections`-th consecutive rejection of a credential.
pub fn after_rejection(rejections: u32, lockout: Lockout) -> Duration {
    let (first, longest) = match lockout {
        Lockout::Possible => LOCKING,
        Lockout::Impossible => HARMLESS,
    };
    doubled(first, rejections.saturating_sub(1), longest)
}

/// The wait after the `counted`-th consecutive look that the server counts against the operator's address and that left the connection
/// not Ready.
pub fn after_counted(counted: u32) -> Duration {
    doubled(COUNTED.0, counted.saturating_sub(1), COUNTED.1)
}

/// The wait before the first probe of a Connection whose stored status is believed after a restart.
pub fn after_restart(tempo: &Tempo, spread: f64) -> Duration {
    tempo.interval.min(BROKEN_LONGEST).mul_f64(spread)
}

/// How long a green counts: three intervals and the timeout.
pub fn green_lasts(tempo: &Tempo) -> Duration {
    tempo.interval * 3 + tempo.timeout
}

/// `first` doubled `times` times, at most `longest`.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn tempo(interval: u64) -> Tempo {
        Tempo { interval: seconds(interval), timeout: seconds(10), failure_threshold: 3, success_threshold: 1 }
    }

    #[test]
    fn held_back_failures_are_looked_at_after_5_10_20_seconds_and_never_later_than_the_interval() {
        let waits: Vec<_> = (1..=5).map(|n| after_held_back(n, &tempo(60)).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60]);
        assert_eq!(after_held_back(9, &tempo(7)), seconds(7));
    }

    #[test]
    fn a_broken_connection_is_tried_after_10_seconds_doubling_to_the_interval_or_five_minutes() {
        let waits: Vec<_> = (1..=4).map(|n| after_broken(n, &tempo(60)).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 60]);
        assert_eq!(after_broken(40, &tempo(86_400)), seconds(300));
        assert_eq!(after_broken(1, &tempo(5)), seconds(5));
    }

    #[test]
    fn a_rejected_credential_waits_an_hour_doubling_to_a_day_unless_nothing_can_be_locked() {
        let hours: Vec<_> = (1..=7).map(|n| after_rejection(n, Lockout::Possible).as_secs() / 3600).collect();
        assert_eq!(hours, [1, 2, 4, 8, 16, 24, 24]);
        assert_eq!(after_rejection(1, Lockout::Impossible), seconds(30));
        assert_eq!(after_rejection(99, Lockout::Impossible), seconds(3600));
    }

    #[test]
    fn a_hundred_looks_that_a_server_counts_take_more_than_three_weeks() {
        let minutes: Vec<_> = (1..=8).map(|n| after_counted(n).as_secs() / 60).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80, 160, 320, 360]);
        // Nine are held back at most, and are soon over.
        for held_back in [0, 9] {
            let hundred: Duration = (1..100 - held_back).map(after_counted).sum();
            assert!(hundred > Duration::from_secs(21 * 24 * 3600), "{hundred:?}");
        }
    }

    #[test]
    fn a_fleet_is_spread_evenly_and_the_same_way_each_time() {
        let places: Vec<f64> = (0..10_000).map(|n| spread(&format!("uid-{n}"), 0)).collect();
        for tenth in 0..10 {
            let from = f64::from(tenth) / 10.0;
            let here = places.iter().filter(|at| (from..from + 0.1).contains(*at)).count();
            assert!((800..1200).contains(&here), "{here} of 10,000 from {from}");
        }
        assert_eq!(spread("a", 1).to_bits(), spread("a", 1).to_bits());
    }

    #[test]
    fn the_first_probe_after_a_restart_is_within_the_interval_and_five_minutes() {
        assert!(after_restart(&tempo(86_400), 0.999_999) <= seconds(300));
        assert!(after_restart(&tempo(60), 0.999_999) <= seconds(60));
    }

    #[test]
    fn a_green_lasts_three_intervals_and_the_timeout() {
        assert_eq!(green_lasts(&tempo(60)), seconds(190));
    }
}
