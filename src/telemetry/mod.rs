//! Metrics, logs, events.
mod settings;
pub use settings::{LogFormat, LogSettings};
