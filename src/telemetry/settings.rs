//! What can be set about logs and metrics.

use tracing_subscriber::filter::{LevelFilter, Targets};

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
    /// A level (`info`), or levels by module (`info,weir::gate=debug`): see [`log_filter`].
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

/// How to write what [`log_filter`] reads.
pub const LOG_LEVEL_REMEDY: &str =
    "write off, error, warn, info, debug or trace, or per module info,weir::gate=debug";

/// Reads a level (`info`) or levels by module (`info,weir::gate=debug`). The error is the part that
/// is neither.
///
/// Stricter than [`Targets`], which takes a mistyped level for the name of a module and then shows
/// everything of that module and nothing else. There are no spans to filter by, so tracing's
/// `EnvFilter` would add nothing but its regular expressions.
pub fn log_filter(text: &str) -> Result<Targets, &str> {
    let mut filter = Targets::new();
    for part in text.split(',').map(str::trim) {
        // The library takes an empty level for `error`.
        let level = |text: &str| text.parse().ok().filter(|_: &LevelFilter| !text.is_empty());
        filter = match part.rsplit_once('=') {
            None => filter.with_default(level(part).ok_or(part)?),
            Some((module, of)) if is_module(module) => {
                filter.with_target(module, level(of).ok_or(part)?)
            }
            Some(_) => return Err(part),
        };
    }
    Ok(filter)
}

/// Whether this may be a path of modules, such as `weir::gate`.
fn is_module(text: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
    text.split("::").all(is_word)
}
