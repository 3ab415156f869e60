//! Whose turn it is when a permit may be free.
//!
//! Class by share, then first attempts before retries, then tenant by credit, then the line's
//! order. **What is picked fits, still waits, and its deadline has not passed.**
//!
//! # A large request at the head
//!
//! It is taken out of its line and *blocked*. For the first part of its wait
//! (`backfill_percent`) others that fit may overtake it; from then on what comes free is kept for
//! it, until it fits, leaves, or its wait is over. So permits idle on its account for no longer
//! than the rest of its wait, and it is overtaken for no longer than the first part. Only one is
//! blocked at a time. Looking for who fits costs at most sixteen looks in each class.

use std::time::{Duration, Instant};

use super::super::class::Seat;
use super::super::flow::Next;
use super::super::micros;
use super::super::request::{Attempt, Charge, ClassId, Queued, work};
use super::super::units::UNITS_PER_TASK;
use super::super::waiter::{Order, Waiter};
use super::{Blocked, Policy, Turn};

/// What a class has to say.
enum Offer<W> {
    Turn(Turn<W>),
    /// Its head is out of the line and blocked now: ask again.
    Blocked,
    /// Nobody of it fits, and its head waits until then.
    TooLarge(Instant),
    Nobody,
}

impl<W: Waiter> Policy<W> {
    /// Says who is next, given `free` units of a limit of `limit` units. A cost above the limit is
    /// clamped to it now, not on arrival: after a shrink a request that was to run alone would
    /// otherwise wait for ever.
    pub fn pick(&mut self, now: Instant, free: u32, limit: u32) -> Turn<W> {
        let pick = match self.pick_blocked(now, free, limit) {
            Some(pick) => pick,
            None => self.pick_waiting(now, free, limit),
        };
        if self.is_empty() {
            self.least_units = u32::MAX;
            let taken = match &pick {
                Turn::Grant(_, charge) => charge.units,
                Turn::Refuse(..) | Turn::Hold { .. } | Turn::Empty => 0,
            };
            // With nothing free, the next to come back still tells how fast.
            if free.saturating_sub(taken) >= UNITS_PER_TASK.min(limit) {
                self.drain.idle(now);
            }
        }
        pick
    }

    /// The one that is blocked, if it is to be decided on before all others.
    fn pick_blocked(&mut self, now: Instant, free: u32, limit: u32) -> Option<Turn<W>> {
        self.drop_blocked_husk();
        let blocked = self.blocked.as_ref()?;
        let refusal = blocked.entry.ended(now);
        let fits = blocked.entry.request.units.min(limit) <= free;
        if refusal.is_none() && !fits {
            let kept = blocked.backfill_until <= now;
            return kept.then(|| Turn::Hold {
                until: blocked.entry.ends(),
            });
        }
        let Blocked { entry, seat, .. } = self.unblock()?;
        Some(match refusal {
            Some(refusal) => Turn::Refuse(entry, refusal),
            None => self.grant(now, entry, seat, Order::Fifo, limit),
        })
    }

    /// Takes out the one that is blocked.
    fn unblock(&mut self) -> Option<Blocked<W>> {
        let blocked = self.blocked.take()?;
        let at = self.place(blocked.entry.request.class);
        self.classes[at].unpin(blocked.seat);
        Some(blocked)
    }

    pub(super) fn drop_blocked_husk(&mut self) {
        let blocked = self.blocked.as_ref();
        if blocked.is_some_and(|blocked| !blocked.entry.waiter.is_waiting()) {
            self.unblock();
        }
    }

    fn pick_waiting(&mut self, now: Instant, free: u32, limit: u32) -> Turn<W> {
        // Classes that have nothing for what is free.
        let mut passed = 0_u32;
        while let Some(at) = self.choose(passed, limit) {
            match self.ask(at, now, free, limit) {
                Offer::Turn(pick) => return pick,
                Offer::Nobody => {}
                Offer::TooLarge(ends) if self.blocked.is_none() => {
                    return Turn::Hold { until: ends };
                }
                Offer::TooLarge(_) => passed |= 1 << at,
                Offer::Blocked if self.settings.backfill_percent > 0 => {}
                Offer::Blocked => break,
            }
        }
        let blocked = self.blocked.as_ref().map(|blocked| blocked.entry.ends());
        blocked.map_or(Turn::Empty, |until| Turn::Hold { until })
    }

