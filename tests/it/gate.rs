//! The gate against a naive model of it, one thread, every step compared.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir::admission::{Budget, Decimal, Discipline, RejectReason};
use weir::gate::{Arrival, Ask, Cost, Gate, Permit, Rejected, Rules, Strategy as OnFull, Waiting};

use crate::gate_model::{Model, Place};

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

/// A default request costs this many bytes.
const PER_TASK: u64 = 1000;

#[derive(Clone, Debug)]
enum Step {
    Arrive(Cost, u64),
    /// Drops what the n-th living request has: its place, its uncollected grant, its permit.
    Leave(usize),
    /// Collects a grant, if there is one.
    Poll(usize),
    Expire(usize),
    Resize(u64),
    SetRules(Rules),
    RefuseNew,
    Advance(u64),
}

fn budget(target: u64) -> Budget {
    Budget::new(target, PER_TASK, Decimal::ONE).expect("at least one permit")
}

fn cost() -> impl Strategy<Value = Cost> {
    prop_oneof![
        3 => Just(Cost::Task),
        2 => (1..9 * PER_TASK).prop_map(Cost::Bytes),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    (
        prop_oneof![9 => Just(OnFull::Queue), 1 => Just(OnFull::Immediate)],
        0..50_u64,
        prop_oneof![2 => Just(0), 1 => 1..6_u32],
        prop_oneof![2 => Just(u64::MAX), 1 => 0..2000_u64],
        prop_oneof![Just(Discipline::Fifo), Just(Discipline::Lifo)],
    )
        .prop_map(|(strategy, wait, max_depth, max_bytes, order)| Rules {
            strategy,
            max_depth,
            max_bytes,
            ..Rules::of_one_class(Duration::from_millis(wait), order)
        })
}

fn step() -> impl Strategy<Value = Step> {
    let target = PER_TASK..8 * PER_TASK;
    prop_oneof![
        30 => (cost(), 0..500_u64).prop_map(|(cost, bytes)| Step::Arrive(cost, bytes)),
        25 => any::<usize>().prop_map(Step::Leave),
        15 => any::<usize>().prop_map(Step::Poll),
        6 => any::<usize>().prop_map(Step::Expire),
        8 => target.prop_map(Step::Resize),
        4 => rules().prop_map(Step::SetRules),
        10 => (0..30_u64).prop_map(Step::Advance),
    ]
}

/// What a client has in hand.
#[derive(Debug)]
enum Hand {
    Place(Waiting),
    Permit(#[expect(dead_code, reason = "it is held, and dropped")] Permit),
    Nothing,
}

/// The gate and the model side by side; request `id` is the same in both.
struct Pair {
    gate: Gate,
    model: Model,
    hands: Vec<Hand>,
}

impl Pair {
    fn new(target: u64, rules: &Rules) -> Self {
        let now = Instant::now();
        NOW.set(now);
        Self {
            gate: Gate::with_clock(budget(target), rules.clone(), || NOW.get()),
            model: Model::new(budget(target), rules.clone(), now),
            hands: Vec::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Arrive(cost, bytes) => self.arrive(cost, bytes),
            Step::Leave(nth) => {
                if let Some(id) = self.living(nth) {
                    self.hands[id] = Hand::Nothing;
                    self.model.end(id, Place::Abandoned);
                }
            }
            Step::Poll(nth) => {
                if let Some(id) = self.living(nth) {
                    self.poll(id);
                }
            }
            Step::Expire(nth) => {
                if let Some(id) = self.living(nth)
                    && let Hand::Place(waiting) = &self.hands[id]
                {
                    waiting.expire();
                    if self.model.requests[id].place == Place::Queued {
                        self.model.end(id, Place::Expired);
                    }
                }
            }
            Step::Resize(target) => {
                self.gate.resize(budget(target));
                self.model.budget = budget(target);
                self.model.settle();
            }
            Step::SetRules(ref rules) => {
                self.gate.set_rules(rules.clone());
                self.model.rules = rules.clone();
                self.model.settle();
            }
            Step::RefuseNew => {
                self.gate.refuse_new();
                self.model.draining = true;
            }
            Step::Advance(millis) => {
                self.model.now += Duration::from_millis(millis);
                NOW.set(self.model.now);
            }
        }
        self.check();
    }

    fn arrive(&mut self, cost: Cost, bytes: u64) {
        self.model.arrive(cost, bytes);
        let expected = self.model.requests.last().expect("it just came").place;
        let hand = match (self.gate.arrive_now(&Ask::new(cost, bytes)), expected) {
            (Arrival::Admitted(permit), Place::Granted(_)) => Hand::Permit(permit),
            // Let go in the round that saw it come.
            (Arrival::Rejected(rejected), Place::Expired) => {
                assert_eq!(rejected.reason, RejectReason::QueueWait);
                Hand::Nothing
            }
            (Arrival::Queued(waiting), Place::Queued | Place::Expired | Place::Granted(_)) => {
                Hand::Place(waiting)
            }
            (Arrival::Rejected(rejected), Place::Rejected(expected)) => {
                assert_eq!(rejected.reason, expected);
                Hand::Nothing
            }
            (other, expected) => panic!("{other:?}, and the model says {expected:?}"),
        };
        self.hands.push(hand);
    }

    fn poll(&mut self, id: usize) {
        let Hand::Place(waiting) = &mut self.hands[id] else {
            return;
        };
        let polled = Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()));
        let place = self.model.requests[id].place;
        self.hands[id] = match (polled, place) {
            (Poll::Pending, Place::Queued) => return,
            (Poll::Ready(Ok(permit)), Place::Granted(_)) => Hand::Permit(permit),
            (Poll::Ready(Err(Rejected { reason, .. })), Place::Expired) => {
                assert_eq!(reason, RejectReason::QueueWait);
                Hand::Nothing
            }
            (other, place) => panic!("request {id}: {other:?}, and the model says {place:?}"),
        };
    }

    /// Every figure, after every step. That the model's are what they should be is invariants 1
    /// (what is free, held and owed) and 2 (who waits does not fit, or time has passed since the
    /// last look); that the gate's are the model's, to the unit, is 3 and 4.
    fn check(&self) {
        assert_eq!(self.gate.snapshot(), self.model.snapshot());
        let now = self.gate.snapshot();
        assert_eq!(
            now.available_units + now.in_flight_units,
            u64::from(now.limit_units) + now.debt_units
        );
        assert!(now.debt_units == 0 || now.available_units == 0);
        assert!(!self.gate.is_broken());
    }

    /// Everybody collects what is due to them, which shows who was granted and who was not; then
    /// everybody leaves, and nothing may be left.
    fn finish(mut self) {
        for id in 0..self.hands.len() {
            self.poll(id);
        }
        for id in 0..self.hands.len() {
            self.hands[id] = Hand::Nothing;
            self.model.end(id, Place::Abandoned);
            self.check();
        }
        let now = self.gate.snapshot();
        assert_eq!((now.in_flight, now.queued, now.debt_units), (0, 0, 0));
        assert_eq!((now.in_flight_units, now.queued_bytes), (0, 0));
        assert_eq!(now.available_units, u64::from(now.limit_units));
    }

    fn living(&self, nth: usize) -> Option<usize> {
        let mut living = (0..self.hands.len())
            .filter(|&id| !matches!(self.hands[id], Hand::Nothing))
            .collect::<Vec<_>>();
        (!living.is_empty()).then(|| living.swap_remove(nth % living.len()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Mutations, each red here: a shrink forgets only what is idle, without a debt; a growth adds
    /// without cancelling debt first (nothing else sees that one); the end of a wait or a resize
    /// does not pump; a pick is not clamped to the limit of the day.
    #[test]
    fn the_gate_does_what_the_naive_model_does(
        target in PER_TASK..8 * PER_TASK,
        rules in rules(),
        steps in prop::collection::vec(step(), 1..120),
        drained in prop::collection::vec(step(), 0..30),
    ) {
        let mut pair = Pair::new(target, &rules);
        for step in &steps {
            pair.apply(step);
        }
        // Invariant 6: from here on only newcomers are refused, and everything else goes on.
        pair.apply(&Step::RefuseNew);
        for step in &drained {
            pair.apply(step);
        }
        pair.finish();
    }
}

/// More at once than the pump grants in one batch, or lets lie as husks.
///
/// Mutation: the pump does not look at the mark again after a full batch: red.
#[test]
fn a_long_queue_is_granted_in_order_however_much_comes_free() {
    for order in [Discipline::Fifo, Discipline::Lifo] {
        let rules = Rules::of_one_class(Duration::from_secs(1), order);
        let mut pair = Pair::new(PER_TASK, &rules);
        for _ in 0..500 {
            pair.apply(&Step::Arrive(Cost::Task, 100));
        }
        for nth in 100..300 {
            pair.apply(&Step::Leave(nth));
        }
        pair.apply(&Step::Resize(200 * PER_TASK));
        pair.apply(&Step::Resize(PER_TASK));
        for _ in 0..150 {
            pair.apply(&Step::Leave(0));
        }
        pair.finish();
    }
}

fn rejected(gate: &Gate, bytes: u64) -> RejectReason {
    match gate.arrive_now(&Ask::new(Cost::Task, bytes)) {
        Arrival::Rejected(rejected) => rejected.reason,
        other => panic!("not rejected: {other:?}"),
    }
}

fn gate_with(rules: Rules) -> (Gate, Permit) {
    let gate = Gate::with_clock(budget(PER_TASK), rules, Instant::now);
    let Arrival::Admitted(permit) = gate.arrive_now(&Ask::new(Cost::Task, 0)) else {
        panic!("the only permit is free");
    };
    (gate, permit)
}

#[test]
fn the_depth_bound_is_exact() {
    let (gate, _held) = gate_with(Rules {
        max_depth: 3,
        ..Rules::default()
    });
    let places = [(); 3].map(|()| gate.arrive_now(&Ask::new(Cost::Task, 10)));
    assert!(
        places
            .iter()
            .all(|place| matches!(place, Arrival::Queued(_)))
    );
    assert_eq!(rejected(&gate, 10), RejectReason::QueueDepth);
    drop(places);
    assert!(matches!(
        gate.arrive_now(&Ask::new(Cost::Task, 10)),
        Arrival::Queued(_)
    ));
}

#[test]
fn the_byte_bound_is_exact() {
    let (gate, _held) = gate_with(Rules {
        max_bytes: 100,
        ..Rules::default()
    });
    assert_eq!(rejected(&gate, 101), RejectReason::QueueBytes);
    let first = gate.arrive_now(&Ask::new(Cost::Task, 60));
    assert_eq!(rejected(&gate, 41), RejectReason::QueueBytes);
    let second = gate.arrive_now(&Ask::new(Cost::Task, 40));
    assert!(matches!(
        (&first, &second),
        (Arrival::Queued(_), Arrival::Queued(_))
    ));
    assert_eq!(rejected(&gate, 1), RejectReason::QueueBytes);
    // What is charged nothing is never one too many, not even under a bound that was lowered.
    gate.set_rules(Rules {
        max_bytes: 50,
        ..gate.rules()
    });
    assert!(matches!(
        gate.arrive_now(&Ask::new(Cost::Task, 0)),
        Arrival::Queued(_)
    ));
    gate.set_rules(Rules {
        max_bytes: 100,
        ..gate.rules()
    });
    drop(first);
    assert!(matches!(
        gate.arrive_now(&Ask::new(Cost::Task, 60)),
        Arrival::Queued(_)
    ));
}

#[test]
fn the_strategy_immediate_never_queues() {
    let (gate, held) = gate_with(Rules {
        strategy: OnFull::Immediate,
        ..Rules::default()
    });
    assert_eq!(rejected(&gate, 0), RejectReason::NoPermit);
    assert_eq!(gate.snapshot().queued, 0);
    drop(held);
    assert!(matches!(
        gate.arrive_now(&Ask::new(Cost::Task, 0)),
        Arrival::Admitted(_)
    ));
}
