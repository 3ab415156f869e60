//! Waiting for the backend on behalf of a client: how long, and whether the client still cares.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::client::Client;
use crate::proxy::forward::upload::UploadState;

/// How often the client is looked for while the backend is silent.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How the waiting ended without the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum End {
    /// The client has left.
    ClientGone,
    /// The backend was silent for too long.
    TimedOut,
}

/// A time limit that also looks for the client now and then. Costs next to nothing until something
/// is really waited for: its timer comes from the client, where the last who waited left it.
#[derive(Debug)]
pub(in crate::proxy) struct Patience {
    limit: Duration,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// What is still being sent, and how much of it had been at the last look.
    upload: Option<(Arc<UploadState>, u32)>,
}

impl Patience {
    /// For waiting on behalf of one request, from `now` on.
    pub(in crate::proxy) fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            deadline: Some(now + limit),
            timer: None,
            upload: None,
        }
    }

    /// While this upload gets on, the backend is not waited for.
    pub(in crate::proxy) fn during(&mut self, upload: Option<Arc<UploadState>>) {
        self.upload = upload.map(|upload| {
            let frames = upload.frames();
            (upload, frames)
        });
    }

    /// From `now` on the waits are for something else.
    pub(in crate::proxy) fn turn_to(&mut self, limit: Duration, now: Instant) {
        self.limit = limit;
        self.deadline = Some(now + limit);
        self.upload = None;
    }

    /// The backend gave a sign: the time starts again at the next wait.
    pub(in crate::proxy) fn refresh(&mut self) {
        self.deadline = None;
    }

    /// Leaves the timer to the next request of the same client.
    pub(in crate::proxy) fn end(&mut self, client: &Client) {
        if let Some(timer) = self.timer.take() {
            client.keep_timer(timer);
        }
    }

    /// Ready when there is no point in waiting on.
    pub(in crate::proxy) fn poll(&mut self, client: &Client, cx: &mut Context<'_>) -> Poll<End> {
        let mut deadline = match self.deadline {
            Some(deadline) => deadline,
            None => *self.deadline.insert(Instant::now() + self.limit),
        };
        let timer = self.timer.get_or_insert_with(|| {
            let look = deadline.min(Instant::now() + LOOK_AGAIN);
            client
                .take_timer()
                .unwrap_or_else(|| Box::pin(sleep_until(look)))
        });
        // The one before may have had more time.
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if client.is_gone() {
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
    pub(in crate::proxy) async fn bear<T>(
        &mut self,
        client: &Client,
        mut backend: impl Future<Output = T> + Unpin,
    ) -> Result<T, End> {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = Pin::new(&mut backend).poll(cx) {
                return Poll::Ready(Ok(value));
            }
            self.poll(client, cx).map(Err)
        })
        .await
    }
}
