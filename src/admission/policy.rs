//! The decision core: who gets the next permit, and who is told no.
//!
//! The gate calls it under one lock, in the order of a request's life:
//!
//! ```text
//! arrive ──Admit──▶ (permit) ───────────────────────────▶ finished
//!    ├──Queue──▶ push ▶ pick ──Grant──▶ (permit) ────────▶ finished
//!    │                   ├──Grant, but the units are gone ▶ put_back
//!    │                   └──Refuse
//!    └──Reject
//! ```
//!
//! | rule | file | default |
//! |---|---|---|
//! | classes: guaranteed shares, lent while idle | `class.rs` | one class |
//! | tenants: deficit round robin in cost × time | `drr.rs`, `tenant.rs` | not told apart |
//! | rate and burst per tenant | `token_bucket.rs` | any |
//! | order, standing queues | `line.rs`, `codel.rs` | oldest first, never cut |
//! | deadlines: never dispatched late; doomed work is refused | `drain_rate.rs`, [`door`], `flow.rs` | the first |
//! | pressure: importance and length | `pressure.rs` | off |
//! | retries: below first attempts, a budget | `retry_budget.rs` | any number |
//! | a large head: backfill, then reserve | [`pick`] | strictly in order |
//!
//! What the gate does beside: it works out `wait_until` from [`Policy::max_wait`], lets go of whose
//! [`Queued::ends`] has come, and calls [`Policy::tick`] a few times per second. Where
//! [`Settings::asks_everybody`] says no, it may let an arrival in without a look here while nobody
//! waits and a permit is free. Every other arrival goes down the channel as it is: whoever has the
//! lock asks [`Policy::arrive`] for it.
//!
//! **Every decision is O(1) in those who wait** (with tenants over time, see `drr.rs`) and linear in
//! the classes, of which there are at most [`CLASSES_MAX`]. Nothing is allocated but the queues'
//! room and, for a tenant that is new, its place.
//!
//! Until [`COMPLETIONS_MIN`](super::COMPLETIONS_MIN) requests have been served, whatever scales
//! with service time is off, and only the hard bounds hold.

mod door;
mod pick;
mod reload;

use std::time::{Duration, Instant};

use super::class::{Class, Seat};
use super::drain_rate::DrainRate;
use super::micros;
use super::reason::RejectReason;
use super::request::{Attempt, Charge, ClassId, Queued, Sample, work};
use super::retry_after::Pushback;
use super::retry_budget::RetryBudget;
use super::seed::Seed;
use super::service_time::{Quantiles, ServiceTime};
use super::settings::{CLASSES_MAX, Settings};
use super::token_bucket::TokenBuckets;
use super::waiter::Waiter;

/// Husks that are too few to bother with.
const PURGE_FLOOR: usize = 64;

/// What the gate tells of itself, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Units free.
    pub free: u32,
    /// Units of the limit.
    pub limit: u32,
    /// Requests that wait and have not left: husks, which the policy still holds, not included.
    pub waiting: u32,
}

/// What is decided at the door.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// Nobody waits and it fits: a permit at once.
    Admit(Charge),
    /// A place in the queue, and how long it is thought to wait.
    Queue(Option<Duration>),
    /// No, for this reason, and when to come back.
    Reject(RejectReason, Pushback),
}

/// Who is next.
#[derive(Debug)]
#[must_use]
pub enum Turn<W> {
    /// This one; the charge says for how many units.
    Grant(Queued<W>, Charge),
    /// This one is let go for this reason; then ask again.
    Refuse(Queued<W>, RejectReason),
    /// Nobody who is next fits. If nothing changes before, ask again then: what is kept free for
    /// a large request may be lent, or its wait is over.
    Hold {
        /// When the answer changes by itself.
        until: Instant,
    },
    /// Nobody waits.
    Empty,
}

/// How far predicted waits were off, over all grants so far that had a prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PredictionError {
    /// Grants that had a prediction.
    pub count: u64,
    /// The sum of what they waited, in µs.
    pub waited_micros: u64,
    /// The sum of what they waited longer than predicted, in µs.
    pub longer_micros: u64,
    /// The sum of what they waited shorter than predicted, in µs.
    pub shorter_micros: u64,
}

