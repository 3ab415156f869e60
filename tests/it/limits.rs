//! Every limit has effect.

use std::time::Duration;

use http::Request;
use tokio::time::timeout;

use super::support::client::{Client, Content};
use super::support::raw::{Raw, get};
use super::support::{SOON, Setup, backend};

/// Long enough for an answer that would come if the limit did nothing.
const A_WHILE: Duration = Duration::from_millis(300);

/// The preface and an empty SETTINGS frame.
pub(crate) const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// `limits.max_connections`
#[tokio::test]
async fn a_connection_too_many_waits_for_one_to_close() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 10)
        .set("limits.max_connections", "2")
        .start()
        .await;
    let mut first = Raw::get(weir.data, "/").await;
    let mut second = Raw::get(weir.data, "/").await;
    assert_eq!(first.response().await.0.status, 200);
    assert_eq!(second.response().await.0.status, 200);
    let mut third = Raw::get(weir.data, "/").await;
    assert!(timeout(A_WHILE, third.head()).await.is_err(), "served");
    second.send(get("/")).await;
    assert_eq!(second.response().await.0.status, 200);
    assert_eq!(weir.metrics().await.sum("weir_connections"), 2);
    drop(first);
    assert_eq!(third.response().await.0.status, 200);
    weir.assert_at_rest(4).await;
}

/// `limits.h2_streams`
#[tokio::test]
async fn a_stream_too_many_waits_for_one_to_end() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 10)
        .set("limits.h2_streams", "2")
        .start()
        .await;
    let mut raw = Raw::with(weir.data, HELLO).await;
    let frame = raw.take(9).await;
    assert_eq!(frame[3], 4, "the first frame is SETTINGS: {frame:?}");
    let settings = raw.take(usize::from(frame[2])).await;
    let advertised = settings.chunks(6).find(|setting| setting[1] == 3);
    assert_eq!(
        advertised.expect("MAX_CONCURRENT_STREAMS")[2..],
        [0, 0, 0, 2]
    );

    let mut client = Client::http2(weir.data).await;
    assert_eq!(client.get("/").await.expect("an answer").status, 200);
    let mut uploads = Vec::new();
    for _ in 0..3 {
        let (pieces, body) = Content::pieces();
        let mut client = client.share();
        let request = Request::post("/").body(body).expect("a path");
        let answer = tokio::spawn(async move { client.answer(request).await });
        uploads.push((pieces, answer));
    }
    weir.until_at(2, 0).await;
    for (pieces, answer) in uploads {
        drop(pieces);
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(backend.stats().max_in_flight, 2);
    weir.assert_at_rest(4).await;
}

/// `limits.header_bytes`
#[tokio::test]
async fn a_head_too_long_is_refused() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 10)
        .set("limits.header_bytes", "8Ki")
        .start()
        .await;
    let fits = format!(
        "GET / HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n",
        "a".repeat(8000)
    );
    let mut raw = Raw::with(weir.data, fits).await;
    assert_eq!(raw.response().await.0.status, 200);
    let long = format!(
        "GET / HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n",
        "a".repeat(9000)
    );
    let mut raw = Raw::with(weir.data, long).await;
    assert_eq!(raw.head().await.status, 431);

    let mut client = Client::http2(weir.data).await;
    for (len, status) in [(7000, 200), (9000, 431)] {
        let request = Request::get("/").header("x", "a".repeat(len));
        let request = request.body(Content::none()).expect("a request");
        let answer = client.answer(request).await.expect("an answer");
        assert_eq!(answer.status, status, "{len} bytes");
    }
    weir.until("the error is counted", SOON, async |weir| {
        let metrics = weir.metrics().await;
        metrics.with("weir_connection_errors_total", "too_large") > 0
    })
    .await;
    // What hyper refuses by itself is no request.
    weir.assert_at_rest(2).await;
    assert_eq!(backend.stats().started, 2);
}

/// `limits.header_fields`
#[tokio::test]
async fn a_head_of_too_many_fields_is_refused() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 10)
        .set("limits.header_fields", "10")
        .start()
        .await;
    let with = |fields: usize| {
        let fields: Vec<_> = (1..fields).map(|n| format!("x-{n}: 1\r\n")).collect();
        let fields = fields.concat();
        format!("GET / HTTP/1.1\r\nhost: t\r\n{fields}\r\n")
    };
    let mut raw = Raw::with(weir.data, with(10)).await;
    assert_eq!(raw.response().await.0.status, 200);
    let mut raw = Raw::with(weir.data, with(11)).await;
    assert_eq!(raw.head().await.status, 431);

    let mut client = Client::http2(weir.data).await;
    for (fields, status) in [(9, 200), (12, 431)] {
        let mut request = Request::get("/");
        for number in 0..fields {
            request = request.header(format!("x-{number}"), "1");
        }
        let request = request.body(Content::none()).expect("a request");
        let answer = client.answer(request).await.expect("an answer");
        assert_eq!(answer.status, status, "{fields} fields");
    }
    assert_eq!(backend.stats().started, 2);
}
