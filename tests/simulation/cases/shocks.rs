//! When the capacity changes, and when everything stands still and everybody tries again.

use super::{Case, at_least, at_most, open_loop, plain};
use crate::backend::BackendSpec;
use crate::chance::Service;
use crate::clients::{Arrivals, Source};
use crate::systems::{System, all_on, class};
use crate::tally::Tally;
use crate::world::{Plan, Template, run};

const PERMITS: u32 = 8;
const MEAN: f64 = 0.05;
/// The backend slows down, and is as fast as before again.
const HALVED: usize = 15;
const DOUBLED: usize = 25;
const OUTAGE: usize = 10;
const BACK: usize = 40;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "capacity",
            what: "Capacity halves at 15 s and doubles at 25 s, under 1.5 times the full one",
            systems: &System::ALL,
            run: capacity,
            figures: |tally| {
                vec![
                    (
                        "goodput, halved",
                        tally.goodput_between(HALVED + 5, DOUBLED) * 2.0,
                    ),
                    (
                        "goodput, doubled",
                        tally.goodput_between(DOUBLED + 1, DOUBLED + 14),
                    ),
                    ("s to 90 %, halved", until(tally, HALVED, 0.45)),
                    ("s to 90 %, doubled", until(tally, DOUBLED, 0.9)),
                ]
            },
            goal: |tally| {
                at_most(
                    "seconds until 90 % of half",
                    until(tally, HALVED, 0.45),
                    5.0,
                )?;
                at_most(
                    "seconds until 90 % of all",
                    until(tally, DOUBLED, 0.9),
                    60.0,
                )
            },
            on_average: &[("goodput, halved", 0.95), ("goodput, doubled", 0.95)],
            note: "",
            plot: true,
        },
        Case {
            name: "retry-storm",
            what: "A stall of 30 s; every client tries three times and waits 1 s for each",
            systems: &System::ALL,
            run: |system, seed| retry_storm(system, false, seed),
            figures: after_the_storm,
            goal: storm_is_over,
            on_average: &[("goodput 10 s after", 0.95)],
            note: "Clients do not heed Retry-After here; a client that does makes it easier.",
            plot: true,
        },
        Case {
            name: "stall-deadlines",
            what: "The same with clients that say how long they wait: what is doomed in the stall is not after it",
            systems: &System::ALL,
            run: |system, seed| retry_storm(system, true, seed),
            figures: after_the_storm,
            goal: storm_is_over,
            on_average: &[("goodput 10 s after", 0.95)],
            note: "",
            plot: false,
        },
    ]
}

/// Seconds from `from` until three in a row reach a share of the full capacity on average; as many
/// as there are if none do.
fn until(tally: &Tally, from: usize, share: f64) -> f64 {
    let last = tally.good_by_second.len() - 4;
    let found = (from..last).find(|second| tally.goodput_between(*second, second + 3) >= share);
    (found.unwrap_or(last) - from) as f64
}

fn capacity(system: System, seed: u64) -> Tally {
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![open_loop(
            1.5 * f64::from(PERMITS) / MEAN,
            MEAN,
            Service::Usual,
            1.0,
        )],
        speeds: vec![(HALVED as f64, 0.5), (DOUBLED as f64, 1.0)],
        seconds: 41.0,
        warm_up: 3.0,
    };
    run(
        plan,
        system.server(PERMITS, &all_on(vec![class(1, 50)]), seed),
        seed,
    )
}

fn after_the_storm(tally: &Tally) -> Vec<(&'static str, f64)> {
    vec![
        ("goodput before", tally.goodput_between(3, OUTAGE)),
        (
            "goodput 10 s after",
            tally.goodput_between(BACK + 10, BACK + 20),
        ),
        ("s to 90 %", until(tally, BACK, 0.9)),
    ]
}

fn storm_is_over(tally: &Tally) -> Result<(), String> {
    at_least("goodput", tally.goodput_between(BACK + 10, BACK + 20), 0.9)?;
    at_most("seconds until 90 %", until(tally, BACK, 0.9), 10.0)
}

fn retry_storm(system: System, says_deadline: bool, seed: u64) -> Tally {
    let load = 1.1 * f64::from(PERMITS) / MEAN;
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![Source {
            arrivals: Arrivals::steady(load),
            template: Box::new(move |_, chance| Template {
                says_deadline,
                ..plain(MEAN, Service::Usual, 1.0, chance)
            }),
            tries: 3,
        }],
        speeds: vec![(OUTAGE as f64, 0.0), (BACK as f64, 1.0)],
        seconds: 61.0,
        warm_up: 3.0,
    };
    run(
        plan,
        system.server(PERMITS, &all_on(vec![class(1, 50)]), seed),
        seed,
    )
}
