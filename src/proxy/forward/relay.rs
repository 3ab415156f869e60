//! The exchange with the backend: send, wait for the response head, and hand the rest over.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::proxy::Connection;
use crate::proxy::answer::error::{ClientGone, ProxyError, http2_error};
use crate::proxy::answer::respond::{self, Dialect, ResponseBody};
use crate::proxy::client::stall::Pulse;
use crate::proxy::forward::exchange::Exchange;
use crate::proxy::forward::held_body::HeldBody;
use crate::proxy::forward::patience::{End, Patience};
use crate::proxy::forward::tunnel;
use crate::proxy::forward::upload::{Upload, UploadState};
use crate::proxy::head::headers::{ForwardHead, prepare_response};
use crate::proxy::settings::{Settings, UpstreamProtocol};
use crate::proxy::upstream::Http1;
use crate::telemetry::{ConnectionError, events};

/// How often a request that was turned away is sent again over HTTP/2, at most.
const RETRIES_HTTP2: u32 = 3;

/// What becomes of the exchange once the backend has answered, or has not: the client's response,
/// which owns the exchange from then on.
pub(in crate::proxy) fn relay(
    sent: Result<Response<Incoming>, ProxyError>,
    sending: Sending<'_>,
    mut exchange: Exchange,
    side: ClientSide,
) -> Result<Response<ResponseBody>, ClientGone> {
    let Sending {
        connection,
        settings,
        wanted,
        mut patience,
        ..
    } = sending;
    let client = &connection.client;
    let response = match judge(sent, wanted.as_ref(), connection) {
        Ok(response) => response,
        // Dropped, the exchange counts as cancelled and its permit stays for `cancel_grace`.
        Err(ProxyError::ClientGone) => return Err(ClientGone),
        Err(error) => {
            let response = respond::failed(side.dialect, &error);
            patience.end(client);
            exchange.fail(&error, response.status());
            return Ok(response);
        }
    };
    let answered = exchange.record().head(response.status().as_u16());
    exchange.answered(&response);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(tunnel::open(settings, exchange, side.on_upgrade, response));
    }
    let (mut parts, body) = response.into_parts();
    prepare_response(&mut parts, false);
    patience.turn_to(settings.timeouts.response_idle, Instant::from_std(answered));
    let until_close = side.dialect.reads_until_close();
    let held = HeldBody::new(body, exchange, patience, side.pulse, until_close);
    Ok(Response::from_parts(parts, ResponseBody::Held(held)))
}

/// What the response needs to know of the request's client.
pub(in crate::proxy) struct ClientSide {
    pub(in crate::proxy) dialect: Dialect,
    pub(in crate::proxy) on_upgrade: OnUpgrade,
    pub(in crate::proxy) pulse: Option<Arc<Pulse>>,
}

/// What may not be passed on is an error, and a body that broke off because its client left is none
/// of the backend's nor of weir's.
fn judge(
    sent: Result<Response<Incoming>, ProxyError>,
    wanted: Option<&HeaderValue>,
    connection: &Connection,
) -> Result<Response<Incoming>, ProxyError> {
    let client = &connection.client;
    match sent {
        Ok(response)
            if response.status() == StatusCode::SWITCHING_PROTOCOLS
                && !tunnel::is_wanted(wanted, response.headers()) =>
        {
            Err(ProxyError::UnaskedUpgrade)
        }
        Ok(response) if has_other_coding(response.headers()) => Err(ProxyError::TransferCoding),
        Err(error @ ProxyError::UploadBroken) if client.is_gone() => {
            // It may still read: then it is told.
            client.write_past(respond::SHORT_BODY);
            let telemetry = &connection.shared.telemetry;
            let peer = Some(client.peer);
            events::connection_error(telemetry, ConnectionError::Body, peer, &error, &[]);
            Err(ProxyError::ClientGone)
        }
        sent => sent,
    }
}

/// Whether the body is coded in a way that weir does not decode, so that to strip the field would
/// pass on what nobody could read.
fn has_other_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| {
        !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some()
    })
}

/// A request on its way to a response head.
///
/// It stays where it is while it is sent: whatever an `async fn` takes by value it holds twice,
/// and every connection keeps room for this from its first request on.
pub(in crate::proxy) struct Sending<'a> {
    connection: &'a Connection,
    settings: &'a Settings,
    admitted: Instant,
    /// While hyper has it: a copy, if it may be sent again.
    request: Option<Request<Upload>>,
    over_http2: bool,
    upload: Option<Arc<UploadState>>,
    /// The protocol that the client asks to switch to.
    wanted: Option<HeaderValue>,
    patience: Patience,
}

