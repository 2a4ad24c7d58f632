//! Each type's probe against the real system, as an identity with exactly the rights that its docs.md prints, and against
//! peers that no real system can be made to play. The probe runs in this process, through the same door as in the operator.

#[path = "../harness"]
mod harness {
    pub mod moto;
    pub mod peer;
    pub mod postgresql;
    pub mod s3s;
    #[expect(dead_code, reason = "every test crate uses a part of it")]
    pub mod script;
    pub mod web;
}

mod case;
mod postgresql;
mod s3;
