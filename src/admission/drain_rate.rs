//! How fast the queue drains: units of permits that come back per second while somebody waits.
//!
//! Measured only while somebody waits: of a backend that is not busy, what comes back is what is
//! sent, and says nothing of what it could do. The measure is a sliding sum over eight slots that
//! together span `max(1 s, 2 × S50)` of busy time, so a stall shows at once and an old truth is
//! gone after one span. While there is no measure, Little's law stands in: `limit ÷ S50`.

use std::time::{Duration, Instant};

use super::micros;

const SLOTS: usize = 8;
/// The shortest span that the measure covers.
const SPAN_MIN: Duration = Duration::from_secs(1);
/// Time is counted in no smaller parts, but where a busy time ends.
const GRAIN: Duration = Duration::from_millis(1);
/// No wait is predicted to be longer than this.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    units: u64,
    busy_micros: u64,
}

/// What the drain rate is measured by.
#[derive(Clone, Debug)]
pub struct DrainRate {
    slots: [Slot; SLOTS],
    at: usize,
    span: Duration,
    /// Since when somebody has been waiting, as far as it is not counted yet.
    busy_since: Option<Instant>,
}

impl Default for DrainRate {
    fn default() -> Self {
        Self {
            slots: [Slot::default(); SLOTS],
            at: 0,
            span: SPAN_MIN,
            busy_since: None,
        }
    }
}

impl DrainRate {
    /// Adapts the span to the measured median of the service time: `max(1 s, 2 × S50)`.
    pub fn scale(&mut self, p50: Duration) {
        self.span = (2 * p50).max(SPAN_MIN);
    }

    /// Somebody waits now.
    pub fn busy(&mut self, now: Instant) {
        match self.busy_since {
            None => self.busy_since = Some(now),
            Some(since) if now.saturating_duration_since(since) >= GRAIN => self.pass(now, since),
            Some(_) => {}
        }
    }

    /// Nobody waits any more.
    pub fn idle(&mut self, now: Instant) {
        if let Some(since) = self.busy_since.take() {
            self.pass(now, since);
            self.busy_since = None;
        }
    }

    /// Units came back.
    pub fn released(&mut self, now: Instant, units: u32) {
        if let Some(since) = self.busy_since {
            if now.saturating_duration_since(since) >= GRAIN {
                self.pass(now, since);
            }
            self.slots[self.at].units += u64::from(units);
        }
    }

    /// Units per second. Measured once a quarter of the span has been observed, otherwise
    /// `limit ÷ S50`; `None` while neither is known.
    #[must_use]
    pub fn per_second(&self, limit: u32, p50: Option<Duration>) -> Option<u64> {
        let busy: u64 = self.slots.iter().map(|slot| slot.busy_micros).sum();
        let units: u64 = self.slots.iter().map(|slot| slot.units).sum();
        if busy >= micros(self.span) / 4 {
            return Some(units.saturating_mul(1_000_000) / busy.max(1));
        }
        let p50 = micros(p50?).max(1);
        Some(u64::from(limit) * 1_000_000 / p50)
    }

    /// How long `units` take to come back at this rate; at most an hour.
    #[must_use]
    pub fn wait(units: u64, per_second: u64) -> Duration {
        let micros = u128::from(units) * 1_000_000 / u128::from(per_second.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).min(LONGEST)
    }

    /// Counts the time since `since` as busy, slot by slot.
    fn pass(&mut self, now: Instant, since: Instant) {
        let room = micros(self.span) / SLOTS as u64;
        let mut passed = micros(now.saturating_duration_since(since));
        if passed == 0 {
            return;
        }
        self.busy_since = Some(now);
        // Whatever the gap, nothing but it is left after as many slots as there are.
        passed = passed.min(room * SLOTS as u64);
        while passed > 0 {
            let part = passed.min(room.saturating_sub(self.slots[self.at].busy_micros));
            if part == 0 {
                self.at = (self.at + 1) % SLOTS;
                self.slots[self.at] = Slot::default();
            }
            self.slots[self.at].busy_micros += part;
            passed -= part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn little_s_law_until_there_is_a_measure() {
        let drain = DrainRate::default();
        assert_eq!(drain.per_second(4096, None), None);
        assert_eq!(
            drain.per_second(4096, Some(50 * MILLI)),
            Some(4096 * 20),
            "four permits, twenty times a second"
        );
    }

    #[test]
    fn a_stall_shows_and_an_idle_time_does_not() {
        let (mut drain, mut now) = (DrainRate::default(), Instant::now());
        let rate = |drain: &DrainRate| drain.per_second(1, None).unwrap_or_default();
        for _ in 0..200 {
            drain.busy(now);
            now += 10 * MILLI;
            drain.released(now, 100);
        }
        assert!(rate(&drain).abs_diff(10_000) < 300, "{}", rate(&drain));
        drain.idle(now);
        now += Duration::from_secs(100);
        drain.busy(now);
        assert!(rate(&drain).abs_diff(10_000) < 300, "idle time is no stall");
        now += 2 * SPAN_MIN;
        drain.busy(now);
        assert_eq!(rate(&drain), 0, "a stall of a whole span");
        assert_eq!(DrainRate::wait(5, 0), Duration::from_secs(5));
        assert_eq!(DrainRate::wait(u64::MAX, 1), LONGEST);
    }

    proptest! {
        /// Whatever the steps, a steady rate is found again, to a slot's worth.
        #[test]
        fn a_steady_rate_is_found(
            step in 1_u64..400, units in 1_u32..5000, p50 in 0_u64..3000,
        ) {
            let (mut drain, mut now) = (DrainRate::default(), Instant::now());
            let span = Duration::from_millis(2 * p50).max(SPAN_MIN);
            drain.scale(Duration::from_millis(p50));
            let start = now;
            drain.busy(now);
            while now < start + 3 * span {
                now += Duration::from_millis(step);
                drain.released(now, units);
            }
            let found = drain.per_second(1, None).expect("three spans");
            let exact = u64::from(units) * 1000 / step;
            let slots = micros(span) / 1000 / step;
            prop_assert!(
                found.abs_diff(exact) <= exact / 5 + 2 * exact / slots.max(1) + 1,
                "{found} for {exact}"
            );
        }
    }
}
