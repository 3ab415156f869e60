//! What weir itself does per request besides the gate and the head: counts and the scheduler.
//!
//! `cargo bench --bench request` runs all of it in about a quarter of a minute.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::admission::{Entry, Order, Outcome, Pick, RejectReason, Scheduler, Waiter};
use weir::telemetry::{Source, Telemetry, WaitEnd};

fn counts(criterion: &mut Criterion) {
    let telemetry = Telemetry::new();
    let metrics = &telemetry.metrics;
    let took = Duration::from_micros(1500);
    let mut group = criterion.benchmark_group("metrics");
    group.bench_function("served", |bencher| {
        // What a request that is served counts, in order.
        bencher.iter(|| {
            metrics.cost(16 << 20);
            metrics.queue_wait(WaitEnd::Granted, Duration::ZERO);
            metrics.first_byte(took);
            metrics.response(Source::Upstream, 200);
            metrics.service_time(took);
            metrics.finished(Outcome::Served);
        });
    });
    group.bench_function("rejected", |bencher| {
        bencher.iter(|| {
            metrics.response(Source::Weir, 503);
            metrics.finished(Outcome::Rejected);
            metrics.rejected(RejectReason::NoPermit);
        });
    });
    group.finish();
}

struct Present;

impl Waiter for Present {
    fn is_waiting(&self) -> bool {
        true
    }
}

/// One arrival and one grant at a steady depth.
fn scheduler(criterion: &mut Criterion) {
    let now = Instant::now();
    let entry = || Entry {
        waiter: Present,
        units: 1024,
        arrived: now,
        deadline: now + Duration::from_secs(1),
    };
    let mut group = criterion.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(1));
    for (order, name) in [(Order::Fifo, "fifo"), (Order::Lifo, "lifo")] {
        for depth in [10, 100_000] {
            let mut scheduler = Scheduler::default();
            (0..depth).for_each(|_| scheduler.push(entry()));
            group.bench_function(format!("push, pick, {name}, {depth} waiting"), |bencher| {
                bencher.iter(|| {
                    scheduler.push(entry());
                    let pick = scheduler.pick(now, order, 1024, 10_240);
                    assert!(matches!(pick, Pick::Grant(_, 1024)));
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = timed;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    targets = counts, scheduler
}
criterion_main!(timed);
