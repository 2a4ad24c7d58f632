//! The arguments of `connection-operator run`.

/// The arguments of `connection-operator run`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Arguments {}
