//! Rejection that begins before the wall: by importance as the wait grows, and by chance as the
//! queue fills.
//!
//! * **Importance**, 0 (first to go) to 100: with `x` the overload, a request is refused if its
//!   importance is below `100 × x³` (the cubic cut-off of Netflix's gateway). `x` is 0 while the
//!   predicted wait is at most half of `max_wait`, and 1 where it is all of it: at half the way
//!   the cut-off is 12.5, at nine tenths 73.
//! * **Length**: from a first threshold of queued cost to a second, the share of arrivals that are
//!   refused grows from none to all (failsafe-go's rule: from two to three times the limit).
//!
//! Everything is in thousandths, of integers.

use std::time::Duration;

use super::micros;
use super::seed::Seed;

/// The most that importance can be.
pub const IMPORTANCE_MAX: u8 = 100;

/// How overloaded a queue is, from 0 to 1000: `clamp((predicted ÷ max_wait − ½) ÷ ½, 0, 1)`.
#[must_use]
pub(super) fn overload(predicted: Duration, max_wait: Duration) -> u16 {
    let share = u128::from(micros(predicted)) * 1000 / u128::from(micros(max_wait).max(1));
    let share = u16::try_from(share.min(1000)).expect("at most a thousand");
    share.saturating_sub(500) * 2
}

/// Whether a request of this importance is refused at this overload (0 to 1000).
#[must_use]
pub(super) fn is_cut(importance: u8, overload: u16) -> bool {
    let overload = u64::from(overload.min(1000));
    u64::from(importance) * 1_000_000_000 < 100 * overload.pow(3)
}

/// Between which lengths of the queue arrivals are refused by chance, in thousandths of the
/// limit's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// Up to here nobody is. Default when on: 2000.
    pub from_thousandths: u32,
    /// From here on everybody is. Default when on: 3000.
    pub to_thousandths: u32,
}

impl Default for Ramp {
    /// From two to three times the limit.
    fn default() -> Self {
        Self {
            from_thousandths: 2000,
            to_thousandths: 3000,
        }
    }
}

impl Ramp {
    /// The share of arrivals to refuse, in thousandths, when so many units are queued behind a
    /// limit of so many.
    #[must_use]
    pub fn share(&self, queued: u64, limit: u64) -> u64 {
        let filled = queued.saturating_mul(1000) / limit.max(1);
        let from = u64::from(self.from_thousandths);
        let width = u64::from(self.to_thousandths).saturating_sub(from);
        if filled < from {
            0
        } else {
            ((filled - from) * 1000)
                .checked_div(width)
                .unwrap_or(1000)
                .min(1000)
        }
    }

    /// Decides for one arrival.
    pub fn is_refused(&self, queued: u64, limit: u64, chance: &mut Seed) -> bool {
        match self.share(queued, limit) {
            0 => false,
            share => chance.below(1000) < share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn overload_at(percent: u32) -> u16 {
        overload(WAIT * percent / 100, WAIT)
    }

    #[test]
    fn the_cut_off_is_cubic() {
        assert_eq!(
            [0, 50, 75, 100, 900].map(overload_at),
            [0, 0, 500, 1000, 1000]
        );
        // The least importance that is let in.
        let least = |percent| (0..=100).find(|i| !is_cut(*i, overload_at(percent)));
        assert_eq!(least(50), Some(0));
        assert_eq!(least(75), Some(13));
        assert_eq!(least(95), Some(73));
        assert_eq!(least(100), Some(100), "the most important are never cut");
    }

    #[test]
    fn the_ramp_goes_from_none_to_all() {
        let ramp = Ramp::default();
        let shares = [0, 1999, 2000, 2500, 3000, 9000].map(|queued| ramp.share(queued, 1000));
        assert_eq!(shares, [0, 0, 0, 500, 1000, 1000]);
        let step = Ramp {
            from_thousandths: 2000,
            to_thousandths: 2000,
        };
        assert_eq!(
            [1999, 2000].map(|queued| step.share(queued, 1000)),
            [0, 1000]
        );
        let mut chance = Seed::new(1);
        let refused = (0..10_000)
            .filter(|_| ramp.is_refused(2250, 1000, &mut chance))
            .count();
        assert!(
            (2300..2700).contains(&refused),
            "{refused} of 10,000 at a quarter"
        );
    }

    proptest! {
        /// More pressure never lets in what less refused, nor cuts the important before others.
        #[test]
        fn pressure_is_monotone(
            waits in (0_u64..1 << 40, 0_u64..1 << 40), max_wait in 0_u64..1 << 36,
            importance in (0_u8..=100, 0_u8..=100), queued in (any::<u64>(), any::<u64>()),
        ) {
            let at = |wait| overload(Duration::from_micros(wait), Duration::from_micros(max_wait));
            let (less, more) = (at(waits.0.min(waits.1)), at(waits.0.max(waits.1)));
            let (low, high) = (importance.0.min(importance.1), importance.0.max(importance.1));
            prop_assert!(less <= more && more <= 1000);
            prop_assert!(is_cut(low, more) || !is_cut(low, less));
            prop_assert!(is_cut(low, more) || !is_cut(high, more));
            let share = |queued| Ramp::default().share(queued, 4096);
            prop_assert!(share(queued.0.min(queued.1)) <= share(queued.0.max(queued.1)));
        }
    }
}
