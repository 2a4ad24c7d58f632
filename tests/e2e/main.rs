//! The chart on a real API server: the binary runs as the chart's account with the chart's arguments, and what the chart's
//! README tells people to type is typed.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::disallowed_methods, reason = "the doors are the operator's; a test comes from outside")]

#[expect(dead_code, reason = "what these tests have no use for, others have")]
#[path = "../harness/mod.rs"]
mod harness;
#[expect(dead_code, reason = "as above")]
#[path = "../cluster/workload.rs"]
mod workload;

mod chart;
mod readme;
mod release;
mod rights;
mod scenario;
