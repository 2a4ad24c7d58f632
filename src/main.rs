//! The operator's binary: it parses, hands over, and turns an error chain into an exit code.

use std::{io, process::ExitCode};

use clap::Parser as _;
use connection_operator::app;
use connection_operator::cli::{Cli, Command, print};

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("connection-operator: another TLS provider is installed already");
    }
    match obey(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("connection-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => app::run(&arguments),
        Command::Crd => Ok(print::crds(&mut io::stdout())?),
        Command::Types => Ok(print::types(&mut io::stdout())?),
        Command::Version => Ok(print::version(&mut io::stdout())?),
        Command::ProbeChild { job } => app::child::run(&job),
    }
}
