//! Answers of weir's own: one place maps every reject and error to what the client sees, in its
//! own dialect.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Shared;
use super::check::Refusal;
use super::error::ProxyError;
use super::exchange::{BodyError, HeldBody};
use super::settings::{Reject, RetryAfter};
use super::words::RefusalWords;
use crate::admission::RejectReason;
use crate::telemetry::Rule;

const REASON: HeaderName = HeaderName::from_static("weir-reject-reason");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What a client gets whose body ends before its end (RFC 9112, section 8).
pub(super) const SHORT_BODY: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-length: 0\r\nproxy-status: weir; error=http_request_error; details=\"body\"\r\n\r\n";

/// What hyper sends to the client.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every response is the large one, and a box would cost each an allocation"
)]
pub(super) enum ResponseBody {
    /// weir's own words.
    Own(Option<Bytes>),
    /// The upstream's, with the permit.
    Held(HeldBody),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Held(held) => Pin::new(held).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Held(held) => held.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Held(held) => held.size_hint(),
        }
    }
}

/// How a client wants to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) is_grpc: bool,
    is_head: bool,
    wants_json: bool,
    version: Version,
}

impl Dialect {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        Self {
            is_grpc: headers
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")),
            is_head: request.method() == Method::HEAD,
            wants_json: headers.get(ACCEPT).is_some_and(accepts_json),
            version: request.version(),
        }
    }
}

impl Dialect {
    /// Whether the client may take the close of the connection for the end of a response.
    pub(super) fn reads_until_close(self) -> bool {
        self.version <= Version::HTTP_10
    }
}

fn accepts_json(accept: &HeaderValue) -> bool {
    accept
        .as_bytes()
        .split(|byte| *byte == b',')
        .filter_map(|item| item.split(|byte| *byte == b';').next())
        .map(<[u8]>::trim_ascii)
        .any(|kind| {
            kind.eq_ignore_ascii_case(b"application/json")
                || kind.eq_ignore_ascii_case(b"application/problem+json")
        })
}

/// A reject: the client may come back.
pub(super) fn rejected(
    shared: &Shared,
    settings: &Reject,
    dialect: Dialect,
    reason: RejectReason,
) -> Response<ResponseBody> {
    let status = reject_status(settings, reason);
    let words = RejectWords::of(reason);
    let mut response = if dialect.is_grpc {
        let code = match reason {
            RejectReason::Draining => 14,
            RejectReason::Internal => 13,
            _ => settings.grpc_status,
        };
        grpc(HeaderValue::from(code), words.detail)
    } else {
        plain(dialect, status, words.text, words.json)
    };
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(reason.label()));
    headers.insert(PROXY_STATUS, HeaderValue::from_static(words.proxy_status));
    let wait = match settings.retry_after {
        RetryAfter::Fixed(wait) => wait.as_secs(),
        RetryAfter::Auto => shared.retry_after_seconds(),
    };
    headers.insert(RETRY_AFTER, HeaderValue::from(wait));
    if dialect.is_grpc {
        headers.insert(GRPC_PUSHBACK, HeaderValue::from(wait.saturating_mul(1000)));
    }
    for (name, value) in &settings.headers {
        headers.insert(name, value.clone());
    }
    if reason == RejectReason::Draining {
        close(&mut response, dialect);
    }
    response
}

