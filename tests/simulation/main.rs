//! Discrete-event simulation of the real admission code, beside what else stands in front of
//! backends. See `--help`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and counts of a simulation are far from the ends of their types"
)]

mod backend;
mod cases;
mod chance;
mod clients;
mod grid;
mod report;
mod server;
mod systems;
mod tally;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use cases::Case;
use report::{Plot, Table};
use systems::System;
use tally::Tally;

const HELP: &str = "\
Simulates weir's admission code against other gates, on a virtual clock.

usage: cargo test --test simulation -- [CASE]... [OPTION]...
  CASE            only the cases whose names contain one of these
  --seeds N       how many seeds for weir (default 30, or 15 in a debug build); the others get one
  --seed N        only this seed; WEIR_SIM_SEED=N does the same
  --all-seeds     every system gets every seed
  --systems NAME  only systems whose names contain this
  --defaults      what each rule would change as a default, and nothing else
  --plots DIR     write tables as CSV and goodput over time as CSV and SVG
  --list          name the cases and do nothing";

struct Options {
    cases: Vec<String>,
    seeds: Vec<u64>,
    all_seeds: bool,
    defaults: bool,
    systems: String,
    plots: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.defaults {
        grid::print(&options.seeds, &options.systems);
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let mut failures = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for case in cases::all() {
        let wanted = options.cases.is_empty()
            || options
                .cases
                .iter()
                .any(|name| case.name.contains(name.as_str()));
        if wanted {
            let short = simulate(&case, &options);
            passed += u32::from(short.is_empty());
            failed += u32::from(!short.is_empty());
            failures.extend(short);
        }
    }
    println!("\n{:.1} s", started.elapsed().as_secs_f64());
    for failure in &failures {
        eprintln!("FAILED {failure}");
    }
    println!("simulation: {passed} passed, {failed} failed, 0 skipped");
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options() -> Result<Options, ExitCode> {
    let mut found = Options {
        cases: Vec::new(),
        seeds: Vec::new(),
        all_seeds: false,
        defaults: false,
        systems: String::new(),
        plots: None,
    };
    // Without optimisation a run takes six times as long.
    let mut count = if cfg!(debug_assertions) { 15 } else { 30 };
    let mut only = std::env::var("WEIR_SIM_SEED").ok();
    let mut args = std::env::args().skip(1);
    let usage = || {
        eprintln!("{HELP}");
        ExitCode::from(2)
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" => {
                println!("{HELP}");
                return Err(ExitCode::SUCCESS);
            }
            "--list" => {
                for case in cases::all() {
                    println!("{}: {}", case.name, case.what);
                }
                return Err(ExitCode::SUCCESS);
            }
            "--seeds" => count = args.next().and_then(|n| n.parse().ok()).ok_or_else(usage)?,
            "--seed" => only = Some(args.next().ok_or_else(usage)?),
            "--systems" => found.systems = args.next().ok_or_else(usage)?,
            "--defaults" => found.defaults = true,
            "--all-seeds" => found.all_seeds = true,
            "--plots" => found.plots = Some(args.next().ok_or_else(usage)?.into()),
            // What `cargo test` hands to every target is not for this one.
            "--test-threads" | "--skip" | "--color" | "--format" => drop(args.next()),
            other if other.starts_with('-') => {}
            name => found.cases.push(name.to_owned()),
        }
    }
    found.seeds = match only {
        Some(seed) => vec![seed.parse().map_err(|_| usage())?],
        None => (1..=count).collect(),
    };
    Ok(found)
}

/// Runs a case, prints its table, and says what fell short.
fn simulate(case: &Case, options: &Options) -> Vec<String> {
    let runs = runs(case, options);
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    let mut columns = Vec::new();
    for system in case.systems {
        let tallies: Vec<_> = runs.iter().filter(|((s, _), _)| s == system).collect();
        let figures: Vec<_> = tallies
            .iter()
            .map(|(_, tally)| (case.figures)(tally))
            .collect();
        if figures.is_empty() {
            continue;
        }
        columns = figures[0].iter().map(|(name, _)| *name).collect();
        let means: Vec<f64> = (0..columns.len())
            .map(|at| figures.iter().map(|f| f[at].1).sum::<f64>() / figures.len() as f64)
            .collect();
        if *system == System::Weir {
            for ((_, seed), tally) in &tallies {
                if let Err(short) = (case.goal)(tally) {
                    failures.push(format!(
                        "{name}, seed {seed}: {short}; again: cargo test --test simulation -- {name} --seed {seed}",
                        name = case.name
                    ));
                }
            }
            for (name, goal) in case.on_average {
                let at = columns
                    .iter()
                    .position(|column| column == name)
                    .expect("a figure's name");
                if tallies.len() > 2 && (means[at].is_nan() || means[at] < *goal) {
                    failures.push(format!(
                        "{}: {name} is {:.4} on average, and should be {goal}",
                        case.name, means[at]
                    ));
                }
            }
        }
        rows.push((system.name().to_owned(), means));
    }
    let table = Table {
        title: format!("**{}**: {}", case.name, case.what),
        columns,
        rows,
    };
    table.print();
    if !case.note.is_empty() {
        println!("\n{}", case.note);
    }
    if let Some(directory) = &options.plots {
        report::write(directory, case.name, "csv", &table.csv());
        if case.plot {
            plot(case, &runs, directory);
        }
    }
    failures
}

fn plot(case: &Case, runs: &BTreeMap<(System, u64), Tally>, directory: &std::path::Path) {
    let first = runs.keys().map(|(_, seed)| *seed).min().unwrap_or_default();
    let plot = Plot {
        title: format!("{}: {}", case.name, case.what),
        y_label: "work done in time ÷ capacity",
        lines: case
            .systems
            .iter()
            .filter_map(|system| {
                let tally = runs.get(&(*system, first))?;
                let seconds = tally.good_by_second.len() - 1;
                let line = (0..seconds)
                    .map(|s| tally.goodput_between(s, s + 1))
                    .collect();
                Some((system.name(), line))
            })
            .collect(),
    };
    report::write(
        directory,
        &format!("{} over time", case.name),
        "csv",
        &plot.csv(),
    );
    report::write(
        directory,
        &format!("{} over time", case.name),
        "svg",
        &plot.svg(),
    );
}

/// All runs of a case, on all processors.
fn runs(case: &Case, options: &Options) -> BTreeMap<(System, u64), Tally> {
    let few = if options.all_seeds {
        options.seeds.len()
    } else {
        1
    };
    let jobs: Vec<_> = case
        .systems
        .iter()
        .filter(|system| system.name().contains(&options.systems))
        .flat_map(|system| {
            let seeds = if *system == System::Weir {
                options.seeds.len()
            } else {
                few
            };
            options
                .seeds
                .iter()
                .take(seeds)
                .map(|seed| (*system, *seed))
        })
        .collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((system, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = (case.run)(*system, *seed);
                    done.lock()
                        .expect("no panic inside")
                        .insert((*system, *seed), tally);
                }
            });
        }
    });
    done.into_inner().expect("no panic inside")
}
