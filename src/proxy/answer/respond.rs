//! Answers of weir's own: one place maps every reject and error to what the client sees, in its
//! own dialect.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::admission::{ClassId, Pushback, RejectReason};
use crate::gate::Rejected;
use crate::proxy::Shared;
use crate::proxy::answer::error::ProxyError;
use crate::proxy::answer::numbers;
use crate::proxy::answer::reject_words::RejectWords;
use crate::proxy::answer::words::RefusalWords;
use crate::proxy::forward::held_body::{BodyError, HeldBody};
use crate::proxy::head::check::Refusal;
use crate::proxy::head::classify::is_grpc;
use crate::proxy::settings::{EnvoyField, RetryAfter, Settings};
use crate::telemetry::Rule;

const REASON: HeaderName = HeaderName::from_static("weir-reject-reason");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const ENVOY_OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
const ENVOY_RATELIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const KIND_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const KIND_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const KIND_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Room for the fields of any answer, but for those that the configuration adds to rejects.
const FIELDS: usize = 8;

/// What a client gets whose body ends before its end (RFC 9112, section 8).
pub(in crate::proxy) const SHORT_BODY: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-length: 0\r\nproxy-status: weir; error=http_request_error; details=\"body\"\r\n\r\n";

/// What hyper sends to the client.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every response is the large one, and a box would cost each an allocation"
)]
pub(in crate::proxy) enum ResponseBody {
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
pub(in crate::proxy) struct Dialect {
    pub(in crate::proxy) is_grpc: bool,
    is_head: bool,
    wants_json: bool,
    version: Version,
}

impl Dialect {
    pub(in crate::proxy) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        Self {
            is_grpc: is_grpc(headers),
            is_head: request.method() == Method::HEAD,
            wants_json: headers.get(ACCEPT).is_some_and(accepts_json),
            version: request.version(),
        }
    }
}

