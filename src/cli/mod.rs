//! The command line.

pub mod drain;
pub mod healthcheck;
