//! What a scrape shows, from the first one on.

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::labels::{CODES, HANDSHAKES, RESULTS};
use super::names::{self, Kind, MetricSpec, PHASES};
use super::*;
use crate::admission::classify::Hint;
use crate::admission::{Outcome, PredictionError, Quantiles, UNITS_PER_TASK};

fn figures() -> Figures {
    Figures {
        permit_limit: 8,
        permit_limit_configured: 10,
        limit_units_configured: 10 * UNITS_PER_TASK,
        available_units: 2 * 1024 + 1023,
        in_flight: 5,
        in_flight_units: 5 * 1024 + 1,
        queued: 3,
        queued_bytes: 30_720,
        queue_oldest: Duration::from_millis(1500),
        target_memory: 10 << 30,
        memory_per_task: 1 << 30,
        phase: "lame_duck",
        policy: PolicyFigures {
            is_shadow: true,
            shadow_rejected: vec![ByReason::default()],
            enough_units: 12 * u64::from(UNITS_PER_TASK) + 1,
            prediction: PredictionError::default(),
            service: vec![Some(Quantiles {
                p10: Duration::from_millis(20),
                p50: Duration::from_millis(50),
                p90: Duration::from_micros(90_500),
            })],
        },
    }
}

/// Where tenants are told apart.
fn with_tenants() -> Telemetry {
    let telemetry = Telemetry::new();
    let labels = Labels {
        classes: vec!["default".to_owned()],
        tenants: Some(1),
    };
    telemetry.set_labels(&labels, &PolicyFigures::default());
    telemetry
}

/// The series of a scrape and their values.
fn series(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn every_series_with_fixed_labels_exists_from_the_first_scrape() {
    let telemetry = with_tenants();
    let found = series(&telemetry.render(&figures()));
    for series in labelled_series() {
        assert_eq!(found.get(&series), Some(&0.0), "{series}");
    }
    for name in [
        "weir_service_seconds_count",
        "weir_upstream_first_byte_seconds_sum",
        "weir_request_cost_bytes_bucket{le=\"4294967296\"}",
        "weir_upstream_retries_total",
        "weir_upstream_retries_denied_total",
        "weir_tunnels",
        "weir_panics_total",
        "weir_expired_dispatches_total",
        "weir_predicted_waits_total",
        "weir_log_lines_dropped_total",
        "weir_connections",
        "weir_tls_certificate_expiry_seconds",
        "weir_upstream_connections",
        "weir_demand_ratio",
    ] {
        assert_eq!(found.get(name), Some(&0.0), "{name}");
    }
    let labelled = |name: &str| found.keys().any(|series| series.starts_with(name));
    for spec in names::ALL {
        assert!(labelled(spec.name), "{} is in the table only", spec.name);
    }
}

/// Those with labels.
fn labelled_series() -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    let mut expect = |name: &str, labels: &[(&str, &str)]| {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        expected.insert(format!("{name}{{{}}}", labels.join(",")));
    };
    for outcome in Outcome::ALL {
        let labels = [("class", "default"), ("outcome", outcome.label())];
        expect("weir_requests_total", &labels);
    }
    for reason in RejectReason::ALL {
        let labels = [("class", "default"), ("reason", reason.label())];
        expect("weir_rejected_total", &labels);
        expect("weir_shadow_rejected_total", &labels);
    }
    for hint in Hint::ALL {
        expect("weir_bad_hint_total", &[("header", hint.label())]);
    }
    for direction in ["longer", "shorter"] {
        let labels = [("direction", direction)];
        expect("weir_predicted_wait_error_seconds_total", &labels);
    }
    for name in ["weir_tenant_requests_total", "weir_tenant_rejected_total"] {
        expect(name, &[("tenant", "other")]);
    }
    for source in Source::ALL {
        for code in CODES {
            let labels = [("code", code), ("source", source.label())];
            expect("weir_responses_total", &labels);
        }
    }
    for kind in ConnectionError::ALL {
        expect("weir_connection_errors_total", &[("kind", kind.label())]);
    }
    for kind in UpstreamError::ALL {
        expect("weir_upstream_errors_total", &[("kind", kind.label())]);
    }
    for kind in HANDSHAKES {
        expect("weir_tls_handshakes_total", &[("kind", kind)]);
    }
    for kind in TlsFailure::ALL {
        expect("weir_tls_handshake_errors_total", &[("kind", kind.label())]);
    }
    for result in RESULTS {
        expect("weir_config_reloads_total", &[("result", result)]);
    }
    for end in WaitEnd::ALL {
        expect("weir_queue_wait_seconds_count", &[("outcome", end.label())]);
        expect("weir_queue_wait_seconds_sum", &[("outcome", end.label())]);
        for le in ["0.001", "0.005", "300", "+Inf"] {
            let labels = [("outcome", end.label()), ("le", le)];
            expect("weir_queue_wait_seconds_bucket", &labels);
        }
    }
    expected
}

