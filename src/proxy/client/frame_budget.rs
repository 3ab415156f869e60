//! A token bucket for frames of HTTP/2 that also earns by other things than time. Pure.

use std::time::{Duration, Instant};

/// Frames beside messages that may come at once. h2load and browsers send a handful, gRPC a few per
/// megabyte; 10,000 take some 10 ms of one core.
pub(super) const BURST: u32 = 10_000;

/// As many more in each second: far above any keep-alive or measurement of bandwidth.
const PER_SECOND: u32 = 100;

/// How many frames may still come.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    filled_at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled_at: now,
        }
    }

    /// More may come, as long as no more than that is left.
    pub(super) fn earn(&mut self, frames: u32, most: u32) {
        self.left = self.left.saturating_add(frames).min(most);
    }

    /// Whether there was one left. What time has brought is looked at only when there is none.
    pub(super) fn take(&mut self, clock: impl Fn() -> Instant) -> bool {
        if self.left == 0 {
            let now = clock();
            self.left = grown(now.saturating_duration_since(self.filled_at));
            self.filled_at = now;
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

/// What the budget has gained in that time.
fn grown(since: Duration) -> u32 {
    let frames = since.as_millis() * u128::from(PER_SECOND) / 1000;
    u32::try_from(frames).unwrap_or(BURST).min(BURST)
}
