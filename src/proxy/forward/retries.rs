//! Sending a request a second time, within the budget that all requests share.

use std::time::{Duration, Instant};

use crate::proxy::Shared;
use crate::proxy::settings::Settings;

impl Shared {
    /// Whether one more request may be sent again. Counted either way.
    pub(in crate::proxy) fn may_retry(&self, settings: &Settings) -> bool {
        let metrics = &self.telemetry.metrics;
        let requests = metrics.admitted();
        let fits = self
            .retries
            .lock()
            .expect("nothing panics under it")
            .try_retry(self.since_start(), requests, settings.retries);
        if fits {
            metrics.upstream_retry();
        } else {
            metrics.upstream_retry_denied();
        }
        fits
    }

    /// Tells the budget how many requests there have been. Called once a second, so that a request
    /// itself costs nothing for it.
    pub(in crate::proxy) fn observe_requests(&self) {
        let requests = self.telemetry.metrics.admitted();
        self.retries
            .lock()
            .expect("nothing panics under it")
            .observe(self.since_start(), requests);
    }

    fn since_start(&self) -> Duration {
        Instant::now().saturating_duration_since(self.epoch)
    }
}
