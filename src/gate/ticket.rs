//! A place in the queue, seen from both ends: the scheduler's ticket and the client's wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Core, Permit};
use crate::admission::{Entry, RejectReason, Waiter};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU8, Ordering, fence};

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const ABANDONED: u8 = 2;
const EXPIRED: u8 = 3;

/// How the wait ended, decided once: the first to leave `WAITING` wins and frees the room.
#[derive(Debug)]
struct Fate(AtomicU8);

impl Fate {
    fn decide(&self, fate: u8) -> bool {
        self.0
            .compare_exchange(WAITING, fate, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn read(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }
}

/// The end that the scheduler holds.
#[derive(Debug)]
pub(super) struct Ticket {
    fate: Arc<Fate>,
    grant: oneshot::Sender<Permit>,
    bytes: u64,
}

impl Waiter for Ticket {
    fn is_waiting(&self) -> bool {
        self.fate.read() == WAITING
    }
}

impl Ticket {
    /// The place this takes in weir's memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Decides for a grant; false if the client left or the wait ended first.
    pub(super) fn grant(&self) -> bool {
        self.fate.decide(GRANTED)
    }

    /// Decides for the end of the wait; false if something else was first.
    pub(super) fn expire(&self) -> bool {
        self.fate.decide(EXPIRED)
    }

    /// Hands the permit over; gives it back if the client has left since.
    pub(super) fn hand_over(self, permit: Permit) -> Result<(), Permit> {
        self.grant.send(permit)
    }
}

/// The end that the client holds: resolves to a permit, or to the reason why there is none.
/// Dropping it gives up the place.
#[derive(Debug)]
#[must_use = "dropping it gives up the place in the queue"]
pub struct Waiting {
    core: Arc<Core>,
    fate: Arc<Fate>,
    grant: oneshot::Receiver<Permit>,
    bytes: u64,
    arrived: Instant,
    deadline: Instant,
}

impl Waiting {
    /// When it was queued.
    #[must_use]
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// When the wait ends.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ends the wait now. If a grant was first, it stands, and awaiting yields its permit.
    pub fn expire(&self) {
        self.end(EXPIRED);
    }

    /// Waits for the permit until the deadline, on tokio's clock.
    pub async fn until_deadline(mut self) -> Result<Permit, RejectReason> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        if let Ok(granted) = tokio::time::timeout_at(deadline, &mut self).await {
            return granted;
        }
        self.expire();
        self.await
    }

    /// Ends the wait; the winner frees the room and lets the pump look at who is next.
    fn end(&self, fate: u8) {
        if self.fate.decide(fate) {
            self.core.queued.sub(self.bytes);
            self.core.pump();
        }
    }
}

impl Future for Waiting {
    type Output = Result<Permit, RejectReason>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.fate.read() == EXPIRED {
            return Poll::Ready(Err(RejectReason::QueueWait));
        }
        let granted = ready!(Pin::new(&mut self.grant).poll(cx));
        Poll::Ready(granted.map_err(|_| match self.fate.read() {
            EXPIRED => RejectReason::QueueWait,
            // The ticket was dropped undecided: the scheduler broke.
            _ => RejectReason::Internal,
        }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end(ABANDONED);
    }
}

impl Core {
    /// Sends a ticket for room that is already reserved, and pumps.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        units: u32,
        bytes: u64,
        arrived: Instant,
        deadline: Instant,
    ) -> Waiting {
        let fate = Arc::new(Fate(AtomicU8::new(WAITING)));
        let (sender, receiver) = oneshot::channel();
        let entry = Entry {
            waiter: Ticket {
                fate: fate.clone(),
                grant: sender,
                bytes,
            },
            units,
            arrived,
            deadline,
        };
        let waiting = Waiting {
            core: self.clone(),
            fate,
            grant: receiver,
            bytes,
            arrived,
            deadline,
        };
        // The receiver lives in `self.queue`; were it gone, the ticket would be dropped and the
        // wait end as `Internal`.
        let _ = self.tickets.send(entry);
        // Pairs with the fence in `take_back`, for a permit that comes back at the same time:
        // either it sees this arrival in the ledger, or whoever serves the mark sees its units.
        fence(Ordering::SeqCst);
        self.pump_at(Some(arrived));
        waiting
    }
}
