//! Waiting for the backend on behalf of a client: how long, and whether the client still cares.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::client::Client;
use super::upload::UploadState;

/// How often the client is looked for while the backend is silent.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How the waiting ended without the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has left.
    ClientGone,
    /// The backend was silent for too long.
    TimedOut,
}

/// A time limit that also looks for the client now and then. Costs nothing until something is
/// really waited for.
#[derive(Debug)]
pub(super) struct Patience {
    client: Arc<Client>,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
    /// What is still being sent, and how much of it had been at the last look.
    upload: Option<(Arc<UploadState>, u32)>,
}

impl Patience {
    pub(super) fn new(client: Arc<Client>, limit: Duration) -> Self {
        Self {
            client,
            limit,
            timer: None,
            deadline: None,
            upload: None,
        }
    }

    /// While this upload gets on, the backend is not waited for.
    pub(super) fn during(&mut self, upload: Option<Arc<UploadState>>) {
        self.upload = upload.map(|upload| {
            let frames = upload.frames();
            (upload, frames)
        });
    }

    /// The backend gave a sign: the time starts again at the next wait.
    pub(super) fn refresh(&mut self) {
        self.deadline = None;
    }

    /// Ready when there is no point in waiting on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        let mut deadline = *self.deadline.get_or_insert(now + self.limit);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline.min(now + LOOK_AGAIN))));
        loop {
            ready!(timer.as_mut().poll(cx));
            if self.client.is_gone() {
                return Poll::Ready(End::ClientGone);
            }
            let now = Instant::now();
            if let Some((upload, seen)) = &mut self.upload
                && upload.frames() != *seen
            {
                *seen = upload.frames();
                deadline = now + self.limit;
                self.deadline = Some(deadline);
            }
            if now >= deadline {
                return Poll::Ready(End::TimedOut);
            }
            timer.as_mut().reset(deadline.min(now + LOOK_AGAIN));
        }
    }

    /// Awaits `backend` within the limit.
    pub(super) async fn bear<T>(&mut self, backend: impl Future<Output = T>) -> Result<T, End> {
        let mut backend = std::pin::pin!(backend);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = backend.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            self.poll(cx).map(Err)
        })
        .await
    }
}
