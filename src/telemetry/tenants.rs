//! Counts of the busiest tenants by name, and of all others together.
//!
//! Who is busy is found by a bounded table of frequent items (Misra and Gries 1982): whoever sends
//! more than one request in as many as the table has places is in it. Its counts are halved as time
//! goes on. Once a second the busiest get rows of their own; in between, a request costs a look at
//! a map that only that second replaces, and a step in the table if nobody else is there.
//!
//! **No series ever jumps**: what a tenant sent before it had a series stays in `other`, its series
//! begins at 0, and when it falls out the series vanishes. So a rate over all of them is right, and
//! `other` shows no burst that never was.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::metrics::{add, get};
use crate::admission::TenantKey;

/// The name of all that have no series of their own.
pub(super) const OTHER: &str = "other";

/// The most tenants that have one.
const TOP_MAX: usize = 100;

/// Rows: a row that becomes free is taken again last, when its last requests are long over.
const ROWS: usize = 2 * TOP_MAX + 1;

/// Tenants that are followed for each that is shown, and at least.
const FOLLOWED: (usize, usize) = (8, 64);

/// How much of a name is shown, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// After this long what was counted for the ranking counts half.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// How many more requests somebody must have sent, beyond a quarter more, to take another's place:
/// or two that send as much would change places all the time.
const LEAD: u64 = 16;

/// The place of a tenant's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TenantRow(u8);

impl TenantRow {
    /// Of requests that nobody is named for.
    pub(super) const NONE: Self = Self(u8::MAX);
    /// Of tenants that have no series of their own.
    const OTHER: Self = Self(0);
}

/// What was counted of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TenantCounts {
    pub(super) requests: u64,
    pub(super) rejected: u64,
}

#[derive(Debug, Default)]
struct Row {
    requests: AtomicU64,
    rejected: AtomicU64,
}

impl Row {
    fn counts(&self) -> TenantCounts {
        TenantCounts {
            requests: get(&self.requests),
            rejected: get(&self.rejected),
        }
    }
}

/// The counts of all tenants.
#[derive(Debug)]
pub(super) struct Tenants {
    is_on: AtomicBool,
    rows: Box<[Row]>,
    /// Who has a row.
    shown: ArcSwap<HashMap<TenantKey, TenantRow>>,
    ranking: Mutex<Ranking>,
}

#[derive(Debug)]
struct Ranking {
    /// How many are to be shown.
    top: usize,
    /// How many are followed.
    max: usize,
    followed: HashMap<TenantKey, Followed>,
    shown: Vec<Shown>,
    free: VecDeque<TenantRow>,
    halved: Option<Instant>,
}

#[derive(Debug)]
struct Followed {
    count: u64,
    name: [u8; NAME_BYTES_MAX],
    len: usize,
}

#[derive(Debug)]
struct Shown {
    key: TenantKey,
    label: String,
    row: TenantRow,
    /// What its row had counted before.
    base: TenantCounts,
}

impl Followed {
    fn new(name: &[u8]) -> Self {
        let len = name.len().min(NAME_BYTES_MAX);
        let mut kept = [0; NAME_BYTES_MAX];
        kept[..len].copy_from_slice(&name[..len]);
        Self {
            count: 1,
            name: kept,
            len,
        }
    }

    /// Printable ASCII whatever the name is, and nothing that a label would have to escape.
    fn label(&self) -> String {
        let name = self.name[..self.len].iter();
        name.map(|byte| match byte {
            b'"' | b'\\' => '?',
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        })
        .collect()
    }
}

impl Tenants {
    pub(super) fn new() -> Self {
        let rows = 1..u8::try_from(ROWS).expect("fewer rows than 256");
        Self {
            is_on: AtomicBool::new(false),
            rows: (0..ROWS).map(|_| Row::default()).collect(),
            shown: ArcSwap::default(),
            ranking: Mutex::new(Ranking {
                top: 0,
                max: 0,
                followed: HashMap::new(),
                shown: Vec::new(),
                free: rows.map(TenantRow).collect(),
                halved: None,
            }),
        }
    }

    /// How many are to have series of their own; `None` if tenants are not told apart.
    pub(super) fn configure(&self, top: Option<u32>) {
        let mut ranking = self.ranking();
        let top_now = usize::try_from(top.unwrap_or(0)).unwrap_or(TOP_MAX);
        ranking.top = top_now.min(TOP_MAX);
        ranking.max = match ranking.top {
            0 => 0,
            top => (FOLLOWED.0 * top).max(FOLLOWED.1),
        };
        if ranking.followed.len() > ranking.max {
            ranking.followed.clear();
        }
        let (max, known) = (ranking.max, ranking.followed.len());
        // So that nothing is allocated later.
        ranking.followed.reserve(max - known);
        ranking.drop_weakest();
        self.publish(&ranking);
        self.is_on.store(top.is_some(), Ordering::Relaxed);
    }

