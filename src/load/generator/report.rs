//! What came of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

/// What takes longer is recorded as this: ten minutes.
const MAX_LATENCY_US: u64 = 600_000_000;

/// Why a request has no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection could be made.
    Connect,
    /// The connection or stream broke before a response head.
    Broken,
    /// It broke within the response body.
    BodyBroken,
    /// No complete answer in time.
    Timeout,
    /// Not sent: too many were on their way.
    NotSent,
}

impl FailureKind {
    /// In words.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::BodyBroken => "body_broken",
            Self::Timeout => "timeout",
            Self::NotSent => "not_sent",
        }
    }
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A complete response without a reject reason.
    Answered(u16),
    /// A complete response with one.
    Rejected(u16, String),
    Failed(FailureKind),
}

/// What came of a run. sent = the sum over `by_status` + the sum over `failed`.
#[derive(Clone, Debug)]
pub struct Report {
    /// Arrivals.
    pub sent: u64,
    /// 2xx without a reject reason, complete.
    pub ok: u64,
    /// Complete answers by status, rejects among them.
    pub by_status: BTreeMap<u16, u64>,
    /// Answers with `weir-reject-reason`, by that reason.
    pub rejected: BTreeMap<String, u64>,
    /// No complete answer.
    pub failed: BTreeMap<FailureKind, u64>,
    /// Microseconds from scheduled arrival to the end of the response, of `ok`.
    pub latency_us: Histogram<u64>,
    /// The same of rejects.
    pub reject_latency_us: Histogram<u64>,
    /// From the first arrival to the last answer.
    pub elapsed: Duration,
}

impl Default for Report {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3);
        let histogram = histogram.expect("the bounds are allowed");
        Self {
            sent: 0,
            ok: 0,
            by_status: BTreeMap::new(),
            rejected: BTreeMap::new(),
            failed: BTreeMap::new(),
            latency_us: histogram.clone(),
            reject_latency_us: histogram,
            elapsed: Duration::ZERO,
        }
    }
}

impl Report {
    pub(super) fn record(&mut self, outcome: &Outcome, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.sent += 1;
        match outcome {
            Outcome::Answered(status) => {
                *self.by_status.entry(*status).or_default() += 1;
                if (200..300).contains(status) {
                    self.ok += 1;
                    self.latency_us.saturating_record(latency_us);
                }
            }
            Outcome::Rejected(status, reason) => {
                *self.by_status.entry(*status).or_default() += 1;
                match self.rejected.get_mut(reason) {
                    Some(count) => *count += 1,
                    None => drop(self.rejected.insert(reason.clone(), 1)),
                }
                self.reject_latency_us.saturating_record(latency_us);
            }
            Outcome::Failed(kind) => *self.failed.entry(*kind).or_default() += 1,
        }
    }

    /// Complete 2xx per second, over the whole run with its tail.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.ok as f64 / seconds
        } else {
            0.0
        }
    }

    /// All rejects.
    #[must_use]
    pub fn rejects(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// All requests that were neither served with 2xx nor rejected.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.sent - self.ok - self.rejects()
    }
}

/// The run so far, for a live view.
#[derive(Debug, Default)]
pub struct Progress {
    sent: AtomicU64,
    ok: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

impl Progress {
    pub(super) fn begin(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Answered(200..300) => &self.ok,
            Outcome::Rejected(..) => &self.rejected,
            Outcome::Answered(_) | Outcome::Failed(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Arrivals so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Complete 2xx so far.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.ok.load(Ordering::Relaxed)
    }

    /// Rejects so far.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Everything else that ended so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Sent, and not ended yet.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        let ended = self.ok() + self.rejected() + self.failed();
        self.sent().saturating_sub(ended)
    }
}
