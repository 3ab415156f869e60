//! What the gate is to do, done naively: one list of who waits, sums worked out each time.
//!
//! It knows nothing of debts, channels or pumps: what is free is the limit less what is held.

use std::time::{Duration, Instant};

use weir::admission::{Budget, Discipline, RejectReason};
use weir::gate::{Cost, Rules, Snapshot, Strategy};

/// Names a request.
pub(crate) type Id = usize;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Queued,
    /// Chosen, and the permit not yet collected or held: these many units.
    Granted(u32),
    Expired,
    Rejected(RejectReason),
    /// Gave up its place.
    Abandoned,
    /// Gave its permit back.
    Returned,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) place: Place,
    units: u32,
    bytes: u64,
    arrived: Instant,
    deadline: Instant,
}

pub(crate) struct Model {
    pub(crate) budget: Budget,
    pub(crate) rules: Rules,
    pub(crate) draining: bool,
    pub(crate) now: Instant,
    pub(crate) requests: Vec<Request>,
    /// In order of arrival.
    queue: Vec<Id>,
}

impl Model {
    pub(crate) fn new(budget: Budget, rules: Rules, now: Instant) -> Self {
        Self {
            budget,
            rules,
            draining: false,
            now,
            requests: Vec::new(),
            queue: Vec::new(),
        }
    }

    pub(crate) fn arrive(&mut self, cost: Cost, bytes: u64) {
        let units = match cost {
            Cost::Task => 1024,
            Cost::Bytes(bytes) => self
                .budget
                .units_for(bytes.max(self.budget.memory_per_task().min(1024))),
        };
        let at_once = units.min(self.budget.limit_units());
        let depth = self.rules.max_depth as usize;
        let place = if self.draining {
            Place::Rejected(RejectReason::Draining)
        } else if self.queue.is_empty() && u64::from(at_once) <= self.free() {
            Place::Granted(at_once)
        } else if self.rules.strategy == Strategy::Immediate {
            Place::Rejected(RejectReason::NoPermit)
        } else if depth > 0 && self.queue.len() >= depth {
            Place::Rejected(RejectReason::QueueDepth)
        } else if bytes > self.rules.max_bytes.saturating_sub(self.queued_bytes()) {
            Place::Rejected(RejectReason::QueueBytes)
        } else {
            self.queue.push(self.requests.len());
            Place::Queued
        };
        self.requests.push(Request {
            place,
            units,
            bytes,
            arrived: self.now,
            deadline: self.now + self.rules.policy.classes[0].max_wait.at_first(),
        });
        if place == Place::Queued {
            self.settle();
        }
    }

    /// The client leaves, or the permit comes back, or the wait is ended: whatever is its due.
    pub(crate) fn end(&mut self, id: Id, queued_becomes: Place) {
        let place = &mut self.requests[id].place;
        match *place {
            Place::Queued => {
                *place = queued_becomes;
                self.queue.retain(|&other| other != id);
            }
            Place::Granted(_) => *place = Place::Returned,
            _ => return,
        }
        self.settle();
    }

    /// Lets go of who is next and late, and grants to who is next and fits.
    pub(crate) fn settle(&mut self) {
        loop {
            let next = match self.rules.policy.classes[0].discipline {
                Discipline::Fifo | Discipline::Adaptive => self.queue.first(),
                Discipline::Lifo => self.queue.last(),
            };
            let Some(&id) = next else { return };
            let free = self.free();
            let request = &mut self.requests[id];
            let units = request.units.min(self.budget.limit_units());
            if request.deadline <= self.now {
                request.place = Place::Expired;
            } else if u64::from(units) <= free {
                request.place = Place::Granted(units);
            } else {
                return;
            }
            self.queue.retain(|&other| other != id);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let limit = u64::from(self.budget.limit_units());
        Snapshot {
            permit_limit: self.budget.permit_limit(),
            limit_units: self.budget.limit_units(),
            available_units: self.free(),
            debt_units: self.held().saturating_sub(limit),
            in_flight: u32::try_from(self.holders().count()).expect("few"),
            in_flight_units: self.held(),
            queued: u32::try_from(self.queue.len()).expect("few"),
            queued_bytes: self.queued_bytes(),
            oldest_wait: self.queue.first().map_or(Duration::ZERO, |&id| {
                self.now.duration_since(self.requests[id].arrived)
            }),
        }
    }

    fn free(&self) -> u64 {
        u64::from(self.budget.limit_units()).saturating_sub(self.held())
    }

    fn held(&self) -> u64 {
        self.holders().map(u64::from).sum()
    }

    fn holders(&self) -> impl Iterator<Item = u32> {
        self.requests
            .iter()
            .filter_map(|request| match request.place {
                Place::Granted(units) => Some(units),
                _ => None,
            })
    }

    fn queued_bytes(&self) -> u64 {
        self.queue.iter().map(|&id| self.requests[id].bytes).sum()
    }
}
