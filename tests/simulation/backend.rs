//! The backend: processor sharing that knows no limit, and suffers without one.
//!
//! Up to `capacity` permits' worth of requests run at full speed, side by side. Above it they share
//! that speed, and lose some more to one another (cache, paging, collection): with twice the
//! capacity in service, the sum of their speeds is `2^-thrash` of what it could be. Above
//! `memory` times the capacity the backend is killed, loses everybody, and starts anew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::world::Id;

#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendSpec {
    /// In permits.
    pub(crate) capacity: f64,
    pub(crate) thrash: f64,
    /// The multiple of the capacity at which it is killed.
    pub(crate) memory: f64,
    /// Seconds until it is back.
    pub(crate) restart: f64,
}

impl BackendSpec {
    pub(crate) fn of(capacity: f64) -> Self {
        Self {
            capacity,
            thrash: 0.5,
            memory: f64::INFINITY,
            restart: 5.0,
        }
    }
}

pub(crate) struct Backend {
    pub(crate) spec: BackendSpec,
    /// 1 is full speed, 0 is a stall.
    speed: f64,
    /// The work that each request in service has been given since the start, in µs.
    given: f64,
    /// When `given` was last brought up to date, in µs.
    at: u64,
    /// By the amount given at which they end.
    running: BinaryHeap<Reverse<(u64, Id)>>,
    /// The sum of their costs, in permits.
    cost: f64,
    /// What comes of a change is told from what was planned before it.
    pub(crate) version: u64,
}

/// Sub-microseconds of the heap's keys.
const FINE: f64 = 1024.0;

impl Backend {
    pub(crate) fn new(spec: BackendSpec) -> Self {
        Self {
            spec,
            speed: 1.0,
            given: 0.0,
            at: 0,
            running: BinaryHeap::new(),
            cost: 0.0,
            version: 0,
        }
    }

    /// At which speed each request is served.
    fn rate(&self) -> f64 {
        let crowd = (self.cost / self.spec.capacity).max(1.0);
        self.speed * crowd.powf(-1.0 - self.spec.thrash)
    }

    fn advance(&mut self, now: u64) {
        self.given += (now - self.at) as f64 * self.rate();
        self.at = now;
        self.version += 1;
    }

    pub(crate) fn set_speed(&mut self, now: u64, speed: f64) {
        self.advance(now);
        self.speed = speed;
    }

    pub(crate) fn start(&mut self, now: u64, id: Id, work: u64, cost: f64) {
        self.advance(now);
        let ends = (self.given + work as f64) * FINE;
        self.running.push(Reverse((ends as u64, id)));
        self.cost += cost;
    }

    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.cost > self.spec.capacity * self.spec.memory
    }

    /// Everybody who was in service.
    pub(crate) fn kill(&mut self, now: u64) -> Vec<Id> {
        self.advance(now);
        self.cost = 0.0;
        self.running.drain().map(|Reverse((_, id))| id).collect()
    }

    /// When the next one ends, if nothing changes.
    pub(crate) fn next_end(&self) -> Option<u64> {
        let Reverse((ends, _)) = self.running.peek()?;
        let rate = self.rate();
        let left = (*ends as f64 / FINE - self.given).max(0.0);
        (rate > 0.0).then(|| self.at + (left / rate).ceil() as u64)
    }

    /// The next of those that have ended.
    pub(crate) fn ended(&mut self, now: u64, cost_of: impl Fn(Id) -> f64) -> Option<Id> {
        self.advance(now);
        let Reverse((ends, id)) = *self.running.peek()?;
        if ends as f64 / FINE > self.given + 0.5 {
            return None;
        }
        self.running.pop();
        self.cost = (self.cost - cost_of(id)).max(0.0);
        Some(id)
    }
}