/// A request that is too large for what is free, and out of its line.
#[derive(Debug)]
struct Blocked<W> {
    entry: Queued<W>,
    seat: Seat,
    /// Until when others may overtake it.
    backfill_until: Instant,
}

/// Decides for one gate, which calls it under one lock, in the order of a request's life.
#[derive(Debug)]
pub struct Policy<W> {
    settings: Settings,
    classes: Vec<Class<W>>,
    /// The sum of the classes' weights.
    weights: u64,
    virtual_time: u128,
    blocked: Option<Blocked<W>>,
    /// At most what anybody costs who waits: with less than that free, nobody fits.
    least_units: u32,
    buckets: Option<TokenBuckets>,
    retries: RetryBudget,
    /// First attempts admitted so far: what the retry budget is a share of.
    first_attempts: u64,
    drain: DrainRate,
    /// Of all classes together, if there is more than one.
    service: Option<ServiceTime>,
    error: PredictionError,
    chance: Seed,
    epoch: Instant,
    /// Counts the settings: a flow of earlier ones is none of today's.
    era: u32,
}

impl<W: Waiter> Policy<W> {
    /// A policy with nobody in it.
    ///
    /// # Panics
    ///
    /// If there is no class or there are more than [`CLASSES_MAX`]: the configuration checks that.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let count = settings.classes.len();
        assert!((1..=CLASSES_MAX).contains(&count), "{count} classes");
        let weights = settings
            .classes
            .iter()
            .map(|class| u64::from(class.weight))
            .sum();
        let classes = (0..).zip(&settings.classes);
        let rate = settings
            .tenants
            .and_then(|tenants| Some((tenants.rate?, tenants.exact_max)));
        Self {
            classes: classes
                .map(|(place, class)| Class::new(class.clone(), &settings, place))
                .collect(),
            weights,
            virtual_time: 0,
            blocked: None,
            least_units: u32::MAX,
            buckets: rate.map(|(rate, max)| TokenBuckets::new(rate, max, settings.seed, now)),
            retries: RetryBudget::default(),
            first_attempts: 0,
            drain: DrainRate::default(),
            service: (count > 1).then(ServiceTime::default),
            error: PredictionError::default(),
            chance: Seed::new(settings.seed),
            epoch: now,
            era: 0,
            settings,
        }
    }

    /// How many classes there are.
    #[must_use]
    pub fn classes(&self) -> u8 {
        u8::try_from(self.classes.len()).unwrap_or(u8::MAX)
    }

    /// Whether tenants are told apart.
    #[must_use]
    pub fn tells_tenants_apart(&self) -> bool {
        self.settings.tenants.is_some()
    }

    /// Takes in somebody who is to wait. The door has been asked, or does not matter.
    pub fn push(&mut self, entry: Queued<W>) {
        self.drain.busy(entry.arrived);
        self.least_units = self.least_units.min(entry.request.units);
        let (virtual_time, at) = (self.virtual_time, self.place(entry.request.class));
        let class = &mut self.classes[at];
        if class.len() == 0 {
            class.catch_up(virtual_time);
        }
        class.push(entry);
    }

    /// A permit came back: so many units of `charge`, held for so long.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a charge is settled once: it is used up, though nothing of it is kept"
    )]
    pub fn finished(&mut self, now: Instant, charge: Charge, held: Duration, sample: Sample) {
        self.settle(&charge, work(charge.units, micros(held)));
        if sample == Sample::Cut && charge.era == self.era {
            let at = self.place(charge.class);
            self.classes[at].refused(now, charge.attempt, charge.flow.unwrap_or_default());
        }
        self.observed(now, charge.class, charge.units, held, sample, 0);
    }

    /// The same for first attempts that were let in without a look here, of which one speaks for
    /// as many as `stands_for` while nobody waits.
    pub fn observed(
        &mut self,
        now: Instant,
        class: ClassId,
        units: u32,
        held: Duration,
        sample: Sample,
        stands_for: u32,
    ) {
        self.first_attempts += u64::from(stands_for);
        self.drain.released(now, units);
        if self.is_empty() {
            self.drain.idle(now);
        }
        if sample == Sample::Served {
            let at = self.place(class);
            self.classes[at].record(now, held);
            if let Some(all) = &mut self.service {
                all.record(now, held);
            }
            if let Some(known) = self.overall() {
                self.drain.scale(known.p50);
            }
        }
    }

    /// Undoes a pick that could not be granted: the entry is next again.
    pub fn put_back(&mut self, now: Instant, entry: Queued<W>, charge: Charge) {
        if let Some(flow) = charge.flow {
            self.drain.busy(now);
            self.least_units = self.least_units.min(entry.request.units);
            let at = self.place(charge.class);
            self.classes[at].put_back(entry, flow, charge.order);
        }
        self.undo(charge);
    }

    /// Undoes an admission at the door that could not be granted: nothing was charged.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a charge is settled once: it is used up, though nothing of it is kept"
    )]
    pub fn undo(&mut self, charge: Charge) {
        if charge.attempt == Attempt::First {
            self.first_attempts -= 1;
        }
        self.settle(&charge, 0);
    }

    /// To be called a few times per second, so that a stall in which nothing happens is seen.
    pub fn tick(&mut self, now: Instant) {
        if !self.is_empty() {
            self.drain.busy(now);
        }
    }

    /// Entries held, husks included.
    #[must_use]
    pub fn len(&self) -> usize {
        let blocked = usize::from(self.blocked.is_some());
        self.classes.iter().map(Class::len).sum::<usize>() + blocked
    }

    /// Whether nothing is held, not even a husk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocked.is_none() && self.classes.iter().all(|class| class.len() == 0)
    }

    /// Lets go of the husks once they are more than half, if so many still wait: so the cost of it
    /// is paid for by the departures that made it necessary.
    pub fn purge_if_mostly_husks(&mut self, waiting: u32) {
        if self.len() > 2 * waiting as usize + PURGE_FLOOR {
            self.purge();
        }
    }

    /// Lets go of every husk. Linear in all that are held.
    pub fn purge(&mut self) {
        if self.is_empty() {
            return;
        }
        for class in &mut self.classes {
            class.purge();
        }
        self.drop_blocked_husk();
    }

    /// When the one who has waited longest arrived. O(1) without tenants; with them a look at each
    /// that waits, so for a metric, not for every round.
    pub fn oldest(&mut self) -> Option<Instant> {
        let blocked = self
            .blocked
            .as_ref()
            .filter(|blocked| blocked.entry.waiter.is_waiting());
        let blocked = blocked.map(|blocked| blocked.entry.arrived);
        self.classes
            .iter_mut()
            .filter_map(Class::oldest)
            .chain(blocked)
            .min()
    }

    /// How long a request of this class may wait now.
    #[must_use]
    pub fn max_wait(&self, class: ClassId) -> Duration {
        self.classes[self.place(class)].max_wait()
    }

    /// How long a request of this class waits at most before it is let go: by `CoDel` while its
    /// queue stands, or by the bound.
    #[must_use]
    pub fn tolerated_wait(&self, class: ClassId) -> Duration {
        self.classes[self.place(class)].tolerated_wait()
    }

    /// The measured service times of a class, once there are enough.
    #[must_use]
    pub fn service(&self, class: ClassId) -> Option<Quantiles> {
        self.classes[self.place(class)].quantiles()
    }

    /// The service times of all classes together, once enough were measured.
    #[must_use]
    pub fn overall(&self) -> Option<Quantiles> {
        match &self.service {
            Some(all) => all.quantiles(),
            None => self.classes[0].quantiles(),
        }
    }

    /// How far predicted waits were off so far.
    #[must_use]
    pub fn prediction_error(&self) -> PredictionError {
        self.error
    }

    /// A charge of earlier settings is settled already: they were forgotten with all they were
    /// owed.
    fn settle(&mut self, charge: &Charge, done: u64) {
        if charge.era == self.era {
            let at = self.place(charge.class);
            self.classes[at].settle(charge, done);
        }
    }

    /// A class that is not configured is the first.
    fn place(&self, class: ClassId) -> usize {
        let at = usize::from(class.0);
        if at < self.classes.len() { at } else { 0 }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }
}

#[cfg(test)]
mod tests;
