//! The gate's primitives as the model sees them: the names of `src/sync.rs`, instrumented.
//!
//! The mutex and the atomics are shuttle's. Tokio's semaphore and channel are wrapped, so that
//! another thread may run before each of their steps; without that, what stands between an atomic
//! and a semaphore operation would never be interleaved.

pub(crate) use shuttle::sync::{Arc, Mutex, TryLockError};
pub(crate) use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{SemaphorePermit, TryAcquireError, mpsc};

pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::*;
}

/// Lets the scheduler choose who runs next.
fn step() {
    let any = atomic::AtomicBool::new(false);
    any.load(atomic::Ordering::SeqCst);
}

#[derive(Debug)]
pub(crate) struct Semaphore(tokio::sync::Semaphore);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self(tokio::sync::Semaphore::new(permits))
    }

    pub(crate) fn available_permits(&self) -> usize {
        step();
        self.0.available_permits()
    }

    pub(crate) fn add_permits(&self, permits: usize) {
        step();
        self.0.add_permits(permits);
    }

    pub(crate) fn try_acquire_many(
        &self,
        permits: u32,
    ) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        step();
        self.0.try_acquire_many(permits)
    }
}

#[derive(Debug)]
pub(crate) struct UnboundedSender<T>(mpsc::UnboundedSender<T>);

impl<T> UnboundedSender<T> {
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        step();
        self.0.send(value)
    }
}

pub(crate) fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (UnboundedSender(sender), receiver)
}
