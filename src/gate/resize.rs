//! A new limit while requests are running: grow at once, shrink as permits come back.

use std::sync::PoisonError;

use super::pump::Message;
use super::{Core, Gate};
use crate::admission::Budget;
use crate::sync::atomic::{Ordering, fence};

impl Gate {
    /// Sets a new budget. More permits are usable at once. Fewer: free ones vanish now, the rest
    /// as they come back; **no request that holds a permit is revoked**.
    pub fn resize(&self, budget: Budget) {
        let core = &self.core;
        {
            let _one_at_a_time = core
                .resizing
                .lock()
                // It guards no data of its own, only the order.
                .unwrap_or_else(PoisonError::into_inner);
            let old = core.limit_units();
            let new = budget.limit_units();
            core.budget.store(std::sync::Arc::new(budget));
            core.limit_units.store(new, Ordering::Release);
            if new >= old {
                core.grow(new - old);
            } else {
                core.shrink(old - new);
            }
        }
        core.send(Message::Resized(core.limit_units()));
        core.pump();
    }
}

impl Core {
    /// Growing cancels debt first, then adds.
    fn grow(&self, units: u32) {
        let cancelled = self.repay(units);
        self.semaphore.add_permits((units - cancelled) as usize);
    }

    /// Shrinking publishes the debt, then takes what lies idle.
    fn shrink(&self, units: u32) {
        self.debt.fetch_add(u64::from(units), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.settle();
    }

    /// Takes up to `units` off the debt and says how many it took.
    pub(super) fn repay(&self, units: u32) -> u32 {
        let mut debt = self.debt.load(Ordering::SeqCst);
        loop {
            let part = u32::try_from(debt).unwrap_or(u32::MAX).min(units);
            if part == 0 {
                return 0;
            }
            match self.debt.compare_exchange_weak(
                debt,
                debt - u64::from(part),
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return part,
                Err(current) => debt = current,
            }
        }
    }

    /// While there is debt, nothing stays free: idle units are taken and forgotten against it.
    pub(super) fn settle(&self) {
        loop {
            let debt = self.debt.load(Ordering::SeqCst);
            let idle = self.semaphore.available_permits() as u64;
            let Ok(part @ 1..) = u32::try_from(debt.min(idle)) else {
                return;
            };
            if let Ok(taken) = self.semaphore.try_acquire_many(part) {
                taken.forget();
                let owed = self.repay(part);
                self.semaphore.add_permits((part - owed) as usize);
            }
        }
    }
}
