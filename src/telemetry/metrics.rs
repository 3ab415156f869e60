//! What the data path counts, and how it gets into the text that a scrape reads.
//!
//! Counters are plain atomics of our own, because the process reads them back (demand, overload,
//! `/status`); the exporter gets a copy at each scrape. Only histograms are recorded into the
//! exporter directly. Nothing on the hot path looks a name up or allocates a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use metrics::Histogram;
use metrics_exporter_prometheus::PrometheusHandle;

use super::exporter::Exporter;
use super::labels::{CODES, ConnectionError, RESULTS, Source, UpstreamError, WaitEnd};
use super::names;
use crate::admission::{Outcome, RejectReason};

/// Histogram samples after which whoever records the next one drains them all.
///
/// The exporter keeps every sample (16 bytes) until somebody drains them, and a drain every few
/// seconds is not enough at tens of thousands of requests per second. So many take about 50 µs.
const SAMPLES_MAX: u64 = 2048;

/// What is counted. One per weir, shared; every method is cheap and never blocks for long.
#[derive(Debug)]
pub struct Metrics {
    counts: Counts,
    queue_wait: [Histogram; WaitEnd::ALL.len()],
    service: Histogram,
    first_byte: Histogram,
    cost: Histogram,
    samples: AtomicU64,
    exporter: PrometheusHandle,
}

/// The counters. Indexed by the position of the label in its `ALL`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: [AtomicU64; Outcome::ALL.len()],
    pub(super) rejected: [AtomicU64; RejectReason::ALL.len()],
    pub(super) responses: [[AtomicU64; CODES.len()]; Source::ALL.len()],
    pub(super) connections: AtomicU64,
    pub(super) connection_errors: [AtomicU64; ConnectionError::ALL.len()],
    pub(super) upstream_connections: AtomicU64,
    pub(super) upstream_errors: [AtomicU64; UpstreamError::ALL.len()],
    pub(super) upstream_retries: AtomicU64,
    pub(super) reloads: [AtomicU64; RESULTS.len()],
    pub(super) last_reload_failed: AtomicBool,
    pub(super) panics: AtomicU64,
    service_count: AtomicU64,
    service_micros: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Finished requests, in the order of [`Outcome::ALL`].
    pub requests: [u64; Outcome::ALL.len()],
    /// Rejects, in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Permits that came back.
    pub service_count: u64,
    /// How long they were held, together.
    pub service_sum: Duration,
    /// Open client connections.
    pub connections: u64,
    /// Open connections to the upstream.
    pub upstream_connections: u64,
    /// Requests sent again on a fresh connection.
    pub upstream_retries: u64,
    /// Exchanges that the upstream failed, of every kind.
    pub upstream_errors: u64,
    /// Errors on client connections, of every kind.
    pub connection_errors: u64,
    /// Reloads that succeeded.
    pub reloads_ok: u64,
    /// Reloads that failed.
    pub reloads_failed: u64,
    /// Whether the configuration that was last read was good.
    pub last_reload_ok: bool,
    /// Panics caught.
    pub panics: u64,
}

impl Totals {
    /// Requests that ended this way.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.requests[outcome as usize]
    }

    /// Rejects for this reason.
    #[must_use]
    pub fn reason(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize]
    }

    /// Every outcome's label and count.
    pub fn by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL
            .map(Outcome::label)
            .into_iter()
            .zip(self.requests)
    }

    /// Every reason's label and count.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RejectReason::ALL
            .map(RejectReason::label)
            .into_iter()
            .zip(self.rejected)
    }

    /// Rejects that more capacity would have prevented.
    #[must_use]
    pub fn capacity_rejects(&self) -> u64 {
        RejectReason::ALL
            .into_iter()
            .filter(|reason| reason.is_capacity())
            .map(|reason| self.reason(reason))
            .sum()
    }
}

impl Metrics {
    pub(super) fn new(exporter: &Exporter) -> Arc<Self> {
        Arc::new(Self {
            counts: Counts::default(),
            queue_wait: WaitEnd::ALL.map(|end| {
                exporter.histogram(&names::QUEUE_WAIT_SECONDS, &[("outcome", end.label())])
            }),
            service: exporter.histogram(&names::SERVICE_SECONDS, &[]),
            first_byte: exporter.histogram(&names::UPSTREAM_FIRST_BYTE_SECONDS, &[]),
            cost: exporter.histogram(&names::REQUEST_COST_BYTES, &[]),
            samples: AtomicU64::new(0),
            exporter: exporter.handle(),
        })
    }

