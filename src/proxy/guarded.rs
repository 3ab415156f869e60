//! A request whose handling panics gets its 500, and everything it held comes back.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;

use super::Connection;
use super::answer::error::ClientGone;
use super::answer::respond::{self, Dialect, ResponseBody};
use crate::telemetry::{Source, events};

pin_project! {
    /// The handling of one request.
    pub(super) struct Guarded<F> {
        #[pin]
        handling: F,
        connection: Arc<Connection>,
        dialect: Dialect,
    }
}

impl<F> Guarded<F> {
    pub(super) fn new(handling: F, connection: Arc<Connection>, dialect: Dialect) -> Self {
        Self {
            handling,
            connection,
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
                events::panicked(&this.connection.shared.telemetry, &words);
                let response = respond::panicked(*this.dialect);
                let metrics = &this.connection.shared.telemetry.metrics;
                metrics.response(Source::Weir, response.status().as_u16());
                Poll::Ready(Ok(response))
            }
        }
    }
}
