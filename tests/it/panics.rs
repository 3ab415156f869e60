//! A bug of weir's own in the middle of a request: that request fails, everything else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::net::TcpListener;
use weir::config::{self, Sources};
use weir::gate::Gate;
use weir::proxy::Proxy;
use weir::telemetry::Telemetry;

use super::support::client::Client;
use super::support::{SOON, backend, eventually};

/// Which look at the clock panics, counted down; 0 for none.
static LOOKS_LEFT: AtomicU32 = AtomicU32::new(0);

/// Requests look at it as they begin, and when the response has come.
fn clock() -> Instant {
    let armed = LOOKS_LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    });
    assert!(armed != Ok(1), "a bug that this test has put here");
    Instant::now()
}

/// Fails when a panic is not caught (tried): the connection dies with its request.
#[tokio::test]
async fn a_panic_costs_one_request_and_no_permit() {
    let backend = backend().await;
    let sets = [
        format!("upstream=http://{}", backend.address()),
        "memory.target_memory=2Mi".to_owned(),
        "memory.memory_per_task=1Mi".to_owned(),
        "memory.safety_factor=1".to_owned(),
    ];
    let sources = Sources {
        sets: sets.to_vec(),
        ..Sources::default()
    };
    let config = config::load(&sources)
        .expect("a valid configuration")
        .config;
    let gate = Gate::new(config.budget, config.rules);
    let telemetry = Arc::new(Telemetry::new());
    let proxy = Proxy::start(gate.clone(), telemetry.clone(), config.proxy, 2, clock);
    let proxy = Arc::new(proxy.expect("two threads"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let data = listener.local_addr().expect("a bound socket");
    let accepting = tokio::spawn({
        let proxy = proxy.clone();
        async move { proxy.accept(listener, std::future::pending()).await }
    });

    let mut panics = 0_u64;
    for is_h2 in [false, true] {
        for looks in 1..=2 {
            let mut client = Client::of(is_h2, data).await;
            LOOKS_LEFT.store(looks, Ordering::SeqCst);
            let answer = client.get("/").await.expect("an answer");
            assert_eq!(answer.status, 500, "look {looks}");
            panics += 1;
            assert_eq!(telemetry.totals().panics, panics);
            eventually("the permit is back", SOON, || {
                let now = gate.snapshot();
                now.in_flight == 0 && now.available_units == u64::from(now.limit_units)
            })
            .await;
            let mut next = Client::of(is_h2, data).await;
            let answer = next.get("/").await.expect("an answer");
            assert_eq!(answer.status, 200);
        }
    }
    proxy.health().expect("every worker moves");
    assert!(!gate.is_broken());
    accepting.abort();
}
