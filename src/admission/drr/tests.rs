//! Rings and their flows, step by step.

use std::time::Duration;

use super::super::codel::CodelRule;
use super::super::reason::RejectReason;
use super::super::request::Request;
use super::super::settings::Discipline;
use super::*;

const QUANTUM: u64 = 1000;
const MILLI: Duration = Duration::from_millis(1);

struct Always;

impl Waiter for Always {
    fn is_waiting(&self) -> bool {
        true
    }
}

struct Rig {
    ring: Ring<Always>,
    now: Instant,
    codel: Option<CodelRule>,
}

impl Rig {
    fn new() -> Self {
        Self {
            ring: Ring::new(Some(16), 1),
            now: Instant::now(),
            codel: None,
        }
    }

    fn flow(&mut self, tenant: u64) -> u32 {
        self.ring.flow_of(Some(TenantKey::new(tenant)), QUANTUM)
    }

    fn push(&mut self, tenant: u64) {
        let flow = self.flow(tenant);
        let until = self.now + 1_000_000 * MILLI;
        let entry = Queued::new(Always, Request::default(), self.now, until);
        self.ring.push(flow, entry, QUANTUM);
    }

    fn next(&mut self) -> (u32, Next) {
        self.ring.next(&Rules {
            now: self.now,
            free: 1024,
            limit: 1024,
            discipline: Discipline::Fifo,
            codel: self.codel,
            quantum: QUANTUM,
            fastest: Duration::ZERO,
        })
    }

    /// Serves the next one, which takes so much work, and says whose it was.
    fn serve(&mut self, work: u64) -> u32 {
        let (flow, next) = self.next();
        let Next::Serve(order) = next else {
            panic!("{next:?}")
        };
        self.ring.take(flow, order).expect("it was named");
        self.ring.charge(flow, work);
        flow
    }
}

#[test]
fn a_pick_that_is_put_back_is_next_again() {
    let mut rig = Rig::new();
    for tenant in [1, 2, 3] {
        rig.push(tenant);
    }
    let (flow, Next::Serve(order)) = rig.next() else {
        panic!("three wait")
    };
    let entry = rig.ring.take(flow, order).expect("it was named");
    rig.ring.charge(flow, QUANTUM);
    rig.ring.put_back(flow, entry, order, QUANTUM);
    rig.ring.settle(flow, QUANTUM, 0);
    let all: Vec<_> = (0..3).map(|_| rig.serve(QUANTUM)).collect();
    let [first, second, third] = [1, 2, 3].map(|tenant| rig.flow(tenant));
    assert_eq!(flow, first);
    assert_eq!(all, [first, second, third]);
}

#[test]
fn a_debt_is_forgiven_by_the_rounds_that_others_went() {
    let mut rig = Rig::new();
    let debtor = rig.flow(1);
    let back_after = |rounds: u32| {
        let mut rig = Rig::new();
        rig.push(1);
        rig.push(2);
        rig.push(3);
        // One request that takes as long as a hundred, and its tenant leaves.
        while rig.serve(100 * QUANTUM) != debtor {}
        for _ in 0..rounds {
            for tenant in [2, 3] {
                rig.push(tenant);
                rig.serve(QUANTUM);
            }
        }
        for _ in 0..500 {
            for tenant in [1, 2, 3] {
                rig.push(tenant);
            }
        }
        (0..10_000)
            .find(|_| rig.serve(QUANTUM) == debtor)
            .expect("its turn comes")
    };
    assert!(back_after(0) > 150, "{}", back_after(0));
    assert!(back_after(300) < 5, "{}", back_after(300));
}

#[test]
fn one_at_a_time_gets_as_much_as_who_always_waits() {
    let mut rig = Rig::new();
    for _ in 0..1000 {
        rig.push(1);
    }
    let mut served = [0_u32; 2];
    rig.push(2);
    let one_at_a_time = rig.flow(2);
    for _ in 0..400 {
        let second = rig.serve(QUANTUM) == one_at_a_time;
        served[usize::from(second)] += 1;
        if second {
            rig.push(2);
        }
    }
    assert!(served[0].abs_diff(served[1]) <= 4, "{served:?}");
}

#[test]
fn the_last_one_is_served_however_long_it_waited() {
    let mut rig = Rig::new();
    rig.codel = Some(CodelRule {
        target: MILLI,
        interval: 10 * MILLI,
        limit: 2 * MILLI,
        most: 4 * MILLI,
    });
    // The queue stands: for a while everybody has waited 5 ms, and some are refused.
    for _ in 0..10 {
        rig.push(1);
        rig.push(1);
        rig.now += 5 * MILLI;
        let flow = rig.flow(1);
        rig.ring.refused(rig.now, flow);
        while let (flow, Next::Serve(order) | Next::Refuse(order, _)) = rig.next()
            && rig.ring.len() > 1
        {
            rig.ring.take(flow, order);
        }
    }
    rig.push(1);
    rig.now += 5 * MILLI;
    assert!(matches!(
        rig.next().1,
        Next::Refuse(Order::Fifo, RejectReason::Codel)
    ));
    let flow = rig.flow(1);
    while rig.ring.len() > 1 {
        rig.ring.take(flow, Order::Fifo);
    }
    rig.now += 100 * MILLI;
    assert!(
        matches!(rig.next().1, Next::Serve(_)),
        "nobody gains by its going"
    );
}
