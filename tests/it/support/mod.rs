//! The real binary under test: started on an address of its own, watched through its own
//! `/status` and `/metrics`, ended by handle.
//!
//! **Only one weir runs at a time**: the load of one test is the noise of another.

pub(crate) mod client;
pub(crate) mod raw;

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::Value;
use tempfile::TempDir;
use weir::load::backend::{Backend, BackendSettings};
use weir::load::generator::Report;

use raw::Raw;

/// How long a thing may take that is expected at once: long, because the machine is shared.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs this on four threads, each with a runtime of its own, which ends with it.
pub(crate) fn on_threads(work: impl AsyncFn(u32) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let work = &work;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(work(thread));
            });
        }
    });
}

/// What a weir is to be started with.
pub(crate) struct Setup {
    arguments: Vec<String>,
}

impl Setup {
    /// In front of this backend, with so many permits.
    pub(crate) fn new(backend: &Backend, permits: u32) -> Self {
        Self::to(&format!("http://{}", backend.address()), permits)
    }

    /// In front of this upstream.
    pub(crate) fn to(upstream: &str, permits: u32) -> Self {
        Self::bare(upstream)
            .set("memory.memory_per_task", "1Mi")
            .set("memory.target_memory", &format!("{permits}Mi"))
            .set("memory.safety_factor", "1")
    }

    /// Without the two numbers.
    pub(crate) fn bare(upstream: &str) -> Self {
        let setup = Self {
            arguments: vec!["run".to_owned()],
        };
        setup.set("upstream", upstream).set("log.format", "json")
    }

    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.arguments
            .extend(["--set".to_owned(), format!("{key}={value}")]);
        self
    }

    pub(crate) fn config(mut self, file: &std::path::Path) -> Self {
        let file = file.to_str().expect("a temporary path is UTF-8");
        self.arguments
            .extend(["--config".to_owned(), file.to_owned()]);
        self
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Weir {
        self.start_with(None).await.0
    }

    /// The same with its log in a pipe, which nobody reads but who gets it here.
    pub(crate) async fn start_with_piped_log(self) -> (Weir, ChildStderr) {
        let (weir, pipe) = self.start_with(Some(Stdio::piped())).await;
        (weir, pipe.expect("asked for"))
    }

    async fn start_with(self, stderr: Option<Stdio>) -> (Weir, Option<ChildStderr>) {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (data, admin) = addresses();
        let arguments = self
            .set("listen", &data.to_string())
            .set("admin.listen", &admin.to_string())
            .arguments;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = File::create(directory.path().join("log")).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEIR__") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(stderr.unwrap_or_else(|| log.into()))
            .spawn()
            .expect("the binary under test starts");
        let pipe = child.stderr.take();
        let weir = Weir {
            child: Mutex::new(child),
            data,
            admin,
            directory,
            _turn: turn,
        };
        weir.until("ready", SOON, async |weir| {
            let gone = weir.child().try_wait().expect("its own child");
            assert!(gone.is_none(), "weir ended at once: {gone:?}");
            weir.ask("GET", "/readyz")
                .await
                .is_ok_and(|(status, _)| status == 200)
        })
        .await;
        (weir, pipe)
    }
}

/// An address of the loopback network that nobody else uses: made of this process's number and a
/// count. A free *port* would be free no longer once somebody looks away.
fn addresses() -> (SocketAddr, SocketAddr) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = u8::try_from(count % 250 + 1).expect("at most 250");
    let port = 8000 + u16::try_from(count / 250).expect("few weirs");
    let ip = [127, 64 + high % 128, low, own];
    (
        SocketAddr::from((ip, port)),
        SocketAddr::from((ip, port + 1000)),
    )
}

/// A running weir. Dropping it kills it, and shows its log when the test has failed.
pub(crate) struct Weir {
    child: Mutex<Child>,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
    directory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// The gate's figures at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) limit: u64,
    pub(crate) available: u64,
    pub(crate) in_flight: u64,
    pub(crate) queued: u64,
    /// Over all outcomes.
    pub(crate) finished: u64,
    pub(crate) panics: u64,
}

impl Weir {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, method: &str, path: &str) -> std::io::Result<(u16, String)> {
        let mut raw = Raw::try_connect(self.admin).await?;
        raw.try_send(format!(
            "{method} {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        ))
        .await?;
        let text = String::from_utf8_lossy(&raw.rest().await).into_owned();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        match status {
            Some(status) => Ok((status, body.to_owned())),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Status and body of an admin endpoint.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path).await.expect("the admin port answers")
    }

    pub(crate) async fn post(&self, path: &str) -> (u16, String) {
        self.ask("POST", path)
            .await
            .expect("the admin port answers")
    }

    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").await.1).expect("/status is JSON")
    }

    /// Every series of `/metrics` that counts something.
    pub(crate) async fn metrics(&self) -> Metrics {
        let (_, text) = self.get("/metrics").await;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Metrics(
            lines
                .filter_map(|line| {
                    let (name, value) = line.rsplit_once(' ')?;
                    Some((name.to_owned(), value.parse().ok()?))
                })
                .collect(),
        )
    }

