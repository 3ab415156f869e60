//! Goodput and latency at several times the capacity.

use super::{Case, at_least, at_most, open_loop};
use crate::backend::BackendSpec;
use crate::chance::Service;
use crate::systems::{System, all_on, class};
use crate::tally::Tally;
use crate::world::{Plan, run};

const PERMITS: u32 = 16;
const MEAN: f64 = 0.05;
const PATIENCE: f64 = 1.0;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "overload-2x",
            what: "Twice the capacity, open loop, 50 ms log-normal, 16 permits; clients wait 1 s",
            systems: &System::ALL,
            run: |system, seed| overload(system, 2.0, Service::Usual, seed),
            figures,
            goal: |tally| {
                at_least("goodput", tally.goodput(), 0.98)?;
                latency_goal(tally)
            },
            on_average: &[("goodput", 0.99)],
            plot: false,
        },
        Case {
            name: "overload-10x",
            what: "Ten times the capacity, open loop, 50 ms log-normal, 16 permits; clients wait 1 s",
            systems: &System::ALL,
            run: |system, seed| overload(system, 10.0, Service::Usual, seed),
            figures,
            goal: |tally| {
                at_least("goodput", tally.goodput(), 0.97)?;
                latency_goal(tally)
            },
            on_average: &[("goodput", 0.97)],
            plot: true,
        },
        Case {
            name: "busy-0.9",
            what: "Nine tenths of the capacity: nobody needs to be refused",
            systems: &System::ALL,
            run: |system, seed| overload(system, 0.9, Service::Usual, seed),
            figures: underload_figures,
            goal: |tally| at_least("served", served(tally), 0.97),
            on_average: &[("served", 0.985)],
            plot: false,
        },
        Case {
            name: "busy-0.8",
            what: "Four fifths of the capacity: nobody needs to be refused",
            systems: &System::ALL,
            run: |system, seed| overload(system, 0.8, Service::Usual, seed),
            figures: underload_figures,
            goal: |tally| at_least("served", served(tally), 0.99),
            on_average: &[("served", 0.999)],
            plot: false,
        },
        Case {
            name: "busy-1.1",
            what: "A tenth more than the capacity",
            systems: &System::ALL,
            run: |system, seed| overload(system, 1.1, Service::Usual, seed),
            figures: underload_figures,
            goal: |tally| at_least("goodput", tally.goodput(), 0.95),
            on_average: &[],
            plot: false,
        },
        Case {
            name: "overload-heavy",
            what: "Three times the capacity, heavy-tailed service (p99 six times the mean)",
            systems: &System::ALL,
            run: |system, seed| overload(system, 3.0, Service::HeavyTailed, seed),
            figures,
            goal: |tally| {
                at_least("goodput", tally.goodput(), 0.93)?;
                latency_goal(tally)
            },
            on_average: &[("goodput", 0.97)],
            plot: false,
        },
    ]
}

pub(super) fn overload(system: System, times: f64, service: Service, seed: u64) -> Tally {
    let capacity = f64::from(PERMITS) / MEAN;
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![open_loop(times * capacity, MEAN, service, PATIENCE)],
        speeds: Vec::new(),
        seconds: 15.0,
        warm_up: 3.0,
    };
    let all = all_on(vec![class(1, 50)]);
    run(plan, system.server(PERMITS, &all, seed), seed)
}

fn served(tally: &Tally) -> f64 {
    let share = tally.by_class[&0];
    share.good as f64 / share.sent as f64
}

fn underload_figures(tally: &Tally) -> Vec<(&'static str, f64)> {
    let mut shown = figures(tally);
    shown.insert(0, ("served", served(tally)));
    shown
}

fn figures(tally: &Tally) -> Vec<(&'static str, f64)> {
    vec![
        ("goodput", tally.goodput()),
        ("p50, ms", tally.latency(0.5) * 1e3),
        ("p99, ms", tally.latency(0.99) * 1e3),
        ("service p99, ms", tally.service(0.99) * 1e3),
    ]
}

/// `service p99 + max(2 × target, service p50) + 5 ms`.
fn latency_goal(tally: &Tally) -> Result<(), String> {
    let p50 = tally.service(0.5);
    let target = (p50 / 10.0).max(0.005);
    let most = tally.service(0.99) + (2.0 * target).max(p50) + 0.005;
    at_most("p99 of admitted", tally.latency(0.99), most)
}
