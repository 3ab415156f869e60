//! What a reload changes, and what of it has to wait for a restart.

use std::collections::BTreeMap;

use super::Loaded;

/// Keys that are read once, at the start; a name that ends in a dot is a table.
const NEEDS_RESTART: [&str; 7] = [
    "listen",
    "workers",
    "admin.",
    "upstream",
    "upstream_protocol",
    "limits.max_connections",
    "log.format",
];

/// The keys whose value differs between two loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that a reload puts into effect.
    pub applied: Vec<String>,
    /// Those that keep their old value until weir is started again.
    pub needs_restart: Vec<String>,
}

/// Compares what is in effect with what was just loaded. Where a value came from is not compared.
#[must_use]
pub fn changes(old: &Loaded, new: &Loaded) -> Changes {
    let (before, after) = (values(old), values(new));
    let mut keys: Vec<&str> = before.keys().chain(after.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    let mut changes = Changes::default();
    for key in keys {
        if before.get(key) == after.get(key) {
            continue;
        }
        if needs_restart(key) {
            changes.needs_restart.push(key.to_owned());
        } else {
            changes.applied.push(key.to_owned());
        }
    }
    changes
}

fn values(loaded: &Loaded) -> BTreeMap<&str, &str> {
    loaded
        .effective
        .iter()
        .map(|one| (one.key.as_str(), one.value.as_str()))
        .collect()
}

fn needs_restart(key: &str) -> bool {
    NEEDS_RESTART
        .iter()
        .any(|name| key == *name || (name.ends_with('.') && key.starts_with(name)))
}
