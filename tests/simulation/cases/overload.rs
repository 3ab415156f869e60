//! Goodput and latency at several times the capacity.

use weir::admission::MaxWait;

use super::{Case, at_least, at_most, open_loop, plain};
use crate::backend::BackendSpec;
use crate::chance::Service;
use crate::clients::{Arrivals, Source};
use crate::systems::{System, all_on, class};
use crate::tally::Tally;
use crate::world::{Plan, run};

const PERMITS: u32 = 16;
const MEAN: f64 = 0.05;
const PATIENCE: f64 = 1.0;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = poisson();
    cases.extend(by_services());
    cases.extend(shapes());
    cases
}

fn poisson() -> Vec<Case> {
    vec![
        Case {
            name: "overload-2x",
            what: "Twice the capacity, open loop, 50 ms log-normal, 16 permits; clients wait 1 s",
            systems: &System::ALL,
            run: |system, seed| overload(system, 2.0, Service::Usual, seed),
            figures,
            goal: |tally| {
                at_least("goodput", tally.goodput(), 0.99)?;
                latency_goal(tally)
            },
            on_average: &[("goodput", 0.99)],
            note: "",
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
            note: "The check-then-act gate answers as fast here: with so many waiting outside, a queue has nothing to add.",
            plot: true,
        },
        Case {
            name: "busy-0.9",
            what: "Nine tenths of the capacity: nobody needs to be refused",
            systems: &System::ALL,
            run: |system, seed| overload(system, 0.9, Service::Usual, seed),
            figures: underload_figures,
            goal: |tally| at_least("served", served(tally), 0.99),
            on_average: &[("served", 0.999)],
            note: "",
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
            note: "",
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
            note: "The deeper queues serve a little more, and every request of theirs waits for it.",
            plot: false,
        },
    ]
}

fn by_services() -> Vec<Case> {
    vec![
        by_service(
            "service-constant",
            "Three times the capacity, every request takes 50 ms",
            |system, seed| overload(system, 3.0, Service::Constant, seed),
        ),
        by_service(
            "service-exponential",
            "Three times the capacity, exponential service",
            |system, seed| overload(system, 3.0, Service::Exponential, seed),
        ),
        by_service(
            "service-heavy",
            "Three times the capacity, heavy-tailed service (p99 six times the mean)",
            |system, seed| overload(system, 3.0, Service::HeavyTailed, seed),
        ),
    ]
}

fn shapes() -> Vec<Case> {
    vec![
        Case {
            name: "slow",
            what: "Twice the capacity of 4 permits that take 2 s each; `max_wait` is auto, clients wait 20 s",
            systems: &System::ALL,
            run: slow,
            figures,
            goal: |tally| {
                at_least("goodput", tally.goodput(), 0.93)?;
                let most = tally.service(0.99) + 2.0 * tally.service(0.5);
                at_most("p99 of admitted", tally.latency(0.99), most)
            },
            on_average: &[("goodput", 0.97)],
            note: "",
            plot: false,
        },
        Case {
            name: "bursts",
            what: "Seven tenths of the capacity in bursts of 40, two and a half times the permits",
            systems: &System::ALL,
            run: bursts,
            figures: underload_figures,
            goal: |tally| at_least("served", served(tally), 0.9),
            on_average: &[("served", 0.98)],
            note: "",
            plot: false,
        },
        Case {
            name: "closed-loop",
            what: "64 users that send the next request 10 ms after the last is over, and try three times",
            systems: &System::ALL,
            run: closed_loop,
            figures: underload_figures,
            goal: |tally| {
                at_least("goodput", tally.goodput(), 0.99)?;
                at_least("served", served(tally), 0.99)
            },
            on_average: &[("served", 0.999)],
            note: "Users that wait for their answers slow down by themselves: nobody gives up in the queue, so nothing is cut.",
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
        seconds: if times > 5.0 { 7.0 } else { 9.0 },
        warm_up: 3.0,
    };
    let all = all_on(vec![class(1, 50)]);
    run(plan, system.server(PERMITS, &all, seed), seed)
}

fn by_service(name: &'static str, what: &'static str, run: fn(System, u64) -> Tally) -> Case {
    Case {
        name,
        what,
        systems: &System::ALL,
        run,
        figures,
        goal: |tally| {
            at_least("goodput", tally.goodput(), 0.9)?;
            latency_goal(tally)
        },
        // Of the heavy tail some take longer than any client waits: that work is lost to every system.
        on_average: &[("goodput", 0.95)],
        note: "",
        plot: false,
    }
}

fn slow(system: System, seed: u64) -> Tally {
    let (permits, mean) = (4, 2.0);
    let plan = Plan {
        backend: BackendSpec::of(f64::from(permits)),
        sources: vec![open_loop(
            2.0 * f64::from(permits) / mean,
            mean,
            Service::Usual,
            20.0,
        )],
        speeds: Vec::new(),
        seconds: 400.0,
        warm_up: 100.0,
    };
    let mut class = class(1, 50);
    class.max_wait = MaxWait::Auto;
    run(
        plan,
        system.server(permits, &all_on(vec![class]), seed),
        seed,
    )
}

fn bursts(system: System, seed: u64) -> Tally {
    of_one_source(
        system,
        seed,
        Source {
            arrivals: Arrivals::Bursts {
                per_second: 0.7 * f64::from(PERMITS) / MEAN,
                size: 40,
            },
            template: Box::new(|_, chance| plain(MEAN, Service::Usual, 2.0, chance)),
            tries: 1,
        },
    )
}

fn closed_loop(system: System, seed: u64) -> Tally {
    of_one_source(
        system,
        seed,
        Source {
            arrivals: Arrivals::Closed {
                users: 64,
                think: 0.01,
            },
            template: Box::new(|_, chance| plain(MEAN, Service::Usual, 2.0, chance)),
            tries: 3,
        },
    )
}

fn of_one_source(system: System, seed: u64, source: Source) -> Tally {
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![source],
        speeds: Vec::new(),
        seconds: 13.0,
        warm_up: 3.0,
    };
    run(
        plan,
        system.server(PERMITS, &all_on(vec![class(1, 50)]), seed),
        seed,
    )
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
