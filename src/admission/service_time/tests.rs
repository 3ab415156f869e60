//! The histogram against sorted lists, and what is derived from it.

use proptest::prelude::*;

use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn every_value_is_in_the_middle_of_its_bucket_but_for_a_sixteenth() {
    for value in (0..64).map(|bits| (1_u64 << bits) / 3 * 2).chain(0..5000) {
        let (value, found) = (value.min(LARGEST), middle(bucket(value)));
        assert!(found.abs_diff(value) * 16 <= value, "{value}: {found}");
        assert!(bucket(value) < BUCKETS);
    }
}

#[test]
fn nothing_is_said_before_the_fiftieth() {
    let (mut service, now) = (ServiceTime::default(), Instant::now());
    for _ in 1..COMPLETIONS_MIN {
        service.record(now, millis(20));
        assert_eq!(service.quantiles(), None);
    }
    service.record(now, millis(20));
    let p50 = service.quantiles().expect("fifty").p50;
    assert!((millis(19)..=millis(21)).contains(&p50), "{p50:?}");
}

#[test]
fn the_past_fades() {
    let (mut service, start) = (ServiceTime::default(), Instant::now());
    let mut at = start;
    let mut run = |service: &mut ServiceTime, seconds: u64, took| {
        for _ in 0..seconds * 20 {
            at += millis(50);
            service.record(at, took);
        }
    };
    run(&mut service, 120, millis(10));
    run(&mut service, 25, millis(100));
    let p50 = service.quantiles().expect("many").p50;
    assert!(p50 > millis(90), "{p50:?} after two half-lives");
}

#[test]
fn auto_is_clamped() {
    let of = |p50: u64, p90: u64| Quantiles {
        p10: Duration::ZERO,
        p50: millis(p50),
        p90: millis(p90),
    };
    assert_eq!(of(1, 2).max_wait(), millis(1000));
    assert_eq!(of(2000, 2).max_wait(), millis(4000));
    assert_eq!(of(60_000, 2).max_wait(), millis(30_000));
    assert_eq!(of(1, 800).cancel_grace(millis(300)), millis(500));
    assert_eq!(of(1, 800).cancel_grace(millis(900)), Duration::ZERO);
    assert_eq!(of(1, 90_000).cancel_grace(Duration::ZERO), millis(30_000));
}

proptest! {
    /// Of what was measured just now, a quantile is off by no more than its bucket.
    #[test]
    fn quantiles_are_those_of_a_sorted_list(
        mut took in prop::collection::vec(0_u64..50_000_000, 50..51),
    ) {
        let (mut service, now) = (ServiceTime::default(), Instant::now());
        for micros in &took {
            service.record(now, Duration::from_micros(*micros));
        }
        took.sort_unstable();
        let found = service.quantiles().expect("enough");
        for (percent, found) in [(10, found.p10), (50, found.p50), (90, found.p90)] {
            let exact = took[took.len() * percent / 100];
            prop_assert!(micros(found).abs_diff(exact) * 8 <= exact + 8, "{percent} {exact}");
        }
    }
}
