//! Going away: nobody loses a request, and the exit code says how it went.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::CONNECTION;
use tokio::task::JoinSet;

use super::support::client::{Client, get};
use super::support::raw::{Raw, get as raw_get};
use super::support::{SOON, Setup, Weir, backend};

const LAME_DUCK: Duration = Duration::from_millis(700);
const TIMEOUT: Duration = Duration::from_secs(8);

fn setup(setup: Setup) -> Setup {
    setup
        .set("drain.lame_duck", "700ms")
        .set("drain.timeout", "8s")
        // A machine that stands still for a second must not look like an overload.
        .set("queue.max_wait", "1900ms")
}

/// A client that asks again and again until it is told to go.
async fn ask_until_told_to_go(mut client: Client, served: Arc<AtomicU64>) {
    loop {
        let Some(answer) = client.answer_unless_told_to_go(get("/?sleep_ms=20")).await else {
            return;
        };
        let answer = answer.expect("a request that was sent is answered");
        assert_eq!(answer.status, 200, "{:?}", answer.headers);
        served.fetch_add(1, Ordering::Relaxed);
        if answer.headers.get(CONNECTION).is_some_and(|c| c == "close") {
            return;
        }
    }
}

/// Connections that have been idle since their one request, and some that never had one.
async fn idle_connections(data: SocketAddr) -> Vec<Raw> {
    let mut idle = Vec::new();
    for number in 0..6 {
        let mut raw = Raw::connect(data).await;
        if number % 2 == 0 {
            raw.send(raw_get("/")).await;
            assert_eq!(raw.response().await.0.status, 200);
        }
        idle.push(raw);
    }
    idle
}

async fn until_phase(weir: &Weir, phase: &str) {
    weir.until(phase, SOON, async |weir| {
        weir.get("/readyz").await.1.trim() == phase
    })
    .await;
}

/// Fails when the lame duck closes idle connections, as hyper's own graceful shutdown does, and
/// when it refuses new requests (both tried).
#[tokio::test]
async fn nothing_is_lost_in_twenty_drains_under_load() {
    for round in 0..20 {
        drain_under_load(round).await;
    }
}

async fn drain_under_load(round: u32) {
    let backend = backend().await;
    let weir = setup(Setup::new(&backend, 4)).start().await;
    let served = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let client = Client::http1(weir.data).await;
        clients.spawn(ask_until_told_to_go(client, served.clone()));
    }
    for _ in 0..2 {
        let client = Client::http2(weir.data).await;
        for _ in 0..4 {
            clients.spawn(ask_until_told_to_go(client.share(), served.clone()));
        }
    }
    let idle = idle_connections(weir.data).await;
    weir.until("busy and queued", SOON, async |weir| {
        let now = weir.figures().await;
        now.in_flight == 4 && now.queued > 0 && served.load(Ordering::Relaxed) > 20
    })
    .await;

    let begun = Instant::now();
    weir.signal("TERM");
    until_phase(&weir, "lame_duck").await;
    assert_eq!(weir.get("/readyz").await.0, 503);
    assert_eq!(weir.get("/livez").await.0, 200);
    // Half of the idle ones ask during the lame duck, half of them after it, when no new
    // connection is taken any more.
    let mut newcomer = Raw::get(weir.data, "/").await;
    assert_eq!(newcomer.response().await.0.status, 200);
    let (early, late): (Vec<_>, Vec<_>) = (0..).zip(idle).partition(|(n, _)| *n < 3);
    ask_once_more(early).await;
    until_phase(&weir, "draining").await;
    ask_once_more(late).await;

    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    let code = weir.exit_code(LAME_DUCK + TIMEOUT + SOON).await;
    let took = begun.elapsed();
    assert_eq!(code, 0, "round {round}");
    let bound = LAME_DUCK + TIMEOUT + Duration::from_millis(500);
    assert!(took < bound, "round {round}: {took:?}");
    assert_eq!(backend.stats().started, backend.stats().served);
}

async fn ask_once_more(idle: Vec<(u32, Raw)>) {
    for (number, mut raw) in idle {
        raw.send(raw_get("/")).await;
        let (head, _) = raw.response().await;
        assert_eq!(head.status, 200, "idle connection {number}: {head:?}");
        let told = head.headers.get("connection").map(String::as_str);
        assert_eq!(told, Some("close"), "idle connection {number}");
    }
}

#[tokio::test]
async fn a_request_left_over_at_the_deadline_shows_in_the_exit_code() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 4)
        .set("queue.max_wait", "200ms")
        .set("drain.lame_duck", "0s")
        .set("drain.timeout", "1s")
        .start()
        .await;
    let mut left = Raw::get(weir.data, "/?sleep_ms=600000").await;
    weir.until_at(1, 0).await;
    let begun = Instant::now();
    weir.signal("TERM");
    assert_eq!(weir.exit_code(SOON).await, 4);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(left.try_head().await.is_none(), "no answer came");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let backend = backend().await;
    let weir = setup(Setup::new(&backend, 4)).start().await;
    let _left = Raw::get(weir.data, "/?sleep_ms=600000").await;
    weir.until_at(1, 0).await;
    weir.signal("TERM");
    until_phase(&weir, "lame_duck").await;
    let begun = Instant::now();
    weir.signal("TERM");
    assert_eq!(weir.exit_code(SOON).await, 5);
    assert!(begun.elapsed() < TIMEOUT);
}

/// A platform runs `weir drain` as its stop hook and then sends SIGTERM: that is one word to go,
/// not two.
#[tokio::test]
async fn a_signal_after_weir_drain_is_the_first() {
    let backend = backend().await;
    let weir = setup(Setup::new(&backend, 4)).start().await;
    let mut busy = Raw::get(weir.data, "/?sleep_ms=1000").await;
    weir.until_at(1, 0).await;
    let drain = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["drain", "--admin", &weir.admin.to_string()])
        .output()
        .expect("the binary under test");
    assert!(drain.status.success(), "{drain:?}");
    until_phase(&weir, "lame_duck").await;
    weir.signal("TERM");
    assert_eq!(busy.response().await.0.status, 200);
    assert_eq!(weir.exit_code(SOON).await, 0);
    drop(weir);

    let weir = setup(Setup::new(&backend, 4)).start().await;
    let _left = Raw::get(weir.data, "/?sleep_ms=600000").await;
    weir.until_at(1, 0).await;
    weir.post("/drain").await;
    until_phase(&weir, "lame_duck").await;
    weir.signal("TERM");
    until_phase(&weir, "draining").await;
    weir.signal("TERM");
    assert_eq!(weir.exit_code(SOON).await, 5);
}
