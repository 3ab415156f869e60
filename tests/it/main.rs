//! Integration tests: one binary.

mod config;
mod formula;
mod gate;
mod gate_breakdown;
mod gate_model;
mod gate_stress;
mod overload;
mod support;
mod tidy;
