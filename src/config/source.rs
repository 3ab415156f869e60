//! Where settings come from: built-in defaults < file < environment < `--set`.
//!
//! Each layer is one figment provider with a name of its own, so that every value knows exactly
//! where it was given. A variable or `--set` value stays the text that was typed (a number that
//! goes through a float would not be the one that was typed), unless it begins like a table, a
//! list or a quoted string.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::path::PathBuf;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::files::{Watched, read_config};
use super::problem::{Problem, quoted, shown_key};
use super::service_links;
use super::value::shown;

/// The commented reference, which is also the built-in defaults.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The source that built-in defaults show.
pub(super) const BUILT_IN: &str = "built-in default";

/// No key has as many parts.
const MAX_DEPTH: usize = 8;

/// More variables or `--set`s than there could be settings; each is a layer, and each merge goes
/// over all that was merged before.
const MAX_GIVEN: usize = 500;

pub(super) const ENV_PREFIX: &str = "WEIR__";

/// What is loaded: the inputs as they were typed, so that a reload reads them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Each `--set`, as `key=value`.
    pub sets: Vec<String>,
    /// The environment; only `WEIR__…` is looked at.
    pub env: Vec<(String, String)>,
}

/// What the sources hold, before anybody understands it.
pub(super) struct Gathered {
    /// Every layer that could be read, lowest first.
    pub(super) layers: Vec<Layer>,
    /// What could not be read.
    pub(super) problems: Vec<Problem>,
    /// What was read and is unwise.
    pub(super) warnings: Vec<Problem>,
    /// The files that were looked into.
    pub(super) watched: Watched,
}

/// One provider's settings and its name.
pub(super) struct Layer {
    pub(super) source: String,
    pub(super) dict: Dict,
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

impl Sources {
    /// These inputs with the environment of this process.
    #[must_use]
    pub fn with_process_env(file: Option<PathBuf>, sets: Vec<String>) -> Self {
        let text = |os: OsString| os.to_string_lossy().into_owned();
        let env = std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .filter(|(name, _)| is_ours(name))
            .collect();
        Self { file, sets, env }
    }

