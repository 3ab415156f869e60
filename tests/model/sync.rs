//! The gate's primitives as the model sees them: the names of `src/sync.rs`, instrumented.
//!
//! The mutex and the atomics are shuttle's. Tokio's semaphore and channel are wrapped, so that
//! another thread may run before each of their steps; without that, what stands between an atomic
//! and a semaphore operation would never be interleaved.

use std::sync::Arc as StdArc;

pub(crate) use shuttle::sync::{Arc, Mutex, TryLockError};
pub(crate) use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{TryAcquireError, mpsc};

pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::*;
}

/// Lets the scheduler choose who runs next.
fn step() {
    let any = atomic::AtomicBool::new(false);
    any.load(atomic::Ordering::SeqCst);
}

#[derive(Debug)]
pub(crate) struct Semaphore(StdArc<tokio::sync::Semaphore>);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self(StdArc::new(tokio::sync::Semaphore::new(permits)))
    }

    pub(crate) fn available_permits(&self) -> usize {
        step();
        self.0.available_permits()
    }

    pub(crate) fn add_permits(&self, permits: usize) {
        step();
        self.0.add_permits(permits);
    }

    pub(crate) fn try_acquire_many_owned(
        self: Arc<Self>,
        permits: u32,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        step();
        let taken = self.0.clone().try_acquire_many_owned(permits)?;
        Ok(OwnedSemaphorePermit(Some(taken)))
    }
}

/// `None` once forgotten.
#[derive(Debug)]
pub(crate) struct OwnedSemaphorePermit(Option<tokio::sync::OwnedSemaphorePermit>);

impl OwnedSemaphorePermit {
    pub(crate) fn num_permits(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, tokio::sync::OwnedSemaphorePermit::num_permits)
    }

    pub(crate) fn split(&mut self, permits: usize) -> Option<Self> {
        let part = self.0.as_mut()?.split(permits)?;
        Some(Self(Some(part)))
    }

    pub(crate) fn forget(mut self) {
        if let Some(taken) = self.0.take() {
            step();
            taken.forget();
        }
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        if let Some(taken) = self.0.take() {
            step();
            drop(taken);
        }
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
