//! `CoDel` for requests: tells a burst, which a queue is for, from a standing queue, which is only
//! delay.
//!
//! After folly's `Codel` and Facebook's "Fail at Scale" (Nichols and Jacobson, "Controlling Queue
//! Delay", 2012, made fit for requests): while a queue **stands**, whoever has waited longer than a
//! *limit* is let go, and with [`Discipline::Adaptive`](super::Discipline) the newest goes first.
//! Everything scales with the measured service time and with what the class may wait:
//!
//! | | formula | range |
//! |---|---|---|
//! | target | `0.1 × S50` | 5 ms to `max_wait ÷ 4` |
//! | interval | `2 × S90` | 100 ms to 30 s, and no less than `2 × max_wait` |
//! | limit | `max_wait`, falling with the pressure | to `max(2 × target, S50)`, at most `max_wait ÷ 2` |
//!
//! *Pressure* is the time that the oldest's delay was above the target, less four times the time
//! that it was not. A queue stands when its pressure is an interval **and somebody gave up** within
//! the last one: left, waited in vain, was refused at the door or let go here. A quarter of an
//! interval later the limit has reached its end.
//!
//! It differs from folly where the simulator (`tests/simulation`) said so:
//!
//! * **A queue that costs nobody anything is left alone.** A hundred users who wait for their
//!   answers keep a queue for ever, and each is served well within `max_wait`; so is a burst. By
//!   delay alone up to a tenth of them was refused for nothing.
//! * **Pressure, and not an interval without a break.** The state outlasts the moments in which the
//!   queue is empty by chance; without that, at a little more than the capacity, it was lost as soon
//!   as it worked, and clients that wait 200 ms were served a third less.
//! * **The limit ends at a service time**, not at twice the target, which at nine tenths of the
//!   capacity refuses twice as many for nothing, with hardly a difference to the p99.
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
/// How many times as fast pressure goes as it came.
const RELIEF: u32 = 4;
/// In what part of an interval the limit falls to its end.
const FALL: u32 = 4;

/// Target, interval and limit, as scaled to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodelRule {
    /// The delay that is no pressure.
    pub target: Duration,
    /// The pressure that makes a standing queue.
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
        let interval = (2 * service.p90).clamp(INTERVAL_MIN, INTERVAL_MAX);
        Self {
            target,
            interval: interval.max(max_wait.saturating_mul(2)),
            limit: (2 * target).max(service.p50).min(max_wait / 2),
            most: max_wait,
        }
    }

    /// While nothing is measured: it lets nobody go whom the bound on the wait does not, but tells a
    /// queue in which all wait in vain, so that the newest can go first. Or a backend whose clients
    /// give up before it comes to them would never serve one, and never be measured.
    #[must_use]
    pub fn unmeasured(max_wait: Duration) -> Self {
        Self {
            target: max_wait / 4,
            interval: max_wait.saturating_mul(2).max(INTERVAL_MIN),
            limit: max_wait,
            most: max_wait,
        }
    }

    /// The limit under so much pressure.
    fn under(&self, pressure: Duration) -> Duration {
        let fall = micros(self.interval / FALL).max(1);
        let left = fall.saturating_sub(micros(pressure.saturating_sub(self.interval)));
        let range = u128::from(micros(self.most.saturating_sub(self.limit)));
        let more = range * u128::from(left) / u128::from(fall);
        self.limit + Duration::from_micros(u64::try_from(more).unwrap_or(u64::MAX))
    }
}

/// One queue's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    pressure: Duration,
    /// The last look at a delay, and whether it was above the target, without a break until now.
    seen: Option<(Instant, bool)>,
    /// When somebody gave up last.
    gave_up: Option<Instant>,
    standing: bool,
}

