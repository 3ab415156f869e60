//! In whose name requests are counted: classes over a reload, tenants, hints that cannot be used,
//! and what is sent too late.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use super::support::raw::Raw;
use super::support::{SOON, Setup, Weir, backend};

const MEMORY: &str = "[memory]\ntarget_memory = \"8Mi\"\nmemory_per_task = \"1Mi\"\n";

fn class(name: &str) -> String {
    format!("[[class]]\nname = \"{name}\"\n[[route]]\npath = \"/{name}\"\nclass = \"{name}\"\n")
}

/// Asks with one more field.
async fn ask(weir: &Weir, path: &str, field: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{field}\r\n\r\n");
    let mut raw = Raw::with(weir.data, request).await;
    raw.response().await.0.status
}

async fn served(weir: &Weir, class: &str) -> u64 {
    let labels = format!("class=\"{class}\",outcome=\"served\"");
    weir.metrics().await.with("weir_requests_total", &labels)
}

#[tokio::test]
async fn classes_keep_their_counts_over_a_reload_and_new_ones_begin_at_0() {
    let backend = backend().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("weir.toml");
    let write = |classes: &[&str]| {
        let classes: String = classes.iter().map(|name| class(name)).collect();
        fs::write(&file, format!("{MEMORY}{classes}")).expect("a writable directory");
    };
    write(&["gold", "batch"]);
    let weir = Setup::bare(&format!("http://{}", backend.address()))
        .set("log.access", "true")
        .config(&file)
        .start()
        .await;
    for name in ["default", "gold", "batch"] {
        assert_eq!(served(&weir, name).await, 0, "{name}, from the start");
        let rejects = format!("class=\"{name}\"");
        let metrics = weir.metrics().await;
        assert_eq!(metrics.with("weir_rejected_total", &rejects), 0);
    }
    for path in ["/gold", "/gold", "/batch", "/"] {
        assert_eq!(ask(&weir, path, "x: y").await, 200);
    }
    weir.assert_at_rest(4).await;

    write(&["silver", "gold"]);
    assert_eq!(weir.post("/reload").await.0, 200);
    assert_eq!(served(&weir, "silver").await, 0);
    for path in ["/gold", "/silver", "/batch"] {
        assert_eq!(ask(&weir, path, "x: y").await, 200);
    }
    weir.assert_at_rest(7).await;
    for (name, count) in [("gold", 3), ("silver", 1), ("batch", 1), ("default", 2)] {
        assert_eq!(served(&weir, name).await, count, "{name}");
    }
    let status = weir.status().await;
    let names = status["classes"].as_array().expect("classes").iter();
    let names: Vec<&str> = names.filter_map(|class| class["name"].as_str()).collect();
    assert_eq!(names, ["default", "silver", "gold"]);
    let lines: Vec<Value> = weir
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let logged = lines.iter().filter_map(|line| line["class"].as_str());
    let expected = [
        "gold", "gold", "batch", "default", "gold", "silver", "default",
    ];
    assert!(logged.eq(expected), "{}", weir.log());
}

#[tokio::test]
async fn the_busiest_tenant_has_a_name_and_bad_hints_are_counted() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 8)
        .set("tenant.headers", "[\"x-tenant\"]")
        .set("tenant.top", "1")
        .set("trust.proxies", "[\"any\"]")
        .start()
        .await;
    let tenant = async |name: &str| {
        let metrics = weir.metrics().await;
        metrics.sum_of("weir_tenant_requests_total", &format!("tenant=\"{name}\""))
    };
    assert_eq!(tenant("other").await, Some(0));
    let mut sent = 0;
    // Until the next ranking has seen it.
    while tenant("acme").await.is_none() {
        assert_eq!(ask(&weir, "/", "x-tenant: acme").await, 200);
        sent += 1;
        weir.assert_at_rest(sent).await;
    }
    let before = tenant("acme").await.expect("it was there");
    let other = tenant("other").await.expect("always");
    assert_eq!(before + other, sent, "each once");
    assert_eq!(ask(&weir, "/", "x-tenant: acme").await, 200);
    assert_eq!(ask(&weir, "/", "x-tenant: small").await, 200);
    let hint = "x-envoy-expected-rq-timeout-ms: soon";
    assert_eq!(ask(&weir, "/", hint).await, 200);
    weir.assert_at_rest(sent + 3).await;
    assert_eq!(tenant("acme").await, Some(before + 1));
    assert_eq!(
        tenant("other").await,
        Some(other + 1),
        "nobody is not a tenant"
    );
    let metrics = weir.metrics().await;
    assert_eq!(metrics.with("weir_bad_hint_total", "deadline"), 1);
    assert_eq!(metrics.sum("weir_bad_hint_total"), 1);
}

/// A listener that takes no connection until it is told to: its backlog is full. Then it answers
/// everything.
struct Slow {
    listener: TcpListener,
    address: SocketAddr,
    _fill: Vec<tokio::task::JoinHandle<std::io::Result<TcpStream>>>,
}

impl Slow {
    fn listen() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).expect("a free port");
        socket.listen(0).expect("a listener");
        socket.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(socket.into()).expect("a runtime");
        let address = listener.local_addr().expect("a bound socket");
        let fill = (0..4).map(|_| tokio::spawn(TcpStream::connect(address)));
        Self {
            _fill: fill.collect(),
            listener,
            address,
        }
    }

    async fn answer(self) {
        while let Ok((stream, _)) = self.listener.accept().await {
            tokio::spawn(async move {
                let mut raw = Raw::of(stream);
                while raw.try_head().await.is_some() {
                    raw.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            });
        }
    }
}

/// In time when it was admitted; the connection took longer than its client waits. The backend
/// would answer 200.
#[tokio::test]
async fn what_would_be_sent_after_its_deadline_is_counted_and_not_sent() {
    let backend = Slow::listen();
    let weir = Setup::to(&format!("http://{}", backend.address), 2)
        .set("timeouts.connect", "60s")
        .start()
        .await;
    let deadline = Duration::from_millis(200);
    let asked = Instant::now();
    let hint = format!("x-envoy-expected-rq-timeout-ms: {}", deadline.as_millis());
    let mut raw = Raw::with(
        weir.data,
        format!("GET / HTTP/1.1\r\nhost: test\r\n{hint}\r\n\r\n"),
    )
    .await;
    weir.until("it is connecting, and late", SOON, async |weir| {
        weir.in_flight().await == 1 && asked.elapsed() > deadline
    })
    .await;
    let metrics = weir.metrics().await;
    assert_eq!(metrics.sum("weir_expired_dispatches_total"), 0, "not yet");
    let answering = tokio::spawn(backend.answer());
    assert_eq!(raw.head().await.status, 504);
    let expired = async || {
        let metrics = weir.metrics().await;
        metrics.sum("weir_expired_dispatches_total")
    };
    assert_eq!(expired().await, 1);
    // The connection is there now.
    let hint = "x-envoy-expected-rq-timeout-ms: 60000";
    assert_eq!(ask(&weir, "/", hint).await, 200);
    assert_eq!(expired().await, 1);
    weir.assert_at_rest(2).await;
    answering.abort();
}
