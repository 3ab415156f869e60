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
        + figures.queued_units() as f64
        + refused * f64::from(UNITS_PER_TASK);
    units / f64::from(figures.limit_units_configured.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::RejectReason;
    use crate::telemetry::PolicyFigures;
    use crate::telemetry::names::PHASES;

    /// Ten permits, so many of them taken, so many waiting.
    fn figures(in_flight: u32, queued: u32) -> Figures {
        let units = |requests| u64::from(requests) * u64::from(UNITS_PER_TASK);
        Figures {
            permit_limit: 10,
            permit_limit_configured: 10,
            limit_units_configured: 10 * UNITS_PER_TASK,
            available_units: units(10 - in_flight),
            in_flight,
            in_flight_units: units(in_flight),
            queued,
            queued_bytes: 0,
            queue_oldest: Duration::ZERO,
            target_memory: 10,
            memory_per_task: 1,
            phase: PHASES[0],
            policy: PolicyFigures::default(),
        }
    }

    /// A minute of ticks of one second with these changes per second; the ratio after it.
    fn after_a_minute(figures: &Figures, rejects: u64, served: u64, each: Duration) -> f64 {
        let (mut demand, mut totals) = (Demand::default(), Totals::default());
        let start = Instant::now();
        for second in 0..=60 {
            demand.tick(start + Duration::from_secs(second), &totals, figures);
            totals.rejected[RejectReason::QueueWait as usize] += rejects;
            totals.rejected[RejectReason::Draining as usize] += 1000;
            totals.service_count += served;
            totals.service_sum += each * u32::try_from(served).expect("few");
        }
        demand.ratio()
    }

    #[track_caller]
    fn near(ratio: f64, expected: f64) {
        assert!((ratio - expected).abs() < 0.001, "{ratio}, not {expected}");
    }

    #[test]
    fn it_is_the_concurrency_that_the_clients_want() {
        let second = Duration::from_secs(1);
        near(after_a_minute(&figures(0, 0), 0, 0, second), 0.0);
        near(after_a_minute(&figures(5, 0), 0, 50, second / 10), 0.5);
        near(after_a_minute(&figures(10, 5), 0, 100, second / 10), 1.5);
        // 100 rejects per second of 0.2 s each would have needed 20 more permits.
        near(after_a_minute(&figures(10, 5), 100, 50, second / 5), 3.5);
    }

    #[test]
    fn it_stays_finite_whatever_comes() {
        let much = after_a_minute(
            &figures(10, u32::MAX),
            u64::MAX / 100,
            1,
            Duration::MAX / 100,
        );
        assert!(much.is_finite() && much > 1.0);
        let nothing_measured = after_a_minute(&figures(10, 0), 1000, 0, Duration::ZERO);
        near(nothing_measured, 1.0);
        let no_limit = Figures {
            limit_units_configured: 0,
            ..figures(1, 0)
        };
        assert!(after_a_minute(&no_limit, 1, 1, Duration::ZERO).is_finite());
    }

    #[test]
    fn a_burst_raises_it_and_is_forgotten_over_some_ticks() {
        let (mut demand, totals) = (Demand::default(), Totals::default());
        let start = Instant::now();
        let mut second = 0;
        let mut tick = |demand: &mut Demand, figures| {
            demand.tick(start + Duration::from_secs(second), &totals, &figures);
            second += 1;
            demand.ratio()
        };
        near(tick(&mut demand, figures(0, 0)), 0.0);
        let one = tick(&mut demand, figures(10, 10));
        assert!((0.3..0.4).contains(&one), "a fifth of the way: {one}");
        let many = (0..20).map(|_| tick(&mut demand, figures(10, 10))).last();
        assert!(many.is_some_and(|ratio| ratio > 1.95), "{many:?}");
        let later = (0..5).map(|_| tick(&mut demand, figures(0, 0))).last();
        assert!(later.is_some_and(|ratio| ratio < 0.8), "{later:?}");
        // No time has passed: nothing changes, and nothing is divided by zero.
        let before = demand.ratio();
        for _ in 0..2 {
            demand.tick(start, &totals, &figures(10, 10));
        }
        near(demand.ratio(), before);
    }

    #[test]
    fn the_pace_of_the_ticks_does_not_matter() {
        let totals = Totals::default();
        let start = Instant::now();
        let run = |millis: u64| {
            let mut demand = Demand::default();
            demand.tick(start, &totals, &figures(0, 0));
            for at in 1..=10_000 / millis {
                let now = start + Duration::from_millis(at * millis);
                demand.tick(now, &totals, &figures(10, 0));
            }
            demand.ratio()
        };
        near(run(100), run(2000));
    }
}
