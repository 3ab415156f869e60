//! Who is served when not all can be: tenants and classes.

use weir::admission::{Settings, TenantSettings};

use super::{Case, at_least, plain};
use crate::backend::BackendSpec;
use crate::chance::{Chance, Service};
use crate::clients::{Arrivals, Source};
use crate::systems::{System, all_on, class, with_tenants};
use crate::tally::{Tally, jain};
use crate::world::{Plan, Template, run};

const PERMITS: u32 = 16;
const MEAN: f64 = 0.05;
const CAPACITY: f64 = 16.0 / 0.05;
const TENANTS: u64 = 10;
/// Tenants from here on are heavy, and so is 0.
const HEAVY: u64 = 10_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "tenant-light",
            what: "One tenant of ten sends 90 % of twice the capacity; the others, less than their share",
            systems: &System::ALL,
            run: |system, seed| tenants(system, 2.0, seed),
            figures: |tally| vec![("light served", light(tally)), ("goodput", tally.goodput())],
            goal: |tally| {
                at_least(
                    "the light tenants' share of good answers",
                    light(tally),
                    0.985,
                )?;
                at_least("goodput", tally.goodput(), 0.97)
            },
            on_average: &[("light served", 0.99), ("goodput", 0.98)],
            note: "",
            plot: false,
        },
        Case {
            name: "tenant-fair",
            what: "The same at 20 times the capacity, where each of the ten alone asks for more than \
                   its share; the light ones' requests take four times as long",
            systems: &System::ALL,
            run: |system, seed| tenants(system, 20.0, seed),
            figures: |tally| {
                vec![
                    ("Jain index", fairness(tally)),
                    ("goodput", tally.goodput()),
                ]
            },
            goal: |tally| at_least("Jain's index", fairness(tally), 0.95),
            on_average: &[("Jain index", 0.98)],
            note: "",
            plot: false,
        },
        Case {
            name: "tenant-many",
            what: "Four heavy tenants send 2.5 times the capacity beside 2,000 that send half of it; 64 \
                   are told apart exactly, the others share 128 buckets",
            systems: &System::ALL,
            run: many_tenants,
            figures: |tally| vec![("light served", light(tally)), ("goodput", tally.goodput())],
            goal: |tally| {
                at_least(
                    "the light tenants' share of good answers",
                    light(tally),
                    0.97,
                )?;
                at_least("goodput", tally.goodput(), 0.97)
            },
            on_average: &[("light served", 0.985), ("goodput", 0.98)],
            note: "",
            plot: false,
        },
        Case {
            name: "critical",
            what: "A background class goes from 0.3 to 3.6 times the capacity (12×) beside a critical \
                   one at 0.6",
            systems: &System::ALL,
            run: critical,
            figures: |tally| {
                vec![
                    ("critical served", served(tally, 0)),
                    ("background served", served(tally, 1)),
                    ("goodput", tally.goodput()),
                ]
            },
            goal: |tally| {
                at_least("critical served", served(tally, 0), 0.994)?;
                at_least("goodput", tally.goodput(), 0.92)
            },
            on_average: &[("critical served", 0.994), ("goodput", 0.96)],
            note: "",
            plot: false,
        },
    ]
}

fn tenant(heavy_share: f64, light_mean: f64, chance: &mut Chance) -> Template {
    let light = !chance.happens(heavy_share);
    let mean = if light { light_mean } else { MEAN };
    Template {
        tenant: if light {
            1 + chance.pick(TENANTS - 1)
        } else {
            0
        },
        ..plain(mean, Service::Usual, 1.0, chance)
    }
}

fn tenants(system: System, times: f64, seed: u64) -> Tally {
    let backlogged = times > 10.0;
    // Long requests of the light ones: an even count would be an uneven share.
    let light_mean = if backlogged { 4.0 * MEAN } else { MEAN };
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![Source {
            arrivals: Arrivals::steady(times * CAPACITY),
            template: Box::new(move |_, chance| tenant(0.9, light_mean, chance)),
            tries: 1,
        }],
        speeds: Vec::new(),
        seconds: if backlogged { 10.0 } else { 9.0 },
        warm_up: 3.0,
    };
    let all = with_tenants(all_on(vec![class(1, 50)]));
    run(plan, system.server(PERMITS, &all, seed), seed)
}

fn many_tenants(system: System, seed: u64) -> Tally {
    let template = |chance: &mut Chance| {
        let heavy = chance.happens(5.0 / 6.0);
        Template {
            // The heavy ones come last: the light ones have the exact places.
            tenant: if heavy {
                HEAVY + chance.pick(4)
            } else {
                1 + chance.pick(2000)
            },
            ..plain(MEAN, Service::Usual, 1.0, chance)
        }
    };
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![Source {
            arrivals: Arrivals::steady(3.0 * CAPACITY),
            template: Box::new(move |_, chance| template(chance)),
            tries: 1,
        }],
        speeds: Vec::new(),
        seconds: 9.0,
        warm_up: 3.0,
    };
    let all = Settings {
        tenants: Some(TenantSettings {
            exact_max: 64,
            rate: None,
        }),
        ..all_on(vec![class(1, 50)])
    };
    run(plan, system.server(PERMITS, &all, seed), seed)
}

/// The share of good answers of all but the heavy tenants.
fn light(tally: &Tally) -> f64 {
    let light = || {
        let tenants = tally.by_tenant.iter();
        tenants.filter(|(tenant, _)| (1..HEAVY).contains(*tenant))
    };
    let good: u64 = light().map(|(_, share)| share.good).sum();
    let sent: u64 = light().map(|(_, share)| share.sent).sum();
    good as f64 / sent as f64
}

fn fairness(tally: &Tally) -> f64 {
    let served: Vec<_> = tally.by_tenant.values().map(|share| share.served).collect();
    jain(&served)
}

fn critical(system: System, seed: u64) -> Tally {
    let of_class = |class, rate: Box<dyn Fn(f64) -> f64>| Source {
        arrivals: Arrivals::Poisson(rate),
        template: Box::new(move |_, chance| Template {
            class,
            ..plain(MEAN, Service::Usual, 1.0, chance)
        }),
        tries: 1,
    };
    let flood = |second| {
        if second < 5.0 {
            0.3 * CAPACITY
        } else {
            3.6 * CAPACITY
        }
    };
    let plan = Plan {
        backend: BackendSpec::of(f64::from(PERMITS)),
        sources: vec![
            of_class(0, Box::new(|_| 0.6 * CAPACITY)),
            of_class(1, Box::new(flood)),
        ],
        speeds: Vec::new(),
        seconds: 13.0,
        warm_up: 3.0,
    };
    let all = all_on(vec![class(80, 90), class(20, 10)]);
    run(plan, system.server(PERMITS, &all, seed), seed)
}

fn served(tally: &Tally, class: u64) -> f64 {
    let share = tally.by_class[&class];
    share.good as f64 / share.sent as f64
}
