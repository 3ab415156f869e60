//! What can be set about logs.

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
