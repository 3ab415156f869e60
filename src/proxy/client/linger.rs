//! The lingering close: reads and discards what a refused client is still sending, within bounds,
//! so that the answer reaches it (RFC 9112, section 9.6).
//!
//! Under TLS it reads the socket and not the session: what is thrown away need not be decrypted,
//! and the kernel's reset, which it is all about, does not know of sessions.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Sleep, sleep};

/// The longest that a connection lingers.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The most that is discarded. Above the 3 MiB promised, for a client that writes all of that
/// before it reads.
const LINGER_BYTES: usize = 4 << 20;

const CHUNK: usize = 16 << 10;

/// One connection's lingering.
#[derive(Debug)]
pub(in crate::proxy) struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    pub(in crate::proxy) fn new() -> Self {
        Self {
            until: Box::pin(sleep(LINGER_TIME)),
            left: LINGER_BYTES,
        }
    }

    /// Ready at the client's end of stream, an error, or a bound.
    pub(in crate::proxy) fn poll(
        &mut self,
        read: &mut OwnedReadHalf,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut chunk = [std::mem::MaybeUninit::uninit(); CHUNK];
        while self.left > 0 {
            let mut buf = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut *read).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buf.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}
