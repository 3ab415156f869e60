//! The formula: how many permits a memory budget is worth, in exact integers.
//!
//! `permit limit = floor(target_memory / memory_per_task × safety_factor)`. One semaphore unit is
//! 1/1024 of a default request, so that costs finer than a whole request can be charged; the
//! number of units is floored once, at the end, and dividing it by 1024 gives exactly the permit
//! limit for every input. Nothing here is a float: in floats 100 × 0.29 is 28.

use std::fmt;
use std::str::FromStr;

/// Semaphore units that a request of the default cost takes.
pub const UNITS_PER_TASK: u32 = 1024;

/// The most permits there can be: one acquire takes a `u32` of units, and a request that runs
/// alone must be able to take all of them.
pub const MAX_PERMITS: u32 = u32::MAX / UNITS_PER_TASK;

/// A decimal number exactly as it was typed: `digits / 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: u64,
    scale: u32,
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self {
        digits: 0,
        scale: 0,
    };

    /// One.
    pub const ONE: Self = Self {
        digits: 1,
        scale: 0,
    };

    /// Whether the number is above zero and at most one, as a safety factor must be.
    #[must_use]
    pub fn is_fraction(self) -> bool {
        self.digits > 0 && u128::from(self.digits) <= 10_u128.pow(self.scale)
    }

    /// Whether the number is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// `floor(value × self)`.
    ///
    /// Exact: a `u64` times at most 15 significant digits fits a `u128`.
    #[must_use]
    pub fn of(self, value: u64) -> u64 {
        let product = u128::from(value) * u128::from(self.digits) / 10_u128.pow(self.scale);
        u64::try_from(product).unwrap_or(u64::MAX)
    }
}

impl FromStr for Decimal {
    type Err = &'static str;

    /// Reads `0.8`, `.5`, `1` or `1.00`: at most 15 significant digits, no sign, no exponent.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err("not a decimal number");
        }
        let fraction = fraction.trim_end_matches('0');
        let joined = format!("{whole}{fraction}");
        if !joined.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("not a decimal number");
        }
        let significant = joined.trim_start_matches('0');
        if significant.len() > 15 || fraction.len() > 15 {
            return Err("more than 15 digits");
        }
        let digits = if significant.is_empty() {
            0
        } else {
            significant.parse().map_err(|_| "not a decimal number")?
        };
        let scale = u32::try_from(fraction.len()).map_err(|_| "more than 15 digits")?;
        Ok(Self { digits, scale })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.digits);
        }
        let divisor = 10_u64.pow(self.scale);
        write!(
            f,
            "{}.{:0width$}",
            self.digits / divisor,
            self.digits % divisor,
            width = self.scale as usize
        )
    }
}

/// Why a budget cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetError {
    /// Not even one default request fits.
    NoPermit,
    /// More permits than [`MAX_PERMITS`]; carries how many it would be.
    TooManyPermits(u128),
}

/// The memory that requests may use together, and what one of them is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    target_memory: u64,
    memory_per_task: u64,
    safety_factor: Decimal,
    limit_units: u32,
}

impl Budget {
    /// Works out the limit. Bytes, bytes, and a fraction in (0, 1].
    pub fn new(
        target_memory: u64,
        memory_per_task: u64,
        safety_factor: Decimal,
    ) -> Result<Self, BudgetError> {
        let Some(limit_units) = limit_units(target_memory, memory_per_task, safety_factor) else {
            return Err(BudgetError::NoPermit);
        };
        if limit_units < u128::from(UNITS_PER_TASK) {
            return Err(BudgetError::NoPermit);
        }
        let permits = limit_units / u128::from(UNITS_PER_TASK);
        if permits > u128::from(MAX_PERMITS) {
            return Err(BudgetError::TooManyPermits(permits));
        }
        let limit_units =
            u32::try_from(limit_units).map_err(|_| BudgetError::TooManyPermits(permits))?;
        Ok(Self {
            target_memory,
            memory_per_task,
            safety_factor,
            limit_units,
        })
    }

    /// A budget of exactly `permits` default requests, for use in-process where memory is not
    /// what limits. `None` if that is 0 or more than [`MAX_PERMITS`].
    #[must_use]
    pub fn of_permits(permits: u32) -> Option<Self> {
        Self::new(u64::from(permits), 1, Decimal::ONE).ok()
    }

    /// How many default-cost requests run at once.
    #[must_use]
    pub fn permit_limit(&self) -> u32 {
        self.limit_units / UNITS_PER_TASK
    }

    /// The same in semaphore units.
    #[must_use]
    pub fn limit_units(&self) -> u32 {
        self.limit_units
    }

    /// What requests together may use, in bytes, before the safety factor.
    #[must_use]
    pub fn target_memory(&self) -> u64 {
        self.target_memory
    }

    /// What a default request is charged, in bytes.
    #[must_use]
    pub fn memory_per_task(&self) -> u64 {
        self.memory_per_task
    }

