//! The memory that requests may use together: typed, or worked out from a file.

use std::path::{Path, PathBuf};

use super::files::Watched;
use super::parse::{self, Round};
use super::problem::{Problem, quoted};
use super::quantity::{self, Quantity};
use super::reader::{Complaint, Reader};
use crate::admission::Decimal;

const KEY: &str = "memory.target_memory";

/// Where the target came from; a reload reads it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSource {
    /// So many bytes, as typed.
    Fixed(u64),
    /// `floor(content × fraction) − baseline`.
    File {
        /// The file that holds the container's memory limit.
        path: PathBuf,
        /// How much of it to use.
        fraction: Decimal,
        /// What the backend holds when idle, in bytes.
        baseline: u64,
        /// What the file held when it was read, in bytes.
        content: u64,
    },
}

impl TargetSource {
    /// The target in bytes; 0 if the baseline leaves nothing.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::File {
                fraction,
                baseline,
                content,
                ..
            } => fraction.of(*content).saturating_sub(*baseline),
        }
    }
}

/// Reads either form; adds to `warnings` what is unwise about it.
pub(super) fn read(
    reader: &mut Reader,
    total_memory: Option<u64>,
    warnings: &mut Vec<Problem>,
    watched: &mut Watched,
) -> Option<TargetSource> {
    if reader.is_table(KEY, &["file", "fraction", "baseline"]) {
        return from_file(reader, total_memory, warnings, watched);
    }
    if !reader.has(KEY) {
        reader.problem(
            KEY,
            Complaint::new(
                "it is not set, and it has no default",
                "set it to the backend container's memory limit less what the backend holds when \
                 idle (its RSS after a warm-up), such as \"512Mi\"",
            ),
        );
        return None;
    }
    reader
        .read(KEY, |text| parse::bytes(text, Round::Down, &(1..=u64::MAX)))
        .map(TargetSource::Fixed)
}

fn from_file(
    reader: &mut Reader,
    total_memory: Option<u64>,
    warnings: &mut Vec<Problem>,
    watched: &mut Watched,
) -> Option<TargetSource> {
    let file_key = "memory.target_memory.file";
    let fraction_key = "memory.target_memory.fraction";
    let fraction = if reader.has(fraction_key) {
        reader.read(fraction_key, parse::fraction)
    } else {
        Some(Decimal::ONE)
    };
    let baseline = baseline(reader, warnings);
    if !reader.has(file_key) {
        reader.problem(
            file_key,
            Complaint::new(
                "it is not set",
                "name the file that holds the container's limit, such as file = \
                 \"/etc/podinfo/mem_limit\"",
            ),
        );
        return None;
    }
    let read = reader.read(file_key, |text| {
        let path = PathBuf::from(text);
        content(&path, watched).map(|content| (path, content))
    });
    let (path, content) = read?;
    reader.came_to(file_key, &format!("it holds {}", quantity::show(content)));
    if total_memory.is_some_and(|total| content >= total) {
        warnings.push(no_limit(reader, file_key, content));
    }
    let target = TargetSource::File {
        path,
        fraction: fraction?,
        baseline: baseline?,
        content,
    };
    if target.bytes() > 0 {
        return Some(target);
    }
    reader.problem(
        KEY,
        Complaint::new(
            format!(
                "nothing is left: {} × {} less the baseline of {}",
                quantity::show(content),
                fraction?,
                quantity::show(baseline?)
            ),
            "raise the container's memory limit, or correct the baseline",
        ),
    );
    None
}

/// What the backend holds when idle; without it, none, and a warning.
fn baseline(reader: &mut Reader, warnings: &mut Vec<Problem>) -> Option<u64> {
    let key = "memory.target_memory.baseline";
    if reader.has(key) {
        return reader.read(key, |text| parse::bytes(text, Round::Up, &(0..=u64::MAX)));
    }
    warnings.push(reader.warning(
        key,
        Complaint::new(
            "it is not set: the whole limit is taken to be free for requests",
            "set it to what the backend holds when idle, such as baseline = \"2Gi\"",
        ),
    ));
    Some(0)
}

/// The kubelet puts the node's capacity where a container has no limit.
fn no_limit(reader: &Reader, key: &str, content: u64) -> Problem {
    reader.warning(
        key,
        Complaint::new(
            format!(
                "it holds {}, which is all the memory of this machine: the container has no \
                 memory limit, and the node's capacity stands in for it",
                quantity::show(content)
            ),
            "give the backend's container a memory limit (resources.limits.memory)",
        ),
    )
}

fn content(path: &Path, watched: &mut Watched) -> Result<u64, Complaint> {
    let remedy = "mount the container's limit there with the downward API (resourceFieldRef \
                  limits.memory), or write target_memory as a quantity";
    let bytes = watched
        .read(path)
        .map_err(|(wrong, _)| Complaint::new(wrong, remedy))?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    Quantity::parse(text)
        .ok()
        .and_then(Quantity::floor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| {
            let wrong = format!(
                "the file holds {}, which is no amount of memory",
                quoted(text)
            );
            Complaint::new(wrong, remedy)
        })
}
