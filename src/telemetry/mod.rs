//! Metrics, logs, events.
//!
//! [`Telemetry`] is constructed once per weir. The data path counts through [`Metrics`] and
//! reports through [`events`]; whoever runs weir calls [`Telemetry::tick`] once a second, or
//! neither demand nor overload is noticed.
//! **No label ever takes a value that a client chose**, but the names of the busiest tenants, which
//! believed peers give.

mod classes;
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
mod policy;
mod settings;
pub mod shadow;
mod tenants;
#[cfg(test)]
mod tests;
mod throttle;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::admission::RejectReason;
pub use classes::{ByReason, ClassCounts};
use demand::Demand;
use exporter::Exporter;
pub use exporter::Figures;
pub use labels::{ConnectionError, Rule, Source, TlsFailure, UpstreamError, WaitEnd};
pub use metrics::{Account, Metrics, Totals};
use overload::Overload;
pub use policy::PolicyFigures;
pub use settings::{LOG_LEVEL_REMEDY, Labels, LogFormat, LogSettings, log_filter};
use shadow::WouldReject;
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
    shadow: WouldReject,
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

    /// Which classes and how many tenants have series from now on. `now` is the figures of the gate
    /// as long as it goes by the classes of before.
    pub fn set_labels(&self, labels: &Labels, now: &PolicyFigures) {
        let classes = self.metrics.classes();
        classes.note_shadow(&now.shadow_rejected);
        classes.configure(&labels.classes);
        self.metrics.tenants().configure(labels.tenants);
    }

    /// What was counted of each class that is configured, by its name and in that order.
    #[must_use]
    pub fn classes(&self, now: &PolicyFigures) -> Vec<(Arc<str>, ClassCounts)> {
        let classes = self.metrics.classes();
        classes.note_shadow(&now.shadow_rejected);
        classes.configured()
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

    /// To be called once a second: follows demand, overload, the shadow and the tenants.
    pub fn tick(&self, now: Instant, figures: &Figures) {
        let totals = self.metrics.totals();
        let classes = self.metrics.classes();
        classes.note_shadow(&figures.policy.shadow_rejected);
        let shadowed = classes.sum().shadow_rejected;
        let enough = figures.policy.sufficient_permits().unwrap_or_default();
        self.metrics.tenants().tick(now);
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.demand.tick(now, &totals, figures);
        let event = watch.overload.tick(now, &totals, figures.queued);
        let would_reject = watch.shadow.tick(now, &shadowed, enough);
        drop(watch);
        if let Some(event) = event {
            event.log();
        }
        if let Some(event) = would_reject {
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
        let shadowed = &figures.policy.shadow_rejected;
        self.metrics.classes().note_shadow(shadowed);
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
