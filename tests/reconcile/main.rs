//! The exact requests that one pass over a Connection sends, and that what they make is the same whatever happens to any of
//! them. Passes, engine and probe are the real ones; the API server is one made of a map, and the database lets everybody in.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "../harness/peer.rs"]
#[expect(dead_code, reason = "every test crate uses a part of it")]
mod peer;

mod creation;
mod deletion;
mod disturbance;
mod house;
mod secrets;
mod server;
