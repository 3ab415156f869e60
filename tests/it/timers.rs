//! Every timer has effect: set to 300 ms (or the least that it takes), it ends what it is for, and
//! not before.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::limits::HELLO;
use super::support::client::{Client, Content, get as http_get, post};
use super::support::raw::{Raw, UPGRADE, get};
use super::support::{SOON, Setup, Weir, backend, eventually};
use weir::load::backend::Backend;

const SET: Duration = Duration::from_millis(300);

/// How long the backend takes where a connection must not pass for idle. The time is taken from
/// before the request: whoever takes it when the answer arrives may do so long after weir sent it,
/// and then finds the timer early.
const BUSY: Duration = Duration::from_millis(500);

/// What the machine may be late by, and still not have waited for another timer.
const LATE: Duration = Duration::from_millis(2500);

async fn weir_with(key: &str) -> (Backend, Weir) {
    let backend = backend().await;
    let weir = Setup::new(&backend, 2).set(key, "300ms").start().await;
    (backend, weir)
}

/// Fails when the timer did nothing, and when it ran out too early.
#[track_caller]
fn assert_took(begun: Instant, set: Duration) {
    let took = begun.elapsed();
    // Timers tick in milliseconds.
    let least = set.saturating_sub(Duration::from_millis(5));
    assert!((least..set + LATE).contains(&took), "took {took:?}");
}

async fn connection_error(weir: &Weir, kind: &str) {
    weir.until(kind, SOON, async |weir| {
        let metrics = weir.metrics().await;
        metrics.with("weir_connection_errors_total", kind) > 0
    })
    .await;
}

#[tokio::test]
async fn sniff() {
    let (_backend, weir) = weir_with("timeouts.sniff").await;
    for bytes in ["", "PRI * HTTP/2.0\r\n"] {
        let begun = Instant::now();
        let mut raw = Raw::with(weir.data, bytes).await;
        assert_eq!(raw.rest().await, b"");
        assert_took(begun, SET);
    }
    connection_error(&weir, "sniff").await;
    weir.assert_at_rest(0).await;
}

#[tokio::test]
async fn head() {
    let (_backend, weir) = weir_with("timeouts.head").await;
    let begun = Instant::now();
    let mut raw = Raw::with(weir.data, "GET / HTTP/1.1\r\nhost: te").await;
    assert_eq!(raw.head().await.status, 408);
    assert_took(begun, SET);
    connection_error(&weir, "head").await;
    weir.assert_at_rest(0).await;
}

#[tokio::test]
async fn body_idle() {
    let (_backend, weir) = weir_with("timeouts.body_idle").await;
    let begun = Instant::now();
    let slow = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nsome";
    let mut raw = Raw::with(weir.data, slow).await;
    assert_eq!(raw.head().await.status, 408);
    assert_took(begun, SET);

    let begun = Instant::now();
    let (pieces, body) = Content::pieces();
    pieces.send(Bytes::from_static(b"some")).expect("open");
    let mut client = Client::http2(weir.data).await;
    let answer = client.answer(post("/", body)).await.expect("an answer");
    assert_eq!(answer.status, 408);
    assert_took(begun, SET);
    weir.assert_at_rest(2).await;
}

/// Towards a listener whose backlog is full, the kernel drops the first packet of a connection.
#[tokio::test]
async fn connect() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a free port");
    socket.listen(0).expect("a listener");
    let full = socket.local_addr().expect("a bound socket");
    let full = full.as_socket().expect("an IPv4 address");
    let _fill: Vec<_> = (0..4)
        .map(|_| tokio::spawn(TcpStream::connect(full)))
        .collect();
    let weir = Setup::to(&format!("http://{full}"), 2)
        .set("timeouts.connect", "300ms")
        .start()
        .await;
    let begun = Instant::now();
    let mut raw = Raw::get(weir.data, "/").await;
    assert_eq!(raw.head().await.status, 504);
    assert_took(begun, SET);
    weir.assert_at_rest(1).await;
}

