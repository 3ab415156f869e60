//! The gate under real threads: a bounded number of operations, then exact quiescence.

use std::thread;
use std::time::{Duration, Instant};

use weir::admission::{Budget, Discipline, RejectReason};
use weir::gate::{Arrival, Ask, Cost, Gate, Permit, Rules};

const THREADS: u64 = 4;
const ROUNDS: u32 = 3000;

/// A small generator (`SplitMix64`), so that each thread's operations are its own and repeatable.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)) % sides
    }
}

fn budget(permits: u64) -> Budget {
    Budget::new(permits * 1000, 1000, weir::admission::Decimal::ONE).expect("at least one permit")
}

fn assert_at_rest(gate: &Gate) {
    let now = gate.snapshot();
    assert!(!gate.is_broken());
    assert_eq!((now.in_flight, now.in_flight_units), (0, 0), "{now:?}");
    assert_eq!((now.queued, now.queued_bytes), (0, 0), "{now:?}");
    assert_eq!(now.debt_units, 0, "{now:?}");
    assert_eq!(now.available_units, u64::from(now.limit_units), "{now:?}");
}

fn on_threads(work: impl Fn(&mut Dice, &tokio::runtime::Runtime) + Sync) {
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let work = &work;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime");
                let mut dice = Dice(seed);
                for _ in 0..ROUNDS {
                    work(&mut dice, &runtime);
                }
            });
        }
    });
}

/// Arrivals that wait, leave, expire and keep their permits for a while, and resizes.
#[test]
fn anything_at_once_ends_in_exact_quiescence() {
    let rules = Rules {
        max_depth: 3,
        ..Rules::of_one_class(Duration::from_micros(500), Discipline::Fifo)
    };
    let gate = Gate::with_clock(budget(2), rules, Instant::now);
    on_threads(|dice, runtime| {
        let cost = match dice.roll(3) {
            0 => Cost::Bytes(1 + dice.roll(3000)),
            _ => Cost::Task,
        };
        match (gate.arrive_now(&Ask::new(cost, 10)), dice.roll(4)) {
            (Arrival::Queued(waiting), 0) => drop(waiting),
            (Arrival::Queued(waiting), 1) => {
                waiting.expire();
                drop(runtime.block_on(waiting));
            }
            (Arrival::Queued(waiting), _) => match runtime.block_on(waiting.until_deadline()) {
                Ok(permit) => drop(permit),
                Err(rejected) => assert_eq!(rejected.reason, RejectReason::QueueWait),
            },
            (Arrival::Admitted(permit), _) => {
                thread::yield_now();
                drop(permit);
            }
            (Arrival::Rejected(rejected), _) => {
                // Another thread's round may have seen it so late that its wait was over.
                let reasons = [RejectReason::QueueDepth, RejectReason::QueueWait];
                assert!(reasons.contains(&rejected.reason), "{rejected:?}");
            }
        }
        if dice.roll(8) == 0 {
            gate.resize(budget(1 + dice.roll(4)));
        }
    });
    assert_at_rest(&gate);
}

/// Nobody leaves and nobody may be forgotten: each wait, of up to a minute, ends in a grant.
#[test]
fn no_wake_up_is_lost_between_threads() {
    for order in [Discipline::Fifo, Discipline::Lifo] {
        let rules = Rules::of_one_class(Duration::from_secs(60), order);
        let gate = Gate::with_clock(budget(1), rules, Instant::now);
        on_threads(|dice, runtime| {
            let permit: Permit = runtime
                .block_on(gate.admit(Cost::Bytes(1 + dice.roll(2000))))
                .expect("everybody who waits is granted");
            if dice.roll(16) == 0 {
                gate.resize(budget(1 + dice.roll(2)));
            }
            drop(permit);
        });
        assert_at_rest(&gate);
    }
}
