//! One request's record: counted exactly once, whatever ends it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{Method, Request, Uri};

use super::Connection;
use super::Shared;
use super::answer::error::ProxyError;
use super::head::check::Refusal;
use crate::admission::{Outcome, RejectReason};
use crate::telemetry::events::{self, Finished};
use crate::telemetry::{Account, Metrics, Source, WaitEnd};

/// What is known of a request so far. Dropping it counts it.
#[derive(Debug)]
pub(super) struct Record {
    connection: Arc<Connection>,
    /// For the access log; `None` if there is none.
    target: Option<(Method, Uri)>,
    arrived: Instant,
    account: Account,
    /// In bytes of the backend's memory.
    cost: u64,
    /// When its client gives up, if that is known.
    deadline: Option<Instant>,
    admitted: Option<Instant>,
    outcome: Option<Outcome>,
    ended: Option<Instant>,
    status: Option<u16>,
    reason: Option<RejectReason>,
}

impl Record {
    pub(super) fn begin<B>(connection: &Arc<Connection>, request: &Request<B>) -> Self {
        let shared = &connection.shared;
        connection.client.begin_request();
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let is_logged = shared.telemetry.access_log();
        Self {
            target: is_logged.then(|| (request.method().clone(), request.uri().clone())),
            arrived: shared.now(),
            account: Account::default(),
            cost: 0,
            deadline: None,
            admitted: None,
            outcome: None,
            ended: None,
            status: None,
            reason: None,
            connection: connection.clone(),
        }
    }

    /// The connection that the request came on.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// When its head was complete.
    pub(super) fn arrived_at(&self) -> Instant {
        self.arrived
    }

    /// In whose name it is counted, its cost in bytes of the backend's memory, and when its client
    /// gives up.
    pub(super) fn classified(&mut self, account: Account, cost: u64, deadline: Option<Instant>) {
        self.account = account;
        self.cost = cost;
        self.deadline = deadline;
    }

    /// Whether its client gave it no time at all.
    pub(super) fn is_born_expired(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= self.arrived)
    }

    /// Whether its client has given up by now.
    pub(super) fn has_expired(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= self.shared().now())
    }

    /// It is to go to the backend now, unless its client has given up since it was admitted.
    pub(super) fn dispatch(&self) -> Result<(), ProxyError> {
        if self.has_expired() {
            self.metrics().expired_dispatch();
            // In the shadow nothing is refused.
            if !self.shared().gate.is_shadow() {
                return Err(ProxyError::Expired);
            }
        }
        Ok(())
    }

    /// How long it waited, if its client gives up some time; `None` if it did not wait.
    pub(super) fn waited(&self) -> Option<Duration> {
        let admitted = self.admitted.filter(|admitted| *admitted > self.arrived)?;
        self.deadline.map(|_| admitted - self.arrived)
    }

    /// When it got its permit, or arrived.
    pub(super) fn admitted_at(&self) -> Instant {
        self.admitted.unwrap_or(self.arrived)
    }

    /// A permit is held from now on.
    pub(super) fn admitted(&mut self, was_queued: bool) {
        self.metrics().cost(self.cost);
        if was_queued {
            let now = self.shared().now();
            self.admitted = Some(now);
            self.end_wait(WaitEnd::Granted, now);
        } else {
            // A decision at once takes less than the clock can tell.
            self.admitted = Some(self.arrived);
            self.metrics().queue_wait(WaitEnd::Granted, Duration::ZERO);
        }
    }

    /// Refused, after a wait or at once.
    pub(super) fn reject(&mut self, reason: RejectReason, status: u16) {
        let now = self.shared().now();
        if matches!(reason, RejectReason::QueueWait | RejectReason::Expired) {
            self.end_wait(WaitEnd::Rejected, now);
        }
        self.reason = Some(reason);
        self.answer(Source::Weir, status);
        self.finish(Outcome::Rejected);
        events::rejected(&self.shared().telemetry, self.account, reason, now);
    }

    /// The client left before it had a permit.
    pub(super) fn abandon(&mut self) {
        let now = self.shared().now();
        self.end_wait(WaitEnd::Abandoned, now);
        self.finish(Outcome::Abandoned);
    }

    /// The upstream's response head has come. Returns when.
    pub(super) fn head(&mut self, status: u16) -> Instant {
        let now = self.shared().now();
        if let Some(admitted) = self.admitted {
            self.metrics()
                .first_byte(now.saturating_duration_since(admitted));
        }
        self.answer(Source::Upstream, status);
        now
    }

    /// Failed, by the upstream or by the client's body. `status` is what the client is sent.
    pub(super) fn fail(&mut self, error: &ProxyError, status: u16) {
        let telemetry = &self.shared().telemetry;
        if let Some(kind) = error.upstream_kind() {
            events::upstream_error(telemetry, kind, error);
        } else if let Some(kind) = error.client_kind() {
            let peer = Some(self.connection.client.peer);
            events::connection_error(telemetry, kind, peer, error, &[]);
        }
        self.answer(Source::Weir, status);
        self.finish(Outcome::Failed);
    }

    /// Refused for what its head says.
    pub(super) fn refuse(&mut self, refusal: &Refusal, status: u16) {
        let peer = self.connection.client.peer;
        let telemetry = &self.shared().telemetry;
        events::refused(telemetry, refusal.rule, peer, status, &refusal.excerpt);
        self.answer(Source::Weir, status);
        self.finish(Outcome::Failed);
    }

    /// Says how the request ended, and when. The first word counts.
    pub(super) fn finish(&mut self, outcome: Outcome) -> Instant {
        self.outcome.get_or_insert(outcome);
        let shared = &self.connection.shared;
        *self.ended.get_or_insert_with(|| shared.now())
    }

    fn answer(&mut self, source: Source, status: u16) {
        self.status = Some(status);
        self.metrics().response(source, status);
    }

    fn end_wait(&self, end: WaitEnd, now: Instant) {
        self.metrics()
            .queue_wait(end, now.saturating_duration_since(self.arrived));
    }

    fn shared(&self) -> &Shared {
        &self.connection.shared
    }

    fn metrics(&self) -> &Metrics {
        &self.shared().telemetry.metrics
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = match (self.outcome, self.admitted) {
            (Some(outcome), _) => outcome,
            (None, _) if std::thread::panicking() => Outcome::Failed,
            (None, Some(_)) => Outcome::Cancelled,
            (None, None) => Outcome::Abandoned,
        };
        let now = self.ended.unwrap_or_else(|| self.shared().now());
        let held = self
            .admitted
            .map(|admitted| now.saturating_duration_since(admitted));
        if let (Outcome::Served, Some(held)) = (outcome, held) {
            self.metrics().service_time(held);
            self.shared().pace.note(held);
        }
        let finished = Finished {
            client: self.connection.client.peer,
            target: self
                .target
                .as_ref()
                .map(|(method, uri)| (method, uri.path())),
            account: self.account,
            status: self.status,
            outcome,
            reject: self.reason,
            queue_wait: self
                .admitted
                .unwrap_or(now)
                .saturating_duration_since(self.arrived),
            service: held,
        };
        events::finished(&self.shared().telemetry, &finished);
        let millis = self.shared().millis_at(now);
        self.connection.client.end_request(millis);
        self.shared().requests.fetch_sub(1, Ordering::Release);
    }
}
