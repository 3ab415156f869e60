//! The budget against a list of everything that ever happened.

use proptest::prelude::*;

use super::*;

fn limits(share: &str, per_second: u32) -> RetryLimits {
    RetryLimits {
        share: share.parse().expect("a decimal"),
        per_second,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_fifth_of_the_requests_and_the_floor() {
    let mut budget = RetryBudget::default();
    budget.observe(seconds(0), 1000);
    let limits = limits("0.2", 3);
    let granted = (0..1000)
        .filter(|_| budget.try_retry(seconds(1), 1000, limits))
        .count();
    assert_eq!(granted, 200 + 30);
}

#[test]
fn what_is_older_than_the_window_counts_no_longer() {
    let mut budget = RetryBudget::default();
    budget.observe(seconds(0), 100);
    let limits = limits("0.1", 0);
    let mut granted = |second, requests| {
        (0..100)
            .filter(|_| budget.try_retry(seconds(second), requests, limits))
            .count()
    };
    assert_eq!(granted(9, 100), 10);
    assert_eq!(
        granted(10, 100),
        0,
        "the requests are gone, the retries are not"
    );
    budget.observe(seconds(18), 200);
    budget.observe(seconds(19), 300);
    let mut granted = |second, requests| {
        (0..100)
            .filter(|_| budget.try_retry(seconds(second), requests, limits))
            .count()
    };
    assert_eq!(granted(19, 300), 10 + 10 - 10 + 10);
}

#[test]
fn nothing_means_never() {
    let mut budget = RetryBudget::default();
    budget.observe(seconds(0), 1_000_000);
    assert!(!budget.try_retry(seconds(1), 2_000_000, limits("0", 0)));
}

#[test]
fn a_long_silence_and_a_clock_that_stands_do_no_harm() {
    let mut budget = RetryBudget::default();
    let limits = limits("0.5", 1);
    let mut granted = |second| {
        (0..100)
            .filter(|_| budget.try_retry(seconds(second), 0, limits))
            .count()
    };
    assert_eq!(granted(5), 10);
    assert_eq!(granted(4), 0, "back in time");
    assert_eq!(granted(1_000_000_000), 10);
    assert_eq!(granted(u64::MAX / 2), 10);
}

#[derive(Clone, Debug)]
enum Step {
    Requests(u64),
    Look,
    Retry,
    Millis(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..50).prop_map(Step::Requests),
        2 => Just(Step::Look),
        6 => Just(Step::Retry),
        3 => (0_u64..4000).prop_map(Step::Millis),
        1 => (8000_u64..30_000).prop_map(Step::Millis),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever is asked when: in the ten seconds that count there are never more retries than the
    /// requests of those seconds and the floor allow, and none is denied while the floor has room.
    #[test]
    fn never_more_than_the_window_allows(
        steps in steps(), tenths in 0_u64..=10, per_second in 0_u32..4,
    ) {
        let limits = limits(&format!("{}.{}", tenths / 10, tenths % 10), per_second);
        let mut budget = RetryBudget::default();
        let (mut now, mut total) = (Duration::ZERO, 0);
        let (mut requests, mut retries) = (Vec::<u64>::new(), Vec::<u64>::new());
        for step in steps {
            match step {
                Step::Requests(count) => {
                    total += count;
                    requests.extend((0..count).map(|_| now.as_secs()));
                }
                Step::Look => budget.observe(now, total),
                Step::Millis(millis) => now += Duration::from_millis(millis),
                Step::Retry => {
                    let counts = |second: &&u64| **second + 10 > now.as_secs();
                    let recent = requests.iter().filter(counts).count() as u64;
                    let repeated = retries.iter().filter(counts).count() as u64;
                    let floor = u64::from(per_second) * 10;
                    let granted = budget.try_retry(now, total, limits);
                    prop_assert!(!granted || repeated < recent * tenths / 10 + floor);
                    prop_assert!(granted || repeated >= floor);
                    if granted {
                        retries.push(now.as_secs());
                    }
                }
            }
        }
    }

    /// Who looks once a second is granted all that the window allows but for its oldest second.
    #[test]
    fn not_much_less_either(per_second in 1_u64..200) {
        let limits = limits("0.2", 0);
        let mut budget = RetryBudget::default();
        for second in 0..30 {
            budget.observe(seconds(second), second * per_second);
        }
        let granted = (0..10_000)
            .filter(|_| budget.try_retry(seconds(29), 29 * per_second, limits))
            .count() as u64;
        prop_assert_eq!(granted, 9 * per_second / 5);
    }
}
