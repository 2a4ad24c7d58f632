//! The operator as its users see it: the built binary against a real API server with etcd, the namespace and garbage
//! collection controllers, and a real PostgreSQL. Nothing here knows the operator's code.

#[path = "../harness/mod.rs"]
mod harness;

mod life;
mod schema;
mod stage;
