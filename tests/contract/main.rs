//! The contract: what is committed for users equals what the code makes, and what users stored yesterday is still read.
//!
//! `UPDATE_GOLDEN=1 cargo test --test contract` rewrites the committed files.

mod dependencies;
mod golden;
mod pages;
mod schema;
mod stored;
