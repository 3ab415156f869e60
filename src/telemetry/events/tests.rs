//! What the events count, and what their lines say.

use super::*;
use crate::admission::{ClassId, TenantKey};
use crate::telemetry::log::tests::capture;
use crate::telemetry::{Labels, LogFormat, PolicyFigures};
use serde_json::Value;

fn request<'a>(method: &'a Method, path: &'a str) -> Finished<'a> {
    Finished {
        client: ([127, 0, 0, 1], 4000).into(),
        target: Some((method, path)),
        account: Account::default(),
        status: Some(503),
        outcome: Outcome::Rejected,
        reject: Some(RejectReason::QueueWait),
        queue_wait: Duration::from_micros(1500),
        service: None,
    }
}

fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object per line"))
        .collect()
}

#[test]
fn an_access_line_is_one_json_object_whatever_the_path() {
    let telemetry = Telemetry::new();
    telemetry.set_access_log(true);
    let hostile = [
        "/\n{\"outcome\":\"served\"}",
        "/\r\n\u{1b}[31mred\u{1b}[0m",
        "/\"quoted\\\"\u{0}\u{7f}\u{2028}",
        "/%0a%0d",
    ];
    let log = capture(LogFormat::Json, "info", |_| {
        for path in hostile {
            finished(&telemetry, &request(&Method::GET, path));
        }
    });
    let lines = lines(&log);
    assert_eq!(lines.len(), hostile.len());
    for (line, path) in lines.iter().zip(hostile) {
        assert_eq!(line["path"], path, "kept, but escaped");
        assert_eq!(line["outcome"], "rejected");
    }
    assert!(!log.contains('\u{1b}') && !log.contains('\r'));
}

#[test]
fn a_readable_line_is_one_line_too() {
    let telemetry = Telemetry::new();
    telemetry.set_access_log(true);
    let log = capture(LogFormat::Text, "info", |_| {
        finished(&telemetry, &request(&Method::GET, "/\n\u{1b}[31m\rfake"));
        upstream_error(&telemetry, UpstreamError::Reset, &"a\nfake\u{1b}[0m");
        panicked(&telemetry, &"b\r\nfake");
        reload_failed(&telemetry, &["c\nfake".to_owned()]);
    });
    assert_eq!(log.lines().count(), 5, "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\r'), "{log}");
}

#[test]
fn an_access_line_has_its_fields_and_no_others() {
    let telemetry = Telemetry::new();
    telemetry.set_access_log(true);
    let long = format!("/{}é", "a".repeat(PATH_BYTES_MAX - 2));
    let odd = Method::from_bytes(b"GETT").expect("a token");
    let written = capture(LogFormat::Json, "info", |_| {
        finished(&telemetry, &request(&odd, &long));
        let served = Finished {
            status: Some(200),
            outcome: Outcome::Served,
            reject: None,
            service: Some(Duration::from_millis(20)),
            ..request(&Method::PATCH, "/x")
        };
        finished(&telemetry, &served);
    });
    let lines = lines(&written);
    assert_eq!(lines[0]["class"], "default");
    assert_eq!(lines[0]["method"], "OTHER");
    assert_eq!(
        lines[0]["path"],
        long[..PATH_BYTES_MAX - 1],
        "whole characters"
    );
    assert_eq!(lines[0]["reject_reason"], "queue_wait");
    assert_eq!(lines[0]["queue_wait_ms"], 1.5);
    assert_eq!(lines[0].get("service_ms"), None);
    assert_eq!(lines[1]["method"], "PATCH");
    assert_eq!(lines[1]["client"], "127.0.0.1:4000");
    assert_eq!(lines[1]["status"], 200);
    assert_eq!(lines[1]["service_ms"], 20.0);
    assert_eq!(lines[1].get("reject_reason"), None);
}

#[test]
fn an_access_line_names_the_class_and_nobody() {
    let telemetry = Telemetry::new();
    telemetry.set_access_log(true);
    let labels = Labels {
        classes: vec!["default".to_owned(), "gold".to_owned()],
        tenants: Some(1),
    };
    telemetry.set_labels(&labels, &PolicyFigures::default());
    let tenant = Some((TenantKey::new(1), b"acme".as_slice()));
    for format in [LogFormat::Json, LogFormat::Text] {
        let log = capture(format, "info", |_| {
            let of_gold = Finished {
                account: telemetry.metrics.account(ClassId(1), tenant),
                ..request(&Method::GET, "/")
            };
            finished(&telemetry, &of_gold);
        });
        let class = match format {
            LogFormat::Text => "class=\"gold\"",
            LogFormat::Json | LogFormat::Auto => "\"class\":\"gold\"",
        };
        assert!(log.contains(class), "{log}");
        assert!(log.contains("queue_wait") && !log.contains("acme"), "{log}");
    }
}

#[test]
fn without_the_access_log_a_request_is_only_counted() {
    let telemetry = Telemetry::new();
    let log = capture(LogFormat::Json, "trace", |_| {
        finished(&telemetry, &request(&Method::GET, "/"));
    });
    assert_eq!(log, "");
    assert_eq!(telemetry.totals().outcome(Outcome::Rejected), 1);
}

#[test]
fn rejects_are_all_counted_and_rarely_logged() {
    let telemetry = Telemetry::new();
    let log = capture(LogFormat::Json, "info", |_| {
        let now = Instant::now();
        for _ in 0..1000 {
            rejected(
                &telemetry,
                Account::default(),
                RejectReason::QueueDepth,
                now,
            );
        }
        rejected(&telemetry, Account::default(), RejectReason::NoPermit, now);
        let later = now + Duration::from_secs(1);
        rejected(
            &telemetry,
            Account::default(),
            RejectReason::QueueDepth,
            later,
        );
    });
    let totals = telemetry.totals();
    assert_eq!(totals.reason(RejectReason::QueueDepth), 1001);
    assert_eq!(totals.capacity_rejects(), 1002);
    let lines = lines(&log);
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["reason"].as_str(), line["suppressed"].as_u64()))
        .collect();
    let expected = [("queue_depth", 0), ("no_permit", 0), ("queue_depth", 999)];
    assert_eq!(
        told,
        expected.map(|(reason, suppressed)| (Some(reason), Some(suppressed))),
        "each reason has a second of its own"
    );
}

