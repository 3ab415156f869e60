//! Integration tests: one binary.

mod config;
mod gate;
mod gate_breakdown;
mod gate_model;
mod gate_stress;
mod tidy;
