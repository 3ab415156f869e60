//! Files with settings: read with bounds, and watched for another content.
//!
//! **Nothing here waits for a file that is none**: a pipe or a device is refused before it is
//! opened.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use figment::providers::{Format, Json, Toml, Yaml};
use figment::value::Dict;

use super::problem::{FILE_KEY, Problem, quoted};
use super::source::Layer;
use super::unique::Unique;

/// A larger file is no configuration.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// More opening brackets are no YAML configuration: the parser's work for each token grows with
/// the brackets that are open.
const MAX_YAML_BRACKETS: usize = 256;

/// The files that a load looked into, and what they held then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched(Vec<(PathBuf, u64)>);

impl Watched {
    /// Whether a file now holds something else, or can no longer be read, or can again. By
    /// content, not names or times: a `ConfigMap` swaps links. Reads the files and no more, but
    /// may wait for a file system that hangs.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.0
            .iter()
            .any(|(path, was)| digest(read_bounded(path).ok().as_deref()) != *was)
    }

    /// Reads a file of sensible size and remembers its content; or what is wrong, and the remedy.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, Refused> {
        let content = read_bounded(path);
        let digest = digest(content.as_deref().ok());
        self.0.push((path.to_owned(), digest));
        content
    }
}

/// What is wrong with a file, and the remedy.
type Refused = (String, &'static str);

fn digest(content: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// The settings in a config file, or what is wrong with it.
pub(super) fn read_config(path: &Path, watched: &mut Watched) -> Result<Layer, Problem> {
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
    let text = watched
        .read(path)
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
        "json" => Json::from_str(text)
            .map(|Unique(dict)| dict)
            .map_err(|error| (Some((error.line(), error.column())), error.to_string())),
        _ if text.matches(['[', '{']).count() > MAX_YAML_BRACKETS => {
            let wrong = format!("it has more than {MAX_YAML_BRACKETS} opening brackets");
            Err((None, wrong))
        }
        // Nothing but comments is no settings.
        _ => Yaml::from_str::<Option<Unique>>(text)
            .map(|dict| dict.map_or_else(Dict::new, |Unique(dict)| dict))
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

fn read_bounded(path: &Path) -> Result<Vec<u8>, Refused> {
    let wrong = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the path, and that the volume is mounted there",
            io::ErrorKind::PermissionDenied => {
                "let the user that weir runs as read it (mode 0644, or a matching fsGroup)"
            }
            _ => "check the path, and that the file can be read",
        };
        (format!("it cannot be read: {error}"), remedy)
    };
    // Before it is opened, because to open a pipe is to wait for its writer; and again after,
    // because the name may have been given to something else.
    regular(&path.metadata().map_err(wrong)?)?;
    let file = File::open(path).map_err(wrong)?;
    regular(&file.metadata().map_err(wrong)?)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err((
            "it is larger than 256 KiB".to_owned(),
            "check the path: this is not a configuration file",
        ));
    }
    Ok(bytes)
}

fn regular(metadata: &std::fs::Metadata) -> Result<(), Refused> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(if metadata.is_dir() {
        (
            "it is a directory".to_owned(),
            "name the file inside it, such as weir.toml",
        )
    } else {
        (
            "it is not a regular file but a pipe, a socket or a device".to_owned(),
            "name a regular file, or a link to one",
        )
    })
}
