//! A client that leaves while it waits: its place is free soon, and the backend never hears of it.

use std::time::{Duration, Instant};

use super::support::client::Client;
use super::support::raw::{Leave, Raw, get};
use super::support::{SOON, Setup, Weir, backend};

/// What is promised, and what one look costs on a busy machine.
const NOTICED: Duration = Duration::from_millis(250);
const LOOKING: Duration = Duration::from_millis(150);

const NEVER: &str = "/?sleep_ms=600000";

/// More than hyper reads ahead, and less than the kernel takes from a sender whose bytes nobody
/// reads: an orderly end behind more than that stays on the client's machine, where nobody sees it.
const UNREAD: usize = 48 << 10;

/// Every state in which a request body can be while its request waits.
fn waiting_requests() -> [(&'static str, Vec<u8>); 5] {
    let head = |fields: &str| format!("POST /left HTTP/1.1\r\nhost: test\r\n{fields}\r\n\r\n");
    let with = |fields: &str, body: &[u8]| [head(fields).as_bytes(), body].concat();
    [
        ("no body", get("/left").into_bytes()),
        (
            "some of a large body unread",
            with("content-length: 1048576", &vec![b'.'; UNREAD]),
        ),
        ("a whole body unread", with("content-length: 5", b"whole")),
        (
            "within a chunk",
            with("transfer-encoding: chunked", b"ff\r\nhalf"),
        ),
        (
            "before its body may be sent",
            head("content-length: 5\r\nexpect: 100-continue").into_bytes(),
        ),
    ]
}

/// Fails when only hyper looks at the socket (tried): unread bodies hide the end of the stream.
#[tokio::test]
async fn who_leaves_the_queue_is_noticed_and_never_forwarded() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("queue.max_wait", "60s")
        .set("drain.timeout", "60s")
        .set("drain.grace", "90s")
        .start()
        .await;
    let holder = Raw::get(weir.data, NEVER).await;
    weir.until_at(1, 0).await;
    let mut left = 0;
    for (what, request) in waiting_requests() {
        for leave in Leave::BOTH {
            let client = Raw::with(weir.data, &request).await;
            weir.until_at(1, 1).await;
            client.leave(leave);
            left += 1;
            noticed(&weir, &format!("{what}, {leave:?}")).await;
        }
    }

    let mut client = Client::http2(weir.data).await;
    let waiting = tokio::spawn(async move { client.get("/left").await });
    weir.until_at(1, 1).await;
    waiting.abort();
    left += 1;
    noticed(&weir, "an HTTP/2 reset").await;

    drop(holder);
    weir.assert_at_rest(left + 1).await;
    assert_eq!(weir.outcome("abandoned").await, left);
    assert_eq!(backend.stats().started, 1, "only who held the permit");
}

async fn noticed(weir: &Weir, what: &str) {
    let begun = Instant::now();
    weir.until(what, SOON, async |weir| weir.queued().await == 0)
        .await;
    let after = begun.elapsed();
    assert!(after < NOTICED + LOOKING, "{what}: {after:?}");
}
