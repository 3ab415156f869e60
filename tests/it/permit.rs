//! A permit's life: held for as long as the backend is occupied, and back when it is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::support::client::{Answer, Client, Content, get, post};
use super::support::raw::{Leave, Raw, RawBackend, UPGRADE};
use super::support::{SOON, Setup, Weir, backend, eventually};

/// What is promised for a client that leaves, and what one look costs on a busy machine.
const GONE: Duration = Duration::from_secs(1);
const LOOKING: Duration = Duration::from_millis(250);

/// How long a request takes that is never to end by itself.
const NEVER: &str = "/?sleep_ms=600000";

const SILENT_UPLOAD: &str = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\nsome";

/// The only permit is taken: who comes now must wait.
async fn who_comes_now_waits(weir: &Weir) -> JoinHandle<hyper::Result<Answer>> {
    let mut next = Client::http1(weir.data).await;
    let next = tokio::spawn(async move { next.get("/next").await });
    weir.until_at(1, 1).await;
    next
}

async fn is_served(next: JoinHandle<hyper::Result<Answer>>) {
    let answer = next.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200);
}

/// Waits for the permit, and says how long that took.
async fn back_after(weir: &Weir) -> Duration {
    let begun = Instant::now();
    weir.until("the permit is back", SOON, async |weir| {
        weir.in_flight().await == 0
    })
    .await;
    begun.elapsed()
}

/// Fails when the exchange lets go of the permit at the response's head (tried).
#[tokio::test]
async fn held_while_the_response_is_streaming() {
    let go_on = Arc::new(Notify::new());
    let told = go_on.clone();
    let backend = RawBackend::start(move |mut raw, _| {
        let told = told.clone();
        async move {
            while let Some(head) = raw.try_head().await {
                raw.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf.")
                    .await;
                if !head.contains("/next") {
                    told.notified().await;
                }
                raw.send("rest.").await;
            }
        }
    })
    .await;
    let weir = Setup::to(&backend.upstream(), 1)
        .set("queue.max_wait", "20s")
        .start()
        .await;
    for is_h2 in [false, true] {
        let mut client = Client::of(is_h2, weir.data).await;
        let mut body = client.send(get("/")).await.expect("a head").into_body();
        let first = body
            .frame()
            .await
            .expect("a frame")
            .expect("the first half");
        assert_eq!(first.into_data().expect("data"), "half.");
        let next = who_comes_now_waits(&weir).await;
        go_on.notify_one();
        assert_eq!(body.collect().await.expect("the rest").to_bytes(), "rest.");
        is_served(next).await;
    }
    weir.assert_at_rest(4).await;
}

#[tokio::test]
async fn held_while_the_upload_is_running() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("queue.max_wait", "20s")
        .start()
        .await;
    for is_h2 in [false, true] {
        let mut client = Client::of(is_h2, weir.data).await;
        let (pieces, body) = Content::pieces();
        let upload = tokio::spawn(async move { client.answer(post("/", body)).await });
        pieces.send(Bytes::from_static(b"a")).expect("open");
        weir.until_at(1, 0).await;
        let next = who_comes_now_waits(&weir).await;
        drop(pieces);
        is_served(upload).await;
        is_served(next).await;
    }
    weir.assert_at_rest(4).await;
}

/// Fails when the permit comes back with the 101 (tried).
#[tokio::test]
async fn held_while_the_tunnel_is_open() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("queue.max_wait", "20s")
        .start()
        .await;
    let mut tunnel = Raw::with(weir.data, UPGRADE).await;
    assert_eq!(tunnel.head().await.status, 101);
    for words in ["ping", "pong"] {
        tunnel.send(words).await;
        assert_eq!(tunnel.take(4).await, words.as_bytes());
    }
    let next = who_comes_now_waits(&weir).await;
    tunnel.send("more").await;
    assert_eq!(tunnel.take(4).await, b"more");
    drop(tunnel);
    is_served(next).await;
    weir.assert_at_rest(2).await;
}

