//! What is told of classes, tenants, hints, the shadow and predictions.

use super::*;
use crate::admission::{ClassId, TenantKey};

fn labels(classes: &[&str], tenants: Option<u32>) -> Labels {
    Labels {
        classes: classes.iter().map(|name| (*name).to_owned()).collect(),
        tenants,
    }
}

fn configured(classes: &[&str], tenants: Option<u32>) -> Telemetry {
    let telemetry = Telemetry::new();
    telemetry.set_labels(&labels(classes, tenants), &PolicyFigures::default());
    telemetry
}

fn with(policy: PolicyFigures) -> Figures {
    Figures {
        policy,
        ..figures()
    }
}

fn refused(reason: RejectReason, count: u64) -> ByReason {
    let mut counts = ByReason::default();
    counts[reason as usize] = count;
    counts
}

#[track_caller]
fn check(found: &BTreeMap<String, f64>, series: &str, value: f64) {
    assert_eq!(found.get(series), Some(&value), "{series}");
}

#[test]
fn each_class_has_all_its_series_at_0_from_the_start() {
    let telemetry = configured(&["default", "gold", "batch"], None);
    let found = series(&telemetry.render(&figures()));
    for class in ["default", "gold", "batch"] {
        for outcome in Outcome::ALL.map(Outcome::label) {
            let series = format!("weir_requests_total{{class=\"{class}\",outcome=\"{outcome}\"}}");
            check(&found, &series, 0.0);
        }
        for reason in RejectReason::ALL.map(RejectReason::label) {
            let labels = format!("{{class=\"{class}\",reason=\"{reason}\"}}");
            check(&found, &format!("weir_rejected_total{labels}"), 0.0);
            check(&found, &format!("weir_shadow_rejected_total{labels}"), 0.0);
        }
    }
    let tenants = found.keys().filter(|name| name.contains("tenant="));
    assert_eq!(tenants.count(), 0, "nobody is told apart");
}

#[test]
fn requests_count_for_their_class_and_no_other() {
    let telemetry = configured(&["default", "gold"], None);
    let metrics = &telemetry.metrics;
    let gold = metrics.account(ClassId(1), None);
    metrics.finished(gold, Outcome::Rejected);
    metrics.rejected(gold, RejectReason::ClassShare);
    metrics.finished(Account::default(), Outcome::Served);
    telemetry.set_labels(
        &labels(&["default", "new", "gold"], None),
        &PolicyFigures::default(),
    );
    metrics.finished(metrics.account(ClassId(1), None), Outcome::Served);
    let found = series(&telemetry.render(&figures()));
    for (class, outcome, count) in [
        ("gold", "rejected", 1.0),
        ("gold", "served", 0.0),
        ("new", "served", 1.0),
        ("new", "rejected", 0.0),
        ("default", "served", 1.0),
    ] {
        let series = format!("weir_requests_total{{class=\"{class}\",outcome=\"{outcome}\"}}");
        check(&found, &series, count);
    }
    let series = "weir_rejected_total{class=\"gold\",reason=\"class_share\"}";
    check(&found, series, 1.0);
    let totals = telemetry.totals();
    assert_eq!(totals.outcome(Outcome::Served), 2, "over all classes");
    assert_eq!(totals.capacity_rejects(), 1);
    let names: Vec<_> = telemetry
        .classes(&PolicyFigures::default())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["default", "new", "gold"].map(Arc::from));
}

#[test]
fn bad_hints_and_late_dispatches_are_counted() {
    let telemetry = Telemetry::new();
    telemetry.metrics.bad_hint(Hint::Deadline);
    telemetry.metrics.bad_hint(Hint::Deadline);
    telemetry.metrics.bad_hint(Hint::Tenant);
    telemetry.metrics.expired_dispatch();
    let found = series(&telemetry.render(&figures()));
    check(&found, "weir_bad_hint_total{header=\"deadline\"}", 2.0);
    check(&found, "weir_bad_hint_total{header=\"tenant\"}", 1.0);
    check(&found, "weir_bad_hint_total{header=\"cost\"}", 0.0);
    check(&found, "weir_expired_dispatches_total", 1.0);
}

