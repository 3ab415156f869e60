//! The command line.

mod check;
mod config_args;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use check::check;
pub use config_args::ConfigArgs;

#[derive(Parser)]
#[command(name = "weir")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate the configuration and print what is in effect.
    Check(ConfigArgs),
}

/// Runs what the arguments of this process ask for.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => check(&args),
    }
}
