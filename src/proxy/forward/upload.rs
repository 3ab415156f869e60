//! A request's body on its way to the backend.
//!
//! Watches that the client keeps sending, tells how it ended, and can be cut short from the
//! response's side.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::answer::error::http2_error;
use crate::proxy::client::Client;
use crate::proxy::forward::pipe;
use crate::proxy::head::headers::strip_trailers;
use crate::proxy::settings::Settings;

/// Still being sent.
const OPEN: u8 = 0;
/// Sent to its end.
const COMPLETE: u8 = 1;
/// The client was silent for too long.
const STALLED: u8 = 2;
/// The client broke off, or broke its framing.
const BROKEN: u8 = 3;
/// Cut short: the response was over first.
const CUT: u8 = 4;
/// The client reset its stream, or closed its connection.
const LEFT: u8 = 5;

/// What both the body and the exchange it belongs to know of it.
#[derive(Debug)]
pub(in crate::proxy) struct UploadState {
    state: AtomicU8,
    frames: AtomicU32,
    waker: Mutex<Option<Waker>>,
    /// The body was dropped: nobody sends it any more.
    released: Notify,
}

impl UploadState {
    /// Whether it is still being sent.
    pub(in crate::proxy) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// How many frames have been passed on.
    pub(in crate::proxy) fn frames(&self) -> u32 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Whether it was cut short; if not, the task is woken when it is.
    pub(in crate::proxy) fn is_cut(&self, cx: &mut Context<'_>) -> bool {
        *self.waker.lock().expect("nothing panics under it") = Some(cx.waker().clone());
        self.state.load(Ordering::Acquire) == CUT
    }

    /// Whether the whole body has been passed on.
    pub(in crate::proxy) fn is_complete(&self) -> bool {
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Whether the client was silent for longer than `timeouts.body_idle`.
    pub(in crate::proxy) fn is_stalled(&self) -> bool {
        self.state.load(Ordering::Acquire) == STALLED
    }

    /// Whether the client broke off or broke its framing.
    pub(in crate::proxy) fn is_broken(&self) -> bool {
        self.state.load(Ordering::Acquire) == BROKEN
    }

    /// Whether the client is known to have left.
    pub(in crate::proxy) fn has_left(&self) -> bool {
        self.state.load(Ordering::Acquire) == LEFT
    }

    /// Ends an upload that is still open in an error.
    pub(in crate::proxy) fn cut(&self) {
        self.end(CUT);
        let waker = self.waker.lock().expect("nothing panics under it").take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Resolves once the body is dropped.
    pub(in crate::proxy) async fn released(&self) {
        self.released.notified().await;
    }

    fn end(&self, how: u8) {
        let _ = self
            .state
            .compare_exchange(OPEN, how, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The body that hyper's client sends.
#[derive(Debug)]
pub(in crate::proxy) struct Upload {
    /// `None` for a request without a body.
    open: Option<Box<OpenUpload>>,
}

#[derive(Debug)]
struct OpenUpload {
    body: Incoming,
    client: Arc<Client>,
    state: Arc<UploadState>,
    idle: Duration,
    /// What trailers may not bring, either.
    trusted: Arc<[HeaderName]>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// A request without a body.
    pub(in crate::proxy) fn none() -> Self {
        Self { open: None }
    }

    /// The client's body, and the state that the exchange keeps of it; `None` if it is empty.
    pub(in crate::proxy) fn new(
        body: Incoming,
        client: Arc<Client>,
        settings: &Settings,
    ) -> (Self, Option<Arc<UploadState>>) {
        if body.is_end_stream() {
            return (Self::none(), None);
        }
        let state = Arc::new(UploadState {
            state: AtomicU8::new(OPEN),
            frames: AtomicU32::new(0),
            waker: Mutex::new(None),
            released: Notify::new(),
        });
        let open = OpenUpload {
            body,
            client,
            state: state.clone(),
            idle: settings.timeouts.body_idle,
            trusted: settings.trust.headers.clone(),
            timer: None,
        };
        (
            Self {
                open: Some(Box::new(open)),
            },
            Some(state),
        )
    }

    /// Whether there is nothing to send, so that the request could be sent again.
    pub(in crate::proxy) fn is_none(&self) -> bool {
        self.open.is_none()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut self.open {
            Some(open) => open.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| open.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.open {
            Some(open) => open.body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl OpenUpload {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        pipe::polled(&self.state);
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    strip_trailers(trailers, &self.trusted);
                }
                self.timer = None;
                self.state.frames.fetch_add(1, Ordering::Relaxed);
                if self.body.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // hyper takes a stream that its client resets with NO_ERROR for one that has ended.
            Poll::Ready(None) if self.client.is_h2 && !self.body.is_end_stream() => {
                self.state.end(LEFT);
                Poll::Ready(Some(Err(UploadError::Reset)))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let has_left =
                    http2_error(&error).is_some_and(|error| error.is_remote() || error.is_io());
                self.state.end(if has_left { LEFT } else { BROKEN });
                Poll::Ready(Some(Err(UploadError::Client(error))))
            }
            Poll::Pending => self.poll_pending(cx),
        }
    }

    /// The client has sent nothing more yet: it is given `idle`, unless the exchange is over.
    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.state.is_cut(cx) {
            return Poll::Ready(Some(Err(UploadError::Cut)));
        }
        let deadline = Instant::now() + self.idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(cx));
        self.state.end(STALLED);
        Poll::Ready(Some(Err(UploadError::Stalled)))
    }

    fn complete(&mut self) {
        self.state.end(COMPLETE);
        self.client.set_upload_open(false);
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.complete();
        }
        self.state.released.notify_one();
    }
}

/// Why an upload ended before its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum UploadError {
    /// By the client, or its framing.
    #[error("the client's body broke off")]
    Client(#[source] hyper::Error),
    /// By the client, which said that nothing was wrong.
    #[error("the client reset its stream before the end of its body")]
    Reset,
    /// Nothing came for `timeouts.body_idle`.
    #[error("the client sent nothing for timeouts.body_idle")]
    Stalled,
    /// The response was over first.
    #[error("the response ended before its upload")]
    Cut,
}
