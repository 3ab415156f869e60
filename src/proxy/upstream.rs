//! One connection to the backend: how it is made, what a request borrows of it, how it ends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pipe::PipeExecutor;
use super::pool::Room;
use super::settings::{Settings, UpstreamAddress};
use super::upload::Upload;

/// hyper's read buffer for one response head; the backend is trusted with as much as a client.
const HEAD_BUFFER: usize = 64 << 10;

/// Stream and connection windows towards the backend: what of a response may wait in weir for a
/// slow client.
const STREAM_WINDOW: u32 = 64 << 10;

/// The connection's window bounds nothing that the streams' do not, but the h2 library takes half of
/// it for what small DATA frames may cost that wait for slow clients, and ends the connection with
/// all its streams beyond that (h2#944). As wide as can be, or three readers of tiny gRPC messages
/// that pause would end everybody's.
const CONNECTION_WINDOW: u32 = i32::MAX as u32;

/// An HTTP/1.1 connection, lent to one request at a time.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<Upload>,
    task: JoinHandle<()>,
    /// Whether it has carried a request before, so that the backend may have closed it since.
    pub(super) is_reused: bool,
    pub(super) idle_since: Instant,
}

impl Http1 {
    /// Cuts the connection and resolves once its socket is closed.
    pub(super) async fn cut(self) {
        self.task.abort();
        // An error says that it was aborted, or had panicked; it is over in both cases.
        let _ = self.task.await;
    }
}

/// An HTTP/2 connection, shared by many requests.
#[derive(Debug)]
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<Upload>,
    pub(super) streams: AtomicU32,
    pub(super) idle_since: std::sync::Mutex<Instant>,
    /// The backend has said that it takes nothing more here.
    pub(super) is_retired: AtomicBool,
}

/// One stream's share of an HTTP/2 connection; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Arc<Http2>,
}

impl Stream {
    pub(super) fn new(connection: Arc<Http2>) -> Self {
        connection.streams.fetch_add(1, Ordering::Relaxed);
        Self { connection }
    }

    pub(super) fn sender(&self) -> http2::SendRequest<Upload> {
        self.connection.sender.clone()
    }

    /// No further stream begins on this connection.
    pub(super) fn retire(&self) {
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

/// Connects and shakes hands in HTTP/1.1.
pub(super) async fn connect_http1(settings: &Settings, room: Room) -> io::Result<Http1> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BUFFER);
    let (sender, task) = match connect(&settings.upstream.address).await? {
        Socket::Tcp(stream) => handshake_http1(&builder, stream, room).await?,
        Socket::Unix(stream) => handshake_http1(&builder, stream, room).await?,
    };
    Ok(Http1 {
        sender,
        task,
        is_reused: false,
        idle_since: Instant::now(),
    })
}

async fn handshake_http1<S>(
    builder: &http1::Builder,
    stream: S,
    room: Room,
) -> io::Result<(http1::SendRequest<Upload>, JoinHandle<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = builder
        .handshake(TokioIo::new(Housed {
            stream,
            _room: room,
        }))
        .await
        .map_err(io::Error::other)?;
    Ok((sender, run(connection.with_upgrades())))
}

/// Connects and shakes hands in HTTP/2, by prior knowledge.
pub(super) async fn connect_http2(settings: &Settings, room: Room) -> io::Result<Http2> {
    let mut builder = http2::Builder::new(PipeExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(settings.limits.header_bytes)
        .keep_alive_interval(settings.timeouts.h2_ping)
        .keep_alive_timeout(pong_timeout(settings.timeouts.h2_ping));
    let sender = match connect(&settings.upstream.address).await? {
        Socket::Tcp(stream) => handshake_http2(&builder, stream, room).await?,
        Socket::Unix(stream) => handshake_http2(&builder, stream, room).await?,
    };
    Ok(Http2 {
        sender,
        streams: AtomicU32::new(0),
        idle_since: std::sync::Mutex::new(Instant::now()),
        is_retired: AtomicBool::new(false),
    })
}

async fn handshake_http2<S>(
    builder: &http2::Builder<PipeExecutor>,
    stream: S,
    room: Room,
) -> io::Result<http2::SendRequest<Upload>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = builder
        .handshake(TokioIo::new(Housed {
            stream,
            _room: room,
        }))
        .await
        .map_err(io::Error::other)?;
    run(connection);
    Ok(sender)
}

/// How long the answer to a ping may take.
pub(super) fn pong_timeout(interval: Duration) -> Duration {
    (interval / 2).min(Duration::from_secs(10))
}

/// Drives a connection to its end. What it ends with shows at the request that was on it.
fn run<C>(connection: C) -> JoinHandle<()>
where
    C: Future<Output = hyper::Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    })
}

pin_project! {
    /// A socket that gives its room back when it is closed, and not before: on HTTP/2 hyper's
    /// connection goes on for a moment after its last handle, and a tunnel outlives the
    /// connection's task.
    struct Housed<S> {
        #[pin]
        stream: S,
        // Dropped after the socket.
        _room: Room,
    }
}

impl<S: AsyncRead> AsyncRead for Housed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().stream.poll_read(cx, buf)
    }
}

impl<S: AsyncWrite> AsyncWrite for Housed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn connect(address: &UpstreamAddress) -> io::Result<Socket> {
    let stream = match address {
        UpstreamAddress::Unix(path) => return UnixStream::connect(path).await.map(Socket::Unix),
        UpstreamAddress::Socket(address) => TcpStream::connect(address).await?,
        UpstreamAddress::Name(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(Socket::Tcp(stream))
}
