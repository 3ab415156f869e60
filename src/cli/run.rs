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
        // The log has told of these. Here is no telling that cannot block at a full pipe.
        Ended::LeftOver(_) => EXIT_LEFT_OVER,
        Ended::Insisted => EXIT_INSISTED,
    };
    ExitCode::from(code)
}
