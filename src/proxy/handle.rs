//! **The** function: one request's way through weir, from its head to its response.
//!
//! [`handle`] reads like the list in the module docs; everything else is called from it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::Connection;
use super::answer::error::ClientGone;
use super::answer::respond::{self, Dialect, ResponseBody};
use super::client::Client;
use super::client::stall::Pulse;
use super::forward::exchange::Exchange;
use super::forward::relay::{ClientSide, Sending, relay};
use super::head::check::{Refusal, check};
use super::head::classify::asked;
use super::head::deadline;
use super::head::headers::{CheckedHead, ForwardHead, Hop};
use super::record::Record;
use super::settings::Settings;
use crate::admission::classify::BodyLength;
use crate::admission::{Attempt, ClassId, RejectReason};
use crate::gate::{Arrival, Ask, Cost, Permit, Rejected};

/// What a request that waits costs weir over HTTP/1.1: its connection with the touched half of
/// hyper's read buffer, its task and its head. Measured: 11.9 KiB of resident memory each with 500
/// of them, 13.4 KiB with 2,000.
pub const QUEUED_BYTES_HTTP1: u64 = 14 << 10;
/// The same for a stream of a shared connection. Measured with 2,000 of them: 3.8 KiB each.
pub const QUEUED_BYTES_HTTP2: u64 = 4 << 10;

/// What a TLS session adds to a request that waits over HTTP/1.1. Measured: 7.1 KiB of resident
/// memory each with 800 of them, 8.7 KiB with certificates of the clients.
pub const QUEUED_BYTES_TLS: u64 = 8 << 10;

/// The most that hyper reads ahead of a body that nobody reads: its buffer on HTTP/1.
const AHEAD_HTTP1: u64 = 16 << 10;
/// The stream's window on HTTP/2.
const AHEAD_HTTP2: u64 = super::client::connection::STREAM_WINDOW as u64;

/// The most of a refused body that is read to keep the connection alive.
const DISCARD_BYTES: usize = 64 << 10;

/// How often hyper is given the chance to pass on what has arrived of a refused body.
const DISCARD_TURNS: usize = 16;

/// Serves one request.
pub(super) async fn handle(
    connection: Arc<Connection>,
    request: Request<Incoming>,
    dialect: Dialect,
    pulse: Option<Arc<Pulse>>,
) -> Result<Response<ResponseBody>, ClientGone> {
    let shared = &connection.shared;
    let client = &connection.client;
    let settings = shared.settings.load_full();
    let Arrived {
        mut record,
        ask,
        expects,
        head,
        mut body,
        on_upgrade,
    } = match arrive(&connection, &settings, request, dialect) {
        Ok(arrived) => arrived,
        Err(refused) => return Ok(refused),
    };

    let permit = match admit(&connection, &mut record, &ask).await {
        Admission::Admitted(permit) => permit,
        Admission::Rejected(rejected) => {
            let fields = head.head.headers;
            let no = (ask.class, rejected);
            let mut response = respond::rejected(shared, &settings, dialect, no, fields);
            record.reject(rejected.reason, response.status().as_u16());
            let is_read = !expects && discard(&mut body).await;
            if is_read {
                client.set_upload_open(false);
            }
            if !is_read || connection.tells_to_go() {
                respond::close(&mut response, dialect);
            }
            return Ok(response);
        }
        Admission::Abandoned => {
            record.abandon();
            return Err(ClientGone);
        }
    };

    let admitted = record.admitted_at();
    let waited = record.waited();
    let mut exchange = Exchange::new(permit, record, ask.class, settings.cancel_grace);
    let mut sending = Sending::new(
        &connection,
        &settings,
        rewrite(head, &connection.hop(&settings), &settings, waited),
        body,
        dialect.is_grpc,
        admitted,
    );
    let sent = sending.send(&mut exchange).await;
    let side = ClientSide {
        dialect,
        on_upgrade,
        pulse,
    };
    let mut response = relay(sent, sending, exchange, side)?;
    if connection.tells_to_go() && response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        respond::close(&mut response, dialect);
    }
    Ok(response)
}

/// A request whose head can be forwarded.
struct Arrived {
    record: Record,
    /// What it asks the gate for.
    ask: Ask,
    /// The client waits for a `100 Continue` before it sends the body.
    expects: bool,
    head: CheckedHead,
    body: Incoming,
    on_upgrade: OnUpgrade,
}

/// Counts the request, checks its head, and says what it is to the gate.
#[expect(
    clippy::result_large_err,
    reason = "it goes straight into hyper, and an allocation would cost more than the move"
)]
fn arrive(
    connection: &Arc<Connection>,
    settings: &Settings,
    mut request: Request<Incoming>,
    dialect: Dialect,
) -> Result<Arrived, Response<ResponseBody>> {
    let client = &connection.client;
    let mut record = Record::begin(connection, &request);
    client.set_upload_open(!request.body().is_end_stream());
    if request.body().is_end_stream() {
        client.begin_without_body();
    }
    let expects = request.headers().contains_key(http::header::EXPECT);
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let checked = match client.flaw() {
        Some(flaw) => Err(Refusal::of(flaw, &head)),
        None => check(head, &connection.hop(settings), || client.flaw_of_framed()),
    };
    match checked {
        Ok(head) => Ok(Arrived {
            ask: classify(
                connection,
                settings,
                &mut record,
                &head,
                &body,
                dialect.is_grpc,
            ),
            record,
            expects,
            head,
            body,
            on_upgrade,
        }),
        Err(refusal) => {
            let response = respond::refused(dialect, &refusal);
            record.refuse(&refusal, response.status().as_u16());
            Err(response)
        }
    }
}

