//! The policy through the whole sidecar: what a request's head says decides who gets the next permit
//! and what the others are told.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::support::raw::{Raw, RawBackend};
use super::support::{Setup, Weir};

/// A backend that writes down every head and answers when it is told to.
struct Told {
    backend: RawBackend,
    heads: Arc<Mutex<Vec<String>>>,
    go: Arc<Semaphore>,
}

impl Told {
    async fn start() -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let go = Arc::new(Semaphore::new(0));
        let (seen, told) = (heads.clone(), go.clone());
        let backend = RawBackend::start(move |mut raw, _| {
            let (seen, told) = (seen.clone(), told.clone());
            async move {
                while let Some(head) = raw.try_head().await {
                    let length = head.to_ascii_lowercase();
                    let length = length.split("content-length: ").nth(1).map_or(0, |rest| {
                        let digits = rest.split("\r\n").next().expect("a line");
                        digits.parse().expect("a length")
                    });
                    seen.lock().expect("no panic").push(head);
                    raw.take(length).await;
                    told.acquire().await.expect("open").forget();
                    raw.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        })
        .await;
        Self { backend, heads, go }
    }

    async fn weir(&self, permits: u32, file: &str) -> Weir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("weir.toml");
        std::fs::write(&path, file).expect("a file");
        Setup::to(&self.backend.upstream(), permits)
            .config(&path)
            .set("queue.max_wait", "20s")
            .start()
            .await
    }

    /// Lets one answer go.
    fn one(&self) {
        self.go.add_permits(1);
    }

    /// The paths that the backend saw, in order.
    fn paths(&self) -> Vec<String> {
        let heads = self.heads.lock().expect("no panic");
        let path = |head: &String| head.split(' ').nth(1).expect("a path").to_owned();
        heads.iter().map(path).collect()
    }
}

async fn ask(weir: &Weir, path: &str, fields: &str) -> Raw {
    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{fields}\r\n");
    Raw::with(weir.data, head).await
}

/// One that holds all there is, and these behind it in this order; then one after the other is let
/// go. What the backend saw after the first.
async fn served_in_order(told: &Told, weir: &Weir, asks: &[(&str, &str)]) -> Vec<String> {
    let mut clients = vec![ask(weir, "/first", "").await];
    weir.until_at(1, 0).await;
    for (queued, (path, fields)) in (1..).zip(asks) {
        clients.push(ask(weir, path, fields).await);
        weir.until_at(1, queued).await;
    }
    for _ in 0..=asks.len() {
        told.one();
    }
    for client in &mut clients {
        assert_eq!(client.head().await.status, 200);
    }
    told.paths().split_off(1)
}

/// Fails if the class is not passed on to the gate (tried).
#[tokio::test]
async fn a_route_s_class_has_its_turn_before_a_longer_line() {
    let told = Told::start().await;
    let weir = told
        .weir(
            1,
            "[[class]]\nname = \"paying\"\nweight = 9\n[[route]]\npath_prefix = \"/pay\"\nclass = \"paying\"\n",
        )
        .await;
    let asks = [
        ("/a", ""),
        ("/b", ""),
        ("/c", ""),
        ("/pay/1", ""),
        ("/pay/2", ""),
    ];
    let order = served_in_order(&told, &weir, &asks).await;
    assert_eq!(order[..2], ["/pay/1", "/pay/2"], "{order:?}");
    assert_eq!(order[2..], ["/a", "/b", "/c"], "{order:?}");
}

#[tokio::test]
async fn retries_come_after_first_attempts_by_any_of_the_fields() {
    let told = Told::start().await;
    let weir = told.weir(1, "[queue]\n").await;
    let asks = [
        ("/again", "x-envoy-attempt-count: 2\r\n"),
        ("/again", "x-retry-attempt: 1\r\n"),
        ("/fresh", "x-envoy-attempt-count: 1\r\n"),
        ("/fresh", ""),
    ];
    let order = served_in_order(&told, &weir, &asks).await;
    assert_eq!(order, ["/fresh", "/fresh", "/again", "/again"]);
}

