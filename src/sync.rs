//! The primitives that the gate is built from, named once.
//!
//! The model checker in `tests/model` compiles the same gate with a module of this name that
//! hands out its own instrumented types instead; nothing else differs.

pub(crate) use std::sync::atomic;
pub(crate) use std::sync::{Arc, Mutex, TryLockError};
