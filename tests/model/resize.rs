//! The limit changes while permits come, go and are waited for.

use shuttle::thread;

use crate::explore::{
    admitted, admitted_in_the_end, assert_at_rest, budget, explore, gate, queued, wait,
};
use crate::gate::{Cost, Rules};

#[test]
fn a_shrink_against_releases_ends_exact() {
    explore(|| {
        let gate = gate(3, Rules::default());
        let held = [admitted(&gate), admitted(&gate)];
        let shrink = {
            let gate = gate.clone();
            thread::spawn(move || gate.resize(budget(1)))
        };
        let releases = held.map(|permit| thread::spawn(move || drop(permit)));
        for thread in releases.into_iter().chain([shrink]) {
            thread.join().expect("no panic");
        }
        assert_at_rest(&gate, 1);
    });
}

/// The debt of a shrink, with the permit still held: it is owed, and nothing is free.
///
/// Mutations: no debt, a shrink forgets only what is idle: red, and so are four others of this
/// target and the comparison with the naive model. `take_back` does not look at the debt a second
/// time, after the units are free: red here and in at least three others of this target, nowhere else.
#[test]
fn a_shrink_below_what_is_held_is_owed_until_it_comes_back() {
    explore(|| {
        let gate = gate(3, Rules::default());
        let stays = [admitted(&gate), admitted(&gate)];
        let goes = admitted(&gate);
        let shrink = {
            let gate = gate.clone();
            thread::spawn(move || gate.resize(budget(1)))
        };
        let release = thread::spawn(move || drop(goes));
        for thread in [shrink, release] {
            thread.join().expect("no panic");
        }
        let now = gate.snapshot();
        assert_eq!((now.available_units, now.debt_units), (0, 1024), "{now:?}");
        drop(stays);
        assert_at_rest(&gate, 1);
    });
}

#[test]
fn a_shrink_and_a_growth_against_a_release_end_exact() {
    explore(|| {
        let gate = gate(2, Rules::default());
        let held = [admitted(&gate), admitted(&gate)];
        let resizes = [1, 3].map(|permits| {
            let gate = gate.clone();
            thread::spawn(move || gate.resize(budget(permits)))
        });
        let releases = held.map(|permit| thread::spawn(move || drop(permit)));
        for thread in resizes.into_iter().chain(releases) {
            thread.join().expect("no panic");
        }
        let limit = gate.snapshot().permit_limit;
        assert!([1, 3].contains(&limit), "the last resize decides: {limit}");
        assert_at_rest(&gate, limit);
    });
}

#[test]
fn a_shrink_against_arrivals_admits_them_one_by_one() {
    explore(|| {
        let gate = gate(2, Rules::default());
        let shrink = {
            let gate = gate.clone();
            thread::spawn(move || gate.resize(budget(1)))
        };
        let arrivals = [(); 2].map(|()| {
            let gate = gate.clone();
            thread::spawn(move || drop(admitted_in_the_end(&gate)))
        });
        for thread in arrivals.into_iter().chain([shrink]) {
            thread.join().expect("no panic");
        }
        assert_at_rest(&gate, 1);
    });
}

/// What was to run alone under the old limit runs alone under the new one.
///
/// Mutation: a pick is not clamped to the limit of the day: red.
#[test]
fn a_shrink_against_a_request_larger_than_the_new_limit_does_not_strand_it() {
    explore(|| {
        let gate = gate(2, Rules::default());
        let held = admitted(&gate);
        let large = queued(&gate, Cost::Bytes(2));
        let shrink = {
            let gate = gate.clone();
            thread::spawn(move || gate.resize(budget(1)))
        };
        let release = thread::spawn(move || drop(held));
        drop(wait(large).expect("it is clamped to the limit of the day"));
        for thread in [shrink, release] {
            thread.join().expect("no panic");
        }
        assert_at_rest(&gate, 1);
    });
}

/// A growth is usable at once: by somebody who waits, though no permit comes back.
///
/// Mutation: a resize does not pump: red.
#[test]
fn a_growth_against_an_arrival_wakes_it() {
    explore(|| {
        let gate = gate(1, Rules::default());
        let held = admitted(&gate);
        let grow = {
            let gate = gate.clone();
            thread::spawn(move || gate.resize(budget(2)))
        };
        let second = admitted_in_the_end(&gate);
        grow.join().expect("no panic");
        drop((held, second));
        assert_at_rest(&gate, 2);
    });
}
