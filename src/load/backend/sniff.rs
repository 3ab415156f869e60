//! Which protocol a connection begins with.
//!
//! The bytes that were read to find out are put back in front of the stream. (Peeking would leave
//! them in the socket, but a Unix socket of tokio cannot peek, and a peek at half a preface is
//! ready again at once, so that it would spin.)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection with prior knowledge begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

pub(super) async fn sniff<S>(mut stream: S) -> io::Result<(Protocol, Rewound<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut seen = BytesMut::with_capacity(PREFACE.len());
    let protocol = loop {
        if !PREFACE.starts_with(&seen) {
            break Protocol::Http1;
        }
        if seen.len() == PREFACE.len() {
            break Protocol::Http2;
        }
        let missing = PREFACE.len() - seen.len();
        let read = (&mut stream)
            .take(missing as u64)
            .read_buf(&mut seen)
            .await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let seen = seen.freeze();
    Ok((protocol, Rewound { seen, stream }))
}

/// A stream with the bytes in front that were already read from it.
pub(super) struct Rewound<S> {
    seen: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.seen.len().min(buffer.remaining());
        buffer.put_slice(&self.seen[..length]);
        self.seen.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
