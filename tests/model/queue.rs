//! Grants against everything that can happen at the same time as a grant.

use std::time::Duration;

use shuttle::thread;

use crate::admission::{Discipline, RejectReason};
use crate::explore::{
    admitted, admitted_in_the_end, advance, assert_at_rest, explore, gate, queued, wait,
};
use crate::gate::{Arrival, Ask, Cost, Rejected, Rules};

/// Mutation: the pump does not look again after a permit came back from a client that left while
/// it was handed out (`returned` ignored): red, here only.
#[test]
fn a_cancel_against_a_grant_loses_no_permit() {
    explore(|| {
        let gate = gate(1, Rules::default());
        let held = admitted(&gate);
        let leaves = queued(&gate, Cost::Task);
        let stays = queued(&gate, Cost::Task);
        let release = thread::spawn(move || drop(held));
        let cancel = thread::spawn(move || drop(leaves));
        drop(wait(stays).expect("the permit comes to the one who stayed"));
        release.join().expect("no panic");
        cancel.join().expect("no panic");
        assert_at_rest(&gate, 1);
    });
}

#[test]
fn an_expiry_against_a_grant_is_decided_once() {
    explore(|| {
        let gate = gate(1, Rules::default());
        let held = admitted(&gate);
        let late = queued(&gate, Cost::Task);
        let next = queued(&gate, Cost::Task);
        let release = thread::spawn(move || drop(held));
        let expire = thread::spawn(move || {
            late.expire();
            match wait(late) {
                Ok(permit) => drop(permit),
                Err(rejected) => assert_eq!(rejected.reason, RejectReason::QueueWait),
            }
        });
        drop(wait(next).expect("the permit comes to the next one"));
        release.join().expect("no panic");
        expire.join().expect("no panic");
        assert_at_rest(&gate, 1);
    });
}

/// Here the pump itself may find that the wait has ended, while the waiter says so too.
#[test]
fn an_expiry_seen_by_the_pump_and_by_the_waiter_frees_one_place() {
    explore(|| {
        let rules = Rules::default();
        let max_wait = rules.policy.classes[0].max_wait.at_first();
        let gate = gate(1, rules);
        let held = admitted(&gate);
        let first = queued(&gate, Cost::Task);
        let second = queued(&gate, Cost::Task);
        let release = thread::spawn(move || drop(held));
        let expire = thread::spawn(move || {
            advance(max_wait);
            first.expire();
            drop(wait(first));
        });
        let cancel = thread::spawn(move || drop(second));
        for thread in [release, expire, cancel] {
            thread.join().expect("no panic");
        }
        assert_at_rest(&gate, 1);
    });
}

/// No lost wake-up.
///
/// Mutations: `Permit::drop` does not look at the queue: red, and so are most tests beside it. The
/// holder of the pump's lock does not look at the mark again after unlocking: red.
#[test]
fn a_release_against_an_arrival_wakes_it() {
    explore(|| {
        let gate = gate(1, Rules::default());
        let held = admitted(&gate);
        let release = thread::spawn(move || drop(held));
        drop(admitted_in_the_end(&gate));
        release.join().expect("no panic");
        assert_at_rest(&gate, 1);
    });
}

/// Mutation: the holder of the pump's lock does not look at the mark again after unlocking: red,
/// here and in nine others of this target.
#[test]
fn permits_dropped_while_another_thread_pumps_are_granted() {
    explore(|| {
        let gate = gate(2, Rules::default());
        let held = [admitted(&gate), admitted(&gate)];
        let waiting = [queued(&gate, Cost::Task), queued(&gate, Cost::Task)];
        let releases = held.map(|permit| thread::spawn(move || drop(permit)));
        // Both are held at once: neither may wait for the other's return.
        let granted = waiting.map(|waiting| wait(waiting).expect("two permits for two"));
        drop(granted);
        for release in releases {
            release.join().expect("no panic");
        }
        assert_at_rest(&gate, 2);
    });
}

