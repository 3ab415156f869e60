//! What asks for a permit, and what becomes of it.

use std::time::Instant;

use super::{Permit, Waiting};
use crate::admission::classify::Oversize;
use crate::admission::{Attempt, ClassId, Pushback, RejectReason, Request, TenantKey};

/// What a request is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cost {
    /// The default: `memory_per_task`.
    #[default]
    Task,
    /// So many bytes of the backend's memory.
    Bytes(u64),
}

/// What asks for a permit. The default is a request like any other: of the first class, nobody's,
/// at the default cost, from a client that waits as long as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// By which rules it goes.
    pub class: ClassId,
    /// Whose it is; without effect where tenants are not told apart.
    pub tenant: Option<TenantKey>,
    /// Whether it says that it is a retry.
    pub attempt: Attempt,
    /// What it costs the backend.
    pub cost: Cost,
    /// What becomes of a cost above the budget.
    pub oversize: Oversize,
    /// What it costs weir itself while it waits, in bytes.
    pub bytes: u64,
    /// When its client gives up, if it says so.
    pub deadline: Option<Instant>,
}

impl Ask {
    /// At this cost, and while it waits so many bytes of weir's own memory.
    #[must_use]
    pub fn new(cost: Cost, bytes: u64) -> Self {
        Self {
            cost,
            bytes,
            ..Self::default()
        }
    }

    /// As the policy sees it, at this cost in units.
    pub(super) fn request(&self, units: u32) -> Request {
        Request {
            class: self.class,
            tenant: self.tenant,
            attempt: self.attempt,
            units,
            deadline: self.deadline,
        }
    }
}

impl From<Cost> for Ask {
    fn from(cost: Cost) -> Self {
        Self::new(cost, 0)
    }
}

/// A no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: RejectReason,
    /// When to come back, where the policy knows; `None` where a bound decided.
    pub pushback: Option<Pushback>,
}

impl From<RejectReason> for Rejected {
    fn from(reason: RejectReason) -> Self {
        Self {
            reason,
            pushback: None,
        }
    }
}

/// What became of an arrival.
#[derive(Debug)]
#[must_use]
pub enum Arrival {
    /// A permit was free, and it was its turn.
    Admitted(Permit),
    /// A place in the queue.
    Queued(Waiting),
    /// Refused.
    Rejected(Rejected),
}
