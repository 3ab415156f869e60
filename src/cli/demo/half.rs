//! One half of the demo: the load, and what is measured meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::children::{Backend, Weir};
use super::setup::Setup;
use super::view::{Snapshot, View};
use crate::load::generator::{self, Bound, Plan, Progress, Report};
use crate::platform;

/// How often the memory is read. The peak is the kernel's and does not depend on it.
const SAMPLE: Duration = Duration::from_millis(50);
/// How many samples pass between two looks at the counters.
const SAMPLES_PER_LOOK: u32 = 4;
/// How long a look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// The longest page that is looked at.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What came of one half.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub(super) report: Report,
    /// The high-water mark of the idle backend.
    pub(super) baseline_bytes: u64,
    /// The same after the load.
    pub(super) peak_bytes: u64,
    /// When the memory of requests was first seen above the target.
    pub(super) crossed_after: Option<Duration>,
}

impl Half {
    pub(super) async fn run(
        setup: &Setup,
        backend: &Backend,
        weir: Option<&Weir>,
        mut view: View,
    ) -> Result<Self, String> {
        // One look before the baseline is taken, so that what the first connection needs is in it.
        let stats = get(backend.address, "/__stats").await;
        stats.ok_or("the backend does not answer")?;
        let baseline_bytes = memory(backend.pid())?.peak_bytes;

        let plan = plan(setup, weir.map_or(backend.address, |weir| weir.listen));
        let progress = Arc::new(Progress::default());
        let load = generator::run(plan, Arc::clone(&progress));
        let watch = Watch {
            setup,
            backend,
            weir,
            baseline_bytes,
            progress,
            crossed_after: None,
        };
        let (report, crossed_after) = watch.until_done(load, &mut view).await?;
        Ok(Self {
            report,
            baseline_bytes,
            peak_bytes: memory(backend.pid())?.peak_bytes,
            crossed_after,
        })
    }

    /// What requests used at most.
    pub(super) fn requests_bytes(&self) -> u64 {
        self.peak_bytes.saturating_sub(self.baseline_bytes)
    }
}

fn plan(setup: &Setup, target: SocketAddr) -> Plan {
    let bound = Bound::Duration(setup.duration);
    let mut plan = Plan::new(target, setup.offered_per_second(), bound);
    plan.seed = setup.seed;
    plan.timeout = Duration::from_secs(10);
    plan.max_outstanding = setup.max_outstanding();
    plan
}

/// Looks at everything while the load runs.
struct Watch<'a> {
    setup: &'a Setup,
    backend: &'a Backend,
    weir: Option<&'a Weir>,
    baseline_bytes: u64,
    progress: Arc<Progress>,
    crossed_after: Option<Duration>,
}

impl Watch<'_> {
    async fn until_done(
        mut self,
        load: impl Future<Output = Report>,
        view: &mut View,
    ) -> Result<(Report, Option<Duration>), String> {
        let start = Instant::now();
        let mut ticks = interval(SAMPLE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(load);
        let mut samples = (0..SAMPLES_PER_LOOK).cycle();
        loop {
            tokio::select! {
                report = &mut load => return Ok((report, self.crossed_after)),
                _ = ticks.tick() => {}
            }
            let now_bytes = memory(self.backend.pid())?.now_bytes;
            let requests_bytes = now_bytes.saturating_sub(self.baseline_bytes);
            if requests_bytes > self.setup.target_bytes {
                self.crossed_after.get_or_insert(start.elapsed());
            }
            if samples.next() == Some(0) {
                let seen = tokio::select! {
                    report = &mut load => return Ok((report, self.crossed_after)),
                    seen = self.look() => seen,
                };
                view.show(&self.snapshot(start.elapsed(), requests_bytes, seen));
            }
        }
    }

    /// What both processes say of themselves. Nothing is said about what cannot be asked.
    async fn look(&self) -> Seen {
        let stats = get(self.backend.address, "/__stats")
            .await
            .unwrap_or_default();
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap_or_default();
        let metrics = match self.weir {
            Some(weir) => get(weir.admin, "/metrics").await.unwrap_or_default(),
            None => String::new(),
        };
        Seen {
            in_flight: stats["in_flight"].as_u64(),
            queued: gauge(&metrics, "weir_queue_depth"),
        }
    }

    fn snapshot(&self, at: Duration, requests_bytes: u64, seen: Seen) -> Snapshot {
        Snapshot {
            at,
            of: self.setup.duration,
            requests_bytes,
            target_bytes: self.setup.target_bytes,
            // The scale of the bar is the same in both halves.
            scale_bytes: self.setup.target_bytes * self.setup.overload,
            permits: self.weir.map(|_| self.setup.permits()),
            in_flight: seen.in_flight,
            queued: seen.queued,
            sent: self.progress.sent(),
            ok: self.progress.ok(),
            rejected: self.progress.rejected(),
            failed: self.progress.failed(),
        }
    }
}

#[derive(Clone, Copy)]
struct Seen {
    in_flight: Option<u64>,
    queued: Option<u64>,
}

/// The body of a page, if it could be had in time with 200.
pub(super) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let page = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let request = Request::get(path).header("host", address.to_string());
        let request = request.body(Empty::<Bytes>::new()).ok()?;
        let answer = async {
            let response = sender.send_request(request).await.ok()?;
            let ok = response.status() == StatusCode::OK;
            let body = Limited::new(response.into_body(), PAGE_BYTES_MAX);
            let body = body.collect().await.ok()?.to_bytes();
            ok.then(|| String::from_utf8_lossy(&body).into_owned())
        };
        // The connection moves the bytes of the answer, and ends with it by being dropped.
        tokio::select! {
            answer = answer => answer,
            () = async { let _ = connection.await; std::future::pending().await } => None,
        }
    };
    timeout(LOOK_LIMIT, page).await.ok().flatten()
}

/// The value of a gauge without labels.
fn gauge(metrics: &str, name: &str) -> Option<u64> {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|value| value.trim().parse().ok())
}

/// What the kernel says about the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    now_bytes: u64,
    peak_bytes: u64,
}

fn memory(pid: u32) -> Result<Memory, String> {
    let status = platform::process_status(pid)
        .ok_or_else(|| format!("the memory of the backend, process {pid}, cannot be read"))?;
    parse_memory(&status)
        .ok_or_else(|| format!("process {pid} has no VmRSS and VmHWM: is this Linux?"))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory {
        now_bytes: field("VmRSS:")?,
        peak_bytes: field("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kib() {
        let status = "Name:\tweir\nVmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let memory = parse_memory(status).expect("both fields");
        assert_eq!((memory.now_bytes, memory.peak_bytes), (1 << 20, 2 << 20));
        assert_eq!(parse_memory("Name:\tweir\n"), None);
    }

    #[test]
    fn our_own_memory_can_be_read() {
        let memory = memory(std::process::id()).expect("Linux");
        assert!(memory.now_bytes > 0 && memory.peak_bytes >= memory.now_bytes / 2);
        assert!(super::memory(0).expect_err("nobody").contains("process 0"));
    }

    #[test]
    fn gauges_are_found_by_their_whole_name() {
        let metrics = "# TYPE weir_queue_depth gauge\nweir_queue_depth_max 9\nweir_queue_depth 7\n";
        assert_eq!(gauge(metrics, "weir_queue_depth"), Some(7));
        assert_eq!(gauge(metrics, "weir_queue"), None);
    }
}
