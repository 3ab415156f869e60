//! The configuration that is in effect, and how a new one takes its place.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::config::{self, Changes, Loaded, Machine, Problems, Sources, Watched, changes};
use crate::lifecycle::DrainSettings;

/// What is in effect.
#[derive(Debug)]
pub(super) struct Current {
    sources: Sources,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    loaded: Loaded,
    /// What was read last, valid or not: each content is judged once.
    watched: Watched,
}

/// A configuration that was just put into effect.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) loaded: Loaded,
    pub(super) changes: Changes,
}

impl Current {
    pub(super) fn new(sources: Sources, loaded: Loaded, watched: Watched) -> Self {
        Self {
            sources,
            state: Mutex::new(State { loaded, watched }),
        }
    }

    /// Whether the inputs differ from what was read last.
    pub(super) fn has_changed(&self) -> bool {
        let watched = self.state().watched.clone();
        // Without the lock: a file that hangs must not hold up who asks for what is in effect.
        watched.has_changed()
    }

    /// Reads everything again. What needs a restart keeps the value it has.
    pub(super) fn reload(&self) -> Result<Applied, Problems> {
        let (watched, loaded) = config::load_watched(&self.sources, &Machine::this());
        let mut state = self.state();
        state.watched = watched;
        let mut new = loaded?;
        let changes = changes(&state.loaded, &new);
        keep_what_needs_a_restart(&state.loaded, &mut new, &changes);
        state.loaded = new.clone();
        Ok(Applied {
            loaded: new,
            changes,
        })
    }

    pub(super) fn drain_settings(&self) -> DrainSettings {
        self.state().loaded.config.drain.clone()
    }

    /// Every value in effect with its source.
    pub(super) fn to_json(&self) -> String {
        let state = self.state();
        let settings: serde_json::Map<String, Value> = state
            .loaded
            .effective
            .iter()
            .map(|one| {
                let shown = json!({ "value": one.value, "source": one.source });
                (one.key.clone(), shown)
            })
            .collect();
        Value::Object(settings).to_string()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_what_needs_a_restart(old: &Loaded, new: &mut Loaded, changes: &Changes) {
    let (was, is) = (&old.config, &mut new.config);
    is.listen = was.listen;
    is.workers = was.workers;
    is.admin = was.admin.clone();
    is.proxy.upstream = was.proxy.upstream.clone();
    is.proxy.limits.max_connections = was.proxy.limits.max_connections;
    is.log.format = was.log.format;
    for key in &changes.needs_restart {
        let kept = old.effective.iter().find(|one| one.key == *key);
        new.effective.retain(|one| one.key != *key);
        new.effective.extend(kept.cloned());
    }
}
