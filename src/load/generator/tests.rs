//! The generator against a backend that is told how to behave.

use std::time::Duration;

use super::*;
use crate::load::backend::{Backend, BackendSettings};

async fn backend(service_ms: u64) -> Backend {
    let settings = BackendSettings {
        service: Duration::from_millis(service_ms),
        ..BackendSettings::default()
    };
    Backend::on_loopback(settings).await.expect("a free port")
}

fn plan(backend: &Backend, rate_per_second: f64, count: u64) -> Plan {
    Plan::new(backend.address(), rate_per_second, Bound::Count(count))
}

#[tokio::test]
async fn every_request_is_counted_once_over_both_protocols() {
    for protocol in [Protocol::Http1, Protocol::Http2 { connections: 3 }] {
        let backend = backend(0).await;
        let mut plan = plan(&backend, 2_000.0, 500);
        plan.protocol = protocol;
        plan.request.path = String::from("/x?bytes=100");
        let progress = Arc::new(Progress::default());
        let report = run(plan, Arc::clone(&progress)).await;
        assert_eq!((report.sent, report.ok), (500, 500), "{report:?}");
        assert_eq!(report.by_status.get(&200), Some(&500));
        assert_eq!((report.rejects(), report.failures()), (0, 0));
        assert_eq!(report.latency_us.len(), 500);
        assert_eq!(
            (progress.sent(), progress.ok(), progress.outstanding()),
            (500, 500, 0)
        );
        assert_eq!(backend.stats().served, 500);
        if protocol != Protocol::Http1 {
            assert_eq!(backend.stats().accepted, 3);
        }
    }
}

#[tokio::test]
async fn connections_are_kept_alive_and_replaced_when_the_server_closes_them() {
    let backend = backend(0).await;
    let report = run(plan(&backend, 100.0, 20), Arc::default()).await;
    assert_eq!(report.ok, 20);
    // How many are needed at once is up to the machine; one for each request would be no reuse.
    assert!(backend.stats().accepted < 20, "{:?}", backend.stats());

    let mut closing = plan(&backend, 100.0, 20);
    closing.request.path = String::from("/?close=1");
    let accepted = backend.stats().accepted;
    let report = run(closing, Arc::default()).await;
    assert_eq!(report.ok, 20, "{report:?}");
    assert_eq!(backend.stats().accepted - accepted, 20);
}

#[tokio::test]
async fn arrivals_do_not_wait_for_a_slow_server() {
    let backend = backend(300).await;
    let report = run(plan(&backend, 1_000.0, 100), Arc::default()).await;
    assert_eq!(report.ok, 100);
    assert!(backend.stats().max_in_flight > 50, "{:?}", backend.stats());
    assert!(
        report.latency_us.min() >= 300_000 * 99 / 100,
        "{}",
        report.latency_us.min()
    );
}

#[tokio::test]
async fn failures_have_their_kind() {
    let backend = backend(0).await;
    let kind_of = async |path: &str, timeout_ms| {
        let mut plan = plan(&backend, 1_000.0, 3);
        plan.request.path = path.into();
        plan.timeout = Duration::from_millis(timeout_ms);
        let report = run(plan, Arc::default()).await;
        assert_eq!(report.failures(), 3);
        report.failed.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        kind_of("/?sleep_ms=60000", 50).await,
        [(FailureKind::Timeout, 3)]
    );
    assert_eq!(
        kind_of("/?bytes=9&abort=1", 5_000).await,
        [(FailureKind::BodyBroken, 3)]
    );
    assert_eq!(
        kind_of("/?status=500", 5_000).await,
        [],
        "an answer, though not a good one"
    );

    let gone = plan(&backend, 1_000.0, 3);
    backend.stop().await;
    let report = run(gone, Arc::default()).await;
    assert_eq!(
        report.failed.into_iter().collect::<Vec<_>>(),
        [(FailureKind::Connect, 3)]
    );
}

#[tokio::test]
async fn what_is_on_its_way_is_bounded() {
    let backend = backend(200).await;
    let mut plan = plan(&backend, 2_000.0, 50);
    plan.max_outstanding = 10;
    let report = run(plan, Arc::default()).await;
    assert_eq!(
        report.failed.get(&FailureKind::NotSent),
        Some(&40),
        "{report:?}"
    );
    assert_eq!((report.ok, backend.stats().max_in_flight), (10, 10));
}

#[tokio::test]
async fn rejects_are_told_apart_by_their_reason() {
    let mut report = Report::default();
    let millisecond = Duration::from_millis(1);
    report.record(&Outcome::Answered(200), millisecond);
    report.record(&Outcome::Answered(503), millisecond);
    report.record(&Outcome::Rejected(503, "queue_wait".into()), millisecond);
    report.record(&Outcome::Rejected(503, "queue_wait".into()), millisecond);
    report.record(&Outcome::Rejected(200, "draining".into()), millisecond);
    report.record(&Outcome::Failed(FailureKind::Broken), millisecond);
    assert_eq!(
        (report.sent, report.ok, report.rejects(), report.failures()),
        (6, 1, 3, 2)
    );
    assert_eq!((report.by_status[&200], report.by_status[&503]), (2, 3));
    assert_eq!(
        (report.rejected["queue_wait"], report.rejected["draining"]),
        (2, 1)
    );
    assert_eq!(
        (report.latency_us.len(), report.reject_latency_us.len()),
        (1, 3)
    );
}

#[tokio::test]
async fn a_reject_is_known_by_its_header() {
    let answer = "HTTP/1.1 503 \r\nweir-reject-reason: queue_wait\r\ncontent-length: 0\r\n\r\n";
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    let rejecting = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut head = [0; 1024];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
        assert!(read.expect("a request") > 0);
        let written = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        written.expect("an answer");
        stream
    };
    let plan = Plan::new(address, 1.0, Bound::Count(1));
    let (_stream, report) = tokio::join!(rejecting, run(plan, Arc::default()));
    assert_eq!(report.rejected.get("queue_wait"), Some(&1), "{report:?}");
    assert_eq!((report.ok, report.failures()), (0, 0));
}
