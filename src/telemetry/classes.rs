//! Counts by class.
//!
//! A class is known by its **name**: when a reload moves it to another place, its counts go with
//! it, and a new name begins at 0 in a row of its own. A name that is configured no more keeps its
//! series, because its last requests are still under way, until so many others came after it that
//! its row is needed. Nothing is ever set back: what a row had before is its base.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::metrics::{add, get};
use crate::admission::{CLASSES_MAX, ClassId, DEFAULT_CLASS, Outcome, RejectReason};

/// As many as there can be at once, and as many again of earlier configurations.
const ROWS: usize = 2 * CLASSES_MAX;

/// One count for each reason, in the order of [`RejectReason::ALL`].
pub type ByReason = [u64; RejectReason::ALL.len()];

/// The place of a class's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClassRow(u8);

/// What was counted of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Finished requests, in the order of [`Outcome::ALL`].
    pub requests: [u64; Outcome::ALL.len()],
    /// Rejects by reason.
    pub rejected: ByReason,
    /// What would have been rejected, by reason.
    pub shadow_rejected: ByReason,
}

impl ClassCounts {
    /// Requests that are over.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Those that were served.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.requests[Outcome::Served as usize]
    }

    /// Those that were refused.
    #[must_use]
    pub fn rejects(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Those that would have been refused.
    #[must_use]
    pub fn shadow_rejects(&self) -> u64 {
        self.shadow_rejected.iter().sum()
    }
}

#[derive(Debug, Default)]
struct Row {
    requests: [AtomicU64; Outcome::ALL.len()],
    rejected: [AtomicU64; RejectReason::ALL.len()],
}

/// The counts of all classes.
#[derive(Debug)]
pub(super) struct Classes {
    rows: Box<[Row]>,
    /// For each class of the configuration its row. A class that it has no more keeps the row.
    places: [AtomicU8; CLASSES_MAX],
    /// The name of each row, for the log.
    names: ArcSwap<Vec<Arc<str>>>,
    book: Mutex<Book>,
}

/// Whose rows they are.
#[derive(Debug)]
struct Book {
    /// One for each row in use.
    entries: Vec<Entry>,
    /// The rows of the configuration's classes, in its order.
    configured: Vec<usize>,
    /// Configurations so far.
    generation: u64,
    /// What the gate had counted in the shadow for each place when it was last looked at.
    shadow_seen: [ByReason; CLASSES_MAX],
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// What the row had counted before, and the shadow's rejects.
    base: ClassCounts,
    shadow_rejected: ByReason,
    /// The last configuration that had the class.
    generation: u64,
}

impl Classes {
    /// With the default class alone.
    pub(super) fn new() -> Self {
        let classes = Self {
            rows: (0..ROWS).map(|_| Row::default()).collect(),
            places: std::array::from_fn(|_| AtomicU8::new(0)),
            names: ArcSwap::default(),
            book: Mutex::new(Book {
                entries: Vec::new(),
                configured: Vec::new(),
                generation: 0,
                shadow_seen: [[0; RejectReason::ALL.len()]; CLASSES_MAX],
            }),
        };
        classes.configure(&[DEFAULT_CLASS.to_owned()]);
        classes
    }

    /// The row of a class of the configuration.
    pub(super) fn row(&self, class: ClassId) -> ClassRow {
        let place = usize::from(class.0).min(CLASSES_MAX - 1);
        ClassRow(self.places[place].load(Ordering::Relaxed))
    }

    pub(super) fn finished(&self, row: ClassRow, outcome: Outcome) {
        add(&self.rows[usize::from(row.0)].requests[outcome as usize]);
    }

    pub(super) fn rejected(&self, row: ClassRow, reason: RejectReason) {
        add(&self.rows[usize::from(row.0)].rejected[reason as usize]);
    }

    /// The name of the class that has the row.
    pub(super) fn name(&self, row: ClassRow) -> Arc<str> {
        self.names.load()[usize::from(row.0)].clone()
    }

