//! One flow: a tenant's line in a class, its credit, and its standing queue.

use std::time::{Duration, Instant};

use super::codel::{Codel, CodelRule};
use super::line::Line;
use super::reason::RejectReason;
use super::settings::Discipline;
use super::waiter::{Order, Waiter};

/// By which rules a line is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) now: Instant,
    pub(super) free: u32,
    pub(super) limit: u32,
    pub(super) discipline: Discipline,
    pub(super) codel: Option<CodelRule>,
    /// The work of a default request, in task-microseconds.
    pub(super) quantum: u64,
    /// What the fastest tenth of requests take, once measured.
    pub(super) fastest: Duration,
}

/// What waits of one tenant in one class and rank.
#[derive(Debug)]
pub(super) struct Flow<W> {
    pub(super) line: Line<W>,
    pub(super) codel: Codel,
    /// In task-microseconds.
    pub(super) credit: i64,
    /// The round in which it left the ring.
    pub(super) left: u64,
    pub(super) in_ring: bool,
    /// Whether it was served since it came to the ring; a new one counts as if it had been.
    pub(super) was_served: bool,
    /// Charges that will still be settled here: the flow cannot be another tenant's before.
    pub(super) charges: u32,
}

/// Who of a flow is next, by the end of its line: whoever is named is still in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// The one at this end.
    Serve(Order),
    /// The one at this end is let go.
    Refuse(Order, RejectReason),
    /// The one at this end does not fit.
    TooLarge(Order),
    /// Nobody waits.
    Nobody,
}

impl<W: Waiter> Flow<W> {
    pub(super) fn new(room_kept: usize) -> Self {
        Self {
            line: Line::new(room_kept),
            codel: Codel::default(),
            credit: 0,
            left: 0,
            in_ring: false,
            was_served: true,
            charges: 0,
        }
    }

    /// The credit of a flow that comes back to the ring: with the quanta that it has missed, of
    /// which one is what a flow gets that stays after it was served. At most one is kept.
    pub(super) fn credit_after(&self, rounds: u64, quantum: u64) -> i64 {
        let quantum = i64::try_from(quantum.max(1)).unwrap_or(i64::MAX);
        let missed = i64::try_from(rounds - self.left).unwrap_or(i64::MAX);
        let missed = missed.saturating_add(i64::from(self.was_served));
        let credit = self.credit.saturating_add(quantum.saturating_mul(missed));
        credit.min(quantum)
    }

    /// Whether it is as if it had never been.
    pub(super) fn is_forgettable(&self, rounds: u64, quantum: u64) -> bool {
        let full = i64::try_from(quantum.max(1)).unwrap_or(i64::MAX);
        !self.in_ring && self.charges == 0 && self.credit_after(rounds, quantum) == full
    }

    /// Husks met on the way are dropped.
    pub(super) fn next(&mut self, rules: &Rules) -> Next {
        let order = rules.discipline.order(self.codel.is_standing());
        let Some(head) = self.line.next(order) else {
            return Next::Nobody;
        };
        let refusal = head.ended(rules.now).or_else(|| {
            // Hardly anybody was ever served in what is left to it.
            let left = head.request.deadline?.saturating_duration_since(rules.now);
            (left < rules.fastest).then_some(RejectReason::Doomed)
        });
        if let Some(refusal) = refusal {
            self.codel.gave_up(rules.now);
            return Next::Refuse(order, refusal);
        }
        if head.request.units.min(rules.limit) > rules.free {
            return Next::TooLarge(order);
        }
        if let (Some(rule), Some(oldest)) = (rules.codel, self.line.oldest()) {
            if self.line.take_lost() {
                self.codel.gave_up(rules.now);
            }
            let delay = rules.now.saturating_duration_since(oldest);
            self.codel.dispatched(rules.now, delay, &rule);
            // Where all who wait fit into what is free, nobody is in another's way.
            let is_short = self.line.units() > u64::from(rules.free);
            if self.codel.lets_go(delay, &rule) && is_short && self.line.has_second() {
                self.codel.gave_up(rules.now);
                return Next::Refuse(Order::Fifo, RejectReason::Codel);
            }
        }
        // The queue may have begun or ceased to stand just now; the next one goes by it.
        Next::Serve(order)
    }
}
