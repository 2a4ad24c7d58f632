//! What two or more connection types share. No type is in here, and nothing in here names one.

pub mod aws;
pub mod azure;
pub mod hosts;
pub mod jwt;
pub mod oauth;
pub mod pgwire;