#[tokio::test]
async fn response_head() {
    let (backend, weir) = weir_with("timeouts.response_head").await;
    let begun = Instant::now();
    let mut raw = Raw::get(weir.data, "/?sleep_ms=600000").await;
    assert_eq!(raw.head().await.status, 504);
    assert_took(begun, SET);
    eventually("the backend is told", SOON, || {
        backend.stats().in_flight == 0
    })
    .await;
    weir.assert_at_rest(1).await;
}

#[tokio::test]
async fn response_idle() {
    let (backend, weir) = weir_with("timeouts.response_idle").await;
    for is_h2 in [false, true] {
        let mut client = Client::of(is_h2, weir.data).await;
        let begun = Instant::now();
        let answer = client.get("/?bytes=2&chunks=2&gap_ms=600000").await;
        assert!(answer.is_err(), "half of a response passed for a whole one");
        assert_took(begun, SET);
    }
    eventually("the backend is told", SOON, || {
        backend.stats().in_flight == 0
    })
    .await;
    weir.assert_at_rest(2).await;
}

#[tokio::test]
async fn write_stall_over_http1() {
    let (backend, weir) = weir_with("timeouts.write_stall").await;
    let begun = Instant::now();
    let _never_reads = Raw::get(weir.data, "/?bytes=50000000").await;
    weir.until_at(1, 0).await;
    weir.assert_at_rest(1).await;
    assert_took(begun, SET);
    connection_error(&weir, "write_stall").await;
    eventually("the backend is told", SOON, || {
        backend.stats().in_flight == 0
    })
    .await;
}

/// A stream whose window is shut, on a connection that is well.
#[tokio::test]
async fn write_stall_over_http2() {
    let (_backend, weir) = weir_with("timeouts.write_stall").await;
    let stream = TcpStream::connect(weir.data).await.expect("it listens");
    let (mut client, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .expect("h2");
    tokio::spawn(connection);
    let begun = Instant::now();
    let request = http::Request::get("http://test/?bytes=100000");
    let request = request.body(Empty::new()).expect("a request");
    let response = client.send_request(request).await.expect("a head");
    assert!(response.into_body().collect().await.is_err(), "reset");
    assert_took(begun, SET);
    weir.assert_at_rest(1).await;
    assert!(!client.is_closed(), "only the stream is ended");
}

#[tokio::test]
async fn keep_alive_idle() {
    let (_backend, weir) = weir_with("timeouts.keep_alive_idle").await;
    let begun = Instant::now();
    let mut raw = Raw::get(weir.data, "/?sleep_ms=500").await;
    assert_eq!(raw.response().await.0.status, 200, "busy is not idle");
    assert_eq!(raw.rest().await, b"");
    assert_took(begun, BUSY + SET);
    weir.assert_at_rest(1).await;
}

#[tokio::test]
async fn h2_idle() {
    let (_backend, weir) = weir_with("timeouts.h2_idle").await;
    let mut client = Client::http2(weir.data).await;
    let begun = Instant::now();
    let answer = client
        .get("/?sleep_ms=500")
        .await
        .expect("busy is not idle");
    assert_eq!(answer.status, 200);
    eventually("closed", SOON, || client.is_closed()).await;
    assert_took(begun, BUSY + SET);

    // Frames are not requests: who only keeps the connection alive is idle, too.
    let begun = Instant::now();
    let mut silent = Raw::with(weir.data, HELLO).await;
    silent.send(SETTINGS_ACK).await;
    while frame_kind(&mut silent).await != GOAWAY {}
    assert_took(begun, SET);
    // It gives no sign of life, the ping behind the GOAWAY not answered.
    let told = Instant::now();
    silent.rest().await;
    assert_took(told, Duration::from_millis(750));
    weir.assert_at_rest(1).await;
}

const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
const GOAWAY: u8 = 7;

/// Reads one HTTP/2 frame.
async fn frame_kind(raw: &mut Raw) -> u8 {
    let head = raw.take(9).await;
    raw.take(usize::from(head[1]) << 8 | usize::from(head[2]))
        .await;
    head[3]
}

/// A client that does not answer pings is taken for dead: a ping after 1 s, half of that to answer.
#[tokio::test]
async fn h2_ping() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 2)
        .set("timeouts.h2_ping", "1s")
        .start()
        .await;
    let mut living = Client::http2(weir.data).await;
    assert_eq!(living.get("/").await.expect("an answer").status, 200);
    let begun = Instant::now();
    let mut dead = Raw::with(weir.data, HELLO).await;
    dead.rest().await;
    assert_took(begun, Duration::from_millis(1500));
    assert_eq!(living.get("/").await.expect("still there").status, 200);
    weir.assert_at_rest(2).await;
}

