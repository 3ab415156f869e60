//! The arguments that say where settings come from.

use std::path::PathBuf;

use clap::Args;

use crate::config::Sources;

/// Where settings come from, besides built-in defaults and `WEIR__…` in the environment.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// The configuration file: .toml, .yaml, .yml or .json.
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, over all others: --set `queue.max_wait=2s`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub sets: Vec<String>,
}

impl ConfigArgs {
    /// These arguments with the environment of this process.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources::with_process_env(self.config.clone(), self.sets.clone())
    }
}

/// A slip in the form is one of usage; what key and value mean is for the configuration to say.
fn key_and_value(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("write KEY=VALUE, such as queue.max_wait=2s".to_owned()),
    }
}
