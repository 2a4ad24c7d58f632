//! The connection operator: each connection to a data system is a `Connection` object whose status tells the truth.
//!
//! The modules in reading order; each may use those above it only (`tests/layers.rs` checks it).

pub mod cli;
pub mod connections;
pub mod failure;
pub mod kubernetes;
pub mod leadership;
pub mod net;
pub mod observability;
pub mod secret;
