//! The door: who is let in, may wait, or is refused before it costs anything.
//!
//! In this order, the cheapest and surest first: the tenant's rate; a permit, if nobody waits and
//! one is free; the deadline that has passed, or is too near even without a wait; the retry budget;
//! a deadline too near for the wait; importance under pressure; the length of the queue; the tenant's
//! share of it.

use std::time::{Duration, Instant};

use super::super::class::Class;
use super::super::drain_rate::DrainRate;
use super::super::pressure;
use super::super::reason::RejectReason;
use super::super::request::{Attempt, Charge, Request, work};
use super::super::retry_after::Pushback;
use super::super::settings::Switch;
use super::super::waiter::{Order, Waiter};
use super::{Policy, Room, Verdict};

impl<W: Waiter> Policy<W> {
    /// Decides on a request that arrives now.
    pub fn arrive(&mut self, now: Instant, request: &Request, room: Room) -> Verdict {
        if let (Some(buckets), Some(tenant)) = (&mut self.buckets, request.tenant)
            && let Err(wait) = buckets.try_take(now, tenant)
        {
            let pushback = Pushback::not_before(wait, &mut self.chance);
            return Verdict::Reject(RejectReason::TenantRate, pushback);
        }
        let expired = request.deadline.is_some_and(|deadline| deadline <= now);
        let at = self.place(request.class);
        let free = room.waiting == 0 && request.units.min(room.limit) <= room.free;
        if free && !expired {
            // Also one that looks doomed: else a backend that was slow once would be so for good,
            // for nobody would be let in to show that it is not.
            return Verdict::Admit(self.admit(now, request, room.limit));
        }
        if !free {
            // Somebody wants a permit and there is none: also when it is refused, and nobody waits,
            // what comes back tells how fast. Or after a stall all would look doomed for ever.
            self.drain.busy(now);
        }
        let flow = self.classes[at].flow_of(request);
        let predicted = self.predict(at, request, flow, room);
        let refusal = if expired {
            Some(RejectReason::Expired)
        } else if self.is_doomed(now, request, at, Duration::ZERO) {
            // Hardly anybody was ever served in what is left to it, even at once.
            Some(RejectReason::Doomed)
        } else {
            self.refusal(now, request, (at, flow), predicted, room)
        };
        match refusal {
            None => Verdict::Queue(predicted),
            Some(refusal) => {
                self.classes[at].refused(now, request.attempt, flow);
                Verdict::Reject(refusal, self.pushback(refusal, predicted))
            }
        }
    }

    /// When to come back, for whom the policy has let go after it waited.
    pub fn pushback_for(
        &mut self,
        request: &Request,
        refusal: RejectReason,
        room: Room,
    ) -> Pushback {
        let at = self.place(request.class);
        let flow = self.classes[at].flow_of(request);
        let predicted = self.predict(at, request, flow, room);
        self.pushback(refusal, predicted)
    }

    fn pushback(&mut self, refusal: RejectReason, predicted: Option<Duration>) -> Pushback {
        let pushback = Pushback::spread(predicted.unwrap_or_default(), &mut self.chance);
        if refusal == RejectReason::RetryBudget {
            pushback.never()
        } else {
            pushback
        }
    }

    fn admit(&mut self, now: Instant, request: &Request, limit: u32) -> Charge {
        let at = self.place(request.class);
        let virtual_time = self.virtual_time;
        let class = &mut self.classes[at];
        class.catch_up(virtual_time);
        // Nobody waits: the others' time is that of whoever runs.
        self.virtual_time = class.virtual_time();
        let units = request.units.min(limit);
        let work = work(units, class.estimate());
        class.charge(None, request.attempt, units, work);
        self.drain.idle(now);
        if request.attempt == Attempt::Retry
            && let Some(limits) = self.settings.retries
        {
            // It is let in also when the budget is empty, for nobody waits; but it counts.
            let since = self.since_start(now);
            self.retries.try_retry(since, self.first_attempts, limits);
        }
        self.count_admitted(request.attempt);
        Charge {
            class: request.class,
            attempt: request.attempt,
            flow: None,
            era: self.era,
            order: Order::Fifo,
            units,
            work,
        }
    }

