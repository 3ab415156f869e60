//! The right to occupy the backend, and how it comes back.

use super::Core;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::{Arc, OwnedSemaphorePermit};

/// The right to occupy the backend. Dropping it gives it back, whatever the reason for the drop;
/// it is not `Clone`, so it comes back exactly once.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit {
    core: Arc<Core>,
    /// `None` once returned.
    units: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Gives the permit back without a look at the queue, for the pump, which is about to look.
    pub(super) fn give_back_quietly(mut self) {
        self.give_back();
    }

    fn give_back(&mut self) {
        let Some(units) = self.units.take() else {
            return;
        };
        self.core.held.sub(units.num_permits() as u64);
        self.core.take_back(units);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.units.is_none() {
            return;
        }
        self.give_back();
        // Pairs with the fence in `pump`: either an arrival's round sees these units, or this
        // sees the arrival.
        fence(Ordering::SeqCst);
        if !self.core.queued.is_empty() {
            self.core.pump();
        }
    }
}

impl Core {
    /// A permit of this many units if they are free now.
    pub(super) fn try_permit(self: &Arc<Self>, units: u32) -> Option<Permit> {
        let taken = self.semaphore.clone().try_acquire_many_owned(units).ok()?;
        self.held.add(units);
        Some(Permit {
            core: self.clone(),
            units: Some(taken),
        })
    }

    /// Units come back: what is owed is forgotten, the rest is free again.
    pub(super) fn take_back(&self, mut units: OwnedSemaphorePermit) {
        let owed = self.repay(units.num_permits() as u64);
        if let Some(part) = units.split(owed) {
            part.forget();
        }
        drop(units);
        // Pairs with the fence in `resize`: either the shrink sees these units free, or this sees
        // its debt.
        fence(Ordering::SeqCst);
        if self.debt.load(Ordering::SeqCst) > 0 {
            self.settle();
        }
    }
}
