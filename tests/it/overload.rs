//! Overload: ten times what the backend can do, and it does all it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weir::load::backend::{Backend, BackendSettings};
use weir::load::generator::{self, Bound, Plan, Progress, Protocol};

use super::support::raw::Raw;
use super::support::{Setup, Weir, backend_with, summary};

const PERMITS: u32 = 50;
const SERVICE: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_millis(100);
const CAPACITY: f64 = 500.0;
const OFFERED: f64 = 10.0 * CAPACITY;
const LASTS: Duration = Duration::from_secs(8);

/// A machine that is later than this cannot show 97 %: the backend's service is a sleep of 100 ms, each
/// hop adds a wake-up, and 3 ms are all there is. An undisturbed one is 0.1 ms late.
const LATE_MAX: Duration = Duration::from_micros(500);

/// The backend on a thread of its own: on the generator's it would be late for reasons that are not
/// weir's. It serves until the sender is dropped.
fn backend_apart() -> (Backend, oneshot::Sender<()>) {
    let (give, given) = mpsc::channel();
    let (serving, ended) = oneshot::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let settings = BackendSettings {
                service: SERVICE,
                ..BackendSettings::default()
            };
            give.send(backend_with(settings).await).expect("wanted");
            let _ = ended.await;
        });
    });
    (given.recv().expect("a backend"), serving)
}

/// How late a thread wakes up that does nothing but sleep, while the load runs.
struct Lateness {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Lateness {
    fn watch() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = thread::spawn(move || {
            let nap = Duration::from_millis(10);
            let (mut late, mut naps) = (Duration::ZERO, 0);
            while !seen.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(nap);
                late += begun.elapsed().saturating_sub(nap);
                naps += 1;
            }
            late / naps.max(1)
        });
        Self { is_over, thread }
    }

    fn mean(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

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
    let (backend, _serving) = backend_apart();
    let weir = Setup::new(&backend, PERMITS)
        .set("queue.max_wait", "100ms")
        // What the gate itself costs; what the policy makes of load is for tests/simulation. With CoDel
        // the end of the queue is not there to be served when the load is over.
        .set("queue.codel", "false")
        .set("queue.order", "fifo")
        .start()
        .await;

    let mut plan = Plan::new(weir.data, OFFERED, Bound::Duration(LASTS));
    plan.protocol = protocol;
    let lateness = Lateness::watch();
    let running = generator::run(plan, Arc::new(Progress::default()));
    let (report, ()) = tokio::join!(running, a_reject_is_well_formed(&weir));
    let late = lateness.mean();

    // After the last arrival there is work for as long as a request may wait, and no longer.
    let goodput = report.ok as f64 / (LASTS + MAX_WAIT).as_secs_f64();

    let summary = summary(&report);
    eprintln!("{protocol:?}: goodput {goodput:.1}/s, sleepers {late:?} late; {summary}");
    let is_known = |status: &u16| [200, 503].contains(status);
    assert!(report.by_status.keys().all(is_known), "{summary}");
    if late > LATE_MAX {
        eprintln!("SKIPPED: goodput: this machine wakes a sleeper {late:?} late on average");
        if report.failures() > 0 {
            // Starved for seconds, clients gave up: what they were answered says nothing then.
            return;
        }
    } else {
        assert!(goodput >= 0.97 * CAPACITY, "{goodput:.1}/s: {summary}");
    }
    assert_eq!(report.failures(), 0, "{summary}");
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