/// What a request asks the gate for, by what its head says.
fn classify(
    connection: &Connection,
    settings: &Settings,
    record: &mut Record,
    head: &CheckedHead,
    body: &Incoming,
    is_grpc: bool,
) -> Ask {
    let classifier = &settings.classifier;
    let fields = classifier.fields(&head.head);
    let is_trusted = classifier.asks_for_trust() && connection.is_trusted(settings);
    let length = body.size_hint().exact();
    let length = length.map_or(BodyLength::Unknown, BodyLength::Known);
    let found = classifier
        .classifier()
        .classify(&asked(&fields, is_grpc, is_trusted), length);
    let class = ClassId(found.class);
    let arrived = record.arrived_at();
    let deadline = found
        .deadline
        .and_then(|(time, _)| arrived.checked_add(time));
    let metrics = &connection.shared.telemetry.metrics;
    found.bad.iter().for_each(|hint| metrics.bad_hint(hint));
    let tenant = found
        .tenant
        .map(|(_, name)| (connection.shared.tenant_key(name), name));
    let account = metrics.account(class, tenant);
    record.classified(account, found.cost.bytes, deadline);
    Ask {
        class,
        tenant: tenant.map(|(key, _)| key),
        attempt: found.retry.map_or(Attempt::First, |_| Attempt::Retry),
        cost: Cost::Bytes(found.cost.bytes),
        oversize: found.cost.oversize,
        bytes: queued_bytes(&connection.client, body),
        deadline,
    }
}

/// Rewrites the head for the backend, which is told what the wait has left of the client's time.
fn rewrite(
    head: CheckedHead,
    hop: &Hop<'_>,
    settings: &Settings,
    waited: Option<Duration>,
) -> ForwardHead {
    let mut head = head.rewrite(hop);
    if let Some(waited) = waited {
        deadline::pass_on(&mut head.headers, &settings.classifier, waited);
    }
    head
}

enum Admission {
    Admitted(Permit),
    Rejected(Rejected),
    /// The client left first.
    Abandoned,
}

/// Asks the gate, and waits if it says so, for as long as the client does. What has no time left is
/// not passed on.
async fn admit(connection: &Connection, record: &mut Record, ask: &Ask) -> Admission {
    let gate = &connection.shared.gate;
    let client = &connection.client;
    if record.is_born_expired() && !gate.is_shadow() {
        return Admission::Rejected(RejectReason::Expired.into());
    }
    match gate.arrive(record.arrived_at(), ask) {
        Arrival::Admitted(permit) => {
            record.admitted(false);
            Admission::Admitted(permit)
        }
        Arrival::Rejected(rejected) => Admission::Rejected(rejected),
        Arrival::Queued(waiting) => {
            let granted = tokio::select! {
                biased;
                granted = waiting.until_deadline() => granted,
                () = client.gone() => return Admission::Abandoned,
            };
            match granted {
                // It may have left since the last look; then its permit goes to the next.
                Ok(mut permit) if client.is_gone() => {
                    permit.cut();
                    Admission::Abandoned
                }
                Ok(mut permit) if record.has_expired() => {
                    permit.cut();
                    Admission::Rejected(RejectReason::Expired.into())
                }
                Ok(permit) => {
                    record.admitted(true);
                    Admission::Admitted(permit)
                }
                Err(rejected) => Admission::Rejected(rejected),
            }
        }
    }
}

/// What the request takes of weir's own memory while it waits, at worst.
fn queued_bytes(client: &Client, body: &Incoming) -> u64 {
    let (base, ahead) = if client.is_h2 {
        (QUEUED_BYTES_HTTP2, AHEAD_HTTP2)
    } else {
        let session = client.tls.as_ref().map_or(0, |_| QUEUED_BYTES_TLS);
        (QUEUED_BYTES_HTTP1 + session, AHEAD_HTTP1)
    };
    if body.is_end_stream() {
        return base;
    }
    base + body.size_hint().upper().map_or(ahead, |len| len.min(ahead))
}

/// Reads what has already arrived of a body that nobody wants, so that the connection can be used
/// again. False if there is more of it than that.
async fn discard(body: &mut Incoming) -> bool {
    let mut left = DISCARD_BYTES;
    for _ in 0..DISCARD_TURNS {
        if body.is_end_stream() {
            return true;
        }
        let frame = std::future::poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        match frame {
            Some(None) => return true,
            Some(Some(Err(_))) => return false,
            Some(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, bytes::Bytes::len);
                if len > left {
                    return false;
                }
                left -= len;
            }
            // hyper reads on only when it is polled itself.
            None => tokio::task::yield_now().await,
        }
    }
    body.is_end_stream()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// hyper keeps room for it with every connection, also between requests: with what guards it,
    /// no more than jemalloc's size class of 2,560 bytes.
    #[test]
    fn a_request_is_small() {
        let size = size_of_future(handle);
        assert!(size <= 2560 - 16, "{size} bytes");
    }
}
