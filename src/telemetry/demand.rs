//! How much the clients want, as a share of what is configured: the signal to scale on.
//!
//! `(in flight + queued + capacity rejects per second × mean service time) / limit`, smoothed over
//! ticks of about a second. By Little's law the rejects are the concurrency that they would have
//! needed. Pure: time and figures are arguments.

use std::time::{Duration, Instant};

use super::exporter::Figures;
use super::metrics::Totals;
use crate::admission::UNITS_PER_TASK;

/// How fast the ratio follows: 63 % of a step after this long. A pod autoscaler looks every 15 s.
const FOLLOW: Duration = Duration::from_secs(5);

/// How fast the mean service time forgets: slowly, because under overload few requests finish in
/// one tick and their time is what the rejects are weighed with.
const SERVICE_MEMORY: Duration = Duration::from_secs(60);

/// Demand, followed from tick to tick.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    last: Option<(Instant, Totals)>,
    ratio: f64,
    /// Decayed count of permits that came back, and the seconds for which they were held.
    served: f64,
    held_seconds: f64,
}

impl Demand {
    /// The figures of another moment. The first tick only remembers; a tick at the same moment as
    /// the last one, or before it, changes nothing.
    pub fn tick(&mut self, now: Instant, totals: &Totals, figures: &Figures) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, *totals));
            self.ratio = concurrency(figures, 0.0);
            return;
        };
        let elapsed = now.saturating_duration_since(then).as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        self.last = Some((now, *totals));

        let keep = (-elapsed / SERVICE_MEMORY.as_secs_f64()).exp();
        let served = totals.service_count.saturating_sub(before.service_count);
        let held = totals.service_sum.saturating_sub(before.service_sum);
        self.served = self.served * keep + served as f64;
        self.held_seconds = self.held_seconds * keep + held.as_secs_f64();

        let rejects = totals
            .capacity_rejects()
            .saturating_sub(before.capacity_rejects());
        let refused = rejects as f64 / elapsed * self.mean_service_seconds();
        let follow = 1.0 - (-elapsed / FOLLOW.as_secs_f64()).exp();
        self.ratio += (concurrency(figures, refused) - self.ratio) * follow;
    }

    /// Demand over the configured limit; more than 1 when it exceeds capacity. Always finite.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ratio
    }

    /// What a request holds its permit for, lately. 0 until one has been measured, so that until
    /// then rejects count for nothing; the queue and what is in flight already say "full".
    #[must_use]
    pub fn mean_service_seconds(&self) -> f64 {
        if self.served > f64::EPSILON {
            self.held_seconds / self.served
        } else {
            0.0
        }
    }
}

/// `refused` is in requests of the default cost.
fn concurrency(figures: &Figures, refused: f64) -> f64 {
    let units = figures.in_flight_units as f64
        + figures.queued_units as f64
        + refused * f64::from(UNITS_PER_TASK);
    units / f64::from(figures.limit_units_configured.max(1))
}
