//! One line of waiting requests, in order of arrival, taken from either end.

use std::collections::VecDeque;
use std::time::Instant;

use super::request::Queued;
use super::waiter::{Order, Waiter};

/// How far behind the head to look for somebody smaller.
const BACKFILL_DEPTH: usize = 16;

/// Waiting requests, oldest at the front, and the sum of their units.
#[derive(Debug)]
pub(super) struct Line<W> {
    entries: VecDeque<Queued<W>>,
    /// Of all entries, husks included.
    units: u64,
    /// Room kept when the line is empty; what a burst grew beyond it is given back.
    room_kept: usize,
    /// Whether a husk was dropped since the last look.
    lost: bool,
}

impl<W: Waiter> Line<W> {
    pub(super) fn new(room_kept: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            units: 0,
            room_kept,
            lost: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn units(&self) -> u64 {
        self.units
    }

    pub(super) fn push(&mut self, entry: Queued<W>) {
        self.units += u64::from(entry.request.units);
        self.entries.push_back(entry);
    }

    /// To where a pick in this order took it from.
    pub(super) fn put_back(&mut self, entry: Queued<W>, order: Order) {
        self.units += u64::from(entry.request.units);
        match order {
            Order::Fifo => self.entries.push_front(entry),
            Order::Lifo => self.entries.push_back(entry),
        }
    }

    /// Who is next. Husks at that end are dropped.
    pub(super) fn next(&mut self, order: Order) -> Option<&Queued<W>> {
        while !self.end(order)?.waiter.is_waiting() {
            self.take(order);
            self.lost = true;
        }
        self.end(order)
    }

    fn end(&self, order: Order) -> Option<&Queued<W>> {
        match order {
            Order::Fifo => self.entries.front(),
            Order::Lifo => self.entries.back(),
        }
    }

    pub(super) fn take(&mut self, order: Order) -> Option<Queued<W>> {
        let taken = match order {
            Order::Fifo => self.entries.pop_front(),
            Order::Lifo => self.entries.pop_back(),
        }?;
        self.taken(&taken);
        Some(taken)
    }

    fn taken(&mut self, entry: &Queued<W>) {
        self.units -= u64::from(entry.request.units);
        self.give_room_back();
    }

    /// When the oldest arrived. Husks before it are dropped.
    pub(super) fn oldest(&mut self) -> Option<Instant> {
        self.next(Order::Fifo).map(|entry| entry.arrived)
    }

    /// Whether somebody waits beside the oldest. Husks right behind it are dropped.
    pub(super) fn has_second(&mut self) -> bool {
        while let Some(second) = self.entries.get(1) {
            if second.waiter.is_waiting() {
                return true;
            }
            self.lost = true;
            if let Some(husk) = self.entries.remove(1) {
                self.taken(&husk);
            }
        }
        false
    }

    /// Takes the first of the next few that fits into so many units of such a limit, still waits,
    /// and whose wait has not ended.
    pub(super) fn take_fitting(
        &mut self,
        now: Instant,
        order: Order,
        free: u32,
        limit: u32,
    ) -> Option<Queued<W>> {
        let len = self.entries.len();
        let fits = |entry: &Queued<W>| {
            entry.request.units.min(limit) <= free
                && entry.ended(now).is_none()
                && entry.waiter.is_waiting()
        };
        let at = (0..len.min(BACKFILL_DEPTH))
            .map(|step| match order {
                Order::Fifo => step,
                Order::Lifo => len - 1 - step,
            })
            .find(|at| fits(&self.entries[*at]))?;
        let taken = self.entries.remove(at)?;
        self.taken(&taken);
        Some(taken)
    }

    /// Whether somebody has given up since the last look.
    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Everybody, oldest first.
    pub(super) fn into_entries(self) -> VecDeque<Queued<W>> {
        self.entries
    }

    /// Lets go of every husk.
    pub(super) fn purge(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.waiter.is_waiting());
        self.lost |= self.entries.len() < before;
        self.units = self
            .entries
            .iter()
            .map(|entry| u64::from(entry.request.units))
            .sum();
        self.give_room_back();
    }

    /// Gives back what a burst grew, also when the line never quite empties after it. Only when
    /// three quarters lie idle: half of those left must then go, or as many again come, before the
    /// room changes once more, and they pay for it.
    fn give_room_back(&mut self) {
        let (len, room) = (self.entries.len(), self.entries.capacity());
        if room > self.room_kept && len <= room / 4 {
            self.entries.shrink_to((2 * len).max(self.room_kept));
        }
    }
}
