//! What a decision of the gate costs: at once, contended, through the queue, and refused.
//!
//! `cargo bench --bench gate` runs all of it in about half a minute. Goals, per decision (admit
//! and release): 100 ns uncontended, 0.5 µs with two threads at it, 1 µs through the queue on one
//! thread, 2 µs across two, and a million decisions per second on one thread.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use weir::admission::{Budget, Order};
use weir::gate::{Arrival, Bounds, Cost, Gate, Permit, Strategy, Waiting};

/// Tickets that wait at once in the last measurement.
const TICKETS: u32 = 1_000_000;

fn gate(permits: u32, strategy: Strategy) -> Gate {
    let bounds = Bounds {
        strategy,
        max_wait: Duration::from_secs(3600),
        max_depth: 0,
        max_bytes: 1 << 39,
        order: Order::Fifo,
    };
    let budget = Budget::of_permits(permits).expect("at least one permit");
    Gate::new(budget, bounds)
}

fn admitted(gate: &Gate) -> Permit {
    match gate.arrive(Cost::Task, 1) {
        Arrival::Admitted(permit) => permit,
        other => panic!("not admitted: {other:?}"),
    }
}

fn queued(gate: &Gate) -> Waiting {
    match gate.arrive(Cost::Task, 1) {
        Arrival::Queued(waiting) => waiting,
        other => panic!("not queued: {other:?}"),
    }
}

fn poll(waiting: &mut Waiting) -> Option<Permit> {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(waiting).poll(&mut context) {
        Poll::Ready(granted) => Some(granted.expect("nothing but a grant ends this wait")),
        Poll::Pending => None,
    }
}

/// Looks until there is something. It does not sleep: what is measured is the gate and not how long
/// the kernel takes to wake somebody. Only when it takes long is somebody else let on the core: on
/// a busy machine that may be the one who is waited for.
fn spin<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let mut looks = 0_u32;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        looks += 1;
        if looks.is_multiple_of(512) {
            thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one thread");
    group.throughput(Throughput::Elements(1));
    let open = gate(10, Strategy::Queue);
    group.bench_function("admit, release", |bencher| {
        bencher.iter(|| drop(admitted(&open)));
    });
    let full = gate(1, Strategy::Immediate);
    let held = admitted(&full);
    group.bench_function("reject", |bencher| {
        bencher.iter(|| assert!(matches!(full.arrive(Cost::Task, 1), Arrival::Rejected(_))));
    });
    drop(held);
    let busy = gate(1, Strategy::Queue);
    let mut held = Some(admitted(&busy));
    group.bench_function("queue, release, grant", |bencher| {
        bencher.iter(|| {
            let mut waiting = queued(&busy);
            drop(held.take());
            held = Some(poll(&mut waiting).expect("granted by the release"));
        });
    });
    group.finish();
}

/// Each of two threads makes `decisions`; the time until both are done.
fn on_two_threads(decisions: u64, thread: impl Fn(u64) + Sync) -> Duration {
    let start = Barrier::new(3);
    thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            scope.spawn(|| {
                start.wait();
                thread(decisions);
            })
        });
        start.wait();
        let started = Instant::now();
        for thread in threads {
            thread.join().expect("no panic");
        }
        started.elapsed()
    })
}

fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two threads");
    group.throughput(Throughput::Elements(1));
    // The time is what one decision takes on its thread; together they make twice as many.
    let open = gate(10, Strategy::Queue);
    group.bench_function("admit, release", |bencher| {
        bencher.iter_custom(|decisions| {
            on_two_threads(decisions, |decisions| {
                for _ in 0..decisions {
                    drop(admitted(&open));
                }
            })
        });
    });
    group.bench_function("queue, grant from the other", |bencher| {
        bencher.iter_custom(|decisions| hand_over(decisions.div_ceil(2)));
    });
    group.finish();
}

/// Two threads pass the only permit to and fro, so many times each: it is released when the other
/// waits for it, so every decision is queued on one thread and granted by the other's release.
fn hand_over(each: u64) -> Duration {
    let gate = gate(1, Strategy::Queue);
    let held = admitted(&gate);
    let arrivals = AtomicU64::new(0);
    thread::scope(|scope| {
        let threads = [0, 1].map(|turn| {
            let (gate, arrivals) = (&gate, &arrivals);
            scope.spawn(move || {
                let arrived = |many| (arrivals.load(Ordering::Acquire) >= many).then_some(());
                spin(|| arrived(turn));
                for decision in 0..each {
                    let mut waiting = queued(gate);
                    arrivals.fetch_add(1, Ordering::AcqRel);
                    let permit = spin(|| poll(&mut waiting));
                    let nobody_after = 2 * each;
                    let next = (2 * decision + turn + 2).min(nobody_after);
                    spin(|| arrived(next));
                    drop(permit);
                }
            })
        });
        spin(|| (arrivals.load(Ordering::Acquire) >= 2).then_some(()));
        let started = Instant::now();
        drop(held);
        for thread in threads {
            thread.join().expect("no panic");
        }
        started.elapsed()
    })
}

criterion_group! {
    name = timed;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    targets = one_thread, two_threads
}

/// A million waiting at once: what a place costs to take, to be granted, and in memory.
///
/// Memory is resident memory before and after, with the `Waiting` that a request holds.
fn many_tickets() {
    for round in 1..=2 {
        let gate = gate(1, Strategy::Queue);
        let held = admitted(&gate);
        let mut line = VecDeque::with_capacity(TICKETS as usize);
        let (before, started) = (resident_bytes(), Instant::now());
        line.extend((0..TICKETS).map(|_| queued(&gate)));
        let (built, after) = (started.elapsed(), resident_bytes());
        assert_eq!(gate.snapshot().queued, TICKETS);
        let started = Instant::now();
        drop(held);
        while let Some(mut waiting) = line.pop_front() {
            drop(poll(&mut waiting).expect("in the order of arrival"));
        }
        let drained = started.elapsed();
        assert_eq!(gate.snapshot().queued, 0);
        println!(
            "{TICKETS} tickets, round {round}: {:?} each to queue, {:?} each to grant and release, \
             {} bytes each ({} of them the `Waiting`)",
            built / TICKETS,
            drained / TICKETS,
            after.saturating_sub(before) / u64::from(TICKETS),
            size_of::<Waiting>(),
        );
    }
}

/// 0 where the kernel does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.map_or(0, |kib: u64| kib << 10)
}

fn main() {
    timed();
    Criterion::default().configure_from_args().final_summary();
    many_tickets();
}
