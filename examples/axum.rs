//! The gate in front of an axum service: three requests at once, and a quarter of a second to wait.
//!
//! ```sh
//! cargo run --example axum --features tower
//! ```
//!
//! One request is served. Of twenty at once some are, and the others get a 503 with `Retry-After`
//! and `weir-reject-reason`:
//!
//! ```sh
//! curl -i http://127.0.0.1:3000/
//! seq 20 | xargs -P 20 -I{} curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:3000/ | sort | uniq -c
//! ```
//!
//! Ctrl-C ends it. Another address goes behind `--`: `… -- 127.0.0.1:0` takes a free port.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal;
use tokio::sync::Semaphore;
use weir::Gate;
use weir::admission::{Budget, Decimal, Discipline};
use weir::gate::Rules;
use weir::tower::GateLayer;

const MIB: u64 = 1 << 20;

#[derive(Clone, Debug)]
struct App {
    /// As many as there are permits: what the gate promises is that there is always one.
    seats: Arc<Semaphore>,
}

/// Renders a page, say, in 16 MiB.
async fn page(State(app): State<App>) -> String {
    let _seat = app.seats.try_acquire().expect("no more than have a permit");
    let page = vec![b'x'; 16 << 20];
    tokio::time::sleep(Duration::from_millis(200)).await;
    format!("a page of {} bytes\n", page.len())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let safety_factor = "0.8".parse::<Decimal>().expect("a decimal");
    let budget = Budget::new(64 * MIB, 16 * MIB, safety_factor).expect("at least one permit");
    let rules = Rules::of_one_class(Duration::from_millis(250), Discipline::Fifo);
    let gate = Gate::new(budget, rules);
    let permits = gate.snapshot().permit_limit;
    let app = App {
        seats: Arc::new(Semaphore::new(permits as usize)),
    };
    let router = Router::new()
        .route("/", get(page))
        .layer(GateLayer::new(gate.clone()))
        // Behind the layer, so without a permit: a probe must be answered under any load.
        .route("/healthz", get(async || "ok\n"))
        .with_state(app);

    let address = env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?;
    println!("http://{}/", listener.local_addr()?);
    let leaving = gate.clone();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // Without Ctrl-C there is no end but a kill.
            if signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            leaving.refuse_new();
        })
        .await?;
    let left = gate.snapshot();
    println!(
        "permits still held: {}, waiting: {}",
        left.in_flight, left.queued
    );
    assert_eq!((left.in_flight, left.queued), (0, 0));
    Ok(())
}
