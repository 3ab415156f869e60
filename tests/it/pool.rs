//! Upstream connections: reused without losing or doubling a request, and never too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Request};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use weir::load::backend::{Backend, BackendSettings};

use super::support::client::{Client, Content};
use super::support::raw::{Raw, RawBackend};
use super::support::{Setup, backend};

/// When a backend closes a connection that has served one request.
#[derive(Clone, Copy, Debug)]
enum Closes {
    /// While it idles.
    Idle,
    /// As the next request comes, which it has read.
    Reused,
}

/// A backend whose connections serve one request each, although they promise more. Counts how
/// often each request came.
async fn stale(closes: Closes) -> (RawBackend, Arc<Mutex<HashMap<String, u32>>>) {
    let seen = Arc::new(Mutex::new(HashMap::new()));
    let counted = seen.clone();
    let note = move |counted: &Mutex<HashMap<String, u32>>, head: &str| {
        let request = head.split(" HTTP/").next().unwrap_or_default();
        let mut counted = counted.lock().expect("no panic");
        *counted.entry(request.to_owned()).or_default() += 1;
    };
    let backend = RawBackend::start(move |mut raw, _| {
        let counted = counted.clone();
        async move {
            let Some(head) = raw.try_head().await else {
                return;
            };
            note(&counted, &head);
            if head.starts_with("POST") {
                raw.take(4).await;
            }
            raw.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
            if let Closes::Reused = closes
                && let Some(head) = raw.try_head().await
            {
                note(&counted, &head);
            }
        }
    })
    .await;
    (backend, seen)
}

/// Fails when the budget is not asked (tried): then every GET is served.
#[tokio::test]
async fn retries_stay_within_their_budget() {
    for (closes, per_second) in [(Closes::Reused, 0), (Closes::Reused, 1), (Closes::Idle, 0)] {
        let (backend, _) = stale(closes).await;
        let weir = Setup::to(&format!("http://{}", backend.address), 1)
            .set("retry.budget", "0")
            .set("retry.per_second", &per_second.to_string())
            .start()
            .await;
        let mut client = Client::http1(weir.data).await;
        let mut statuses = Vec::new();
        // In less than the ten seconds that the budget looks back on.
        for _ in 0..30 {
            let answer = client.get("/").await.expect("an answer");
            statuses.push(answer.status.as_u16());
        }
        let bad = statuses.iter().filter(|status| **status == 502).count() as u64;
        let metrics = weir.metrics().await;
        let retries = metrics.sum("weir_upstream_retries_total");
        let denied = metrics.sum("weir_upstream_retries_denied_total");
        assert_eq!(denied, bad, "{statuses:?}");
        if let Closes::Reused = closes {
            assert_eq!(retries, 10 * per_second, "{statuses:?}");
            assert!(denied > 5, "{statuses:?}");
        } else {
            assert_eq!(retries, 0, "{statuses:?}");
        }
        weir.assert_at_rest(30).await;
    }
}

/// Fails when a POST is repeated like a GET, and when nothing is (both tried).
#[tokio::test]
async fn stale_connections_lose_no_get_and_double_no_post() {
    const EACH: u32 = 100;
    for closes in [Closes::Idle, Closes::Reused] {
        let (backend, seen) = stale(closes).await;
        let weir = Setup::to(&backend.upstream(), 4).start().await;
        let mut client = Client::http1(weir.data).await;
        let mut posts_served = 0;
        for number in 0..EACH {
            // The first on a fresh connection, after the POST before; the second on that one again.
            for path in [format!("/{number}/first"), format!("/{number}/second")] {
                let answer = client.get(&path).await.expect("an answer");
                assert_eq!(answer.status, 200, "{closes:?}: GET {path}");
            }
            let body = Content::Whole(Some("body".into()));
            let request = Request::post(format!("/{number}"))
                .header("content-length", "4")
                .body(body)
                .expect("a request");
            let answer = client.answer(request).await.expect("an answer");
            posts_served += u32::from(answer.status == 200);
            if answer.status != 200 {
                assert_eq!(answer.status, 502, "{closes:?}: POST {number}");
            }
            let seen = seen.lock().expect("no panic");
            let times = seen.get(&format!("POST /{number}"));
            assert_eq!(times, Some(&1), "{closes:?}: POST {number}");
        }
        match closes {
            // Every second use of a connection breaks: each POST comes on a used one.
            Closes::Reused => assert_eq!(posts_served, 0),
            Closes::Idle => assert!(posts_served > 0),
        }
        weir.assert_at_rest(u64::from(3 * EACH)).await;
    }
}

