//! Envoy's adaptive concurrency filter, by its documentation: the gradient controller.
//!
//! Every minute (±15 %) the limit is pinned to 3 until 50 requests have given the *minRTT*, their
//! median. Otherwise, every 100 ms: `gradient = clamp((minRTT + 25 %) ÷ sampleRTT, 0.5, 2)` with
//! the median of that window, `limit = limit × gradient + √(limit × gradient)`, at most 1000. What
//! is over the limit is refused at once.

use super::{Action, Server};
use crate::chance::Chance;
use crate::tally::quantile;
use crate::world::{Id, Request, SECOND};

const PINNED: f64 = 3.0;
const MOST: f64 = 1000.0;
const BUFFER: f64 = 0.25;
const WINDOW: u64 = SECOND / 10;
const REQUESTS: usize = 50;

pub(crate) struct AdaptiveConcurrency {
    limit: f64,
    /// The limit before minRTT was measured, while it is.
    measuring: Option<f64>,
    min_rtt: f64,
    next_measure: u64,
    window_ends: u64,
    samples: Vec<f64>,
    in_flight: u32,
    chance: Chance,
}

impl AdaptiveConcurrency {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            limit: PINNED,
            measuring: Some(PINNED),
            min_rtt: 0.0,
            next_measure: 0,
            window_ends: 0,
            samples: Vec::new(),
            in_flight: 0,
            chance: Chance::new(seed ^ 0xe),
        }
    }

    fn sample(&mut self, now: u64, rtt: f64) {
        self.samples.push(rtt);
        if let Some(before) = self.measuring {
            if self.samples.len() >= REQUESTS {
                self.min_rtt = quantile(&self.samples, 0.5);
                self.samples.clear();
                self.measuring = None;
                self.limit = before;
                self.window_ends = now + WINDOW;
                let jitter = self.chance.between(1.0, 1.15);
                self.next_measure = now + (60.0 * jitter * SECOND as f64) as u64;
            }
        } else if now >= self.next_measure {
            self.measuring = Some(self.limit);
            self.limit = PINNED;
            self.samples.clear();
        } else if now >= self.window_ends {
            let sample = quantile(&self.samples, 0.5);
            self.samples.clear();
            self.window_ends = now + WINDOW;
            let gradient = (self.min_rtt * (1.0 + BUFFER) / sample).clamp(0.5, 2.0);
            let limit = self.limit * gradient;
            self.limit = (limit + limit.sqrt()).clamp(PINNED, MOST);
        }
    }
}

impl Server for AdaptiveConcurrency {
    fn arrive(&mut self, _: u64, _: Id, _: &Request) -> Action {
        if f64::from(self.in_flight) + 1.0 > self.limit {
            return Action::Refuse("concurrency_limit");
        }
        self.in_flight += 1;
        Action::Run
    }

    fn next(&mut self, _: u64) -> Option<(Id, Action)> {
        None
    }

    fn finished(&mut self, now: u64, _: Id, request: &Request, served: bool) {
        self.in_flight -= 1;
        if served {
            self.sample(now, (now - request.started) as f64);
        }
    }

    fn left(&mut self, _: u64, _: Id) {}
}
