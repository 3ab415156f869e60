//! New settings while requests wait and run.
//!
//! Whoever waits keeps its place in time: all are queued anew, in order of arrival, by the new
//! rules, with the wait they were given. What was measured stays. Permits that are out are charged
//! to nobody any more: for as long as they last, a class may hold more than its share.

use std::time::Instant;

use super::super::settings::Settings;
use super::super::waiter::Waiter;
use super::Policy;

impl<W: Waiter> Policy<W> {
    /// Goes by these settings from now on. Linear in those who wait.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new) does.
    pub fn reconfigure(&mut self, now: Instant, settings: Settings) {
        let fresh = Self::new(settings, now);
        let mut old = std::mem::replace(self, fresh);
        self.era = old.era + 1;
        self.epoch = old.epoch;
        self.drain = old.drain;
        self.retries = old.retries;
        self.first_attempts = old.first_attempts;
        self.error = old.error;
        if let (Some(all), Some(before)) = (&mut self.service, old.service) {
            *all = before;
        }
        let mut waiting = Vec::new();
        waiting.extend(old.blocked.take().map(|blocked| blocked.entry));
        for (at, class) in old.classes.into_iter().enumerate() {
            let heir = if at < self.classes.len() { at } else { 0 };
            waiting.append(&mut self.classes[heir].inherit(class));
        }
        waiting.sort_by_key(|entry| entry.arrived);
        for entry in waiting {
            self.push(entry);
        }
    }
}
