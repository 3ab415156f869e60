//! Integration tests: one binary.

mod abandon;
mod accounts;
mod blocked_log;
mod config;
mod dispatcher;
mod drain;
mod formula;
mod gate;
mod gate_breakdown;
mod gate_model;
mod gate_policy;
mod gate_stress;
mod limits;
#[cfg(target_os = "linux")]
mod output;
mod overload;
mod panics;
mod permit;
mod policy;
mod pool;
mod queue;
mod refusals;
mod reload;
mod support;
mod switches;
#[cfg(target_os = "linux")]
mod tail;
mod tidy;
mod timers;
#[cfg(feature = "tower")]
mod tower;
mod truncation;
