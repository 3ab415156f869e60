//! In shadow mode: when requests would begin to be refused, and when it would be over. Pure.
//!
//! As with [overload](super::overload) it begins with the first and ends when there has been none
//! for [`QUIET`], so that a line at either end is all there is, whatever the load.

use std::time::{Duration, Instant};

use super::classes::ByReason;
use super::overload::{QUIET, by_reason};

/// Whether the gate would be refusing.
#[derive(Clone, Debug, Default)]
pub struct WouldReject {
    seen: ByReason,
    episode: Option<Episode>,
}

#[derive(Clone, Debug)]
struct Episode {
    began: Instant,
    last: Instant,
    before: ByReason,
    /// The largest limit that would have been enough so far, in permits.
    enough: f64,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first requests would have been refused.
    Began(Report),
    /// None would have been for a while.
    Ended(Report),
}

/// The figures from the begin to the tick that tells them.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What would have been refused, by reason.
    pub rejected: ByReason,
    /// How many permits would have been enough; infinite if more than can be told.
    pub enough: f64,
    /// From the first seen to the last.
    pub lasted: Duration,
}

impl WouldReject {
    /// The counts of another moment, and how many permits would have been enough lately.
    pub fn tick(&mut self, now: Instant, counts: &ByReason, enough: f64) -> Option<Event> {
        let more = counts.iter().zip(&self.seen).any(|(now, seen)| now > seen);
        let before = std::mem::replace(&mut self.seen, *counts);
        let Some(episode) = &mut self.episode else {
            if !more {
                return None;
            }
            let episode = Episode {
                began: now,
                last: now,
                before,
                enough,
            };
            let report = episode.report(counts);
            self.episode = Some(episode);
            return Some(Event::Began(report));
        };
        episode.enough = episode.enough.max(enough);
        if more {
            episode.last = now;
        }
        if now.saturating_duration_since(episode.last) < QUIET {
            return None;
        }
        let report = episode.report(counts);
        self.episode = None;
        Some(Event::Ended(report))
    }
}

impl Episode {
    fn report(&self, counts: &ByReason) -> Report {
        let mut rejected = *counts;
        for (count, before) in rejected.iter_mut().zip(&self.before) {
            *count = count.saturating_sub(*before);
        }
        Report {
            rejected,
            enough: self.enough,
            lasted: self.last.saturating_duration_since(self.began),
        }
    }
}

impl Event {
    /// Writes the line.
    pub fn log(&self) {
        let (Self::Began(report) | Self::Ended(report)) = self;
        let would_reject: u64 = report.rejected.iter().sum();
        let by_reason = by_reason(&report.rejected);
        // JSON has no infinity.
        let sufficient_permits = report.enough.is_finite().then_some(report.enough);
        match self {
            Self::Began(_) => tracing::info!(
                would_reject,
                by_reason,
                sufficient_permits,
                "shadow mode: requests would be refused from now on"
            ),
            Self::Ended(_) => tracing::info!(
                would_reject,
                by_reason,
                sufficient_permits,
                lasted_ms = u64::try_from(report.lasted.as_millis()).unwrap_or(u64::MAX),
                "shadow mode: no more requests would be refused"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::admission::RejectReason;
    use crate::telemetry::LogFormat;
    use crate::telemetry::log::tests::capture;

    fn counts(doomed: u64) -> ByReason {
        let mut counts = ByReason::default();
        counts[RejectReason::Doomed as usize] = doomed;
        counts
    }

    /// One look per entry: second, would-be rejects by then, permits that would have been enough.
    fn play(script: &[(u64, u64, f64)]) -> Vec<(u64, Event)> {
        let start = Instant::now();
        let mut watch = WouldReject::default();
        let looks = script.iter().filter_map(|&(second, doomed, enough)| {
            let now = start + Duration::from_secs(second);
            let event = watch.tick(now, &counts(doomed), enough)?;
            Some((second, event))
        });
        looks.collect()
    }

    #[test]
    fn it_begins_with_the_first_and_ends_when_there_are_no_more() {
        let events = play(&[
            (0, 0, 10.0),
            (1, 3, 12.0),
            (2, 10, 30.0),
            (6, 10, 25.0),
            (7, 10, 11.0),
            (8, 10, 11.0),
            (60, 11, 10.0),
        ]);
        let report = |doomed, enough, lasted| Report {
            rejected: counts(doomed),
            enough,
            lasted: Duration::from_secs(lasted),
        };
        let expected = [
            (1, Event::Began(report(3, 12.0, 0))),
            (7, Event::Ended(report(10, 30.0, 1))),
            (60, Event::Began(report(1, 10.0, 0))),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn the_lines_have_the_figures() {
        let log = capture(LogFormat::Json, "info", |_| {
            for (_, event) in play(&[(0, 5, f64::INFINITY), (9, 5, 1.0)]) {
                event.log();
            }
            let few = play(&[(0, 2, 7.0)]);
            few[0].1.log();
        });
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines[0]["would_reject"], 5);
        assert_eq!(lines[0]["by_reason"], "doomed=5");
        assert_eq!(lines[0].get("sufficient_permits"), None, "more than known");
        assert_eq!(lines[1]["lasted_ms"], 0);
        assert_eq!(lines[2]["sufficient_permits"], 7.0);
    }
}
