//! Shares: of classes, of tenants, of large and small. Nobody starves.

use proptest::prelude::*;

use super::super::super::settings::{MaxWait, TenantSettings};
use super::super::super::tenant::TenantKey;
use super::*;

fn patient(mut settings: Settings) -> Settings {
    for class in &mut settings.classes {
        class.max_wait = MaxWait::Fixed(Duration::from_secs(100_000));
    }
    settings
}

/// The task-milliseconds that each of several kinds of request got, while all of them always wait.
fn served(settings: Settings, permits: u32, kinds: &[(Request, u32)], seconds: u32) -> Vec<u64> {
    let mut gate = Gate::new(patient(settings), permits);
    let mut kind_of = BTreeMap::new();
    let mut work = vec![0; kinds.len()];
    // More than can be granted at one instant: whose line is empty, though for a moment, waits for
    // nothing, and what the others owe is forgiven.
    let backlog = 16 * permits as usize + 16;
    let end = gate.now + seconds * Duration::from_secs(1);
    let mut waiting = vec![0; kinds.len()];
    loop {
        for (kind, (request, took)) in kinds.iter().enumerate() {
            while waiting[kind] < backlog {
                waiting[kind] += 1;
                kind_of.insert(gate.sent, kind);
                gate.send_past_the_door(*request, *took * MILLI);
            }
        }
        for (_, number, fate) in std::mem::take(&mut gate.events) {
            assert_eq!(fate, Fate::Granted);
            let kind = kind_of[&number];
            waiting[kind] -= 1;
            let (request, took) = kinds[kind];
            // In units × ms: the smallest are worth less than a task-millisecond.
            work[kind] += u64::from(request.units) * u64::from(took);
        }
        let Some(Reverse((next, _))) = gate.running.peek().copied() else {
            panic!("idle")
        };
        if next > end {
            return work
                .into_iter()
                .map(|work| work / u64::from(UNITS_PER_TASK))
                .collect();
        }
        gate.run_until(next);
    }
}

fn of_tenant(tenant: u64, units: u32) -> Request {
    Request {
        tenant: Some(TenantKey::new(tenant)),
        units,
        ..Request::default()
    }
}

