//! PostgreSQL.
use super::{
    About, Definition, Given, Lockout, Prepared, Refusal,
    fields::{Host, Port},
};
use crate::{
    net::tls::Tls,
    secret::{Key, Method},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// About.
pub const ABOUT: About = About {
    keys: &[Key { name: "username", aliases: &["user"] }, Key::plain("password")],
    interval: Duration::from_secs(60),
    lockout: Lockout::Possible,
    permissions: &[],
    minimal: "",
    full: "",
    docs: "",
    tested_against: "",
};
/// Rules.
pub const RULES: &[(&str, &str)] = &[];
/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Host.
    pub host: Host,
    /// Port.
    #[serde(default = "port")]
    pub port: Port,
}
fn port() -> Port {
    Port(5432)
}
impl Definition for Settings {
    fn connection_string(&self) -> String {
        String::new()
    }
    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        vec![]
    }
    fn prepare(&self, _given: Given) -> Result<Prepared, Refusal> {
        Err(Refusal::Invalid(String::new()))
    }
}