    /// The classes of a new configuration, in its order; at most [`CLASSES_MAX`].
    pub(super) fn configure(&self, names: &[String]) {
        let mut book = self.book();
        book.generation += 1;
        book.configured = names
            .iter()
            .take(CLASSES_MAX)
            .map(|name| self.row_of(&mut book, name))
            .collect();
        let shown = book.entries.iter().map(|entry| entry.name.clone());
        // First, so that a row that is counted in has a name.
        self.names.store(Arc::new(shown.collect()));
        for (place, row) in self.places.iter().zip(&book.configured) {
            let row = u8::try_from(*row).expect("fewer rows than 256");
            place.store(row, Ordering::Relaxed);
        }
    }

    /// The row of a name, which is a new one's if nobody had it.
    fn row_of(&self, book: &mut Book, name: &str) -> usize {
        let generation = book.generation;
        if let Some(row) = book.entries.iter().position(|entry| *entry.name == *name) {
            book.entries[row].generation = generation;
            return row;
        }
        let mut entry = Entry {
            name: name.into(),
            base: ClassCounts::default(),
            shadow_rejected: ByReason::default(),
            generation,
        };
        if book.entries.len() < ROWS {
            book.entries.push(entry);
            return book.entries.len() - 1;
        }
        let rows = book.entries.iter().enumerate();
        let (row, _) = rows
            .min_by_key(|(_, entry)| entry.generation)
            .expect("there are rows");
        entry.base = self.raw(row);
        book.entries[row] = entry;
        row
    }

    /// Takes note of what the gate has counted in the shadow, for each class of the configuration.
    /// It counts by place, so it is asked right before the places change.
    pub(super) fn note_shadow(&self, by_place: &[ByReason]) {
        let mut book = self.book();
        let Book {
            entries,
            configured,
            shadow_seen,
            ..
        } = &mut *book;
        for ((row, now), seen) in configured.iter().zip(by_place).zip(shadow_seen) {
            let counts = entries[*row].shadow_rejected.iter_mut();
            for ((count, now), seen) in counts.zip(now).zip(seen) {
                *count += now.saturating_sub(*seen);
                *seen = (*seen).max(*now);
            }
        }
    }

    /// Every name and its counts.
    pub(super) fn all(&self) -> Vec<(Arc<str>, ClassCounts)> {
        let book = self.book();
        let rows = 0..book.entries.len();
        rows.map(|row| self.counts(&book, row)).collect()
    }

    /// The names of the configuration, in its order, and their counts.
    pub(super) fn configured(&self) -> Vec<(Arc<str>, ClassCounts)> {
        let book = self.book();
        let rows = book.configured.iter();
        rows.map(|row| self.counts(&book, *row)).collect()
    }

    fn counts(&self, book: &Book, row: usize) -> (Arc<str>, ClassCounts) {
        let entry = &book.entries[row];
        let (mut counts, base) = (self.raw(row), &entry.base);
        for (count, base) in counts.requests.iter_mut().zip(&base.requests) {
            *count -= base;
        }
        for (count, base) in counts.rejected.iter_mut().zip(&base.rejected) {
            *count -= base;
        }
        counts.shadow_rejected = entry.shadow_rejected;
        (entry.name.clone(), counts)
    }

    /// What a row has counted, whoever had it.
    fn raw(&self, row: usize) -> ClassCounts {
        let Row { requests, rejected } = &self.rows[row];
        ClassCounts {
            requests: requests.each_ref().map(get),
            rejected: rejected.each_ref().map(get),
            shadow_rejected: ByReason::default(),
        }
    }

