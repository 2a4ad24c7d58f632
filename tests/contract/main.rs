//! The contract: what is committed for users equals what the code makes, and what users stored yesterday is still read.
//!
//! `UPDATE_GOLDEN=1 cargo test --test contract` rewrites the committed files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and its helpers do too")]

mod dependencies;
mod golden;
mod image;
mod pages;
mod papers;
mod schema;
mod scripts;
mod stored;