impl Dialect {
    /// Whether the client may take the close of the connection for the end of a response.
    pub(in crate::proxy) fn reads_until_close(self) -> bool {
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

/// A reject: the client may come back. Nothing is formatted for it, unless the wait is longer than
/// four minutes, and nothing allocated: `fields` are the request's, whose room is used again.
pub(in crate::proxy) fn rejected(
    shared: &Shared,
    settings: &Settings,
    dialect: Dialect,
    (class, rejected): (ClassId, Rejected),
    fields: HeaderMap,
) -> Response<ResponseBody> {
    let Rejected { reason, pushback } = rejected;
    let status = reject_status(settings, class, reason);
    let settings = &settings.reject;
    let words = RejectWords::of(reason);
    let mut response = if dialect.is_grpc {
        let code = reason.grpc_status().unwrap_or(settings.grpc_status);
        grpc(fields, numbers::value(code.into()), words.detail.clone())
    } else {
        plain(fields, dialect, status, words.text, words.json)
    };
    let headers = response.headers_mut();
    headers.insert(REASON, words.label.clone());
    headers.insert(PROXY_STATUS, words.proxy_status.clone());
    let known = match (settings.retry_after, pushback) {
        // Whose own bucket is empty knows best when it has a token again.
        (RetryAfter::Fixed(wait), _) if reason != RejectReason::TenantRate => Err(wait.as_secs()),
        (_, Some(pushback)) => Ok(pushback),
        (RetryAfter::Fixed(wait), None) => Err(wait.as_secs()),
        (RetryAfter::Auto, None) => Err(shared.retry_after_seconds()),
    };
    let seconds = known.map_or_else(|seconds| seconds, Pushback::seconds);
    headers.insert(RETRY_AFTER, numbers::value(seconds));
    if dialect.is_grpc {
        let millis = match pushback.map(Pushback::grpc_millis) {
            Some(never @ ..0) => HeaderValue::from(never),
            Some(millis) if known.is_ok() => HeaderValue::from(millis),
            Some(_) | None => numbers::thousands(seconds),
        };
        headers.insert(GRPC_PUSHBACK, millis);
    }
    if let Some(field) = envoy_field(settings.envoy, reason) {
        headers.insert(field, TRUE);
    }
    for (name, value) in &settings.headers {
        headers.insert(name, value.clone());
    }
    if reason == RejectReason::Draining {
        close(&mut response, dialect);
    }
    response
}

/// What Envoy is told of a reject, if anything.
fn envoy_field(wanted: EnvoyField, reason: RejectReason) -> Option<HeaderName> {
    match (wanted, reason) {
        // Another instance may serve it, or none.
        (_, RejectReason::Draining | RejectReason::Internal | RejectReason::Oversize)
        | (EnvoyField::Overloaded, RejectReason::TenantRate)
        | (EnvoyField::None, _) => None,
        (EnvoyField::Overloaded, _) => Some(ENVOY_OVERLOADED),
        (EnvoyField::RateLimited, _) => Some(ENVOY_RATELIMITED),
    }
}

/// The HTTP status of a reject.
fn reject_status(settings: &Settings, class: ClassId, reason: RejectReason) -> StatusCode {
    let own = reason.http_status();
    let own = own.and_then(|status| StatusCode::from_u16(status).ok());
    own.unwrap_or_else(|| {
        let status = settings.statuses.get(usize::from(class.0));
        status.copied().unwrap_or(settings.reject.status)
    })
}

/// A request that weir does not pass on, whoever asks and whenever.
pub(in crate::proxy) fn refused(dialect: Dialect, refusal: &Refusal) -> Response<ResponseBody> {
    let fields = HeaderMap::with_capacity(FIELDS);
    let words = RefusalWords::of(refusal.rule);
    let mut response = if dialect.is_grpc {
        grpc(
            fields,
            HeaderValue::from_static("3"),
            HeaderValue::from_static(words.text.trim_ascii_end()),
        )
    } else {
        plain(fields, dialect, refusal.status(), words.text, words.json)
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
pub(in crate::proxy) fn failed(dialect: Dialect, error: &ProxyError) -> Response<ResponseBody> {
    let (message, text, json) = if error.is_of_the_upstream() {
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
    let fields = HeaderMap::with_capacity(FIELDS);
    let mut response = if dialect.is_grpc {
        grpc(
            fields,
            HeaderValue::from_static(error.grpc_status()),
            HeaderValue::from_static(message),
        )
    } else {
        plain(fields, dialect, error.status(), text, json)
    };
    response
        .headers_mut()
        .insert(PROXY_STATUS, HeaderValue::from_static(error.proxy_status()));
    response
}

/// A panic while the request was served: a bug of weir's own.
pub(in crate::proxy) fn panicked(dialect: Dialect) -> Response<ResponseBody> {
    let fields = HeaderMap::with_capacity(FIELDS);
    let mut response = if dialect.is_grpc {
        grpc(
            fields,
            HeaderValue::from_static("13"),
            HeaderValue::from_static("weir: internal error"),
        )
    } else {
        plain(
            fields,
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
pub(in crate::proxy) fn close<B>(response: &mut Response<B>, dialect: Dialect) {
    if dialect.version != Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Trailers-only: status 200 and one block of fields (gRPC over HTTP/2, "Responses").
fn grpc(mut fields: HeaderMap, code: HeaderValue, message: HeaderValue) -> Response<ResponseBody> {
    fields.clear();
    fields.insert(CONTENT_TYPE, KIND_GRPC);
    fields.insert(GRPC_STATUS, code);
    fields.insert(GRPC_MESSAGE, message);
    let mut response = Response::new(ResponseBody::Own(None));
    *response.headers_mut() = fields;
    response
}

fn plain(
    mut fields: HeaderMap,
    dialect: Dialect,
    status: StatusCode,
    text: &'static str,
    json: &'static str,
) -> Response<ResponseBody> {
    let (kind, words) = if dialect.wants_json {
        (KIND_JSON, json)
    } else {
        (KIND_TEXT, text)
    };
    fields.clear();
    fields.insert(CONTENT_TYPE, kind);
    fields.insert(CONTENT_LENGTH, numbers::value(words.len() as u64));
    let body = (!dialect.is_head).then(|| Bytes::from_static(words.as_bytes()));
    let mut response = Response::new(ResponseBody::Own(body));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}
