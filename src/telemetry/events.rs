//! One function per event: it counts and logs in one place, so that neither is forgotten.
//!
//! What a client can cause at will is rate-limited (rejects, refusals, upstream errors, failed
//! accepts) or below the default level (connections that break or fall silent). Text of others is recorded as a string
//! field, which the formatters escape, and never as a label or as the message.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;

use super::Telemetry;
use super::labels::{ConnectionError, Rule, UpstreamError};
use crate::admission::{Outcome, RejectReason};

/// The longest path that an access line shows, in bytes.
const PATH_BYTES_MAX: usize = 256;

/// The most that a line shows of what was refused, in bytes before they are escaped.
const EXCERPT_BYTES_MAX: usize = 64;

/// A request that is over, as the access line shows it.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// Who asked; the peer of the connection.
    pub client: SocketAddr,
    /// With what method, and for what path; nobody keeps them while there is no access log.
    pub target: Option<(&'a Method, &'a str)>,
    /// The status that the client was sent, if it was sent one.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused, if it was.
    pub reject: Option<RejectReason>,
    /// How long it waited for a permit.
    pub queue_wait: Duration,
    /// How long it held one.
    pub service: Option<Duration>,
}

/// A request ended: once for each. Writes the access line if there shall be one.
pub fn finished(telemetry: &Telemetry, request: &Finished<'_>) {
    telemetry.metrics.finished(request.outcome);
    let Some((method, path)) = request.target.filter(|_| telemetry.access_log()) else {
        return;
    };
    tracing::info!(
        target: "weir::access",
        client = %request.client,
        method = method_name(method),
        path = shortened(path),
        status = request.status,
        outcome = request.outcome.label(),
        reject_reason = request.reject.map(RejectReason::label),
        queue_wait_ms = millis(request.queue_wait),
        service_ms = request.service.map(millis),
        "request"
    );
}

/// A request was refused, now. At most one line per second and reason.
pub fn rejected(telemetry: &Telemetry, reason: RejectReason, now: Instant) {
    telemetry.metrics.rejected(reason);
    let age = telemetry.age_at(now);
    if let Some(suppressed) = telemetry.throttles.rejects[reason as usize].pass(age) {
        tracing::info!(reason = reason.label(), suppressed, "request rejected");
    }
}

/// A request was refused because of what its head says. At most one line per second and rule.
/// `excerpt` is what the client wrote; it is escaped and cut here.
pub fn refused(telemetry: &Telemetry, rule: Rule, client: SocketAddr, status: u16, excerpt: &[u8]) {
    if let Some(suppressed) = telemetry.throttles.refusals[rule as usize].pass(telemetry.age()) {
        tracing::info!(
            rule = rule.label(),
            status,
            %client,
            excerpt = escaped(excerpt),
            suppressed,
            "request refused"
        );
    }
}

/// A client connection went wrong, outside of a request. Clients can cause as many as they like:
/// what they sent wrong is told once a second and kind, that they broke off or fell silent is for
/// debugging; that accepting fails is weir's own trouble.
pub fn connection_error(
    telemetry: &Telemetry,
    kind: ConnectionError,
    client: Option<SocketAddr>,
    detail: &dyn Display,
    excerpt: &[u8],
) {
    telemetry.metrics.connection_error(kind);
    let pass = || telemetry.throttles.connections[kind as usize].pass(telemetry.age());
    let client = client.map(tracing::field::display);
    let excerpt = (!excerpt.is_empty()).then(|| escaped(excerpt));
    match kind {
        ConnectionError::Accept => {
            if let Some(suppressed) = pass() {
                tracing::warn!(
                    suppressed,
                    detail = detail.to_string(),
                    "cannot accept a connection"
                );
            }
        }
        ConnectionError::Head
        | ConnectionError::Parse
        | ConnectionError::TooLarge
        | ConnectionError::H2
        | ConnectionError::BodyIdle
        | ConnectionError::Body => {
            if let Some(suppressed) = pass() {
                tracing::info!(
                    rule = kind.label(),
                    client,
                    excerpt,
                    suppressed,
                    detail = detail.to_string(),
                    "request refused"
                );
            }
        }
        ConnectionError::Sniff | ConnectionError::WriteStall | ConnectionError::Io => {
            tracing::debug!(
                kind = kind.label(),
                client,
                detail = detail.to_string(),
                "client connection failed"
            );
        }
    }
}

