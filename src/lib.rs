//! The connection operator: each connection to a data system is a `Connection` object whose status tells the truth.
//!
//! In reading order: `secret`, `failure`, `net`, `connections`, `api`, `usage` and `probing`, `reconcile`, `controller` and
//! `observability`, `app` and `cli`. Each uses only what stands before it (`tests/layers.rs` checks it).

pub mod api;
pub mod app;

pub mod cli;
pub mod connections;
pub mod controller;

pub mod failure;
pub mod kubernetes;
pub mod leadership;
pub mod net;
pub mod observability;
pub mod probing;
pub mod reconcile;
pub mod secret;
pub mod usage;
pub mod watching;
