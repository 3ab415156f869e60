//! The admin port: probes, metrics, status, and the few things that can be changed while running.
//!
//! Everything that admin does not own comes in as a closure of [`Hooks`]. **Nothing here depends
//! on load**: liveness asks whether weir works, readiness in which phase it is.

mod bounded;
pub mod client;
mod endpoints;
mod guard;
mod ring;
mod server;
mod settings;
mod status;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderName;
use serde_json::Value;
use tokio::sync::watch;

use crate::gate::Gate;
use crate::lifecycle::Phase;
use crate::telemetry::Telemetry;

pub use server::serve;
pub use settings::Settings;
pub use status::figures;

/// The field by which an answer says that it comes from an admin port of weir's, and from which
/// version: on any other port somebody else may answer, with a 200 at that.
const WEIR_ADMIN: HeaderName = HeaderName::from_static("weir-admin");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the endpoints read and act on.
pub struct Admin {
    /// Whose figures are shown.
    pub gate: Gate,
    /// What was counted.
    pub telemetry: Arc<Telemetry>,
    /// Where in its life weir is.
    pub phase: watch::Receiver<Phase>,
    /// When it started.
    pub started: Instant,
    /// Whether `POST` is taken from other addresses than loopback.
    pub remote_control: bool,
    /// What belongs to other rooms.
    pub hooks: Hooks,
}

/// What belongs to other rooms. May block for as long as reading a file takes.
pub struct Hooks {
    /// Fields to add to `/status`: a JSON object.
    pub status_extra: Box<dyn Fn() -> Value + Send + Sync>,
    /// The effective configuration with the source of each value, as JSON; secrets redacted.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
    /// Reads the configuration again. What changed, or every problem.
    pub reload: Box<dyn Fn() -> Result<Value, String> + Send + Sync>,
    /// Begins to drain. More than once is no error.
    pub drain: Box<dyn Fn() + Send + Sync>,
    /// Sets the log level.
    pub set_level: Box<SetLevel>,
    /// Whether the workers move; if not, what is wrong.
    pub healthy: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Sets the log level, or says in plain words what is wrong with it.
pub type SetLevel = dyn Fn(&str) -> Result<(), String> + Send + Sync;

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("phase", &*self.phase.borrow())
            .field("remote_control", &self.remote_control)
            .finish_non_exhaustive()
    }
}