    fn refusal(
        &mut self,
        now: Instant,
        request: &Request,
        (at, flow): (usize, u32),
        predicted: Option<Duration>,
        room: Room,
    ) -> Option<RejectReason> {
        if request.attempt == Attempt::Retry
            && let Some(limits) = self.settings.retries
            && !self
                .retries
                .try_retry(self.since_start(now), self.first_attempts, limits)
        {
            return Some(RejectReason::RetryBudget);
        }
        if let Some(predicted) = predicted {
            if self.is_doomed(now, request, at, predicted) {
                return Some(RejectReason::Doomed);
            }
            if self.is_cut_off(request, at, room) {
                return Some(RejectReason::ClassShare);
            }
        }
        let share = u64::from(room.limit) * u64::from(self.classes[at].settings.weight)
            / self.competing_weights(at).max(1);
        if let Some(ramp) = self.classes[at].settings.ramp {
            let queued = Self::living(self.classes[at].units(), self.len(), room);
            if ramp.is_refused(queued, share, &mut self.chance) {
                return Some(RejectReason::QueueDepth);
            }
        }
        if self.settings.tenants.is_some() && self.classes[at].is_hogged_by(request, flow, share) {
            return Some(RejectReason::TenantShare);
        }
        None
    }

    /// Whether so long a wait and even a short service time are more than what is left.
    fn is_doomed(&self, now: Instant, request: &Request, at: usize, predicted: Duration) -> bool {
        let (Some(doom), Some(deadline)) = (self.settings.doom, request.deadline) else {
            return false;
        };
        let Some(service) = self.classes[at].quantiles() else {
            return false;
        };
        let wait = predicted.saturating_mul(doom.wait_percent) / 100;
        wait + service.p10 > deadline.saturating_duration_since(now)
    }

    /// By the wait of the whole queue: what makes room for the important is the unimportant that
    /// does not join it. A retry counts half of its class.
    fn is_cut_off(&self, request: &Request, at: usize, room: Room) -> bool {
        if self.settings.cut_off == Switch::Off {
            return false;
        }
        let p50 = self.overall().map(|known| known.p50);
        let Some(rate) = self.drain.per_second(room.limit, p50) else {
            return false;
        };
        let queued = self.classes.iter().map(Class::units).sum();
        let wait = DrainRate::wait(Self::living(queued, self.len(), room), rate);
        let overload = pressure::overload(wait, self.classes[at].max_wait());
        let importance = self.classes[at].settings.importance;
        let importance = match request.attempt {
            Attempt::First => importance,
            Attempt::Retry => importance / 2,
        };
        pressure::is_cut(importance, overload)
    }

    /// How long a request that came now would wait: the units ahead of it in the order of
    /// dispatch, and its own as far as they are not free, at the rate at which units come back,
    /// of which its class has its share among those that wait.
    fn predict(&mut self, at: usize, request: &Request, flow: u32, room: Room) -> Option<Duration> {
        let p50 = self.overall()?.p50;
        let rate = self.drain.per_second(room.limit, Some(p50))?;
        let len = self.len();
        let mut ahead = Self::living(self.classes[at].ahead_of(request, flow), len, room);
        if let Some(blocked) = &self.blocked {
            ahead += u64::from(blocked.entry.request.units.min(room.limit));
        }
        let own = u64::from(request.units.min(room.limit));
        let units = (ahead + own).saturating_sub(u64::from(room.free));
        let weight = u64::from(self.classes[at].settings.weight.max(1));
        let wait = DrainRate::wait(units, rate);
        let share = u128::from(self.competing_weights(at));
        let micros = wait.as_micros() * share / u128::from(weight);
        Some(Duration::from_micros(
            u64::try_from(micros).unwrap_or(u64::MAX),
        ))
    }

    /// The weights of the classes that wait, and of this one.
    fn competing_weights(&self, at: usize) -> u64 {
        if let [only] = &self.classes[..] {
            return u64::from(only.settings.weight);
        }
        let classes = (0..).zip(&self.classes);
        let competing = classes.filter(|(other, class)| *other == at || class.len() > 0);
        competing
            .map(|(_, class)| u64::from(class.settings.weight))
            .sum()
    }

    /// Of the units that are held, those of who has not left: in proportion, for who left is
    /// known by number only.
    fn living(units: u64, len: usize, room: Room) -> u64 {
        let (len, waiting) = (len as u64, u64::from(room.waiting));
        if waiting >= len {
            units
        } else {
            let part = u128::from(units) * u128::from(waiting) / u128::from(len.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        }
    }
}
