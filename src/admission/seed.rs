//! Chance, when a decision needs it: from a seed, so that a run can be had again.

/// A stream of numbers from a seed (`SplitMix64`: Steele, Lea and Flood 2014). For spreading
/// decisions, not for secrets.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The stream that belongs to this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, of all that a `u64` holds.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// The next number in `0..bound`; 0 if there is none. Biased by less than `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(bound);
        // The upper half of the product always fits.
        u64::try_from(wide >> 64).unwrap_or(u64::MAX)
    }
}

/// Spreads every bit of `word` over all of them: equal for equal words, and one to one.
pub(super) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
