//! Integration tests: one binary.

mod abandon;
mod blocked_log;
mod config;
mod dispatcher;
mod drain;
mod formula;
mod gate;
mod gate_breakdown;
mod gate_model;
mod gate_stress;
mod limits;
#[cfg(target_os = "linux")]
mod output;
mod overload;
mod panics;
mod permit;
mod pool;
mod queue;
mod refusals;
mod reload;
mod support;
#[cfg(target_os = "linux")]
mod tail;
mod tidy;
mod timers;
#[cfg(feature = "tower")]
mod tower;
mod truncation;
