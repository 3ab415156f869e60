//! What a request is charged, in bytes of the backend's memory: exact integers.

use crate::admission::{Budget, Decimal, UNITS_PER_TASK};

/// The least that anything is charged, in bytes, unless `memory_per_task` itself is less.
pub const COST_FLOOR_BYTES: u64 = 1 << 10;

/// What becomes of a request that costs more than the whole budget.
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

/// How the requests of a route are charged: `base + factor × length`, and no more than a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostRule {
    /// What every request costs, in bytes.
    pub base_bytes: u64,
    /// What each byte of its body costs on top, in bytes.
    pub factor: Decimal,
    /// The most that it costs, in bytes, and what a body of unknown length costs. The maximum
    /// binds lengths that are known, too: a client that claims a body of terabytes would else make
    /// everybody wait until it runs alone. At least the base.
    pub max_bytes: u64,
    /// What becomes of a cost above the budget.
    pub oversize: Oversize,
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSource {
    /// The rule's base, and what the length makes on top.
    Rule,
    /// The rule's maximum, which the sum is above.
    Capped,
    /// The rule's maximum, as the length is unknown.
    Unknown,
    /// A field, in place of the rule.
    Hint(super::FieldId),
}

/// A cost, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// In bytes, not clamped to the budget: that may change while the request waits.
    pub bytes: u64,
    /// Where it comes from.
    pub source: CostSource,
    /// What becomes of it above the budget.
    pub oversize: Oversize,
}

/// A cost above the budget, where that is not allowed: 413.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// What it would cost, in bytes.
    pub cost_bytes: u64,
    /// What there is, in bytes.
    pub budget_bytes: u64,
}

impl CostRule {
    /// Every request costs the same: so many bytes.
    #[must_use]
    pub fn flat(bytes: u64) -> Self {
        Self {
            base_bytes: bytes,
            factor: Decimal::ZERO,
            max_bytes: bytes,
            oversize: Oversize::Solo,
        }
    }

    /// The cost of a body of this length. `hint` is what a believed field says, in place of it.
    pub(super) fn cost(&self, length: BodyLength, hint: Option<(super::FieldId, u64)>) -> Cost {
        let (bytes, source) = match (hint, length) {
            (Some((field, bytes)), _) => (bytes, CostSource::Hint(field)),
            (None, BodyLength::Unknown) if self.max_bytes > self.base_bytes => {
                (self.max_bytes, CostSource::Unknown)
            }
            (None, BodyLength::Unknown) => (self.base_bytes, CostSource::Rule),
            (None, BodyLength::Known(length)) => {
                let sum = self.base_bytes.saturating_add(self.factor.of(length));
                if sum > self.max_bytes {
                    (self.max_bytes, CostSource::Capped)
                } else {
                    (sum, CostSource::Rule)
                }
            }
        };
        Cost {
            bytes,
            source,
            oversize: self.oversize,
        }
    }
}

impl Cost {
    /// The cost in units of a budget: at least one, at most all of them.
    pub fn units(&self, budget: &Budget) -> Result<u32, TooLarge> {
        units(self.bytes, self.oversize, budget)
    }
}

/// A cost of so many bytes in units of a budget: at least one, at most all of them.
pub fn units(bytes: u64, oversize: Oversize, budget: &Budget) -> Result<u32, TooLarge> {
    if bytes == budget.memory_per_task() {
        return Ok(UNITS_PER_TASK);
    }
    let budget_bytes = budget.bytes();
    if oversize == Oversize::Reject && bytes > budget_bytes {
        return Err(TooLarge {
            cost_bytes: bytes,
            budget_bytes,
        });
    }
    let floor = COST_FLOOR_BYTES.min(budget.memory_per_task());
    Ok(budget.units_for(bytes.max(floor)))
}