    /// The class whose turn it is, of those that wait and are not passed over.
    fn choose(&mut self, passed: u32, limit: u32) -> Option<usize> {
        if let [only] = &self.classes[..] {
            return (only.len() > 0 && passed == 0).then_some(0);
        }
        let classes = (0..).zip(&self.classes);
        let waiting = classes.filter(|(at, class)| class.len() > 0 && passed & 1 << at == 0);
        let turns = waiting.map(|(at, class)| (class.turn(limit, self.weights), at));
        turns.min().map(|(_, at)| at)
    }

    fn ask(&mut self, at: usize, now: Instant, free: u32, limit: u32) -> Offer<W> {
        let (seat, next) = self.classes[at].next(now, free, limit);
        let (order, refusal) = match next {
            Next::Nobody => return Offer::Nobody,
            Next::TooLarge(order) => return self.too_large(at, seat, order, (now, free, limit)),
            Next::Serve(order) => (order, None),
            Next::Refuse(order, refusal) => (order, Some(refusal)),
        };
        let Some(entry) = self.classes[at].take(seat, order) else {
            return Offer::Nobody;
        };
        Offer::Turn(match refusal {
            Some(refusal) => Turn::Refuse(entry, refusal),
            None => self.grant(now, entry, seat, order, limit),
        })
    }

    fn too_large(
        &mut self,
        at: usize,
        seat: Seat,
        order: Order,
        (now, free, limit): (Instant, u32, u32),
    ) -> Offer<W> {
        let overtakes = self.overtakes();
        let class = &mut self.classes[at];
        // Nobody fits, whoever it is; or the strict order of one line is all there is.
        if self.least_units.min(limit) > free || !overtakes {
            return Offer::TooLarge(class.head_ends(seat, order).unwrap_or(now));
        }
        if self.blocked.is_none() {
            let Some(entry) = class.take(seat, order) else {
                return Offer::Nobody;
            };
            class.pin(seat);
            let wait = entry.ends().saturating_duration_since(now);
            let share = u32::from(self.settings.backfill_percent.min(100));
            self.blocked = Some(Blocked {
                backfill_until: now + wait / 100 * share,
                entry,
                seat,
            });
            return Offer::Blocked;
        }
        match class.take_fitting(seat, now, free, limit) {
            Some(entry) => {
                let order = class.order(seat);
                Offer::Turn(self.grant(now, entry, seat, order, limit))
            }
            None => Offer::TooLarge(now),
        }
    }

    /// Whether there is anybody who could come before the head of a line.
    fn overtakes(&self) -> bool {
        self.settings.backfill_percent > 0
            || self.classes.len() > 1
            || self.settings.tenants.is_some()
    }

    fn grant(
        &mut self,
        now: Instant,
        entry: Queued<W>,
        seat: Seat,
        order: Order,
        limit: u32,
    ) -> Turn<W> {
        let request = entry.request;
        let at = self.place(request.class);
        let units = request.units.min(limit);
        if self.classes.len() > 1 {
            let classes = (0..).zip(&self.classes);
            let active = classes.filter(|(other, class)| *other == at || class.len() > 0);
            let lowest = active.map(|(_, class)| class.virtual_time()).min();
            self.virtual_time = self.virtual_time.max(lowest.unwrap_or_default());
        }
        let class = &mut self.classes[at];
        let work = work(units, class.estimate());
        class.charge(Some(seat.flow), request.attempt, units, work);
        self.count_admitted(request.attempt);
        if let Some(predicted) = entry.predicted {
            let waited = now.saturating_duration_since(entry.arrived);
            self.count_error(waited, predicted);
        }
        let charge = Charge {
            class: ClassId(u8::try_from(at).expect("at most 32 classes")),
            attempt: request.attempt,
            flow: Some(seat.flow),
            era: self.era,
            order,
            units,
            work,
        };
        Turn::Grant(entry, charge)
    }

    pub(super) fn count_admitted(&mut self, attempt: Attempt) {
        if attempt == Attempt::First {
            self.first_attempts += 1;
        }
    }

    fn count_error(&mut self, waited: Duration, predicted: Duration) {
        let error = &mut self.error;
        error.count += 1;
        error.waited_micros += micros(waited);
        error.longer_micros += micros(waited.saturating_sub(predicted));
        error.shorter_micros += micros(predicted.saturating_sub(waited));
    }
}
