//! Model checks of the shipped gate: its source compiled again over instrumented primitives.
//!
//! `src/gate` imports its mutex and atomics from `crate::sync`; here that module hands out
//! shuttle's, which let a scheduler choose who runs at every operation. Tokio's semaphore and
//! channels stay real: for the model each of their operations is one step, and another thread may
//! run before it. A waiter whose permit
//! never comes shows as a deadlock.
//!
//! shuttle executes one step at a time, so it cannot see a missing fence or a too weak ordering;
//! those are argued where they stand in the gate.
//!
//! A test's comment names the mutations of the gate, made by hand, that turned it red. Not caught
//! by any test, here or in `tests/it`: taking out any one `fence`.

mod admission {
    pub(crate) use weir::admission::*;
}

#[path = "../../src/gate/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a public module of the library, here private and used in part"
)]
mod gate;

mod explore;
mod queue;
mod resize;
mod sync;
