//! A client connection's place among those that may be open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::proxy::Shared;
use crate::telemetry::Telemetry;

/// A connection's place among those that are open; dropping it gives it up.
#[derive(Debug)]
pub(in crate::proxy) struct Place {
    shared: Arc<Shared>,
    load: Arc<AtomicUsize>,
}

impl Place {
    pub(in crate::proxy) fn take(shared: Arc<Shared>, load: Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        shared.telemetry.metrics.connection_opened();
        Self { shared, load }
    }

    /// Where what happens on the connection is counted.
    pub(in crate::proxy) fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.shared.telemetry.metrics.connection_closed();
        self.shared.place_freed.notify_one();
    }
}
