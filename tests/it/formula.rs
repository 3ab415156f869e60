//! The formula, observed: under heavy load a backend sees exactly as many requests at once as the
//! formula says, and never one more.

use std::sync::Arc;
use std::time::Duration;

use weir::load::backend::BackendSettings;
use weir::load::generator::{self, Bound, Plan, Progress, Protocol};

use super::support::{Setup, backend_with, summary};

const SERVICE: Duration = Duration::from_millis(20);

struct Case {
    target: &'static str,
    per_task: &'static str,
    factor: &'static str,
    limit: u64,
    upstream: &'static str,
}

const fn case(
    target: &'static str,
    per_task: &'static str,
    factor: &'static str,
    limit: u64,
    upstream: &'static str,
) -> Case {
    Case {
        target,
        per_task,
        factor,
        limit,
        upstream,
    }
}

const CASES: [Case; 10] = [
    case("16Mi", "16Mi", "1", 1, "auto"),
    case("1", "1", "1", 1, "http2"),
    case("100Mi", "30Mi", "0.9", 3, "auto"),
    case("1G", "100M", "1", 10, "http1"),
    case("100Mi", "1Mi", "0.29", 29, "auto"),
    case("1Gi", "100M", "0.7", 7, "http2"),
    case("512Mi", "16Mi", "0.8", 25, "auto"),
    case("128974848", "2500k", "0.999", 51, "http2"),
    case("1.5Gi", "32Mi", "0.95", 45, "auto"),
    case("600", "10", "1", 60, "auto"),
];

/// Fails when the gate gives one permit more than the formula (tried).
#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "needs a release build: cargo test --release --test it"
)]
async fn the_backend_sees_exactly_the_formula() {
    for case in CASES {
        for protocol in [Protocol::Http1, Protocol::Http2 { connections: 4 }] {
            observe(&case, protocol).await;
        }
    }
}

async fn observe(case: &Case, protocol: Protocol) {
    let backend = backend_with(BackendSettings {
        service: SERVICE,
        ..BackendSettings::default()
    })
    .await;
    let weir = Setup::bare(&format!("http://{}", backend.address()))
        .set("memory.target_memory", case.target)
        .set("memory.memory_per_task", case.per_task)
        .set("memory.safety_factor", case.factor)
        .set("upstream_protocol", case.upstream)
        .set("queue.max_wait", "10s")
        .start()
        .await;
    let metrics = weir.metrics().await;
    assert_eq!(metrics.sum("weir_permit_limit"), case.limit);

    // Twice what it can do, for long enough that every permit is used twenty times over.
    let capacity = case.limit as f64 / SERVICE.as_secs_f64();
    let count = (case.limit * 20).max(40);
    let mut plan = Plan::new(weir.data, 2.0 * capacity, Bound::Count(count));
    plan.protocol = protocol;
    let report = generator::run(plan, Arc::new(Progress::default())).await;

    let Case {
        target,
        per_task,
        factor,
        limit,
        upstream,
    } = case;
    let what = format!("{target} / {per_task} × {factor}, {protocol:?} to {upstream}");
    assert_eq!(report.ok, count, "{what}: {}", summary(&report));
    assert_eq!(backend.stats().max_in_flight, *limit, "{what}");
    weir.assert_at_rest(count).await;
}
