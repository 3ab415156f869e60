//! With the defaults the policy decides what the plain queue decides.

use proptest::prelude::*;

use super::super::super::settings::{Discipline, MaxWait};
use super::super::super::waiter::Order;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push(u32, u64),
    /// The n-th of those who wait becomes a husk.
    Leave(usize),
    Pick(u32, u32),
    PickAndPutBack(u32, u32),
    Purge,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (free, limit) = (0..40_u32, 1..40_u32);
    prop_oneof![
        8 => (1..50_u32, 1..40_u64).prop_map(|(units, wait)| Step::Push(units, wait)),
        3 => any::<usize>().prop_map(Step::Leave),
        5 => (free.clone(), limit.clone()).prop_map(|(f, l)| Step::Pick(f, l)),
        2 => (free, limit).prop_map(|(f, l)| Step::PickAndPutBack(f, l)),
        1 => Just(Step::Purge),
        3 => (0..20_u64).prop_map(Step::Advance),
    ]
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Grant(usize, u32),
    Expired(usize),
    Hold,
    Empty,
}

/// A plain queue, done naively.
#[derive(Default)]
struct Plain(Vec<(Client, u32, Instant, Instant)>);

impl Plain {
    /// Husks at this end go.
    fn shed(&mut self, order: Order) {
        while let Some((client, ..)) = match order {
            Order::Fifo => self.0.first(),
            Order::Lifo => self.0.last(),
        } && !client.is_waiting()
        {
            self.take(order);
        }
    }

    fn take(&mut self, order: Order) -> (Client, u32, Instant, Instant) {
        match order {
            Order::Fifo => self.0.remove(0),
            Order::Lifo => self.0.pop().expect("somebody waits"),
        }
    }

    fn pick(&mut self, now: Instant, order: Order, free: u32, limit: u32, back: bool) -> Said {
        self.shed(order);
        let next = match order {
            Order::Fifo => self.0.first(),
            Order::Lifo => self.0.last(),
        };
        let Some(&(ref client, units, _, deadline)) = next else {
            return Said::Empty;
        };
        let (id, units) = (client.0, units.min(limit));
        if deadline <= now {
            self.take(order);
            return Said::Expired(id);
        }
        if units > free {
            return Said::Hold;
        }
        if !back {
            self.take(order);
        }
        Said::Grant(id, units)
    }

    fn oldest(&mut self) -> Option<Instant> {
        self.shed(Order::Fifo);
        self.0.first().map(|(_, _, arrived, _)| *arrived)
    }
}

struct Pair {
    order: Order,
    plain: Plain,
    policy: Policy<Client>,
    clients: Vec<Client>,
    now: Instant,
}

impl Pair {
    fn new(order: Order) -> Self {
        let discipline = match order {
            Order::Fifo => Discipline::Fifo,
            Order::Lifo => Discipline::Lifo,
        };
        let settings = one_class(|class| {
            class.discipline = discipline;
            class.max_wait = MaxWait::Fixed(MILLI);
        });
        let now = Instant::now();
        Self {
            order,
            plain: Plain::default(),
            policy: Policy::new(settings, now),
            clients: Vec::new(),
            now,
        }
    }

    fn push(&mut self, units: u32, wait: u64) {
        let client = Client::new(self.clients.len());
        self.clients.push(client.clone());
        let deadline = self.now + Duration::from_millis(wait);
        self.plain
            .0
            .push((client.clone(), units, self.now, deadline));
        let request = Request {
            units,
            ..Request::default()
        };
        self.policy
            .push(Queued::new(client, request, self.now, deadline));
    }

    fn pick(&mut self, free: u32, limit: u32, back: bool) {
        let plain = self.plain.pick(self.now, self.order, free, limit, back);
        let policy = match self.policy.pick(self.now, free, limit) {
            Turn::Grant(entry, charge) => {
                let said = Said::Grant(entry.waiter.0, charge.units());
                if back {
                    self.policy.put_back(self.now, entry, charge);
                } else {
                    self.policy
                        .finished(self.now, charge, MILLI, Sample::Served);
                }
                said
            }
            Turn::Refuse(entry, RejectReason::QueueWait) => Said::Expired(entry.waiter.0),
            Turn::Refuse(_, other) => panic!("refused for {other:?}"),
            Turn::Hold { until } => {
                assert!(until > self.now);
                Said::Hold
            }
            Turn::Empty => Said::Empty,
        };
        assert_eq!(policy, plain);
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Push(units, wait) => self.push(units, wait),
            Step::Leave(nth) => {
                let waiting: Vec<_> = self.clients.iter().filter(|c| c.is_waiting()).collect();
                if !waiting.is_empty() {
                    waiting[nth % waiting.len()].1.set(false);
                }
            }
            Step::Pick(free, limit) => self.pick(free, limit, false),
            Step::PickAndPutBack(free, limit) => self.pick(free, limit, true),
            Step::Purge => {
                self.plain.0.retain(|(client, ..)| client.is_waiting());
                self.policy.purge();
            }
            Step::Advance(millis) => self.now += Duration::from_millis(millis),
        }
        assert_eq!(self.policy.len(), self.plain.0.len());
        assert_eq!(self.policy.oldest(), self.plain.oldest());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_defaults_decide_what_the_plain_queue_decides(
        steps in prop::collection::vec(step(), 1..150),
        order in prop_oneof![Just(Order::Fifo), Just(Order::Lifo)],
    ) {
        let mut pair = Pair::new(order);
        for step in &steps {
            pair.apply(step);
        }
    }

    /// Whoever is let in at the door of the defaults: those for whom there is room.
    #[test]
    fn the_defaults_turn_nobody_away(
        units in 1_u32..100_000, free in 0_u32..8192, limit in 1_u32..8192, waiting in 0_u32..9,
        served in 0_u32..100,
    ) {
        let now = Instant::now();
        let mut policy = Policy::<Client>::new(Settings::default(), now);
        for _ in 0..served {
            policy.observed(now, ClassId(0), 1, 9 * MILLI, Sample::Served, 1);
        }
        prop_assert!(!Settings::default().asks_everybody());
        let request = Request { units, ..Request::default() };
        match policy.arrive(now, &request, Room { free, limit, waiting }) {
            Verdict::Admit(charge) => {
                prop_assert!(waiting == 0 && units.min(limit) <= free);
                prop_assert_eq!(charge.units(), units.min(limit));
            }
            Verdict::Queue(_) => prop_assert!(waiting > 0 || units.min(limit) > free),
            Verdict::Reject(refusal, _) => panic!("refused for {refusal:?}"),
        }
    }
}
