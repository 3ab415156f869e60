//! The pump: from the channel to the scheduler, and from the scheduler to whom it picks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{BROKEN, Core, Permit, Ticket};
use crate::admission::{Entry, Pick, Scheduler};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, TryLockError, UnboundedReceiver};

/// Grants gathered under the lock before they are handed out without it.
const BATCH: usize = 32;

/// Husks that are too few to bother with.
const PURGE_FLOOR: usize = 64;

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Queue {
    receiver: UnboundedReceiver<Entry<Ticket>>,
    scheduler: Scheduler<Ticket>,
}

impl Queue {
    pub(super) fn new(receiver: UnboundedReceiver<Entry<Ticket>>) -> Self {
        Self {
            receiver,
            scheduler: Scheduler::default(),
        }
    }
}

type Grants = Vec<(Ticket, Permit)>;

impl Core {
    /// Looks at who is next, after anything has changed: an arrival, a departure, a permit that
    /// came back while somebody waits, a resize.
    ///
    /// One step leaves a mark and says whether the turn was free. Who finds it taken leaves; who
    /// has it gives it up only when no mark is left that came after its last round began. So no
    /// change goes unseen, nobody waits, and no thread is special.
    pub(super) fn pump(self: &Arc<Self>) {
        self.pump_at(None);
    }

    /// The same for who has just looked at the clock.
    pub(super) fn pump_at(self: &Arc<Self>, mut now: Option<Instant>) {
        loop {
            // All steps on `marks` read and write, so each sees what came before all earlier ones.
            if self.marks.fetch_add(1, Ordering::AcqRel) > 0 {
                return;
            }
            let grants = self.take_turn(now.take());
            let full = grants.len() == BATCH;
            let returned = hand_out(grants);
            if !full && !returned {
                return;
            }
        }
    }

    /// Goes round until every mark is served or the batch is full, and gives the turn up.
    fn take_turn(self: &Arc<Self>, mut now: Option<Instant>) -> Grants {
        let mut grants = Grants::new();
        let mut served = 1;
        loop {
            // The turn is ours, and the lock is given back before it: only a bug can hold it.
            match self.queue.try_lock() {
                Ok(mut queue) => self.guarded_round(&mut queue, &mut grants, now.take()),
                Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => self.break_down(),
            }
            if grants.len() == BATCH {
                // `pump` comes back for the marks that are wiped away here.
                self.marks.swap(0, Ordering::AcqRel);
                return grants;
            }
            match self
                .marks
                .compare_exchange(served, 0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return grants,
                Err(marks) => served = marks,
            }
        }
    }

    /// One round that closes the gate rather than poison it, should the scheduler panic.
    fn guarded_round(
        self: &Arc<Self>,
        queue: &mut Queue,
        grants: &mut Grants,
        now: Option<Instant>,
    ) {
        let round = catch_unwind(AssertUnwindSafe(|| self.round(queue, grants, now)));
        if round.is_err() {
            self.break_down();
        }
        if self.state.load(Ordering::Acquire) == BROKEN {
            // Dropping a ticket ends its wait as `Internal`.
            while queue.receiver.try_recv().is_ok() {}
            queue.scheduler = Scheduler::default();
        }
    }

    fn break_down(&self) {
        self.state.store(BROKEN, Ordering::Release);
    }

    fn round(self: &Arc<Self>, queue: &mut Queue, grants: &mut Grants, now: Option<Instant>) {
        let now = now.unwrap_or_else(self.clock);
        let order = self.order();
        let Queue {
            receiver,
            scheduler,
        } = queue;
        while let Ok(entry) = receiver.try_recv() {
            scheduler.push(entry);
        }
        while grants.len() < BATCH {
            let idle = self.semaphore.available_permits();
            let free = u32::try_from(idle).unwrap_or(u32::MAX);
            match scheduler.pick(now, order, free, self.limit_units()) {
                Pick::Empty | Pick::Hold => break,
                Pick::Expired(entry) => {
                    if entry.waiter.expire() {
                        self.queued.sub(entry.waiter.bytes());
                    }
                }
                Pick::Grant(entry, units) => {
                    let Some(permit) = self.try_permit(units) else {
                        // An arrival that read an empty ledger was quicker. It pumps when done.
                        scheduler.put_back(entry, order);
                        break;
                    };
                    if entry.waiter.grant() {
                        self.queued.sub(entry.waiter.bytes());
                        grants.push((entry.waiter, permit));
                    } else {
                        permit.give_back_quietly();
                    }
                }
            }
        }
        let (waiting, _) = self.queued.read();
        if scheduler.len() > 2 * waiting as usize + PURGE_FLOOR {
            scheduler.purge();
        }
        let oldest = scheduler.oldest().map_or(u64::MAX, |arrived| {
            let micros = arrived.saturating_duration_since(self.epoch).as_micros();
            u64::try_from(micros).unwrap_or(u64::MAX - 1)
        });
        self.oldest.store(oldest, Ordering::Release);
    }
}

/// Hands the grants out, without the lock. True if a permit came back because its client left
/// after it was chosen: then somebody else is to have it.
fn hand_out(grants: Grants) -> bool {
    let mut returned = false;
    for (ticket, permit) in grants {
        if let Err(permit) = ticket.hand_over(permit) {
            permit.give_back_quietly();
            returned = true;
        }
    }
    returned
}
