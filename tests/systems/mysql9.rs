//! MySQL's probe against MySQL 9 of Debian's unstable release. No version of it can be pinned, so this is not among the tests: it is
//! compiled with them, and `make test-mysql9` runs it.

#[path = "../harness"]
mod harness {
    pub mod mysql;
    #[expect(dead_code, reason = "every test crate uses a part of it")]
    pub mod script;
    mod waiting;

    pub use waiting::{DEADLINE, eventually};
}

#[expect(dead_code, reason = "every test crate uses a part of it")]
mod case;
#[path = "mysql"]
mod mysql {
    pub mod caching;
    pub mod connection;
    mod nine;
}
