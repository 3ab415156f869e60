//! What the policy is told to do. **The defaults do what a plain queue does**: one class, nobody
//! told apart, oldest first, a bound on the wait, and nothing refused before its time.

use std::time::Duration;

use super::pressure::{IMPORTANCE_MAX, Ramp};
use super::retry_budget::RetryLimits;
use super::token_bucket::TenantRate;
use super::waiter::Order;

/// Classes that there can be at most: decisions are linear in them.
pub const CLASSES_MAX: usize = 32;

/// The name of the first class, which takes what no route assigns.
pub const DEFAULT_CLASS: &str = "default";

/// In what order a class serves those who wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discipline {
    /// Oldest first.
    #[default]
    Fifo,
    /// Newest first.
    Lifo,
    /// Oldest first, and newest first while the queue stands by `CoDel`'s measure: the newest
    /// client is the one most likely to be still there.
    Adaptive,
}

impl Discipline {
    /// The order while the queue stands or does not.
    pub(super) fn order(self, standing: bool) -> Order {
        match self {
            Self::Lifo => Order::Lifo,
            Self::Adaptive if standing => Order::Lifo,
            Self::Fifo | Self::Adaptive => Order::Fifo,
        }
    }
}

/// How long a request of a class waits at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxWait {
    /// So long.
    Fixed(Duration),
    /// `clamp(2 × S50, 1 s, 30 s)`; 1 s until the class is measured.
    Auto,
}

impl MaxWait {
    /// The wait while nothing is measured.
    #[must_use]
    pub fn at_first(self) -> Duration {
        match self {
            Self::Fixed(wait) => wait,
            Self::Auto => Duration::from_secs(1),
        }
    }
}

/// Whether a rule is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

/// One class. The first one takes what no route assigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSettings {
    /// Its share of the limit, relative to the others': guaranteed while it is wanted, lent out
    /// while it is not. 1 to 10,000; default 1.
    pub weight: u32,
    /// How late it is cut under pressure, 0 (first) to 100 (never); default 50.
    pub importance: u8,
    /// Who of it goes first; default oldest first.
    pub discipline: Discipline,
    /// How long its requests wait; default 1 s.
    pub max_wait: MaxWait,
    /// Whether standing queues are cut (see [`codel`](super::CodelRule)); default off. Without it
    /// [`Discipline::Adaptive`] is oldest first.
    pub codel: Switch,
    /// Whether arrivals are refused by chance as its queue fills; default not.
    pub ramp: Option<Ramp>,
}

impl Default for ClassSettings {
    fn default() -> Self {
        Self {
            weight: 1,
            importance: IMPORTANCE_MAX / 2,
            discipline: Discipline::Fifo,
            max_wait: MaxWait::Fixed(Duration::from_secs(1)),
            codel: Switch::Off,
            ramp: None,
        }
    }
}

/// How doomed work is told.
///
/// A request is doomed if `predicted wait × wait_percent ÷ 100 + S10 > what is left to it`:
/// if hardly anybody was ever served in what it would have left. A refusal at the door is final,
/// and at the median every other one was wrong where the wait is near what clients have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doom {
    /// What the predicted wait is multiplied by. Default 100. Above that a little early, which is
    /// better where nothing else bounds the wait (without [`codel`](ClassSettings::codel)), and worse
    /// for bursts.
    pub wait_percent: u32,
}

impl Default for Doom {
    fn default() -> Self {
        Self { wait_percent: 100 }
    }
}

/// How tenants share a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantSettings {
    /// Up to how many are told apart exactly; the others share hashed buckets. Default 1024.
    pub exact_max: u32,
    /// What each may send; default any amount.
    pub rate: Option<TenantRate>,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            exact_max: 1024,
            rate: None,
        }
    }
}

/// Everything that the policy is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At least one, at most [`CLASSES_MAX`].
    pub classes: Vec<ClassSettings>,
    /// Whether tenants are told apart; default not.
    pub tenants: Option<TenantSettings>,
    /// How many retries may wait or be admitted while others wait; default any number.
    pub retries: Option<RetryLimits>,
    /// Whether and how doomed work is refused at the door; default not.
    pub doom: Option<Doom>,
    /// Whether classes are cut by importance under pressure; default not.
    pub cut_off: Switch,
    /// For how much of its wait others may overtake a request that is too large for what is free,
    /// in percent; then what comes free is kept for it. Default 0.
    pub backfill_percent: u8,
    /// Where chance comes from.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            classes: vec![ClassSettings::default()],
            tenants: None,
            retries: None,
            doom: None,
            cut_off: Switch::Off,
            backfill_percent: 0,
            seed: 0,
        }
    }
}

impl Settings {
    /// Whether the door must be asked also when nobody waits and a permit is free. If not, a first
    /// attempt with enough time left may be let in without a look at the policy, and need only be
    /// [`observed`](super::Policy::observed).
    #[must_use]
    pub fn asks_everybody(&self) -> bool {
        self.classes.len() > 1 || self.tenants.is_some()
    }
}
