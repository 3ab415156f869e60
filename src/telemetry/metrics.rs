//! What the data path counts, and how it gets into the text that a scrape reads.
//!
//! Counters are plain atomics of our own, because the process reads them back (demand, overload,
//! `/status`); the exporter gets a copy at each scrape. Histograms are our own, too, and render
//! themselves. Nothing on the hot path looks a name up, reads a clock or allocates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::classes::{ClassRow, Classes};
use super::histogram::{Family, Histogram};
use super::labels::{
    CODES, ConnectionError, HANDSHAKES, RESULTS, Source, TlsFailure, UpstreamError, WaitEnd,
};
use super::names;
use super::tenants::{TenantRow, Tenants};
use crate::admission::classify::Hint;
use crate::admission::{ClassId, Outcome, RejectReason, TenantKey};

/// What is counted. One per weir, shared; every method is cheap and never blocks.
#[derive(Debug)]
pub struct Metrics {
    counts: Counts,
    classes: Classes,
    tenants: Tenants,
    queue_wait: [Histogram; WaitEnd::ALL.len()],
    service: Histogram,
    first_byte: Histogram,
    cost: Histogram,
}

/// In whose name a request is counted: its class's and its tenant's. The default is for what was not
/// classified: the default class, and nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    class: ClassRow,
    tenant: TenantRow,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            class: ClassRow::default(),
            tenant: TenantRow::NONE,
        }
    }
}

/// The other counters. Indexed by the position of the label in its `ALL`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bad_hints: [AtomicU64; Hint::ALL.len()],
    pub(super) expired_dispatches: AtomicU64,
    pub(super) responses: [[AtomicU64; CODES.len()]; Source::ALL.len()],
    pub(super) connections: AtomicU64,
    pub(super) connection_errors: [AtomicU64; ConnectionError::ALL.len()],
    pub(super) tls_handshakes: [AtomicU64; HANDSHAKES.len()],
    pub(super) tls_failures: [AtomicU64; TlsFailure::ALL.len()],
    /// Seconds since the Unix epoch; 0 for none.
    pub(super) tls_expires: AtomicU64,
    pub(super) upstream_connections: AtomicU64,
    pub(super) upstream_errors: [AtomicU64; UpstreamError::ALL.len()],
    pub(super) upstream_retries: AtomicU64,
    pub(super) upstream_retries_denied: AtomicU64,
    pub(super) tunnels: AtomicU64,
    pub(super) reloads: [AtomicU64; RESULTS.len()],
    pub(super) last_reload_failed: AtomicBool,
    pub(super) panics: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Finished requests, in the order of [`Outcome::ALL`].
    pub requests: [u64; Outcome::ALL.len()],
    /// Rejects, in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Permits that came back.
    pub service_count: u64,
    /// How long they were held, together.
    pub service_sum: Duration,
    /// Open client connections.
    pub connections: u64,
    /// Open connections to the upstream.
    pub upstream_connections: u64,
    /// Tunnels open.
    pub tunnels: u64,
    /// Requests sent again on a fresh connection.
    pub upstream_retries: u64,
    /// Requests not sent again because the retry budget was spent.
    pub upstream_retries_denied: u64,
    /// Exchanges that the upstream failed, of every kind.
    pub upstream_errors: u64,
    /// Errors on client connections, of every kind.
    pub connection_errors: u64,
    /// Reloads that succeeded.
    pub reloads_ok: u64,
    /// Reloads that failed.
    pub reloads_failed: u64,
    /// Whether the configuration that was last read was good.
    pub last_reload_ok: bool,
    /// Panics caught.
    pub panics: u64,
}

impl Totals {
    /// Requests that ended this way.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.requests[outcome as usize]
    }

    /// Rejects for this reason.
    #[must_use]
    pub fn reason(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize]
    }

    /// Every outcome's label and count.
    pub fn by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL
            .map(Outcome::label)
            .into_iter()
            .zip(self.requests)
    }

    /// Every reason's label and count.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RejectReason::ALL
            .map(RejectReason::label)
            .into_iter()
            .zip(self.rejected)
    }

    /// Rejects that more capacity would have prevented.
    #[must_use]
    pub fn capacity_rejects(&self) -> u64 {
        RejectReason::ALL
            .into_iter()
            .filter(|reason| reason.is_capacity())
            .map(|reason| self.reason(reason))
            .sum()
    }
}

