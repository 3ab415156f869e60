//! Where settings come from: built-in defaults < file < environment < `--set`.
//!
//! Each layer is one figment provider with a name of its own, so that every value knows exactly
//! where it was given. A variable or `--set` value stays the text that was typed (a number that
//! goes through a float would not be the one that was typed), unless it begins like a table, a
//! list or a quoted string.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Json, Toml, Yaml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::problem::{FILE_KEY, Problem, quoted};

/// The commented reference, which is also the built-in defaults.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The source that built-in defaults show.
pub(super) const BUILT_IN: &str = "built-in default";

/// A larger file is no configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// No key has as many parts.
const MAX_DEPTH: usize = 8;

const ENV_PREFIX: &str = "WEIR__";

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

    /// Every layer that can be read, lowest first; what cannot be read becomes a problem.
    pub(super) fn layers(&self, problems: &mut Vec<Problem>) -> Vec<Layer> {
        let mut layers = vec![defaults()];
        if let Some(path) = &self.file {
            match read_config(path) {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            }
        }
        let mut variables: Vec<_> = self.env.iter().filter(|(name, _)| is_ours(name)).collect();
        variables.sort();
        for (name, value) in variables {
            let key = name[ENV_PREFIX.len()..].to_ascii_lowercase();
            let path: Vec<&str> = key.split("__").collect();
            let source = format!("environment variable {name}");
            match nested(&path, value) {
                Some(dict) => layers.push(Layer { source, dict }),
                None => problems.push(Problem {
                    key: name.clone(),
                    value: Some(quoted(value)),
                    problem: "its name names no setting: a part is empty, or it has too many"
                        .to_owned(),
                    source,
                    remedy: "write WEIR__ and then the names of the key with two underscores \
                             between them: WEIR__QUEUE__MAX_WAIT"
                        .to_owned(),
                }),
            }
        }
        for set in &self.sets {
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
        layers
    }

    /// A number that changes when the content of the config file, or of the file that the target
    /// memory comes from, does. Content, not names or times: a `ConfigMap` swaps links.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(path) = &self.file {
            read_bounded(path).ok().hash(&mut hasher);
        }
        let merged = merge(&self.layers(&mut Vec::new()));
        let target = Value::from(merged.1)
            .find("memory.target_memory.file")
            .and_then(Value::into_string);
        if let Some(path) = target {
            read_bounded(Path::new(&path)).ok().hash(&mut hasher);
        }
        hasher.finish()
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
    Value::from(text)
}

fn defaults() -> Layer {
    Layer {
        source: BUILT_IN.to_owned(),
        dict: Toml::from_str(DEFAULTS).expect("a test loads the built-in defaults"),
    }
}

fn read_config(path: &Path) -> Result<Layer, Problem> {
    let source = format!("file {}", path.display());
    let refuse = |place: &str, problem: String, remedy: &str| Problem {
        key: FILE_KEY.to_owned(),
        value: Some(quoted(&path.display().to_string())),
        source: format!("{source}{place}"),
        problem,
        remedy: remedy.to_owned(),
    };
    let extension = path.extension().and_then(|extension| extension.to_str());
    let Some(format @ ("toml" | "yaml" | "yml" | "json")) = extension else {
        return Err(refuse(
            "",
            "its format cannot be told from its name".to_owned(),
            "give the file a name that ends in .toml, .yaml, .yml or .json",
        ));
    };
    let text = read_bounded(path)
        .map_err(|(problem, remedy)| refuse("", problem, remedy))
        .and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = String::from_utf8_lossy(valid).split('\n').count();
                refuse(
                    &format!(", line {line}"),
                    "it is not UTF-8 text".to_owned(),
                    "save it as UTF-8; a binary or compressed file is no configuration",
                )
            })
        })?;
    if text.trim().is_empty() {
        return Err(refuse(
            "",
            "it is empty, which is what a file looks like that was cut off while it was written"
                .to_owned(),
            "write the settings into it, or leave --config away to run without a file",
        ));
    }
    match dict_from(format, &text) {
        Ok(dict) => Ok(Layer { source, dict }),
        Err((at, message)) => {
            let place = at.map_or(String::new(), |(line, column)| {
                format!(", line {line}, column {column}")
            });
            let message = message.trim().replace('\n', ", ");
            let form = match format {
                "toml" => "[queue], and on a line below it max_wait = \"1s\"",
                "json" => "{\"queue\": {\"max_wait\": \"1s\"}}",
                _ => "queue: and, indented on a line below it, max_wait: 1s",
            };
            Err(refuse(
                &place,
                format!("its syntax is wrong: {message}"),
                &format!("correct this place; the form is {form}"),
            ))
        }
    }
}

/// The settings in a text; or line and column of what is wrong, and what that is.
fn dict_from(format: &str, text: &str) -> Result<Dict, (Option<(usize, usize)>, String)> {
    match format {
        "toml" => Toml::from_str::<Dict>(text).map_err(|error| {
            let at = error.span().map(|span| position(text, span.start));
            (at, error.message().to_owned())
        }),
        "json" => Json::from_str::<Dict>(text)
            .map_err(|error| (Some((error.line(), error.column())), error.to_string())),
        // Nothing but comments is no settings.
        _ => Yaml::from_str::<Option<Dict>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|error| {
                let at = error.location().map(|at| (at.line(), at.column()));
                (at, error.to_string())
            }),
    }
}

/// Line and column, from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// The content of a file of sensible size; or what is wrong, and the remedy.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, (String, &'static str)> {
    let wrong = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path, and that the volume is mounted there",
            std::io::ErrorKind::PermissionDenied => {
                "let the user that weir runs as read it (mode 0644, or a matching fsGroup)"
            }
            _ => "check the path, and that the file can be read",
        };
        (format!("it cannot be read: {error}"), remedy)
    };
    if path.is_dir() {
        return Err((
            "it is a directory".to_owned(),
            "name the file inside it, such as weir.toml",
        ));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(wrong)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err((
            "it is larger than 1 MiB".to_owned(),
            "check the path: this is not a configuration file",
        ));
    }
    Ok(bytes)
}
