//! The exchange with the backend: send, wait for the response head, and hand the rest over.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::client::Client;
use super::error::ProxyError;
use super::exchange::{Exchange, HeldBody, Link};
use super::headers::{ForwardHead, prepare_response};
use super::patience::{End, Patience};
use super::respond::{self, Dialect, ResponseBody};
use super::settings::{Settings, UpstreamProtocol};
use super::stall::Pulse;
use super::tunnel;
use super::upload::{Upload, UploadState};

/// A request that was admitted.
pub(super) struct Forward {
    pub(super) head: ForwardHead,
    pub(super) body: Incoming,
    pub(super) on_upgrade: OnUpgrade,
    pub(super) dialect: Dialect,
    pub(super) pulse: Option<Arc<Pulse>>,
}

/// Relays the request and returns the response, which owns the exchange from then on.
pub(super) async fn forward(
    client: &Arc<Client>,
    settings: &Settings,
    mut exchange: Exchange,
    request: Forward,
) -> Response<ResponseBody> {
    let Forward {
        head,
        body,
        on_upgrade,
        dialect,
        pulse,
    } = request;
    let wanted = head.upgrade.clone();
    let (upload, upload_state) = Upload::new(body, client.clone(), settings.timeouts.body_idle);
    let over_http2 = match settings.upstream.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::Auto => dialect.is_grpc && client.is_h2,
    };
    let mut patience = Patience::new(client.clone(), settings.timeouts.response_head);
    let sent = if over_http2 {
        let request = head.into_http2(upload);
        send_http2(
            settings,
            &mut exchange,
            &mut patience,
            request,
            upload_state,
        )
        .await
    } else {
        let request = head.into_http1(upload);
        send_http1(
            settings,
            &mut exchange,
            &mut patience,
            request,
            upload_state,
        )
        .await
    };
    let response = match judge(sent, wanted.as_ref(), client) {
        Ok(response) => response,
        Err(error) => {
            let response = respond::failed(dialect, &error);
            exchange.fail(&error);
            return response;
        }
    };
    exchange.record().head(response.status().as_u16());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::open(client, settings, exchange, on_upgrade, response);
    }
    let (mut parts, body) = response.into_parts();
    prepare_response(&mut parts, false);
    let patience = Patience::new(client.clone(), settings.timeouts.response_idle);
    let held = HeldBody::new(body, exchange, patience, pulse);
    Response::from_parts(parts, ResponseBody::Held(held))
}

/// What may not be passed on is an error, and a body that broke off because its client left is none
/// of the backend's nor of weir's.
fn judge(
    sent: Result<Response<Incoming>, ProxyError>,
    wanted: Option<&HeaderValue>,
    client: &Client,
) -> Result<Response<Incoming>, ProxyError> {
    match sent {
        Ok(response)
            if response.status() == StatusCode::SWITCHING_PROTOCOLS
                && !tunnel::is_wanted(wanted, response.headers()) =>
        {
            Err(ProxyError::UnaskedUpgrade)
        }
        Err(ProxyError::UploadBroken) if client.is_gone() => Err(ProxyError::ClientGone),
        sent => sent,
    }
}

/// Sends over a connection of its own. A pooled one may have been closed by the backend in the
/// meantime; then the request goes out once more on a fresh one, if none of it was sent, or if it
/// is idempotent and has no body (RFC 9110, section 9.2.2). Never else.
async fn send_http1(
    settings: &Settings,
    exchange: &mut Exchange,
    patience: &mut Patience,
    mut request: Request<Upload>,
    upload: Option<Arc<UploadState>>,
) -> Result<Response<Incoming>, ProxyError> {
    let shared = exchange.shared().clone();
    let mut connection = shared.pool.http1(exchange.worker(), settings).await?;
    loop {
        if !connection.sender.is_ready() && connection.sender.ready().await.is_err() {
            shared.telemetry.metrics.upstream_retry();
            connection = shared.pool.fresh_http1(settings).await?;
            continue;
        }
        let is_reused = connection.is_reused;
        let copy = if is_reused && is_repeatable(&request) {
            Some(copy_of(&request))
        } else {
            None
        };
        let link = exchange.hold(Link::Http1(connection), upload.clone());
        let Link::Http1(connection_held) = link else {
            return Err(ProxyError::ConnectTimeout);
        };
        let sending = connection_held.sender.try_send_request(request);
        let mut error = match patience.bear(sending).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => error,
            Err(end) => return Err(gave_up(end)),
        };
        let again = match error.take_message() {
            Some(unsent) => Some(unsent),
            None if is_broken_off(error.error()) => copy,
            None => None,
        };
        match again {
            Some(again) if is_reused => request = again,
            _ => return Err(classify(error.into_error(), upload.as_deref())),
        }
        exchange.drop_link();
        shared.telemetry.metrics.upstream_retry();
        connection = shared.pool.fresh_http1(settings).await?;
    }
}

/// Sends over a stream of a shared connection; once more if it turned out closed and nothing of
/// the request was sent.
async fn send_http2(
    settings: &Settings,
    exchange: &mut Exchange,
    patience: &mut Patience,
    mut request: Request<Upload>,
    upload: Option<Arc<UploadState>>,
) -> Result<Response<Incoming>, ProxyError> {
    let shared = exchange.shared().clone();
    let mut is_retry = false;
    loop {
        let stream = shared.pool.http2(exchange.worker(), settings).await?;
        let mut sender = stream.sender();
        exchange.hold(Link::Http2(stream), upload.clone());
        let sending = sender.try_send_request(request);
        let mut error = match patience.bear(sending).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => error,
            Err(end) => return Err(gave_up(end)),
        };
        match error.take_message() {
            Some(unsent) if !is_retry => request = unsent,
            _ => return Err(classify(error.into_error(), upload.as_deref())),
        }
        is_retry = true;
        exchange.drop_link();
        shared.telemetry.metrics.upstream_retry();
    }
}

fn is_repeatable(request: &Request<Upload>) -> bool {
    let is_idempotent = [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
        Method::TRACE,
    ]
    .contains(request.method());
    is_idempotent && request.body().is_none()
}

fn copy_of(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::none());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Whether the connection ended before a response, as a stale one does.
fn is_broken_off(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || io_error(error).is_some()
}

fn io_error(error: &hyper::Error) -> Option<&std::io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

fn gave_up(end: End) -> ProxyError {
    match end {
        End::ClientGone => ProxyError::ClientGone,
        End::TimedOut => ProxyError::ResponseHeadTimeout,
    }
}

fn classify(error: hyper::Error, upload: Option<&UploadState>) -> ProxyError {
    match upload {
        Some(upload) if upload.is_stalled() => ProxyError::UploadStalled,
        Some(upload) if upload.is_broken() => ProxyError::UploadBroken,
        _ if error.is_parse() => ProxyError::Protocol(error),
        _ => ProxyError::Broken(error),
    }
}
