//! The one place for what only Linux has, each with a plain fallback.