impl Metrics {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            counts: Counts::default(),
            classes: Classes::new(),
            tenants: Tenants::new(),
            queue_wait: WaitEnd::ALL.map(|_| Histogram::new(&names::QUEUE_WAIT_SECONDS)),
            service: Histogram::new(&names::SERVICE_SECONDS),
            first_byte: Histogram::new(&names::UPSTREAM_FIRST_BYTE_SECONDS),
            cost: Histogram::new(&names::REQUEST_COST_BYTES),
        })
    }

    /// In whose name a request of this class and this tenant is counted. To be asked once for each
    /// that arrives: it also says who is busy.
    #[must_use]
    pub fn account(&self, class: ClassId, tenant: Option<(TenantKey, &[u8])>) -> Account {
        Account {
            class: self.classes.row(class),
            tenant: tenant.map_or(TenantRow::NONE, |(key, name)| self.tenants.row(key, name)),
        }
    }

    /// The name of the class.
    pub(super) fn class_name(&self, account: Account) -> Arc<str> {
        self.classes.name(account.class)
    }

    /// A request ended. Exactly once for each.
    pub fn finished(&self, account: Account, outcome: Outcome) {
        self.classes.finished(account.class, outcome);
        self.tenants.finished(account.tenant);
    }

    /// A request was refused.
    pub fn rejected(&self, account: Account, reason: RejectReason) {
        self.classes.rejected(account.class, reason);
        self.tenants.rejected(account.tenant);
    }

    /// A request said something of itself that could not be used.
    pub fn bad_hint(&self, hint: Hint) {
        add(&self.counts.bad_hints[hint as usize]);
    }

    /// A request is sent to the upstream although its client has given up.
    pub fn expired_dispatch(&self) {
        add(&self.counts.expired_dispatches);
    }

    /// A response head was sent to a client.
    pub fn response(&self, source: Source, status: u16) {
        let class = usize::from(status / 100).clamp(1, CODES.len()) - 1;
        add(&self.counts.responses[source as usize][class]);
    }

    /// A wait for a permit ended.
    pub fn queue_wait(&self, end: WaitEnd, waited: Duration) {
        self.queue_wait[end as usize].record_time(waited);
    }

    /// A permit came back.
    pub fn service_time(&self, held: Duration) {
        self.service.record_time(held);
    }

    /// The upstream's response head arrived.
    pub fn first_byte(&self, took: Duration) {
        self.first_byte.record_time(took);
    }

    /// A request was admitted at this cost.
    pub fn cost(&self, bytes: u64) {
        self.cost.record(bytes);
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        add(&self.counts.connections);
    }

    /// A client connection is over.
    pub fn connection_closed(&self) {
        sub(&self.counts.connections);
    }

    /// Open client connections.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// A client connection went wrong.
    pub fn connection_error(&self, kind: ConnectionError) {
        add(&self.counts.connection_errors[kind as usize]);
    }

    /// A TLS handshake succeeded.
    pub fn tls_handshake(&self, is_resumed: bool) {
        add(&self.counts.tls_handshakes[usize::from(is_resumed)]);
    }

    /// A TLS handshake failed.
    pub fn tls_failure(&self, kind: TlsFailure) {
        add(&self.counts.tls_failures[kind as usize]);
    }

    /// When the certificate in use expires, in seconds since the Unix epoch; 0 for none.
    pub fn tls_certificate_expires(&self, unix: u64) {
        self.counts.tls_expires.store(unix, Ordering::Relaxed);
    }

    /// A connection to the upstream was made.
    pub fn upstream_opened(&self) {
        add(&self.counts.upstream_connections);
    }

    /// A connection to the upstream is over.
    pub fn upstream_closed(&self) {
        sub(&self.counts.upstream_connections);
    }

    /// The upstream failed an exchange.
    pub fn upstream_error(&self, kind: UpstreamError) {
        add(&self.counts.upstream_errors[kind as usize]);
    }

    /// A request is sent again on a fresh connection.
    pub fn upstream_retry(&self) {
        add(&self.counts.upstream_retries);
    }

    /// A request was not sent again: too many have been.
    pub fn upstream_retry_denied(&self) {
        add(&self.counts.upstream_retries_denied);
    }

    /// Both sides have switched protocols.
    pub fn tunnel_opened(&self) {
        add(&self.counts.tunnels);
    }

    /// A tunnel is over.
    pub fn tunnel_closed(&self) {
        sub(&self.counts.tunnels);
    }

    /// How many requests have been admitted.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.cost.count()
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        add(&self.counts.panics);
    }

    /// The configuration was read again.
    pub fn reload(&self, ok: bool) {
        add(&self.counts.reloads[usize::from(ok)]);
        self.counts.last_reload_failed.store(!ok, Ordering::Relaxed);
    }

    /// The counters of this moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let counts = &self.counts;
        let classes = self.classes.sum();
        Totals {
            requests: classes.requests,
            rejected: classes.rejected,
            service_count: self.service.count(),
            service_sum: Duration::from_nanos(self.service.sum()),
            connections: self.connections(),
            upstream_connections: get(&counts.upstream_connections),
            tunnels: get(&counts.tunnels),
            upstream_retries: get(&counts.upstream_retries),
            upstream_retries_denied: get(&counts.upstream_retries_denied),
            upstream_errors: counts.upstream_errors.iter().map(get).sum(),
            connection_errors: counts.connection_errors.iter().map(get).sum(),
            reloads_failed: get(&counts.reloads[0]),
            reloads_ok: get(&counts.reloads[1]),
            last_reload_ok: self.last_reload_ok(),
            panics: get(&counts.panics),
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }

    pub(super) fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    /// Whether the configuration that was last read was good.
    pub(super) fn last_reload_ok(&self) -> bool {
        !self.counts.last_reload_failed.load(Ordering::Relaxed)
    }

    /// The histograms' part of a scrape.
    pub(super) fn render_histograms(&self) -> String {
        let ends = WaitEnd::ALL.map(|end| [end.label()]);
        let mut waits = Vec::with_capacity(ends.len());
        for (end, histogram) in ends.iter().zip(&self.queue_wait) {
            waits.push((end.as_slice(), histogram));
        }
        let family = |spec, series| Family { spec, series }.to_string();
        [
            family(&names::QUEUE_WAIT_SECONDS, &waits),
            family(&names::SERVICE_SECONDS, &[(&[], &self.service)]),
            family(
                &names::UPSTREAM_FIRST_BYTE_SECONDS,
                &[(&[], &self.first_byte)],
            ),
            family(&names::REQUEST_COST_BYTES, &[(&[], &self.cost)]),
        ]
        .concat()
    }
}

pub(super) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn sub(counter: &AtomicU64) {
    let before = counter.fetch_sub(1, Ordering::Relaxed);
    debug_assert!(before > 0, "closed more often than opened");
}
