//! The figures of the demo, and what follows from them.

use std::time::Duration;

use super::DemoArgs;

const MIB: u64 = 1 << 20;

/// What both halves share.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// What all requests together may use.
    pub(super) target_bytes: u64,
    /// What one occupies.
    pub(super) per_task_bytes: u64,
    /// In hundredths, so that the arithmetic here is exact.
    pub(super) safety_percent: u64,
    /// How long one takes.
    pub(super) service: Duration,
    /// How many times its capacity is offered.
    pub(super) overload: u64,
    /// How long one may wait for a permit.
    pub(super) max_wait: Duration,
    /// How long each half lasts.
    pub(super) duration: Duration,
    /// What the arrivals are drawn from.
    pub(super) seed: u64,
}

impl Setup {
    /// A backend that is slow rather than busy: without the gate, 5 × 25/s × 2 MiB are 250 MiB of
    /// fresh memory touched per second, which costs a slow core a fifth of its time, and by Little's
    /// law 125 requests at once, which is 250 MiB. (Twice the rate failed beside a busy compiler.)
    pub(super) fn new(args: &DemoArgs) -> Self {
        Self {
            target_bytes: 64 * MIB,
            per_task_bytes: 2 * MIB,
            safety_percent: 80,
            service: Duration::from_secs(1),
            overload: 5,
            max_wait: Duration::from_millis(500),
            duration: Duration::from_secs(args.seconds),
            seed: args.seed,
        }
    }

    /// The formula of the product.
    pub(super) fn permits(&self) -> u64 {
        self.target_bytes * self.safety_percent / (self.per_task_bytes * 100)
    }

    /// What the permits can serve per second.
    pub(super) fn capacity_per_second(&self) -> f64 {
        self.permits() as f64 / self.service.as_secs_f64()
    }

    /// What arrives per second.
    pub(super) fn offered_per_second(&self) -> f64 {
        self.capacity_per_second() * self.overload as f64
    }

    /// What may be on its way at once without the gate: six times what is expected, so that a
    /// machine that cannot keep up ends the demo with failed requests, not by running out of memory.
    pub(super) fn max_outstanding(&self) -> usize {
        usize::try_from(6 * self.overload * self.permits()).unwrap_or(usize::MAX)
    }

    /// What weir is told, as `key=value`.
    pub(super) fn settings(&self) -> Vec<String> {
        vec![
            format!("memory.target_memory={}", self.target_bytes),
            format!("memory.memory_per_task={}", self.per_task_bytes),
            format!("memory.safety_factor=0.{:02}", self.safety_percent),
            format!("queue.max_wait={}ms", self.max_wait.as_millis()),
            String::from("drain.lame_duck=0s"),
        ]
    }

    pub(super) fn introduction(&self) -> String {
        let Self {
            target_bytes,
            per_task_bytes,
            safety_percent,
            ..
        } = self;
        format!(
            "A backend may use {} for requests; each takes {} for {} ms.\n\
             permits  = floor({} / {} x 0.{safety_percent}) = {}\n\
             capacity = {} / {} s = {:.0} requests/s\n\
             offered  = {} x capacity = {:.0} requests/s, for {} s without weir and {} s with it",
            mib(*target_bytes),
            mib(*per_task_bytes),
            self.service.as_millis(),
            mib(*target_bytes),
            mib(*per_task_bytes),
            self.permits(),
            self.permits(),
            self.service.as_secs_f64(),
            self.capacity_per_second(),
            self.overload,
            self.offered_per_second(),
            self.duration.as_secs(),
            self.duration.as_secs(),
        )
    }
}

/// Bytes for people.
pub(super) fn mib(bytes: u64) -> String {
    format!("{} MiB", (bytes + MIB / 2) / MIB)
}

#[cfg(test)]
impl Setup {
    pub(super) fn for_tests() -> Self {
        Self::new(&DemoArgs {
            keep: false,
            seconds: 10,
            seed: 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_fit_together() {
        let setup = Setup::for_tests();
        assert_eq!(setup.permits(), 25);
        let gated_bytes = setup.permits() * setup.per_task_bytes;
        let ungated_bytes =
            setup.offered_per_second() * setup.service.as_secs_f64() * setup.per_task_bytes as f64;
        assert!(gated_bytes < setup.target_bytes * 9 / 10);
        assert!(ungated_bytes > 3.0 * setup.target_bytes as f64);
        let bound_bytes = setup.max_outstanding() as u64 * setup.per_task_bytes;
        assert!(
            bound_bytes < 2048 * MIB * 4 / 5,
            "well below 2 GiB: {}",
            mib(bound_bytes)
        );
    }
}
