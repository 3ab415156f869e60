//! What holds whatever the policy is told, and whatever happens.

use proptest::prelude::*;

use super::super::super::pressure::Ramp;
use super::super::super::retry_budget::RetryLimits;
use super::super::super::settings::{Discipline, Doom, MaxWait, Switch, TenantSettings};
use super::super::super::tenant::TenantKey;
use super::*;

fn switch() -> impl Strategy<Value = Switch> {
    prop_oneof![Just(Switch::Off), Just(Switch::On)]
}

fn any_class() -> impl Strategy<Value = ClassSettings> {
    let discipline = prop_oneof![
        Just(Discipline::Fifo),
        Just(Discipline::Lifo),
        Just(Discipline::Adaptive)
    ];
    let max_wait = prop_oneof![
        (1_u32..2000).prop_map(|millis| MaxWait::Fixed(millis * MILLI)),
        Just(MaxWait::Auto)
    ];
    let ramp = prop::option::of((0_u32..2000, 0_u32..2000).prop_map(|(from, more)| Ramp {
        from_thousandths: from,
        to_thousandths: from + more,
    }));
    (1_u32..100, 0_u8..=100, discipline, max_wait, switch(), ramp).prop_map(
        |(weight, importance, discipline, max_wait, codel, ramp)| ClassSettings {
            weight,
            importance,
            discipline,
            max_wait,
            codel,
            ramp,
        },
    )
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let tenants = prop::option::of((0_u32..4).prop_map(|exact_max| TenantSettings {
        exact_max,
        rate: None,
    }));
    let retries = prop::option::of((0_u32..5).prop_map(|per_second| RetryLimits {
        share: "0.2".parse().expect("a decimal"),
        per_second,
    }));
    let doom = prop::option::of(Just(Doom::default()));
    let classes = prop::collection::vec(any_class(), 1..4);
    (
        classes,
        tenants,
        retries,
        doom,
        switch(),
        0_u8..=100,
        any::<u64>(),
    )
        .prop_map(
            |(classes, tenants, retries, doom, cut_off, backfill_percent, seed)| Settings {
                classes,
                tenants,
                retries,
                doom,
                cut_off,
                backfill_percent,
                seed,
            },
        )
}

fn any_request(permits: u32) -> impl Strategy<Value = (u8, u64, bool, u32, Option<u32>)> {
    let most = (permits + 2) * UNITS_PER_TASK;
    let units = prop_oneof![3 => Just(UNITS_PER_TASK), 1 => 1..most];
    (
        0_u8..4,
        0_u64..6,
        prop::bool::weighted(0.2),
        units,
        prop::option::of(0_u32..500),
    )
}

#[derive(Clone, Debug)]
enum Step {
    Send((u8, u64, bool, u32, Option<u32>), u32),
    Leave(usize),
    Pass(u32),
    Purge,
    Resize(u32),
    PutBack,
    /// Other settings: the n-th of those that were drawn.
    Reconfigure(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (any_request(4), 1_u32..100).prop_map(|(request, took)| Step::Send(request, took)),
        2 => any::<usize>().prop_map(Step::Leave),
        5 => (0_u32..60).prop_map(Step::Pass),
        1 => Just(Step::Purge),
        1 => (1_u32..6).prop_map(Step::Resize),
        1 => Just(Step::PutBack),
        1 => any::<usize>().prop_map(Step::Reconfigure),
    ]
}

fn request(gate: &Gate, of: (u8, u64, bool, u32, Option<u32>)) -> Request {
    let (class, tenant, again, units, deadline) = of;
    Request {
        class: ClassId(class),
        tenant: (tenant > 0).then(|| TenantKey::new(tenant)),
        attempt: if again {
            Attempt::Retry
        } else {
            Attempt::First
        },
        units,
        deadline: deadline.map(|millis| gate.now + millis * MILLI),
    }
}

fn apply(gate: &mut Gate, step: &Step) {
    match step {
        Step::Send(of, took) => {
            let request = request(gate, *of);
            gate.send(request, *took * MILLI);
        }
        Step::Leave(nth) => {
            let numbers: Vec<_> = gate.waiting.keys().copied().collect();
            if !numbers.is_empty() {
                let number = numbers[nth % numbers.len()];
                gate.waiting.remove(&number).expect("listed").0.1.set(false);
                gate.pump();
            }
        }
        Step::Pass(millis) => gate.pass(*millis * MILLI),
        Step::Purge => gate.policy.purge(),
        Step::Reconfigure(_) => {}
        Step::Resize(permits) => {
            // A shrink below what is held is the gate's debt; the policy is told no more than is
            // free.
            gate.limit = (permits * UNITS_PER_TASK).max(gate.held);
            gate.pump();
        }
        Step::PutBack => {
            let Room { limit, .. } = gate.room();
            if let Turn::Grant(entry, charge) = gate.policy.pick(gate.now, limit, limit) {
                gate.policy.put_back(gate.now, entry, charge);
            }
        }
    }
}