/// Four permits, two workers, and many more clients of every kind. Fails when each worker has the
/// bound for itself, which is twice as much (tried).
#[tokio::test]
async fn upstream_connections_stay_within_the_permits() {
    const PERMITS: u64 = 4;
    for with_grpc in [false, true] {
        let backend = backend().await;
        let weir = Setup::new(&backend, 4)
            .set("workers", "2")
            .set("queue.max_wait", "20s")
            .start()
            .await;
        let mut clients = JoinSet::new();
        let mut sent = 0;
        for number in 0..24 {
            let is_grpc = with_grpc && number % 2 == 0;
            let mut client = Client::of(is_grpc, weir.data).await;
            sent += 30;
            clients.spawn(async move {
                for _ in 0..30 {
                    let mut request = Request::get("/?sleep_ms=2").body(Content::none());
                    let request = request.as_mut().expect("a request");
                    if is_grpc {
                        let grpc = HeaderValue::from_static("application/grpc");
                        request.headers_mut().insert("content-type", grpc);
                    }
                    let request = std::mem::replace(request, Request::new(Content::none()));
                    let answer = client.answer(request).await.expect("an answer");
                    assert_eq!(answer.status, 200, "gRPC: {is_grpc}");
                }
            });
        }
        let mut most = 0;
        while !clients.is_empty() {
            most = most.max(weir.metrics().await.sum("weir_upstream_connections"));
            while let Some(ended) = clients.try_join_next() {
                ended.expect("no panic");
            }
        }
        assert!(most <= PERMITS, "{most} open at once");
        // Where connections of one protocol make room for the other, a backend may see the new one
        // before the end of the old one, which each worker had closed.
        let unseen_ends = if with_grpc { 2 } else { 0 };
        let stats = backend.stats();
        assert!(
            stats.max_connections <= PERMITS + unseen_ends,
            "mixed: {with_grpc}: {stats:?}"
        );
        weir.assert_at_rest(sent).await;
    }
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let backend = Backend::start_unix(listener, BackendSettings::default());
    for (protocol, version) in [("http1", "1.1"), ("http2", "2")] {
        let weir = Setup::to(&format!("unix:{}", path.display()), 2)
            .set("upstream_protocol", protocol)
            .start()
            .await;
        for is_h2 in [false, true] {
            let mut client = Client::of(is_h2, weir.data).await;
            let answer = client.get("/?echo=head").await.expect("an answer");
            let head: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(head["version"], version);
        }
        let leaving = Raw::get(weir.data, "/?sleep_ms=600000").await;
        weir.until_at(1, 0).await;
        drop(leaving);
        weir.assert_at_rest(3).await;
    }
    super::support::eventually("all closed", Duration::from_secs(5), || {
        backend.stats().in_flight == 0
    })
    .await;
}

/// Fails when a body that ends in trailers is not taken for one that has ended (tried): hyper does not
/// ask for more behind them, and the request counts as cancelled.
#[tokio::test]
async fn a_response_with_trailers_is_served_and_its_connection_used_again() {
    let connections = Arc::new(Mutex::new(0));
    let counted = connections.clone();
    let backend = RawBackend::start(move |mut raw, _| {
        *counted.lock().expect("no panic") += 1;
        async move {
            while raw.try_head().await.is_some() {
                raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: t\r\n\r\n")
                    .await;
                raw.send("2\r\nok\r\n0\r\nt: 1\r\n\r\n").await;
            }
        }
    })
    .await;
    let weir = Setup::to(&backend.upstream(), 1).start().await;
    for is_h2 in [false, true] {
        let mut client = Client::of(is_h2, weir.data).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.expect("an answer").body, "ok");
        }
    }
    weir.assert_at_rest(6).await;
    assert_eq!(weir.outcome("served").await, 6);
    assert_eq!(*connections.lock().expect("no panic"), 1);
}
