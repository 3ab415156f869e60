//! The queue at full size: everyone who fits waits, is served, and in order; the rest is refused.

use std::sync::{Arc, Mutex};

use http::StatusCode;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::support::client::{Answer, Client};
use super::support::raw::{Raw, RawBackend};
use super::support::{SOON, Setup, Weir};

/// A backend of one request at a time, the first of which lasts until it is told; it writes down
/// in which order the waves of requests come.
struct Recorder {
    backend: RawBackend,
    waves: Arc<Mutex<Vec<usize>>>,
    go_on: Arc<Notify>,
}

impl Recorder {
    async fn start() -> Self {
        let waves = Arc::new(Mutex::new(Vec::new()));
        let go_on = Arc::new(Notify::new());
        let (seen, told) = (waves.clone(), go_on.clone());
        let backend = RawBackend::start(move |mut raw, _| {
            let (seen, told) = (seen.clone(), told.clone());
            async move {
                while let Some(head) = raw.try_head().await {
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    match path.trim_start_matches('/').parse() {
                        Ok(wave) => seen.lock().expect("no panic").push(wave),
                        Err(_) => told.notified().await,
                    }
                    raw.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        })
        .await;
        Self {
            backend,
            waves,
            go_on,
        }
    }

    /// With one permit, taken by a request that ends when it is told to.
    async fn weir(&self, max_bytes: &str) -> (Weir, Raw) {
        let weir = Setup::to(&self.backend.upstream(), 1)
            .set("queue.max_bytes", max_bytes)
            .set("queue.max_wait", "120s")
            .set("drain.timeout", "120s")
            .set("drain.grace", "150s")
            .set("limits.max_connections", "15000")
            .set("limits.h2_streams", "1000")
            .start()
            .await;
        let holder = Raw::get(weir.data, "/hold").await;
        weir.until_at(1, 0).await;
        (weir, holder)
    }

    fn assert_in_order(&self, count: usize) {
        let waves = self.waves.lock().expect("no panic");
        assert_eq!(waves.len(), count, "requests that the backend saw");
        assert!(waves.is_sorted(), "waves were mixed up");
    }
}

async fn until_queued(weir: &Weir, count: usize) {
    weir.until(&format!("{count} wait"), SOON * 6, async |weir| {
        weir.queued().await == count as u64
    })
    .await;
}

/// Fails in any other order, and when a permit that comes back wakes nobody (both tried).
#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "needs a release build: cargo test --release --test it"
)]
async fn ten_thousand_http1_requests_wait_and_are_served_in_order() {
    const WAVES: usize = 5;
    const WAVE: usize = 2000;
    let recorder = Recorder::start().await;
    let (weir, mut holder) = recorder.weir("1Gi").await;
    let mut clients = Vec::new();
    for wave in 0..WAVES {
        for _ in 0..WAVE {
            clients.push(Raw::get(weir.data, &format!("/{wave}")).await);
        }
        until_queued(&weir, clients.len()).await;
    }
    let depth = weir.metrics().await.sum("weir_queue_depth");
    assert_eq!(depth, (WAVES * WAVE) as u64);

    recorder.go_on.notify_one();
    assert_eq!(holder.head().await.status, 200);
    for client in &mut clients {
        assert_eq!(client.head().await.status, 200);
    }
    recorder.assert_in_order(WAVES * WAVE);
    weir.assert_at_rest((WAVES * WAVE) as u64 + 1).await;
}

#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "needs a release build: cargo test --release --test it"
)]
async fn fifty_thousand_http2_streams_wait_and_are_served_in_order() {
    const WAVES: usize = 5;
    const CONNECTIONS: usize = 10;
    const STREAMS: usize = 1000;
    let recorder = Recorder::start().await;
    let (weir, mut holder) = recorder.weir("1Gi").await;
    let mut asked = JoinSet::new();
    for wave in 0..WAVES {
        ask(&mut asked, &weir, wave, CONNECTIONS, STREAMS).await;
        until_queued(&weir, (wave + 1) * CONNECTIONS * STREAMS).await;
    }
    let count = WAVES * CONNECTIONS * STREAMS;
    let depth = weir.metrics().await.sum("weir_queue_depth");
    assert_eq!(depth, count as u64);

    recorder.go_on.notify_one();
    assert_eq!(holder.head().await.status, 200);
    while let Some(answer) = asked.join_next().await {
        let answer = answer.expect("no panic").expect("an answer");
        assert_eq!(answer.status, 200);
    }
    recorder.assert_in_order(count);
    weir.assert_at_rest(count as u64 + 1).await;
}

async fn ask(
    asked: &mut JoinSet<hyper::Result<Answer>>,
    weir: &Weir,
    wave: usize,
    connections: usize,
    streams: usize,
) {
    for _ in 0..connections {
        let client = Client::http2(weir.data).await;
        for _ in 0..streams {
            let mut client = client.share();
            asked.spawn(async move { client.get(&format!("/{wave}")).await });
        }
    }
}

/// Fails when a request is charged one byte less (tried).
#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "needs a release build: cargo test --release --test it"
)]
async fn what_does_not_fit_into_the_default_bytes_is_refused_over_http1() {
    const SENT: usize = 7000;
    const FIT: usize = (64 << 20) / (14 << 10);
    let recorder = Recorder::start().await;
    let (weir, mut holder) = recorder.weir("64Mi").await;
    let mut clients = Vec::new();
    for _ in 0..SENT {
        clients.push(Raw::get(weir.data, "/0").await);
    }
    until_refused(&weir, FIT, SENT - FIT).await;

    recorder.go_on.notify_one();
    assert_eq!(holder.head().await.status, 200);
    let mut refused = 0;
    for client in &mut clients {
        let head = client.head().await;
        if head.status != 200 {
            assert_eq!(head.status, 503);
            assert_eq!(head.headers["weir-reject-reason"], "queue_bytes");
            refused += 1;
        }
    }
    assert_eq!(refused, SENT - FIT);
    recorder.assert_in_order(FIT);
    weir.assert_at_rest(SENT as u64 + 1).await;
}

#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "needs a release build: cargo test --release --test it"
)]
async fn what_does_not_fit_into_the_default_bytes_is_refused_over_http2() {
    const SENT: usize = 23_000;
    const FIT: usize = (64 << 20) / (4 << 10);
    let recorder = Recorder::start().await;
    let (weir, mut holder) = recorder.weir("64Mi").await;
    let mut asked = JoinSet::new();
    ask(&mut asked, &weir, 0, 23, 1000).await;
    // Answers come in meanwhile: the runtime is the clients', too.
    until_refused(&weir, FIT, SENT - FIT).await;

    recorder.go_on.notify_one();
    assert_eq!(holder.head().await.status, 200);
    let mut refused = 0;
    while let Some(answer) = asked.join_next().await {
        let answer = answer.expect("no panic").expect("an answer");
        if answer.status != 200 {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers["weir-reject-reason"], "queue_bytes");
            refused += 1;
        }
    }
    assert_eq!(refused, SENT - FIT);
    recorder.assert_in_order(FIT);
    weir.assert_at_rest(SENT as u64 + 1).await;
}

async fn until_refused(weir: &Weir, queued: usize, refused: usize) {
    let what = format!("{queued} wait, {refused} are refused");
    weir.until(&what, SOON * 3, async |weir| {
        let metrics = weir.metrics().await;
        let rejected = metrics.with("weir_rejected_total", "reason=\"queue_bytes\"");
        metrics.sum("weir_queue_depth") == queued as u64 && rejected == refused as u64
    })
    .await;
}