/// Long enough for whatever waits or runs.
const FOR_ALL: Duration = Duration::from_secs(3600);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Never more is granted than fits, nobody is granted after its wait or after it left, nobody
    /// is forgotten while there is room (all asserted by the gate), everybody has one fate, and in
    /// the end nothing is held or owed.
    #[test]
    fn everybody_has_one_fate_and_nothing_is_left(
        all in prop::collection::vec(any_settings(), 1..4), permits in 1_u32..5,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut gate = Gate::new(all[0].clone(), permits);
        for step in steps {
            match step {
                Step::PutBack if gate.policy.blocked.is_some() => {}
                Step::Reconfigure(nth) => {
                    let now = gate.now;
                    gate.policy.reconfigure(now, all[nth % all.len()].clone());
                    gate.pump();
                }
                step => apply(&mut gate, &step),
            }
        }
        gate.pass(FOR_ALL);
        prop_assert!(gate.waiting.is_empty() && gate.running.is_empty());
        gate.pump();
        prop_assert!(gate.policy.is_empty());
        prop_assert_eq!(gate.policy.len(), 0);
        prop_assert_eq!(gate.policy.oldest(), None);
        for class in &gate.policy.classes {
            prop_assert_eq!((class.held, class.units()), (0, 0));
        }
        let mut fates: Vec<_> = gate.events.iter().map(|(_, number, _)| *number).collect();
        fates.sort_unstable();
        let told = fates.len();
        fates.dedup();
        prop_assert_eq!(told, fates.len(), "somebody has two fates");
    }

    /// A purge changes nobody's turn in one line, without CoDel, which may learn of it sooner that
    /// somebody gave up, and without backfill, which looks at a number of entries. (A tenant or a
    /// class of which all have left keeps its place in the round until its turn comes, or until a
    /// purge; and the door knows those who left by their share only.)
    #[test]
    fn a_purge_changes_nobody_s_turn(
        mut settings in any_settings(), permits in 1_u32..5,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        settings.tenants = None;
        settings.classes.truncate(1);
        settings.classes[0].codel = Switch::Off;
        settings.backfill_percent = 0;
        let run = |purges: bool| {
            let mut gate = Gate::new(settings.clone(), permits);
            for step in &steps {
                match step {
                    Step::PutBack => {}
                    Step::Purge if !purges => {}
                    Step::Send(of, took) => {
                        let request = request(&gate, *of);
                        gate.send_past_the_door(request, *took * MILLI);
                    }
                    step => apply(&mut gate, step),
                }
            }
            gate.pass(FOR_ALL);
            let end = gate.now;
            let told = |(at, number, fate)| (end - at, number, fate);
            gate.events.into_iter().map(told).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(true), run(false));
    }

    /// The default of the configuration is a quarter, which is to change nothing for those who know
    /// no costs.
    #[test]
    fn backfill_matters_only_where_costs_differ(
        settings in any_settings(), permits in 1_u32..5, units in 1..5 * UNITS_PER_TASK,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let run = |backfill_percent: u8| {
            let settings = Settings { backfill_percent, ..settings.clone() };
            let mut gate = Gate::new(settings, permits);
            for step in &steps {
                match step {
                    Step::PutBack => {}
                    Step::Send((class, tenant, again, _, deadline), took) => {
                        let of = (*class, *tenant, *again, units, *deadline);
                        apply(&mut gate, &Step::Send(of, *took));
                    }
                    step => apply(&mut gate, step),
                }
            }
            gate.pass(FOR_ALL);
            let end = gate.now;
            let told = |(at, number, fate)| (end - at, number, fate);
            gate.events.into_iter().map(told).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(0), run(50));
    }

    /// Inside a class and tenant, oldest first, but for those who are smaller.
    #[test]
    fn oldest_first_inside_class_and_tenant_but_for_backfill(
        mut settings in any_settings(), permits in 1_u32..5,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        for class in &mut settings.classes {
            class.discipline = Discipline::Fifo;
        }
        if let Some(tenants) = &mut settings.tenants {
            tenants.exact_max = 64;
        }
        let tells_tenants = settings.tenants.is_some();
        let classes = settings.classes.len();
        let mut gate = Gate::new(settings, permits);
        let mut lines = BTreeMap::new();
        for step in steps.iter().filter(|step| !matches!(step, Step::PutBack)) {
            if let Step::Send((class, tenant, again, units, _), _) = step {
                let class = if usize::from(*class) < classes { *class } else { 0 };
                let tenant = if tells_tenants { *tenant } else { 0 };
                lines.insert(gate.sent, ((class, tenant, *again), *units));
            }
            apply(&mut gate, step);
        }
        gate.pass(FOR_ALL);
        let grants = gate.events.iter().filter(|(_, _, fate)| *fate == Fate::Granted);
        let mut latest = BTreeMap::<_, usize>::new();
        for (_, number, _) in grants {
            let (line, units) = lines[number];
            let before = latest.entry(line).or_default();
            // Overtaken by whoever came later: then it was larger.
            prop_assert!(*number >= *before || lines[&*before].1 < units, "{number} after {before}");
            *before = (*before).max(*number);
        }
    }
}
