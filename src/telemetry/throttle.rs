//! At most one line per second of a kind, and how many were kept back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two lines of a kind.
const EVERY: Duration = Duration::from_secs(1);

/// Lets one in a second through. Time is an argument: since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// Microseconds before which nothing passes.
    closed_until: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    /// `Some` if a line may be written now, with how many were kept back since the last one.
    pub(super) fn pass(&self, now: Duration) -> Option<u64> {
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let closed_until = self.closed_until.load(Ordering::Relaxed);
        let next = now.saturating_add(EVERY.as_secs() * 1_000_000);
        // Of several that come at once, the one that moves the mark writes the line.
        if now < closed_until
            || self
                .closed_until
                .compare_exchange(closed_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_passes_and_tells_how_many_did_not() {
        let throttle = Throttle::default();
        let at = |millis| throttle.pass(Duration::from_millis(millis));
        assert_eq!(at(0), Some(0), "the first");
        assert_eq!(at(1), None);
        assert_eq!(at(999), None);
        assert_eq!(at(1000), Some(2));
        assert_eq!(at(1001), None);
        assert_eq!(at(9000), Some(1));
    }

    #[test]
    fn of_many_at_once_one_passes_and_none_is_forgotten() {
        let throttle = Throttle::default();
        let passed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1000)
                            .filter(|_| throttle.pass(Duration::from_secs(7)).is_some())
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum::<usize>()
        });
        assert_eq!(passed, 1);
        let told = throttle.pass(Duration::from_secs(8));
        assert_eq!(told, Some(3999));
    }
}
