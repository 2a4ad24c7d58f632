//! The operator as its users see it: the built binary against a real API server with etcd, the namespace and garbage
//! collection controllers, and a real PostgreSQL. Nothing here knows the operator's code.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::disallowed_methods, reason = "the doors are the operator's; a test comes from outside")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/peer.rs"]
#[expect(dead_code, reason = "every test crate uses a part of it")]
mod peer;
#[path = "../harness/web.rs"]
#[expect(dead_code, reason = "as above")]
mod web;

mod ambient;
mod badinput;
mod children;
mod deletion;
mod life;
mod policies;
mod process;
mod rotation;
mod schema;
mod stage;
mod usage;
mod verdict;
mod workload;