#[test]
fn the_text_is_what_the_table_says() {
    let telemetry = with_tenants();
    let text = telemetry.render(&figures());
    for spec in names::ALL {
        let MetricSpec { name, help, .. } = spec;
        let kind = spec.kind.label();
        for line in [
            format!("# HELP {name} {help}"),
            format!("# TYPE {name} {kind}"),
        ] {
            let times = text.lines().filter(|found| **found == line).count();
            assert_eq!(times, 1, "{line}");
        }
    }
    for (series, value) in series(&text) {
        assert!(value.is_finite(), "{series}");
        let (name, labels) = series.split_once('{').unwrap_or((&series, ""));
        let spec = names::ALL
            .iter()
            .find(|spec| {
                name.strip_prefix(spec.name)
                    .is_some_and(|rest| match spec.kind {
                        Kind::Histogram => ["_bucket", "_sum", "_count"].contains(&rest),
                        Kind::Counter | Kind::Gauge => rest.is_empty(),
                    })
            })
            .unwrap_or_else(|| panic!("{series} is not in the table"));
        let keys: Vec<&str> = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, _)| key)
            .filter(|key| *key != "le")
            .collect();
        assert_eq!(keys, spec.labels, "{series}");
    }
}

#[test]
fn the_order_is_always_the_same() {
    let order = || {
        let text = Telemetry::new().render(&figures());
        let names = text
            .lines()
            .map(|line| line.rsplit_once(' ').map_or(line, |(name, _)| name));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = order();
    assert!(first.len() > 100);
    for (line, expected) in order().iter().zip(&first) {
        assert_eq!(line, expected);
    }
    let at = |name: &str| first.iter().position(|line| line == name).expect(name);
    let buckets = ["0.005", "0.25", "10", "+Inf"]
        .map(|le| at(&format!("weir_service_seconds_bucket{{le=\"{le}\"}}")));
    assert!(buckets.is_sorted(), "{buckets:?}");
}

#[test]
fn counters_show_the_counts() {
    let telemetry = Telemetry::new();
    let metrics = &telemetry.metrics;
    metrics.finished(Account::default(), Outcome::Served);
    metrics.finished(Account::default(), Outcome::Served);
    metrics.rejected(Account::default(), RejectReason::QueueBytes);
    metrics.response(Source::Upstream, 204);
    metrics.response(Source::Weir, 503);
    metrics.response(Source::Upstream, 999);
    metrics.connection_opened();
    metrics.connection_opened();
    metrics.connection_closed();
    metrics.upstream_opened();
    metrics.connection_error(ConnectionError::TooLarge);
    metrics.upstream_error(UpstreamError::ConnectTimeout);
    metrics.upstream_retry();
    metrics.upstream_retry_denied();
    metrics.tunnel_opened();
    metrics.panicked();
    metrics.reload(false);
    metrics.queue_wait(WaitEnd::Granted, Duration::from_millis(2));
    metrics.service_time(Duration::from_millis(1500));
    metrics.first_byte(Duration::from_millis(300));
    metrics.cost(1 << 20);

    let found = series(&telemetry.render(&figures()));
    let check = |series: &str, value: f64| assert_eq!(found.get(series), Some(&value), "{series}");
    check(
        "weir_requests_total{class=\"default\",outcome=\"served\"}",
        2.0,
    );
    check(
        "weir_rejected_total{class=\"default\",reason=\"queue_bytes\"}",
        1.0,
    );
    check(
        "weir_responses_total{code=\"2xx\",source=\"upstream\"}",
        1.0,
    );
    check(
        "weir_responses_total{code=\"5xx\",source=\"upstream\"}",
        1.0,
    );
    check("weir_responses_total{code=\"5xx\",source=\"weir\"}", 1.0);
    check("weir_connections", 1.0);
    check("weir_upstream_connections", 1.0);
    check("weir_connection_errors_total{kind=\"too_large\"}", 1.0);
    check("weir_upstream_errors_total{kind=\"connect_timeout\"}", 1.0);
    check("weir_upstream_retries_total", 1.0);
    check("weir_upstream_retries_denied_total", 1.0);
    check("weir_tunnels", 1.0);
    check("weir_panics_total", 1.0);
    check("weir_config_reload_success", 0.0);
    check("weir_config_reloads_total{result=\"failed\"}", 1.0);
    check(
        "weir_queue_wait_seconds_bucket{outcome=\"granted\",le=\"0.001\"}",
        0.0,
    );
    check(
        "weir_queue_wait_seconds_bucket{outcome=\"granted\",le=\"0.005\"}",
        1.0,
    );
    check("weir_service_seconds_sum", 1.5);
    check("weir_service_seconds_bucket{le=\"2.5\"}", 1.0);
    check("weir_upstream_first_byte_seconds_count", 1.0);
    check("weir_request_cost_bytes_bucket{le=\"1048576\"}", 1.0);
    check("weir_request_cost_bytes_bucket{le=\"262144\"}", 0.0);
}

#[test]
fn gauges_show_the_figures() {
    let telemetry = Telemetry::new();
    telemetry.metrics.panicked();
    let found = series(&telemetry.render(&figures()));
    let check = |series: &str, value: f64| assert_eq!(found.get(series), Some(&value), "{series}");
    check("weir_permit_limit", 8.0);
    check("weir_permit_limit_configured", 10.0);
    check("weir_available_permits", 2.0);
    check("weir_in_flight", 5.0);
    check("weir_queue_depth", 3.0);
    check("weir_queue_bytes", 30_720.0);
    check("weir_queue_oldest_seconds", 1.5);
    check("weir_utilization_ratio", 5121.0 / 10_240.0);
    check("weir_target_memory_bytes", (10_u64 << 30) as f64);
    check("weir_memory_per_task_bytes", (1_u64 << 30) as f64);
    check("weir_reserved_memory_bytes", 5121.0 * f64::from(1 << 20));
    for phase in PHASES {
        let now = f64::from(u8::from(phase == "lame_duck"));
        check(&format!("weir_phase{{phase=\"{phase}\"}}"), now);
    }
    check(
        &format!(
            "weir_build_info{{version=\"{}\"}}",
            env!("CARGO_PKG_VERSION")
        ),
        1.0,
    );

    telemetry.metrics.reload(true);
    let again = series(&telemetry.render(&Figures {
        queued: 0,
        ..figures()
    }));
    let check = |series: &str, value: f64| assert_eq!(again.get(series), Some(&value), "{series}");
    check("weir_config_reload_success", 1.0);
    check("weir_queue_depth", 0.0);
    check("weir_panics_total", 1.0);
}

#[test]
fn labels_stand_at_the_place_of_their_variant() {
    // Counters are indexed by the variant and named by the position in `ALL`.
    for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, at);
    }
    for (at, reason) in RejectReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, at);
    }
    for (at, source) in Source::ALL.into_iter().enumerate() {
        assert_eq!(source as usize, at);
    }
    for (at, end) in WaitEnd::ALL.into_iter().enumerate() {
        assert_eq!(end as usize, at);
    }
    for (at, kind) in ConnectionError::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, at);
    }
    for (at, kind) in UpstreamError::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, at);
    }
    for (at, hint) in Hint::ALL.into_iter().enumerate() {
        assert_eq!(hint as usize, at);
    }
}

