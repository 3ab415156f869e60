//! An open-loop load generator.
//!
//! **Arrivals never wait for completions**, and latency counts from the moment a request was
//! *scheduled*, so that a server that stalls cannot hide it by slowing its clients down
//! (coordinated omission). The same seed gives the same arrivals. The timer is exact to a millisecond.

mod arrivals;
mod client;
mod plan;
mod report;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use arrivals::Schedule;
use client::Client;
pub use plan::{Arrivals, Bound, Plan, Protocol, Template};
use report::Outcome;
pub use report::{FailureKind, Progress, Report};

/// Sends what the plan says and waits for every answer, each at most `plan.timeout`.
///
/// `progress` follows the run as it goes. Dropping the future ends the run and its connections.
pub async fn run(plan: Plan, progress: Arc<Progress>) -> Report {
    let client = Arc::new(Client::new(&plan));
    let report = Arc::new(Mutex::new(Report::default()));
    let mut exchanges = JoinSet::new();
    let start = Instant::now();
    for offset in Schedule::new(&plan) {
        let scheduled = start + offset;
        // The timer ticks in milliseconds and rounds up. What a request is late by counts as its
        // latency, so that a run never looks better than it was.
        tokio::time::sleep_until(scheduled).await;
        while exchanges.try_join_next().is_some() {}
        progress.begin();
        if exchanges.len() >= plan.max_outstanding {
            let outcome = Outcome::Failed(FailureKind::NotSent);
            record(&report, &progress, &outcome, scheduled);
            continue;
        }
        let (client, report, progress) = (
            Arc::clone(&client),
            Arc::clone(&report),
            Arc::clone(&progress),
        );
        let timeout = plan.timeout;
        exchanges.spawn(async move {
            let deadline = scheduled + timeout;
            let (outcome, connection) = timeout_at(deadline, client.exchange())
                .await
                .unwrap_or((Outcome::Failed(FailureKind::Timeout), None));
            record(&report, &progress, &outcome, scheduled);
            if let Some(connection) = connection {
                // Past the deadline the connection is dropped, and so closed.
                let _ = timeout_at(deadline, client.keep(connection)).await;
            }
        });
    }
    while exchanges.join_next().await.is_some() {}
    let mut report = std::mem::take(&mut *hold(&report));
    report.elapsed = start.elapsed();
    report
}

fn record(report: &Mutex<Report>, progress: &Progress, outcome: &Outcome, scheduled: Instant) {
    let latency = Instant::now().saturating_duration_since(scheduled);
    progress.end(outcome);
    hold(report).record(outcome, latency);
}

/// A panic in between leaves a report that is short by one request, never a broken one.
fn hold(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
