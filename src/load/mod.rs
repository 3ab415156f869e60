//! What the demo and the tests put on both sides of weir: a backend that can be told how to behave,
//! and an open-loop load generator.
//!
//! **Nothing of the proxy is used here**, so that neither side can agree with it by sharing a bug.

pub mod backend;
pub mod generator;