    /// Over all classes that ever were. Never less than before.
    pub(super) fn sum(&self) -> ClassCounts {
        let mut sum = ClassCounts::default();
        for row in 0..ROWS {
            let counts = self.raw(row);
            for (sum, count) in sum.requests.iter_mut().zip(counts.requests) {
                *sum += count;
            }
            for (sum, count) in sum.rejected.iter_mut().zip(counts.rejected) {
                *sum += count;
            }
        }
        let book = self.book();
        for seen in &book.shadow_seen {
            for (sum, count) in sum.shadow_rejected.iter_mut().zip(seen) {
                *sum += count;
            }
        }
        sum
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn served(classes: &Classes) -> Vec<(String, u64)> {
        let all = classes.all().into_iter();
        all.map(|(name, counts)| (name.to_string(), counts.requests[0]))
            .collect()
    }

    fn serve(classes: &Classes, place: u8, times: u64) {
        let row = classes.row(ClassId(place));
        (0..times).for_each(|_| classes.finished(row, Outcome::Served));
    }

    #[test]
    fn counts_go_with_the_name_when_a_reload_moves_it() {
        let classes = Classes::new();
        classes.configure(&names(&["default", "gold", "batch"]));
        serve(&classes, 1, 5);
        let under_way = classes.row(ClassId(1));
        classes.configure(&names(&["default", "batch", "gold"]));
        serve(&classes, 1, 3);
        serve(&classes, 2, 1);
        // One that was classified before the reload counts where it belongs.
        classes.finished(under_way, Outcome::Served);
        let expected = [("default", 0), ("gold", 7), ("batch", 3)];
        assert_eq!(
            served(&classes),
            expected.map(|(name, count)| (name.to_owned(), count))
        );
        let configured = classes.configured();
        let order: Vec<&str> = configured.iter().map(|(name, _)| &**name).collect();
        assert_eq!(order, ["default", "batch", "gold"]);
    }

    #[test]
    fn a_renamed_class_begins_at_0_and_the_old_name_keeps_its_counts() {
        let classes = Classes::new();
        classes.configure(&names(&["default", "old"]));
        serve(&classes, 1, 4);
        classes.configure(&names(&["default", "new"]));
        serve(&classes, 1, 1);
        classes.configure(&names(&["default"]));
        // A request that was classified by earlier rules.
        serve(&classes, 1, 1);
        let expected = [("default", 0), ("old", 4), ("new", 2)];
        assert_eq!(
            served(&classes),
            expected.map(|(name, count)| (name.to_owned(), count))
        );
        assert_eq!(&*classes.name(classes.row(ClassId(1))), "new");
        assert_eq!(classes.sum().requests[0], 6);
    }

    #[test]
    fn names_without_end_take_no_room_without_end_and_begin_at_0() {
        let classes = Classes::new();
        let mut before = 0;
        for round in 0..200 {
            let name = format!("c{round}");
            classes.configure(&names(&["default", &name]));
            let fresh = classes.configured()[1].1;
            assert_eq!(fresh, ClassCounts::default(), "{name}");
            serve(&classes, 1, round);
            let sum = classes.sum().requests[0];
            assert_eq!(sum, before + round);
            before = sum;
        }
        assert_eq!(classes.all().len(), ROWS);
        let kept = classes.all().iter().any(|(name, _)| &**name == "default");
        assert!(kept, "what is configured keeps its row");
    }

    #[test]
    fn the_shadows_counts_go_with_the_name_although_the_gate_counts_by_place() {
        let of = |count| {
            let mut counts = ByReason::default();
            counts[RejectReason::QueueWait as usize] = count;
            counts
        };
        let classes = Classes::new();
        classes.configure(&names(&["default", "a"]));
        classes.note_shadow(&[of(1), of(10)]);
        classes.note_shadow(&[of(1), of(12)]);
        classes.configure(&names(&["default", "b", "a"]));
        classes.note_shadow(&[of(1), of(15), of(4)]);
        let found: Vec<u64> = classes
            .all()
            .iter()
            .map(|(_, counts)| counts.shadow_rejected[RejectReason::QueueWait as usize])
            .collect();
        assert_eq!(found, [1, 16, 3], "default, a, b");
        assert_eq!(classes.sum().shadow_rejected, of(20));
    }
}
