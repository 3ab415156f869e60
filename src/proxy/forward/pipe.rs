//! The tasks that send request bodies over HTTP/2, and how one is ended from outside.
//!
//! While the backend keeps a stream's window shut, hyper waits for it and does not poll the body,
//! so a body cannot end its own stream: not when its client has left, and not when the response is
//! over. The task is ours, though: the executor wraps it, finds out which upload it sends, and
//! drops it, which resets the stream.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use crate::proxy::forward::upload::UploadState;

thread_local! {
    /// The upload that was polled last on this thread, until its task has taken note of it. hyper
    /// polls a body first in the connection's task and, if it is not done at once, hands it to
    /// the executor right then.
    static POLLED: RefCell<Option<Arc<UploadState>>> = const { RefCell::new(None) };
}

/// To be called by an upload whenever it is polled.
pub(in crate::proxy) fn polled(upload: &Arc<UploadState>) {
    POLLED.with_borrow_mut(|polled| *polled = Some(upload.clone()));
}

/// What was polled since the last call and is not over yet.
fn take_polled() -> Option<Arc<UploadState>> {
    POLLED.take().filter(|upload| upload.is_open())
}

/// Runs what hyper's HTTP/2 client spawns.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct PipeExecutor;

impl<F> Executor<F> for PipeExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, pipe: F) {
        tokio::spawn(Cuttable {
            pipe,
            upload: take_polled(),
        });
    }
}

pin_project! {
    /// A task that ends when the upload it sends is cut.
    struct Cuttable<F> {
        #[pin]
        pipe: F,
        upload: Option<Arc<UploadState>>,
    }
}

impl<F: Future<Output = ()>> Future for Cuttable<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // What somebody else on this thread polled is none of ours.
        drop(take_polled());
        if this.pipe.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if this.upload.is_none() {
            *this.upload = take_polled();
        }
        match this.upload {
            Some(upload) if upload.is_cut(cx) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}
