//! Each type's probe against the real system, as an identity with exactly the rights that its docs.md prints, and against
//! peers that no real system can be made to play. The probe runs in this process, through the same door as in the operator.

#![expect(clippy::disallowed_methods, reason = "the doors are the operator's; a test comes from outside")]

#[path = "../harness"]
mod harness {
    pub mod authority;
    pub mod azurite;
    pub mod elasticsearch;
    pub mod googlestorage;
    pub mod hdfs;
    #[expect(dead_code, reason = "what it says is for the reader of a failure, too")]
    pub mod kafka;
    pub mod mariadb;
    pub mod moto;
    pub mod mysql;
    pub mod peer;
    pub mod pgwire;
    pub mod postgresql;
    #[expect(dead_code, reason = "every test crate uses a part of it")]
    pub mod proxy;
    pub mod qubole;
    pub mod s3s;
    #[expect(dead_code, reason = "every test crate uses a part of it")]
    pub mod script;
    pub mod sigv4;
    pub mod snowflake;
    pub mod spotinst;
    pub mod tds;
    mod waiting;
    pub mod web;

    pub use waiting::{DEADLINE, eventually};
}

mod athena;
mod azureblob;
mod case;
mod child;
mod elasticsearch;
mod googlestorage;
mod hdfs;
mod kafka;
mod kinesis;
mod mysql;
mod postgresql;
mod qubole;
mod redshift;
mod roles;
mod s3;
mod s3oversqs;
mod snowflake;
mod spotinstvpc;
mod sqlserver;
