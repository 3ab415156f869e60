//! Who gets the next permit, and who has waited too long: pure, and told the time.
//!
//! The scheduler holds what the gate has received from its channel and not yet granted. It never
//! touches the semaphore; it is told how many units are free and answers with a [`Pick`].

use std::collections::VecDeque;
use std::time::Instant;

/// Room kept when the queue is empty; what a burst grew beyond it is given back.
const IDLE_CAPACITY: usize = 64;

/// In what order waiting requests are granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Fifo,
    /// Newest first: under overload the newest client is the one most likely to be still there.
    Lifo,
}

/// Somebody who waits, as far as the scheduler needs to know them.
pub trait Waiter {
    /// False once the client left or the wait ended: the entry is then a husk.
    fn is_waiting(&self) -> bool;
}

/// One place in the queue.
#[derive(Debug)]
pub struct Entry<W> {
    /// Who waits.
    pub waiter: W,
    /// What a grant costs, before it is clamped to the budget of the day.
    pub units: u32,
    /// When it was queued.
    pub arrived: Instant,
    /// When its wait ends.
    pub deadline: Instant,
}

/// What the scheduler says when asked who is next.
#[derive(Debug)]
pub enum Pick<W> {
    /// This one, at this many units.
    Grant(Entry<W>, u32),
    /// This one's wait has ended; let it go and ask again.
    Expired(Entry<W>),
    /// The next one does not fit yet.
    Hold,
    /// Nobody waits.
    Empty,
}

/// Holds the waiting entries in order of arrival; [`Order`] says from which end they are taken.
#[derive(Debug)]
pub struct Scheduler<W> {
    entries: VecDeque<Entry<W>>,
}

impl<W> Default for Scheduler<W> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
        }
    }
}

impl<W: Waiter> Scheduler<W> {
    /// Takes in a new arrival.
    pub fn push(&mut self, entry: Entry<W>) {
        self.entries.push_back(entry);
    }

    /// Entries held, husks included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held, not even a husk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says who is next, given `free` units of a limit of `limit` units. Husks met on the way are
    /// dropped. A cost above the limit is clamped to it now, not on arrival: after a shrink a
    /// request that was to run alone would otherwise wait for ever.
    pub fn pick(&mut self, now: Instant, order: Order, free: u32, limit: u32) -> Pick<W> {
        loop {
            let Some(entry) = self.next(order) else {
                return Pick::Empty;
            };
            let waiting = entry.waiter.is_waiting();
            let expired = entry.deadline <= now;
            let units = entry.units.min(limit);
            if waiting && !expired && units > free {
                return Pick::Hold;
            }
            let Some(entry) = self.take(order) else {
                return Pick::Empty;
            };
            match (waiting, expired) {
                (false, _) => {}
                (true, true) => return Pick::Expired(entry),
                (true, false) => return Pick::Grant(entry, units),
            }
        }
    }

    /// Takes back a pick that could not be granted after all, to its old place.
    pub fn put_back(&mut self, entry: Entry<W>, order: Order) {
        match order {
            Order::Fifo => self.entries.push_front(entry),
            Order::Lifo => self.entries.push_back(entry),
        }
    }

    /// Lets go of every husk. The caller does it when husks are more than half, so that the cost
    /// of a purge is paid for by the departures that made it necessary.
    pub fn purge(&mut self) {
        self.entries.retain(|entry| entry.waiter.is_waiting());
        self.give_room_back();
    }

    /// When the one who has waited longest arrived. Husks in front of it are dropped.
    pub fn oldest(&mut self) -> Option<Instant> {
        while let Some(entry) = self.entries.front() {
            if entry.waiter.is_waiting() {
                return Some(entry.arrived);
            }
            self.take(Order::Fifo);
        }
        None
    }

    fn next(&self, order: Order) -> Option<&Entry<W>> {
        match order {
            Order::Fifo => self.entries.front(),
            Order::Lifo => self.entries.back(),
        }
    }

    fn take(&mut self, order: Order) -> Option<Entry<W>> {
        let taken = match order {
            Order::Fifo => self.entries.pop_front(),
            Order::Lifo => self.entries.pop_back(),
        };
        self.give_room_back();
        taken
    }

    /// Gives back what a burst grew, also when the queue never quite empties after it. Only when
    /// three quarters lie idle: half of those left must then go, or as many again come, before the
    /// room changes once more, and they pay for it.
    fn give_room_back(&mut self) {
        let (len, room) = (self.entries.len(), self.entries.capacity());
        if room > IDLE_CAPACITY && len <= room / 4 {
            self.entries.shrink_to((2 * len).max(IDLE_CAPACITY));
        }
    }
}

#[cfg(test)]
mod tests;
