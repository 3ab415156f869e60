//! A place in the queue, seen from both ends: the policy's ticket and the client's wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::sync::oneshot;

use super::ask::{Arrival, Ask, Rejected};
use super::pump::Message;
use super::{Core, Permit};
use crate::admission::{Queued, RejectReason, Waiter};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU8, Ordering, fence};

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const REFUSED: u8 = 2;
const ABANDONED: u8 = 3;
const EXPIRED: u8 = 4;

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

/// The end that the policy holds.
#[derive(Debug)]
pub(super) struct Ticket {
    fate: Arc<Fate>,
    answer: oneshot::Sender<Result<Permit, Rejected>>,
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

    /// Decides for a refusal; false if something else was first.
    pub(super) fn refuse(&self) -> bool {
        self.fate.decide(REFUSED)
    }

    /// Hands over what was decided; gives a permit back if the client has left since.
    pub(super) fn answer(self, answer: Result<Permit, Rejected>) -> Result<(), Permit> {
        match self.answer.send(answer) {
            Err(Ok(permit)) => Err(permit),
            Ok(()) | Err(Err(_)) => Ok(()),
        }
    }
}

/// The end that the client holds: resolves to a permit, or to the reason why there is none.
/// Dropping it gives up the place.
#[derive(Debug)]
#[must_use = "dropping it gives up the place in the queue"]
pub struct Waiting {
    core: Arc<Core>,
    fate: Arc<Fate>,
    answer: oneshot::Receiver<Result<Permit, Rejected>>,
    bytes: u64,
    arrived: Instant,
    deadline: Instant,
    /// What it is refused for at the deadline.
    at_the_end: RejectReason,
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

    /// Ends the wait now. If an answer was first, it stands, and awaiting yields it.
    pub fn expire(&self) {
        self.end(EXPIRED);
    }

    /// Waits for the permit until the deadline, on tokio's clock.
    ///
    /// # Errors
    ///
    /// The reason, if there is to be none.
    pub async fn until_deadline(mut self) -> Result<Permit, Rejected> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        if let Ok(answer) = tokio::time::timeout_at(deadline, &mut self).await {
            return answer;
        }
        self.expire();
        self.await
    }

    /// What has been decided by now.
    pub(super) fn at_once(mut self) -> Arrival {
        match self.answer.try_recv() {
            Ok(Ok(permit)) => Arrival::Admitted(permit.in_hand()),
            Ok(Err(rejected)) => Arrival::Rejected(rejected),
            // Also if the ticket is gone: awaiting says why.
            Err(_) => Arrival::Queued(self),
        }
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
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.fate.read() == EXPIRED {
            return Poll::Ready(Err(self.at_the_end.into()));
        }
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        let answer = answer.map(|answer| answer.map(Permit::in_hand));
        Poll::Ready(answer.unwrap_or_else(|_| {
            let reason = match self.fate.read() {
                EXPIRED => self.at_the_end,
                // The ticket was dropped undecided: the policy broke.
                _ => RejectReason::Internal,
            };
            Err(reason.into())
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
        ask: &Ask,
        units: u32,
        arrived: Instant,
        wait_until: Instant,
    ) -> Waiting {
        let fate = Arc::new(Fate(AtomicU8::new(WAITING)));
        let (sender, receiver) = oneshot::channel();
        let ticket = Ticket {
            fate: fate.clone(),
            answer: sender,
            bytes: ask.bytes,
        };
        let entry = Queued::new(ticket, ask.request(units), arrived, wait_until);
        let deadline = entry.ends();
        let waiting = Waiting {
            core: self.clone(),
            fate,
            answer: receiver,
            bytes: ask.bytes,
            arrived,
            deadline,
            at_the_end: if deadline < wait_until {
                RejectReason::Expired
            } else {
                RejectReason::QueueWait
            },
        };
        self.send(Message::Arrived(entry));
        // Pairs with the fence in `take_back`, for a permit that comes back at the same time:
        // either it sees this arrival in the ledger, or whoever serves the mark sees its units.
        fence(Ordering::SeqCst);
        self.pump_at(Some(arrived));
        waiting
    }
}
