//! What the operator tells about itself: metrics, logs, liveness and readiness.
//!
//! Everything here is written to by others and read by people and machines; it decides nothing about connections.

pub mod health;
pub mod http;
pub mod metrics;
pub(crate) mod requests;
pub mod telemetry;
