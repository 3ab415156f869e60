//! Settings that change what every request meets: shadow mode, and what Envoy is told.

use super::support::raw::Raw;
use super::support::{Setup, Weir, backend};

/// How long a request takes that is never to end by itself.
const NEVER: &str = "/?sleep_ms=600000";

/// A gRPC call whose time is over.
const EXPIRED: &str = "POST / HTTP/1.1\r\nhost: test\r\ncontent-type: application/grpc\r\n\
    te: trailers\r\ngrpc-timeout: 0m\r\ncontent-length: 0\r\n\r\n";

async fn mode(weir: &Weir) -> String {
    let status = weir.status().await;
    let mode = status["mode"].as_str();
    mode.expect("a mode").to_owned()
}

/// Fails when the mode does not reach the gate, and when what has expired is refused before the
/// gate is asked (both tried).
#[tokio::test]
async fn nothing_is_refused_in_shadow_mode() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("mode", "shadow")
        .set("queue.strategy", "immediate")
        .set("upstream_protocol", "http1")
        .start()
        .await;
    assert_eq!(mode(&weir).await, "shadow");
    let mut holders = Vec::new();
    for count in 1..=5 {
        holders.push(Raw::get(weir.data, NEVER).await);
        weir.until_at(count, 0).await;
    }
    let mut expired = Raw::with(weir.data, EXPIRED).await;
    let head = expired.head().await;
    assert!(!head.headers.contains_key("weir-reject-reason"), "{head:?}");
    assert_eq!(weir.outcome("rejected").await, 0);
}

/// The fields of a reject that are for Envoy.
async fn told(weir: &Weir, request: &str, reason: &str) -> Vec<(String, String)> {
    let mut raw = Raw::with(weir.data, request).await;
    let head = raw.head().await;
    assert_eq!(head.headers["weir-reject-reason"], reason, "{head:?}");
    let fields = head.headers.into_iter();
    fields
        .filter(|(name, _)| name.starts_with("x-envoy-"))
        .collect()
}

/// Fails when the setting is not looked at, and when the reason is not (both tried).
#[tokio::test]
async fn envoy_is_told_of_a_lack_of_room_and_of_nothing_else() {
    const GRPC: &str = "POST / HTTP/1.1\r\nhost: test\r\ncontent-type: application/grpc\r\n\
        content-length: 0\r\n\r\n";
    const LARGE: &str = "POST /large HTTP/1.1\r\nhost: test\r\ncontent-length: 900000000\r\n\r\n";
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nhost: test\r\n{fields}\r\n");
    let tenant = get("x-tenant: a\r\n");
    for (setting, field) in [
        ("none", None),
        ("overloaded", Some("x-envoy-overloaded")),
        ("ratelimited", Some("x-envoy-ratelimited")),
    ] {
        let backend = backend().await;
        let weir = Setup::new(&backend, 1)
            .set("reject.envoy", setting)
            .set("queue.strategy", "immediate")
            .set("tenant.headers", "x-tenant")
            .set("tenant.rate", "1")
            .set(
                "route",
                "[{path = /large, cost = {factor = 1, max = 1Gi}, oversize = reject}]",
            )
            .start()
            .await;
        assert_eq!(mode(&weir).await, "enforce");
        let held = Raw::get(weir.data, NEVER).await;
        weir.until_at(1, 0).await;
        let field = field.map(|name| (name.to_owned(), "true".to_owned()));
        let expected: Vec<_> = field.into_iter().collect();
        for request in [get("").as_str(), GRPC] {
            let told = told(&weir, request, "no_permit").await;
            assert_eq!(told, expected, "{setting}");
        }
        assert_eq!(told(&weir, LARGE, "oversize").await, [], "{setting}");
        // The first takes the token of this second; of those after it, no later than the fifth
        // finds none.
        let mut raw = Raw::with(weir.data, tenant.repeat(5)).await;
        let mut heads = Vec::new();
        for _ in 0..5 {
            heads.push(raw.response().await.0);
        }
        let over = heads.iter().find(|head| head.status == 429);
        let over = over.unwrap_or_else(|| panic!("no 429: {heads:?}"));
        let is_told = over.headers.contains_key("x-envoy-ratelimited");
        assert_eq!(is_told, setting == "ratelimited", "{over:?}");
        assert!(!over.headers.contains_key("x-envoy-overloaded"), "{over:?}");
        drop(held);
    }
}
