//! A stream on which an answer must be taken in time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails once what was written has not been taken for longer than the limit, **however little of
/// it is taken meanwhile**: the time runs from the first byte to the flush after the last.
pub(super) struct Bounded<S> {
    stream: S,
    limit: Duration,
    /// Runs while there is something that was not flushed.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            late: None,
        }
    }

    /// What a write came to, unless it waits and is late.
    fn in_time(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let limit = self.limit;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(limit)));
        if written.is_pending() && late.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.late = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::admin::tests::within;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn who_does_not_read_gets_no_more() {
        let (near, _far) = duplex(4);
        let mut near = Bounded::new(near, LIMIT);
        let failed = within(near.write_all(b"eight by")).await;
        assert_eq!(failed.expect_err("late").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_reads_a_byte_now_and_then_gets_no_more_either() {
        let (near, mut far) = duplex(1);
        let mut near = Bounded::new(near, LIMIT);
        let dribble = async {
            while far.read_u8().await.is_ok() {
                tokio::time::sleep(LIMIT / 10).await;
            }
        };
        let failed = tokio::select! {
            failed = within(near.write_all(&[0; 1000])) => failed,
            () = dribble => unreachable!("the near end is open"),
        };
        assert_eq!(failed.expect_err("late").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_answer_has_its_own_time() {
        let (near, mut far) = duplex(4);
        let mut near = Bounded::new(near, LIMIT);
        for _ in 0..3 {
            near.write_all(b"four").await.expect("in time");
            near.flush().await.expect("flushed");
            tokio::time::sleep(LIMIT).await;
            far.read_exact(&mut [0; 4]).await.expect("there");
        }
    }
}