impl Codel {
    /// Somebody is dispatched, and the oldest who waited did so for `delay`.
    pub fn dispatched(&mut self, now: Instant, delay: Duration, rule: &CodelRule) {
        let over = delay.saturating_sub(rule.target);
        let (seen, was_above) = self.seen.unwrap_or((now, false));
        let passed = now.saturating_duration_since(seen);
        let above = if was_above && !over.is_zero() {
            passed
        } else {
            // The oldest itself tells since when at least.
            passed.min(over)
        };
        let relief = passed.saturating_sub(above).saturating_mul(RELIEF);
        self.pressure = self
            .pressure
            .saturating_add(above)
            .saturating_sub(relief)
            .min(rule.interval.saturating_add(rule.interval / FALL));
        self.seen = Some((now, !over.is_zero()));
        let costs = self
            .gave_up
            .is_some_and(|at| now.saturating_duration_since(at) <= rule.interval);
        self.standing = costs && self.pressure >= rule.interval;
    }

    /// Somebody left, waited in vain, was refused at the door, or is let go.
    pub fn gave_up(&mut self, now: Instant) {
        self.gave_up = Some(now);
    }

    /// The queue is empty: whoever comes next has no delay.
    pub fn emptied(&mut self) {
        if let Some((_, above)) = &mut self.seen {
            *above = false;
        }
    }

    /// Whether the queue stands.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.standing
    }

    /// Whether the queue stands, and somebody who has waited so long is to be let go.
    #[must_use]
    pub fn lets_go(&self, delay: Duration, rule: &CodelRule) -> bool {
        self.standing && delay > rule.under(self.pressure)
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
    fn states(delays: impl IntoIterator<Item = u32>, some_give_up: bool) -> Vec<Codel> {
        let (rule, start) = (rule(50, 80, 1000), Instant::now());
        let mut codel = Codel::default();
        let at = (0_u32..).zip(delays);
        at.map(|(at, delay)| {
            if some_give_up {
                codel.gave_up(start + at * MILLI);
            }
            codel.dispatched(start + at * MILLI, delay * MILLI, &rule);
            codel
        })
        .collect()
    }

    #[test]
    fn bursts_are_no_standing_queue() {
        // Delays grow to 149 ms and are gone for as long, for a minute on end.
        let bursts = (0..60_000).map(|at| if at / 150 % 2 == 0 { at % 150 } else { 0 });
        let states = states(bursts, true);
        assert_eq!(states.iter().position(Codel::is_standing), None);
    }

    #[test]
    fn a_standing_queue_is_known_after_an_interval_and_outlasts_a_moment_without_delay() {
        let delays = (0..3000).map(|at| if at < 2600 { 6 } else { 5 });
        let states = states(delays, true);
        assert_eq!(states.iter().position(Codel::is_standing), Some(2000));
        assert_eq!(states.iter().rposition(Codel::is_standing), Some(2724));
    }

    #[test]
    fn a_queue_in_which_nobody_gives_up_does_not_stand() {
        let states = states((0..10_000).map(|_| 900), false);
        assert_eq!(states.iter().position(Codel::is_standing), None);
    }

    /// The delay in ms from which somebody is let go.
    fn limit(codel: &Codel) -> Option<u32> {
        let rule = rule(50, 80, 1000);
        (0..2000).find(|delay| codel.lets_go(*delay * MILLI, &rule))
    }

    #[test]
    fn the_limit_falls_while_the_queue_stands() {
        let states = states((0..4000).map(|_| 60), true);
        let limits = [1999, 2000, 2250, 2500, 3999].map(|at| limit(&states[at]));
        let want = [None, Some(1001), Some(526), Some(51), Some(51)];
        assert_eq!(limits, want, "at last a service time");
    }

    proptest! {
        #[test]
        fn target_and_interval_stay_in_their_ranges(
            p50 in 0_u32..1_000_000, p90 in 0_u32..1_000_000, max_wait in 0_u32..60_000,
        ) {
            let rule = rule(p50, p90, max_wait);
            prop_assert!(rule.target <= max_wait * MILLI / 4);
            prop_assert!(rule.target >= TARGET_MIN.min(max_wait * MILLI / 4));
            prop_assert!(rule.interval >= INTERVAL_MIN.max(2 * max_wait * MILLI));
            prop_assert!(rule.interval <= INTERVAL_MAX.max(2 * max_wait * MILLI));
            prop_assert!(rule.target <= rule.limit && rule.limit <= max_wait * MILLI / 2);
            prop_assert!(rule.limit >= (p50 * MILLI).min(max_wait * MILLI / 2));
        }
    }
}
