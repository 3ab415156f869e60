//! The gate: an unbounded channel in front of a semaphore, and what decides between them.
//!
//! A request arrives ([`Gate::arrive`]) and is at once admitted, queued or rejected. Producers
//! never block; what keeps the channel from growing is the admission decision in front of it.
//!
//! * The **ledger** is one atomic word of queued count and bytes. Its compare-and-swap *is* the
//!   decision to queue: there is no gap between a check and an act.
//! * The **channel** is tokio's unbounded one; tickets go down it to the scheduler.
//! * The **pump** moves tickets from the channel to the pure [`Scheduler`](crate::admission::Scheduler)
//!   and grants permits to whom it picks. Whoever changes something pumps; nobody waits for the lock.
//! * The **semaphore** is tokio's. **Nobody ever awaits it**: a waiter parked inside it would
//!   swallow permits, hide them from metrics and from shrinking, and freeze the choice.
//! * The **permit** returns its units when dropped, also on panic and from a cancelled future, and
//!   repays debt first when the limit has shrunk below what is held.
//!
//! # Cancel safety
//!
//! Dropping a [`Waiting`] at any moment abandons its place. If a grant was on its way, the permit
//! inside it is dropped with it and returns to the gate.
//!
//! # Example
//!
//! ```
//! use weir::gate::{Bounds, Cost, Gate};
//! use weir::admission::Budget;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let budget = Budget::of_permits(2).expect("more than no permit");
//! let gate = Gate::new(budget, Bounds::default());
//! let permit = gate.admit(Cost::Task).await.expect("a permit is free");
//! assert_eq!(gate.snapshot().in_flight, 1);
//! drop(permit);
//! assert_eq!(gate.snapshot().in_flight, 0);
//! # }
//! ```

mod ledger;
mod permit;
mod pump;
mod resize;
mod ticket;

use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::admission::{Budget, Entry, Order, RejectReason, UNITS_PER_TASK};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Semaphore, UnboundedSender, unbounded_channel};

use ledger::{Full, Ledger};
pub use permit::Permit;
use pump::Queue;
use ticket::Ticket;
pub use ticket::Waiting;

/// What happens to a request when no permit is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// It waits, within the bounds.
    #[default]
    Queue,
    /// It is rejected at once.
    Immediate,
}

/// What the queue may hold, and for how long. Can be replaced while running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Whether to queue at all.
    pub strategy: Strategy,
    /// The longest that a request waits for a permit.
    pub max_wait: Duration,
    /// How many requests may wait; 0 for no bound by count.
    pub max_depth: u32,
    /// How many bytes of weir's own memory the waiting requests may take.
    pub max_bytes: u64,
    /// Who is next.
    pub order: Order,
}

impl Default for Bounds {
    /// One second, 64 MiB, no bound by count, oldest first.
    fn default() -> Self {
        Self {
            strategy: Strategy::Queue,
            max_wait: Duration::from_secs(1),
            max_depth: 0,
            max_bytes: 64 << 20,
            order: Order::Fifo,
        }
    }
}

/// What a request is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The default: `memory_per_task`.
    Task,
    /// So many bytes of the backend's memory.
    Bytes(u64),
}

/// What became of an arrival.
#[derive(Debug)]
#[must_use]
pub enum Arrival {
    /// A permit was free and nobody was ahead.
    Admitted(Permit),
    /// A place in the queue.
    Queued(Waiting),
    /// Refused.
    Rejected(RejectReason),
}

/// The gate's figures at one moment. Each is exact; together they are a snapshot without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How many default-cost requests may run at once.
    pub permit_limit: u32,
    /// The same in units of 1/1024 of a default request.
    pub limit_units: u32,
    /// Units free, by the semaphore.
    pub available_units: u64,
    /// Units still to be taken back after a shrink.
    pub debt_units: u64,
    /// Requests that hold a permit.
    pub in_flight: u32,
    /// Units they hold.
    pub in_flight_units: u64,
    /// Requests that wait.
    pub queued: u32,
    /// What they are charged of weir's own memory.
    pub queued_bytes: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait: Duration,
}

