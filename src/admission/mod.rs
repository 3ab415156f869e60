//! The pure core of admission: who may occupy the backend, in what order, and who is told no.
//!
//! **Nothing here does IO, reads a clock, emits a metric or knows tokio.** Time is an argument,
//! costs are integers, decisions are values. The shell that makes it concurrent is
//! [`crate::gate`].

pub mod classify;
mod outcome;
mod reason;
mod retry_budget;
pub mod route;
mod scheduler;
mod units;

pub use outcome::Outcome;
pub use reason::RejectReason;
pub use retry_budget::{RETRY_WINDOW_SECONDS, RetryBudget, RetryLimits};
pub use scheduler::{Entry, Order, Pick, Scheduler, Waiter};
pub use units::{Budget, BudgetError, Decimal, MAX_PERMITS, UNITS_PER_TASK};
