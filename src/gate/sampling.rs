//! How many of the permits that nobody waited for tell how long they were held: all until service
//! times are known, then one in sixteen, and fewer the more there are: it costs next to nothing.

use std::time::{Duration, Instant};

/// What is looked at as one.
const WINDOW: Duration = Duration::from_millis(500);
/// With more than this in a window, half as many do: 200 in a second know enough.
const MANY: u32 = 100;
/// With fewer, twice as many.
const FEW: u32 = 25;
/// Of so many, one does where there are few.
pub(super) const COMMON: u32 = 16;
/// Of more than this many, one always does.
const RAREST: u32 = 1024;

/// Adapts the share to how often it is told.
#[derive(Debug)]
pub(super) struct Sampling {
    begun: Instant,
    told: u32,
    /// One in so many tells.
    one_in: u32,
}

impl Sampling {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            told: 0,
            one_in: COMMON,
        }
    }

    /// One has told.
    pub(super) fn told(&mut self) {
        self.told += 1;
    }

    /// Of how many one is to tell from now on.
    pub(super) fn one_in(&mut self, now: Instant, is_measured: bool) -> u32 {
        if !is_measured {
            return 1;
        }
        if self.told > MANY {
            self.one_in = (self.one_in * 2).min(RAREST);
        } else if now.saturating_duration_since(self.begun) < WINDOW {
            return self.one_in;
        } else if self.told < FEW {
            self.one_in = (self.one_in / 2).max(COMMON);
        }
        (self.begun, self.told) = (now, 0);
        self.one_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many permits in each of these milliseconds; how many of the last second's told, and the
    /// share at the end.
    fn run(sampling: &mut Sampling, from: Instant, millis: u32, each: u32) -> (u32, u32) {
        let (mut one_in, mut all, mut told) = (sampling.one_in, 0, 0);
        for milli in 0..millis {
            let now = from + Duration::from_millis(milli.into());
            for _ in 0..each {
                all += 1;
                if all % one_in == 0 {
                    sampling.told();
                    told += u32::from(milli + 1000 >= millis);
                }
            }
            one_in = sampling.one_in(now, true);
        }
        (told, one_in)
    }

    #[test]
    fn enough_tell_when_they_are_many_and_one_in_sixteen_when_they_are_few() {
        let start = Instant::now();
        let mut sampling = Sampling::new(start);
        assert_eq!(sampling.one_in(start, false), 1, "nothing is known yet");
        let (told, one_in) = run(&mut sampling, start, 3000, 1);
        assert_eq!((told, one_in), (62, COMMON), "1,000/s");

        let later = start + Duration::from_secs(10);
        let (told, one_in) = run(&mut sampling, later, 5000, 100);
        assert!((50..=250).contains(&told), "of 100,000/s {told} told");
        assert!(one_in >= 256, "{one_in}");

        // Some seconds after it has become quiet it is as it was.
        let quiet = later + Duration::from_secs(10);
        assert_eq!(run(&mut sampling, quiet, 6000, 0), (0, COMMON));
    }

    #[test]
    fn some_tell_whatever_the_rate() {
        let start = Instant::now();
        let mut sampling = Sampling::new(start);
        let (told, one_in) = run(&mut sampling, start, 2000, 1000);
        assert_eq!(one_in, RAREST);
        assert!(told > 500, "of 1,000,000/s {told} told");
    }
}
