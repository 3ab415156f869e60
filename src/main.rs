//! The `weir` binary.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir::cli::demo::{self, BackendArgs, DemoArgs};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the same overload without weir and with it; needs nothing else on the machine
    Demo(DemoArgs),
    #[command(hide = true)]
    DemoBackend(BackendArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::demo(args).await,
            Command::DemoBackend(args) => demo::demo_backend(args).await,
        }
    })
}