#[tokio::test]
async fn tenants_take_turns_and_nobody_outside_chooses_a_name() {
    for (trust, order) in [
        ("127.0.0.0/8", ["/small", "/big", "/big", "/big"]),
        ("10.0.0.0/8", ["/big", "/big", "/big", "/small"]),
    ] {
        let told = Told::start().await;
        let file =
            format!("[tenant]\nheaders = [\"x-tenant\"]\n[trust]\nproxies = [\"{trust}\"]\n");
        let weir = told.weir(1, &file).await;
        let mut asks = vec![("/big", "x-tenant: big\r\n"); 3];
        asks.push(("/small", "x-tenant: small\r\n"));
        let seen = served_in_order(&told, &weir, &asks).await;
        // Who has the permit is nobody's: the first turn is that of whoever came first.
        if trust == "127.0.0.0/8" {
            let small = seen.iter().position(|path| path == "/small");
            assert!(small.is_some_and(|at| at <= 1), "{seen:?}");
        } else {
            assert_eq!(seen, order, "{trust}");
        }
    }
}

#[tokio::test]
async fn a_body_s_length_is_charged_and_what_is_too_large_is_told_so() {
    let told = Told::start().await;
    let weir = told
        .weir(
            8,
            "[[route]]\npath_prefix = \"/up\"\ncost = { base = \"1Mi\", factor = 100, max = \"64Mi\" }\noversize = \"reject\"\n",
        )
        .await;
    let post = |length: usize| {
        let body = "x".repeat(length);
        format!("POST /up HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    // 1 MiB and 100 × 60,000 bytes: 6.7 of 8 permits.
    let mut large = Raw::with(weir.data, post(60_000)).await;
    weir.until_at(1, 0).await;
    let mut one = ask(&weir, "/", "").await;
    weir.until_at(2, 0).await;
    let mut two = ask(&weir, "/", "").await;
    weir.until_at(2, 1).await;
    let mut never = Raw::with(weir.data, post(90_000)).await;
    let (head, _) = never.response().await;
    assert_eq!(head.status, 413);
    assert_eq!(head.headers["weir-reject-reason"], "oversize");
    for _ in 0..3 {
        told.one();
    }
    for client in [&mut large, &mut one, &mut two] {
        assert_eq!(client.head().await.status, 200);
    }
}

#[tokio::test]
async fn each_refusal_has_the_status_and_the_fields_of_its_kind() {
    let told = Told::start().await;
    let weir = told
        .weir(
            1,
            "[queue]\nstrategy = \"immediate\"\n\
             [[class]]\nname = \"batch\"\nstatus = 429\n\
             [[route]]\npath = \"/batch\"\nclass = \"batch\"\n\
             [tenant]\nheaders = [\"x-tenant\"]\nrate = 1\nburst = 1\n",
        )
        .await;
    let mut first = ask(&weir, "/", "x-tenant: a\r\n").await;
    weir.until_at(1, 0).await;
    for (path, fields, status, reason) in [
        ("/", "", 503, "no_permit"),
        ("/batch", "", 429, "no_permit"),
        ("/", "x-tenant: a\r\n", 429, "tenant_rate"),
        (
            "/",
            "x-envoy-expected-rq-timeout-ms: 0\r\n",
            503,
            "no_permit",
        ),
    ] {
        let (head, _) = ask(&weir, path, fields).await.response().await;
        assert_eq!(head.status, status, "{path} {fields}");
        assert_eq!(
            head.headers["weir-reject-reason"], reason,
            "{path} {fields}"
        );
        let after: u64 = head.headers["retry-after"].parse().expect("seconds");
        assert!((1..=45).contains(&after), "{after}");
    }
    told.one();
    assert_eq!(first.head().await.status, 200);
}

/// What is left of every deadline that was stated, in the form of its client.
#[tokio::test]
async fn the_backend_is_told_what_the_wait_has_left() {
    let told = Told::start().await;
    let file = "[deadline]\nheaders = [\"x-envoy-expected-rq-timeout-ms\", \"x-timeout\"]\n";
    let weir = told.weir(1, file).await;
    let fields = "x-envoy-expected-rq-timeout-ms: 15000\r\nx-timeout: 40s\r\n";
    served_in_order(&told, &weir, &[("/", fields)]).await;
    let heads = told.heads.lock().expect("no panic");
    let said = |name: &str| -> u64 {
        let line = heads[1].lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("{name} in {}", heads[1]));
        value.trim_end_matches("ms").parse().expect("milliseconds")
    };
    let first = said("x-envoy-expected-rq-timeout-ms: ");
    let second = said("x-timeout: ");
    assert!((1..15_000).contains(&first), "{first}");
    assert!(
        second.abs_diff(first + 25_000) <= 1,
        "{second}: the same wait"
    );
}
