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
use super::labels::{ConnectionError, Rule, TlsFailure, UpstreamError};
use super::metrics::Account;
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
    /// In whose name it is counted.
    pub account: Account,
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
    telemetry.metrics.finished(request.account, request.outcome);
    let Some((method, path)) = request.target.filter(|_| telemetry.access_log()) else {
        return;
    };
    tracing::info!(
        target: "weir::access",
        client = %request.client,
        method = method_name(method),
        path = shortened(path),
        class = &*telemetry.metrics.class_name(request.account),
        status = request.status,
        outcome = request.outcome.label(),
        reject_reason = request.reject.map(RejectReason::label),
        queue_wait_ms = millis(request.queue_wait),
        service_ms = request.service.map(millis),
        "request"
    );
}

/// A request was refused, now. At most one line per second and reason.
pub fn rejected(telemetry: &Telemetry, account: Account, reason: RejectReason, now: Instant) {
    telemetry.metrics.rejected(account, reason);
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
        | ConnectionError::Flood
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

/// A TLS handshake failed. At most one line per second and kind.
pub fn tls_handshake_failed(
    telemetry: &Telemetry,
    kind: TlsFailure,
    client: SocketAddr,
    detail: &dyn Display,
) {
    telemetry.metrics.tls_failure(kind);
    let (kind, label) = (kind as usize, kind.label());
    if let Some(suppressed) = telemetry.throttles.tls[kind].pass(telemetry.age()) {
        tracing::info!(
            kind = label,
            client = %client,
            suppressed,
            detail = detail.to_string(),
            "a TLS handshake failed"
        );
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
mod tests;
