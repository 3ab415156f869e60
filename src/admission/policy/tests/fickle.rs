//! Clients leave at any moment, also between two looks at the same one.

use proptest::prelude::*;

use super::super::super::settings::{Discipline, Switch};
use super::*;

/// Waits for as many looks.
#[derive(Debug)]
struct Fickle(Cell<u32>);

impl Waiter for Fickle {
    fn is_waiting(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

proptest! {
    /// Mutation: the end of a head's wait is looked up without counting the husks that this drops:
    /// the pick goes round for ever.
    #[test]
    fn whoever_leaves_between_two_looks_is_dropped_and_counted(
        entries in prop::collection::vec((0_u32..6, 1_u32..3000, 0_u64..4, 1_u64..50), 1..40),
        free in 0_u32..3000,
        codel: bool,
        tenants: bool,
        backfill_percent in 0_u8..60,
        newest_first: bool,
    ) {
        let mut now = Instant::now();
        let mut settings = one_class(|class| {
            class.codel = if codel { Switch::On } else { Switch::Off };
            class.discipline = if newest_first { Discipline::Lifo } else { Discipline::Fifo };
        });
        settings.backfill_percent = backfill_percent;
        settings.tenants = tenants.then(Default::default);
        let mut policy = Policy::new(settings, now);
        for &(looks, units, tenant, wait) in &entries {
            let request = Request {
                units,
                tenant: Some(TenantKey::new(tenant)),
                ..Request::default()
            };
            let until = now + Duration::from_millis(wait);
            policy.push(Queued::new(Fickle(Cell::new(looks)), request, now, until));
        }
        // Nothing comes, so each look lets somebody go, or ends the round.
        for _ in 0..200 {
            match policy.pick(now, free, 3000) {
                Turn::Grant(_, charge) => policy.finished(now, charge, MILLI, Sample::Served),
                Turn::Refuse(..) => {}
                Turn::Hold { .. } | Turn::Empty => now += MILLI,
            }
        }
        prop_assert!(policy.is_empty(), "{} are left", policy.len());
        prop_assert!(matches!(policy.pick(now, free, 3000), Turn::Empty));
    }
}
