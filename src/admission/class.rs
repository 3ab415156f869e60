//! Classes: whose turn it is between kinds of work.
//!
//! A class has a **guaranteed share** of the limit by its weight. Two keys say who is next:
//!
//! 1. A class that holds less than its share goes before one that holds its share or more. So what
//!    an idle class lent out comes back with the first permits that do.
//! 2. Between equals, the lower *virtual time*: work granted, in cost × time, divided by the
//!    weight (start-time fair queuing, Goyal et al. 1996; Kubernetes' priority and fairness counts
//!    the same way). So the surplus is shared by weight, and with fewer permits than classes they
//!    take turns. A class that was idle starts at the others' time: nothing is saved up.
//!
//! **Nobody starves**: every class that waits holds its share, or gets what comes free before any
//! class that has more than its own. Inside a class, first attempts go before retries; a retry's
//! wait is bounded by `max_wait` alone.

use std::time::{Duration, Instant};

use super::codel::CodelRule;
use super::drr::Ring;
use super::flow::{Next, Rules};
use super::micros;
use super::request::{Attempt, Charge, Queued, Request};
use super::service_time::{Quantiles, ServiceTime};
use super::settings::{ClassSettings, MaxWait, Settings, Switch};
use super::waiter::{Order, Waiter};

/// What a request is thought to take before anything is measured, in µs. Settled at its end.
const UNMEASURED_MICROS: u64 = 1000;

/// A line of a class: of first attempts or retries, and of which tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) attempt: Attempt,
    pub(super) flow: u32,
}

/// One class: who waits, what it holds, and how fast it is served.
#[derive(Debug)]
pub(super) struct Class<W> {
    pub(super) settings: ClassSettings,
    first: Ring<W>,
    retries: Ring<W>,
    service: ServiceTime,
    quantiles: Option<Quantiles>,
    codel: Option<CodelRule>,
    max_wait: Duration,
    doom: Switch,
    /// Units of its permits.
    pub(super) held: u64,
    /// `2^32 ÷ weight`.
    inverse_weight: u64,
    /// Task-microseconds × 2^32 ÷ weight.
    virtual_time: u128,
}

impl<W: Waiter> Class<W> {
    pub(super) fn new(settings: ClassSettings, policy: &Settings, place: u64) -> Self {
        let exact_max = policy.tenants.map(|tenants| tenants.exact_max);
        let max_wait = settings.max_wait.at_first();
        let seed = policy.seed.wrapping_add(place);
        let codel = (settings.codel == Switch::On).then(|| CodelRule::unmeasured(max_wait));
        Self {
            inverse_weight: (1 << 32) / u64::from(settings.weight.max(1)),
            settings,
            first: Ring::new(exact_max, seed),
            retries: Ring::new(exact_max, seed),
            service: ServiceTime::default(),
            quantiles: None,
            codel,
            max_wait,
            doom: if policy.doom.is_some() {
                Switch::On
            } else {
                Switch::Off
            },
            held: 0,
            virtual_time: 0,
        }
    }

    /// Takes over what an earlier class of other settings knew, and hands out who waits.
    pub(super) fn inherit(&mut self, old: Self) -> Vec<Queued<W>> {
        if self.quantiles.is_none() {
            self.service = old.service;
            self.quantiles = old.quantiles;
            self.scale();
        }
        let mut waiting = old.first.into_entries();
        waiting.append(&mut old.retries.into_entries());
        waiting
    }

    pub(super) fn max_wait(&self) -> Duration {
        self.max_wait
    }

