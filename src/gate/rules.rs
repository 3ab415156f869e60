//! What the gate is told to do, and what of it and of what was measured is read without a lock.

// Not those of `crate::sync`: these figures are shown, or say how long somebody may wait. Whenever
// they are read, the gate holds, and the model checker need not try it.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::admission::{
    CLASSES_MAX, ClassId, ClassSettings, Discipline, MaxWait, PredictionError, Quantiles,
    RejectReason, Settings,
};

/// What happens to a request when no permit is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// It waits, within the bounds.
    #[default]
    Queue,
    /// It is rejected at once.
    Immediate,
}

/// Whether the gate's no counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// Everybody is let in at once, and what would have been refused is counted:
    /// [`Gate::shadow_rejected`](super::Gate::shadow_rejected). The bounds by number and bytes are
    /// not part of it.
    Shadow,
}

/// Everything that the gate is told besides its budget. Can be replaced while running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether to queue at all.
    pub strategy: Strategy,
    /// Whether a no counts.
    pub mode: Mode,
    /// How many requests may wait; 0 for no bound by count.
    pub max_depth: u32,
    /// How many bytes of weir's own memory the waiting requests may take.
    pub max_bytes: u64,
    /// Who is next, and who must go.
    pub policy: Settings,
}

impl Default for Rules {
    /// One second, 64 MiB, no bound by count, one class, oldest first.
    fn default() -> Self {
        Self {
            strategy: Strategy::Queue,
            mode: Mode::Enforce,
            max_depth: 0,
            max_bytes: 64 << 20,
            policy: Settings::default(),
        }
    }
}

impl Rules {
    /// The defaults for one class with this bound on the wait, served in this order.
    #[must_use]
    pub fn of_one_class(max_wait: Duration, discipline: Discipline) -> Self {
        let class = ClassSettings {
            max_wait: MaxWait::Fixed(max_wait),
            discipline,
            ..ClassSettings::default()
        };
        Self {
            policy: Settings {
                classes: vec![class],
                ..Settings::default()
            },
            ..Self::default()
        }
    }

    /// Whether whoever finds a permit free and nobody waiting may have it without a look at the
    /// policy.
    pub(super) fn is_door_open(&self) -> bool {
        self.mode == Mode::Enforce && !self.policy.asks_everybody()
    }
}

/// The rules, and beside them what the pump has measured for each class.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) rules: Rules,
    /// For each class how long it waits at most, in µs.
    max_wait: Box<[AtomicU64]>,
}

impl Live {
    pub(super) fn new(rules: Rules) -> Self {
        let wait = |class: &ClassSettings| AtomicU64::new(micros(class.max_wait.at_first()));
        Self {
            max_wait: rules.policy.classes.iter().map(wait).collect(),
            rules,
        }
    }

    /// How long a request of this class may wait. A class that there is not is the first.
    pub(super) fn max_wait(&self, class: ClassId) -> Duration {
        let wait = self.max_wait.get(usize::from(class.0));
        Duration::from_micros(wait.unwrap_or(&self.max_wait[0]).load(Ordering::Relaxed))
    }

    pub(super) fn set_max_wait(&self, class: ClassId, wait: Duration) {
        if let Some(known) = self.max_wait.get(usize::from(class.0)) {
            known.store(micros(wait), Ordering::Relaxed);
        }
    }
}

/// Measured service times of one class, in µs; all 0 while they are not known.
#[derive(Debug, Default)]
struct Measured {
    p10: AtomicU64,
    p50: AtomicU64,
    p90: AtomicU64,
}

/// What the pump tells whoever asks, class by class. A class keeps its place when the rules change.
#[derive(Debug)]
pub(super) struct Board {
    service: Box<[Measured]>,
    shadow: Box<[[AtomicU64; RejectReason::ALL.len()]]>,
    /// `u64::MAX`: no limit of the ladder would have been enough.
    pub(super) enough_units: AtomicU64,
    prediction: Prediction,
}

/// See [`PredictionError`].
#[derive(Debug, Default)]
struct Prediction {
    count: AtomicU64,
    waited: AtomicU64,
    longer: AtomicU64,
    shorter: AtomicU64,
}

impl Board {
    pub(super) fn new() -> Self {
        let row = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            service: (0..CLASSES_MAX).map(|_| Measured::default()).collect(),
            shadow: (0..CLASSES_MAX).map(|_| row()).collect(),
            enough_units: AtomicU64::new(0),
            prediction: Prediction::default(),
        }
    }

    /// The service times of a class, once enough were measured.
    pub(super) fn service(&self, class: ClassId) -> Option<Quantiles> {
        let known = self.service.get(usize::from(class.0))?;
        let read = |word: &AtomicU64| Duration::from_micros(word.load(Ordering::Relaxed));
        let p90 = read(&known.p90);
        (!p90.is_zero()).then(|| Quantiles {
            p10: read(&known.p10),
            p50: read(&known.p50),
            p90,
        })
    }

    pub(super) fn set_service(&self, class: ClassId, known: Quantiles) {
        if let Some(place) = self.service.get(usize::from(class.0)) {
            place.p10.store(micros(known.p10), Ordering::Relaxed);
            place.p50.store(micros(known.p50), Ordering::Relaxed);
            // Zero would say that nothing is known.
            place.p90.store(micros(known.p90).max(1), Ordering::Relaxed);
        }
    }

    pub(super) fn prediction(&self) -> PredictionError {
        let known = &self.prediction;
        PredictionError {
            count: known.count.load(Ordering::Relaxed),
            waited_micros: known.waited.load(Ordering::Relaxed),
            longer_micros: known.longer.load(Ordering::Relaxed),
            shorter_micros: known.shorter.load(Ordering::Relaxed),
        }
    }

    pub(super) fn set_prediction(&self, error: PredictionError) {
        let known = &self.prediction;
        known.count.store(error.count, Ordering::Relaxed);
        known.waited.store(error.waited_micros, Ordering::Relaxed);
        known.longer.store(error.longer_micros, Ordering::Relaxed);
        known.shorter.store(error.shorter_micros, Ordering::Relaxed);
    }

    pub(super) fn shadow(&self, class: ClassId, reason: RejectReason) -> &AtomicU64 {
        let class = usize::from(class.0).min(CLASSES_MAX - 1);
        &self.shadow[class][reason as usize]
    }
}

/// Whole microseconds; a time too long for them counts as the longest they can say.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
