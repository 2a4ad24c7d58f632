//! What the tests against real servers stand on. It starts servers and asks them; it judges nothing, and no test is in it.
//!
//! Every server ends with the test process, however that ends.

use std::sync::LazyLock;

pub mod audit;
pub mod caller;
pub mod control_plane;
pub mod namespace;
pub mod operator;
pub mod proxy;
#[expect(dead_code, reason = "every test crate uses a part of it")]
pub mod script;
pub mod waiting;

pub use waiting::{DEADLINE, eventually, pause};

/// The one runtime. Tests run on threads of their own, and a client's connections must not end with the test that made them.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"));

/// Runs one test to its end.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    RUNTIME.block_on(test)
}
