//! weir: a sidecar that keeps a backend alive under any load.

pub mod admin;
pub mod admission;
pub mod cli;
pub mod config;
pub mod gate;
pub mod lifecycle;
pub mod load;
mod platform;
pub mod proxy;
pub mod run;
mod sync;
pub mod telemetry;
