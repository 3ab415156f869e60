//! The gate: an unbounded channel in front of a semaphore, and what decides between them.
//!
//! A request arrives ([`Gate::arrive`]) and is at once admitted, queued or rejected. Producers
//! never block; what keeps the channel from growing is the admission decision in front of it.
//!
//! * The **ledger** is one atomic word of queued count and bytes. Its compare-and-swap *is* the
//!   decision to queue: there is no gap between a check and an act.
//! * The **channel** is tokio's unbounded one. Tickets go down it to the policy, and so does what it
//!   learns from: how long permits were held.
//! * The **pump** moves them from the channel to the pure [`Policy`](crate::admission::Policy), refuses
//!   whom it refuses and grants permits to whom it picks. Whoever changes something pumps; nobody
//!   waits for the lock.
//! * While nobody waits and a permit is free, an arrival takes it without a look at the policy, if the
//!   [`Rules`] tell nobody apart.
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
//! use weir::gate::{Cost, Gate, Rules};
//! use weir::admission::Budget;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let budget = Budget::of_permits(2).expect("more than no permit");
//! let gate = Gate::new(budget, Rules::default());
//! let permit = gate.admit(Cost::Task).await.expect("a permit is free");
//! assert_eq!(gate.snapshot().in_flight, 1);
//! drop(permit);
//! assert_eq!(gate.snapshot().in_flight, 0);
//! # }
//! ```

mod ask;
mod figures;
mod ledger;
mod permit;
mod pump;
mod resize;
mod rules;
mod sampling;
mod shadow;
mod ticket;

use std::sync::PoisonError;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::admission::{
    Attempt, Budget, CLASSES_MAX, RejectReason, UNITS_PER_TASK, classify, end_of_wait,
};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Semaphore, UnboundedSender, unbounded_channel};

pub use ask::{Arrival, Ask, Cost, Rejected};
pub use figures::{ClassReading, Snapshot};
use ledger::{Full, Ledger};
pub use permit::Permit;
use pump::{Message, Queue};
use rules::{Board, Live};
pub use rules::{Mode, Rules, Strategy};
pub use ticket::Waiting;

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
    messages: UnboundedSender<Message>,
    /// The channel's other end and the policy. Only ever try-locked.
    queue: Mutex<Queue>,
    /// Changes that the pump has not served; above 0 it is at work.
    marks: AtomicU64,
    /// When the oldest waiting one arrived, in µs since `epoch`; `u64::MAX` when nobody waits.
    oldest: AtomicU64,
    state: AtomicU8,
    live: ArcSwap<Live>,
    /// What `live` says of [`Rules::is_door_open`], for arrivals that need nothing else of it.
    is_door_open: AtomicBool,
    /// Of the permits that nobody waited for, one in so many tells how long it was held. Where
    /// somebody waits, and where the policy has charged it, each tells.
    one_in_tells: AtomicU32,
    board: Board,
    /// Counts who passed in the shadow.
    passes: AtomicU64,
    budget: ArcSwap<Budget>,
    /// Resizes and new rules follow one another.
    resizing: Mutex<()>,
    clock: fn() -> Instant,
    epoch: Instant,
}

/// Everything that comes is considered.
const OPEN: u8 = 0;
/// Who is in may finish; nobody new.
const DRAINING: u8 = 1;
/// A bug: the policy panicked. Nobody new, and the queue was let go.
const BROKEN: u8 = 2;

