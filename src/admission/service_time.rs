//! How long the backend takes: quantiles of measured service times, from which every other
//! policy takes its scale.
//!
//! A log-linear histogram as of `HdrHistogram`, small (1.1 KiB) and forgetful: eight buckets to each
//! power of two, so a quantile is right to ±6.25 %; all counts are halved as time goes on, so what
//! was measured long ago fades. Recording is O(1); the quantiles are worked out anew after sixteen
//! samples, but no more than twenty times a second.

use std::time::{Duration, Instant};

use super::micros;

/// Completions before a quantile is believed. Until then only hard bounds apply.
pub const COMPLETIONS_MIN: u64 = 50;

/// Buckets to each power of two.
const STEPS: usize = 8;
const STEP_BITS: u32 = STEPS.ilog2();
/// What takes longer counts as this: 2^32 µs, 71 minutes.
const LARGEST: u64 = (1 << 32) - 1;
const BUCKETS: usize = (32 - STEP_BITS as usize + 1) * STEPS;
/// What one sample adds, so that halving leaves something of it for a while.
const WEIGHT: u32 = 16;
/// Samples and time after which the quantiles are worked out anew, and samples that are enough by
/// themselves.
const REFRESH: (u32, Duration, u32) = (16, Duration::from_millis(50), 256);
/// Halved when there are as many samples as this, however fast they came.
const FULL: u32 = 4096 * WEIGHT;
/// Never halved below what quantiles need.
const THIN: u32 = 2 * 50 * WEIGHT;

/// The shortest and the longest time in which half of what is known fades.
const HALF_LIFE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// The longest that `max_wait = "auto"` and `cancel_grace = "auto"` come to.
const AUTO_MAX: Duration = Duration::from_secs(30);

/// Service times at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// A tenth of the requests took no longer.
    pub p10: Duration,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Nine tenths took no longer.
    pub p90: Duration,
}

impl Quantiles {
    /// `queue.max_wait = "auto"`: `clamp(2 × p50, 1 s, 30 s)`.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        (2 * self.p50).clamp(Duration::from_secs(1), AUTO_MAX)
    }

    /// `drain.cancel_grace = "auto"`: `clamp(p90 − elapsed, 0, 30 s)`. A backend does not drop its
    /// work when a client goes; its memory is free when the work would have ended.
    #[must_use]
    pub fn cancel_grace(&self, elapsed: Duration) -> Duration {
        self.p90.saturating_sub(elapsed).min(AUTO_MAX)
    }
}

/// The service times of one class.
#[derive(Clone, Debug, Default)]
pub struct ServiceTime {
    /// Nothing until the first sample: most classes of a long configuration see none.
    counts: Vec<u32>,
    weight: u32,
    completions: u64,
    halved: Option<Instant>,
    unseen: u32,
    worked_out: Option<Instant>,
    quantiles: Option<Quantiles>,
}

impl ServiceTime {
    /// Takes note of one request that held its permit for so long. Not for those that were
    /// cancelled or failed at once: they would make an ill backend look fast.
    pub fn record(&mut self, now: Instant, took: Duration) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        self.counts[bucket(micros(took))] += WEIGHT;
        self.weight += WEIGHT;
        self.completions += 1;
        self.unseen += 1;
        let halved = *self.halved.get_or_insert(now);
        if self.weight >= FULL
            || self.weight >= THIN && now.saturating_duration_since(halved) >= self.half_life()
        {
            self.halve();
            self.halved = Some(now);
        }
        let (few, time, many) = REFRESH;
        let worked_out = *self.worked_out.get_or_insert(now);
        let due = self.unseen >= few && now.saturating_duration_since(worked_out) >= time;
        if due || self.unseen >= many || self.completions == COMPLETIONS_MIN {
            self.unseen = 0;
            self.worked_out = Some(now);
            self.quantiles = self.work_out();
        }
    }

    /// The quantiles, from the fiftieth completion on.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        self.quantiles
    }

    fn half_life(&self) -> Duration {
        let p50 = self.quantiles.map_or(Duration::ZERO, |known| known.p50);
        (20 * p50).clamp(HALF_LIFE.0, HALF_LIFE.1)
    }

    fn halve(&mut self) {
        self.weight = 0;
        for count in &mut self.counts {
            *count /= 2;
            self.weight += *count;
        }
    }

    fn work_out(&self) -> Option<Quantiles> {
        if self.completions < COMPLETIONS_MIN {
            return None;
        }
        let ranks = [10, 50, 90].map(|percent| u64::from(self.weight) * percent / 100);
        let mut found = [Duration::ZERO; 3];
        let (mut below, mut next) = (0_u64, 0);
        for (at, count) in self.counts.iter().enumerate() {
            below += u64::from(*count);
            while next < ranks.len() && below > ranks[next] {
                found[next] = Duration::from_micros(middle(at));
                next += 1;
            }
        }
        let [p10, p50, p90] = found;
        Some(Quantiles { p10, p50, p90 })
    }
}

/// Values below eight have a bucket each; from there on, the bits behind the first say which.
fn bucket(value: u64) -> usize {
    let value = value.min(LARGEST);
    let exponent = value.max(1).ilog2().max(STEP_BITS) - STEP_BITS;
    let within = usize::try_from(value >> exponent).expect("less than sixteen");
    exponent as usize * STEPS + within
}

/// The middle of a bucket's values.
fn middle(bucket: usize) -> u64 {
    let exponent = (bucket / STEPS).saturating_sub(1);
    let lowest = ((bucket - exponent * STEPS) as u64) << exponent;
    lowest + (1 << exponent) / 2
}

#[cfg(test)]
mod tests;