impl<'a> Sending<'a> {
    /// A request that was admitted.
    pub(in crate::proxy) fn new(
        connection: &'a Connection,
        settings: &'a Settings,
        head: ForwardHead,
        body: Incoming,
        is_grpc: bool,
        admitted: std::time::Instant,
    ) -> Self {
        let client = &connection.client;
        let over_http2 = match settings.upstream.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Auto => is_grpc && client.is_h2,
        };
        let wanted = head.upgrade.clone();
        let (body, upload) = Upload::new(body, client.clone(), settings);
        let admitted = Instant::from_std(admitted);
        let mut patience = Patience::new(settings.timeouts.response_head, admitted);
        patience.during(upload.clone());
        Self {
            connection,
            settings,
            admitted,
            request: Some(if over_http2 {
                head.into_http2(body)
            } else {
                head.into_http1(body)
            }),
            over_http2,
            upload,
            wanted,
            patience,
        }
    }

    /// Sends it, and waits for the head of the response.
    pub(in crate::proxy) async fn send(
        &mut self,
        exchange: &mut Exchange,
    ) -> Result<Response<Incoming>, ProxyError> {
        if self.over_http2 {
            self.over_http2(exchange).await
        } else {
            self.over_http1(exchange).await
        }
    }

    /// Sends over a connection of its own. A pooled one may have been closed by the backend in the
    /// meantime: if none of the request was sent, it goes out on the next; else once more on a
    /// fresh one, if it is idempotent and has no body (RFC 9110, section 9.2.2). Never else.
    async fn over_http1(
        &mut self,
        exchange: &mut Exchange,
    ) -> Result<Response<Incoming>, ProxyError> {
        let Connection { shared, worker, .. } = self.connection;
        let mut is_repeat = false;
        loop {
            let idle = if is_repeat {
                None
            } else {
                shared.pool.take_idle(*worker, self.settings, self.admitted)
            };
            let connection = match idle {
                Some(connection) => connection,
                None => self.connect_http1(is_repeat).await?,
            };
            exchange.record().dispatch()?;
            let is_reused = connection.is_reused;
            let request = self.take_request(is_reused);
            let held = exchange.hold_http1(connection, self.upload.clone());
            let response = pin!(held.send(request));
            let mut error = match self.bear(held.drive(response)).await? {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let unsent = error.take_message();
            let may_repeat = self.request.is_some() && is_broken_off(error.error());
            let goes_on =
                is_reused && (unsent.is_some() || may_repeat && shared.may_retry(self.settings));
            if !goes_on {
                return Err(classify(error.into_error(), self.upload.as_deref()));
            }
            // First, so that its room is free for the next.
            exchange.drop_link();
            is_repeat = unsent.is_none();
            if !is_repeat {
                self.request = unsent;
            }
        }
    }

    /// Sends over a stream of a shared connection. When the backend takes no more streams there,
    /// the request goes out again on another: if none of it was sent, or once if it is idempotent
    /// and has no body.
    async fn over_http2(
        &mut self,
        exchange: &mut Exchange,
    ) -> Result<Response<Incoming>, ProxyError> {
        let Connection { shared, worker, .. } = self.connection;
        let mut may_repeat = true;
        let mut retries = 0;
        loop {
            let stream = if let Some(stream) = shared.pool.open_http2(*worker) {
                stream
            } else {
                let stream = shared.pool.http2(*worker, self.settings);
                self.bear(Box::pin(stream)).await??
            };
            exchange.record().dispatch()?;
            let request = self.take_request(may_repeat);
            let response = pin!(stream.sender().try_send_request(request));
            exchange.hold_http2(stream, self.upload.clone());
            let mut error = match self.bear(response).await? {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if let Some(unsent) = error.take_message() {
                self.request = Some(unsent);
            } else if is_turned_away(error.error()) {
                may_repeat = false;
            } else {
                self.request = None;
            }
            let is_last = self.request.is_none() || retries == RETRIES_HTTP2;
            if is_last || !shared.may_retry(self.settings) {
                return Err(classify(error.into_error(), self.upload.as_deref()));
            }
            retries += 1;
            exchange.retire_link();
        }
    }

    /// Boxed, or every request would hold room for what few need.
    async fn connect_http1(&mut self, is_fresh: bool) -> Result<Http1, ProxyError> {
        let pool = &self.connection.shared.pool;
        let settings = self.settings;
        let connecting: Connecting<'_> = if is_fresh {
            Box::pin(pool.fresh_http1(settings))
        } else {
            Box::pin(pool.http1(settings))
        };
        self.bear(connecting).await?
    }

    /// Hands the request out, and keeps a copy if it may and can be repeated.
    fn take_request(&mut self, may_repeat: bool) -> Request<Upload> {
        let request = self.request.take().expect("put back before each retry");
        self.request = (may_repeat && is_repeatable(&request)).then(|| copy_of(&request));
        request
    }

    /// Waits for the backend as long as there is a point in it.
    async fn bear<T>(&mut self, backend: impl Future<Output = T> + Unpin) -> Result<T, ProxyError> {
        let waited = self.patience.bear(&self.connection.client, backend);
        waited.await.map_err(|end| match end {
            End::ClientGone => ProxyError::ClientGone,
            End::TimedOut => ProxyError::ResponseHeadTimeout,
        })
    }
}

/// A connection being made.
type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Http1, ProxyError>> + Send + 'a>>;

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
    is_broken_off(error)
        || http2_error(error).is_some_and(|error| {
            error.is_go_away()
                || error.is_io()
                || error.reason() == Some(h2::Reason::REFUSED_STREAM)
        })
}

fn classify(error: hyper::Error, upload: Option<&UploadState>) -> ProxyError {
    match upload {
        Some(upload) if upload.is_stalled() => ProxyError::UploadStalled,
        Some(upload) if upload.is_broken() => ProxyError::UploadBroken,
        Some(upload) if upload.has_left() => ProxyError::ClientGone,
        _ if error.is_parse() => ProxyError::Protocol(error),
        _ => ProxyError::Broken(error),
    }
}
