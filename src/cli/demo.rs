//! `weir demo`: the same overload twice, first straight at a backend, then through weir.
//!
//! The backend and weir are child processes of this very binary, so that the memory which is
//! measured is theirs alone, by the kernel's own high-water mark. **What is printed was measured in
//! that run**; nothing is simulated but the work itself.

mod children;
mod half;
mod setup;
mod verdict;
mod view;

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::print;
use children::{Backend, Weir};
use half::Half;
use setup::Setup;
use view::View;

pub use children::{BackendArgs, demo_backend, exit_with_parent};

/// The demo did not show what it should, or was interrupted.
const EXIT_NOT_SHOWN: u8 = 1;
/// A part of it could not be started.
const EXIT_NOT_STARTED: u8 = 3;

/// Arguments of `weir demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Leave weir and its backend running afterwards, until Ctrl-C, and print URLs to try
    #[arg(long)]
    pub keep: bool,
    /// How long each of the two halves lasts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..=60))]
    pub seconds: u64,
    /// What the arrivals are drawn from; the same seed gives the same arrivals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the demo. Whatever way it ends, its children end with it.
pub async fn demo(args: DemoArgs) -> ExitCode {
    let shown = tokio::select! {
        shown = show(&args) => shown,
        () = interrupted() => {
            print::err("\nweir demo: interrupted; its backend and proxy are ended.");
            return ExitCode::from(EXIT_NOT_SHOWN);
        }
        () = print::reader_gone() => return ExitCode::from(EXIT_NOT_SHOWN),
    };
    match shown {
        Ok(shown) => {
            if args.keep {
                print::out(format_args!("\n{}", shown.weir.invitation()));
                interrupted().await;
                print::out("\nEnding weir and its backend.");
            }
            shown.weir.end().await;
            shown.backend.end().await;
            shown.code
        }
        Err(problem) => {
            print::err(format_args!("weir demo: {problem}"));
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}

/// What is left when both halves are over.
struct Shown {
    code: ExitCode,
    weir: Weir,
    backend: Backend,
}

async fn show(args: &DemoArgs) -> Result<Shown, String> {
    let setup = Setup::new(args);
    print::out(format_args!("{}\n", setup.introduction()));

    let backend = Backend::start(&setup).await?;
    let ungated = Half::run(&setup, &backend, None, View::open("without weir")).await?;
    backend.end().await;

    // A fresh one, whose high-water mark is its own.
    let backend = Backend::start(&setup).await?;
    let weir = Weir::start(&setup, &backend).await?;
    let gated = Half::run(&setup, &backend, Some(&weir), View::open("with weir")).await?;

    print::out(format_args!(
        "\n{}",
        verdict::table(&setup, &ungated, &gated)
    ));
    let problems = verdict::problems(&setup, &ungated, &gated);
    for problem in &problems {
        print::err(format_args!("weir demo: {problem}"));
    }
    let code = if problems.is_empty() {
        print::out(verdict::sentence(&setup, &ungated, &gated));
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_SHOWN)
    };
    Ok(Shown {
        code,
        weir,
        backend,
    })
}

/// Completes with Ctrl-C, SIGTERM or a closed terminal.
async fn interrupted() {
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without a handler the signal ends this process, and the children with it.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}
