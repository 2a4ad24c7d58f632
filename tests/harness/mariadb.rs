//! The one MariaDB of a test process, with the users and tables that `hack/mariadb` describes, and others for tests that need one of
//! their own.

use std::sync::LazyLock;

use super::mysql::{self, Server};

/// The server, started by the first test that asks.
///
/// # Panics
/// Where it cannot be started; the sentence says what is missing.
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(|| mysql::start("mariadb", "mariadb", ""));
    SERVER.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

/// A server of a test's own, with more options.
///
/// # Panics
/// As [`server`].
pub fn with(name: &str, options: &str) -> Server {
    mysql::start("mariadb", name, options).unwrap_or_else(|sentence| panic!("{sentence}"))
}
