//! `CoDel` for requests: tells a burst, which a queue is for, from a standing queue, which is only
//! delay.
//!
//! After folly's `Codel` and Facebook's "Fail at Scale" (Nichols and Jacobson, "Controlling Queue
//! Delay", 2012, made fit for requests): a queue **stands** when its delay has been above the
//! *target* for a whole *interval*; while it stands, whoever has waited longer than the *limit* is
//! let go. The usual 5 ms, 100 ms and twice the target suit services of a few milliseconds; here
//! all scale with the measured service time:
//!
//! | | formula | range |
//! |---|---|---|
//! | target | `0.1 × S50` | 5 ms to `max_wait ÷ 4` |
//! | interval | `2 × S90` | 100 ms to 30 s |
//! | limit | `max_wait`, halved with every second interval that it stands | to `max(2 × target, S50)`, at most `max_wait ÷ 2` |
//!
//! Three things differ from folly, each because the simulator (`tests/simulation`) said so:
//!
//! * **The limit ends at a service time**, not at twice the target, which at nine tenths of the
//!   capacity refuses twice as many for nothing, with hardly a difference to the p99.
//! * **The limit starts mild** and gets strict while the queue stands, and mild again, four times as
//!   fast, while it does not. Bursts at seven tenths of the capacity make a queue that stands for an
//!   interval or two; with the strict limit at once a quarter of them was refused, now one in
//!   fourteen is. A lasting overload knows no difference.
//! * **The delay is that of the oldest** who waits, not of whoever is dispatched, so the rule holds
//!   when the newest goes first, too.
//!
//! And **nobody is let go but in favour of another who waits**: a permit is never left idle for the
//! sake of a delay that is already suffered.

use std::time::{Duration, Instant};

use super::micros;
use super::service_time::Quantiles;

const TARGET_MIN: Duration = Duration::from_millis(5);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Target, interval and limit, as scaled to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodelRule {
    /// The delay that is tolerated for longer than an interval.
    pub target: Duration,
    /// How long a delay above the target makes a standing queue.
    pub interval: Duration,
    /// The delay above which a standing queue lets go in the end.
    pub limit: Duration,
    /// The same at first.
    pub most: Duration,
}

impl CodelRule {
    /// Scaled to measured service times, by the table above.
    #[must_use]
    pub fn scaled(service: &Quantiles, max_wait: Duration) -> Self {
        // Not `clamp`: with a very short `max_wait` its share is below 5 ms, and wins.
        let target = (service.p50 / 10).max(TARGET_MIN).min(max_wait / 4);
        Self {
            target,
            interval: (2 * service.p90).clamp(INTERVAL_MIN, INTERVAL_MAX),
            limit: (2 * target).max(service.p50).min(max_wait / 2),
            most: max_wait,
        }
    }
}

impl CodelRule {
    /// The limit after so many steps: half of it after every second.
    fn at_level(&self, level: u8) -> Duration {
        let halves = 1_u32.checked_shl(u32::from(level) / 2);
        (self.most / halves.unwrap_or(u32::MAX)).max(self.limit)
    }
}

/// One queue's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// Since when every delay was above the target.
    above_since: Option<Instant>,
    standing: bool,
    /// How strict it is: steps of the limit.
    level: u8,
    /// When the level was last looked at.
    judged: Option<Instant>,
}

impl Codel {
    /// Somebody is dispatched, and the oldest who waited did so for `delay`.
    pub fn dispatched(&mut self, now: Instant, delay: Duration, rule: &CodelRule) {
        self.judge(now, rule);
        if delay <= rule.target {
            self.emptied();
            return;
        }
        let since = *self.above_since.get_or_insert(now);
        if !self.standing && now.saturating_duration_since(since) >= rule.interval {
            self.standing = true;
        }
    }

    /// The queue is empty: whoever comes next has no delay.
    pub fn emptied(&mut self) {
        self.above_since = None;
        self.standing = false;
    }

