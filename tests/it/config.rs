//! Configuration through the loading API and the real `weir check`.

mod bad;
mod formula;
mod layers;
mod policy;
mod presets;
mod reload;
mod routes;
mod tls;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weir::config::{Loaded, Machine, Problems, Sources, load_on};

/// The two numbers that have no default, as settings that anything else wins over.
const BASE_ENV: [(&str, &str); 2] = [
    ("WEIR__MEMORY__TARGET_MEMORY", "512Mi"),
    ("WEIR__MEMORY__MEMORY_PER_TASK", "16Mi"),
];

/// A machine that is large enough for every test and the same everywhere.
fn machine() -> Machine {
    Machine {
        total_memory: Some(2 << 40),
        own_memory_limit: None,
        descriptor_limit: Some(1 << 20),
        parallelism: 8,
    }
}

/// A file of this name and content in a directory of its own.
fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("written");
    (dir, path)
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_file(path: &Path) -> Result<Loaded, Problems> {
    let sources = Sources {
        file: Some(path.to_owned()),
        ..Sources::default()
    };
    load_on(&sources, &machine())
}

/// The base and these `--set`s.
fn with_sets(sets: &[&str]) -> Result<Loaded, Problems> {
    let sources = Sources {
        file: None,
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        env: owned(&BASE_ENV),
    };
    load_on(&sources, &machine())
}

/// The base and these variables.
fn with_env(env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let sources = Sources {
        env: owned(&[&BASE_ENV, env].concat()),
        ..Sources::default()
    };
    load_on(&sources, &machine())
}

/// Value and source of a key that is in effect.
fn effective<'a>(loaded: &'a Loaded, key: &str) -> (&'a str, &'a str) {
    let one = loaded
        .effective
        .iter()
        .find(|one| one.key == key)
        .unwrap_or_else(|| panic!("{key} is not in effect"));
    (&one.value, &one.source)
}
