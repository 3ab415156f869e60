//! One client connection: which protocol, which limits, and what ends it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{timeout, timeout_at};

use crate::proxy::answer::error::ClientGone;
use crate::proxy::answer::respond::{Dialect, ResponseBody};
use crate::proxy::client::Client;
use crate::proxy::client::ended::{WithCause, is_client_gone, kind_of};
use crate::proxy::client::io::{ClientIo, WRITE_STALL};
use crate::proxy::client::parting::{Look, Parting};
use crate::proxy::client::place::Place;
use crate::proxy::client::sniff::{Sniffed, sniff};
use crate::proxy::client::stall::{Pulse, StreamExecutor};
use crate::proxy::client::tls::{self, Protocol, Secured, Tls, TlsPeer};
use crate::proxy::client::watch::{Event, Watch};
use crate::proxy::client::wire::Wire;
use crate::proxy::guarded::Guarded;
use crate::proxy::handle::handle;
use crate::proxy::settings::Settings;
use crate::proxy::stage::Stage;
use crate::proxy::upstream::pong_timeout;
use crate::proxy::{Connection, Shared};
use crate::telemetry::{ConnectionError, events};

/// What one stream may have sent of its body before weir reads it: the protocol's own default.
pub(in crate::proxy) const STREAM_WINDOW: u32 = 65_535;

/// h2 takes half of a connection's window for the cost of small frames that wait, and more of them
/// for an attack (h2#944): at this one upload of empty gRPC messages to a backend that reads none is
/// borne, in which 13,107 of them wait at 251 bytes each. No more, because nobody vouches for a
/// client.
const LEAST_CONNECTION_WINDOW: u32 = 8 << 20;

/// hyper's buffer of one HTTP/1 connection, reading or writing, unless a head may be larger.
const BUFFER: usize = 64 << 10;

/// Resets of a misbehaving client before it is cut off (rapid reset, CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// How long a client that has not asked for anything by the end of a drain is still waited for:
/// what it asks may be on its way.
const LAST_CHANCE: Duration = Duration::from_millis(250);

/// What a client gets whose head takes too long (RFC 9110, section 15.5.9).
const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-length: 0\r\nproxy-status: weir; error=http_request_error; details=\"head\"\r\n\r\n";

/// Serves one client connection to its end.
pub(in crate::proxy) async fn serve(
    shared: Arc<Shared>,
    worker: usize,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    let settings = shared.settings.load_full();
    // A client that is gone already fails at the first read.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    // Boxed, or each connection would hold room for a handshake.
    let mut beginning = Box::pin(begin(&shared, &settings, read, peer));
    let begun = tokio::select! {
        biased;
        begun = &mut beginning => begun,
        () = shared.progress.reached(Stage::Closing) => {
            timeout(LAST_CHANCE, beginning.as_mut()).await.ok().flatten()
        }
    };
    drop(beginning);
    let Some((
        Secure {
            wire,
            peer: tls,
            protocol,
        },
        seems_h2,
        ahead,
    )) = begun
    else {
        return;
    };
    let is_h2 = protocol.map_or(seems_h2, |protocol| protocol == Protocol::Http2);
    let client = Client::new(peer, write, is_h2, tls, place, shared.millis());
    let connection = Arc::new(Connection {
        shared,
        worker,
        client: Arc::new(client),
    });
    // Boxed, or each connection would hold room for either protocol and the sniff.
    let ended = if is_h2 {
        Box::pin(serve_http2(&connection, &settings, wire, ahead)).await
    } else {
        Box::pin(serve_http1(&connection, &settings, wire, ahead)).await
    };
    if let Err(error) = ended
        && !is_client_gone(&error)
    {
        let kind = kind_of(&error, is_h2);
        let excerpt = connection.client.refused_head();
        let telemetry = &connection.shared.telemetry;
        events::connection_error(telemetry, kind, Some(peer), &WithCause(&error), excerpt);
    }
}

/// Shakes hands, if that is set, and finds out what the client speaks; `None` if that did not come about.
async fn begin(
    shared: &Shared,
    settings: &Settings,
    read: OwnedReadHalf,
    peer: SocketAddr,
) -> Option<(Secure, bool, Bytes)> {
    let mut secure = match &settings.tls {
        None => Secure::plain(read),
        Some(tls) => shake_hands(shared, settings, tls, read, peer).await?,
    };
    match sniff(&mut secure.wire, settings.timeouts.sniff).await {
        Sniffed::Http1(ahead) => Some((secure, false, ahead)),
        Sniffed::Http2(ahead) => Some((secure, true, ahead)),
        Sniffed::Closed => None,
        Sniffed::TimedOut => {
            let detail = "no request within timeouts.sniff";
            events::connection_error(
                &shared.telemetry,
                ConnectionError::Sniff,
                Some(peer),
                &detail,
                &[],
            );
            None
        }
    }
}

/// What a connection goes on, and what is known of it by then.
struct Secure {
    wire: Wire,
    peer: Option<Box<TlsPeer>>,
    /// What was agreed on; `None` leaves it to the first bytes.
    protocol: Option<Protocol>,
}

impl Secure {
    fn plain(read: OwnedReadHalf) -> Self {
        Self {
            wire: Wire::Plain(read),
            peer: None,
            protocol: None,
        }
    }
}

/// Shakes hands; `None` if that did not come about.
async fn shake_hands(
    shared: &Shared,
    settings: &Settings,
    tls: &Tls,
    read: OwnedReadHalf,
    peer: SocketAddr,
) -> Option<Secure> {
    match tls::accept(tls, read, settings.timeouts.tls_handshake).await {
        Ok(Secured {
            stream,
            peer,
            protocol,
            is_resumed,
        }) => {
            shared.telemetry.metrics.tls_handshake(is_resumed);
            Some(Secure {
                wire: Wire::Tls(stream),
                peer: Some(peer),
                protocol,
            })
        }
        Err(failed) => {
            if let Some(kind) = failed.kind {
                events::tls_handshake_failed(&shared.telemetry, kind, peer, &failed.detail);
            }
            failed.linger().await;
            None
        }
    }
}

