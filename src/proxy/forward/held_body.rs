//! The upstream's response body on its way to the client: the exchange lives as long as it does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::proxy::client::stall::Pulse;
use crate::proxy::forward::exchange::Exchange;
use crate::proxy::forward::patience::{End, Patience};
use crate::telemetry::UpstreamError;

/// The upstream's response body on its way to the client, with the exchange it belongs to.
#[derive(Debug)]
pub(in crate::proxy) struct HeldBody {
    body: Incoming,
    /// `None` once the response has ended.
    exchange: Option<Exchange>,
    patience: Patience,
    /// On HTTP/2: tells the stream's watch whether the client reads.
    pulse: Option<Arc<Pulse>>,
    /// The client takes the close of its connection for the end of the response.
    until_close: bool,
    /// What the response was broken off by, until hyper is told.
    broken: Option<BodyError>,
}

impl HeldBody {
    pub(in crate::proxy) fn new(
        body: Incoming,
        exchange: Exchange,
        patience: Patience,
        pulse: Option<Arc<Pulse>>,
        until_close: bool,
    ) -> Self {
        let mut held = Self {
            body,
            exchange: Some(exchange),
            patience,
            pulse,
            until_close,
            broken: None,
        };
        held.complete_if_over();
        held
    }

    fn complete_if_over(&mut self) {
        if self.body.is_end_stream() {
            self.complete();
        }
    }

    fn complete(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.patience.end(&exchange.connection().client);
            exchange.complete();
        }
    }

    /// Whether the backend reset its stream with `NO_ERROR` inside the response, which hyper takes
    /// for an end. Behind a whole response that only says that the rest of the upload is not wanted
    /// (RFC 9113, section 8.1), so it is believed as long as there is one.
    fn is_cut_short(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| {
            exchange.is_over_http2()
                && !self.body.is_end_stream()
                && self.body.size_hint().exact() != Some(0)
                && exchange.is_upload_over()
        })
    }

    /// Broken off by the backend. At an error hyper drops what it has not written yet: it is given a
    /// turn to write what came before.
    fn break_off_soon(
        &mut self,
        error: BodyError,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.broken = Some(self.break_off(UpstreamError::Body, error));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn break_off(&mut self, kind: UpstreamError, error: BodyError) -> BodyError {
        if let Some(exchange) = self.exchange.take() {
            if self.until_close {
                exchange.connection().client.reset_at_close();
            }
            exchange.break_off(kind, &error);
        }
        error
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(pulse) = &this.pulse {
            pulse.asked();
        }
        let frame = match &mut this.exchange {
            Some(exchange) => exchange.poll_frame(&mut this.body, cx),
            None => Pin::new(&mut this.body).poll_frame(cx),
        };
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.refresh();
                // hyper does not ask for more behind trailers.
                if frame.is_trailers() {
                    this.complete();
                } else {
                    this.complete_if_over();
                }
                if let Some(pulse) = &this.pulse {
                    pulse.gave();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // hyper takes a stream that its backend resets with NO_ERROR for one that has ended.
            Poll::Ready(None) if this.is_cut_short() => this.break_off_soon(BodyError::Reset, cx),
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => this.break_off_soon(BodyError::Upstream(error), cx),
            Poll::Pending => {
                let Some(exchange) = &this.exchange else {
                    return Poll::Pending;
                };
                match this.patience.poll(&exchange.connection().client, cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(End::ClientGone) => {
                        // Counted as cancelled by the drop.
                        this.exchange = None;
                        Poll::Ready(Some(Err(BodyError::ClientGone)))
                    }
                    Poll::Ready(End::TimedOut) => {
                        let error = this.break_off(UpstreamError::ResponseIdle, BodyError::Idle);
                        Poll::Ready(Some(Err(error)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a response was broken off. hyper then aborts the client's connection or resets its
/// stream: never an end that looks clean.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum BodyError {
    /// By the backend.
    #[error("the upstream broke off its response")]
    Upstream(#[source] hyper::Error),
    /// By the backend, which said that nothing was wrong.
    #[error("the upstream reset its stream before the end of its response")]
    Reset,
    /// Nothing came for `timeouts.response_idle`.
    #[error("the upstream sent nothing for timeouts.response_idle")]
    Idle,
    /// By the client.
    #[error("the client left")]
    ClientGone,
}