    pub(crate) async fn figures(&self) -> Figures {
        let status = self.status().await;
        let figure = |name: &str| status["gate"][name].as_u64().expect("a figure of the gate");
        let outcomes = status["requests"].as_object().expect("outcomes");
        Figures {
            limit: figure("permit_limit"),
            available: figure("available_permits"),
            in_flight: figure("in_flight"),
            queued: figure("queued"),
            finished: outcomes.values().filter_map(Value::as_u64).sum(),
            panics: status["panics"].as_u64().expect("a count"),
        }
    }

    pub(crate) async fn in_flight(&self) -> u64 {
        self.figures().await.in_flight
    }

    pub(crate) async fn queued(&self) -> u64 {
        self.figures().await.queued
    }

    /// Requests with this outcome.
    pub(crate) async fn outcome(&self, outcome: &str) -> u64 {
        let status = self.status().await;
        status["requests"][outcome].as_u64().expect("an outcome")
    }

    /// Waits for a condition.
    pub(crate) async fn until(
        &self,
        what: &str,
        bound: Duration,
        mut condition: impl AsyncFnMut(&Self) -> bool,
    ) {
        let begun = Instant::now();
        while !condition(self).await {
            if begun.elapsed() > bound {
                let status = self.ask("GET", "/status").await;
                let status = status.map_or_else(|error| error.to_string(), |(_, body)| body);
                panic!("not within {bound:?}: {what}\n{status}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until so many requests hold a permit and so many wait.
    pub(crate) async fn until_at(&self, in_flight: u64, queued: u64) {
        let what = format!("{in_flight} in flight, {queued} queued");
        self.until(&what, SOON, async |weir| {
            let now = weir.figures().await;
            (now.in_flight, now.queued) == (in_flight, queued)
        })
        .await;
    }

    /// Everything has come back: nothing in flight, nothing queued, every permit free, and as many
    /// outcomes as requests were sent.
    pub(crate) async fn assert_at_rest(&self, sent: u64) {
        let what = format!("at rest, {sent} requests counted once each");
        self.until(&what, SOON, async |weir| {
            let now = weir.figures().await;
            (now.in_flight, now.queued) == (0, 0)
                && now.available == now.limit
                && now.finished == sent
        })
        .await;
        assert_eq!(self.figures().await.panics, 0);
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child().id();
        // The shell's own `kill`, so that no further tool is needed.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(sent.expect("a shell").success(), "{pid} is gone already");
    }

    /// The exit code, which must come in this time.
    pub(crate) async fn exit_code(&self, bound: Duration) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child().try_wait().expect("its own child") {
                return status.code().expect("weir ends by itself");
            }
            assert!(begun.elapsed() < bound, "still running after {bound:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let mut child = self.child();
        // An error says that it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(60);
            eprintln!("--- weir's log\n{}\n---", lines[last..].join("\n"));
        }
    }
}

/// Every series that counts something, by its name with labels.
pub(crate) struct Metrics(HashMap<String, u64>);

impl Metrics {
    /// The sum over all series of this name.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        self.with(name, "")
    }

    /// The sum over those of them that have this label.
    pub(crate) fn with(&self, name: &str, label: &str) -> u64 {
        self.sum_of(name, label)
            .unwrap_or_else(|| panic!("no series {name} with {label}"))
    }

    /// The same; `None` if there are none.
    pub(crate) fn sum_of(&self, name: &str, label: &str) -> Option<u64> {
        let of = |series: &str| series == name || series.starts_with(&format!("{name}{{"));
        let mut found = self
            .0
            .iter()
            .filter(|(series, _)| of(series) && series.contains(label))
            .peekable();
        found.peek()?;
        Some(found.map(|(_, value)| value).sum())
    }
}

/// What came of a run, in a line. (The report itself prints every bucket of its histograms.)
pub(crate) fn summary(report: &Report) -> String {
    let ms = |histogram: &Histogram<u64>, at| histogram.value_at_quantile(at) / 1000;
    format!(
        "sent {}, ok {}, status {:?}, rejected {:?}, failed {:?} in {:?}; ok p50 {} ms, p99 {} ms; \
         rejects p99 {} ms",
        report.sent,
        report.ok,
        report.by_status,
        report.rejected,
        report.failed,
        report.elapsed,
        ms(&report.latency_us, 0.5),
        ms(&report.latency_us, 0.99),
        ms(&report.reject_latency_us, 0.99),
    )
}

/// A backend on this test's runtime.
pub(crate) async fn backend() -> Backend {
    backend_with(BackendSettings::default()).await
}

pub(crate) async fn backend_with(settings: BackendSettings) -> Backend {
    Backend::on_loopback(settings).await.expect("a free port")
}

/// Waits for a condition that is not weir's.
pub(crate) async fn eventually(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
