//! Laws that every connection type obeys, over its examples: what is in the one list of types is tested here, and nothing
//! else says which types there are. What is true of one type only is tested with it.
//!
//! A new type that a law cannot reach fails here, with a sentence that says what to add.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::disallowed_methods, reason = "the doors are the operator's; a test comes from outside")]

#[path = "../harness/authority.rs"]
#[expect(dead_code, reason = "as above")]
mod authority;
#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "every test crate uses a part of it")]
mod harness;
#[path = "../harness/peer.rs"]
#[expect(dead_code, reason = "as above")]
mod peer;

mod address;
mod canary;
mod example;
mod keys;
mod manifests;
mod pages;
mod peers;
mod process;
mod refusals;
mod secrecy;
mod subject;
