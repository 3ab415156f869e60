//! An admin port to test against, and a client that sees what is on the wire.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::admin::{Admin, Hooks, serve};
use crate::admission::{Budget, Decimal};
use crate::gate::{Gate, Rules};
use crate::lifecycle::Phase;
use crate::telemetry::Telemetry;

/// An admin port with a gate of two permits, and what its hooks were told.
pub(crate) struct Port {
    pub(crate) at: SocketAddr,
    pub(super) gate: Gate,
    pub(super) telemetry: Arc<Telemetry>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) drains: AtomicU32,
    pub(super) levels: Mutex<Vec<String>>,
    pub(super) trouble: Mutex<Option<String>>,
}

thread_local! {
    /// Whether the gate's clock is to panic on this thread.
    pub(super) static CLOCK_BROKEN: Cell<bool> = const { Cell::new(false) };
}

fn clock() -> Instant {
    assert!(
        !CLOCK_BROKEN.get(),
        "the clock is broken, as this test wants it"
    );
    Instant::now()
}

/// What came back, as it is on the wire.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: String,
}

impl Port {
    pub(crate) async fn open() -> Self {
        let factor: Decimal = "0.5".parse().expect("a decimal");
        let budget = Budget::new(4 << 20, 1 << 20, factor).expect("two permits");
        let gate = Gate::with_clock(budget, Rules::default(), clock);
        let telemetry = Arc::new(Telemetry::new());
        let (phase, follows) = watch::channel(Phase::Serving);
        let seen = Arc::new(Seen::default());
        let admin = Admin {
            gate: gate.clone(),
            telemetry: Arc::clone(&telemetry),
            phase: follows,
            started: Instant::now(),
            remote_control: false,
            hooks: hooks(&seen),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, Arc::new(admin), stopped));
        let stop = Some(stop);
        Self {
            at,
            gate,
            telemetry,
            phase,
            seen,
            stop,
            server,
        }
    }

    pub(super) async fn ask(&self, method: Method, path: &str) -> Answer {
        self.send(
            &format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.at),
            "",
        )
        .await
    }

    /// A request line with fields; the rest of the head and the body are added.
    pub(super) async fn send(&self, head: &str, body: &str) -> Answer {
        let length = body.len();
        let mut stream = TcpStream::connect(self.at).await.expect("accepted");
        let text = format!("{head}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer))
            .await
            .expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| {
                let name: http::HeaderName = name.parse().expect("a name");
                (name, value.parse().expect("a value"))
            })
            .collect();
        Answer {
            status: status.and_then(|code| code.parse().ok()).expect("a status"),
            headers,
            body: body.to_owned(),
        }
    }

    pub(crate) async fn close(mut self) {
        drop(self.stop.take());
        within(self.server).await.expect("no panic");
    }
}

fn hooks(seen: &Arc<Seen>) -> Hooks {
    let (drains, levels, health) = (Arc::clone(seen), Arc::clone(seen), Arc::clone(seen));
    let reloads = AtomicU32::new(0);
    Hooks {
        status_extra: Box::new(|| json!({ "listen": "somewhere" })),
        config: Box::new(|| "{\"queue.order\":\"fifo\"}".to_owned()),
        reload: Box::new(move || match reloads.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(json!({ "changed": ["queue.max_wait"] })),
            1 => Err("queue.max_wait = \"soon\": not a duration".to_owned()),
            _ => panic!("a bug in the hook"),
        }),
        drain: Box::new(move || {
            let _ = drains.drains.fetch_add(1, Ordering::Relaxed);
        }),
        set_level: Box::new(move |level| {
            crate::telemetry::log::filter(level)?;
            levels
                .levels
                .lock()
                .expect("not poisoned")
                .push(level.to_owned());
            Ok(())
        }),
        healthy: Box::new(move || {
            let trouble = health.trouble.lock().expect("not poisoned").clone();
            trouble.map_or(Ok(()), Err)
        }),
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("in time")
}

pub(super) fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().expect("ASCII")
}