    /// Reads everything; what cannot be read becomes a problem.
    pub(super) fn gather(&self) -> Gathered {
        let mut problems = Vec::new();
        let mut layers = vec![defaults()];
        let mut watched = Watched::default();
        if let Some(path) = &self.file {
            match read_config(path, &mut watched) {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            }
        }
        let mut warnings = Vec::new();
        let ours = self.env.iter().filter(|(name, _)| is_ours(name));
        let mut variables = service_links::set_aside(ours, &mut warnings);
        variables.sort_by_key(|(name, _)| *name);
        problems.extend(too_many("environment", variables.len()));
        problems.extend(too_many("--set", self.sets.len()));
        variables.truncate(MAX_GIVEN);
        let mut given: BTreeMap<String, &str> = BTreeMap::new();
        for (name, value) in variables {
            let key = name[ENV_PREFIX.len()..].to_ascii_lowercase();
            if let Some(other) = given.insert(key.clone(), name)
                && other != name
            {
                problems.push(given_twice(name, value, other));
                continue;
            }
            let path: Vec<&str> = key.split("__").collect();
            let source = format!("environment variable {name}");
            match nested(&path, value) {
                Some(dict) => layers.push(Layer { source, dict }),
                None => problems.push(no_setting(name, value)),
            }
        }
        for set in self.sets.iter().take(MAX_GIVEN) {
            let parsed = set.split_once('=').and_then(|(key, value)| {
                nested(&key.trim().split('.').collect::<Vec<_>>(), value.trim())
            });
            match parsed {
                Some(dict) => layers.push(Layer {
                    source: "--set".to_owned(),
                    dict,
                }),
                None => problems.push(Problem {
                    key: "--set".to_owned(),
                    value: Some(quoted(set)),
                    source: "--set".to_owned(),
                    problem: "it is not of the form key=value, or its key has too many parts"
                        .to_owned(),
                    remedy: "write --set queue.max_wait=2s".to_owned(),
                }),
            }
        }
        for layer in &mut layers {
            problems.extend(fold_header_names(layer));
        }
        Gathered {
            layers,
            problems,
            warnings,
            watched,
        }
    }
}

/// Later layers win, tables are merged.
pub(super) fn merge(layers: &[Layer]) -> (Figment, Dict) {
    let figment = layers.iter().fold(Figment::new(), Figment::merge);
    let dict = figment
        .data()
        .ok()
        .and_then(|mut profiles| profiles.remove(&Profile::Default))
        .unwrap_or_default();
    (figment, dict)
}

fn is_ours(name: &str) -> bool {
    // Any case, so that a slip is an error and not silently nothing. Kubernetes' service links
    // (`WEIR_PORT`, `WEIR_SERVICE_HOST`) have one underscore and are not ours.
    name.get(..ENV_PREFIX.len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(ENV_PREFIX))
}

fn too_many(source: &str, count: usize) -> Option<Problem> {
    (count > MAX_GIVEN).then(|| Problem {
        key: source.to_owned(),
        value: None,
        source: source.to_owned(),
        problem: format!("{count} settings are given here, and only {MAX_GIVEN} are looked at"),
        remedy: "write them into a file, and name it with --config".to_owned(),
    })
}

fn no_setting(name: &str, value: &str) -> Problem {
    Problem {
        key: name.to_owned(),
        value: Some(quoted(value)),
        source: format!("environment variable {name}"),
        problem: "its name names no setting: a part is empty, or it has too many".to_owned(),
        remedy: "write WEIR__ and then the names of the key with two underscores between them: \
                 WEIR__QUEUE__MAX_WAIT"
            .to_owned(),
    }
}

fn given_twice(name: &str, value: &str, other: &str) -> Problem {
    Problem {
        key: name.to_owned(),
        value: Some(quoted(value)),
        source: format!("environment variable {name}"),
        problem: format!("environment variable {other} sets the same key"),
        remedy: "remove one of the two; upper and lower case are the same here".to_owned(),
    }
}

/// Field names have no case: what two layers call `X-A` and `x-a` is one field, of which the later
/// layer decides. In one layer it is a contradiction.
fn fold_header_names(layer: &mut Layer) -> Vec<Problem> {
    let reject = layer.dict.get_mut("reject");
    let Some(Value::Dict(_, reject)) = reject else {
        return Vec::new();
    };
    let Some(Value::Dict(_, headers)) = reject.get_mut("headers") else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for (name, value) in std::mem::take(headers) {
        match headers.entry(name.to_ascii_lowercase()) {
            Entry::Vacant(vacant) => {
                vacant.insert(value);
            }
            Entry::Occupied(_) => problems.push(Problem {
                key: shown_key(&format!("reject.headers.{name}")),
                value: Some(shown(&value)),
                source: layer.source.clone(),
                problem: "the same field is given twice, in another case".to_owned(),
                remedy: "remove one of the two".to_owned(),
            }),
        }
    }
    problems
}

fn nested(path: &[&str], text: &str) -> Option<Dict> {
    let (name, inner) = path.split_first()?;
    if name.is_empty() || inner.len() >= MAX_DEPTH {
        return None;
    }
    let value = if inner.is_empty() {
        typed(text)
    } else {
        Value::from(nested(inner, text)?)
    };
    Some(Dict::from([((*name).to_owned(), value)]))
}

fn typed(text: &str) -> Value {
    // figment's parser calls itself for each bracket, so their number is bounded.
    let depth = text.matches(['{', '[']).count();
    if text.starts_with(['{', '[', '"']) && depth <= MAX_DEPTH {
        // Never fails: what does not parse is a string.
        return text.parse().unwrap_or_else(|_| Value::from(text));
    }
    // A list of routes has more. TOML's own parser bounds how deep they are.
    if text.starts_with('[')
        && let Ok(mut dict) = Toml::from_str::<Dict>(&format!("list = {text}"))
        && let Some(list) = dict.remove("list")
    {
        return list;
    }
    Value::from(text)
}

fn defaults() -> Layer {
    Layer {
        source: BUILT_IN.to_owned(),
        dict: Toml::from_str(DEFAULTS).expect("a test loads the built-in defaults"),
    }
}
