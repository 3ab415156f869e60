//! Overload: ten times what the backend can do, and it does all it can.

use std::sync::Arc;
use std::time::Duration;

use weir::load::backend::BackendSettings;
use weir::load::generator::{self, Bound, Plan, Progress, Protocol};

use super::support::raw::Raw;
use super::support::{Setup, Weir, backend_with, summary};

const PERMITS: u32 = 50;
const SERVICE: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_millis(100);
const CAPACITY: f64 = 500.0;
const OFFERED: f64 = 10.0 * CAPACITY;
const LASTS: Duration = Duration::from_secs(8);

#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "needs a release build: cargo test --release --test it"
)]
async fn ten_times_the_capacity_costs_no_goodput_over_http1() {
    ten_times_the_capacity(Protocol::Http1).await;
}

#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "needs a release build: cargo test --release --test it"
)]
async fn ten_times_the_capacity_costs_no_goodput_over_http2() {
    ten_times_the_capacity(Protocol::Http2 { connections: 20 }).await;
}

async fn ten_times_the_capacity(protocol: Protocol) {
    let backend = backend_with(BackendSettings {
        service: SERVICE,
        ..BackendSettings::default()
    })
    .await;
    let weir = Setup::new(&backend, PERMITS)
        .set("queue.max_wait", "100ms")
        .start()
        .await;

    let mut plan = Plan::new(weir.data, OFFERED, Bound::Duration(LASTS));
    plan.protocol = protocol;
    let running = generator::run(plan, Arc::new(Progress::default()));
    let (report, ()) = tokio::join!(running, a_reject_is_well_formed(&weir));

    // After the last arrival there is work for as long as a request may wait, and no longer.
    let goodput = report.ok as f64 / (LASTS + MAX_WAIT).as_secs_f64();

    let summary = summary(&report);
    eprintln!("{protocol:?}: goodput {goodput:.1}/s; {summary}");
    assert_eq!(report.failures(), 0, "{summary}");
    assert!(goodput >= 0.97 * CAPACITY, "{goodput:.1}/s: {summary}");
    assert!(report.rejects() * 2 >= report.sent, "{summary}");
    assert_eq!(report.by_status.get(&503), Some(&report.rejects()));
    assert_eq!(backend.stats().max_in_flight, u64::from(PERMITS));

    // One more was sent by hand, or more until it was refused.
    let by_hand = weir.figures().await.finished - report.sent;
    weir.assert_at_rest(report.sent + by_hand).await;
    let metrics = weir.metrics().await;
    assert_eq!(metrics.sum("weir_requests_total"), report.sent + by_hand);
    let rejected = metrics.sum("weir_rejected_total");
    assert_eq!(rejected, report.rejects() + 1, "and one by hand");
    assert_eq!(
        metrics.with("weir_responses_total", "code=\"5xx\""),
        rejected
    );
}

/// Asks by hand until it is refused, and looks at that answer.
async fn a_reject_is_well_formed(weir: &Weir) {
    loop {
        let mut raw = Raw::get(weir.data, "/").await;
        let (head, body) = raw.response().await;
        if head.status != 503 {
            continue;
        }
        let field = |name: &str| head.headers.get(name).map(String::as_str);
        assert_eq!(field("weir-reject-reason"), Some("queue_wait"), "{head:?}");
        let seconds: u64 = field("retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or_else(|| panic!("no Retry-After: {head:?}"));
        assert!((1..=45).contains(&seconds), "{head:?}");
        assert!(field("proxy-status").is_some(), "{head:?}");
        assert!(!body.is_empty(), "{head:?}");
        return;
    }
}
