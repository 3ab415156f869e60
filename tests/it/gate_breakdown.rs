//! What is left of the gate when something inside it or beside it panics.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use weir::admission::{Budget, Discipline, RejectReason};
use weir::gate::{Arrival, Ask, Cost, Gate, Permit, Rejected, Rules, Waiting};

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

/// The pump reads the clock inside its guard, so this stands for a bug in the scheduler.
fn clock_that_panics_when_armed() -> Instant {
    assert!(!ARMED.get(), "armed: this panic is part of the test");
    Instant::now()
}

fn gate() -> (Gate, Permit) {
    let budget = Budget::of_permits(1).expect("one permit");
    let gate = Gate::with_clock(budget, Rules::default(), clock_that_panics_when_armed);
    let Arrival::Admitted(permit) = gate.arrive_now(&Ask::new(Cost::Task, 0)) else {
        panic!("the only permit is free");
    };
    (gate, permit)
}

fn queued(gate: &Gate) -> Waiting {
    match gate.arrive_now(&Ask::new(Cost::Task, 7)) {
        Arrival::Queued(waiting) => waiting,
        other => panic!("not queued: {other:?}"),
    }
}

#[test]
fn a_panic_in_the_scheduler_closes_the_gate_and_strands_nobody() {
    let (gate, held) = gate();
    let (first, second, leaves) = (queued(&gate), queued(&gate), queued(&gate));
    assert!(!gate.is_broken());

    ARMED.set(true);
    drop(leaves);
    ARMED.set(false);

    assert!(gate.is_broken());
    for waiting in [first, second] {
        let polled = pin!(waiting).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(
            polled,
            Poll::Ready(Err(Rejected {
                reason: RejectReason::Internal,
                ..
            }))
        ));
    }
    drop(held);
    assert!(matches!(
        gate.arrive_now(&Ask::new(Cost::Task, 0)),
        Arrival::Rejected(Rejected {
            reason: RejectReason::Internal,
            ..
        })
    ));
    gate.refuse_new();
    assert!(gate.is_broken(), "a drain does not mend it");
    let now = gate.snapshot();
    assert_eq!((now.in_flight, now.queued, now.queued_bytes), (0, 0, 0));
    assert_eq!(now.available_units, u64::from(now.limit_units));
}

/// The permit's own drop pumps; the panic must not leave through it, nor keep the permit.
#[test]
fn a_permit_that_returns_into_a_panicking_scheduler_still_returns() {
    let (gate, held) = gate();
    let waiting = queued(&gate);
    ARMED.set(true);
    drop(held);
    ARMED.set(false);
    assert!(gate.is_broken());
    assert_eq!(gate.snapshot().in_flight, 0);
    drop(waiting);
    assert_eq!(gate.snapshot().queued, 0);
}

#[test]
fn an_arrival_that_panics_at_the_clock_leaves_no_room_reserved() {
    let (gate, held) = gate();
    ARMED.set(true);
    let arrival = catch_unwind(AssertUnwindSafe(|| {
        gate.arrive_now(&Ask::new(Cost::Task, 7))
    }));
    ARMED.set(false);
    assert!(arrival.is_err());
    let now = gate.snapshot();
    assert_eq!((now.queued, now.queued_bytes), (0, 0));
    drop(held);
    assert!(matches!(
        gate.arrive_now(&Ask::new(Cost::Task, 0)),
        Arrival::Admitted(_)
    ));
}

#[test]
fn a_wait_without_end_is_a_wait_and_no_panic() {
    let budget = Budget::of_permits(1).expect("one permit");
    let rules = Rules::of_one_class(Duration::MAX, Discipline::Fifo);
    let gate = Gate::with_clock(budget, rules, Instant::now);
    let Arrival::Admitted(held) = gate.arrive_now(&Ask::new(Cost::Task, 0)) else {
        panic!("the only permit is free");
    };
    let waiting = queued(&gate);
    drop(held);
    let polled = pin!(waiting).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))));
}

#[test]
fn a_permit_dropped_by_a_panic_returns() {
    let (gate, held) = gate();
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _held = held;
        panic!("a handler's bug: this panic is part of the test");
    }));
    assert!(unwound.is_err());
    assert_eq!(gate.snapshot().in_flight, 0);
    assert!(matches!(
        gate.arrive_now(&Ask::new(Cost::Task, 0)),
        Arrival::Admitted(_)
    ));
}
