//! An HTTP/2 connection, shared by many requests and driven by a task of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::socket;
use crate::proxy::forward::pipe::PipeExecutor;
use crate::proxy::forward::upload::Upload;
use crate::proxy::settings::Settings;
use crate::proxy::upstream::pool::Room;

/// What of a response may wait in weir for a slow client.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same of all responses on one connection. More than the streams together can fill, because
/// h2 takes half of it for the cost of small frames that wait: at 251 bytes for each empty gRPC
/// message, a full stream of them costs 3.2 MiB, so ten clients that read none of them are borne,
/// and then the connection is cut as if the backend were attacking (h2#944).
const CONNECTION_WINDOW: u32 = 64 << 20;

/// An HTTP/2 connection, shared by many requests.
#[derive(Debug)]
pub(in crate::proxy) struct Http2 {
    pub(in crate::proxy) sender: http2::SendRequest<Upload>,
    pub(in crate::proxy) streams: AtomicU32,
    pub(in crate::proxy) idle_since: std::sync::Mutex<Instant>,
    /// The backend has said that it takes nothing more here.
    pub(in crate::proxy) is_retired: AtomicBool,
}

/// One stream's share of an HTTP/2 connection; dropping it gives it back.
#[derive(Debug)]
pub(in crate::proxy) struct Stream {
    connection: Arc<Http2>,
}

impl Stream {
    pub(in crate::proxy) fn new(connection: Arc<Http2>) -> Self {
        connection.streams.fetch_add(1, Ordering::Relaxed);
        Self { connection }
    }

    pub(in crate::proxy) fn sender(&self) -> http2::SendRequest<Upload> {
        self.connection.sender.clone()
    }

    /// No further stream begins on this connection.
    pub(in crate::proxy) fn retire(&self) {
        self.connection.is_retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.connection.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self
                .connection
                .idle_since
                .lock()
                .expect("nothing panics under it") = Instant::now();
        }
    }
}

/// Connects and shakes hands, by prior knowledge.
pub(in crate::proxy) async fn connect(settings: &Settings, room: Room) -> io::Result<Http2> {
    let mut builder = http2::Builder::new(PipeExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(settings.limits.header_bytes)
        .keep_alive_interval(settings.timeouts.h2_ping)
        .keep_alive_timeout(pong_timeout(settings.timeouts.h2_ping));
    let socket = socket::connect(&settings.upstream.address, Arc::new(room)).await?;
    let (sender, connection) = builder
        .handshake(TokioIo::new(socket))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Http2 {
        sender,
        streams: AtomicU32::new(0),
        idle_since: std::sync::Mutex::new(Instant::now()),
        is_retired: AtomicBool::new(false),
    })
}

/// How long the answer to a ping may take.
pub(in crate::proxy) fn pong_timeout(interval: Duration) -> Duration {
    (interval / 2).min(Duration::from_secs(10))
}