/// Fails when the permit is released and the connection's place in the pool is not: then who comes
/// next finds no room for a connection of its own (tried).
#[tokio::test]
async fn released_with_the_101_if_wanted() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("tunnel.permit", "release")
        .start()
        .await;
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let mut tunnel = Raw::with(weir.data, UPGRADE).await;
        assert_eq!(tunnel.head().await.status, 101);
        tunnels.push(tunnel);
        weir.until_at(0, 0).await;
    }
    let answer = Client::http1(weir.data).await.get("/next").await;
    assert_eq!(answer.expect("an answer").status, 200);
    let metrics = weir.metrics().await;
    assert_eq!(metrics.sum("weir_tunnels"), 3);
    assert!(metrics.sum("weir_upstream_connections") >= 3, "still open");
    for tunnel in &mut tunnels {
        tunnel.send("more").await;
        assert_eq!(tunnel.take(4).await, b"more");
    }
    drop(tunnels);
    weir.assert_at_rest(4).await;
    weir.until("no tunnel", SOON, async |weir| {
        weir.metrics().await.sum("weir_tunnels") == 0
    })
    .await;
}

/// A request of a client that will leave, and how the backend knows that it runs.
async fn begin(weir: &Weir, phase: &str) -> Raw {
    let mut raw = match phase {
        "before the head" => Raw::get(weir.data, NEVER).await,
        "mid-response" => Raw::get(weir.data, "/?bytes=2&chunks=2&gap_ms=600000").await,
        "mid-upload" => Raw::with(weir.data, SILENT_UPLOAD).await,
        _ => panic!("no such phase: {phase}"),
    };
    if phase == "mid-response" {
        raw.head().await;
    }
    weir.until_at(1, 0).await;
    raw
}

/// Where the upload is stuck, hyper does not look at the client's socket: fails when weir does not
/// either.
#[tokio::test]
async fn back_when_the_client_is_gone_in_a_stuck_upload() {
    const BODY: usize = 64 << 20;
    let backend = RawBackend::start(|mut raw, _| async move {
        raw.try_head().await;
        // Reads no further, and answers never.
        std::future::pending::<()>().await;
    })
    .await;
    let weir = Setup::to(&backend.upstream(), 1).start().await;
    let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {BODY}\r\n\r\n");
    let mut client = Raw::with(weir.data, head).await;
    let body = vec![b'.'; BODY];
    let stuck = timeout(Duration::from_millis(500), client.try_send(&body)).await;
    assert!(stuck.is_err(), "the whole body found room");
    weir.until_at(1, 0).await;
    client.reset();
    let after = back_after(&weir).await;
    assert!(after < GONE + LOOKING, "{after:?}");
    weir.assert_at_rest(1).await;
    assert_eq!(weir.outcome("cancelled").await, 1);
}

#[tokio::test]
async fn back_when_the_client_is_gone() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1).start().await;
    let mut sent = 0;
    for phase in ["before the head", "mid-response", "mid-upload"] {
        for leave in Leave::BOTH {
            let client = begin(&weir, phase).await;
            sent += 1;
            client.leave(leave);
            let after = back_after(&weir).await;
            assert!(after < GONE + LOOKING, "{phase}, {leave:?}: {after:?}");
            eventually("the backend is told", SOON, || {
                backend.stats().in_flight == 0
            })
            .await;
        }
    }
    weir.assert_at_rest(sent).await;
    assert_eq!(weir.outcome("cancelled").await, sent);
}

#[tokio::test]
async fn back_when_an_http2_client_resets_its_stream() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1).start().await;
    let mut client = Client::http2(weir.data).await;

    let mut other = client.share();
    let waiting = tokio::spawn(async move { other.get(NEVER).await });
    weir.until_at(1, 0).await;
    waiting.abort();
    let after = back_after(&weir).await;
    assert!(after < GONE, "before the head: {after:?}");

    let path = "/?bytes=2&chunks=2&gap_ms=600000";
    let response = client.send(get(path)).await.expect("a head");
    weir.until_at(1, 0).await;
    drop(response);
    let after = back_after(&weir).await;
    assert!(after < GONE, "mid-response: {after:?}");

    let (pieces, body) = Content::pieces();
    let mut other = client.share();
    let uploading = tokio::spawn(async move { other.answer(post("/", body)).await });
    pieces.send(Bytes::from_static(b"a")).expect("open");
    weir.until_at(1, 0).await;
    uploading.abort();
    let after = back_after(&weir).await;
    assert!(after < GONE, "mid-upload: {after:?}");

    assert_eq!(client.get("/").await.expect("an answer").status, 200);
    weir.assert_at_rest(4).await;
    assert_eq!(weir.outcome("cancelled").await, 3);
}

