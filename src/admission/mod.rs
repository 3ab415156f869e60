//! The pure core of admission: who may occupy the backend, in what order, and who is told no.
//!
//! **Nothing here does IO, reads a clock, emits a metric or knows tokio.** Time is an argument,
//! costs are integers, decisions are values. The shell that makes it concurrent is
//! [`crate::gate`].

mod class;
pub mod classify;
mod codel;
mod drain_rate;
mod drr;
mod flow;
mod line;
mod outcome;
mod policy;
mod pressure;
mod reason;
mod request;
mod retry_after;
mod retry_budget;
pub mod route;
mod seed;
mod service_time;
mod settings;
mod shadow;
mod tenant;
mod token_bucket;
mod units;
mod waiter;
mod what_if;

use std::time::Duration;

pub use codel::{Codel, CodelRule};
pub use drain_rate::DrainRate;
pub use outcome::Outcome;
pub use policy::{Policy, PredictionError, Room, Turn, Verdict};
pub use pressure::{IMPORTANCE_MAX, Ramp};
pub use reason::RejectReason;
pub use request::{Attempt, Charge, ClassId, Queued, Request, Sample, end_of_wait};
pub use retry_after::Pushback;
pub use retry_budget::{RETRY_WINDOW_SECONDS, RetryBudget, RetryLimits};
pub use seed::Seed;
pub use service_time::{COMPLETIONS_MIN, Quantiles, ServiceTime};
pub use settings::{
    CLASSES_MAX, ClassSettings, DEFAULT_CLASS, Discipline, Doom, MaxWait, Settings, Switch,
    TenantSettings,
};
pub use shadow::{Passage, Shadow};
pub use tenant::{BUCKETS, HAND, TenantKey};
pub use token_bucket::{TenantRate, TokenBuckets};
pub use units::{Budget, BudgetError, Decimal, MAX_PERMITS, UNITS_PER_TASK};
pub use waiter::{Order, Waiter};
pub use what_if::WhatIf;

/// Whole microseconds; a time too long for them counts as the longest they can say.
fn micros(time: Duration) -> u64 {
    // `Duration::as_micros` multiplies in 128 bits, and this is done several times per request.
    let seconds = time.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(u64::from(time.subsec_micros()))
}
