//! The operator as its users see it: the built binary against a real API server with etcd, the namespace and garbage
//! collection controllers, and a real PostgreSQL. Nothing here knows the operator's code.

#[path = "../harness/mod.rs"]
mod harness;

mod badinput;
mod deletion;
mod life;
mod policies;
mod process;
mod rotation;
mod stage;
mod usage;
mod verdict;
mod workload;
