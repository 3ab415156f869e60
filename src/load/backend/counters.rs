//! What the backend counts about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests whose work or response is not finished.
    pub in_flight: u64,
    /// The most that were ever in flight at once.
    pub max_in_flight: u64,
    /// Requests that began.
    pub started: u64,
    /// Requests whose response was handed over to its end. What was started, is not in flight and
    /// was not served was broken off.
    pub served: u64,
    /// Open connections.
    pub connections: u64,
    /// The most connections that were ever open at once.
    pub max_connections: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
}

impl Stats {
    /// The same as JSON, for `/__stats`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "started": self.started,
            "served": self.served,
            "connections": self.connections,
            "max_connections": self.max_connections,
            "accepted": self.accepted,
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    in_flight: Level,
    started: AtomicU64,
    served: AtomicU64,
    connections: Level,
    accepted: AtomicU64,
}

/// A level and the highest it ever had.
#[derive(Debug, Default)]
struct Level {
    now: AtomicU64,
    max: AtomicU64,
}

impl Level {
    fn rise(&self) {
        let now = self.now.fetch_add(1, Ordering::AcqRel) + 1;
        self.max.fetch_max(now, Ordering::AcqRel);
    }

    fn fall(&self) {
        self.now.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Counters {
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.started.fetch_add(1, Ordering::AcqRel);
        self.in_flight.rise();
        InFlight(Arc::clone(self))
    }

    pub(super) fn connect(self: &Arc<Self>) -> Connected {
        self.accepted.fetch_add(1, Ordering::AcqRel);
        self.connections.rise();
        Connected(Arc::clone(self))
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            in_flight: self.in_flight.now.load(Ordering::Acquire),
            max_in_flight: self.in_flight.max.load(Ordering::Acquire),
            started: self.started.load(Ordering::Acquire),
            served: self.served.load(Ordering::Acquire),
            connections: self.connections.now.load(Ordering::Acquire),
            max_connections: self.connections.max.load(Ordering::Acquire),
            accepted: self.accepted.load(Ordering::Acquire),
        }
    }
}

/// One request in flight, until it is dropped: also when its client left.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Counters>);

impl InFlight {
    /// The response is complete. To be called *before* its last byte is handed over: the peer may
    /// send the next request as soon as it has that byte, and the two never were in flight at once.
    pub(super) fn served(self) {
        self.0.served.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fall();
    }
}

/// One open connection.
pub(super) struct Connected(Arc<Counters>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fall();
    }
}
