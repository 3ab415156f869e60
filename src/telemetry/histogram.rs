//! Histograms over fixed buckets: two additions per sample, nothing kept, nothing to clean up.
//!
//! Samples are whole numbers of the smallest unit, nanoseconds or bytes, and so are bounds and
//! sums; only the text has seconds. A sum wraps at 2^64: after 584 years of time, all requests
//! together (seven months with 1000 of them at any moment), or 16 EiB. To Prometheus that is a
//! counter that began again. What a scrape shows is taken from one reading of the buckets, so that
//! they never fall and the last of them is the count; the sum may be some samples ahead or behind.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::names::{self, MetricSpec, Unit};

/// The smallest units in a second.
const NANOS: u64 = 1_000_000_000;

/// The samples of one series.
#[derive(Debug)]
pub(super) struct Histogram {
    /// The highest value that each bucket takes; rising.
    bounds: &'static [u64],
    /// One per bound, and one for what is above all. Not cumulative.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Empty, with the metric's buckets.
    pub(super) fn new(spec: &MetricSpec) -> Self {
        let bounds = names::buckets(spec);
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// One more sample, in nanoseconds or bytes.
    pub(super) fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        // Nothing is what most requests wait.
        if value > 0 {
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// One more sample of time.
    pub(super) fn record_time(&self, time: Duration) {
        let seconds = time.as_secs().saturating_mul(NANOS);
        self.record(seconds.saturating_add(u64::from(time.subsec_nanos())));
    }

    /// Samples so far.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(get).sum()
    }

    /// All samples together.
    pub(super) fn sum(&self) -> u64 {
        get(&self.sum)
    }

    /// The samples up to each bound, and at the end all of them.
    fn cumulative(&self) -> Vec<u64> {
        let running = self.buckets.iter().scan(0, |below, bucket| {
            *below += get(bucket);
            Some(*below)
        });
        running.collect()
    }
}

/// One histogram of the table with all its series, each with the values of its labels. Displays as
/// its part of a scrape, in the exposition format 0.0.4.
pub(super) struct Family<'a> {
    pub(super) spec: &'a MetricSpec,
    pub(super) series: &'a [(&'a [&'static str], &'a Histogram)],
}

impl fmt::Display for Family<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MetricSpec { name, help, .. } = self.spec;
        writeln!(f, "# HELP {name} {help}")?;
        writeln!(f, "# TYPE {name} histogram")?;
        for (values, histogram) in self.series {
            self.write_series(f, values, histogram)?;
        }
        writeln!(f)
    }
}

impl Family<'_> {
    fn write_series(
        &self,
        f: &mut fmt::Formatter<'_>,
        values: &[&'static str],
        histogram: &Histogram,
    ) -> fmt::Result {
        let MetricSpec {
            name, labels, unit, ..
        } = self.spec;
        debug_assert_eq!(values.len(), labels.len(), "{name}: not the table's labels");
        // The values are weir's own words, of which none needs escaping.
        let mut before_le = String::new();
        for (label, value) in labels.iter().zip(values) {
            write!(before_le, "{label}=\"{value}\",")?;
        }
        let cumulative = histogram.cumulative();
        for (&bound, count) in histogram.bounds.iter().zip(&cumulative) {
            let le = amount(bound, *unit);
            writeln!(f, "{name}_bucket{{{before_le}le=\"{le}\"}} {count}")?;
        }
        let count = cumulative.last().copied().unwrap_or(0);
        writeln!(f, "{name}_bucket{{{before_le}le=\"+Inf\"}} {count}")?;
        let braced = match before_le.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => String::new(),
        };
        let sum = amount(histogram.sum(), *unit);
        writeln!(f, "{name}_sum{braced} {sum}")?;
        writeln!(f, "{name}_count{braced} {count}")
    }
}

