//! Requests that cost very different amounts of memory.

use super::{Case, at_least, at_most, plain};
use crate::backend::BackendSpec;
use crate::chance::{Chance, Service};
use crate::clients::{Arrivals, Source};
use crate::systems::{System, all_on, class};
use crate::tally::Tally;
use crate::world::{Plan, Template, run};

const PERMITS: u32 = 64;
const MEAN: f64 = 0.05;
/// 256 MiB where most take 16 MiB.
const LARGE: f64 = 16.0;
const LARGE_SHARE: f64 = 0.05;

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "sizes",
        what: "Five in a hundred cost sixteen times as much, at 1.5 times the capacity of 64 permits; with \
               a quarter more than that in service the backend is killed. Who counts requests lets in \
               as many as cost 64 permits on average",
        systems: &System::ALL,
        run: sizes,
        figures: |tally| {
            vec![
                ("killed", tally.kills as f64),
                ("goodput", tally.goodput()),
                ("utilisation", tally.utilisation()),
                ("small served", served(tally, 1)),
                ("large served", served(tally, LARGE as u64)),
                ("longest wait of small, s", tally.by_cost[&1].longest_wait),
                (
                    "longest wait of large, s",
                    tally.by_cost[&(LARGE as u64)].longest_wait,
                ),
            ]
        },
        goal: |tally| {
            at_most("killed", tally.kills as f64, 0.0)?;
            at_least("utilisation", tally.utilisation(), 0.88)?;
            at_least("large served", served(tally, LARGE as u64), 0.1)?;
            at_most("longest wait", tally.by_cost[&1].longest_wait, 1.0)
        },
        on_average: &[("utilisation", 0.9)],
        note: "Who counts requests and not their cost is killed again and again, or must leave three quarters of the memory idle.",
        plot: false,
    }]
}

fn template(chance: &mut Chance) -> Template {
    let cost = if chance.happens(LARGE_SHARE) {
        LARGE
    } else {
        1.0
    };
    Template {
        cost,
        ..plain(MEAN, Service::Usual, 2.0, chance)
    }
}

fn sizes(system: System, seed: u64) -> Tally {
    let mean_cost = LARGE_SHARE * LARGE + 1.0 - LARGE_SHARE;
    let capacity = f64::from(PERMITS) / MEAN / mean_cost;
    let permits = match system {
        System::WeirPlain | System::WeirCodel | System::Weir => PERMITS,
        _ => (f64::from(PERMITS) / mean_cost) as u32,
    };
    let plan = Plan {
        backend: BackendSpec {
            memory: 1.25,
            ..BackendSpec::of(f64::from(PERMITS))
        },
        sources: vec![Source {
            arrivals: Arrivals::steady(1.5 * capacity),
            template: Box::new(|_, chance| template(chance)),
            tries: 1,
        }],
        speeds: Vec::new(),
        seconds: 10.0,
        warm_up: 3.0,
    };
    run(
        plan,
        system.server(permits, &all_on(vec![class(1, 50)]), seed),
        seed,
    )
}

fn served(tally: &Tally, cost: u64) -> f64 {
    let share = tally.by_cost[&cost];
    share.good as f64 / share.sent as f64
}