#[test]
fn refusals_are_rare_lines_that_no_client_can_shape() {
    let telemetry = Telemetry::new();
    let peer = ([127, 0, 0, 1], 9).into();
    let hostile = b"a\r\n{\"rule\":\"x\"}\x1b[31m\xff\0\xe2\x80\xa8";
    let log = capture(LogFormat::Json, "info", |_| {
        for _ in 0..100 {
            refused(&telemetry, Rule::HostInvalid, peer, 400, hostile);
            refused(&telemetry, Rule::TransferCoding, peer, 501, &[b'x'; 1000]);
            let kind = ConnectionError::Parse;
            connection_error(&telemetry, kind, Some(peer), &"invalid", hostile);
        }
    });
    assert!(log.is_ascii() || log.matches('…').count() == 1, "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\r'), "{log}");
    let lines = lines(&log);
    assert_eq!(lines.len(), 3, "{log}");
    assert_eq!(lines[0]["rule"], "host_invalid");
    assert_eq!(lines[0]["status"], 400);
    assert_eq!(lines[0]["client"], "127.0.0.1:9");
    assert_eq!(
        lines[0]["excerpt"],
        r#"a\r\n{\"rule\":\"x\"}\x1b[31m\xff\x00\xe2\x80\xa8"#
    );
    assert_eq!(lines[1]["excerpt"], format!("{}…", "x".repeat(64)));
    assert_eq!(
        (&lines[2]["rule"], &lines[2]["detail"]),
        (&"parse".into(), &"invalid".into())
    );
    assert_eq!(telemetry.totals().connection_errors, 100);
}

#[test]
fn every_rule_has_a_label_of_its_own() {
    let mut labels: Vec<_> = Rule::ALL.iter().map(|rule| rule.label()).collect();
    for (at, rule) in Rule::ALL.into_iter().enumerate() {
        assert_eq!(rule as usize, at);
    }
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Rule::ALL.len());
}

#[test]
fn errors_are_counted_and_told() {
    let telemetry = Telemetry::new();
    let log = capture(LogFormat::Json, "debug", |_| {
        let peer = Some(([127, 0, 0, 1], 9).into());
        connection_error(&telemetry, ConnectionError::Io, peer, &"reset", b"");
        connection_error(
            &telemetry,
            ConnectionError::Accept,
            None,
            &"no descriptors",
            b"",
        );
        upstream_error(&telemetry, UpstreamError::Connect, &"refused\nat once");
        panicked(&telemetry, &"index out of bounds");
        reload_failed(&telemetry, &["a: b".to_owned(), "c: d".to_owned()]);
    });
    let lines = lines(&log);
    let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str()).collect();
    let expected = ["DEBUG", "WARN", "WARN", "ERROR", "ERROR", "ERROR", "ERROR"];
    assert_eq!(levels, expected.map(Some));
    assert_eq!(lines[0]["client"], "127.0.0.1:9");
    assert_eq!(lines[2]["detail"], "refused\nat once");
    assert_eq!(lines[6]["problem"], "c: d");
    let totals = telemetry.totals();
    assert_eq!((totals.connection_errors, totals.upstream_errors), (2, 1));
    assert_eq!((totals.panics, totals.reloads_failed), (1, 1));
    assert!(!totals.last_reload_ok);
    reloaded(&telemetry, &[], &[], 1);
    assert!(telemetry.totals().last_reload_ok);
}
