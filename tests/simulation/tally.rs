//! What is counted in a run.

use std::collections::BTreeMap;

use super::world::{Request, SECOND, micros};

/// Of one class, tenant or size.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    /// First attempts.
    pub(crate) sent: u64,
    /// Answers in time.
    pub(crate) good: u64,
    /// Cost × time of all that was served, in permit-seconds.
    pub(crate) served: f64,
    /// The longest wait of one that was dispatched, in seconds.
    pub(crate) longest_wait: f64,
}

/// The figures of one run. Only what happens after the warm-up counts, but for the seconds.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    capacity: f64,
    from: u64,
    to: u64,
    /// Work done in time, in permit-seconds, by the second.
    pub(crate) good_by_second: Vec<f64>,
    pub(crate) by_class: BTreeMap<u64, Share>,
    pub(crate) by_tenant: BTreeMap<u64, Share>,
    /// By whole permits of cost.
    pub(crate) by_cost: BTreeMap<u64, Share>,
    pub(crate) reasons: BTreeMap<&'static str, u64>,
    /// From arrival to the end, of those that were dispatched, in seconds.
    latencies: Vec<f64>,
    /// What the backend took for them.
    services: Vec<f64>,
    pub(crate) expired_dispatches: u64,
    pub(crate) dispatches: u64,
    pub(crate) kills: u64,
    /// Of doomed refusals whose fate was followed: how many, and how many were right.
    pub(crate) doomed: (u64, u64),
    /// Held cost × time, in permit-seconds.
    pub(crate) held: f64,
    /// The mean error of predicted waits, relative to the mean wait.
    pub(crate) prediction_error: Option<f64>,
}

impl Tally {
    pub(crate) fn new(capacity: f64, warm_up: f64, seconds: f64) -> Self {
        Self {
            capacity,
            from: micros(warm_up),
            to: micros(seconds),
            good_by_second: vec![0.0; seconds.ceil() as usize + 1],
            by_class: BTreeMap::new(),
            by_tenant: BTreeMap::new(),
            by_cost: BTreeMap::new(),
            reasons: BTreeMap::new(),
            latencies: Vec::new(),
            services: Vec::new(),
            expired_dispatches: 0,
            dispatches: 0,
            kills: 0,
            doomed: (0, 0),
            held: 0.0,
            prediction_error: None,
        }
    }

    fn counts(&self, request: &Request) -> bool {
        request.arrived >= self.from && request.arrived + 2 * SECOND <= self.to
    }

    fn shares(&mut self, request: &Request, change: impl Fn(&mut Share)) {
        let sent = &request.sent;
        change(self.by_class.entry(u64::from(sent.class)).or_default());
        change(self.by_tenant.entry(sent.tenant).or_default());
        change(self.by_cost.entry(sent.cost as u64).or_default());
    }

    pub(crate) fn sent(&mut self, _now: u64, request: &Request) {
        if self.counts(request) && request.attempt == 1 {
            self.shares(request, |share| share.sent += 1);
        }
    }

    pub(crate) fn dispatched(&mut self, now: u64, request: &Request) {
        self.dispatches += 1;
        if request.sent.says_deadline && now >= request.deadline() {
            self.expired_dispatches += 1;
        }
        if self.counts(request) {
            let wait = (now - request.arrived) as f64 / SECOND as f64;
            self.shares(request, |share| {
                share.longest_wait = share.longest_wait.max(wait);
            });
        }
    }

    /// The backend is done with it.
    pub(crate) fn finished(&mut self, now: u64, request: &Request) {
        let held = (now - request.started) as f64 / SECOND as f64;
        if now >= self.from {
            let since = request.started.max(self.from);
            self.held += (now - since) as f64 / SECOND as f64 * request.sent.cost;
        }
        if self.counts(request) {
            self.latencies
                .push((now - request.arrived) as f64 / SECOND as f64);
            self.services.push(held);
            self.shares(request, |share| share.served += held * request.sent.cost);
        }
    }

    /// The client has its answer in time.
    pub(crate) fn good(&mut self, now: u64, request: &Request) {
        let work = request.sent.work as f64 / SECOND as f64 * request.sent.cost;
        let second = (now / SECOND) as usize;
        self.good_by_second[second] += work;
        if self.counts(request) {
            self.shares(request, |share| share.good += 1);
        }
    }

    pub(crate) fn failed(&mut self, _now: u64, request: &Request, reason: &'static str) {
        if self.counts(request) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Work done in time over what could have been done, from one second to another.
    pub(crate) fn goodput_between(&self, from: usize, to: usize) -> f64 {
        let done: f64 = self.good_by_second[from..to].iter().sum();
        done / (self.capacity * (to - from) as f64)
    }

    /// The same from the warm-up to the end.
    pub(crate) fn goodput(&self) -> f64 {
        let (from, to) = ((self.from / SECOND) as usize, (self.to / SECOND) as usize);
        self.goodput_between(from, to)
    }

    /// Held permits over the limit.
    pub(crate) fn utilisation(&self) -> f64 {
        let seconds = (self.to - self.from) as f64 / SECOND as f64;
        self.held / (self.capacity * seconds)
    }

    /// From arrival to the last byte, of those that were let in.
    pub(crate) fn latency(&self, quantile: f64) -> f64 {
        self::quantile(&self.latencies, quantile)
    }

    /// The same less what they waited.
    pub(crate) fn service(&self, quantile: f64) -> f64 {
        self::quantile(&self.services, quantile)
    }
}

pub(crate) fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * quantile) as usize;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Jain's index of fairness: 1 if all have the same, `1 ÷ n` if one has all.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}
