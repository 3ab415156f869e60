//! Integration tests: one binary.

mod abandon;
mod config;
mod formula;
mod gate;
mod gate_breakdown;
mod gate_model;
mod gate_stress;
#[cfg(target_os = "linux")]
mod output;
mod overload;
mod panics;
mod permit;
mod queue;
mod support;
mod tidy;
