//! When a refused client should try again: from the wait it would have, spread so that they do not
//! all come back at once.

use std::time::Duration;

use super::micros;
use super::seed::Seed;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// What a refused client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushback {
    after: Duration,
    again: Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Later,
    Never,
}

impl Pushback {
    /// `clamp(predicted wait, 1 s, 30 s) × U(0.5, 1.5)`.
    #[must_use]
    pub fn spread(predicted: Duration, chance: &mut Seed) -> Self {
        let wait = predicted.clamp(SHORTEST, LONGEST);
        Self {
            after: wait / 2 + share_of(wait, chance),
            again: Again::Later,
        }
    }

    /// At least `earliest`, when the client's own bucket has a token again, and up to half more.
    #[must_use]
    pub fn not_before(earliest: Duration, chance: &mut Seed) -> Self {
        Self {
            after: earliest + share_of(earliest / 2, chance),
            again: Again::Later,
        }
    }

    /// The same for whom enough retries have been sent already: gRPC can be told not to try again.
    #[must_use]
    pub fn never(self) -> Self {
        Self {
            again: Again::Never,
            ..self
        }
    }

    /// The value of `Retry-After`: whole seconds, rounded up, at least one.
    #[must_use]
    pub fn seconds(self) -> u64 {
        micros(self.after).div_ceil(1_000_000).max(1)
    }

    /// The value of `grpc-retry-pushback-ms`; negative to say "do not".
    #[must_use]
    pub fn grpc_millis(self) -> i64 {
        match self.again {
            Again::Later => i64::try_from(self.after.as_millis()).unwrap_or(i64::MAX),
            Again::Never => -1,
        }
    }
}

/// Between none and all of `whole`.
fn share_of(whole: Duration, chance: &mut Seed) -> Duration {
    Duration::from_micros(chance.below(micros(whole) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn never_is_minus_one_to_grpc() {
        let told = Pushback::spread(Duration::from_secs(9), &mut Seed::new(1)).never();
        assert_eq!(told.grpc_millis(), -1);
        assert!((5..=14).contains(&told.seconds()), "HTTP cannot say never");
    }

    proptest! {
        #[test]
        fn half_to_one_and_a_half_of_the_predicted_wait(wait in 0_u64..120_000, seed: u64) {
            let mut chance = Seed::new(seed);
            let told = Pushback::spread(Duration::from_millis(wait), &mut chance);
            let clamped = i64::try_from(wait.clamp(1000, 30_000)).expect("small");
            prop_assert!(told.grpc_millis() >= clamped / 2);
            prop_assert!(told.grpc_millis() <= clamped * 3 / 2);
            let seconds = told.seconds();
            prop_assert!((1..=45).contains(&seconds));
            prop_assert!(i64::try_from(seconds).expect("small") * 1000 >= told.grpc_millis());
        }

        #[test]
        fn never_before_the_bucket_has_a_token(wait in 0_u64..10_000_000, seed: u64) {
            let earliest = Duration::from_micros(wait);
            let told = Pushback::not_before(earliest, &mut Seed::new(seed)).after;
            prop_assert!(told >= earliest && told <= earliest * 3 / 2);
        }
    }

    #[test]
    fn clients_are_spread() {
        let mut chance = Seed::new(7);
        let mut told: Vec<_> = (0..100)
            .map(|_| Pushback::spread(Duration::from_secs(4), &mut chance).grpc_millis())
            .collect();
        told.sort_unstable();
        assert!(told[10] < 2600 && told[90] > 5400, "{told:?}");
    }
}