/// Spread by a tenth either way. On HTTP/1.1 the next response tells.
#[tokio::test]
async fn connection_age() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 2)
        .set("timeouts.connection_age", "1s")
        .start()
        .await;
    let begun = Instant::now();
    let mut raw = Raw::connect(weir.data).await;
    let mut sent = 0;
    loop {
        raw.send(get("/?sleep_ms=20")).await;
        let (head, _) = raw.response().await;
        assert_eq!(head.status, 200);
        sent += 1;
        if head.headers.get("connection").is_some_and(|c| c == "close") {
            break;
        }
    }
    assert_eq!(raw.rest().await, b"");
    assert_took(begun, Duration::from_millis(900));
    let begun = Instant::now();
    let mut client = Client::http2(weir.data).await;
    assert_eq!(client.get("/").await.expect("an answer").status, 200);
    eventually("told to go", SOON, || client.is_closed()).await;
    assert_took(begun, Duration::from_millis(900));
    weir.assert_at_rest(sent + 1).await;
}

/// What is on an HTTP/2 connection that has grown old is served to its end, and nothing more.
#[tokio::test]
async fn connection_age_gives_streams_time_to_finish() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 2)
        .set("timeouts.connection_age", "1s")
        .start()
        .await;
    let begun = Instant::now();
    let client = Client::http2(weir.data).await;
    let (pieces, body) = Content::pieces();
    let mut sharing = client.share();
    let upload = tokio::spawn(async move { sharing.answer(post("/", body)).await });
    weir.until_at(1, 0).await;
    let mut sent = 1;
    let mut others = client.share();
    while let Some(answer) = others
        .answer_unless_told_to_go(http_get("/?sleep_ms=20"))
        .await
    {
        assert_eq!(answer.expect("it was sent").status, 200);
        sent += 1;
    }
    assert_took(begun, Duration::from_millis(900));
    assert_eq!(weir.in_flight().await, 1, "the first stream goes on");
    pieces.send(Bytes::from_static(b"the rest")).expect("open");
    drop(pieces);
    let answer = upload.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200);
    weir.until("the connection is closed", SOON, async |weir| {
        weir.metrics().await.sum("weir_connections") == 0
    })
    .await;
    weir.assert_at_rest(sent).await;
}

/// Counted apart from responses: the one timer must not end what the other is for.
#[tokio::test]
async fn tunnel_idle() {
    let (_backend, weir) = weir_with("timeouts.tunnel_idle").await;
    let begun = Instant::now();
    let mut tunnel = Raw::with(weir.data, UPGRADE).await;
    assert_eq!(tunnel.head().await.status, 101);
    tunnel.send("ping").await;
    assert_eq!(tunnel.take(4).await, b"ping");
    assert_eq!(tunnel.rest().await, b"");
    assert_took(begun, SET);
    weir.assert_at_rest(1).await;
}

/// Looked at once a second.
#[tokio::test]
async fn upstream_idle() {
    let (backend, weir) = weir_with("timeouts.upstream_idle").await;
    let mut raw = Raw::get(weir.data, "/").await;
    assert_eq!(raw.response().await.0.status, 200);
    let begun = Instant::now();
    assert_eq!(backend.stats().connections, 1);
    eventually("closed", SOON, || backend.stats().connections == 0).await;
    assert_took(begun, SET);
    weir.assert_at_rest(1).await;
}
