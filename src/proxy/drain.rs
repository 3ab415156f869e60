//! Going away without losing a request.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Proxy;
use super::stage::Stage;
use crate::lifecycle::{DrainSettings, Lifecycle, Phase};

/// How often the drain looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);

/// How long nothing may happen before connections that only idle are closed.
const QUIET: Duration = Duration::from_secs(1);

/// How long tunnels get to end by themselves once they are told.
const PARTING: Duration = Duration::from_secs(2);

impl Proxy {
    /// Goes from serving to stopped. [`Proxy::accept`] is to be ended when this enters
    /// [`Phase::Draining`]. Returns how many requests were left over.
    ///
    /// 1. Lame duck: everything is served, and told to go.
    /// 2. Draining: no new connections; what comes on open ones is served.
    /// 3. When two seconds are left, tunnels are told to end; when `max_wait` is left, new requests
    ///    are refused, so that who is queued last can still be served in time.
    /// 4. Connections that only idle are closed last: a request may be on its way on one of them. Who
    ///    still takes the tail of a response has until the deadline for it.
    pub async fn drain(&self, lifecycle: &Lifecycle, settings: &DrainSettings) -> u64 {
        lifecycle.enter(Phase::LameDuck);
        self.shared.progress.enter(Stage::Leaving);
        sleep(settings.lame_duck).await;

        lifecycle.enter(Phase::Draining);
        self.shared.progress.enter(Stage::Draining);
        let begun = Instant::now();
        let deadline = begun + settings.timeout;
        let max_wait = self.shared.gate.longest_wait();
        let part_at = begun + settings.timeout.saturating_sub(max_wait.max(PARTING));
        let refuse_at = begun + settings.timeout.saturating_sub(max_wait);
        let mut is_quiet = timeout_at(part_at, self.quiet()).await.is_ok();
        if !is_quiet {
            self.shared.progress.enter(Stage::Parting);
            is_quiet = timeout_at(refuse_at, self.quiet()).await.is_ok();
        }
        if !is_quiet {
            self.shared.gate.refuse_new();
            self.shared.progress.enter(Stage::Refusing);
            let _ = timeout_at(deadline, self.at_rest()).await;
        }
        self.shared.progress.enter(Stage::Closing);
        let _ = timeout_at(deadline, self.at_rest()).await;
        // What idles ends by itself; what is left is still being taken by its client.
        let _ = timeout_at(deadline, self.empty()).await;
        let left = self.requests_left();
        lifecycle.enter(Phase::Stopped);
        left
    }

    fn requests_left(&self) -> u64 {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// Resolves when no request has begun or ended for a while and none is in progress, or no
    /// connection is left.
    async fn quiet(&self) {
        let metrics = &self.shared.telemetry.metrics;
        let mut finished = metrics.totals().requests.iter().sum::<u64>();
        let mut since = Instant::now();
        while metrics.connections() > 0 && since.elapsed() < QUIET {
            sleep(LOOK).await;
            let now_finished = metrics.totals().requests.iter().sum::<u64>();
            if self.requests_left() > 0 || now_finished != finished {
                finished = now_finished;
                since = Instant::now();
            }
        }
        self.at_rest().await;
    }

    async fn empty(&self) {
        while self.shared.telemetry.metrics.connections() > 0 {
            sleep(LOOK).await;
        }
    }

    async fn at_rest(&self) {
        while self.requests_left() > 0 {
            sleep(LOOK).await;
        }
    }
}