#[test]
fn the_shadow_tells_what_it_would_refuse_and_what_would_be_enough() {
    let telemetry = configured(&["default", "gold"], None);
    let shadow = |count| PolicyFigures {
        is_shadow: true,
        shadow_rejected: vec![ByReason::default(), refused(RejectReason::QueueWait, count)],
        enough_units: u64::from(UNITS_PER_TASK) * 12 + 1,
        ..PolicyFigures::default()
    };
    let would = "weir_shadow_rejected_total{class=\"gold\",reason=\"queue_wait\"}";
    for _ in 0..2 {
        // Twice the same: it is a count of the gate's, not one that each scrape adds.
        let found = series(&telemetry.render(&with(shadow(7))));
        check(&found, would, 7.0);
        check(&found, "weir_shadow_sufficient_permits", 13.0);
    }
    let more_than_known = PolicyFigures {
        enough_units: u64::MAX,
        ..shadow(9)
    };
    let text = telemetry.render(&with(more_than_known));
    let line = "weir_shadow_sufficient_permits +Inf";
    assert!(text.lines().any(|found| found == line), "{text}");

    let enforced = PolicyFigures {
        is_shadow: false,
        ..shadow(9)
    };
    let found = series(&telemetry.render(&with(enforced)));
    check(&found, would, 9.0);
    let gauge = found.get("weir_shadow_sufficient_permits");
    assert_eq!(gauge, None, "outside of shadow mode nobody knows");
}

#[test]
fn a_tick_tells_when_the_shadow_would_begin_to_refuse() {
    let log = log::tests::capture(LogFormat::Json, "info", |_| {
        let telemetry = configured(&["default"], None);
        let start = Instant::now();
        for (second, count) in [(0, 0), (1, 4), (2, 6), (3, 6), (7, 6), (8, 6)] {
            let policy = PolicyFigures {
                is_shadow: true,
                shadow_rejected: vec![refused(RejectReason::Codel, count)],
                enough_units: u64::from(UNITS_PER_TASK) * 3,
                ..PolicyFigures::default()
            };
            telemetry.tick(start + Duration::from_secs(second), &with(policy));
            assert!(!telemetry.is_overloaded(), "nobody was refused");
        }
    });
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!(lines[0]["would_reject"], 4);
    assert_eq!(lines[1]["would_reject"], 6);
    assert_eq!(lines[1]["by_reason"], "codel=6");
    assert_eq!(lines[1]["sufficient_permits"], 3.0);
    assert_eq!(lines[1]["lasted_ms"], 1000);
}

#[test]
fn predictions_and_service_times_are_shown_in_seconds() {
    let telemetry = configured(&["default", "gold", "new"], None);
    let known = Quantiles {
        p10: Duration::from_millis(20),
        p50: Duration::from_millis(50),
        p90: Duration::from_micros(90_500),
    };
    let policy = PolicyFigures {
        prediction: PredictionError {
            count: 3,
            waited_micros: 9_000_000,
            longer_micros: 1_500_001,
            shorter_micros: 20,
        },
        service: vec![None, Some(known), None],
        ..PolicyFigures::default()
    };
    let found = series(&telemetry.render(&with(policy)));
    check(&found, "weir_predicted_waits_total", 3.0);
    let error = "weir_predicted_wait_error_seconds_total";
    let of = |direction: &str| found[&format!("{error}{{direction=\"{direction}\"}}")];
    assert!((of("longer") - 1.500_001).abs() < 1e-9);
    assert!((of("shorter") - 0.000_02).abs() < 1e-9);
    let quantile = |class: &str, quantile: &str| {
        let labels = format!("{{class=\"{class}\",quantile=\"{quantile}\"}}");
        found[&format!("weir_service_quantile_seconds{labels}")]
    };
    for (at, seconds) in [("0.1", 0.02), ("0.5", 0.05), ("0.9", 0.0905)] {
        assert!((quantile("gold", at) - seconds).abs() < 1e-9, "{at}");
        for class in ["default", "new"] {
            assert!(quantile(class, at).is_nan(), "{class} is not known");
        }
    }
}

#[test]
fn the_busiest_tenants_have_series_by_name() {
    let telemetry = configured(&["default"], Some(1));
    let metrics = &telemetry.metrics;
    let start = Instant::now();
    let ask = |key, name: &str| {
        let tenant = Some((TenantKey::new(key), name.as_bytes()));
        let account = metrics.account(ClassId(0), tenant);
        metrics.finished(account, Outcome::Rejected);
        metrics.rejected(account, RejectReason::TenantRate);
    };
    (0..10).for_each(|_| ask(1, "acme"));
    telemetry.tick(start, &figures());
    (0..5).for_each(|_| ask(1, "acme"));
    ask(2, "other one");
    metrics.finished(Account::default(), Outcome::Served);
    let found = series(&telemetry.render(&figures()));
    for name in ["weir_tenant_requests_total", "weir_tenant_rejected_total"] {
        check(&found, &format!("{name}{{tenant=\"acme\"}}"), 5.0);
        check(&found, &format!("{name}{{tenant=\"other\"}}"), 11.0);
    }
    assert_eq!(
        found.keys().filter(|name| name.contains("tenant=")).count(),
        4
    );
}