fn with_tenants() -> Settings {
    Settings {
        tenants: Some(TenantSettings::default()),
        ..Settings::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Tenants that always wait get the same cost × time, whatever one of their requests costs and
    /// takes: but for a quantum, the largest request, and what is in flight.
    #[test]
    fn tenants_differ_by_no_more_than_a_quantum_and_a_request(
        permits in 1_u32..5,
        kinds in prop::collection::vec((512_u32..5000, 5_u32..200), 2..6),
    ) {
        let kinds: Vec<_> = (1..).zip(&kinds)
            .map(|(tenant, (units, took))| {
                (of_tenant(tenant, (*units).min(permits * UNITS_PER_TASK)), *took)
            })
            .collect();
        let settings = Settings { backfill_percent: 0, ..with_tenants() };
        let work = served(settings, permits, &kinds, 60);
        let request = |(request, took): &(Request, u32)| {
            u64::from(request.units) * u64::from(*took) / u64::from(UNITS_PER_TASK) + 1
        };
        let largest = kinds.iter().map(request).max().expect("some");
        let slowest = kinds.iter().map(|(_, took)| u64::from(*took)).max().expect("some");
        // A quantum is at most the slowest default request; in flight is at most all permits.
        let bound = 2 * (slowest + largest) + 2 * u64::from(permits) * slowest;
        let (most, least) = (work.iter().max().expect("some"), work.iter().min().expect("some"));
        prop_assert!(most - least <= bound, "{work:?} differ by more than {bound}");
    }

    /// Classes that always wait get cost × time by their weights.
    #[test]
    fn classes_share_by_weight(
        permits in 1_u32..9,
        kinds in prop::collection::vec((1_u32..10, 5_u32..100), 2..5),
    ) {
        let settings = Settings {
            classes: kinds.iter().map(|(weight, _)| class(*weight)).collect(),
            ..Settings::default()
        };
        let weights: u32 = kinds.iter().map(|(weight, _)| weight).sum();
        let requests: Vec<_> = (0..).zip(&kinds).map(|(at, (_, took))| (of_class(at), *took)).collect();
        let work = served(settings, permits, &requests, 40);
        let total: u64 = work.iter().sum();
        for ((weight, took), work) in kinds.iter().zip(&work) {
            let due = total * u64::from(*weight) / u64::from(weights);
            let slack = due / 10 + 20 * u64::from(*took) * u64::from(permits) + 2000;
            prop_assert!(work.abs_diff(due) <= slack, "{kinds:?}: {work} for {due} of {total}");
        }
    }

    /// A large request among a flood of small ones is served before its wait is over, if what runs
    /// ends within the part of it that is kept for it.
    #[test]
    fn a_large_request_is_not_starved_by_small_ones(
        permits in 1_u32..20, percent in 0_u8..=50, took in 1_u32..400,
    ) {
        let settings = Settings { backfill_percent: percent, ..Settings::default() };
        let mut gate = Gate::new(settings, permits);
        for _ in 0..permits {
            gate.send(Request::default(), took * MILLI);
        }
        let units = permits * UNITS_PER_TASK;
        let large = gate.send(Request { units, ..Request::default() }, 10 * MILLI);
        for _ in 0..900 {
            gate.send(Request::default(), took * MILLI);
            gate.pass(MILLI);
        }
        gate.pass(Duration::from_secs(2));
        prop_assert_eq!(gate.fate(large), Some(Fate::Granted));
    }
}

#[test]
fn small_ones_overtake_a_large_one_for_its_first_part_and_no_longer() {
    let settings = Settings {
        backfill_percent: 25,
        ..Settings::default()
    };
    let mut gate = Gate::new(settings, 4);
    // One permit is taken for good: the large request will never fit.
    gate.send(Request::default(), Duration::from_secs(60));
    let units = 4 * UNITS_PER_TASK;
    gate.send(
        Request {
            units,
            ..Request::default()
        },
        MILLI,
    );
    let mut small = Vec::new();
    for _ in 0..100 {
        small.push((gate.now, gate.send(Request::default(), 9 * MILLI)));
        gate.pass(10 * MILLI);
    }
    gate.pass(Duration::from_secs(1));
    let start = small[0].0;
    for (sent, number) in &small {
        let (granted, _, _) = gate
            .events
            .iter()
            .find(|(_, n, _)| n == number)
            .expect("decided");
        let at = (*sent - start, *granted - start);
        if at.0 < 250 * MILLI {
            assert_eq!(at.0, at.1, "it overtakes at once");
        } else {
            assert!(at.1 >= 1000 * MILLI, "what is free is kept: {at:?}");
        }
    }
}

#[test]
fn what_an_idle_class_lent_out_comes_back_first() {
    let settings = Settings {
        classes: vec![class(3), class(1)],
        ..Settings::default()
    };
    let mut gate = Gate::new(settings, 8);
    for _ in 0..100 {
        gate.send(of_class(1), 10 * MILLI);
    }
    gate.pass(35 * MILLI);
    assert_eq!(
        gate.policy.classes[1].held,
        8 * 1024,
        "the other's share is borrowed"
    );
    let back: Vec<_> = (0..8)
        .map(|_| gate.send(of_class(0), 100 * MILLI))
        .collect();
    gate.pass(6 * MILLI);
    assert_eq!(gate.granted(&back), 6, "all of its share at once");
}

#[test]
fn retries_go_after_first_attempts_of_their_class() {
    let mut gate = Gate::new(Settings::default(), 1);
    gate.send(Request::default(), 10 * MILLI);
    let again = gate.send(retry(), 10 * MILLI);
    let first: Vec<_> = (0..5)
        .map(|_| gate.send(Request::default(), 10 * MILLI))
        .collect();
    gate.pass(55 * MILLI);
    assert_eq!(gate.granted(&first), 5);
    assert_eq!(gate.fate(again), None);
    gate.pass(10 * MILLI);
    assert_eq!(gate.fate(again), Some(Fate::Granted));
}

#[test]
fn what_a_class_did_not_use_is_not_saved_up() {
    let settings = patient(Settings {
        classes: vec![class(1), class(1), class(2)],
        ..Settings::default()
    });
    let mut gate = Gate::new(settings, 4);
    // For a long time only the first class comes, and never waits.
    for _ in 0..500 {
        for _ in 0..4 {
            gate.send(of_class(0), 10 * MILLI);
        }
        gate.pass(30 * MILLI);
    }
    let both: Vec<_> = (0..200)
        .flat_map(|_| [0, 1].map(|place| gate.send(of_class(place), 10 * MILLI)))
        .collect();
    gate.pass(250 * MILLI);
    let first: Vec<_> = both.iter().copied().step_by(2).collect();
    let (first, all) = (gate.granted(&first), gate.granted(&both));
    assert!(all.abs_diff(2 * first) <= 8, "{first} of {all}");
}

#[test]
fn new_settings_keep_who_waits_and_in_which_order() {
    let mut gate = Gate::new(patient(Settings::default()), 1);
    let sent: Vec<_> = (0..10)
        .map(|_| gate.send(Request::default(), 10 * MILLI))
        .collect();
    gate.pass(25 * MILLI);
    let tenants = Settings {
        classes: vec![class(5), class(1)],
        ..with_tenants()
    };
    gate.policy.reconfigure(gate.now, tenants);
    gate.pass(30 * MILLI);
    gate.policy.reconfigure(gate.now, Settings::default());
    gate.pass(Duration::from_secs(1));
    let granted: Vec<_> = gate.events.iter().map(|(_, number, _)| *number).collect();
    assert_eq!(granted, sent);
    assert_eq!(gate.policy.classes[0].held, 0);
}

#[test]
fn who_fits_is_found_behind_others_who_do_not() {
    let settings = Settings {
        backfill_percent: 50,
        ..Settings::default()
    };
    let mut gate = Gate::new(settings, 4);
    gate.send(Request::default(), Duration::from_secs(60));
    let units = 4 * UNITS_PER_TASK;
    let large = Request {
        units,
        ..Request::default()
    };
    for _ in 0..5 {
        gate.send(large, MILLI);
    }
    let small = gate.send(Request::default(), MILLI);
    assert_eq!(gate.fate(small), Some(Fate::Granted));
}
