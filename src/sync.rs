//! The primitives that the gate is built from, named once.
//!
//! The model checker in `tests/model` compiles the same gate with a module of this name that
//! hands out its own instrumented types instead; nothing else differs. Tokio's semaphore and
//! channel are named here too, so that it can let another thread in between their steps.

pub(crate) use std::sync::atomic;
pub(crate) use std::sync::{Arc, Mutex, TryLockError};
pub(crate) use tokio::sync::Semaphore;
pub(crate) use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
