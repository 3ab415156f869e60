//! `CoDel` for requests: tells a burst, which a queue is for, from a standing queue, which is only
//! delay.
//!
//! The rule is that of folly's `Codel` (Nichols and Jacobson, "Controlling Queue Delay", 2012,
//! made fit for requests): over each *interval* the shortest delay is kept; if even that was above
//! the *target*, the queue stands, and until an interval says otherwise whoever has waited more
//! than twice the target is let go. Folly's 5 ms and 100 ms suit services of a few milliseconds.
//! Here both scale with the measured service time:
//!
//! | | formula | range |
//! |---|---|---|
//! | target | `0.1 × S50` | 5 ms to `max_wait ÷ 4` |
//! | interval | `2 × S90` | 100 ms to 30 s |
//!
//! Two things differ from folly. The delay that counts is that of the **oldest** who waits, not of
//! whoever is dispatched, so the rule holds when the newest goes first, too. And **nobody is let go
//! but in favour of another who waits**: a permit is never left idle for the sake of a delay that
//! is already suffered.

use std::time::{Duration, Instant};

use super::service_time::Quantiles;

const TARGET_MIN: Duration = Duration::from_millis(5);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Target and interval, as scaled to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodelRule {
    /// The delay that is tolerated for longer than an interval.
    pub target: Duration,
    /// Over how long the shortest delay is taken.
    pub interval: Duration,
}

impl CodelRule {
    /// Scaled to measured service times: `target = clamp(0.1 × S50, 5 ms, max_wait ÷ 4)`,
    /// `interval = clamp(2 × S90, 100 ms, 30 s)`.
    #[must_use]
    pub fn scaled(service: &Quantiles, max_wait: Duration) -> Self {
        Self {
            // Not `clamp`: with a very short `max_wait` its quarter is below 5 ms, and wins.
            target: (service.p50 / 10).max(TARGET_MIN).min(max_wait / 4),
            interval: (2 * service.p90).clamp(INTERVAL_MIN, INTERVAL_MAX),
        }
    }

    /// The delay above which a standing queue lets go: twice the target.
    #[must_use]
    pub fn slough(&self) -> Duration {
        2 * self.target
    }
}

/// One queue's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    ends: Option<Instant>,
    shortest: Duration,
    standing: bool,
}

impl Codel {
    /// Somebody is dispatched, and the oldest who waited did so for `delay`.
    pub fn dispatched(&mut self, now: Instant, delay: Duration, rule: CodelRule) {
        match self.ends {
            Some(ends) if now < ends => self.shortest = self.shortest.min(delay),
            ends => {
                self.standing = ends.is_some() && self.shortest > rule.target;
                self.ends = Some(now + rule.interval);
                self.shortest = delay;
            }
        }
    }

    /// The queue is empty: whoever comes next has no delay.
    pub fn emptied(&mut self) {
        self.shortest = Duration::ZERO;
    }

    /// Whether the queue did not get shorter than the target for a whole interval.
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

    #[test]
    fn a_burst_is_no_standing_queue() {
        let rule = rule(50, 80, 1000);
        let (mut codel, start) = (Codel::default(), Instant::now());
        // Delays shrink to nothing within the interval, for a minute on end.
        for at in 0..60_000 {
            codel.dispatched(start + at * MILLI, (at % 100) * MILLI, rule);
            assert!(!codel.is_standing(), "at {at} ms");
        }
    }

    #[test]
    fn a_standing_queue_is_known_after_an_interval_and_forgotten_after_another() {
        let rule = rule(50, 80, 1000);
        let (mut codel, start) = (Codel::default(), Instant::now());
        for at in 0..=160 {
            codel.dispatched(start + at * MILLI, 6 * MILLI, rule);
            assert_eq!(codel.is_standing(), at >= 160, "at {at} ms");
        }
        codel.emptied();
        for at in 161..=320 {
            assert!(codel.is_standing(), "until the interval ends");
            codel.dispatched(start + at * MILLI, 6 * MILLI, rule);
        }
        assert!(!codel.is_standing());
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
        }
    }
}
