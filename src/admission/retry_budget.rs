//! How many requests may be sent to the backend a second time: pure, and told the time.
//!
//! The same budget bounds the retries that clients send: a share of the first attempts that were
//! admitted (`policy/door.rs`).
//!
//! Each request is repeated once at most, but a backend that drops every connection would then
//! get twice the load just when it can bear it least. So retries are bounded in sum, too: to a
//! share of the requests of the last ten seconds, and a few per second beside it, without which a
//! quiet backend's stale connections would cost requests. **In the slots that count at any moment
//! there are never more retries than that.**

use std::time::Duration;

use super::Decimal;

/// Over how many seconds requests and retries are counted, the one that has begun included.
pub const RETRY_WINDOW_SECONDS: u32 = 10;

const SLOTS: usize = RETRY_WINDOW_SECONDS as usize;

/// How many retries there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// As a share of the requests.
    pub share: Decimal,
    /// How many more per second, whatever the requests.
    pub per_second: u32,
}

/// Counts requests and retries by the second.
#[derive(Clone, Debug, Default)]
pub struct RetryBudget {
    slots: [Slot; SLOTS],
    /// The second of the last look.
    second: u64,
    /// The requests until then.
    requests: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// Takes note that there have been so many requests until `now`, a time since the start. What
    /// came since the last look counts for the second of that look, so that nothing counts for
    /// longer than it should; whoever looks once a second loses little by it.
    pub fn observe(&mut self, now: Duration, requests: u64) {
        let new = requests.saturating_sub(self.requests);
        self.requests = self.requests.max(requests);
        self.slot().requests += new;
        let second = now.as_secs().max(self.second);
        for skipped in 1..=(second - self.second).min(SLOTS as u64) {
            self.slots[place(self.second + skipped)] = Slot::default();
        }
        self.second = second;
    }

    /// Whether one more retry fits; if so, it is counted.
    pub fn try_retry(&mut self, now: Duration, requests: u64, limits: RetryLimits) -> bool {
        self.observe(now, requests);
        let requests = self.slots.iter().map(|slot| slot.requests).sum();
        let retries: u64 = self.slots.iter().map(|slot| slot.retries).sum();
        let beside = u64::from(limits.per_second) * u64::from(RETRY_WINDOW_SECONDS);
        let most = limits.share.of(requests).saturating_add(beside);
        let fits = retries < most;
        if fits {
            self.slot().retries += 1;
        }
        fits
    }

    fn slot(&mut self) -> &mut Slot {
        &mut self.slots[place(self.second)]
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SLOTS as u64).expect("less than ten")
}

#[cfg(test)]
mod tests;