/// Fails when the grace is ignored (tried).
#[tokio::test]
async fn cancel_grace_keeps_the_permit_after_the_client() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("drain.cancel_grace", "2s")
        .start()
        .await;
    for phase in ["before the head", "mid-response"] {
        let client = begin(&weir, phase).await;
        drop(client);
        let after = back_after(&weir).await;
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(5) + LOOKING);
        assert!((least..most).contains(&after), "{phase}: {after:?}");
    }
    weir.assert_at_rest(2).await;
}

/// The 90th percentile of its own class, once there is one. Fails when the grace is none, and when it is
/// that of another class (both tried).
#[tokio::test]
async fn cancel_grace_follows_the_service_time() {
    const SERVICE: Duration = Duration::from_secs(2);
    let backend = backend().await;
    let weir = Setup::new(&backend, 60)
        .set("drain.cancel_grace", "auto")
        .set("class", "[{name = other}]")
        .set("route", "[{path = /other, class = other}]")
        .start()
        .await;
    drop(begin(&weir, "before the head").await);
    assert!(back_after(&weir).await < GONE, "nothing is measured yet");

    let mut clients = JoinSet::new();
    for _ in 0..60 {
        let mut client = Client::http1(weir.data).await;
        let path = format!("/?sleep_ms={}", SERVICE.as_millis());
        clients.spawn(async move { client.get(&path).await.expect("an answer").status });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
    drop(begin(&weir, "mid-response").await);
    let after = back_after(&weir).await;
    let (least, most) = (SERVICE * 3 / 4, SERVICE * 2 + LOOKING);
    assert!((least..most).contains(&after), "{after:?}");

    let other = Raw::get(weir.data, "/other?sleep_ms=600000").await;
    weir.until_at(1, 0).await;
    drop(other);
    assert!(back_after(&weir).await < GONE, "of it nothing is measured");
    weir.assert_at_rest(63).await;
}

/// The median of several deaths: one of them may coincide with other work on the machine. Fails
/// when a broken response keeps its permit until the next look at the client, 200 ms (tried).
#[tokio::test]
async fn back_at_once_when_the_upstream_dies_mid_response() {
    let die = Arc::new(Notify::new());
    let (died, mut deaths) = mpsc::unbounded_channel();
    let told = die.clone();
    let backend = RawBackend::start(move |mut raw, number| {
        let (told, died) = (told.clone(), died.clone());
        async move {
            raw.try_head().await;
            raw.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf.")
                .await;
            told.notified().await;
            // Nobody waits for this any more once the test is over.
            let _ = died.send(Instant::now());
            raw.leave(Leave::BOTH[number % 2]);
        }
    })
    .await;
    let weir = Setup::to(&backend.upstream(), 1).start().await;
    let mut took = Vec::new();
    for round in 0..10 {
        let mut client = Client::of(round % 4 > 1, weir.data).await;
        let response = client.send(get("/")).await.expect("a head");
        weir.until_at(1, 0).await;
        die.notify_one();
        let death = deaths.recv().await.expect("the backend dies");
        back_after(&weir).await;
        took.push(death.elapsed());
        let body = response.into_body().collect().await;
        assert!(body.is_err(), "half of a response passed for a whole one");
    }
    took.sort_unstable();
    assert!(took[5] < Duration::from_millis(100), "{took:?}");
    weir.assert_at_rest(10).await;
    assert_eq!(weir.outcome("failed").await, 10);
}

/// hyper keeps a connection whose upload never ends (hyper#4176). Fails when the exchange does not
/// cut it.
#[tokio::test]
async fn back_when_the_response_ends_before_its_upload() {
    let (closed, mut ends) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut raw, _| {
        let closed = closed.clone();
        async move {
            raw.try_head().await;
            raw.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            raw.rest().await;
            // Nobody waits for this any more once the test is over.
            let _ = closed.send(());
        }
    })
    .await;
    let weir = Setup::to(&backend.upstream(), 1).start().await;
    for is_h2 in [false, true] {
        let mut client = Client::of(is_h2, weir.data).await;
        let (pieces, body) = Content::pieces();
        pieces.send(Bytes::from_static(b"a")).expect("open");
        let answer = client.answer(post("/", body)).await;
        assert_eq!(answer.expect("an answer").status, 200);
        let after = back_after(&weir).await;
        assert!(after < GONE, "h2: {is_h2}: {after:?}");
        let end = timeout(GONE, ends.recv()).await;
        end.expect("the upstream connection is closed");
        drop(pieces);
    }
    weir.assert_at_rest(2).await;
}
