//! What stands in front of the backend: weir's own admission code, and what it is measured
//! against.

mod baselines;
mod envoy;
mod weir;

pub(crate) use baselines::{CheckThenAct, Fifo, NoGate};
pub(crate) use envoy::AdaptiveConcurrency;
pub(crate) use weir::Weir;

use super::tally::Tally;
use super::world::{Id, Request};

/// What becomes of a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run,
    /// It waits, until then if nothing else ends it.
    Wait(Option<u64>),
    Refuse(&'static str),
}

/// A gate. Times in µs since the start.
pub(crate) trait Server {
    fn arrive(&mut self, now: u64, id: Id, request: &Request) -> Action;

    /// The next decision on those who wait, until there is none.
    fn next(&mut self, now: u64) -> Option<(Id, Action)>;

    /// The backend is done with it, or died of it.
    fn finished(&mut self, now: u64, id: Id, request: &Request, served: bool);

    /// It no longer waits: its client left, or its wait is over.
    fn left(&mut self, now: u64, id: Id);

    fn tick(&mut self, _now: u64) {}

    fn report(&self, _tally: &mut Tally) {}
}
