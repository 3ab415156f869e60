//! What a client's bytes come and go on: its socket, or a TLS session on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use crate::proxy::client::tls::TlsStream;

/// What a client's bytes come on. They go past it where there is no session.
#[derive(Debug)]
pub(in crate::proxy) enum Wire {
    Plain(OwnedReadHalf),
    /// Boxed, or every connection would hold room for a session.
    Tls(Box<TlsStream>),
}

impl Wire {
    /// The bytes as the network has them.
    pub(in crate::proxy) fn raw(&mut self) -> &mut OwnedReadHalf {
        match self {
            Self::Plain(read) => read,
            Self::Tls(session) => session.get_mut().0.raw(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(read) => Pin::new(read).poll_read(cx, buf),
            Self::Tls(session) => match ready!(Pin::new(session).poll_read(cx, buf)) {
                // An end without a goodbye, which many clients leave out: HTTP tells by itself
                // whether a message was whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
        }
    }
}