    /// The row of a tenant that has sent a request.
    pub(super) fn row(&self, tenant: TenantKey, name: &[u8]) -> TenantRow {
        if !self.is_on.load(Ordering::Relaxed) {
            return TenantRow::NONE;
        }
        // Where somebody else is at it, this request says nothing about who is busy: as good as
        // chance, and nobody waits.
        if let Ok(mut ranking) = self.ranking.try_lock() {
            ranking.saw(tenant, name);
        }
        let shown = self.shown.load();
        shown.get(&tenant).copied().unwrap_or(TenantRow::OTHER)
    }

    pub(super) fn finished(&self, row: TenantRow) {
        if let Some(row) = self.rows.get(usize::from(row.0)) {
            add(&row.requests);
        }
    }

    pub(super) fn rejected(&self, row: TenantRow) {
        if let Some(row) = self.rows.get(usize::from(row.0)) {
            add(&row.rejected);
        }
    }

    /// To be called about once a second: who has a series.
    pub(super) fn tick(&self, now: Instant) {
        let mut ranking = self.ranking();
        let halved = *ranking.halved.get_or_insert(now);
        if now.saturating_duration_since(halved) >= HALF_LIFE {
            ranking.halved = Some(now);
            ranking.followed.retain(|_, followed| {
                followed.count /= 2;
                followed.count > 0
            });
        }
        if ranking.rank(&self.rows) {
            self.publish(&ranking);
        }
    }

    /// Every series; none if tenants are not told apart.
    pub(super) fn all(&self) -> Vec<(String, TenantCounts)> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let ranking = self.ranking();
        let shown = ranking.shown.iter().map(|shown| {
            let counts = self.rows[usize::from(shown.row.0)].counts();
            let since = TenantCounts {
                requests: counts.requests - shown.base.requests,
                rejected: counts.rejected - shown.base.rejected,
            };
            (shown.label.clone(), since)
        });
        let other = (OTHER.to_owned(), self.rows[0].counts());
        shown.chain([other]).collect()
    }

    fn publish(&self, ranking: &Ranking) {
        let shown = ranking.shown.iter().map(|shown| (shown.key, shown.row));
        self.shown.store(Arc::new(shown.collect()));
    }

    fn ranking(&self) -> MutexGuard<'_, Ranking> {
        self.ranking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ranking {
    /// One more request of a tenant.
    fn saw(&mut self, tenant: TenantKey, name: &[u8]) {
        if let Some(followed) = self.followed.get_mut(&tenant) {
            followed.count += 1;
        } else if self.followed.len() < self.max {
            self.followed.insert(tenant, Followed::new(name));
        } else {
            // Each step down was paid for by a request that stepped up.
            self.followed.retain(|_, followed| {
                followed.count -= 1;
                followed.count > 0
            });
        }
    }

    fn count(&self, tenant: TenantKey) -> u64 {
        self.followed
            .get(&tenant)
            .map_or(0, |followed| followed.count)
    }

    /// Gives the busiest their places. True if anybody's changed.
    fn rank(&mut self, rows: &[Row]) -> bool {
        let is_shown = |key| self.shown.iter().any(|shown| shown.key == key);
        let mut others: Vec<(u64, TenantKey)> = self
            .followed
            .iter()
            .filter(|(key, _)| !is_shown(**key))
            .map(|(key, followed)| (followed.count, *key))
            .collect();
        others.sort_unstable();
        let mut has_changed = false;
        while let Some((count, key)) = others.pop() {
            let label = self.followed[&key].label();
            // Two series of one name would spoil the whole scrape.
            if label == OTHER || self.shown.iter().any(|shown| shown.label == label) {
                continue;
            }
            if self.shown.len() >= self.top {
                let Some((at, weakest)) = self.weakest() else {
                    break;
                };
                if count <= weakest + weakest / 4 + LEAD {
                    break;
                }
                self.drop_shown(at);
            }
            let Some(row) = self.free.pop_front() else {
                break;
            };
            self.shown.push(Shown {
                key,
                label,
                row,
                base: rows[usize::from(row.0)].counts(),
            });
            has_changed = true;
        }
        has_changed
    }

    /// Who of the shown has sent least, and how much.
    fn weakest(&self) -> Option<(usize, u64)> {
        let counts = self.shown.iter().map(|shown| self.count(shown.key));
        counts.enumerate().min_by_key(|(_, count)| *count)
    }

    fn drop_weakest(&mut self) {
        while self.shown.len() > self.top {
            let Some((at, _)) = self.weakest() else {
                return;
            };
            self.drop_shown(at);
        }
    }

    fn drop_shown(&mut self, at: usize) {
        let gone = self.shown.swap_remove(at);
        self.free.push_back(gone.row);
    }
}

#[cfg(test)]
mod tests;