/// Admission to one backend. Cheap to clone; all clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    core: Arc<Core>,
}

/// What permits, tickets and the gate share.
#[derive(Debug)]
struct Core {
    /// Units not held by anybody.
    semaphore: Semaphore,
    /// Units to forget as they come back, after a shrink.
    debt: AtomicU64,
    limit_units: AtomicU32,
    /// Requests and units that hold permits.
    held: Ledger,
    /// Requests and bytes that wait: everything between the reservation and the end of the wait.
    queued: Ledger,
    tickets: UnboundedSender<Entry<Ticket>>,
    /// The channel's other end and the scheduler. Only ever try-locked.
    queue: Mutex<Queue>,
    /// Changes that the pump has not served; above 0 it is at work.
    marks: AtomicU64,
    /// When the oldest waiting one arrived, in µs since `epoch`; `u64::MAX` when nobody waits.
    oldest: AtomicU64,
    state: AtomicU8,
    bounds: ArcSwap<Bounds>,
    /// What `bounds` says of the order, for the pump, which needs nothing else of them.
    lifo: AtomicBool,
    budget: ArcSwap<Budget>,
    /// Resizes follow one another.
    resizing: Mutex<()>,
    clock: fn() -> Instant,
    epoch: Instant,
}

/// Everything that comes is considered.
const OPEN: u8 = 0;
/// Who is in may finish; nobody new.
const DRAINING: u8 = 1;
/// A bug: the scheduler panicked. Nobody new, and the queue was let go.
const BROKEN: u8 = 2;

/// The end of a wait too long for the clock to count.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

fn deadline(arrived: Instant, max_wait: Duration) -> Instant {
    arrived.checked_add(max_wait).unwrap_or(arrived + FAR)
}

