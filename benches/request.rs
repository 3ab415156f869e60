//! What weir itself does per request besides the gate and the head: counts and the policy.
//!
//! `cargo bench --bench request` runs all of it in about a quarter of a minute.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::admission::{
    ClassId, ClassSettings, Discipline, Outcome, Policy, Queued, RejectReason, Request, Sample,
    Settings, TenantKey, Turn, Waiter,
};
use weir::telemetry::{Labels, PolicyFigures, Source, Telemetry, WaitEnd};

fn counts(criterion: &mut Criterion) {
    let telemetry = Telemetry::new();
    let metrics = &telemetry.metrics;
    let took = Duration::from_micros(1500);
    let account = metrics.account(ClassId::default(), None);
    let mut group = criterion.benchmark_group("metrics");
    group.bench_function("served", |bencher| {
        // What a request that is served counts, in order.
        bencher.iter(|| {
            metrics.cost(16 << 20);
            metrics.queue_wait(WaitEnd::Granted, Duration::ZERO);
            metrics.first_byte(took);
            metrics.response(Source::Upstream, 200);
            metrics.service_time(took);
            metrics.finished(account, Outcome::Served);
        });
    });
    group.bench_function("rejected", |bencher| {
        bencher.iter(|| {
            metrics.response(Source::Weir, 503);
            metrics.finished(account, Outcome::Rejected);
            metrics.rejected(account, RejectReason::NoPermit);
        });
    });
    let names: Vec<String> = (0..1000).map(|name| format!("tenant-{name}")).collect();
    telemetry.set_labels(
        &Labels {
            classes: vec!["default".to_owned()],
            tenants: Some(10),
        },
        &PolicyFigures::default(),
    );
    // The first of so many sends half of all; the others take turns.
    for tenants in [2, 1000] {
        group.bench_function(format!("account of {tenants} tenants"), |bencher| {
            let mut turn = 0_usize;
            bencher.iter(|| {
                turn = (turn + 1) % (2 * tenants);
                let name = turn.saturating_sub(tenants);
                let key = TenantKey::new(name as u64);
                metrics.account(ClassId::default(), Some((key, names[name].as_bytes())))
            });
        });
    }
    group.finish();
}

#[derive(Debug)]
struct Present;

impl Waiter for Present {
    fn is_waiting(&self) -> bool {
        true
    }
}

/// One who is queued, one who is granted, and one who is done, at a steady depth.
fn policy(criterion: &mut Criterion) {
    let now = Instant::now();
    let took = Duration::from_millis(50);
    let entry = || {
        Queued::new(
            Present,
            Request::default(),
            now,
            now + Duration::from_secs(1),
        )
    };
    let mut group = criterion.benchmark_group("policy");
    group.throughput(Throughput::Elements(1));
    for (discipline, name) in [(Discipline::Fifo, "fifo"), (Discipline::Lifo, "lifo")] {
        for depth in [10, 100_000] {
            let class = ClassSettings {
                discipline,
                ..ClassSettings::default()
            };
            let settings = Settings {
                classes: vec![class],
                ..Settings::default()
            };
            let mut policy = Policy::new(settings, now);
            (0..depth).for_each(|_| policy.push(entry()));
            group.bench_function(
                format!("push, pick, finished, {name}, {depth} waiting"),
                |bencher| {
                    bencher.iter(|| {
                        policy.push(entry());
                        match policy.pick(now, 1024, 10_240) {
                            Turn::Grant(_, charge) => {
                                policy.finished(now, charge, took, Sample::Served);
                            }
                            other => panic!("{other:?}"),
                        }
                    });
                },
            );
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
    targets = counts, policy
}
criterion_main!(timed);
