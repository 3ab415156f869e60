//! Phases, signals, drain.

use std::time::Duration;

/// How weir goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Still serving, but telling clients to go.
    pub lame_duck: Duration,
    /// Serving only what was accepted.
    pub timeout: Duration,
    /// What the platform grants for both; checked, not used.
    pub grace: Duration,
}

/// Where in its life weir is. One way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving,
    /// Still serving, not ready, telling clients to go.
    LameDuck,
    /// No new connections; what was accepted is served.
    Draining,
    /// Over.
    Stopped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Serving, Self::LameDuck, Self::Draining, Self::Stopped];

    /// The metric label and what `/status` and `/readyz` say.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}
