//! Who a request belongs to, and where that tenant is kept: exactly up to a bound, and beyond it
//! in hashed buckets by shuffle sharding.
//!
//! A tenant is a number: whatever names it was hashed with a secret seed by the caller. Up to the
//! bound each has a **slot** of its own, which is given to another once nothing is left to
//! remember. When every slot is taken, a newcomer goes to a **bucket**: of a hand of
//! [`HAND`] out of [`BUCKETS`], chosen by its hash, the one with the least queued (Kubernetes'
//! priority and fairness does the same). A light tenant suffers only if every bucket of its hand is
//! also in a heavy one's: with four heavy ones, three times in a million by APF's tables for 128
//! buckets and hands of eight, and a few in a hundred thousand for six.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::seed::mix;

/// Buckets that tenants beyond the bound share.
pub const BUCKETS: u32 = 128;
/// Buckets that one tenant chooses from.
pub const HAND: u32 = 6;
/// Slots looked at for one that can be forgotten, per newcomer: what bounds the search.
const SWEEP: u32 = 8;

/// A tenant, as a number that its name was hashed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantKey(u64);

impl TenantKey {
    /// The tenant of this hash.
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        Self(hash)
    }

    /// The hash.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Slots for the tenants that are known exactly.
#[derive(Clone, Debug)]
pub(super) struct Table {
    max: u32,
    seed: u64,
    slots: HashMap<u64, u32, BuildHasherDefault<Already>>,
    keys: Vec<u64>,
    /// Where the search for a slot to forget goes on: a clock's hand.
    sweep: u32,
}

impl Table {
    pub(super) fn new(max: u32, seed: u64) -> Self {
        Self {
            max,
            seed,
            slots: HashMap::default(),
            keys: Vec::new(),
            sweep: 0,
        }
    }

    /// The tenant's slot, if need be one that may be forgotten; `None` if none is found.
    pub(super) fn slot(
        &mut self,
        tenant: TenantKey,
        forgettable: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let key = mix(tenant.get() ^ self.seed);
        if let Some(slot) = self.slots.get(&key) {
            return Some(*slot);
        }
        let known = u32::try_from(self.keys.len()).expect("at most `max`");
        let slot = if known < self.max {
            self.keys.push(key);
            known
        } else {
            let slot = (0..SWEEP.min(known))
                .map(|step| (self.sweep + step) % known)
                .find(|slot| forgettable(*slot));
            self.sweep = (self.sweep + SWEEP) % known.max(1);
            let slot = slot?;
            let before = std::mem::replace(&mut self.keys[slot as usize], key);
            self.slots.remove(&before);
            slot
        };
        self.slots.insert(key, slot);
        Some(slot)
    }

    /// The bucket of a tenant that has no slot: of its hand, the one with the least `load`.
    pub(super) fn bucket(&self, tenant: TenantKey, load: impl Fn(u32) -> u64) -> u32 {
        // A hand without repetition: each card is drawn from those that are left.
        let mut word = mix(tenant.get() ^ self.seed);
        let mut hand = [0; HAND as usize];
        for drawn in 0..HAND {
            let left = u64::from(BUCKETS - drawn);
            let mut card = u32::try_from(word % left).expect("less than the buckets");
            word /= left;
            // `hand[..drawn]` is in order: step over what is drawn already.
            let mut place = 0;
            while place < drawn && hand[place as usize] <= card {
                card += 1;
                place += 1;
            }
            hand.copy_within(place as usize..drawn as usize, place as usize + 1);
            hand[place as usize] = card;
        }
        hand.into_iter()
            .min_by_key(|bucket| load(*bucket))
            .expect("a hand of six")
    }
}

/// The keys are spread already: hashing them again would be for nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Already(u64);

impl Hasher for Already {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn slots_are_exact_up_to_the_bound_and_given_on_when_forgettable() {
        let mut table = Table::new(100, 3);
        let mut taken = BTreeSet::new();
        for key in 0..100 {
            taken.insert(
                table
                    .slot(TenantKey::new(key), |_| false)
                    .expect("there is room"),
            );
        }
        assert_eq!(taken.len(), 100, "one each");
        assert_eq!(table.slot(TenantKey::new(100), |_| false), None);
        let again = table.slot(TenantKey::new(7), |_| false);
        assert!(again.is_some_and(|slot| taken.contains(&slot)));
        // One can be forgotten: it is found within a hundred newcomers, eight at a look.
        let found = (200..300).find_map(|key| table.slot(TenantKey::new(key), |slot| slot == 42));
        assert_eq!(found, Some(42));
        assert_eq!(table.slots.len(), 100);
    }

    #[test]
    fn a_hand_is_six_different_buckets_and_the_lightest_is_taken() {
        let table = Table::new(0, 9);
        let mut hits = BTreeMap::<u32, u32>::new();
        for key in 0..10_000 {
            let asked = std::cell::RefCell::new(BTreeSet::new());
            let taken = table.bucket(TenantKey::new(key), |bucket| {
                asked.borrow_mut().insert(bucket);
                u64::from(BUCKETS - bucket)
            });
            let asked = asked.into_inner();
            assert_eq!(asked.len(), HAND as usize, "{asked:?}");
            assert!(asked.iter().all(|bucket| *bucket < BUCKETS));
            assert_eq!(
                asked.last(),
                Some(&taken),
                "the lightest has the highest number here"
            );
            for bucket in asked {
                *hits.entry(bucket).or_default() += 1;
            }
        }
        // 469 on average: every bucket is in use, none far more than others.
        assert!(hits.len() == BUCKETS as usize && hits.values().all(|n| (350..600).contains(n)));
    }

    #[test]
    fn a_light_tenant_has_a_bucket_without_heavy_ones() {
        let table = Table::new(0, 11);
        let mut load = [0_u64; BUCKETS as usize];
        for heavy in 0..4 {
            // A heavy tenant fills its whole hand.
            for _ in 0..60 {
                let bucket = table.bucket(TenantKey::new(heavy), |b| load[b as usize]);
                load[bucket as usize] += 1;
            }
        }
        let squashed = (1000..101_000)
            .filter(|key| {
                let bucket = table.bucket(TenantKey::new(*key), |b| load[b as usize]);
                load[bucket as usize] > 0
            })
            .count();
        assert!(squashed < 30, "{squashed} of 100,000");
    }
}
