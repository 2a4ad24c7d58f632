//! The connection operator: each connection to a data system is a `Connection` object whose status tells the truth.
//!
//! The modules in reading order; each may use those above it only (`tests/layers.rs` checks it).

#![cfg_attr(rustfmt, rustfmt::skip)]

pub mod secret;
pub mod failure;
pub mod net;
pub mod connections;
pub mod api;
pub mod usage;
pub mod observability;
pub mod cli;
