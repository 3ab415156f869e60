//! Every metric there is: its name, kind, labels, unit and help text, in one table.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution over fixed buckets.
    Histogram,
}

impl Kind {
    /// The word that the text format uses.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share of one.
    Ratio,
}

/// What is fixed about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricSpec {
    /// The name, with its unit and, for a counter, `_total` at the end.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The names of its labels. Their values are closed sets.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
    /// What it is counted in.
    pub unit: Unit,
}

/// The values of the `phase` label of [`PHASE`], in the order of the phases.
pub const PHASES: [&str; 4] = ["serving", "lame_duck", "draining", "stopped"];

/// The upper bounds of every histogram of seconds but the queue wait's, in nanoseconds: those of
/// the semantic conventions for HTTP, and on to what heavy tasks take.
pub const SECONDS_BUCKETS: &[u64] = &nanos([
    5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000, 30_000, 60_000, 120_000,
    300_000,
]);

/// The upper bounds of the queue wait: the same from 1 ms.
pub const WAIT_BUCKETS: &[u64] = &nanos([
    1, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000, 30_000, 60_000,
    120_000, 300_000,
]);

/// The upper bounds of costs, in bytes: 64 KiB to 4 GiB in powers of four.
pub const COST_BUCKETS: &[u64] = &[
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
    1 << 28,
    1 << 30,
    1 << 32,
];

/// The same times, given in milliseconds.
const fn nanos<const N: usize>(mut millis: [u64; N]) -> [u64; N] {
    let mut at = 0;
    while at < N {
        millis[at] *= 1_000_000;
        at += 1;
    }
    millis
}

/// The upper bounds of a histogram, in nanoseconds or bytes.
#[must_use]
pub fn buckets(spec: &MetricSpec) -> &'static [u64] {
    match (spec.unit, spec.name == QUEUE_WAIT_SECONDS.name) {
        (Unit::Bytes, _) => COST_BUCKETS,
        (_, true) => WAIT_BUCKETS,
        (_, false) => SECONDS_BUCKETS,
    }
}

/// Declares the constants and the table of all of them, so that neither lacks what the other has.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $unit:ident $name:literal $labels:tt $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: MetricSpec = MetricSpec {
                name: $name,
                kind: Kind::$kind,
                labels: &$labels,
                help: $help,
                unit: Unit::$unit,
            };
        )*

        /// Every metric, in the order in which the README lists them.
        pub const ALL: &[MetricSpec] = &[$($constant),*];
    };
}

