//! What can be read of a gate: its settings, and its figures of the moment.

use std::time::Duration;

use super::rules::Rules;
use super::{Core, Gate, Mode};
use crate::admission::{Budget, ClassId, PredictionError, Quantiles, RejectReason, UNITS_PER_TASK};
use crate::sync::atomic::Ordering;

/// The gate's figures at one moment. Each but the last is exact; together they are a snapshot
/// without a lock.
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
    /// How long the oldest of them has waited, by the pump's last look at who it is.
    pub oldest_wait: Duration,
}

/// One class as its gate knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassReading {
    /// Its weight among the others.
    pub weight: u32,
    /// How many of it would have been refused in [`Mode::Shadow`], in the order of
    /// [`RejectReason::ALL`].
    pub shadow_rejected: [u64; RejectReason::ALL.len()],
    /// How long its requests hold their permits, once enough were measured.
    pub service: Option<Quantiles>,
}

impl Gate {
    /// The budget that was last set.
    #[must_use]
    pub fn budget(&self) -> Budget {
        **self.core.budget.load()
    }

    /// The rules that were last set.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.core.live.load().rules.clone()
    }

    /// Whether nobody is refused.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.core.is_shadow()
    }

    /// The longest that a request of any class may wait now.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        let live = self.core.live.load();
        let classes = (0..).zip(&live.rules.policy.classes);
        let waits = classes.map(|(at, _)| live.max_wait(ClassId(at)));
        waits.max().unwrap_or_default()
    }

    /// Every class of the rules, in their order.
    #[must_use]
    pub fn classes(&self) -> Vec<ClassReading> {
        let live = self.core.live.load();
        let classes = (0..).map(ClassId).zip(&live.rules.policy.classes);
        classes
            .map(|(class, settings)| ClassReading {
                weight: settings.weight,
                shadow_rejected: RejectReason::ALL
                    .map(|reason| self.shadow_rejected(class, reason)),
                service: self.service(class),
            })
            .collect()
    }

    /// How long requests of a class hold their permits, once enough were measured.
    #[must_use]
    pub fn service(&self, class: ClassId) -> Option<Quantiles> {
        self.core.board.service(class)
    }

    /// How many of a class would have been refused for a reason in [`Mode::Shadow`].
    #[must_use]
    pub fn shadow_rejected(&self, class: ClassId, reason: RejectReason) -> u64 {
        self.core
            .board
            .shadow(class, reason)
            .load(Ordering::Relaxed)
    }

    /// In [`Mode::Shadow`], the units of the smallest limit that would have refused nobody in the
    /// last five minutes, to a fifth; `u64::MAX` if sixteen times the limit would not have been
    /// enough. In other modes what was known last, 0 at first.
    #[must_use]
    pub fn enough_units(&self) -> u64 {
        self.core.board.enough_units.load(Ordering::Relaxed)
    }

    /// How far predicted waits were off so far.
    #[must_use]
    pub fn prediction_error(&self) -> PredictionError {
        self.core.board.prediction()
    }

    /// How many default-cost requests may run at once, and how many requests hold a permit.
    #[must_use]
    pub fn occupancy(&self) -> (u32, u32) {
        let (in_flight, _) = self.core.held.read();
        (self.core.limit_units() / UNITS_PER_TASK, in_flight)
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
            available_units: core.available_units(in_flight_units),
            debt_units: core.debt.load(Ordering::Acquire),
            in_flight,
            in_flight_units,
            queued,
            queued_bytes,
            oldest_wait: core.oldest_wait(),
        }
    }
}

impl Core {
    pub(super) fn is_shadow(&self) -> bool {
        self.live.load().rules.mode == Mode::Shadow
    }

    /// Units free. In the shadow nobody takes them, and they are reckoned.
    fn available_units(&self, in_flight_units: u64) -> u64 {
        if self.is_shadow() {
            u64::from(self.limit_units()).saturating_sub(in_flight_units)
        } else {
            self.semaphore.available_permits() as u64
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
