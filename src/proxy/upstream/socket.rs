//! The socket of one connection to the backend.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::settings::UpstreamAddress;
use crate::proxy::upstream::pool::Room;

/// Connects to the backend.
pub(super) async fn connect(address: &UpstreamAddress, room: Arc<Room>) -> io::Result<Socket> {
    let stream = match address {
        UpstreamAddress::Unix(path) => Stream::Unix {
            stream: UnixStream::connect(path).await?,
        },
        UpstreamAddress::Socket(address) => tcp(TcpStream::connect(address).await?)?,
        UpstreamAddress::Name(host, port) => {
            tcp(TcpStream::connect((host.as_str(), *port)).await?)?
        }
    };
    Ok(Socket {
        stream,
        is_blocked: Arc::new(AtomicBool::new(false)),
        _room: room,
    })
}

fn tcp(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp { stream })
}

pin_project! {
    /// A socket that gives its room back when it is closed, and not before: on HTTP/2 hyper's
    /// connection goes on for a moment after its last handle, and a tunnel outlives the
    /// connection's task.
    pub(super) struct Socket {
        #[pin]
        stream: Stream,
        is_blocked: Arc<AtomicBool>,
        // Dropped after the socket.
        _room: Arc<Room>,
    }
}

pin_project! {
    #[project = StreamProjection]
    enum Stream {
        Tcp { #[pin] stream: TcpStream },
        Unix { #[pin] stream: UnixStream },
    }
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($socket:ident . $method:ident ( $($argument:expr),* )) => {
        match $socket.project().stream.project() {
            StreamProjection::Tcp { stream } => stream.$method($($argument),*),
            StreamProjection::Unix { stream } => stream.$method($($argument),*),
        }
    };
}

impl Socket {
    /// Whether it had no room for what was to be written last.
    pub(super) fn is_blocked(&self) -> Arc<AtomicBool> {
        self.is_blocked.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = match this.stream.project() {
            StreamProjection::Tcp { stream } => stream.poll_write(cx, buf),
            StreamProjection::Unix { stream } => stream.poll_write(cx, buf),
        };
        this.is_blocked
            .store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = match this.stream.project() {
            StreamProjection::Tcp { stream } => stream.poll_write_vectored(cx, bufs),
            StreamProjection::Unix { stream } => stream.poll_write_vectored(cx, bufs),
        };
        this.is_blocked
            .store(written.is_pending(), Ordering::Relaxed);
        written
    }

    /// Both kinds are.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_shutdown(cx))
    }
}