/// The HTTP status of a reject.
fn reject_status(settings: &Reject, reason: RejectReason) -> StatusCode {
    if reason.is_capacity() {
        settings.status
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// A request that weir does not pass on, whoever asks and whenever.
pub(super) fn refused(dialect: Dialect, refusal: &Refusal) -> Response<ResponseBody> {
    let words = RefusalWords::of(refusal.rule);
    let mut response = if dialect.is_grpc {
        grpc(HeaderValue::from_static("3"), words.text.trim_ascii_end())
    } else {
        plain(dialect, refusal.status(), words.text, words.json)
    };
    let headers = response.headers_mut();
    headers.insert(PROXY_STATUS, HeaderValue::from_static(words.proxy_status));
    if refusal.rule == Rule::Connect {
        headers.insert(
            http::header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
    }
    close(&mut response, dialect);
    response
}

/// An admitted request that got no response from the upstream, or whose body broke off.
pub(super) fn failed(dialect: Dialect, error: &ProxyError) -> Response<ResponseBody> {
    let (message, text, json) = if error.upstream_kind().is_some() {
        (
            "weir: no response from the upstream",
            "weir: no response from the upstream\n",
            r#"{"type":"about:blank","title":"no response from the upstream"}"#,
        )
    } else {
        (
            "weir: the request body did not arrive whole",
            "weir: the request body did not arrive whole\n",
            r#"{"type":"about:blank","title":"the request body did not arrive whole"}"#,
        )
    };
    let mut response = if dialect.is_grpc {
        grpc(HeaderValue::from_static(error.grpc_status()), message)
    } else {
        plain(dialect, error.status(), text, json)
    };
    response
        .headers_mut()
        .insert(PROXY_STATUS, HeaderValue::from_static(error.proxy_status()));
    response
}

/// A panic while the request was served: a bug of weir's own.
pub(super) fn panicked(dialect: Dialect) -> Response<ResponseBody> {
    let mut response = if dialect.is_grpc {
        grpc(HeaderValue::from_static("13"), "weir: internal error")
    } else {
        plain(
            dialect,
            StatusCode::INTERNAL_SERVER_ERROR,
            "weir: internal error\n",
            r#"{"type":"about:blank","title":"internal error of weir"}"#,
        )
    };
    response.headers_mut().insert(
        PROXY_STATUS,
        HeaderValue::from_static("weir; error=proxy_internal_error"),
    );
    close(&mut response, dialect);
    response
}

/// Tells an HTTP/1 client that this connection is over; HTTP/2 is told by GOAWAY.
pub(super) fn close<B>(response: &mut Response<B>, dialect: Dialect) {
    if dialect.version != Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Trailers-only: status 200 and one block of fields (gRPC over HTTP/2, "Responses").
fn grpc(code: HeaderValue, message: &'static str) -> Response<ResponseBody> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, code);
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
    let mut response = Response::new(ResponseBody::Own(None));
    *response.headers_mut() = headers;
    response
}

fn plain(
    dialect: Dialect,
    status: StatusCode,
    text: &'static str,
    json: &'static str,
) -> Response<ResponseBody> {
    let (kind, words) = if dialect.wants_json {
        ("application/problem+json", json)
    } else {
        ("text/plain; charset=utf-8", text)
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(words.len()));
    let body = (!dialect.is_head).then(|| Bytes::from_static(words.as_bytes()));
    let mut response = Response::new(ResponseBody::Own(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The constant texts of one reject reason.
struct RejectWords {
    detail: &'static str,
    text: &'static str,
    json: &'static str,
    proxy_status: &'static str,
}

macro_rules! reject_words {
    ($label:literal, $detail:literal, $error:literal) => {
        RejectWords {
            detail: concat!("weir: ", $detail),
            text: concat!("weir: ", $detail, " (", $label, ")\n"),
            json: concat!(
                r#"{"type":"about:blank","title":"request rejected","detail":""#,
                $detail,
                r#"","reason":""#,
                $label,
                r#""}"#
            ),
            proxy_status: concat!("weir; error=", $error, "; details=\"", $label, "\""),
        }
    };
}

impl RejectWords {
    fn of(reason: RejectReason) -> Self {
        match reason {
            RejectReason::NoPermit => reject_words!(
                "no_permit",
                "the backend has no room for another request",
                "connection_limit_reached"
            ),
            RejectReason::QueueDepth => reject_words!(
                "queue_depth",
                "too many requests are waiting",
                "connection_limit_reached"
            ),
            RejectReason::QueueBytes => reject_words!(
                "queue_bytes",
                "the waiting requests take too much memory",
                "connection_limit_reached"
            ),
            RejectReason::QueueWait => reject_words!(
                "queue_wait",
                "no room came free in time",
                "connection_limit_reached"
            ),
            RejectReason::Draining => reject_words!(
                "draining",
                "this instance is shutting down",
                "destination_unavailable"
            ),
            RejectReason::Internal => reject_words!(
                "internal",
                "admission is broken by a bug",
                "proxy_internal_error"
            ),
        }
    }
}
