//! What each rule would change if it came as a default: one class, no tenants, `max_wait` of 1 s,
//! over loads, patience and service times. Run by `--defaults`; nothing is asserted here.

use weir::admission::{ClassSettings, Discipline, Doom, Ramp, Settings, Switch};

use super::backend::BackendSpec;
use super::cases::{open_loop, plain};
use super::chance::Service;
use super::clients::{Arrivals, Source};
use super::report::Table;
use super::server::Weir;
use super::tally::Tally;
use super::world::{Plan, Template, run};

const PERMITS: u32 = 16;
const LOADS: [f64; 7] = [0.5, 0.9, 0.95, 1.2, 2.0, 3.0, 10.0];
const PATIENCE: [f64; 3] = [0.2, 1.0, 5.0];
const SERVICE: [f64; 3] = [0.005, 0.05, 2.0];
/// So many at once, at such a share of the capacity; 300 is all that a plain queue can serve.
const BURSTS: [(u32, f64); 5] = [(40, 0.7), (80, 0.5), (160, 0.3), (160, 0.5), (300, 0.3)];

/// A candidate, and whether its clients say how long they wait.
type Candidate = (&'static str, bool, fn(&mut Settings));

const CANDIDATES: [Candidate; 9] = [
    ("plain", false, |_| {}),
    ("CoDel", false, |all| all.classes[0].codel = Switch::On),
    ("CoDel + adaptive", false, adaptive),
    ("ramp 2-3", false, |all| {
        all.classes[0].ramp = Some(Ramp::default());
    }),
    ("cut-off", false, |all| all.cut_off = Switch::On),
    ("backfill 25 %", false, |all| all.backfill_percent = 25),
    ("plain, said", true, |_| {}),
    ("doom, said", true, |all| all.doom = Some(Doom::default())),
    ("CoDel + adaptive + doom, said", true, |all| {
        adaptive(all);
        all.doom = Some(Doom::default());
    }),
];

fn adaptive(all: &mut Settings) {
    all.classes[0].codel = Switch::On;
    all.classes[0].discipline = Discipline::Adaptive;
}

/// Prints the tables: the work done in time, relative to what was sent or could be done.
pub(crate) fn print(seeds: &[u64], only: &str) {
    let candidates: Vec<_> = CANDIDATES
        .into_iter()
        .filter(|(name, ..)| name.contains(only))
        .collect();
    let candidates = &candidates[..];
    for service in SERVICE {
        let mut rows = Vec::new();
        for patience in PATIENCE.into_iter().filter(|wait| *wait > service) {
            for load in LOADS {
                let cells = candidates.iter().map(|candidate| {
                    mean(seeds, |seed| {
                        steady(*candidate, service, patience, load, seed) / load.min(1.0)
                    })
                });
                rows.push((
                    format!("{load}× the capacity, clients wait {patience} s"),
                    cells.collect(),
                ));
            }
        }
        show(format!("Service of {} ms", service * 1e3), candidates, rows);
    }
    let mut rows = Vec::new();
    for patience in [0.2, 1.0, 5.0] {
        for (size, load) in BURSTS {
            let cells = candidates.iter().map(|candidate| {
                mean(seeds, |seed| {
                    bursts(*candidate, (size, load), patience, seed)
                })
            });
            rows.push((
                format!("{size} at once, {load}× the capacity, clients wait {patience} s"),
                cells.collect(),
            ));
        }
    }
    show(
        "Bursts, service of 50 ms; the share served in time".to_owned(),
        candidates,
        rows,
    );
}

fn show(title: String, candidates: &[Candidate], rows: Vec<(String, Vec<f64>)>) {
    let columns = candidates.iter().map(|(name, ..)| *name).collect();
    Table {
        title,
        columns,
        rows,
    }
    .print();
}

fn mean(seeds: &[u64], figure: impl Fn(u64) -> f64) -> f64 {
    seeds.iter().map(|seed| figure(*seed)).sum::<f64>() / seeds.len() as f64
}

fn steady(candidate: Candidate, mean: f64, patience: f64, load: f64, seed: u64) -> f64 {
    // Long enough for the averages, short enough for many.
    let seconds = (mean * 400.0).clamp(13.0, 400.0);
    let source = open_loop(
        load * f64::from(PERMITS) / mean,
        mean,
        Service::Usual,
        patience,
    );
    simulate(candidate, source, seconds, seed).goodput()
}

fn bursts(candidate: Candidate, (size, load): (u32, f64), patience: f64, seed: u64) -> f64 {
    let source = Source {
        arrivals: Arrivals::Bursts {
            per_second: load * f64::from(PERMITS) / 0.05,
            size,
        },
        template: Box::new(move |_, chance| plain(0.05, Service::Usual, patience, chance)),
        tries: 1,
    };
    let tally = simulate(candidate, source, 40.0, seed);
    let share = tally.by_class[&0];
    share.good as f64 / share.sent as f64
}

fn simulate(
    (_, says_deadline, change): Candidate,
    source: Source,
    seconds: f64,
    seed: u64,
) -> Tally {
    let mut all = Settings {
        classes: vec![ClassSettings::default()],
        seed,
        ..Settings::default()
    };
    change(&mut all);
    let template = source.template;
    let source = Source {
        template: Box::new(move |second, chance| Template {
            says_deadline,
            ..template(second, chance)
        }),
        ..source
    };
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![source],
        speeds: Vec::new(),
        seconds,
        warm_up: seconds.min(30.0) / 4.0,
    };
    run(plan, Box::new(Weir::new(PERMITS, all)), seed)
}
