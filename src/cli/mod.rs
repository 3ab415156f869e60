//! The command line: one file per subcommand, and what each exit code means.

mod admin_args;
mod check;
mod config_args;
pub mod demo;
pub mod drain;
mod explain;
pub mod healthcheck;
mod print;
mod run;
#[cfg(test)]
mod scripted;

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config;
use admin_args::AdminArgs;
pub use config_args::ConfigArgs;

/// Ended as asked.
const EXIT_OK: u8 = 0;
/// The configuration is invalid, or a check failed.
const EXIT_INVALID: u8 = 1;
/// Could not start.
const EXIT_NOT_STARTED: u8 = 3;
/// Requests were left over at the end of a drain.
const EXIT_LEFT_OVER: u8 = 4;
/// Ended by a second signal.
const EXIT_INSISTED: u8 = 5;

/// weir keeps a backend alive under any load: it lets through as many requests as the backend's
/// memory allows, queues the next ones for a short while, and refuses the rest with 503.
#[derive(Debug, Parser)]
#[command(name = "weir", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar; the default
    Run(ConfigArgs),
    /// Validate the configuration; print every value with its source, and the permit arithmetic
    Check(CheckArgs),
    /// Show the same overload without weir and with it; needs nothing else on the machine
    Demo(demo::DemoArgs),
    /// Tell a running weir to go: for a preStop hook
    Drain(DrainArgs),
    /// Ask a running weir whether it is ready: for an exec probe
    Healthcheck(HealthcheckArgs),
    /// Print the version
    Version,
    #[command(hide = true)]
    DemoBackend(demo::BackendArgs),
    #[command(hide = true)]
    DemoProxy(ConfigArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Say instead what a request would be: its route, class, cost, deadline, tenant, and why. As
    /// curl has it: 'GET /x -H k:v', 'POST /up --data-length 5000', 'grpc a.Service/Method'. May be
    /// repeated
    #[arg(long, value_name = "REQUEST", value_parser = explain::parse)]
    explain: Vec<explain::Ask>,
}

#[derive(Args, Debug)]
struct DrainArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Wait until it has ended
    #[arg(long)]
    wait: bool,
    /// With --wait: how long at most; then the exit code is 1
    #[arg(long, value_name = "DURATION", requires = "wait", default_value = "10m", value_parser = config::parse_duration)]
    timeout: Duration,
}

#[derive(Args, Debug)]
struct HealthcheckArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Ask whether it is alive instead
    #[arg(long)]
    live: bool,
}

/// Runs what the arguments of this process ask for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Run(cli.config)) {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Demo(args) => block_on(demo::demo(args)),
        Command::DemoBackend(args) => block_on(demo::demo_backend(args)),
        Command::DemoProxy(args) => {
            demo::exit_with_parent();
            run::run(&args)
        }
        Command::Drain(args) => at_admin(&args.admin, |admin| {
            drain::drain(admin, args.wait.then_some(args.timeout))
        }),
        Command::Healthcheck(args) => at_admin(&args.admin, |admin| {
            healthcheck::healthcheck(admin, args.live)
        }),
        Command::Version => {
            print::out(format_args!("weir {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

fn at_admin<F>(args: &AdminArgs, command: impl FnOnce(SocketAddr) -> F) -> ExitCode
where
    F: Future<Output = ExitCode>,
{
    block_on(async {
        match args.address().await {
            Ok(admin) => command(admin).await,
            Err(why) => {
                print::err(why.trim_end());
                ExitCode::from(EXIT_INVALID)
            }
        }
    })
}

fn block_on(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // A resolver that does not answer is not waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            print::err(format_args!("weir: no runtime: {error}"));
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}
