//! `CoDel` for requests: tells a burst, which a queue is for, from a standing queue, which is only
//! delay.
//!
//! After folly's `Codel` and Facebook's "Fail at Scale" (Nichols and Jacobson, "Controlling Queue
//! Delay", 2012, made fit for requests): a queue **stands** when its delay has been above the
//! *target* for a whole *interval*; while it stands, whoever has waited longer than the *limit* is
//! let go. The usual 5 ms, 100 ms and twice the target suit services of a few milliseconds; here
//! all three scale with the measured service time:
//!
//! | | formula | range |
//! |---|---|---|
//! | target | `0.1 × S50` | 5 ms to `max_wait ÷ 4` |
//! | interval | `2 × S90` | 100 ms to 30 s |
//! | limit | `max(2 × target, S50)` | to `max_wait ÷ 2` |
//!
//! Four things differ from folly, each because the simulator said so:
//!
//! * **The limit is a service time**, not twice the target: at nine tenths of the capacity the
//!   latter refuses twice as many for nothing, and the p99 is within 5 ms of the same.
//! * **A relapse counts at once.** A queue that stood less than an interval ago stands again as
//!   soon as a delay is above the limit. With a fresh interval each time, delays swing: at twice
//!   the capacity the p99 wait was 90 ms where it is 10 now.
//! * **The delay is that of the oldest** who waits, not of whoever is dispatched, so the rule holds
//!   when the newest goes first, too.
//! * **Nobody is let go but in favour of another who waits**: a permit is never left idle for the
//!   sake of a delay that is already suffered.

use std::time::{Duration, Instant};

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
    /// The delay above which a standing queue lets go.
    pub limit: Duration,
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
        }
    }
}

/// One queue's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// Since when every delay was above the target.
    above_since: Option<Instant>,
    standing: bool,
    /// When it last stood.
    stood: Option<Instant>,
}

impl Codel {
    /// Somebody is dispatched, and the oldest who waited did so for `delay`.
    pub fn dispatched(&mut self, now: Instant, delay: Duration, rule: CodelRule) {
        if self.standing {
            self.stood = Some(now);
        }
        if delay <= rule.target {
            self.emptied();
            return;
        }
        let lately = |since: Instant| now.saturating_duration_since(since) < rule.interval;
        let since = *self.above_since.get_or_insert(now);
        let relapse = delay > rule.limit && self.stood.is_some_and(lately);
        self.standing = self.standing || relapse || !lately(since);
    }

    /// The queue is empty: whoever comes next has no delay.
    pub fn emptied(&mut self) {
        self.above_since = None;
        self.standing = false;
    }

    /// Whether the queue stands.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.standing
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

    /// Feeds a delay each millisecond, and says when the queue stood.
    fn stood(delays: impl IntoIterator<Item = u32>) -> Vec<bool> {
        let (rule, start) = (rule(50, 80, 1000), Instant::now());
        let mut codel = Codel::default();
        let at = (0_u32..).zip(delays);
        at.map(|(at, delay)| {
            codel.dispatched(start + at * MILLI, delay * MILLI, rule);
            codel.is_standing()
        })
        .collect()
    }

    #[test]
    fn a_burst_is_no_standing_queue() {
        // Delays shrink to nothing within the interval of 160 ms, for a minute on end.
        let stood = stood((0..60_000).map(|at| at % 150));
        assert_eq!(stood.iter().position(|stands| *stands), None);
    }

    #[test]
    fn a_standing_queue_is_known_after_an_interval_and_is_over_with_its_delay() {
        let stood = stood((0..300).map(|at| if at < 200 { 6 } else { 5 }));
        assert_eq!(stood.iter().position(|stands| *stands), Some(160));
        assert_eq!(stood.iter().rposition(|stands| *stands), Some(199));
    }

    #[test]
    fn a_relapse_counts_at_once_and_only_for_an_interval() {
        let relapse = |after: u32| {
            let delays = (0..200 + after).map(move |at| if at < 200 { 6 } else { 0 });
            *stood(delays.chain([60])).last().expect("some")
        };
        assert!(relapse(100));
        assert!(!relapse(170));
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
