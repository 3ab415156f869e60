//! Metrics, logs, events.
//!
//! [`Telemetry`] is constructed once per weir. The data path counts through [`Metrics`] and
//! reports through [`events`]; whoever runs weir calls [`Telemetry::tick`] once a second, or
//! neither demand nor overload is noticed.
//! **No label ever takes a value that a client chose.**

pub mod demand;
pub mod events;
mod exporter;
mod histogram;
mod labels;
mod lines;
pub mod log;
mod metrics;
pub mod names;
pub mod overload;
mod panics;
mod settings;
#[cfg(test)]
mod tests;
mod throttle;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::admission::RejectReason;
use demand::Demand;
use exporter::Exporter;
pub use exporter::Figures;
pub use labels::{ConnectionError, Rule, Source, TlsFailure, UpstreamError, WaitEnd};
pub use metrics::{Metrics, Totals};
use overload::Overload;
pub use settings::{LogFormat, LogSettings};
use throttle::Throttle;

/// Everything that one weir tells about itself.
pub struct Telemetry {
    /// What the data path counts with.
    pub metrics: Arc<Metrics>,
    exporter: Exporter,
    watch: Mutex<Watch>,
    throttles: Throttles,
    access: AtomicBool,
    began: Instant,
}

/// What keeps lines rare that could come with every request.
#[derive(Debug, Default)]
struct Throttles {
    rejects: [Throttle; RejectReason::ALL.len()],
    upstream: [Throttle; UpstreamError::ALL.len()],
    tls: [Throttle; TlsFailure::ALL.len()],
    /// One for each rule that a head can break.
    refusals: [Throttle; Rule::ALL.len()],
    connections: [Throttle; ConnectionError::ALL.len()],
}

/// What is followed from second to second.
#[derive(Default)]
struct Watch {
    demand: Demand,
    overload: Overload,
}

impl Telemetry {
    /// With every series at 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            metrics: Metrics::new(),
            exporter: Exporter::new(),
            watch: Mutex::default(),
            throttles: Throttles::default(),
            access: AtomicBool::new(false),
            began: Instant::now(),
        }
    }

    /// Whether there is a line for each finished request. Off until set.
    pub fn set_access_log(&self, on: bool) {
        self.access.store(on, Ordering::Relaxed);
    }

    /// Whether there is a line for each finished request.
    #[must_use]
    pub fn access_log(&self) -> bool {
        self.access.load(Ordering::Relaxed)
    }

    /// Time since the start.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age_at(Instant::now())
    }

    /// The same for whoever has read the clock already.
    fn age_at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// To be called once a second: follows demand and overload.
    pub fn tick(&self, now: Instant, figures: &Figures) {
        let totals = self.metrics.totals();
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.demand.tick(now, &totals, figures);
        let event = watch.overload.tick(now, &totals, figures.queued);
        drop(watch);
        if let Some(event) = event {
            event.log();
        }
    }

    /// Demand as a share of the configured budget, as of the last tick.
    #[must_use]
    pub fn demand_ratio(&self) -> f64 {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.demand.ratio()
    }

    /// Whether weir has been refusing for lack of capacity, as of the last tick.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.overload.is_on()
    }

    /// The text of a scrape, with gauges set from `figures`. Reads `/proc`: not for a thread that
    /// serves requests.
    #[must_use]
    pub fn render(&self, figures: &Figures) -> String {
        self.exporter
            .render(&self.metrics, figures, self.demand_ratio())
    }

    /// The counters of this moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.metrics.totals()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}
