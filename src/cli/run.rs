//! `weir run`: the sidecar itself.

use std::process::ExitCode;

use super::config_args::ConfigArgs;
use super::{EXIT_INSISTED, EXIT_INVALID, EXIT_LEFT_OVER, EXIT_NOT_STARTED, EXIT_OK, print};
use crate::run::{Ended, run as run_sidecar};

/// Runs until it has drained.
pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    let code = match run_sidecar(args.sources()) {
        Ended::Clean => EXIT_OK,
        Ended::InvalidConfig(problems) => {
            print::problems(&problems);
            EXIT_INVALID
        }
        Ended::NotStarted(not_started) => {
            print::err(format_args!("weir could not start: {not_started}"));
            EXIT_NOT_STARTED
        }
        Ended::LeftOver(requests) => {
            print::err(format_args!(
                "weir: {requests} requests were left over at the end of the drain"
            ));
            EXIT_LEFT_OVER
        }
        Ended::Insisted => {
            print::err("weir: ended at once by a second signal");
            EXIT_INSISTED
        }
    };
    ExitCode::from(code)
}