    /// Stricter by a step for each interval in which the queue stood, milder by two for each other
    /// one.
    fn judge(&mut self, now: Instant, rule: &CodelRule) {
        let judged = *self.judged.get_or_insert(now);
        let passed = micros(now.saturating_duration_since(judged)) / micros(rule.interval).max(1);
        if passed == 0 {
            return;
        }
        if self.standing {
            let strict = rule.at_level(self.level) <= rule.limit;
            self.level += u8::from(!strict);
        } else {
            let steps = u8::try_from(2 * passed.min(100)).expect("at most 200");
            self.level = self.level.saturating_sub(steps);
        }
        self.judged = Some(now);
    }

    /// Whether the queue stands.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.standing
    }

    /// Whether the queue stands, and somebody who has waited so long is to be let go.
    #[must_use]
    pub fn lets_go(&self, delay: Duration, rule: &CodelRule) -> bool {
        self.standing && delay > rule.at_level(self.level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn rule(p50: u32, p90: u32, max_wait: u32) -> CodelRule {
        let service = Quantiles {
            p10: Duration::ZERO,
            p50: p50 * MILLI,
            p90: p90 * MILLI,
        };
        CodelRule::scaled(&service, max_wait * MILLI)
    }

    /// Feeds a delay each millisecond, and keeps the state after each.
    fn states(delays: impl IntoIterator<Item = u32>) -> Vec<Codel> {
        let (rule, start) = (rule(50, 80, 1000), Instant::now());
        let mut codel = Codel::default();
        let at = (0_u32..).zip(delays);
        at.map(|(at, delay)| {
            codel.dispatched(start + at * MILLI, delay * MILLI, &rule);
            codel
        })
        .collect()
    }

    #[test]
    fn a_burst_is_no_standing_queue() {
        // Delays shrink to nothing within the interval of 160 ms, for a minute on end.
        let states = states((0..60_000).map(|at| at % 150));
        assert_eq!(states.iter().position(Codel::is_standing), None);
    }

    #[test]
    fn a_standing_queue_is_known_after_an_interval_and_is_over_with_its_delay() {
        let states = states((0..300).map(|at| if at < 200 { 6 } else { 5 }));
        assert_eq!(states.iter().position(Codel::is_standing), Some(160));
        assert_eq!(states.iter().rposition(Codel::is_standing), Some(199));
    }

    /// The delay in ms from which somebody is let go.
    fn limit(codel: &Codel) -> Option<u32> {
        let rule = rule(50, 80, 1000);
        (0..2000).find(|delay| codel.lets_go(*delay * MILLI, &rule))
    }

    #[test]
    fn the_limit_is_halved_while_the_queue_stands_and_comes_back_when_it_does_not() {
        let states = states((0..4000).map(|at| if (2500..2750).contains(&at) { 0 } else { 60 }));
        let limits: Vec<_> = (0..7).map(|n| limit(&states[165 + 320 * n])).collect();
        let halved = [1001, 501, 251, 126, 63, 51, 51];
        assert_eq!(limits, halved.map(Some), "at last a service time");
        assert_eq!(limit(&states[2800]), None, "it does not stand");
        let again = limit(&states[2920]).expect("it stands again");
        assert_eq!(again, 251, "half of its steps are forgotten");
    }

    proptest! {
        #[test]
        fn target_and_interval_stay_in_their_ranges(
            p50 in 0_u32..1_000_000, p90 in 0_u32..1_000_000, max_wait in 0_u32..60_000,
        ) {
            let rule = rule(p50, p90, max_wait);
            prop_assert!(rule.target <= max_wait * MILLI / 4);
            prop_assert!(rule.target >= TARGET_MIN.min(max_wait * MILLI / 4));
            prop_assert!((INTERVAL_MIN..=INTERVAL_MAX).contains(&rule.interval));
            prop_assert!(rule.target <= rule.limit && rule.limit <= max_wait * MILLI / 2);
            prop_assert!(rule.limit >= (p50 * MILLI).min(max_wait * MILLI / 2));
        }
    }
}
