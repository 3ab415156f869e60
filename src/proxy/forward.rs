//! The exchange with the backend: send, wait for the response head, and hand the rest over.

use std::future::Future;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::client::Client;
use super::error::{ClientGone, ProxyError};
use super::exchange::{Exchange, HeldBody, Link};
use super::headers::{ForwardHead, prepare_response};
use super::patience::{End, Patience};
use super::respond::{self, Dialect, ResponseBody};
use super::settings::{Settings, UpstreamProtocol};
use super::stall::Pulse;
use super::tunnel;
use super::upload::{Upload, UploadState};

/// How often a request that was turned away is sent again over HTTP/2, at most.
const RETRIES_HTTP2: u32 = 3;

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
) -> Result<Response<ResponseBody>, ClientGone> {
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
    patience.during(upload_state.clone());
    let mut sending = Sending {
        settings,
        exchange: &mut exchange,
        patience,
        upload: upload_state,
    };
    let sent = if over_http2 {
        sending.over_http2(head.into_http2(upload)).await
    } else {
        sending.over_http1(head.into_http1(upload)).await
    };
    let response = match judge(sent, wanted.as_ref(), client) {
        Ok(response) => response,
        // Dropped, the exchange counts as cancelled and its permit stays for `cancel_grace`.
        Err(ProxyError::ClientGone) => return Err(ClientGone),
        Err(error) => {
            let response = respond::failed(dialect, &error);
            exchange.fail(&error, response.status());
            return Ok(response);
        }
    };
    exchange.record().head(response.status().as_u16());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(tunnel::open(
            client, settings, exchange, on_upgrade, response,
        ));
    }
    let (mut parts, body) = response.into_parts();
    prepare_response(&mut parts, false);
    let patience = Patience::new(client.clone(), settings.timeouts.response_idle);
    let until_close = dialect.reads_until_close().then(|| client.clone());
    let held = HeldBody::new(body, exchange, patience, pulse, until_close);
    Ok(Response::from_parts(parts, ResponseBody::Held(held)))
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

/// A request on its way to a response head.
struct Sending<'a> {
    settings: &'a Settings,
    exchange: &'a mut Exchange,
    patience: Patience,
    upload: Option<Arc<UploadState>>,
}

impl Sending<'_> {
    /// Sends over a connection of its own. A pooled one may have been closed by the backend in the
    /// meantime; then the request goes out once more on a fresh one, if none of it was sent, or if
    /// it is idempotent and has no body (RFC 9110, section 9.2.2). Never else.
    async fn over_http1(
        &mut self,
        mut request: Request<Upload>,
    ) -> Result<Response<Incoming>, ProxyError> {
        let shared = self.exchange.shared().clone();
        let pool = &shared.pool;
        let worker = self.exchange.worker();
        let mut connection = self.bear(pool.http1(worker, self.settings)).await??;
        loop {
            if !connection.sender.is_ready() && self.bear(connection.sender.ready()).await?.is_err()
            {
                // First, so that its room is free for the next.
                drop(connection);
                shared.telemetry.metrics.upstream_retry();
                connection = self.bear(pool.fresh_http1(self.settings)).await??;
                continue;
            }
            let is_reused = connection.is_reused;
            let copy = (is_reused && is_repeatable(&request)).then(|| copy_of(&request));
            let response = connection.sender.try_send_request(request);
            self.exchange
                .hold(Link::Http1(connection), self.upload.clone());
            let mut error = match self.bear(response).await? {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let again = match error.take_message() {
                Some(unsent) => Some(unsent),
                None if is_broken_off(error.error()) => copy,
                None => None,
            };
            match again {
                Some(again) if is_reused => request = again,
                _ => return Err(classify(error.into_error(), self.upload.as_deref())),
            }
            self.exchange.drop_link();
            shared.telemetry.metrics.upstream_retry();
            connection = self.bear(pool.fresh_http1(self.settings)).await??;
        }
    }

    /// Sends over a stream of a shared connection. When the backend takes no more streams there,
    /// the request goes out again on another: if none of it was sent, or once if it is idempotent
    /// and has no body.
    async fn over_http2(
        &mut self,
        mut request: Request<Upload>,
    ) -> Result<Response<Incoming>, ProxyError> {
        let shared = self.exchange.shared().clone();
        let worker = self.exchange.worker();
        let mut copy = is_repeatable(&request).then(|| copy_of(&request));
        let mut retries = 0;
        loop {
            let stream = self
                .bear(shared.pool.http2(worker, self.settings))
                .await??;
            let response = stream.sender().try_send_request(request);
            self.exchange.hold(Link::Http2(stream), self.upload.clone());
            let mut error = match self.bear(response).await? {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let again = match error.take_message() {
                Some(unsent) => Some(unsent),
                None if is_turned_away(error.error()) => copy.take(),
                None => None,
            };
            match again {
                Some(again) if retries < RETRIES_HTTP2 => request = again,
                _ => return Err(classify(error.into_error(), self.upload.as_deref())),
            }
            retries += 1;
            self.exchange.retire_link();
            shared.telemetry.metrics.upstream_retry();
        }
    }

    /// Waits for the backend as long as there is a point in it.
    async fn bear<T>(&mut self, backend: impl Future<Output = T>) -> Result<T, ProxyError> {
        self.patience.bear(backend).await.map_err(|end| match end {
            End::ClientGone => ProxyError::ClientGone,
            End::TimedOut => ProxyError::ResponseHeadTimeout,
        })
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

/// Whether the connection, and not the request, was what the backend had enough of: it was closed,
/// or told to go (GOAWAY), or the stream refused before it was looked at (RFC 9113, section 8.7).
fn is_turned_away(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let by_http2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
    is_broken_off(error)
        || by_http2.is_some_and(|error| {
            error.is_go_away()
                || error.is_io()
                || error.reason() == Some(h2::Reason::REFUSED_STREAM)
        })
}

fn classify(error: hyper::Error, upload: Option<&UploadState>) -> ProxyError {
    match upload {
        Some(upload) if upload.is_stalled() => ProxyError::UploadStalled,
        Some(upload) if upload.is_broken() => ProxyError::UploadBroken,
        _ if error.is_parse() => ProxyError::Protocol(error),
        _ => ProxyError::Broken(error),
    }
}
