//! Who sends: open loops, closed loops, bursts, and whoever tries again.

use super::chance::Chance;
use super::world::Template;

/// When requests come.
pub(crate) enum Arrivals {
    /// An open loop: so many per second, by the second, whatever becomes of them.
    Poisson(Box<dyn Fn(f64) -> f64>),
    /// The same on average, but so many at once.
    Bursts { per_second: f64, size: u32 },
    /// A closed loop: each user sends the next when the last is over and a while has passed.
    Closed { users: u32, think: f64 },
}

impl Arrivals {
    pub(crate) fn steady(per_second: f64) -> Self {
        Self::Poisson(Box::new(move |_| per_second))
    }

    /// Seconds until the next one.
    pub(crate) fn gap(&self, now: f64, chance: &mut Chance) -> Option<f64> {
        match self {
            Self::Poisson(rate) => {
                // The rate may change while nobody comes: look again every tenth of a second.
                let mut gap = 0.0;
                loop {
                    let rate = rate(now + gap);
                    let next = if rate > 0.0 {
                        chance.exponential(1.0 / rate)
                    } else {
                        f64::INFINITY
                    };
                    if next < 0.1 {
                        return Some(gap + next);
                    }
                    gap += 0.1;
                    if gap > 3600.0 {
                        return None;
                    }
                }
            }
            Self::Bursts { per_second, size } => {
                Some(chance.exponential(f64::from(*size) / per_second))
            }
            Self::Closed { .. } => None,
        }
    }
}

/// What is sent at a second.
pub(crate) type Draw = Box<dyn Fn(f64, &mut Chance) -> Template>;

/// One kind of client.
pub(crate) struct Source {
    pub(crate) arrivals: Arrivals,
    pub(crate) template: Draw,
    /// How often it tries in all.
    pub(crate) tries: u32,
}
