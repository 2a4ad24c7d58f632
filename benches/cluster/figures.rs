//! Figures as a reader wants them: order statistics, units, lines of one width.

use std::{fmt::Write as _, io::Write as _, time::Duration};

/// Measured times.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        let at = self.0.partition_point(|other| *other <= time);
        self.0.insert(at, time);
    }

    /// Adds those of another measurement.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|time| self.add(*time));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of all do not exceed (nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The median.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// `p50 … p90 … p99 … max …`
    pub fn spread(&self) -> String {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| milliseconds(self.percentile(percent)));
        format!("p50 {p50}  p90 {p90}  p99 {p99}  max {}", milliseconds(self.percentile(100)))
    }
}

/// A headline, with the load that others cause.
pub fn title(text: &str) {
    println!("\n== {text}   [load average {}]", super::process::load());
    flush();
}

/// One figure.
pub fn line(name: &str, value: &str) {
    println!("  {name:<44} {value}");
    flush();
}

/// `12.3 ms`
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

/// `12.34 s`
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// `12.3 MiB`, of KiB.
pub fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1_024.0)
}

/// How often `a` holds `b`.
pub fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// How many each second.
pub fn rate(count: usize, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64())
}

/// `name 3, other 4`, or `none`.
pub fn counted<'a, T: std::fmt::Display + 'a>(counts: impl IntoIterator<Item = (&'a String, T)>) -> String {
    let mut text = String::new();
    for (name, count) in counts {
        let _ = write!(text, "{}{name} {count}", if text.is_empty() { "" } else { ", " });
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

/// The smallest, the middle and the largest.
pub fn range(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(low), Some(middle), Some(high)) => format!("{low:.2} … {middle:.2} … {high:.2}"),
        _ => "none".to_owned(),
    }
}

fn flush() {
    // A reader who is gone is no reason to stop measuring.
    let _ = std::io::stdout().flush();
}
