//! What a request is charged: `base + factor × Content-Length`, or what a trusted header says.
//!
//! The length alone is a poor witness (a small query may need much: the OOM reports of Scylla's
//! CQL server), so the base is what carries the default, and a body of unknown length costs what
//! the route's largest does.

use super::{Budget, Decimal};

/// The least that anything costs, in bytes: 1 KiB.
pub const COST_FLOOR_BYTES: u64 = 1 << 10;

/// What to do with a request that costs more than the whole budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    /// It is charged the whole budget, and so runs alone.
    #[default]
    Solo,
    /// It is refused: 413.
    Reject,
}

/// How long a request's body is, by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes; 0 if there is none.
    Known(u64),
    /// Chunked, or a stream without a length.
    Unknown,
}

/// How the requests of a route are charged. Bytes of the backend's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostRule {
    /// What every request costs, in bytes. Default: `memory_per_task`.
    pub base_bytes: u64,
    /// What each byte of its body costs on top, in bytes. Default: 0.
    pub factor: Decimal,
    /// What a request costs whose length is unknown, in bytes: the route's maximum. Default: the
    /// base.
    pub unknown_bytes: u64,
    /// What becomes of those that cost more than the budget. Default: they run alone.
    pub oversize: Oversize,
}

/// A cost above the budget, where that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized {
    /// What it would cost, in bytes.
    pub cost_bytes: u64,
    /// What there is, in bytes.
    pub budget_bytes: u64,
}

impl CostRule {
    /// Every request costs the same: so many bytes.
    #[must_use]
    pub const fn flat(bytes: u64) -> Self {
        Self {
            base_bytes: bytes,
            factor: Decimal::ZERO,
            unknown_bytes: bytes,
            oversize: Oversize::Solo,
        }
    }

    /// The cost in bytes, before any clamp to the budget. `hint` is what a trusted header says,
    /// and stands in place of the rest.
    #[must_use]
    pub fn bytes(&self, length: BodyLength, hint: Option<u64>) -> u64 {
        let cost = match (hint, length) {
            (Some(bytes), _) => bytes,
            (None, BodyLength::Unknown) => self.unknown_bytes.max(self.base_bytes),
            (None, BodyLength::Known(length)) => {
                self.base_bytes.saturating_add(self.factor.of(length))
            }
        };
        cost.max(COST_FLOOR_BYTES)
    }

    /// The cost in semaphore units of this budget, at least one and at most all of them.
    pub fn units(
        &self,
        budget: &Budget,
        length: BodyLength,
        hint: Option<u64>,
    ) -> Result<u32, Oversized> {
        let cost_bytes = self.bytes(length, hint);
        let budget_bytes = budget.bytes();
        if self.oversize == Oversize::Reject && cost_bytes > budget_bytes {
            return Err(Oversized {
                cost_bytes,
                budget_bytes,
            });
        }
        Ok(budget.units_for(cost_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn rule(factor: &str, oversize: Oversize) -> CostRule {
        CostRule {
            base_bytes: 4 * MIB,
            factor: factor.parse().expect("a decimal"),
            unknown_bytes: 64 * MIB,
            oversize,
        }
    }

    #[test]
    fn base_and_length_add_up_and_a_hint_replaces_them() {
        let rule = rule("2.5", Oversize::Solo);
        assert_eq!(rule.bytes(BodyLength::Known(0), None), 4 * MIB);
        assert_eq!(rule.bytes(BodyLength::Known(2 * MIB), None), 9 * MIB);
        assert_eq!(rule.bytes(BodyLength::Unknown, None), 64 * MIB);
        assert_eq!(rule.bytes(BodyLength::Unknown, Some(MIB)), MIB);
        assert_eq!(rule.bytes(BodyLength::Known(9), Some(0)), COST_FLOOR_BYTES);
        assert_eq!(rule.bytes(BodyLength::Known(u64::MAX), None), u64::MAX);
    }

    #[test]
    fn what_is_larger_than_the_budget_runs_alone_or_is_refused() {
        let budget = Budget::new(100 * MIB, 10 * MIB, "0.8".parse().expect("a decimal"))
            .expect("eight permits");
        let length = BodyLength::Known(100 * MIB);
        let solo = rule("1", Oversize::Solo).units(&budget, length, None);
        assert_eq!(solo, Ok(budget.limit_units()));
        assert_eq!(
            rule("1", Oversize::Reject).units(&budget, length, None),
            Err(Oversized {
                cost_bytes: 104 * MIB,
                budget_bytes: 80 * MIB
            })
        );
        let exactly = BodyLength::Known(76 * MIB);
        assert_eq!(
            rule("1", Oversize::Reject).units(&budget, exactly, None),
            Ok(budget.limit_units())
        );
    }

    proptest! {
        /// More body never costs less, and every cost is a charge that the semaphore can give.
        #[test]
        fn costs_grow_with_the_body_and_stay_in_range(
            base in 0_u64..1 << 40, lengths in (any::<u64>(), any::<u64>()), percent in 0_u64..1000,
        ) {
            let factor = format!("{}.{:02}", percent / 100, percent % 100);
            let rule = CostRule { base_bytes: base, ..rule(&factor, Oversize::Solo) };
            let budget = Budget::of_permits(7).expect("seven");
            let (less, more) = (lengths.0.min(lengths.1), lengths.0.max(lengths.1));
            let cost = |length| rule.bytes(BodyLength::Known(length), None);
            prop_assert!(cost(less) <= cost(more));
            prop_assert!(cost(less) >= COST_FLOOR_BYTES);
            let units = rule.units(&budget, BodyLength::Known(more), None).expect("solo");
            prop_assert!((1..=budget.limit_units()).contains(&units));
        }
    }
}
