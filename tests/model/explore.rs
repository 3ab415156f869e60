//! How a scenario is explored, and what every scenario ends with.

use std::time::{Duration, Instant};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use crate::admission::Budget;
use crate::gate::{Arrival, Ask, Cost, Gate, Permit, Rejected, Rules, Waiting};

/// Schedules per scenario drawn at random.
const RANDOM: usize = 1500;
/// Schedules per scenario with few, well-placed preemptions.
const PCT: usize = 1000;
/// Preemptions in each of those.
const PCT_DEPTH: usize = 3;

thread_local! {
    /// The model's time. shuttle runs all threads of a scenario on one real thread.
    static NOW: std::cell::Cell<Instant> = std::cell::Cell::new(Instant::now());
}

/// Runs the scenario under many schedules.
pub(crate) fn explore(scenario: fn()) {
    let mut config = Config::new();
    // The gate's weaker orderings are taken as sequentially consistent; see the crate's docs.
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new(RANDOM), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(PCT_DEPTH, PCT), config).run(scenario);
}

/// A gate of so many default requests on the model's clock.
pub(crate) fn gate(permits: u32, rules: Rules) -> Gate {
    Gate::with_clock(budget(permits), rules, || NOW.get())
}

/// Lets time pass.
pub(crate) fn advance(by: Duration) {
    NOW.set(NOW.get() + by);
}

pub(crate) fn budget(permits: u32) -> Budget {
    Budget::of_permits(permits).expect("at least one permit")
}

/// An arrival that finds a permit free.
pub(crate) fn admitted(gate: &Gate) -> Permit {
    match gate.arrive_now(&Ask::new(Cost::Task, 1)) {
        Arrival::Admitted(permit) => permit,
        other => panic!("not admitted: {other:?}"),
    }
}

/// An arrival that finds none.
pub(crate) fn queued(gate: &Gate, cost: Cost) -> Waiting {
    match gate.arrive_now(&Ask::new(cost, 1)) {
        Arrival::Queued(waiting) => waiting,
        other => panic!("not queued: {other:?}"),
    }
}

/// Waits to the end of the wait, however it ends.
pub(crate) fn wait(waiting: Waiting) -> Result<Permit, Rejected> {
    shuttle::future::block_on(waiting)
}

/// An arrival that waits, if it must, and gets its permit in any case.
pub(crate) fn admitted_in_the_end(gate: &Gate) -> Permit {
    match gate.arrive_now(&Ask::new(Cost::Task, 1)) {
        Arrival::Admitted(permit) => permit,
        Arrival::Queued(waiting) => wait(waiting).expect("nothing ends this wait but a grant"),
        Arrival::Rejected(reason) => panic!("rejected: {reason:?}"),
    }
}

/// Nobody holds or waits, nothing is owed, and everything is free: to the unit.
pub(crate) fn assert_at_rest(gate: &Gate, permits: u32) {
    let now = gate.snapshot();
    assert!(!gate.is_broken());
    assert_eq!((now.in_flight, now.in_flight_units), (0, 0), "{now:?}");
    assert_eq!((now.queued, now.queued_bytes), (0, 0), "{now:?}");
    assert_eq!(now.permit_limit, permits, "{now:?}");
    assert_eq!(now.debt_units, 0, "{now:?}");
    assert_eq!(now.available_units, u64::from(now.limit_units), "{now:?}");
}
