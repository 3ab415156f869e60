//! The shadow refuses whom the gate would have refused.

use proptest::prelude::*;

use super::super::super::settings::{Discipline, Doom, MaxWait, Switch};
use super::super::super::shadow::Shadow;
use super::super::super::what_if::WhatIf;
use super::*;

fn settings() -> impl Strategy<Value = Settings> {
    let class =
        (1_u32..9, any::<bool>(), 5_u32..400).prop_map(|(weight, codel, wait)| ClassSettings {
            weight,
            codel: if codel { Switch::On } else { Switch::Off },
            discipline: if codel {
                Discipline::Adaptive
            } else {
                Discipline::Fifo
            },
            max_wait: MaxWait::Fixed(wait * MILLI),
            ..ClassSettings::default()
        });
    (prop::collection::vec(class, 1..3), any::<bool>(), 0_u8..60).prop_map(
        |(classes, doom, backfill_percent)| Settings {
            classes,
            doom: doom.then(Doom::default),
            backfill_percent,
            ..Settings::default()
        },
    )
}

/// Gap to the one before, class, units, deadline, service: in µs, so that no two things happen at
/// once but by a rare chance.
type Sent = (u64, u8, u32, Option<u64>, u64);

fn trace() -> impl Strategy<Value = Vec<Sent>> {
    let sent = (
        0_u64..30_000,
        0_u8..2,
        prop_oneof![3 => Just(1024_u32), 1 => 1_u32..4000],
        prop::option::of(1000_u64..400_000),
        1000_u64..200_000,
    );
    prop::collection::vec(sent, 1..200)
}

fn request(now: Instant, (_, class, units, deadline, _): Sent) -> Request {
    Request {
        class: ClassId(class),
        units,
        deadline: deadline.map(|micros| now + Duration::from_micros(micros)),
        ..Request::default()
    }
}

/// What the gate refused, by class and reason.
fn enforced(settings: &Settings, permits: u32, trace: &[Sent]) -> Vec<u64> {
    let mut gate = Gate::new(settings.clone(), permits);
    let classes = settings.classes.len();
    let mut class_of = Vec::new();
    for sent in trace {
        gate.pass(Duration::from_micros(sent.0));
        let request = request(gate.now, *sent);
        class_of.push(if usize::from(sent.1) < classes {
            sent.1
        } else {
            0
        });
        gate.send(request, Duration::from_micros(sent.4));
    }
    gate.pass(Duration::from_secs(3600));
    let mut counts = vec![0; classes * RejectReason::ALL.len()];
    for (_, number, fate) in &gate.events {
        if let Fate::Refused(refusal) = fate {
            let class = usize::from(class_of[*number]);
            counts[class * RejectReason::ALL.len() + *refusal as usize] += 1;
        }
    }
    counts
}

/// The same of the shadow, beside a gate that lets everything pass.
fn shadowed(settings: &Settings, permits: u32, trace: &[Sent]) -> Vec<u64> {
    let start = Instant::now();
    let mut shadow = Shadow::new(settings.clone(), true, permits * UNITS_PER_TASK, start);
    let mut ends = BTreeMap::new();
    let mut now = start;
    let finish = |shadow: &mut Shadow, ends: &mut BTreeMap<_, _>, until: Option<Instant>| {
        while let Some(((at, number), _)) = ends.first_key_value()
            && until.is_none_or(|until| *at <= until)
        {
            let key = (*at, *number);
            let (passage, took) = ends.remove(&key).expect("the first");
            shadow.finished(key.0, passage, took, Sample::Served);
        }
    };
    for (number, sent) in trace.iter().enumerate() {
        now += Duration::from_micros(sent.0);
        finish(&mut shadow, &mut ends, Some(now));
        let passage = shadow.pass(now, request(now, *sent));
        let took = Duration::from_micros(sent.4);
        ends.insert((now + took, number), (passage, took));
    }
    finish(&mut shadow, &mut ends, None);
    shadow.advance(now + Duration::from_secs(3600));
    let classes = 0..u8::try_from(settings.classes.len()).expect("few");
    classes
        .flat_map(|class| RejectReason::ALL.map(|refusal| shadow.refused(ClassId(class), refusal)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_shadow_decides_as_the_gate_would(
        settings in settings(), permits in 1_u32..5, trace in trace(),
    ) {
        prop_assert_eq!(shadowed(&settings, permits, &trace), enforced(&settings, permits, &trace));
    }
}

#[test]
fn everything_that_passed_is_forgotten_in_the_end() {
    let start = Instant::now();
    let mut shadow = Shadow::new(Settings::default(), true, 1024, start);
    let mut now = start;
    for _ in 0..1000 {
        let passages: Vec<_> = (0..5)
            .map(|_| shadow.pass(now, Request::default()))
            .collect();
        now += 20 * MILLI;
        for passage in passages {
            shadow.finished(now, passage, 20 * MILLI, Sample::Served);
        }
    }
    shadow.advance(now + Duration::from_secs(60));
    // 50 a second where 50 are served with one permit; of five at once, none waits for a second.
    let refused: u64 = RejectReason::ALL
        .map(|refusal| shadow.refused(ClassId(0), refusal))
        .iter()
        .sum();
    assert!(
        refused > 3000,
        "{refused} of 5000: five times as many as fit"
    );
    assert!(
        shadow
            .enough(now)
            .is_some_and(|units| (4096..8192).contains(&units))
    );
}

/// The limit that the ladder names is enough for the gate, and a much lower one is not.
#[test]
fn what_if_is_right_to_a_fifth() {
    let settings = Settings::default();
    let mut chance = Seed::new(3);
    // Requests of 20 to 180 ms that come every 2.5 ms or so: forty at once.
    let trace: Vec<Sent> = (0..20_000)
        .map(|_| {
            (
                chance.below(5000),
                0,
                1024,
                None,
                20_000 + chance.below(160_000),
            )
        })
        .collect();
    let start = Instant::now();
    let mut what_if = WhatIf::new(16 * UNITS_PER_TASK, start);
    let mut now = start;
    for (gap, .., took) in &trace {
        now += Duration::from_micros(*gap);
        what_if.observe(
            now,
            1024,
            Duration::from_micros(*took),
            Duration::from_secs(1),
        );
    }
    let units = what_if.enough(now).expect("within sixteen times");
    let permits = u32::try_from(units.div_ceil(u64::from(UNITS_PER_TASK))).expect("few");
    let refused = |permits| enforced(&settings, permits, &trace).iter().sum::<u64>();
    assert_eq!(refused(permits), 0, "with {permits}");
    assert!(
        refused(permits * 3 / 4) > 100,
        "with three quarters of {permits}"
    );
}
