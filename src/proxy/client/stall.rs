//! A watch over HTTP/2 streams whose client does not read.
//!
//! A client that keeps its stream's window shut stops hyper from polling the response body, so no
//! timer inside the body would ever fire. The stream's task is ours, though: the executor wraps
//! it, and ends it (which resets the stream) when a frame has been stuck for too long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::client::Client;

/// When the response body last gave out a frame that has not been followed by a poll for the next.
#[derive(Debug)]
pub(in crate::proxy) struct Pulse {
    epoch: Instant,
    /// Milliseconds since `epoch`, plus one; 0 while nothing is stuck.
    stuck_since: AtomicU64,
}

impl Pulse {
    pub(in crate::proxy) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            stuck_since: AtomicU64::new(0),
        }
    }

    /// The body was asked for more: the client reads.
    pub(in crate::proxy) fn asked(&self) {
        self.stuck_since.store(0, Ordering::Relaxed);
    }

    /// The body gave out a frame.
    pub(in crate::proxy) fn gave(&self) {
        let since = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.stuck_since.store(since, Ordering::Relaxed);
    }

    fn stuck_since(&self) -> Option<Instant> {
        match self.stuck_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(self.epoch + Duration::from_millis(since - 1)),
        }
    }
}

/// Runs the streams of one HTTP/2 connection, each under its watch.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct StreamExecutor {
    client: Arc<Client>,
    write_stall: Duration,
}

impl StreamExecutor {
    pub(in crate::proxy) fn new(client: Arc<Client>, write_stall: Duration) -> Self {
        Self {
            client,
            write_stall,
        }
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Watched {
            stream,
            // hyper calls the service and then, at once, this.
            pulse: self.client.take_pulse(),
            write_stall: self.write_stall,
            timer: None,
        });
    }
}

pin_project! {
    /// A stream's task, ended when its client does not read.
    struct Watched<F> {
        #[pin]
        stream: F,
        pulse: Option<Arc<Pulse>>,
        write_stall: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(stuck_since) = this.pulse.as_ref().and_then(|pulse| pulse.stuck_since()) else {
            *this.timer = None;
            return Poll::Pending;
        };
        let deadline = stuck_since + *this.write_stall;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}
