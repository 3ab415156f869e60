//! A response's body with the permit that it was made with.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::held::Held;

pin_project! {
    /// A body that holds a permit until it has ended, fails or is dropped; or the few words of a
    /// reject.
    pub struct GateBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B: Body> {
        Own { words: Option<B::Data> },
        // The permit is `None` once the body has ended.
        Held { #[pin] body: B, held: Option<Held> },
    }
}

impl<B: Body> GateBody<B> {
    pub(super) fn own(words: Option<B::Data>) -> Self {
        Self {
            kind: Kind::Own { words },
        }
    }

    pub(super) fn held(body: B, held: Held) -> Self {
        let mut held = Some(held);
        end_if(body.is_end_stream(), &mut held);
        Self {
            kind: Kind::Held { body, held },
        }
    }
}

/// Without the bytes, which need not be printable.
impl<B: Body> fmt::Debug for GateBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permit = match &self.kind {
            Kind::Own { .. } => None,
            Kind::Held { held, .. } => held.as_ref(),
        };
        f.debug_struct("GateBody")
            .field("permit", &permit)
            .finish_non_exhaustive()
    }
}

fn end_if(is_over: bool, held: &mut Option<Held>) {
    if is_over && let Some(held) = held.take() {
        held.whole();
    }
}

impl<B: Body> Body for GateBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let (mut body, held) = match self.project().kind.project() {
            KindProjection::Own { words } => {
                return Poll::Ready(words.take().map(|words| Ok(Frame::data(words))));
            }
            KindProjection::Held { body, held } => (body, held),
        };
        let frame = ready!(body.as_mut().poll_frame(cx));
        match &frame {
            // Servers ask for nothing behind trailers, and not for an end that they know of.
            Some(Ok(frame)) => end_if(frame.is_trailers() || body.is_end_stream(), held),
            // As cut.
            Some(Err(_)) => drop(held.take()),
            None => end_if(true, held),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own { words } => words.is_none(),
            Kind::Held { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own { words } => {
                let len = words.as_ref().map_or(0, bytes::Buf::remaining);
                SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
            }
            Kind::Held { body, .. } => body.size_hint(),
        }
    }
}