async fn serve_http1(
    connection: &Arc<Connection>,
    settings: &Settings,
    wire: Wire,
    ahead: Bytes,
) -> hyper::Result<()> {
    let client = &connection.client;
    let header_bytes = settings.limits.header_bytes as usize;
    let mut builder = http1::Builder::new();
    builder
        // Ours costs nothing per request, and tells a slow head from an idle connection.
        .header_read_timeout(None)
        .max_header_size(header_bytes)
        .max_buf_size(BUFFER.max(header_bytes + header_bytes / 2));
    if settings.limits.header_fields != 100 {
        builder.max_headers(settings.limits.header_fields);
    }
    let io = client_io(connection, settings, wire, ahead);
    let mut serving = pin!(
        builder
            .serve_connection(io, service(connection))
            .with_upgrades()
    );
    let mut watch = Watch::new(connection, settings);
    loop {
        let event = match watch.drive(serving.as_mut()).await {
            Ok(event) => event,
            Err(ended) => return ended,
        };
        match event {
            Event::HeadTimeout => {
                let detail = "a head took longer than timeouts.head";
                let telemetry = &connection.shared.telemetry;
                events::connection_error(
                    telemetry,
                    ConnectionError::Head,
                    Some(client.peer),
                    &detail,
                    &[],
                );
                client.write_past(REQUEST_TIMEOUT);
                if client.tls.is_some() {
                    // hyper reads on, and so the session comes to its end.
                    let _ = poll_once(serving.as_mut()).await;
                }
                return Ok(());
            }
            // Its next response says `connection: close`; who is idle may still send one more.
            Event::Leave => client.set_leaving(),
            Event::Close => {
                // A request may be on its way through the kernel: one more look.
                tokio::task::yield_now().await;
                if let Poll::Ready(ended) = poll_once(serving.as_mut()).await {
                    return ended;
                }
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn serve_http2(
    connection: &Arc<Connection>,
    settings: &Settings,
    wire: Wire,
    ahead: Bytes,
) -> hyper::Result<()> {
    let client = &connection.client;
    let executor = StreamExecutor::new(client.clone(), settings.timeouts.write_stall);
    let streams = settings.limits.h2_streams;
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(streams))
        .max_header_list_size(settings.limits.header_bytes)
        .max_send_buf_size(BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .keep_alive_interval(settings.timeouts.h2_ping)
        .keep_alive_timeout(pong_timeout(settings.timeouts.h2_ping));
    let io = client_io(connection, settings, wire, ahead);
    let mut serving = pin!(builder.serve_connection(io, service(connection)));
    let mut watch = Watch::new(connection, settings);
    let mut parting: Option<Parting> = None;
    loop {
        let driven = watch.drive(serving.as_mut());
        let event = match &parting {
            None => Some(driven.await),
            Some(parting) => timeout_at(parting.look_at, driven).await.ok(),
        };
        match event {
            Some(Err(ended)) => return ended,
            Some(Ok(Event::HeadTimeout)) => {}
            // GOAWAY, then what the client had sent before it saw that is still served.
            Some(Ok(Event::Leave)) => serving.as_mut().graceful_shutdown(),
            Some(Ok(Event::Close)) => {
                serving.as_mut().graceful_shutdown();
                parting = Some(Parting::begin(client, settings.timeouts.write_stall));
            }
            None => {
                // One more look: something may be on its way through the kernel.
                tokio::task::yield_now().await;
                if let Poll::Ready(ended) = poll_once(serving.as_mut()).await {
                    return ended;
                }
                match parting.as_mut().map(|parting| parting.look(client)) {
                    Some(Look::Silent) => return Ok(()),
                    Some(Look::Stalled) => {
                        let telemetry = &connection.shared.telemetry;
                        let (kind, peer) = (ConnectionError::WriteStall, Some(client.peer));
                        events::connection_error(telemetry, kind, peer, &WRITE_STALL, &[]);
                        return Ok(());
                    }
                    Some(Look::Wait) | None => {}
                }
            }
        }
    }
}

/// Never less than the streams can fill, or queued uploads would starve admitted ones of the shared
/// window.
fn connection_window(streams: u32) -> u32 {
    STREAM_WINDOW
        .saturating_mul(streams)
        .clamp(LEAST_CONNECTION_WINDOW, i32::MAX as u32)
}

fn client_io(
    connection: &Connection,
    settings: &Settings,
    wire: Wire,
    ahead: Bytes,
) -> TokioIo<ClientIo> {
    TokioIo::new(ClientIo::new(
        wire,
        connection.client.clone(),
        ahead,
        settings.timeouts.write_stall,
    ))
}

/// What hyper calls for each request.
fn service(
    connection: &Arc<Connection>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<ResponseBody>,
    Error = ClientGone,
    Future = impl Future<Output = Result<Response<ResponseBody>, ClientGone>> + Send + 'static,
> {
    let connection = connection.clone();
    service_fn(move |request: Request<Incoming>| {
        let dialect = Dialect::of(&request);
        let pulse = connection.client.is_h2.then(|| Arc::new(Pulse::new()));
        if let Some(pulse) = &pulse {
            connection.client.leave_pulse(pulse.clone());
        }
        let handling = handle(connection.clone(), request, dialect, pulse);
        Guarded::new(handling, connection.clone(), dialect)
    })
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
