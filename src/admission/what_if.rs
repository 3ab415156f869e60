//! Which limit would have been enough: the load of the last minutes against a ladder of limits.
//!
//! Each rung is a virtual queue of work, in unit-microseconds, that drains as fast as its limit
//! allows (Lindley's recursion for a fluid). A request whose wait there would be longer than it
//! tolerates is one that this limit would have refused. **The answer is the lowest rung that
//! refused nobody for five minutes.** The rungs are a factor of `2^¼` apart, from a quarter to
//! sixteen times the limit, so the answer is right to a fifth; how far a fluid is from whole
//! requests the simulator shows.

use std::time::{Duration, Instant};

use super::micros;

/// How long a refusal counts.
const WINDOW: Duration = Duration::from_secs(300);
/// `2^(0/4)`, `2^(1/4)`, …, in thousandths.
const STEPS: [u64; 4] = [1000, 1189, 1414, 1682];
/// Factors of two, from a quarter to sixteen.
const OCTAVES: usize = 6;
const RUNGS: usize = OCTAVES * STEPS.len() + 1;

#[derive(Clone, Copy, Debug)]
struct Rung {
    limit: u64,
    /// Unit-microseconds that wait or run.
    work: u64,
    refused: Option<Instant>,
}

/// A ladder of limits and what each would have done.
#[derive(Clone, Debug)]
pub struct WhatIf {
    rungs: [Rung; RUNGS],
    at: Instant,
}

impl WhatIf {
    /// Limits round this one, in units.
    #[must_use]
    pub fn new(limit_units: u32, now: Instant) -> Self {
        let rung = |at: usize| {
            let thousandths = STEPS[at % STEPS.len()] << (at / STEPS.len());
            Rung {
                limit: (u64::from(limit_units) * thousandths / 4000).max(1),
                work: 0,
                refused: None,
            }
        };
        Self {
            rungs: std::array::from_fn(rung),
            at: now,
        }
    }

    /// A request has ended that cost so many units for so long, and would have tolerated such a
    /// wait. That it counts when it ends, and not when it came, shifts the load but does not change
    /// it.
    pub fn observe(&mut self, now: Instant, units: u32, took: Duration, tolerates: Duration) {
        let passed = micros(now.saturating_duration_since(self.at));
        self.at = self.at.max(now);
        let (work, tolerates) = (
            u64::from(units).saturating_mul(micros(took)),
            micros(tolerates),
        );
        for rung in &mut self.rungs {
            rung.work = rung.work.saturating_sub(rung.limit.saturating_mul(passed));
            if u64::from(units) > rung.limit || rung.work / rung.limit > tolerates {
                rung.refused = Some(now);
            } else {
                rung.work = rung.work.saturating_add(work);
            }
        }
    }

    /// The lowest limit of the ladder, in units, that refused nobody in the last five minutes;
    /// `None` if sixteen times the limit would not have been enough.
    #[must_use]
    pub fn enough(&self, now: Instant) -> Option<u64> {
        let lately = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        let enough = |rung: &&Rung| !rung.refused.is_some_and(lately);
        self.rungs.iter().find(enough).map(|rung| rung.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// So many permits' worth of work per second, in requests of 100 ms, for a minute.
    fn after_a_minute_of(permits: u32) -> (WhatIf, Instant) {
        let start = Instant::now();
        let mut what_if = WhatIf::new(16 * 1024, start);
        let gap = 100 * MILLI / permits;
        let mut now = start;
        while now < start + Duration::from_secs(60) {
            now += gap;
            what_if.observe(now, 1024, 100 * MILLI, 1000 * MILLI);
        }
        (what_if, now)
    }

    #[test]
    fn the_limit_that_is_enough_is_that_of_little_s_law() {
        for permits in [5, 16, 40, 200] {
            let (what_if, now) = after_a_minute_of(permits);
            let enough = what_if.enough(now).expect("within sixteen times");
            let exact = u64::from(permits) * 1024;
            // A rung lower may refuse so little in a minute that its queue has not filled yet.
            assert!(
                enough * 100 >= exact * 95 && enough * 80 <= exact * 100,
                "{enough} for {exact}"
            );
        }
    }

    #[test]
    fn what_is_too_much_for_the_ladder_is_said_and_forgotten() {
        let (what_if, now) = after_a_minute_of(400);
        assert_eq!(what_if.enough(now), None);
        assert_eq!(what_if.enough(now + WINDOW), Some(4 * 1024));
    }

    #[test]
    fn one_large_request_needs_its_own_size() {
        let now = Instant::now();
        let mut what_if = WhatIf::new(1024, now);
        what_if.observe(now, 3000, MILLI, MILLI);
        assert!(
            what_if
                .enough(now)
                .is_some_and(|units| (3000..3700).contains(&units))
        );
    }
}
