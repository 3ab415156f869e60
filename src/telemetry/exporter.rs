//! The shell round the Prometheus exporter: which series exist, and where each value comes from.
//!
//! The recorder is not installed globally: several weirs may live in one process (tests do).
//! Every series with a fixed label set is registered at construction, so that it reads 0 and not
//! "absent" from the first scrape. The exporter cannot take a gauge back: what was set once stays
//! until it is set again, which is why all gauges are set at every scrape.

use std::time::Duration;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::labels::{
    CODES, ConnectionError, HANDSHAKES, RESULTS, Source, TlsFailure, UpstreamError,
};
use super::log;
use super::metrics::{Metrics, get};
use super::names::{self, Kind, MetricSpec};
use super::policy::{self, PolicyFigures};
use crate::admission::UNITS_PER_TASK;
use crate::admission::classify::Hint;

/// What the gauges are set from, right before a scrape is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// How many default-cost requests may run at once now.
    pub permit_limit: u32,
    /// The same by the configuration.
    pub permit_limit_configured: u32,
    /// The same in units.
    pub limit_units_configured: u32,
    /// Units free.
    pub available_units: u64,
    /// Requests that hold a permit.
    pub in_flight: u32,
    /// Units they hold.
    pub in_flight_units: u64,
    /// Requests that wait.
    pub queued: u32,
    /// Bytes of weir's own memory they are charged.
    pub queued_bytes: u64,
    /// How long the oldest of them has waited.
    pub queue_oldest: Duration,
    /// What requests together may use, in bytes.
    pub target_memory: u64,
    /// What a default request is charged, in bytes.
    pub memory_per_task: u64,
    /// The label of the phase that weir is in; one of [`names::PHASES`].
    pub phase: &'static str,
    /// What the gate says of its policy.
    pub policy: PolicyFigures,
}

impl Figures {
    /// Free permits, in whole requests of the default cost.
    #[must_use]
    pub fn available_permits(&self) -> u64 {
        self.available_units / u64::from(UNITS_PER_TASK)
    }

    /// Units that the waiting requests will need. Each is taken to cost as much as the default:
    /// the gate does not add up what they will really need.
    #[must_use]
    pub fn queued_units(&self) -> u64 {
        u64::from(self.queued) * u64::from(UNITS_PER_TASK)
    }