metrics! {
    REQUESTS_TOTAL = Counter Count "weir_requests_total" ["class", "outcome"]
        "Finished requests by how they ended; each is counted once.";
    REJECTED_TOTAL = Counter Count "weir_rejected_total" ["class", "reason"]
        "Requests that weir refused, by why: the metric to alert and scale on.";
    SHADOW_REJECTED_TOTAL = Counter Count "weir_shadow_rejected_total" ["class", "reason"]
        "Requests that weir would have refused, in shadow mode, by why.";
    SHADOW_SUFFICIENT_PERMITS = Gauge Count "weir_shadow_sufficient_permits" []
        "In shadow mode, the smallest permit limit that would have refused nobody in the last five minutes, to a fifth; +Inf for more than sixteen times the limit.";
    TENANT_REQUESTS_TOTAL = Counter Count "weir_tenant_requests_total" ["tenant"]
        "Finished requests of the busiest tenants, and of all others together.";
    TENANT_REJECTED_TOTAL = Counter Count "weir_tenant_rejected_total" ["tenant"]
        "Requests of the busiest tenants that weir refused, and of all others together.";
    BAD_HINT_TOTAL = Counter Count "weir_bad_hint_total" ["header"]
        "Requests with a field that should have said something of them and could not be used, by what it was about.";
    EXPIRED_DISPATCHES_TOTAL = Counter Count "weir_expired_dispatches_total" []
        "Requests whose client's deadline had passed when there was a connection to send them on; they are not sent.";
    PREDICTED_WAITS_TOTAL = Counter Count "weir_predicted_waits_total" []
        "Requests that waited and got a permit, and whose wait had been predicted.";
    PREDICTED_WAIT_ERROR_SECONDS_TOTAL = Counter Seconds "weir_predicted_wait_error_seconds_total" ["direction"]
        "How much longer and shorter these waited than was predicted.";
    SERVICE_QUANTILE_SECONDS = Gauge Seconds "weir_service_quantile_seconds" ["class", "quantile"]
        "How long requests of a class hold their permits, as the policy has measured it, to a sixteenth.";
    RESPONSES_TOTAL = Counter Count "weir_responses_total" ["code", "source"]
        "Responses by status class and by whose they are: the upstream's or weir's own.";
    PERMIT_LIMIT = Gauge Count "weir_permit_limit" []
        "How many requests of the default cost may run at once now.";
    PERMIT_LIMIT_CONFIGURED = Gauge Count "weir_permit_limit_configured" []
        "How many requests of the default cost the configuration allows at once.";
    AVAILABLE_PERMITS = Gauge Count "weir_available_permits" []
        "Free permits, rounded down to whole requests of the default cost.";
    IN_FLIGHT = Gauge Count "weir_in_flight" []
        "Requests that hold a permit; never those that wait.";
    QUEUE_DEPTH = Gauge Count "weir_queue_depth" []
        "Requests that wait for a permit.";
    QUEUE_BYTES = Gauge Bytes "weir_queue_bytes" []
        "What the waiting requests are charged of weir's own memory.";
    QUEUE_OLDEST_SECONDS = Gauge Seconds "weir_queue_oldest_seconds" []
        "How long the oldest waiting request has waited; 0 if none waits.";
    UTILIZATION_RATIO = Gauge Ratio "weir_utilization_ratio" []
        "Cost in flight as a share of the configured budget.";
    DEMAND_RATIO = Gauge Ratio "weir_demand_ratio" []
        "Cost in flight, queued and refused as a share of the configured budget, smoothed; over 1 when demand exceeds capacity.";
    QUEUE_WAIT_SECONDS = Histogram Seconds "weir_queue_wait_seconds" ["outcome"]
        "Time spent waiting for a permit, by how the wait ended.";
    SERVICE_SECONDS = Histogram Seconds "weir_service_seconds" []
        "Time for which a request held its permit.";
    UPSTREAM_FIRST_BYTE_SECONDS = Histogram Seconds "weir_upstream_first_byte_seconds" []
        "Time from dispatch to the head of the upstream's response.";
    REQUEST_COST_BYTES = Histogram Bytes "weir_request_cost_bytes" []
        "Memory that admitted requests were charged.";
    TARGET_MEMORY_BYTES = Gauge Bytes "weir_target_memory_bytes" []
        "Memory that requests together may use, before the safety factor.";
    MEMORY_PER_TASK_BYTES = Gauge Bytes "weir_memory_per_task_bytes" []
        "Memory that a request of the default cost is charged.";
    RESERVED_MEMORY_BYTES = Gauge Bytes "weir_reserved_memory_bytes" []
        "Memory that requests in flight are charged now.";
    CONNECTIONS = Gauge Count "weir_connections" []
        "Open client connections.";
    CONNECTION_ERRORS_TOTAL = Counter Count "weir_connection_errors_total" ["kind"]
        "Client connections that ended in an error, heads that could not be read, and HTTP/2 streams that were reset as malformed, by kind.";
    TLS_HANDSHAKES_TOTAL = Counter Count "weir_tls_handshakes_total" ["kind"]
        "TLS handshakes with clients that succeeded: full, or resumed from an earlier session.";
    TLS_HANDSHAKE_ERRORS_TOTAL = Counter Count "weir_tls_handshake_errors_total" ["kind"]
        "TLS handshakes with clients that failed, by kind.";
    TLS_CERTIFICATE_EXPIRY_SECONDS = Gauge Seconds "weir_tls_certificate_expiry_seconds" []
        "When the certificate in use expires, in seconds since the Unix epoch; 0 without TLS.";
    UPSTREAM_CONNECTIONS = Gauge Count "weir_upstream_connections" []
        "Open connections to the upstream, busy and idle.";
    UPSTREAM_ERRORS_TOTAL = Counter Count "weir_upstream_errors_total" ["kind"]
        "Exchanges that the upstream did not complete, by kind.";
    UPSTREAM_RETRIES_TOTAL = Counter Count "weir_upstream_retries_total" []
        "Requests sent again on a fresh connection because the pooled one was stale.";
    UPSTREAM_RETRIES_DENIED_TOTAL = Counter Count "weir_upstream_retries_denied_total" []
        "Requests that met a stale connection and were not sent again because the retry budget was spent.";
    TUNNELS = Gauge Count "weir_tunnels" []
        "Open tunnels (WebSocket and other upgrades), with a permit or without.";
    CONFIG_RELOAD_SUCCESS = Gauge Count "weir_config_reload_success" []
        "Whether the last reading of the configuration succeeded: 1 or 0.";
    CONFIG_RELOADS_TOTAL = Counter Count "weir_config_reloads_total" ["result"]
        "Reloads of the configuration since the start, by result.";
    PHASE = Gauge Count "weir_phase" ["phase"]
        "1 for the phase that weir is in, 0 for the others.";
    BUILD_INFO = Gauge Count "weir_build_info" ["version"]
        "Always 1; the version is the label.";
    PANICS_TOTAL = Counter Count "weir_panics_total" []
        "Panics caught: each is a bug of weir's own.";
    LOG_LINES_DROPPED_TOTAL = Counter Count "weir_log_lines_dropped_total" []
        "Log lines dropped because nobody read the log in time, or it could not be written.";
    PROCESS_CPU_SECONDS_TOTAL = Counter Seconds "process_cpu_seconds_total" []
        "User and system CPU time of the process.";
    PROCESS_OPEN_FDS = Gauge Count "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge Count "process_max_fds" []
        "The most file descriptors that may be open; 0 for no bound.";
    PROCESS_VIRTUAL_MEMORY_BYTES = Gauge Bytes "process_virtual_memory_bytes" []
        "Virtual memory size.";
    PROCESS_VIRTUAL_MEMORY_MAX_BYTES = Gauge Bytes "process_virtual_memory_max_bytes" []
        "The most virtual memory that may be used; 0 for no bound.";
    PROCESS_RESIDENT_MEMORY_BYTES = Gauge Bytes "process_resident_memory_bytes" []
        "Resident memory size.";
    PROCESS_START_TIME_SECONDS = Gauge Seconds "process_start_time_seconds" []
        "When the process started, in seconds since the Unix epoch.";
    PROCESS_THREADS = Gauge Count "process_threads" []
        "Threads of the process.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = std::collections::HashSet::new();
        for spec in ALL {
            assert!(seen.insert(spec.name), "{} stands twice", spec.name);
            assert!(
                spec.name.starts_with("weir_") || spec.name.starts_with("process_"),
                "{}",
                spec.name
            );
            assert_eq!(
                spec.name.ends_with("_total"),
                spec.kind == Kind::Counter,
                "{}",
                spec.name
            );
            let base = spec.name.trim_end_matches("_total");
            let suffix = match spec.unit {
                Unit::Count => "",
                Unit::Seconds => "_seconds",
                Unit::Bytes => "_bytes",
                Unit::Ratio => "_ratio",
            };
            assert!(base.ends_with(suffix), "{} lacks its unit", spec.name);
            assert!(spec.help.ends_with('.'), "{}: a sentence", spec.name);
        }
    }

    #[test]
    fn buckets_rise() {
        for spec in ALL.iter().filter(|spec| spec.kind == Kind::Histogram) {
            let buckets = buckets(spec);
            let rising = buckets.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(rising && buckets.len() > 8, "{}", spec.name);
        }
        assert_eq!(WAIT_BUCKETS[1..], *SECONDS_BUCKETS);
    }
}