    /// The share of the target that permits are cut from.
    #[must_use]
    pub fn safety_factor(&self) -> Decimal {
        self.safety_factor
    }

    /// `target_memory × safety_factor`: the bytes that permits are cut from.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.safety_factor.of(self.target_memory)
    }

    /// The units that a request of `cost` bytes takes: `ceil(1024 × cost / memory_per_task)`, at
    /// least one, at most the whole budget (a request larger than it runs alone).
    #[must_use]
    pub fn units_for(&self, cost: u64) -> u32 {
        if cost == self.memory_per_task {
            return UNITS_PER_TASK;
        }
        let units = (u128::from(cost) * u128::from(UNITS_PER_TASK))
            .div_ceil(u128::from(self.memory_per_task));
        u32::try_from(units)
            .unwrap_or(u32::MAX)
            .clamp(1, self.limit_units)
    }
}

/// `floor(1024 × target × factor / per_task)`; `None` if `per_task` is 0.
fn limit_units(target_memory: u64, memory_per_task: u64, safety_factor: Decimal) -> Option<u128> {
    // At most 2^10 × 2^64 × 2^50: it fits. The divisor is at most 2^64 × 10^15 < 2^114.
    let dividend =
        u128::from(UNITS_PER_TASK) * u128::from(target_memory) * u128::from(safety_factor.digits);
    let divisor = u128::from(memory_per_task) * 10_u128.pow(safety_factor.scale);
    dividend.checked_div(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(target: u64, per_task: u64, factor: &str) -> Result<Budget, BudgetError> {
        Budget::new(target, per_task, factor.parse().expect("a decimal"))
    }

    #[test]
    fn the_formula_is_exact_where_floats_are_not() {
        let permits = |target, per_task, factor| {
            budget(target, per_task, factor).map(|budget| budget.permit_limit())
        };
        assert_eq!(permits(100 << 20, 1 << 20, "0.29"), Ok(29));
        assert_eq!(permits(512 << 20, 1_000_000, "0.9"), Ok(483));
        assert_eq!(permits(1_000_000_000, 100_000_000, "1"), Ok(10));
        assert_eq!(permits(1, 1, "1.0"), Ok(1));
        assert_eq!(permits(99, 100, "1"), Err(BudgetError::NoPermit));
        assert_eq!(permits(100, 0, "1"), Err(BudgetError::NoPermit));
        assert_eq!(permits(u64::from(MAX_PERMITS), 1, "1"), Ok(MAX_PERMITS));
        assert_eq!(
            permits(u64::from(MAX_PERMITS) + 1, 1, "1"),
            Err(BudgetError::TooManyPermits(u128::from(MAX_PERMITS) + 1))
        );
        assert!(matches!(
            permits(u64::MAX, 1, "1"),
            Err(BudgetError::TooManyPermits(_))
        ));
    }

    #[test]
    fn costs_round_up_and_never_exceed_the_budget() {
        let budget = budget(10 << 20, 1 << 20, "1").expect("ten permits");
        assert_eq!(budget.units_for(1 << 20), 1024);
        assert_eq!(budget.units_for(1), 1);
        assert_eq!(budget.units_for(0), 1);
        assert_eq!(budget.units_for((1 << 20) + 1), 1025);
        assert_eq!(budget.units_for(u64::MAX), 10 * 1024);
    }

    #[test]
    fn decimals_are_read_as_typed() {
        for (text, shown) in [("0.29", "0.29"), (".5", "0.5"), ("1.00", "1"), ("0", "0")] {
            assert_eq!(
                text.parse::<Decimal>().map(|decimal| decimal.to_string()),
                Ok(shown.to_owned())
            );
        }
        for text in [
            "",
            ".",
            "-1",
            "1e3",
            "0,8",
            "0.1234567890123456",
            "1.2.3",
            "٣",
        ] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    proptest! {
        /// The definition, in rationals: p is the largest integer with p × per_task ≤ target × f.
        #[test]
        fn the_limit_is_the_floor_of_the_formula(
            target in 1_u64..1 << 45,
            per_task in 1_u64..1 << 40,
            thousandths in 1_u64..=1000,
        ) {
            let factor = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            let share = u128::from(target) * u128::from(thousandths);
            let one = u128::from(per_task) * 1000;
            match budget(target, per_task, &factor) {
                Ok(budget) => {
                    let permits = u128::from(budget.permit_limit());
                    prop_assert!(permits * one <= share && share < (permits + 1) * one);
                    prop_assert_eq!(
                        u128::from(budget.limit_units()),
                        share * u128::from(UNITS_PER_TASK) / one
                    );
                }
                Err(BudgetError::NoPermit) => prop_assert!(share < one),
                Err(BudgetError::TooManyPermits(permits)) => {
                    prop_assert!(permits > u128::from(MAX_PERMITS));
                }
            }
        }
    }
}