    /// Cost in flight as a share of the configured budget.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        self.in_flight_units as f64 / f64::from(self.limit_units_configured.max(1))
    }

    /// Bytes that requests in flight are charged.
    #[must_use]
    pub fn reserved_memory(&self) -> u64 {
        let bytes = u128::from(self.in_flight_units) * u128::from(self.memory_per_task)
            / u128::from(UNITS_PER_TASK);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Where a counter's value comes from.
type Count = Box<dyn Fn(&Metrics) -> u64 + Send + Sync>;
/// Where a gauge's value comes from; the last argument is the demand ratio.
type Level64 = Box<dyn Fn(&Metrics, &Figures, f64) -> f64 + Send + Sync>;

/// The recorder and the sources of all that is copied into it.
pub(super) struct Exporter {
    recorder: PrometheusRecorder,
    counters: Vec<(Counter, Count)>,
    gauges: Vec<(Gauge, Level64)>,
    process: Vec<(Gauge, ProcessValue)>,
}

/// The same text, by metric and within each by labels, so that two scrapes can be compared: the
/// exporter's order is that of its hash maps. The lines of one histogram keep theirs.
fn in_order(text: &str) -> String {
    let mut metrics: Vec<&str> = text.split_terminator("\n\n").collect();
    metrics.sort_unstable();
    let mut sorted = String::with_capacity(text.len());
    for metric in metrics {
        let mut lines: Vec<&str> = metric.lines().collect();
        lines.sort_by_key(|line| (!line.starts_with('#'), series_labels(line)));
        sorted += &lines.join("\n");
        sorted += "\n\n";
    }
    sorted
}

/// The labels of a line but a bucket's bound, which stands last.
fn series_labels(line: &str) -> &str {
    match line.split_once('{') {
        Some((name, labels)) if !name.starts_with('#') && !labels.starts_with("le=") => {
            labels.split_once(",le=").map_or_else(
                || labels.rsplit_once('}').map_or(labels, |(labels, _)| labels),
                |(labels, _)| labels,
            )
        }
        _ => "",
    }
}

/// Picks one figure of the process.
type ProcessValue = fn(&metrics_process::collector::Metrics) -> Option<u64>;

const METADATA: Metadata<'static> = Metadata::new("weir", Level::INFO, None);

impl Exporter {
    /// A recorder with every series of the table registered but those that are rendered elsewhere:
    /// the histograms and what the policy tells.
    pub(super) fn new() -> Self {
        let mut exporter = Self {
            recorder: PrometheusBuilder::new().build_recorder(),
            counters: Vec::new(),
            gauges: Vec::new(),
            process: Vec::new(),
        };
        exporter.describe();
        exporter.requests();
        exporter.connections();
        exporter.tls();
        exporter.gate();
        exporter.life();
        exporter.process();
        exporter
    }

    /// The text of a scrape, in the exposition format 0.0.4.
    pub(super) fn render(&self, metrics: &Metrics, figures: &Figures, demand: f64) -> String {
        for (counter, read) in &self.counters {
            counter.absolute(read(metrics));
        }
        for (gauge, read) in &self.gauges {
            gauge.set(read(metrics, figures, demand));
        }
        let process = metrics_process::collector::collect();
        for (gauge, read) in &self.process {
            if let Some(value) = read(&process) {
                gauge.set(value as f64);
            }
        }
        let mut text = self.recorder.handle().render();
        text += &metrics.render_histograms();
        text += &policy::render(metrics, &figures.policy);
        if let Some(seconds) = process.cpu_seconds_total {
            // The exporter's counters are whole numbers, and whole seconds are too coarse here.
            let MetricSpec { name, help, .. } = names::PROCESS_CPU_SECONDS_TOTAL;
            let seconds = seconds.to_string();
            let head = ["# HELP ", name, " ", help, "\n# TYPE ", name, " counter\n"].concat();
            text += &[&head, name, " ", &seconds, "\n\n"].concat();
        }
        in_order(&text)
    }

    fn describe(&self) {
        for spec in names::ALL {
            let (name, help) = (spec.name.into(), spec.help.into());
            match spec.kind {
                Kind::Counter => self.recorder.describe_counter(name, None, help),
                Kind::Gauge => self.recorder.describe_gauge(name, None, help),
                Kind::Histogram => {}
            }
        }
    }

    fn counter(
        &mut self,
        spec: &MetricSpec,
        labels: &[(&'static str, &'static str)],
        read: impl Fn(&Metrics) -> u64 + Send + Sync + 'static,
    ) {
        let counter = self
            .recorder
            .register_counter(&key(spec, labels), &METADATA);
        self.counters.push((counter, Box::new(read)));
    }

    fn gauge(
        &mut self,
        spec: &MetricSpec,
        labels: &[(&'static str, &'static str)],
        read: impl Fn(&Metrics, &Figures, f64) -> f64 + Send + Sync + 'static,
    ) {
        let gauge = self.recorder.register_gauge(&key(spec, labels), &METADATA);
        self.gauges.push((gauge, Box::new(read)));
    }

    fn requests(&mut self) {
        for (at, hint) in Hint::ALL.into_iter().enumerate() {
            let labels = [("header", hint.label())];
            self.counter(&names::BAD_HINT_TOTAL, &labels, move |metrics| {
                get(&metrics.counts().bad_hints[at])
            });
        }
        self.counter(&names::EXPIRED_DISPATCHES_TOTAL, &[], |metrics| {
            get(&metrics.counts().expired_dispatches)
        });
        for (from, source) in Source::ALL.into_iter().enumerate() {
            for (class, code) in CODES.into_iter().enumerate() {
                let labels = [("code", code), ("source", source.label())];
                self.counter(&names::RESPONSES_TOTAL, &labels, move |metrics| {
                    get(&metrics.counts().responses[from][class])
                });
            }
        }
    }

    fn connections(&mut self) {
        self.gauge(&names::CONNECTIONS, &[], |metrics, _, _| {
            metrics.connections() as f64
        });
        for (at, kind) in ConnectionError::ALL.into_iter().enumerate() {
            let labels = [("kind", kind.label())];
            self.counter(&names::CONNECTION_ERRORS_TOTAL, &labels, move |metrics| {
                get(&metrics.counts().connection_errors[at])
            });
        }
        self.gauge(&names::UPSTREAM_CONNECTIONS, &[], |metrics, _, _| {
            get(&metrics.counts().upstream_connections) as f64
        });
        for (at, kind) in UpstreamError::ALL.into_iter().enumerate() {
            let labels = [("kind", kind.label())];
            self.counter(&names::UPSTREAM_ERRORS_TOTAL, &labels, move |metrics| {
                get(&metrics.counts().upstream_errors[at])
            });
        }
        self.counter(&names::UPSTREAM_RETRIES_TOTAL, &[], |metrics| {
            get(&metrics.counts().upstream_retries)
        });
        self.counter(&names::UPSTREAM_RETRIES_DENIED_TOTAL, &[], |metrics| {
            get(&metrics.counts().upstream_retries_denied)
        });
        self.gauge(&names::TUNNELS, &[], |metrics, _, _| {
            get(&metrics.counts().tunnels) as f64
        });
    }

    fn tls(&mut self) {
        for (at, kind) in HANDSHAKES.into_iter().enumerate() {
            let labels = [("kind", kind)];
            self.counter(&names::TLS_HANDSHAKES_TOTAL, &labels, move |metrics| {
                get(&metrics.counts().tls_handshakes[at])
            });
        }
        for (at, kind) in TlsFailure::ALL.into_iter().enumerate() {
            let labels = [("kind", kind.label())];
            self.counter(
                &names::TLS_HANDSHAKE_ERRORS_TOTAL,
                &labels,
                move |metrics| get(&metrics.counts().tls_failures[at]),
            );
        }
        self.gauge(
            &names::TLS_CERTIFICATE_EXPIRY_SECONDS,
            &[],
            |metrics, _, _| get(&metrics.counts().tls_expires) as f64,
        );
    }

    fn gate(&mut self) {
        self.gauge(&names::PERMIT_LIMIT, &[], |_, now, _| {
            f64::from(now.permit_limit)
        });
        self.gauge(&names::PERMIT_LIMIT_CONFIGURED, &[], |_, now, _| {
            f64::from(now.permit_limit_configured)
        });
        self.gauge(&names::AVAILABLE_PERMITS, &[], |_, now, _| {
            now.available_permits() as f64
        });
        self.gauge(&names::IN_FLIGHT, &[], |_, now, _| f64::from(now.in_flight));
        self.gauge(&names::QUEUE_DEPTH, &[], |_, now, _| f64::from(now.queued));
        self.gauge(&names::QUEUE_BYTES, &[], |_, now, _| {
            now.queued_bytes as f64
        });
        self.gauge(&names::QUEUE_OLDEST_SECONDS, &[], |_, now, _| {
            now.queue_oldest.as_secs_f64()
        });
        self.gauge(&names::UTILIZATION_RATIO, &[], |_, now, _| {
            now.utilization()
        });
        self.gauge(&names::DEMAND_RATIO, &[], |_, _, demand| demand);
        self.gauge(&names::TARGET_MEMORY_BYTES, &[], |_, now, _| {
            now.target_memory as f64
        });
        self.gauge(&names::MEMORY_PER_TASK_BYTES, &[], |_, now, _| {
            now.memory_per_task as f64
        });
        self.gauge(&names::RESERVED_MEMORY_BYTES, &[], |_, now, _| {
            now.reserved_memory() as f64
        });
    }

    fn life(&mut self) {
        self.gauge(&names::CONFIG_RELOAD_SUCCESS, &[], |metrics, _, _| {
            f64::from(u8::from(metrics.last_reload_ok()))
        });
        for (at, result) in RESULTS.into_iter().enumerate() {
            let labels = [("result", result)];
            self.counter(&names::CONFIG_RELOADS_TOTAL, &labels, move |metrics| {
                get(&metrics.counts().reloads[at])
            });
        }
        for phase in names::PHASES {
            self.gauge(&names::PHASE, &[("phase", phase)], move |_, now, _| {
                f64::from(u8::from(now.phase == phase))
            });
        }
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        self.gauge(&names::BUILD_INFO, &labels, |_, _, _| 1.0);
        self.counter(&names::PANICS_TOTAL, &[], |metrics| {
            get(&metrics.counts().panics)
        });
        self.counter(&names::LOG_LINES_DROPPED_TOTAL, &[], |_| {
            log::lines_dropped()
        });
    }

    fn process(&mut self) {
        let values: [(MetricSpec, ProcessValue); 7] = [
            (names::PROCESS_OPEN_FDS, |process| process.open_fds),
            (names::PROCESS_MAX_FDS, |process| process.max_fds),
            (names::PROCESS_VIRTUAL_MEMORY_BYTES, |process| {
                process.virtual_memory_bytes
            }),
            (names::PROCESS_VIRTUAL_MEMORY_MAX_BYTES, |process| {
                process.virtual_memory_max_bytes
            }),
            (names::PROCESS_RESIDENT_MEMORY_BYTES, |process| {
                process.resident_memory_bytes
            }),
            (names::PROCESS_START_TIME_SECONDS, |process| {
                process.start_time_seconds
            }),
            (names::PROCESS_THREADS, |process| process.threads),
        ];
        for (spec, read) in values {
            let gauge = self.recorder.register_gauge(&key(&spec, &[]), &METADATA);
            self.process.push((gauge, read));
        }
    }
}

fn key(spec: &MetricSpec, labels: &[(&'static str, &'static str)]) -> Key {
    debug_assert!(
        labels.iter().map(|(name, _)| name).eq(spec.labels),
        "{}: other labels than the table's",
        spec.name
    );
    let labels: Vec<Label> = labels
        .iter()
        .map(|&(name, value)| Label::from_static_parts(name, value))
        .collect();
    Key::from_parts(spec.name, labels)
}
