//! The socket under a TLS session.
//!
//! Reads and writes by the read half alone, so that the client's second handle stays with the
//! client, and counts what the kernel has taken: a session buffers, and so cannot tell whether
//! the other end still reads.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

/// A TLS session on a client's socket.
pub(in crate::proxy) type TlsStream = tokio_rustls::server::TlsStream<Socket>;

/// What every handshake begins with: the type of its record.
const HANDSHAKE: u8 = 22;

/// The socket under a TLS session.
#[derive(Debug)]
pub(in crate::proxy) struct Socket {
    read: OwnedReadHalf,
    /// The first byte that came.
    first: Option<u8>,
    written: u64,
}

impl Socket {
    pub(super) fn new(read: OwnedReadHalf) -> Self {
        Self {
            read,
            first: None,
            written: 0,
        }
    }

    /// How many bytes the kernel has taken.
    pub(in crate::proxy) fn written(&self) -> u64 {
        self.written
    }

    /// What was sent as it is, past the session.
    pub(in crate::proxy) fn raw(&mut self) -> &mut OwnedReadHalf {
        &mut self.read
    }

    /// The first byte, if it is none of TLS.
    pub(super) fn foreign(&self) -> Option<u8> {
        self.first.filter(|first| *first != HANDSHAKE)
    }

    /// Whether anything came at all.
    pub(super) fn has_read(&self) -> bool {
        self.first.is_some()
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        write: impl Fn(&tokio::net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if self.foreign().is_some() {
            // An alert, to somebody who does not speak TLS.
            return Poll::Ready(Ok(len));
        }
        loop {
            ready!(self.read.as_ref().poll_write_ready(cx))?;
            match write(self.read.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(taken) => {
                    self.written += taken as u64;
                    return Poll::Ready(Ok(taken));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.read).poll_read(cx, buf))?;
        if self.first.is_none() {
            self.first = buf.filled().first().copied();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, buf.len(), |socket| socket.try_write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_write_with(cx, len, |socket| socket.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self.read.as_ref()).shutdown(Shutdown::Write))
    }
}
