//! The right to occupy the backend, and how it comes back.

use super::Core;
use crate::sync::Arc;
use crate::sync::atomic::{Ordering, fence};

/// The right to occupy the backend. Dropping it gives it back, whatever the reason for the drop;
/// it is not `Clone`, so it comes back exactly once.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit {
    core: Arc<Core>,
    /// Taken from the core's semaphore and kept by number: tokio's own owned permit would count
    /// the semaphore's owners, too, and the core is counted already. 0 once returned.
    units: u32,
}

impl Permit {
    /// Gives the permit back without a look at the queue, for the pump, which is about to look.
    pub(super) fn give_back_quietly(mut self) {
        self.give_back();
    }

    fn give_back(&mut self) {
        let units = std::mem::take(&mut self.units);
        self.core.held.sub(u64::from(units));
        self.core.take_back(units);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.units == 0 {
            return;
        }
        self.give_back();
        if !self.core.queued.is_empty() {
            self.core.pump();
        }
    }
}

impl Core {
    /// A permit of this many units if they are free now.
    pub(super) fn try_permit(self: &Arc<Self>, units: u32) -> Option<Permit> {
        self.semaphore.try_acquire_many(units).ok()?.forget();
        self.held.add(units);
        Some(Permit {
            core: self.clone(),
            units,
        })
    }

    /// Units come back: what is owed is forgotten, the rest is free again. Ends with a fence.
    fn take_back(&self, units: u32) {
        let owed = self.repay(units);
        self.semaphore.add_permits((units - owed) as usize);
        // Pairs with the fence in `resize`: either the shrink sees these units free, or this sees
        // its debt. Pairs with the fence in `enqueue`, too: either the round after an arrival
        // sees these units, or the caller sees the arrival in the ledger.
        fence(Ordering::SeqCst);
        if self.debt.load(Ordering::SeqCst) > 0 {
            self.settle();
            // `settle` may have freed again what it took too much.
            fence(Ordering::SeqCst);
        }
    }
}
