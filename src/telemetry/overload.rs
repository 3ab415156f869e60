//! When overload begins and when it is over. Pure: time and figures are arguments.
//!
//! It begins with the first reject for lack of capacity and ends when there has been none for
//! [`QUIET`] and nobody is queued. What is told then is how long it was and what it cost.

use std::time::{Duration, Instant};

use super::classes::ByReason;
use super::metrics::Totals;
use crate::admission::RejectReason;

/// How long there must be no reject before overload is over.
pub const QUIET: Duration = Duration::from_secs(5);

/// Whether weir is refusing for lack of capacity.
#[derive(Clone, Debug, Default)]
pub struct Overload {
    seen: Totals,
    episode: Option<Episode>,
}

/// An overload that is on.
#[derive(Clone, Debug)]
struct Episode {
    began: Instant,
    last_reject: Instant,
    before: Totals,
    queue_peak: u32,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first requests were refused.
    Began(Report),
    /// None has been for a while.
    Ended(Report),
}

/// The figures of an overload, from its begin to the tick that tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Capacity rejects by reason, in the order of [`RejectReason::ALL`]; 0 for other reasons.
    pub rejected: ByReason,
    /// The most requests seen waiting.
    pub queue_peak: u32,
    /// From the first reject seen to the last.
    pub lasted: Duration,
}

impl Overload {
    /// The figures of another moment, with how many requests wait.
    pub fn tick(&mut self, now: Instant, totals: &Totals, queued: u32) -> Option<Event> {
        let more = totals.capacity_rejects() > self.seen.capacity_rejects();
        let before = std::mem::replace(&mut self.seen, *totals);
        let Some(episode) = &mut self.episode else {
            if !more {
                return None;
            }
            let episode = Episode {
                began: now,
                last_reject: now,
                before,
                queue_peak: queued,
            };
            let report = episode.report(totals);
            self.episode = Some(episode);
            return Some(Event::Began(report));
        };
        episode.queue_peak = episode.queue_peak.max(queued);
        if more {
            episode.last_reject = now;
        }
        let quiet = now.saturating_duration_since(episode.last_reject) >= QUIET;
        if !quiet || queued > 0 {
            return None;
        }
        let report = episode.report(totals);
        self.episode = None;
        Some(Event::Ended(report))
    }

    /// Whether overload has begun and not ended.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.episode.is_some()
    }
}

impl Episode {
    fn report(&self, totals: &Totals) -> Report {
        Report {
            rejected: RejectReason::ALL.map(|reason| {
                if reason.is_capacity() {
                    totals.reason(reason) - self.before.reason(reason)
                } else {
                    0
                }
            }),
            queue_peak: self.queue_peak,
            lasted: self.last_reject.saturating_duration_since(self.began),
        }
    }
}

impl Report {
    /// Capacity rejects of every reason.
    #[must_use]
    pub fn rejects(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// `queue_depth=3 queue_wait=10`: the reasons that occurred.
    #[must_use]
    pub fn by_reason(&self) -> String {
        by_reason(&self.rejected)
    }
}

/// The reasons that occurred, each with its count.
pub(super) fn by_reason(counts: &ByReason) -> String {
    let parts: Vec<String> = RejectReason::ALL
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{}={count}", reason.label()))
        .collect();
    parts.join(" ")
}

impl Event {
    /// Writes the line.
    pub fn log(&self) {
        match self {
            Self::Began(report) => tracing::warn!(
                rejected = report.rejects(),
                by_reason = report.by_reason(),
                queue_peak = report.queue_peak,
                "overload began: requests are refused for lack of permits"
            ),
            Self::Ended(report) => tracing::warn!(
                rejected = report.rejects(),
                by_reason = report.by_reason(),
                queue_peak = report.queue_peak,
                lasted_ms = u64::try_from(report.lasted.as_millis()).unwrap_or(u64::MAX),
                "overload ended"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look per entry: second, rejects by then, draining rejects by then, waiting.
    fn play(script: &[(u64, u64, u64, u32)]) -> Vec<(u64, Event)> {
        let start = Instant::now();
        let mut overload = Overload::default();
        let mut events = Vec::new();
        for &(second, rejects, draining, queued) in script {
            let mut totals = Totals::default();
            totals.rejected[RejectReason::QueueWait as usize] = rejects;
            totals.rejected[RejectReason::Draining as usize] = draining;
            let now = start + Duration::from_secs(second);
            if let Some(event) = overload.tick(now, &totals, queued) {
                assert_eq!(overload.is_on(), matches!(event, Event::Began(_)));
                events.push((second, event));
            }
        }
        events
    }

    #[test]
    fn it_begins_with_a_reject_and_ends_when_it_has_been_quiet() {
        let events = play(&[
            (0, 0, 0, 9),
            (1, 3, 0, 9),
            (2, 10, 0, 50),
            (3, 10, 0, 4),
            (6, 10, 0, 0),
            (7, 10, 0, 0),
            (8, 10, 0, 0),
            (20, 11, 0, 1),
        ]);
        let [
            (1, Event::Began(began)),
            (7, Event::Ended(ended)),
            (20, Event::Began(again)),
        ] = events.as_slice()
        else {
            panic!("{events:?}");
        };
        assert_eq!((began.rejects(), began.queue_peak), (3, 9));
        assert_eq!((ended.rejects(), ended.queue_peak), (10, 50));
        assert_eq!(ended.lasted, Duration::from_secs(1), "first to last reject");
        assert_eq!(ended.by_reason(), "queue_wait=10");
        assert_eq!(again.rejects(), 1, "counted from nothing");
    }

    #[test]
    fn it_does_not_end_while_somebody_waits() {
        let events = play(&[(0, 1, 0, 5), (6, 1, 0, 5), (60, 1, 0, 1), (61, 1, 0, 0)]);
        let seconds: Vec<u64> = events.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 61]);
    }

    #[test]
    fn a_late_reject_prolongs_it() {
        let events = play(&[(0, 1, 0, 0), (4, 2, 0, 0), (8, 2, 0, 0), (9, 2, 0, 0)]);
        let seconds: Vec<u64> = events.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 9]);
    }

    #[test]
    fn refusing_because_of_a_drain_is_no_overload() {
        assert_eq!(play(&[(0, 0, 0, 0), (1, 0, 5, 3), (2, 0, 99, 0)]), []);
        let events = play(&[(0, 1, 50, 0), (10, 1, 70, 0)]);
        assert!(matches!(&events[1].1, Event::Ended(report) if report.rejects() == 1));
    }
}
