//! The scheduler against a naive one: a list of those who wait, searched each time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Waits until the flag says otherwise; the number tells entries apart.
#[derive(Clone, Debug)]
struct Client(usize, Rc<Cell<bool>>);

impl Waiter for Client {
    fn is_waiting(&self) -> bool {
        self.1.get()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32, u64),
    /// The n-th of those who wait becomes a husk.
    Leave(usize),
    Pick(Order, u32, u32),
    /// A pick that does not come to a grant after all.
    PickAndPutBack(Order, u32, u32),
    Purge,
    Advance(u64),
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Fifo), Just(Order::Lifo)]
}

fn step() -> impl Strategy<Value = Step> {
    let (free, limit) = (0..40_u32, 1..40_u32);
    prop_oneof![
        8 => (1..50_u32, 0..40_u64).prop_map(|(units, wait)| Step::Push(units, wait)),
        3 => any::<usize>().prop_map(Step::Leave),
        5 => (order(), free.clone(), limit.clone()).prop_map(|(o, f, l)| Step::Pick(o, f, l)),
        2 => (order(), free, limit).prop_map(|(o, f, l)| Step::PickAndPutBack(o, f, l)),
        1 => Just(Step::Purge),
        3 => (0..20_u64).prop_map(Step::Advance),
    ]
}

/// Who waits, in order of arrival, and what the scheduler is asked about them.
struct Pair {
    scheduler: Scheduler<Client>,
    naive: Vec<Entry<Client>>,
    pushed: usize,
    now: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Grant(usize, u32),
    Expired(usize),
    Hold,
    Empty,
}

impl Pair {
    fn new() -> Self {
        Self {
            scheduler: Scheduler::default(),
            naive: Vec::new(),
            pushed: 0,
            now: Instant::now(),
        }
    }

    fn push(&mut self, units: u32, wait: u64) {
        let client = Client(self.pushed, Rc::new(Cell::new(true)));
        self.pushed += 1;
        for sink in [true, false] {
            let entry = Entry {
                waiter: client.clone(),
                units,
                arrived: self.now,
                deadline: self.now + Duration::from_millis(wait),
            };
            if sink {
                self.scheduler.push(entry);
            } else {
                self.naive.push(entry);
            }
        }
    }

    fn leave(&mut self, nth: usize) {
        if !self.naive.is_empty() {
            let left = self.naive.remove(nth % self.naive.len());
            left.waiter.1.set(false);
        }
    }

    fn expected(&self, order: Order, free: u32, limit: u32) -> Said {
        let next = match order {
            Order::Fifo => self.naive.first(),
            Order::Lifo => self.naive.last(),
        };
        match next {
            None => Said::Empty,
            Some(entry) if entry.deadline <= self.now => Said::Expired(entry.waiter.0),
            Some(entry) if entry.units.min(limit) <= free => {
                Said::Grant(entry.waiter.0, entry.units.min(limit))
            }
            Some(_) => Said::Hold,
        }
    }

    /// Asks both. An entry that was picked is out of the scheduler, and returned.
    fn pick(&mut self, order: Order, free: u32, limit: u32) -> Option<Entry<Client>> {
        let expected = self.expected(order, free, limit);
        let (said, entry) = match self.scheduler.pick(self.now, order, free, limit) {
            Pick::Grant(entry, units) => (Said::Grant(entry.waiter.0, units), Some(entry)),
            Pick::Expired(entry) => (Said::Expired(entry.waiter.0), Some(entry)),
            Pick::Hold => (Said::Hold, None),
            Pick::Empty => {
                assert!(self.scheduler.is_empty(), "not even a husk is left");
                (Said::Empty, None)
            }
        };
        assert_eq!(said, expected);
        entry
    }

    fn picked_for_good(&mut self, entry: &Entry<Client>) {
        self.naive.retain(|other| other.waiter.0 != entry.waiter.0);
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Push(units, wait) => self.push(units, wait),
            Step::Leave(nth) => self.leave(nth),
            Step::Pick(order, free, limit) => {
                if let Some(entry) = self.pick(order, free, limit) {
                    self.picked_for_good(&entry);
                }
            }
            Step::PickAndPutBack(order, free, limit) => {
                if let Some(entry) = self.pick(order, free, limit) {
                    self.scheduler.put_back(entry, order);
                }
            }
            Step::Purge => {
                self.scheduler.purge();
                assert_eq!(self.scheduler.len(), self.naive.len());
            }
            Step::Advance(millis) => self.now += Duration::from_millis(millis),
        }
        assert!(self.scheduler.len() >= self.naive.len());
        assert_eq!(
            self.scheduler.oldest(),
            self.naive.first().map(|entry| entry.arrived)
        );
    }

    /// Everybody who waits comes out, once, in order, and then nobody.
    fn finish(mut self, order: Order) {
        while let Some(entry) = self.pick(order, u32::MAX, u32::MAX) {
            self.picked_for_good(&entry);
        }
        assert!(self.naive.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn it_says_what_the_naive_one_says(
        steps in prop::collection::vec(step(), 1..150),
        last in order(),
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.apply(step);
        }
        pair.finish(last);
    }
}

/// The room taken by `left` entries that remain of a burst, however the others went.
fn room_after_a_burst(left: usize, go: impl Fn(&mut Pair)) -> usize {
    let mut pair = Pair::new();
    for _ in 0..10_000 {
        pair.push(1, 1000);
    }
    while pair.scheduler.len() > left {
        go(&mut pair);
    }
    pair.scheduler.entries.capacity()
}

fn pick_one(order: Order) -> impl Fn(&mut Pair) {
    move |pair| {
        assert!(matches!(
            pair.scheduler.pick(pair.now, order, 1, 1),
            Pick::Grant(_, 1)
        ));
    }
}

#[test]
fn what_a_burst_grew_is_given_back_also_while_some_still_wait() {
    for left in [0, 1, 50, 200] {
        let bound = (4 * left).max(IDLE_CAPACITY);
        for order in [Order::Fifo, Order::Lifo] {
            assert!(room_after_a_burst(left, pick_one(order)) <= bound, "{left}");
        }
        let purged = room_after_a_burst(left, |pair| {
            for entry in pair.naive.drain(left..) {
                entry.waiter.1.set(false);
            }
            pair.scheduler.purge();
        });
        assert!(purged <= bound, "{left}");
        let dropped_by_oldest = room_after_a_burst(left, |pair| {
            let husks = pair.naive.len() - left;
            for entry in pair.naive.drain(..husks) {
                entry.waiter.1.set(false);
            }
            pair.scheduler.oldest();
        });
        assert!(dropped_by_oldest <= bound, "{left}");
    }
}
