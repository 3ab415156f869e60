//! Clients that say how long they wait.

use super::{Case, at_least, at_most, plain};
use crate::backend::BackendSpec;
use crate::chance::{Chance, Service};
use crate::clients::{Arrivals, Source};
use crate::systems::{System, all_on, class};
use crate::tally::Tally;
use crate::world::{Plan, Template, micros, run};

const PERMITS: u32 = 16;
const MEAN: f64 = 0.05;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "deadlines-mixed",
            what: "Twice the capacity; clients say 20 ms, 100 ms, 300 ms or 2 s",
            systems: &System::ALL,
            run: |system, seed| deadlines(system, &[0.02, 0.1, 0.3, 2.0], seed),
            figures,
            goal,
            on_average: &[("doomed right", 0.9), ("goodput", 0.93)],
            note: "Of those who say 100 ms some take longer by themselves, and nobody knows which: that work is lost to every system.",
            plot: false,
        },
        Case {
            name: "deadlines-short",
            what: "Twice the capacity; every client says 200 ms, four times the service",
            systems: &System::ALL,
            run: |system, seed| deadlines(system, &[0.2], seed),
            figures,
            goal,
            on_average: &[("goodput", 0.98)],
            note: "Nine tenths of doomed refusals right: not reached here. Near the edge it is up to the draw whether 20 ms more would have been enough. Goodput does not suffer.",
            plot: false,
        },
    ]
}

fn deadlines(system: System, said: &'static [f64], seed: u64) -> Tally {
    let mixed = move |chance: &mut Chance| {
        let patience = said[chance.pick(said.len() as u64) as usize];
        Template {
            patience: micros(patience),
            says_deadline: true,
            ..plain(MEAN, Service::Usual, patience, chance)
        }
    };
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![Source {
            arrivals: Arrivals::steady(2.0 * f64::from(PERMITS) / MEAN),
            template: Box::new(move |_, chance| mixed(chance)),
            tries: 1,
        }],
        speeds: Vec::new(),
        seconds: 10.0,
        warm_up: 3.0,
    };
    run(
        plan,
        system.server(PERMITS, &all_on(vec![class(1, 50)]), seed),
        seed,
    )
}

fn figures(tally: &Tally) -> Vec<(&'static str, f64)> {
    let (followed, right) = tally.doomed;
    vec![
        ("goodput", tally.goodput()),
        ("expired dispatches", tally.expired_dispatches as f64),
        ("doomed followed", followed as f64),
        ("doomed right", right as f64 / followed as f64),
        (
            "prediction error",
            tally.prediction_error.unwrap_or(f64::NAN),
        ),
    ]
}

fn goal(tally: &Tally) -> Result<(), String> {
    at_most("expired dispatches", tally.expired_dispatches as f64, 0.0)?;
    // Of those who say 100 ms some take longer by themselves, and nobody knows which.
    at_least("goodput", tally.goodput(), 0.91)
}