    /// A request ended. Exactly once for each.
    pub fn finished(&self, outcome: Outcome) {
        add(&self.counts.requests[outcome as usize]);
    }

    /// A request was refused.
    pub fn rejected(&self, reason: RejectReason) {
        add(&self.counts.rejected[reason as usize]);
    }

    /// A response head was sent to a client.
    pub fn response(&self, source: Source, status: u16) {
        let class = usize::from(status / 100).clamp(1, CODES.len()) - 1;
        add(&self.counts.responses[source as usize][class]);
    }

    /// A wait for a permit ended.
    pub fn queue_wait(&self, end: WaitEnd, waited: Duration) {
        self.sample(&self.queue_wait[end as usize], waited.as_secs_f64());
    }

    /// A permit came back.
    pub fn service_time(&self, held: Duration) {
        add(&self.counts.service_count);
        let micros = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        self.counts
            .service_micros
            .fetch_add(micros, Ordering::Relaxed);
        self.sample(&self.service, held.as_secs_f64());
    }

    /// The upstream's response head arrived.
    pub fn first_byte(&self, took: Duration) {
        self.sample(&self.first_byte, took.as_secs_f64());
    }

    /// A request was admitted at this cost.
    pub fn cost(&self, bytes: u64) {
        self.sample(&self.cost, bytes as f64);
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        add(&self.counts.connections);
    }

    /// A client connection is over.
    pub fn connection_closed(&self) {
        sub(&self.counts.connections);
    }

    /// Open client connections.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// A client connection went wrong.
    pub fn connection_error(&self, kind: ConnectionError) {
        add(&self.counts.connection_errors[kind as usize]);
    }

    /// A connection to the upstream was made.
    pub fn upstream_opened(&self) {
        add(&self.counts.upstream_connections);
    }

    /// A connection to the upstream is over.
    pub fn upstream_closed(&self) {
        sub(&self.counts.upstream_connections);
    }

    /// The upstream failed an exchange.
    pub fn upstream_error(&self, kind: UpstreamError) {
        add(&self.counts.upstream_errors[kind as usize]);
    }

    /// A request is sent again on a fresh connection.
    pub fn upstream_retry(&self) {
        add(&self.counts.upstream_retries);
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        add(&self.counts.panics);
    }

    /// The configuration was read again.
    pub fn reload(&self, ok: bool) {
        add(&self.counts.reloads[usize::from(ok)]);
        self.counts.last_reload_failed.store(!ok, Ordering::Relaxed);
    }

    /// The counters of this moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let counts = &self.counts;
        Totals {
            requests: counts.requests.each_ref().map(get),
            rejected: counts.rejected.each_ref().map(get),
            service_count: get(&counts.service_count),
            service_sum: Duration::from_micros(get(&counts.service_micros)),
            connections: self.connections(),
            upstream_connections: get(&counts.upstream_connections),
            upstream_retries: get(&counts.upstream_retries),
            upstream_errors: counts.upstream_errors.iter().map(get).sum(),
            connection_errors: counts.connection_errors.iter().map(get).sum(),
            reloads_failed: get(&counts.reloads[0]),
            reloads_ok: get(&counts.reloads[1]),
            last_reload_ok: !counts.last_reload_failed.load(Ordering::Relaxed),
            panics: get(&counts.panics),
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Records one sample, and drains them all when there are many.
    fn sample(&self, histogram: &Histogram, value: f64) {
        histogram.record(value);
        let before = self.samples.fetch_add(1, Ordering::Relaxed);
        if before % SAMPLES_MAX == SAMPLES_MAX - 1 {
            self.exporter.run_upkeep();
        }
    }
}

pub(super) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn sub(counter: &AtomicU64) {
    let before = counter.fetch_sub(1, Ordering::Relaxed);
    debug_assert!(before > 0, "closed more often than opened");
}
