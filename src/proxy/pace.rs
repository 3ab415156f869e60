//! How fast the backend works, for telling refused clients when to come back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The share of a new sample in the mean.
const WEIGHT_SHIFT: u32 = 4;

/// The longest that a client is told to stay away.
const MAX_SECONDS: u64 = 30;

/// A moving mean of service times.
#[derive(Debug, Default)]
pub(super) struct Pace {
    mean_micros: AtomicU64,
    /// Moves on with each jitter drawn.
    seed: AtomicU64,
}

impl Pace {
    /// A request was served in this time. Racing samples may be lost; a mean does not mind.
    pub(super) fn note(&self, held: Duration) {
        let sample = u64::try_from(held.as_micros()).unwrap_or(u64::MAX >> 8);
        let mean = self.mean_micros.load(Ordering::Relaxed);
        let next = if mean == 0 {
            sample
        } else {
            mean - (mean >> WEIGHT_SHIFT) + (sample >> WEIGHT_SHIFT)
        };
        self.mean_micros.store(next, Ordering::Relaxed);
    }

    /// How long until what is in flight and queued has drained: requests ahead, divided by how
    /// many run at once, times the mean service time.
    pub(super) fn predicted_wait(&self, ahead: u32, permits: u32) -> Duration {
        let mean = self.mean_micros.load(Ordering::Relaxed);
        Duration::from_micros(mean.saturating_mul(u64::from(ahead)) / u64::from(permits.max(1)))
    }

    /// The wait as `Retry-After` seconds: clamped to 1 to 30, then spread by a factor of 0.5 to
    /// 1.5, so that clients refused together do not come back together.
    pub(super) fn jittered_seconds(&self, wait: Duration) -> u64 {
        let millis = u64::try_from(wait.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1000, MAX_SECONDS * 1000);
        self.spread(millis).div_ceil(1000)
    }

    /// A time spread by a tenth either way, so that what began together does not end together.
    pub(super) fn jittered(&self, time: Duration) -> Duration {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 12);
        let tenth = millis / 10;
        Duration::from_millis(millis - tenth + self.draw() % (2 * tenth + 1))
    }

    fn spread(&self, millis: u64) -> u64 {
        millis.saturating_mul(512 + self.draw() % 1024) / 1024
    }

    /// Splitmix64 (Steele, Lea, Flood 2014): good enough for jitter, and no lock.
    fn draw(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let seed = self.seed.fetch_add(GAMMA, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_stays_in_range_and_spreads() {
        let pace = Pace::default();
        let drawn: Vec<u64> = (0..200)
            .map(|_| pace.jittered_seconds(Duration::from_secs(10)))
            .collect();
        assert!(drawn.iter().all(|seconds| (5..=15).contains(seconds)));
        assert!(drawn.iter().any(|seconds| *seconds < 8));
        assert!(drawn.iter().any(|seconds| *seconds > 12));
        let most = pace.jittered_seconds(Duration::from_secs(10_000));
        assert!((15..=45).contains(&most));
        let least = pace.jittered_seconds(Duration::ZERO);
        assert!((1..=2).contains(&least));
    }

    #[test]
    fn an_age_is_spread_by_a_tenth_either_way() {
        let pace = Pace::default();
        let drawn: Vec<u128> = (0..200)
            .map(|_| pace.jittered(Duration::from_secs(10)).as_millis())
            .collect();
        assert!(drawn.iter().all(|millis| (9000..=11_000).contains(millis)));
        assert!(drawn.iter().any(|millis| *millis < 9200));
        assert!(drawn.iter().any(|millis| *millis > 10_800));
        assert_eq!(pace.jittered(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn the_predicted_wait_is_what_is_ahead_at_the_measured_pace() {
        let pace = Pace::default();
        assert_eq!(pace.predicted_wait(100, 10), Duration::ZERO);
        pace.note(Duration::from_millis(200));
        assert_eq!(pace.predicted_wait(100, 10), Duration::from_secs(2));
        for _ in 0..200 {
            pace.note(Duration::from_millis(100));
        }
        let wait = pace.predicted_wait(100, 10).as_millis();
        assert!((990..=1010).contains(&wait), "{wait}");
    }
}
