//! A response body that comes in pieces, breaks off, or ends in trailers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::counters::InFlight;

/// Long enough that what was written before leaves the process first.
const ABORT_DELAY: Duration = Duration::from_millis(20);

/// The pieces still to come, and the request that is in flight until they have.
pub(super) struct Paced {
    rest: Bytes,
    chunks_left: u32,
    gap: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    end: End,
    in_flight: Option<InFlight>,
}

/// How a response ends.
pub(super) enum End {
    /// With its last piece.
    Plain,
    /// With trailers after it.
    Trailers(HeaderMap),
    /// Half of it is sent, then the connection (HTTP/1.1) or stream (HTTP/2) breaks.
    Abort,
}

impl Paced {
    pub(super) fn new(
        mut content: Bytes,
        chunks: u32,
        gap: Duration,
        end: End,
        in_flight: InFlight,
    ) -> Self {
        if matches!(end, End::Abort) {
            content.truncate(content.len() / 2);
        }
        let chunks_left = if content.is_empty() { 0 } else { chunks };
        let mut body = Self {
            rest: content,
            chunks_left,
            gap,
            pause: None,
            end,
            in_flight: Some(in_flight),
        };
        if body.is_end_stream() {
            body.served();
        }
        body
    }

    fn served(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.served();
        }
    }

    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn pause_for(&mut self, time: Duration) {
        if !time.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep_until(Instant::now() + time)));
        }
    }

    fn next_piece(&mut self) -> Bytes {
        let pieces = usize::try_from(self.chunks_left).unwrap_or(usize::MAX);
        let piece = self.rest.split_to(self.rest.len().div_ceil(pieces));
        self.chunks_left = if self.rest.is_empty() {
            0
        } else {
            self.chunks_left - 1
        };
        match (self.chunks_left, &self.end) {
            (0, End::Plain) => self.served(),
            (0, End::Abort) => self.pause_for(ABORT_DELAY.max(self.gap)),
            _ => self.pause_for(self.gap),
        }
        piece
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = &mut *self;
        std::task::ready!(body.poll_pause(context));
        if body.chunks_left > 0 {
            return Poll::Ready(Some(Ok(Frame::data(body.next_piece()))));
        }
        match std::mem::replace(&mut body.end, End::Plain) {
            End::Plain => Poll::Ready(None),
            End::Trailers(trailers) => {
                body.served();
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            End::Abort => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks_left == 0 && matches!(self.end, End::Plain)
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            // One piece has a length; several are sent as they come, so that each is seen alone.
            End::Plain if self.chunks_left <= 1 => SizeHint::with_exact(self.rest.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
