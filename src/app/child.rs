//! The program as a child of the operator: it does the one job that it was started for, and ends.

use std::io::{self, Write as _};

use anyhow::Context as _;

use crate::{
    connections::ConnectionType,
    net::child::{close_what_was_inherited, end_with_the_operator, told},
};

/// Does `job`: reads what it is told from standard input and writes the answer to standard output.
///
/// # Errors
/// Where there is no such job, or nobody who tells and listens.
pub fn run(job: &str) -> anyhow::Result<()> {
    close_what_was_inherited().context("it may have files of others")?;
    let kind = ConnectionType::ALL.iter().find(|kind| kind.member() == job);
    let work = kind.and_then(|kind| kind.job()).context("no such job")?;
    let told = told().context("nothing was told")?;
    end_with_the_operator();
    let answer = work(&told);
    drop(told);
    io::stdout().write_all(format!("{answer}\n").as_bytes()).context("nobody listens")
}