/// The head needs the whole budget; when it leaves, what it held up must move.
///
/// Mutation: the end of a wait does not pump: red.
#[test]
fn a_large_head_that_leaves_lets_the_next_one_through() {
    explore(|| {
        let gate = gate(2, Rules::default());
        let held = admitted(&gate);
        let large = queued(&gate, Cost::Bytes(2));
        let small = queued(&gate, Cost::Task);
        let cancel = thread::spawn(move || drop(large));
        // `held` stays: the free unit is enough once the head has gone.
        drop(wait(small).expect("one of two is free"));
        cancel.join().expect("no panic");
        drop(held);
        assert_at_rest(&gate, 2);
    });
}

#[test]
fn three_arrivals_take_turns_on_one_permit() {
    explore(|| {
        let gate = gate(
            1,
            Rules::of_one_class(Duration::from_secs(1), Discipline::Lifo),
        );
        let threads = [(); 3].map(|()| {
            let gate = gate.clone();
            thread::spawn(move || {
                let permit = admitted_in_the_end(&gate);
                assert_eq!(
                    gate.snapshot().available_units,
                    0,
                    "one holds the only permit"
                );
                drop(permit);
            })
        });
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_at_rest(&gate, 1);
    });
}

/// Mutation: the ledger's compare-and-swap made a load and a store: red, here and in three others
/// of this target. The tests on real threads did not notice it.
#[test]
fn two_arrivals_against_a_depth_of_one_are_one_queued_and_one_rejected() {
    explore(|| {
        let gate = gate(
            1,
            Rules {
                max_depth: 1,
                ..Rules::default()
            },
        );
        let held = admitted(&gate);
        let threads = [(); 2].map(|()| {
            let gate = gate.clone();
            thread::spawn(move || gate.arrive_now(&Ask::new(Cost::Task, 1)))
        });
        let arrivals = threads.map(|thread| thread.join().expect("no panic"));
        drop(held);
        let (mut granted, mut rejected) = (0, 0);
        for arrival in arrivals {
            match arrival {
                Arrival::Queued(waiting) => {
                    drop(wait(waiting).expect("the permit is free"));
                    granted += 1;
                }
                Arrival::Rejected(Rejected {
                    reason: RejectReason::QueueDepth,
                    ..
                }) => rejected += 1,
                other => panic!("neither queued nor rejected by depth: {other:?}"),
            }
        }
        assert_eq!((granted, rejected), (1, 1));
        assert_at_rest(&gate, 1);
    });
}

#[test]
fn a_drain_rejects_nobody_who_has_a_place() {
    explore(|| {
        let gate = gate(1, Rules::default());
        let held = admitted(&gate);
        let place = queued(&gate, Cost::Task);
        let drain = {
            let gate = gate.clone();
            thread::spawn(move || gate.refuse_new())
        };
        let release = thread::spawn(move || drop(held));
        let arrival = {
            let gate = gate.clone();
            thread::spawn(move || match gate.arrive_now(&Ask::new(Cost::Task, 1)) {
                Arrival::Admitted(permit) => drop(permit),
                Arrival::Queued(waiting) => drop(wait(waiting).expect("it had its place")),
                Arrival::Rejected(rejected) => assert_eq!(rejected.reason, RejectReason::Draining),
            })
        };
        drop(wait(place).expect("it had its place"));
        for thread in [drain, release, arrival] {
            thread.join().expect("no panic");
        }
        assert!(matches!(
            gate.arrive_now(&Ask::new(Cost::Task, 1)),
            Arrival::Rejected(Rejected {
                reason: RejectReason::Draining,
                ..
            })
        ));
        assert_at_rest(&gate, 1);
    });
}

/// Replacing the rules while somebody arrives neither rejects nor strands who has a place.
#[test]
fn new_bounds_against_an_arrival_keep_its_place() {
    explore(|| {
        let gate = gate(1, Rules::default());
        let held = admitted(&gate);
        let first = queued(&gate, Cost::Task);
        let change = {
            let gate = gate.clone();
            thread::spawn(move || {
                gate.set_rules(Rules::of_one_class(
                    Duration::from_secs(2),
                    Discipline::Lifo,
                ));
            })
        };
        let second = {
            let gate = gate.clone();
            thread::spawn(move || drop(admitted_in_the_end(&gate)))
        };
        drop(held);
        drop(wait(first).expect("its place is kept"));
        for thread in [change, second] {
            thread.join().expect("no panic");
        }
        assert_at_rest(&gate, 1);
    });
}
