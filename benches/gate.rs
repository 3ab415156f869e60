//! What a decision of the gate costs: at once, contended, through the queue, and refused.
//!
//! `cargo bench --bench gate` runs all of it in about half a minute. Goals, per decision (admit
//! and release): 100 ns uncontended, 0.5 µs with two threads at it, 1 µs through the queue on one
//! thread, 2 µs across two, and a million decisions per second on one thread.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use weir::admission::{Budget, Discipline};
use weir::gate::{Arrival, Ask, Cost, Gate, Permit, Rules, Strategy, Waiting};

/// Hand-overs from thread to thread in one round.
const HAND_OVERS: u64 = 50_000;
const ROUNDS: u32 = 9;

/// Tickets that wait at once in the last measurement.
const TICKETS: u32 = 1_000_000;

fn gate(permits: u32, strategy: Strategy) -> Gate {
    let rules = Rules {
        strategy,
        max_bytes: 1 << 39,
        ..Rules::of_one_class(Duration::from_secs(3600), Discipline::Fifo)
    };
    let budget = Budget::of_permits(permits).expect("at least one permit");
    Gate::new(budget, rules)
}

fn admitted(gate: &Gate) -> Permit {
    match gate.arrive_now(&Ask::new(Cost::Task, 1)) {
        Arrival::Admitted(permit) => permit,
        other => panic!("not admitted: {other:?}"),
    }
}

fn queued(gate: &Gate) -> Waiting {
    match gate.arrive_now(&Ask::new(Cost::Task, 1)) {
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
        bencher.iter(|| {
            assert!(matches!(
                full.arrive_now(&Ask::new(Cost::Task, 1)),
                Arrival::Rejected(_)
            ));
        });
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
    group.finish();
}

/// What one hand-over took, in nanoseconds.
#[derive(Clone, Copy)]
struct HandOver {
    /// On the thread that asks: until its ticket is queued.
    queue: u64,
    /// From the release on the other thread until this one has the permit.
    grant: u64,
    /// Both, and the news between them that somebody waits.
    whole: u64,
}

/// One thread asks and waits, another has the only permit and releases it when somebody waits: every
/// grant is made by the one thread and taken by the other.
///
/// Each hand-over is timed by itself and the median told. A thread that loses its core in the
/// meantime lengthens a few hand-overs by milliseconds, which moves a mean, but not a median; the
/// share of those is told, too. Neither sleeps while it is timed, or the kernel's wake-up would be what is
/// measured.
fn across_threads() {
    let mut medians = Vec::new();
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        let mut round = hand_overs(HAND_OVERS);
        // The first ones warm the caches.
        let mut round = round.split_off(round.len() / 10);
        medians.push(quantile(&mut round, 50, |one| one.whole));
        all.append(&mut round);
    }
    let mut of = |percent, part| quantile(&mut all, percent, part);
    let median = of(50, |one: &HandOver| one.whole);
    let quartiles = [25, 75].map(|percent| of(percent, |one| one.whole));
    let (queue, grant) = (of(50, |one| one.queue), of(50, |one| one.grant));
    let slow = all.iter().filter(|one| one.whole > 10 * median).count();
    medians.sort_unstable();
    println!(
        "hand-over to another thread, {ROUNDS} rounds of {HAND_OVERS}: median {median} ns, quartiles \
         {quartiles:?}; to queue {queue} ns, from the release to the permit {grant} ns; {slow} of {} \
         took more than ten times the median; medians of the rounds {medians:?}: if they differ \
         much, the machine was busy; a look at the clock takes {} ns, there are three in the whole \
         and one in either part",
        all.len(),
        clock_nanos(),
    );
}

fn quantile(all: &mut [HandOver], percent: usize, part: fn(&HandOver) -> u64) -> u64 {
    let at = all.len() * percent / 100;
    part(all.select_nth_unstable_by_key(at, part).1)
}

fn hand_overs(many: u64) -> Vec<HandOver> {
    let gate = gate(1, Strategy::Queue);
    let (ready, asked, released) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (to_release, permits) = mpsc::channel::<Permit>();
    let begun = Instant::now();
    let nanos = || u64::try_from(begun.elapsed().as_nanos()).expect("less than centuries");
    let is = |count: &AtomicU64, number| (count.load(Ordering::Acquire) == number).then_some(());
    let mut all = Vec::new();
    thread::scope(|scope| {
        let (ready, asked, released) = (&ready, &asked, &released);
        scope.spawn(move || {
            for (number, permit) in (1..).zip(permits) {
                ready.store(number, Ordering::Release);
                spin(|| is(asked, number));
                // Read by who gets the permit, so after the grant.
                released.store(nanos(), Ordering::Relaxed);
                drop(permit);
            }
        });
        let mut held = admitted(&gate);
        for number in 1..=many {
            to_release.send(held).expect("the other thread listens");
            spin(|| is(ready, number));
            let asks = nanos();
            let mut waiting = queued(&gate);
            assert!(poll(&mut waiting).is_none(), "the permit is not free");
            let is_queued = nanos();
            asked.store(number, Ordering::Release);
            held = spin(|| poll(&mut waiting));
            let end = nanos();
            all.push(HandOver {
                queue: is_queued - asks,
                grant: end.saturating_sub(released.load(Ordering::Relaxed)),
                whole: end - asks,
            });
        }
        // The other thread ends when nobody can send.
        drop(to_release);
    });
    all
}

/// What reading the clock adds to whatever is timed with it.
fn clock_nanos() -> u128 {
    const LOOKS: u32 = 100_000;
    let begun = Instant::now();
    (0..LOOKS).for_each(|_| _ = std::hint::black_box(Instant::now()));
    (begun.elapsed() / LOOKS).as_nanos()
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
    across_threads();
    many_tickets();
}
