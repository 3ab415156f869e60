//! What can be set about logs and metrics.

/// What the configuration gives labels their values from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The names of the classes, each at its class's place.
    pub classes: Vec<String>,
    /// How many tenants have series of their own; `None` if tenants are not told apart.
    pub tenants: Option<u32>,
}

/// What is logged, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A level (`info`) or a filter in the syntax of tracing's `EnvFilter` (`weir=debug,info`).
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// One line per finished request.
    pub access: bool,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Readable.
    Text,
}