/// Tokio's clock, so that tests with paused time hold here too.
fn tokio_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Gate {
    /// A gate with all its permits free.
    #[must_use]
    pub fn new(budget: Budget, bounds: Bounds) -> Self {
        Self::with_clock(budget, bounds, tokio_now)
    }

    /// The same with a clock of the caller's.
    #[must_use]
    pub fn with_clock(budget: Budget, bounds: Bounds, clock: fn() -> Instant) -> Self {
        let (tickets, receiver) = unbounded_channel();
        let limit_units = budget.limit_units();
        Self {
            core: Arc::new(Core {
                semaphore: Semaphore::new(limit_units as usize),
                debt: AtomicU64::new(0),
                limit_units: AtomicU32::new(limit_units),
                held: Ledger::default(),
                queued: Ledger::default(),
                tickets,
                queue: Mutex::new(Queue::new(receiver)),
                marks: AtomicU64::new(0),
                oldest: AtomicU64::new(u64::MAX),
                state: AtomicU8::new(OPEN),
                lifo: AtomicBool::new(bounds.order == Order::Lifo),
                bounds: ArcSwap::from_pointee(bounds),
                budget: ArcSwap::from_pointee(budget),
                resizing: Mutex::new(()),
                clock,
                epoch: clock(),
            }),
        }
    }

    /// Decides on a request that costs `cost` of the backend's memory and, while it waits,
    /// `bytes` of weir's own.
    pub fn arrive(&self, cost: Cost, bytes: u64) -> Arrival {
        self.arrive_before(None, cost, bytes)
    }

    /// The same for somebody who gives up then, if that is before the bounds do: the wait ends in
    /// [`RejectReason::QueueWait`] in both cases.
    pub fn arrive_before(&self, give_up: Option<Instant>, cost: Cost, bytes: u64) -> Arrival {
        let core = &self.core;
        match core.state.load(Ordering::Acquire) {
            OPEN => {}
            DRAINING => return Arrival::Rejected(RejectReason::Draining),
            _ => return Arrival::Rejected(RejectReason::Internal),
        }
        let units = match cost {
            Cost::Task => UNITS_PER_TASK,
            Cost::Bytes(bytes) => core.budget.load().units_for(bytes),
        };
        if core.queued.is_empty()
            && let Some(permit) = core.try_permit(units.min(core.limit_units()))
        {
            return Arrival::Admitted(permit);
        }
        let bounds = core.bounds.load();
        if bounds.strategy == Strategy::Immediate {
            return Arrival::Rejected(RejectReason::NoPermit);
        }
        // Before the reservation: between it and the ticket nothing may panic, or the room is lost.
        let arrived = (core.clock)();
        let most = deadline(arrived, bounds.max_wait);
        let deadline = give_up.map_or(most, |give_up| give_up.min(most));
        match core
            .queued
            .try_add(bytes, bounds.max_depth, bounds.max_bytes)
        {
            Ok(()) => Arrival::Queued(core.enqueue(units, bytes, arrived, deadline)),
            Err(Full::Count) => Arrival::Rejected(RejectReason::QueueDepth),
            Err(Full::Amount) => Arrival::Rejected(RejectReason::QueueBytes),
        }
    }

    /// Waits for a permit within the bounds. For use in-process: weir's memory is charged nothing.
    pub async fn admit(&self, cost: Cost) -> Result<Permit, RejectReason> {
        match self.arrive(cost, 0) {
            Arrival::Admitted(permit) => Ok(permit),
            Arrival::Queued(waiting) => waiting.until_deadline().await,
            Arrival::Rejected(reason) => Err(reason),
        }
    }

    /// Replaces the bounds. Who waits keeps the deadline it was given.
    pub fn set_bounds(&self, bounds: Bounds) {
        let lifo = bounds.order == Order::Lifo;
        self.core.bounds.store(std::sync::Arc::new(bounds));
        self.core.lifo.store(lifo, Ordering::Release);
        self.core.pump();
    }

    /// From now on nobody new is let in: [`RejectReason::Draining`]. Who holds a permit or a place
    /// in the queue keeps it.
    pub fn refuse_new(&self) {
        let _ =
            self.core
                .state
                .compare_exchange(OPEN, DRAINING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether a bug of weir's own has closed the gate for good.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.core.state.load(Ordering::Acquire) == BROKEN
    }

    /// The budget that was last set.
    #[must_use]
    pub fn budget(&self) -> Budget {
        **self.core.budget.load()
    }

    /// The bounds that were last set.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::clone(&self.core.bounds.load())
    }

    /// The figures of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let core = &self.core;
        let (in_flight, in_flight_units) = core.held.read();
        let (queued, queued_bytes) = core.queued.read();
        let limit_units = core.limit_units();
        Snapshot {
            permit_limit: limit_units / UNITS_PER_TASK,
            limit_units,
            available_units: core.semaphore.available_permits() as u64,
            debt_units: core.debt.load(Ordering::Acquire),
            in_flight,
            in_flight_units,
            queued,
            queued_bytes,
            oldest_wait: core.oldest_wait(),
        }
    }
}

/// Whoever holds a permit or a place holds the core, too: when it goes, all must have come back.
#[cfg(debug_assertions)]
impl Drop for Core {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let available = self.semaphore.available_permits() as u64;
        assert_eq!(self.held.read(), (0, 0), "permits that never came back");
        assert_eq!(self.queued.read(), (0, 0), "room that was never freed");
        assert_eq!(
            (available, self.debt.load(Ordering::SeqCst)),
            (u64::from(self.limit_units()), 0),
            "units lost or made"
        );
    }
}

impl Core {
    fn limit_units(&self) -> u32 {
        self.limit_units.load(Ordering::Acquire)
    }

    fn order(&self) -> Order {
        if self.lifo.load(Ordering::Acquire) {
            Order::Lifo
        } else {
            Order::Fifo
        }
    }

    /// How long the oldest has waited, as of the pump's last round.
    fn oldest_wait(&self) -> Duration {
        match self.oldest.load(Ordering::Acquire) {
            u64::MAX => Duration::ZERO,
            _ if self.queued.is_empty() => Duration::ZERO,
            micros => {
                (self.clock)().saturating_duration_since(self.epoch + Duration::from_micros(micros))
            }
        }
    }
}