/// Tokio's clock, so that tests with paused time hold here too.
fn tokio_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Gate {
    /// A gate with all its permits free.
    ///
    /// # Panics
    ///
    /// If the rules have no class, or more than [`CLASSES_MAX`].
    #[must_use]
    pub fn new(budget: Budget, rules: Rules) -> Self {
        Self::with_clock(budget, rules, tokio_now)
    }

    /// The same with a clock of the caller's.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new) does.
    #[must_use]
    pub fn with_clock(budget: Budget, rules: Rules, clock: fn() -> Instant) -> Self {
        let (messages, receiver) = unbounded_channel();
        let limit_units = budget.limit_units();
        let epoch = clock();
        Self {
            core: Arc::new(Core {
                semaphore: Semaphore::new(limit_units as usize),
                debt: AtomicU64::new(0),
                limit_units: AtomicU32::new(limit_units),
                held: Ledger::default(),
                queued: Ledger::default(),
                messages,
                queue: Mutex::new(Queue::new(receiver, &rules, limit_units, epoch)),
                marks: AtomicU64::new(0),
                oldest: AtomicU64::new(u64::MAX),
                state: AtomicU8::new(OPEN),
                is_door_open: AtomicBool::new(rules.is_door_open()),
                one_in_tells: AtomicU32::new(1),
                live: ArcSwap::from_pointee(Live::new(rules)),
                board: Board::new(),
                passes: AtomicU64::new(0),
                budget: ArcSwap::from_pointee(budget),
                resizing: Mutex::new(()),
                clock,
                epoch,
            }),
        }
    }

    /// Decides on a request that arrives at `now`, by the gate's clock.
    pub fn arrive(&self, now: Instant, ask: &Ask) -> Arrival {
        let core = &self.core;
        match core.state.load(Ordering::Acquire) {
            OPEN => {}
            DRAINING => return Arrival::Rejected(RejectReason::Draining.into()),
            _ => return Arrival::Rejected(RejectReason::Internal.into()),
        }
        let units = match core.units(ask) {
            Ok(units) => units,
            Err(reason) => return Arrival::Rejected(reason.into()),
        };
        let is_door_open = core.is_door_open.load(Ordering::Acquire);
        if is_door_open
            && core.queued.is_empty()
            && ask.attempt == Attempt::First
            && ask.deadline.is_none_or(|deadline| deadline > now)
            && let Some(permit) = core.try_permit(units.min(core.limit_units()), now)
        {
            return Arrival::Admitted(permit.of_class(ask.class).in_hand());
        }
        let live = core.live.load();
        if live.rules.mode == Mode::Shadow {
            return Arrival::Admitted(core.pass(now, ask, units));
        }
        let is_short = core.semaphore.available_permits() < units.min(core.limit_units()) as usize;
        if is_door_open
            && (is_short || !core.queued.is_empty())
            && live.rules.strategy == Strategy::Immediate
        {
            return Arrival::Rejected(RejectReason::NoPermit.into());
        }
        // Where the policy has a say, who waits for its word only is not bounded by number.
        let is_asking = !is_door_open && !is_short;
        let max_depth = if is_asking { 0 } else { live.rules.max_depth };
        match core
            .queued
            .try_add(ask.bytes, max_depth, live.rules.max_bytes)
        {
            Ok(()) => {
                let wait_until = end_of_wait(now, live.max_wait(ask.class));
                core.enqueue(ask, units, now, wait_until).at_once()
            }
            Err(Full::Count) => Arrival::Rejected(RejectReason::QueueDepth.into()),
            Err(Full::Amount) => Arrival::Rejected(RejectReason::QueueBytes.into()),
        }
    }

    /// The same for one that arrives now.
    pub fn arrive_now(&self, ask: &Ask) -> Arrival {
        self.arrive((self.core.clock)(), ask)
    }

    /// Waits for a permit within the rules.
    ///
    /// # Errors
    ///
    /// The reason, if there is to be none.
    pub async fn admit(&self, ask: impl Into<Ask>) -> Result<Permit, Rejected> {
        match self.arrive_now(&ask.into()) {
            Arrival::Admitted(permit) => Ok(permit),
            Arrival::Queued(waiting) => waiting.until_deadline().await,
            Arrival::Rejected(rejected) => Err(rejected),
        }
    }

    /// Replaces the rules. Who waits keeps the deadline it was given. Those that hold already change
    /// nothing: not even what tenants have sent is forgotten.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new) does.
    pub fn set_rules(&self, rules: Rules) {
        let core = &self.core;
        let classes = rules.policy.classes.len();
        assert!((1..=CLASSES_MAX).contains(&classes), "{classes} classes");
        let one_at_a_time = core.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        if core.live.load().rules == rules {
            return;
        }
        let is_door_open = rules.is_door_open();
        let limit_units = core.limit_units();
        core.live
            .store(std::sync::Arc::new(Live::new(rules.clone())));
        core.is_door_open.store(is_door_open, Ordering::Release);
        core.send(Message::Rules(Box::new(rules), limit_units));
        drop(one_at_a_time);
        core.pump();
    }

    /// To be called a few times per second: so that a backend that stands still is noticed while
    /// nothing else happens, and the figures of this gate are those of now. With few requests after
    /// many, more of them tell again how long they took.
    pub fn tick(&self) {
        let core = &self.core;
        let is_sampled = core.one_in_tells.load(Ordering::Relaxed) > sampling::COMMON;
        if is_sampled || !core.queued.is_empty() || core.is_shadow() {
            core.pump();
        }
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

    /// What a request is charged in units; or why it is refused for it.
    fn units(&self, ask: &Ask) -> Result<u32, RejectReason> {
        match ask.cost {
            Cost::Task => Ok(UNITS_PER_TASK),
            Cost::Bytes(bytes) => classify::units(bytes, ask.oversize, &self.budget.load())
                .map_err(|_| RejectReason::Oversize),
        }
    }

    fn send(&self, message: Message) {
        // The receiver lives in `self.queue`; were it gone, a ticket would be dropped and its wait
        // end as `Internal`.
        let _ = self.messages.send(message);
    }
}
