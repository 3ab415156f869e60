//! Random draws of a simulation: everything follows from one seed.

use weir::admission::Seed;

/// A source of draws.
pub(crate) struct Chance(Seed);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Seed::new(seed))
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of so many.
    pub(crate) fn pick(&mut self, many: u64) -> u64 {
        self.0.below(many)
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// How long the backend works on a request at full speed, with a given mean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Constant,
    Exponential,
    /// Log-normal with σ = 0.5: p99 is 2.8 times the mean.
    Usual,
    /// Bounded Pareto, α = 1.5, to a hundred times the least: p99 is 6 times the mean.
    HeavyTailed,
}

impl Service {
    pub(crate) fn draw(self, mean: f64, chance: &mut Chance) -> f64 {
        match self {
            Self::Constant => mean,
            Self::Exponential => chance.exponential(mean),
            Self::Usual => {
                let sigma = 0.5_f64;
                mean * (sigma * chance.normal() - sigma * sigma / 2.0).exp()
            }
            Self::HeavyTailed => {
                let (alpha, ratio) = (1.5_f64, 100.0_f64);
                let tail = ratio.powf(-alpha);
                let drawn = (1.0 - chance.unit() * (1.0 - tail)).powf(-1.0 / alpha);
                let average =
                    alpha / (alpha - 1.0) * (1.0 - ratio.powf(1.0 - alpha)) / (1.0 - tail);
                mean * drawn / average
            }
        }
    }
}
