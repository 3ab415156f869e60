//! A request as the policy sees it, on its way from the door to the end of its permit.

use std::time::{Duration, Instant};

use super::UNITS_PER_TASK;
use super::reason::RejectReason;
use super::tenant::TenantKey;
use super::waiter::Order;

/// The end of a wait too long for the clock to count.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A class, by its place in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u8);

/// Whether a request says that it was sent before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attempt {
    /// The first time, as far as it says.
    #[default]
    First,
    /// Once more: `x-envoy-attempt-count` above 1, `grpc-previous-rpc-attempts`,
    /// `x-retry-attempt`.
    Retry,
}

/// What the policy needs to know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// By which rules it goes.
    pub class: ClassId,
    /// Whose it is; `None` where tenants are not told apart.
    pub tenant: Option<TenantKey>,
    /// Whether it is a retry.
    pub attempt: Attempt,
    /// What a grant costs, before it is clamped to the limit of the moment. At least 1.
    pub units: u32,
    /// When its client gives up, if the client said so.
    pub deadline: Option<Instant>,
}

impl Default for Request {
    /// The first class, nobody's, the default cost, no deadline.
    fn default() -> Self {
        Self {
            class: ClassId::default(),
            tenant: None,
            attempt: Attempt::First,
            units: UNITS_PER_TASK,
            deadline: None,
        }
    }
}

/// One place in the queue.
#[derive(Debug)]
pub struct Queued<W> {
    /// Who waits.
    pub waiter: W,
    /// What it is.
    pub request: Request,
    /// When it was queued.
    pub arrived: Instant,
    /// When its class's `max_wait` is over.
    pub wait_until: Instant,
    /// How long it was expected to wait, where that is measured. Set by the policy.
    pub predicted: Option<Duration>,
}

impl<W> Queued<W> {
    /// A place that is taken now.
    pub fn new(waiter: W, request: Request, arrived: Instant, wait_until: Instant) -> Self {
        Self {
            waiter,
            request,
            arrived,
            wait_until,
            predicted: None,
        }
    }

    /// When this wait ends if nothing else ends it.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.request
            .deadline
            .map_or(self.wait_until, |deadline| deadline.min(self.wait_until))
    }

    /// Why the wait has ended, if it has.
    pub(super) fn ended(&self, now: Instant) -> Option<RejectReason> {
        if self
            .request
            .deadline
            .is_some_and(|deadline| deadline <= now)
        {
            Some(RejectReason::Expired)
        } else if self.wait_until <= now {
            Some(RejectReason::QueueWait)
        } else {
            None
        }
    }
}

/// When so long a wait is over: what a place in the queue is given as its
/// [`wait_until`](Queued::wait_until).
#[must_use]
pub fn end_of_wait(arrived: Instant, max_wait: Duration) -> Instant {
    arrived.checked_add(max_wait).unwrap_or(arrived + FAR)
}

/// What a granted request was charged, kept with its permit and given back by
/// [`Policy::finished`](super::Policy::finished) or [`Policy::put_back`](super::Policy::put_back).
/// Not `Clone`: a charge is settled once.
#[derive(Debug)]
#[must_use = "a charge that is not given back counts for ever"]
pub struct Charge {
    pub(super) class: ClassId,
    pub(super) attempt: Attempt,
    /// `None` if it did not wait: then no other tenant did either, and it owes nothing.
    pub(super) flow: Option<u32>,
    /// By which settings it was charged.
    pub(super) era: u32,
    /// From which end of its line it was taken.
    pub(super) order: Order,
    pub(super) units: u32,
    /// What was taken off the class and the tenant at the grant, in task-microseconds.
    pub(super) work: u64,
}

impl Charge {
    /// The units that the permit holds: what was asked for, clamped to the limit.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.units
    }
}

/// Whether a finished request tells something of how fast the backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It was served to its end: its time counts.
    Served,
    /// It was cancelled or failed: its units came back, and its time says nothing.
    Cut,
}

/// Work in task-microseconds: one default request for one microsecond. At least 1, so that nobody
/// is served for nothing, and at most 2^52, so that sums of it fit.
pub(super) fn work(units: u32, micros: u64) -> u64 {
    let work = u64::from(units).saturating_mul(micros) / u64::from(UNITS_PER_TASK);
    work.clamp(1, 1 << 52)
}
