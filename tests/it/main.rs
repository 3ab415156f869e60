//! Integration tests: one binary.

mod abandon;
mod blocked_log;
mod config;
mod formula;
mod gate;
mod gate_breakdown;
mod gate_model;
mod gate_stress;
mod overload;
mod panics;
mod permit;
mod queue;
mod support;
mod tidy;
