//! A count and an amount in one atomic word, so that both change in one step.

use std::fmt;

use crate::sync::atomic::{AtomicU64, Ordering};

const AMOUNT_BITS: u32 = 40;
const AMOUNT_MAX: u64 = (1 << AMOUNT_BITS) - 1;
const COUNT_MAX: u64 = (1 << (64 - AMOUNT_BITS)) - 1;

/// Which bound had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many.
    Count,
    /// Too much.
    Amount,
}

/// Up to 16,777,215 of something that together amount to less than 2^40 (a TiB of bytes; or
/// units, of which a semaphore never has more than 2^32).
#[derive(Default)]
pub(super) struct Ledger {
    word: AtomicU64,
}

impl Ledger {
    /// Adds one of this amount if both bounds have room for it; `max_count` 0 is no bound.
    ///
    /// The compare-and-swap is the decision: what is checked is what is changed.
    pub(super) fn try_add(&self, amount: u64, max_count: u32, max_amount: u64) -> Result<(), Full> {
        let max_count = match u64::from(max_count) {
            0 => COUNT_MAX,
            bound => bound.min(COUNT_MAX),
        };
        let max_amount = max_amount.min(AMOUNT_MAX);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let (count, total) = unpack(word);
            if count >= max_count {
                return Err(Full::Count);
            }
            if amount > max_amount - total.min(max_amount) {
                return Err(Full::Amount);
            }
            let next = pack(count + 1, total + amount);
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::SeqCst, Ordering::Acquire)
            {
                Ok(_) => return Ok(()),
                Err(current) => word = current,
            }
        }
    }

    /// Adds one of this amount. The caller holds what bounds both: semaphore units.
    pub(super) fn add(&self, amount: u32) {
        self.word
            .fetch_add(pack(1, u64::from(amount)), Ordering::AcqRel);
    }

    /// Takes one of this amount off, which was added before.
    pub(super) fn sub(&self, amount: u64) {
        let before = self.word.fetch_sub(pack(1, amount), Ordering::AcqRel);
        let (count, total) = unpack(before);
        debug_assert!(count > 0 && total >= amount, "taken off twice");
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.word.load(Ordering::SeqCst) == 0
    }

    /// The count and the amount, of the same moment.
    pub(super) fn read(&self) -> (u32, u64) {
        let (count, amount) = unpack(self.word.load(Ordering::Acquire));
        (u32::try_from(count).unwrap_or(u32::MAX), amount)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, amount) = self.read();
        write!(f, "Ledger({count}, {amount})")
    }
}

fn pack(count: u64, amount: u64) -> u64 {
    count << AMOUNT_BITS | amount
}

fn unpack(word: u64) -> (u64, u64) {
    (word >> AMOUNT_BITS, word & AMOUNT_MAX)
}