#[test]
fn two_in_one_process_do_not_share_their_counts() {
    let (one, other) = (Telemetry::new(), Telemetry::new());
    one.metrics.panicked();
    let panics = |telemetry: &Telemetry| {
        series(&telemetry.render(&figures()))
            .get("weir_panics_total")
            .copied()
    };
    assert_eq!(panics(&one), Some(1.0));
    assert_eq!(panics(&other), Some(0.0));
}

#[test]
fn totals_can_be_read_back() {
    let telemetry = Telemetry::new();
    assert!(
        telemetry.totals().last_reload_ok,
        "the first reading was good"
    );
    telemetry
        .metrics
        .rejected(Account::default(), RejectReason::NoPermit);
    telemetry
        .metrics
        .rejected(Account::default(), RejectReason::Draining);
    telemetry.metrics.service_time(Duration::from_millis(20));
    telemetry.metrics.service_time(Duration::from_millis(30));
    let totals = telemetry.totals();
    assert_eq!(totals.capacity_rejects(), 1);
    assert_eq!(totals.service_count, 2);
    assert_eq!(totals.service_sum, Duration::from_millis(50));
}

#[test]
fn a_second_by_second_tick_follows_demand_and_overload() {
    let telemetry = Telemetry::new();
    let start = Instant::now();
    telemetry.tick(start, &figures());
    assert!(!telemetry.is_overloaded());
    telemetry
        .metrics
        .rejected(Account::default(), RejectReason::QueueWait);
    telemetry.tick(start + Duration::from_secs(1), &figures());
    assert!(telemetry.is_overloaded());
    let demand = telemetry.demand_ratio();
    assert!((demand - 8193.0 / 10_240.0).abs() < 1e-9, "{demand}");
    let shown = series(&telemetry.render(&figures()))["weir_demand_ratio"];
    assert!((shown - demand).abs() < 1e-9, "{shown}");
}
