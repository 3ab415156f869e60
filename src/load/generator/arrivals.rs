//! When requests arrive.

use std::time::Duration;

use super::plan::{Arrivals, Bound, Plan};

/// The offsets of the arrivals from the start of the run, in order.
pub(super) struct Schedule {
    random: SplitMix64,
    arrivals: Arrivals,
    bound: Bound,
    rate_per_second: f64,
    at_seconds: f64,
    sent: u64,
}

impl Schedule {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            random: SplitMix64(plan.seed),
            arrivals: plan.arrivals,
            bound: plan.bound,
            rate_per_second: plan.rate_per_second.max(f64::MIN_POSITIVE),
            at_seconds: 0.0,
            sent: 0,
        }
    }

    fn gap_seconds(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Uniform => 1.0 / self.rate_per_second,
            Arrivals::Poisson => -self.random.unit().ln() / self.rate_per_second,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let at = Duration::try_from_secs_f64(self.at_seconds).unwrap_or(Duration::MAX);
        let within = match self.bound {
            Bound::Count(count) => self.sent < count,
            Bound::Duration(duration) => at < duration,
        };
        self.sent += 1;
        self.at_seconds += self.gap_seconds();
        within.then_some(at)
    }
}

/// Steele, Lea and Flood's splitmix64: ten lines instead of a dependency, and the same numbers for
/// a seed for ever, which crates of random numbers do not promise.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In (0, 1], so that its logarithm is finite.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(arrivals: Arrivals, bound: Bound, seed: u64) -> Vec<Duration> {
        let mut plan = Plan::new(([127, 0, 0, 1], 1).into(), 1_000.0, bound);
        plan.arrivals = arrivals;
        plan.seed = seed;
        Schedule::new(&plan).collect()
    }

    #[test]
    fn splitmix64_gives_the_numbers_of_its_reference() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        assert_eq!(random.next(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn uniform_arrivals_are_even_and_begin_at_once() {
        let offsets = offsets(Arrivals::Uniform, Bound::Count(5), 1);
        let micros: Vec<_> = offsets.iter().map(Duration::as_micros).collect();
        assert_eq!(micros, [0, 1_000, 2_000, 3_000, 4_000]);
    }

    #[test]
    fn a_duration_bounds_the_arrivals() {
        let uniform = offsets(
            Arrivals::Uniform,
            Bound::Duration(Duration::from_millis(100)),
            1,
        );
        assert!((100..=101).contains(&uniform.len()), "{}", uniform.len());
        assert!(offsets(Arrivals::Uniform, Bound::Duration(Duration::ZERO), 1).is_empty());
    }

    #[test]
    fn poisson_arrivals_depend_on_the_seed_alone_and_have_the_right_spread() {
        let count = 100_000;
        let offsets_of = |seed| offsets(Arrivals::Poisson, Bound::Count(count), seed);
        let one = offsets_of(1);
        assert_eq!(one, offsets_of(1));
        assert_ne!(one, offsets_of(2));

        let gaps: Vec<f64> = one
            .windows(2)
            .map(|pair| (pair[1].as_secs_f64() - pair[0].as_secs_f64()) * 1_000.0)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential distribution has its mean as its standard deviation.
        assert!((mean - 1.0).abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.05, "variance {variance}");
    }
}