/// In the unit that the metric's name promises: exact, and as short as can be.
pub(super) fn amount(value: u64, unit: Unit) -> String {
    let (whole, rest) = (value / NANOS, value % NANOS);
    match unit {
        Unit::Seconds if rest == 0 => whole.to_string(),
        Unit::Seconds => format!("{whole}.{rest:09}")
            .trim_end_matches('0')
            .to_owned(),
        Unit::Count | Unit::Bytes | Unit::Ratio => value.to_string(),
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// How many samples lie in each bucket alone.
    fn alone(histogram: &Histogram) -> Vec<u64> {
        histogram.buckets.iter().map(get).collect()
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for spec in [
            names::QUEUE_WAIT_SECONDS,
            names::SERVICE_SECONDS,
            names::REQUEST_COST_BYTES,
        ] {
            for (at, &bound) in names::buckets(&spec).iter().enumerate() {
                let histogram = Histogram::new(&spec);
                let mut expected = vec![0; names::buckets(&spec).len() + 1];
                histogram.record(bound);
                histogram.record(bound - 1);
                expected[at] = 2;
                assert_eq!(alone(&histogram), expected, "{}: {bound}", spec.name);
                histogram.record(bound + 1);
                expected[at + 1] = 1;
                assert_eq!(alone(&histogram), expected, "{}: {bound} + 1", spec.name);
            }
        }
    }

    #[test]
    fn extremes_have_a_bucket() {
        let histogram = Histogram::new(&names::SERVICE_SECONDS);
        histogram.record_time(Duration::ZERO);
        assert_eq!((histogram.count(), histogram.sum()), (1, 0));
        histogram.record_time(Duration::MAX);
        assert_eq!((histogram.count(), histogram.sum()), (2, u64::MAX));
        let found = alone(&histogram);
        assert_eq!((found.first(), found.last()), (Some(&1), Some(&1)));
    }

    #[test]
    fn seconds_are_exact() {
        let seconds = |nanos| amount(nanos, Unit::Seconds);
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(1), "0.000000001");
        assert_eq!(seconds(75_000_000), "0.075");
        assert_eq!(seconds(10 * NANOS), "10");
        assert_eq!(seconds(1_500_000_000), "1.5");
        assert_eq!(seconds(u64::MAX), "18446744073.709551615");
        assert_eq!(amount(u64::MAX, Unit::Bytes), "18446744073709551615");
    }

    #[test]
    fn the_text_of_a_histogram_without_labels() {
        let histogram = Histogram::new(&names::REQUEST_COST_BYTES);
        for cost in [1, 65_536, 65_537, 1 << 20, 1 << 33] {
            histogram.record(cost);
        }
        let family = Family {
            spec: &names::REQUEST_COST_BYTES,
            series: &[(&[], &histogram)],
        };
        let expected = r#"# HELP weir_request_cost_bytes Memory that admitted requests were charged.
# TYPE weir_request_cost_bytes histogram
weir_request_cost_bytes_bucket{le="65536"} 2
weir_request_cost_bytes_bucket{le="262144"} 3
weir_request_cost_bytes_bucket{le="1048576"} 4
weir_request_cost_bytes_bucket{le="4194304"} 4
weir_request_cost_bytes_bucket{le="16777216"} 4
weir_request_cost_bytes_bucket{le="67108864"} 4
weir_request_cost_bytes_bucket{le="268435456"} 4
weir_request_cost_bytes_bucket{le="1073741824"} 4
weir_request_cost_bytes_bucket{le="4294967296"} 4
weir_request_cost_bytes_bucket{le="+Inf"} 5
weir_request_cost_bytes_sum 8591114242
weir_request_cost_bytes_count 5

"#;
        assert_eq!(family.to_string(), expected);
    }

    #[test]
    fn the_text_of_a_histogram_with_labels() {
        let (granted, rejected) = (
            Histogram::new(&names::QUEUE_WAIT_SECONDS),
            Histogram::new(&names::QUEUE_WAIT_SECONDS),
        );
        granted.record_time(Duration::ZERO);
        granted.record_time(Duration::from_nanos(1_000_001));
        granted.record_time(Duration::from_millis(2500));
        let family = Family {
            spec: &names::QUEUE_WAIT_SECONDS,
            series: &[(&["granted"], &granted), (&["rejected"], &rejected)],
        };
        let bounds = [
            "0.001", "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1",
            "2.5", "5", "7.5", "10", "30", "60", "120", "300", "+Inf",
        ];
        let mut expected = vec![
            "# HELP weir_queue_wait_seconds Time spent waiting for a permit, by how the wait ended."
                .to_owned(),
            "# TYPE weir_queue_wait_seconds histogram".to_owned(),
        ];
        for (outcome, up_to_1ms, up_to_1s, all, sum) in [
            ("granted", 1, 2, 3, "2.501000001"),
            ("rejected", 0, 0, 0, "0"),
        ] {
            for (at, le) in bounds.into_iter().enumerate() {
                let count = match at {
                    0 => up_to_1ms,
                    1..=10 => up_to_1s,
                    _ => all,
                };
                expected.push(format!(
                    "weir_queue_wait_seconds_bucket{{outcome=\"{outcome}\",le=\"{le}\"}} {count}"
                ));
            }
            for (part, value) in [("sum", sum.to_owned()), ("count", all.to_string())] {
                expected.push(format!(
                    "weir_queue_wait_seconds_{part}{{outcome=\"{outcome}\"}} {value}"
                ));
            }
        }
        assert_eq!(family.to_string(), expected.join("\n") + "\n\n");
    }

    #[test]
    fn what_is_shown_while_others_record_is_consistent() {
        const LOOKS: u32 = 500;
        const CYCLES_MAX: u64 = 1_000_000;
        let histogram = Histogram::new(&names::SERVICE_SECONDS);
        let family = Family {
            spec: &names::SERVICE_SECONDS,
            series: &[(&[], &histogram)],
        };
        let done = AtomicBool::new(false);
        // One cycle of 20 samples, 30 ms apart: into all kinds of buckets, 5.7 s together.
        let cycles = || {
            let on = |_: &u64| !done.load(Ordering::Relaxed);
            let cycle = |_| (0..20).for_each(|at| histogram.record(at * 30_000_000));
            (0..CYCLES_MAX).take_while(on).map(cycle).count() as u64
        };
        let cycles = std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(cycles));
            while histogram.count() == 0 {
                std::thread::yield_now();
            }
            (0..LOOKS).fold(Vec::new(), |before, _| {
                check_one_look(&family.to_string(), &before)
            });
            done.store(true, Ordering::Relaxed);
            let cycles = threads.map(|thread| thread.join().expect("no panic"));
            cycles.into_iter().sum::<u64>()
        });
        assert_eq!(histogram.count(), cycles * 20, "none is lost");
        assert_eq!(histogram.sum(), cycles * 5_700_000_000);
    }

    /// Checks one rendering by itself and against the buckets of the one before; returns its own.
    fn check_one_look(text: &str, before: &[u64]) -> Vec<u64> {
        let of = |part: &str| -> Vec<u64> {
            let lines = text.lines().filter(|line| line.contains(part));
            let values = lines.filter_map(|line| line.rsplit_once(' '));
            values
                .map(|(_, value)| value.parse().expect("a whole number"))
                .collect()
        };
        let buckets = of("_bucket{");
        assert_eq!(buckets.len(), names::SECONDS_BUCKETS.len() + 1);
        assert!(buckets.is_sorted(), "{buckets:?}");
        assert_eq!(of("_count "), buckets[buckets.len() - 1..], "count = +Inf");
        for (now, then) in buckets.iter().zip(before) {
            assert!(now >= then, "fell from {before:?} to {buckets:?}");
        }
        buckets
    }
}
