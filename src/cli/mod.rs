//! The command line: what can be said to the binary. It parses and prints; it decides nothing about connections.

use clap::{Parser, Subcommand};

use crate::net::child::SUBCOMMAND;

pub mod print;
pub mod run;

/// An operator that tells the truth about connections to data systems.
#[derive(Debug, Parser)]
#[command(name = "connection-operator", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(run::Arguments),
    /// Print the custom resource definitions as YAML
    Crd,
    /// Print the connection types
    Types,
    /// Print the version
    Version,
    /// Do the part of a probe that runs in a process of its own: the operator starts it, nobody else has a use for it
    #[command(name = SUBCOMMAND, hide = true)]
    ProbeChild {
        /// Whose part: the member of the spec
        job: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_of_the_contract_is_understood() {
        for word in ["run", "crd", "types", "version"] {
            assert!(Cli::try_parse_from(["connection-operator", word]).is_ok(), "{word}");
        }
        assert!(Cli::try_parse_from(["connection-operator"]).is_err());
        assert!(Cli::try_parse_from(["connection-operator", "crds"]).is_err());
    }
}
