//! A rate and a burst per tenant, in one instant per tenant.
//!
//! The generic cell rate algorithm (ITU-T I.371, as in many proxies): a tenant's *theoretical
//! arrival time* moves on by `1 ÷ rate` with each request, and a request conforms while that time
//! is no more than a burst ahead. The same as a token bucket, without a refill.
//!
//! Up to a bound every tenant has its own time. Beyond it, tenants share cells by shuffle sharding:
//! each has a hand of four out of [`CELLS`], the emptiest of which speaks for it, so two tenants
//! disturb one another only if all four collide with busy ones (a conservative count-min sketch).

use std::time::{Duration, Instant};

use super::micros;
use super::seed::mix;
use super::tenant::{Table, TenantKey};

/// Cells that tenants beyond the bound share.
const CELLS: usize = 4096;
const HAND: usize = 4;

/// How much a tenant may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantRate {
    /// Requests per second, at least 1.
    pub per_second: u32,
    /// Requests that may come at once, at least 1.
    pub burst: u32,
}

/// The rates of all tenants.
#[derive(Clone, Debug)]
pub struct TokenBuckets {
    rate: TenantRate,
    seed: u64,
    epoch: Instant,
    table: Table,
    /// Theoretical arrival times by slot of the table, in µs since the epoch.
    exact: Vec<u64>,
    shared: Vec<u64>,
}

impl TokenBuckets {
    /// One bucket for each of up to `exact_max` tenants, shared cells for the others.
    #[must_use]
    pub fn new(rate: TenantRate, exact_max: u32, seed: u64, epoch: Instant) -> Self {
        Self {
            rate,
            seed,
            epoch,
            table: Table::new(exact_max, seed),
            exact: Vec::new(),
            shared: Vec::new(),
        }
    }

    /// Takes a token of this tenant's; if there is none, says when there will be.
    pub fn try_take(&mut self, now: Instant, tenant: TenantKey) -> Result<(), Duration> {
        let now = micros(now.saturating_duration_since(self.epoch));
        let exact = &self.exact;
        let forgettable = |slot: u32| exact[slot as usize] <= now;
        match self.table.slot(tenant, forgettable) {
            Some(slot) => {
                let slot = slot as usize;
                if slot >= self.exact.len() {
                    self.exact.resize(slot + 1, 0);
                }
                self.exact[slot] = self.conform(now, self.exact[slot])?;
            }
            None => self.take_shared(now, tenant)?,
        }
        Ok(())
    }

    fn take_shared(&mut self, now: u64, tenant: TenantKey) -> Result<(), Duration> {
        if self.shared.is_empty() {
            self.shared = vec![0; CELLS];
        }
        let mut word = mix(tenant.get() ^ self.seed);
        let hand: [usize; HAND] = std::array::from_fn(|_| {
            word = mix(word.wrapping_add(0x9e37_79b9_7f4a_7c15));
            usize::try_from(word % CELLS as u64).expect("less than the cells")
        });
        let emptiest = hand.map(|cell| self.shared[cell]).into_iter().min();
        let next = self.conform(now, emptiest.unwrap_or_default())?;
        for cell in hand {
            self.shared[cell] = self.shared[cell].max(next);
        }
        Ok(())
    }

    /// The arrival time after this request, or how long until it conforms.
    fn conform(&self, now: u64, theoretical: u64) -> Result<u64, Duration> {
        let step = 1_000_000 / u64::from(self.rate.per_second.max(1));
        let ahead = step * u64::from(self.rate.burst.max(1) - 1);
        let theoretical = theoretical.max(now);
        match theoretical.checked_sub(now + ahead) {
            None | Some(0) => Ok(theoretical + step),
            Some(early) => Err(Duration::from_micros(early)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(per_second: u32, burst: u32, exact_max: u32) -> (TokenBuckets, Instant) {
        let now = Instant::now();
        let rate = TenantRate { per_second, burst };
        (TokenBuckets::new(rate, exact_max, 5, now), now)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (mut buckets, start) = buckets(10, 3, 8);
        let tenant = TenantKey::new(1);
        let taken = |buckets: &mut TokenBuckets, at: u64| {
            buckets.try_take(start + Duration::from_millis(at), tenant)
        };
        for _ in 0..3 {
            assert_eq!(taken(&mut buckets, 0), Ok(()));
        }
        assert_eq!(taken(&mut buckets, 0), Err(Duration::from_millis(100)));
        assert_eq!(taken(&mut buckets, 40), Err(Duration::from_millis(60)));
        assert_eq!(taken(&mut buckets, 100), Ok(()));
        assert_eq!(taken(&mut buckets, 100), Err(Duration::from_millis(100)));
        assert_eq!(
            buckets.try_take(start, TenantKey::new(2)),
            Ok(()),
            "another's is full"
        );
    }

    #[test]
    fn many_tenants_beyond_the_bound_do_not_starve_one_another() {
        let (mut buckets, start) = buckets(10, 5, 16);
        // Sixteen hold the exact places, and four hundred go beyond their rate.
        for key in 0..416 {
            for _ in 0..20 {
                let _ = buckets.try_take(start, TenantKey::new(key));
            }
        }
        let refused = (1000..2000)
            .filter(|key| buckets.try_take(start, TenantKey::new(*key)).is_err())
            .count();
        assert!(refused < 20, "{refused} of 1000 that had sent nothing");
        assert!(buckets.try_take(start, TenantKey::new(300)).is_err());
    }

    proptest! {
        /// In any stretch of time a tenant gets at most its rate times it and a burst, and whoever
        /// comes when it was told to gets its token.
        #[test]
        fn never_more_than_rate_and_burst(
            gaps in prop::collection::vec(0_u64..400, 1..200),
            per_second in 1_u32..50, burst in 1_u32..6, exact_max in 0_u32..2,
        ) {
            let (mut buckets, start) = buckets(per_second, burst, exact_max);
            let (mut at, mut taken) = (0, Vec::new());
            for gap in gaps {
                at += gap;
                let now = start + Duration::from_millis(at);
                match buckets.try_take(now, TenantKey::new(3)) {
                    Ok(()) => taken.push(at),
                    Err(wait) => {
                        let mut later = buckets.clone();
                        prop_assert_eq!(later.try_take(now + wait, TenantKey::new(3)), Ok(()));
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = (to - from) * u64::from(per_second) / 1000 + u64::from(burst) + 1;
                    prop_assert!((last - first + 1) as u64 <= most);
                }
            }
        }
    }
}