/// The upstream failed an exchange. At most one line per second and kind.
pub fn upstream_error(telemetry: &Telemetry, kind: UpstreamError, detail: &dyn Display) {
    telemetry.metrics.upstream_error(kind);
    if let Some(suppressed) = telemetry.throttles.upstream[kind as usize].pass(telemetry.age()) {
        tracing::warn!(
            kind = kind.label(),
            suppressed,
            detail = detail.to_string(),
            "the upstream failed a request"
        );
    }
}

/// A panic was caught: a bug of weir's own.
pub fn panicked(telemetry: &Telemetry, detail: &dyn Display) {
    telemetry.metrics.panicked();
    tracing::error!(
        detail = detail.to_string(),
        "panic: this is a bug of weir; the request was answered with 500"
    );
}

/// A new configuration took effect: which keys changed, and how many permits there are now.
/// `restart` names the keys that only a restart makes effective.
pub fn reloaded(telemetry: &Telemetry, applied: &[String], restart: &[String], permits: u32) {
    telemetry.metrics.reload(true);
    let changed = applied.join(", ");
    tracing::info!(changed, permits, "configuration reloaded");
    if !restart.is_empty() {
        tracing::warn!(
            keys = restart.join(", "),
            "changed keys take effect only after a restart"
        );
    }
}

/// A new configuration was refused; the old one stays. One line per problem.
pub fn reload_failed(telemetry: &Telemetry, problems: &[String]) {
    telemetry.metrics.reload(false);
    tracing::error!(
        problems = problems.len(),
        "the new configuration is invalid; the one that was loaded before stays in effect"
    );
    for problem in problems {
        tracing::error!(problem, "configuration");
    }
}

/// weir went on to this phase.
pub fn phase_entered(phase: &'static str) {
    tracing::info!(phase, "phase entered");
}

/// The nine methods of HTTP's registry that are in common use; any other text is the client's.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [(&Method, &str); 9] = [
        (&Method::GET, "GET"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::DELETE, "DELETE"),
        (&Method::HEAD, "HEAD"),
        (&Method::OPTIONS, "OPTIONS"),
        (&Method::PATCH, "PATCH"),
        (&Method::CONNECT, "CONNECT"),
        (&Method::TRACE, "TRACE"),
    ];
    KNOWN
        .iter()
        .find(|(known, _)| *known == method)
        .map_or("OTHER", |(_, name)| name)
}

/// Printable ASCII whatever the client wrote, and not much of it.
fn escaped(excerpt: &[u8]) -> String {
    let shown = &excerpt[..excerpt.len().min(EXCERPT_BYTES_MAX)];
    let cut = if shown.len() < excerpt.len() {
        "…"
    } else {
        ""
    };
    format!("{}{cut}", shown.escape_ascii())
}

/// Cut between two characters.
fn shortened(path: &str) -> &str {
    let end = (0..=PATH_BYTES_MAX.min(path.len()))
        .rev()
        .find(|&end| path.is_char_boundary(end));
    &path[..end.unwrap_or(0)]
}

/// Milliseconds with three decimals: what a JSON number and a reader both take.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::capture;
    use super::super::{LogFormat, Telemetry};
    use super::*;
    use serde_json::Value;

    fn request<'a>(method: &'a Method, path: &'a str) -> Finished<'a> {
        Finished {
            client: ([127, 0, 0, 1], 4000).into(),
            target: Some((method, path)),
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
                rejected(&telemetry, RejectReason::QueueDepth, now);
            }
            rejected(&telemetry, RejectReason::NoPermit, now);
            let later = now + Duration::from_secs(1);
            rejected(&telemetry, RejectReason::QueueDepth, later);
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
}
