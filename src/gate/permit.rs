//! The right to occupy the backend, and how it comes back.

use std::time::Instant;

use super::Core;
use super::pump::{Finished, Message};
use crate::admission::{Charge, ClassId, Sample};
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
    class: ClassId,
    sample: Sample,
    since: Instant,
    right: Right,
}

/// By what right it is held.
#[derive(Debug)]
pub(super) enum Right {
    /// Nobody waited: the policy was not asked.
    Free,
    /// The policy has charged it.
    Charged(Charge),
    /// In the shadow everybody passes: no units were taken.
    Passed(u64),
}

impl Permit {
    /// What it was for has failed or was cut short: how long it was held says nothing of how long
    /// the backend takes.
    pub fn cut(&mut self) {
        self.sample = Sample::Cut;
    }

    /// It reaches who asked for it: from now on its end is the end of its work.
    pub(super) fn in_hand(mut self) -> Self {
        self.sample = Sample::Served;
        self
    }

    pub(super) fn of_class(mut self, class: ClassId) -> Self {
        self.class = class;
        self
    }

    pub(super) fn charged(mut self, class: ClassId, charge: Charge) -> Self {
        self.class = class;
        self.right = Right::Charged(charge);
        self
    }

    /// Gives the permit back without a look at the queue, for the pump, which is about to look.
    pub(super) fn give_back_quietly(mut self) {
        self.give_back();
    }

    /// True if there is something to be told of it, which then is on its way.
    fn give_back(&mut self) -> bool {
        let units = std::mem::take(&mut self.units);
        self.core.held.sub(u64::from(units));
        let right = std::mem::replace(&mut self.right, Right::Free);
        if !matches!(right, Right::Passed(_)) {
            self.core.take_back(units);
        }
        let stands_for = match right {
            Right::Charged(_) | Right::Passed(_) => 1,
            Right::Free if !self.core.queued.is_empty() => 1,
            Right::Free => self.stands_for(),
        };
        if stands_for > 0 {
            self.core.send(Message::Finished(Finished {
                class: self.class,
                units,
                right,
                since: self.since,
                sample: self.sample,
                stands_for,
            }));
        }
        stands_for > 0
    }

    /// For how many that nobody waited for this one tells how long it was held; 0 if it does not.
    /// By the moment at which it was given: as good as chance, and nothing shared is written.
    fn stands_for(&self) -> u32 {
        let core = &self.core;
        let one_in = core.one_in_tells.load(Ordering::Relaxed);
        if one_in == 1 {
            return 1;
        }
        let nanos = self
            .since
            .saturating_duration_since(core.epoch)
            .subsec_nanos();
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4).
        let tells = nanos.wrapping_mul(0x9e37_79b9) < u32::MAX / one_in;
        if tells { one_in } else { 0 }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.units == 0 {
            return;
        }
        if self.give_back() || !self.core.queued.is_empty() {
            self.core.pump();
        }
    }
}

impl Core {
    /// A permit of this many units if they are free now.
    pub(super) fn try_permit(self: &Arc<Self>, units: u32, now: Instant) -> Option<Permit> {
        self.semaphore.try_acquire_many(units).ok()?.forget();
        self.held.add(units);
        Some(self.permit(units, now, Right::Free))
    }

    /// A permit for units that are in the ledger, and taken, or not to be taken.
    pub(super) fn permit(self: &Arc<Self>, units: u32, now: Instant, right: Right) -> Permit {
        Permit {
            core: self.clone(),
            units,
            class: ClassId::default(),
            // Until somebody has it in hand.
            sample: Sample::Cut,
            since: now,
            right,
        }
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
