//! A request whose handling panics gets its 500, and everything it held comes back.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;

use super::Shared;
use super::error::ClientGone;
use super::respond::{self, Dialect, ResponseBody};
use crate::telemetry::{Source, events};

pin_project! {
    /// The handling of one request.
    pub(super) struct Guarded<F> {
        #[pin]
        handling: F,
        shared: Arc<Shared>,
        dialect: Dialect,
    }
}

impl<F> Guarded<F> {
    pub(super) fn new(handling: F, shared: Arc<Shared>, dialect: Dialect) -> Self {
        Self {
            handling,
            shared,
            dialect,
        }
    }
}

impl<F> Future for Guarded<F>
where
    F: Future<Output = Result<Response<ResponseBody>, ClientGone>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Unwinding has dropped what the handling held by the time this returns.
        match catch_unwind(AssertUnwindSafe(|| this.handling.poll(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                let words = panic
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("no message");
                events::panicked(&this.shared.telemetry, &words);
                let response = respond::panicked(*this.dialect);
                let metrics = &this.shared.telemetry.metrics;
                metrics.response(Source::Weir, response.status().as_u16());
                Poll::Ready(Ok(response))
            }
        }
    }
}