    pub(super) fn tolerated_wait(&self) -> Duration {
        self.codel.map_or(self.max_wait, |rule| rule.limit)
    }

    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        self.quantiles
    }

    /// What a default request is thought to take, in µs.
    pub(super) fn estimate(&self) -> u64 {
        self.quantiles
            .map_or(UNMEASURED_MICROS, |known| micros(known.p50).max(1))
    }

    /// Takes note of a service time, and scales by it what is to scale.
    pub(super) fn record(&mut self, now: Instant, took: Duration) {
        self.service.record(now, took);
        let known = self.service.quantiles();
        if known == self.quantiles {
            return;
        }
        self.quantiles = known;
        self.scale();
    }

    fn scale(&mut self) {
        let Some(known) = self.quantiles else { return };
        if self.settings.max_wait == MaxWait::Auto {
            self.max_wait = known.max_wait();
        }
        if self.settings.codel == Switch::On {
            self.codel = Some(CodelRule::scaled(&known, self.max_wait));
        }
    }

    // === who waits ===

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.retries.len()
    }

    pub(super) fn units(&self) -> u64 {
        self.first.units() + self.retries.units()
    }

    fn ring(&mut self, attempt: Attempt) -> &mut Ring<W> {
        match attempt {
            Attempt::First => &mut self.first,
            Attempt::Retry => &mut self.retries,
        }
    }

    pub(super) fn flow_of(&mut self, request: &Request) -> u32 {
        let quantum = self.estimate();
        self.ring(request.attempt).flow_of(request.tenant, quantum)
    }

    pub(super) fn push(&mut self, entry: Queued<W>) {
        let (flow, quantum) = (self.flow_of(&entry.request), self.estimate());
        self.ring(entry.request.attempt).push(flow, entry, quantum);
    }

    /// Somebody was refused at the door, or left with a permit that came late: its queue costs.
    pub(super) fn refused(&mut self, now: Instant, attempt: Attempt, flow: u32) {
        self.ring(attempt).refused(now, flow);
    }

    pub(super) fn put_back(&mut self, entry: Queued<W>, flow: u32, order: Order) {
        let quantum = self.estimate();
        self.ring(entry.request.attempt)
            .put_back(flow, entry, order, quantum);
    }

    fn rules(&self, now: Instant, free: u32, limit: u32) -> Rules {
        Rules {
            now,
            free,
            limit,
            discipline: self.settings.discipline,
            codel: self.codel,
            quantum: self.estimate(),
            fastest: match (self.doom, self.quantiles) {
                (Switch::On, Some(known)) => known.p10,
                (Switch::On, None) | (Switch::Off, _) => Duration::ZERO,
            },
        }
    }

    /// Who of this class is next, and in which line.
    pub(super) fn next(&mut self, now: Instant, free: u32, limit: u32) -> (Seat, Next) {
        let rules = self.rules(now, free, limit);
        let (mut attempt, (mut flow, mut next)) = (Attempt::First, self.first.next(&rules));
        if matches!(next, Next::Nobody) {
            attempt = Attempt::Retry;
            (flow, next) = self.retries.next(&rules);
        }
        (Seat { attempt, flow }, next)
    }

    /// When the wait of this line's head ends.
    pub(super) fn head_ends(&mut self, seat: Seat, order: Order) -> Option<Instant> {
        self.ring(seat.attempt).head_ends(seat.flow, order)
    }

    /// Takes the one at that end of a line.
    pub(super) fn take(&mut self, seat: Seat, order: Order) -> Option<Queued<W>> {
        self.ring(seat.attempt).take(seat.flow, order)
    }

    /// Keeps the line its tenant's, though it may be empty, until [`unpin`](Self::unpin).
    pub(super) fn pin(&mut self, seat: Seat) {
        self.ring(seat.attempt).pin(seat.flow);
    }

    pub(super) fn unpin(&mut self, seat: Seat) {
        self.ring(seat.attempt).unpin(seat.flow);
    }

    /// Takes somebody of this line who fits, though its head does not.
    pub(super) fn take_fitting(
        &mut self,
        seat: Seat,
        now: Instant,
        free: u32,
        limit: u32,
    ) -> Option<Queued<W>> {
        let rules = self.rules(now, free, limit);
        self.ring(seat.attempt).take_fitting(seat.flow, &rules)
    }

    pub(super) fn order(&mut self, seat: Seat) -> Order {
        let discipline = self.settings.discipline;
        self.ring(seat.attempt).order(seat.flow, discipline)
    }

    /// Units that will be dispatched before a request that comes now.
    pub(super) fn ahead_of(&mut self, request: &Request, flow: u32) -> u64 {
        let attempt = request.attempt;
        if self.order(Seat { attempt, flow }) == Order::Lifo {
            return 0;
        }
        let ring = self.ring(request.attempt);
        // Round robin: each other flow gets as much as this one has waiting, or all it has.
        let turns = ring.flows().max(1);
        let ahead = ring
            .units()
            .min(ring.flow_units(flow).saturating_mul(turns));
        match request.attempt {
            Attempt::First => ahead,
            Attempt::Retry => ahead + self.first.units(),
        }
    }

    /// Whether this tenant has half of what waits here, and more than so many units, while others
    /// wait, too.
    pub(super) fn is_hogged_by(&mut self, request: &Request, flow: u32, limit: u64) -> bool {
        let ring = self.ring(request.attempt);
        let own = ring.flow_units(flow) + u64::from(request.units);
        ring.flows() > 1 && own > limit && own > ring.units() / 2
    }

    pub(super) fn purge(&mut self) {
        self.first.purge();
        self.retries.purge();
    }

    pub(super) fn oldest(&mut self) -> Option<Instant> {
        let (first, retry) = (self.first.oldest(), self.retries.oldest());
        first.into_iter().chain(retry).min()
    }

    // === whose turn it is ===

    /// Whether it holds less than its share of the limit, and its virtual time: the lower, the
    /// sooner its turn.
    pub(super) fn turn(&self, limit: u32, weights: u64) -> (bool, u128) {
        let share = u64::from(limit) * u64::from(self.settings.weight) / weights.max(1);
        (self.held >= share.max(1), self.virtual_time)
    }

    pub(super) fn virtual_time(&self) -> u128 {
        self.virtual_time
    }

    /// Begins to wait or to run, with nothing saved up from when it did not.
    pub(super) fn catch_up(&mut self, virtual_time: u128) {
        self.virtual_time = self.virtual_time.max(virtual_time);
    }

    pub(super) fn charge(&mut self, flow: Option<u32>, attempt: Attempt, units: u32, work: u64) {
        self.held += u64::from(units);
        self.virtual_time += self.weighted(work);
        if let Some(flow) = flow {
            self.ring(attempt).charge(flow, work);
        }
    }

    /// Settles a charge with what it was.
    pub(super) fn settle(&mut self, charge: &Charge, done: u64) {
        self.held -= u64::from(charge.units);
        self.virtual_time =
            (self.virtual_time + self.weighted(done)).saturating_sub(self.weighted(charge.work));
        if let Some(flow) = charge.flow {
            self.ring(charge.attempt).settle(flow, charge.work, done);
        }
    }

    /// Work by weight. By the inverse of the weight: a division in 128 bits is the dearest step of
    /// a grant.
    fn weighted(&self, work: u64) -> u128 {
        u128::from(work) * u128::from(self.inverse_weight)
    }
}
