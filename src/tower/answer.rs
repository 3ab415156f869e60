//! What becomes of a request that gets no permit.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;

use super::GateBody;
use crate::admission::{Pushback, RejectReason, Seed, classify};
use crate::gate::{Gate, Rejected};

const REASON: HeaderName = HeaderName::from_static("weir-reject-reason");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// The `grpc-status` of a reject that has none of its own.
const RESOURCE_EXHAUSTED: u16 = 8;

/// How a client wants to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    is_grpc: bool,
    version: Version,
}

impl Dialect {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let kind = request.headers().get(CONTENT_TYPE);
        Self {
            is_grpc: kind.is_some_and(|kind| classify::is_grpc(kind.as_bytes())),
            version: request.version(),
        }
    }
}

/// What becomes of a reject: [`Answer`] or [`Fail`].
pub trait OnReject<E, B: Body>: sealed::Sealed {
    /// The error of a service behind the gate, which by itself fails with `E`.
    type Error;

    /// A request that gets no permit.
    #[doc(hidden)]
    fn reject(
        gate: &Gate,
        dialect: Dialect,
        rejected: Rejected,
    ) -> Result<Response<GateBody<B>>, Self::Error>;

    /// An error of the service.
    #[doc(hidden)]
    fn inner(error: E) -> Self::Error;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Answer {}
    impl Sealed for super::Fail {}
}

/// A reject is answered, as the proxy does by default.
///
/// 503, or 429 for a tenant above its rate and 413 for what is larger than the whole budget, with
/// `Retry-After` and `weir-reject-reason`. A gRPC call (by its content type) gets a trailers-only
/// response with `grpc-status` 8, or 4 if its deadline has passed, 14 while draining and 13 for a
/// bug, and `grpc-retry-pushback-ms`. While draining, HTTP/1 clients are told to close.
#[derive(Clone, Copy, Debug)]
pub struct Answer(());

impl<E, B: Body> OnReject<E, B> for Answer
where
    B::Data: From<Bytes>,
{
    type Error = E;

    fn reject(
        gate: &Gate,
        dialect: Dialect,
        rejected: Rejected,
    ) -> Result<Response<GateBody<B>>, E> {
        Ok(answer(gate, dialect, rejected))
    }

    fn inner(error: E) -> E {
        error
    }
}

/// A reject is an error, for a layer further out to deal with: [`GateError::Rejected`].
#[derive(Clone, Copy, Debug)]
pub struct Fail(());

impl<E, B: Body> OnReject<E, B> for Fail {
    type Error = GateError<E>;

    fn reject(
        _: &Gate,
        _: Dialect,
        rejected: Rejected,
    ) -> Result<Response<GateBody<B>>, Self::Error> {
        Err(GateError::Rejected(rejected))
    }

    fn inner(error: E) -> Self::Error {
        GateError::Inner(error)
    }
}

/// Why a service behind a gate has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError<E> {
    /// The request got no permit.
    #[error("rejected ({})", .0.reason.label())]
    Rejected(Rejected),
    /// The service has failed.
    #[error(transparent)]
    Inner(E),
}

fn answer<B: Body>(gate: &Gate, dialect: Dialect, rejected: Rejected) -> Response<GateBody<B>>
where
    B::Data: From<Bytes>,
{
    let Rejected { reason, pushback } = rejected;
    let pushback = pushback.unwrap_or_else(|| after_a_wait(gate));
    let label = HeaderValue::from_static(reason.label());
    let words = format!("weir: rejected ({})", reason.label());
    let mut response = if dialect.is_grpc {
        let mut response = Response::new(GateBody::own(None));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let code = reason.grpc_status().unwrap_or(RESOURCE_EXHAUSTED);
        headers.insert(GRPC_STATUS, code.into());
        headers.insert(GRPC_PUSHBACK, pushback.grpc_millis().into());
        if let Ok(words) = HeaderValue::try_from(words) {
            headers.insert(GRPC_MESSAGE, words);
        }
        response
    } else {
        let words = Bytes::from(words + "\n").into();
        let mut response = Response::new(GateBody::own(Some(words)));
        *response.status_mut() = status(reason);
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    };
    let headers = response.headers_mut();
    headers.insert(REASON, label);
    headers.insert(RETRY_AFTER, pushback.seconds().into());
    if reason == RejectReason::Draining && dialect.version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Where a bound decided and the policy was not asked: by then, those who wait now do so no more.
fn after_a_wait(gate: &Gate) -> Pushback {
    static REJECTS: AtomicU64 = AtomicU64::new(0);
    let mut chance = Seed::new(REJECTS.fetch_add(1, Ordering::Relaxed));
    Pushback::spread(gate.longest_wait(), &mut chance)
}

fn status(reason: RejectReason) -> StatusCode {
    let own = reason.http_status();
    let own = own.and_then(|status| StatusCode::from_u16(status).ok());
    own.unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
