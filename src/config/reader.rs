//! Walks what figment merged, one call per key, and collects every problem on the way.
//!
//! serde would stop at the first value of the wrong type. Here a key that cannot be read leaves
//! a problem and `None`, and reading goes on. What no call asked for is an unknown key.

use std::collections::BTreeMap;

use figment::Figment;
use figment::value::{Dict, Value};

use super::problem::{Problem, TOLD, quoted, shown_key};
use super::source::{self, BUILT_IN, Layer};
use super::value::{distance, scalar, shown, toml_date};

/// Far longer than any key: what is longer was not meant to be one.
const LONGEST_KEY: usize = 100;

/// What is wrong with a text, and what to write instead.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Complaint {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// One setting as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Which.
    pub key: String,
    /// Its value as it was typed, and in brackets what that came to.
    pub value: String,
    /// Where it was given.
    pub source: String,
}

/// What may stand at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One value.
    Leaf,
    /// A table of any names.
    Open,
    /// One value, or a table of known names.
    Either,
}

pub(super) struct Reader {
    figment: Figment,
    root: Value,
    asked: BTreeMap<String, Shape>,
    effective: Vec<Effective>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(layers: &[Layer], problems: Vec<Problem>) -> Self {
        let (figment, dict) = source::merge(layers);
        Self {
            figment,
            root: Value::from(dict),
            asked: BTreeMap::new(),
            effective: Vec::new(),
            problems,
        }
    }

    /// The value of a key that has a default, read by `parse`.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        self.asked.entry(key.to_owned()).or_insert(Shape::Leaf);
        let value = self.root.find_ref(key)?.clone();
        let source = self.source_of(&value);
        let Some(text) = scalar(&value) else {
            let (problem, remedy) = match &value {
                Value::Empty(..) => ("it has no value", "give it one, or remove the line"),
                Value::Array(..) => ("it is a list", "give it a single value"),
                _ if toml_date(&value).is_some() => {
                    ("it is a date", "put it in quotes, or correct it")
                }
                _ => ("it is a table", "give it a single value"),
            };
            self.complain(
                key,
                Some(shown(&value)),
                source,
                Complaint::new(problem, remedy),
            );
            return None;
        };
        let parsed = if text.is_empty() {
            Err(Complaint::new(
                "it is empty",
                "give it a value, or remove it",
            ))
        } else {
            parse(&text)
        };
        match parsed {
            Ok(parsed) => {
                self.effective.push(Effective {
                    key: key.to_owned(),
                    value: text,
                    source,
                });
                Some(parsed)
            }
            Err(complaint) => {
                self.complain(key, Some(shown(&value)), source, complaint);
                None
            }
        }
    }

    /// A list: as such, or as one text with commas, as a variable has it. Each item is read by
    /// `parse`, which may make several of it.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<Vec<T>, Complaint>,
    ) -> Option<Vec<T>> {
        self.asked.entry(key.to_owned()).or_insert(Shape::Leaf);
        let value = self.root.find_ref(key)?.clone();
        let source = self.source_of(&value);
        let items: Option<Vec<String>> = match &value {
            Value::Array(_, items) => items.iter().map(scalar).collect(),
            _ => scalar(&value).map(|text| text.split(',').map(str::to_owned).collect()),
        };
        let parsed = items
            .as_ref()
            .ok_or_else(|| {
                let remedy = "write a list of texts, such as [\"a\", \"b\"]; [] for none";
                Complaint::new("it is not a list of texts", remedy)
            })
            .and_then(|items| {
                let lists = items.iter().map(|item| parse(item.trim()));
                lists.collect::<Result<Vec<_>, _>>()
            });
        match parsed {
            Ok(lists) => {
                let items: Vec<String> = items
                    .iter()
                    .flatten()
                    .map(|item| quoted(item.trim()))
                    .collect();
                self.effective.push(Effective {
                    key: key.to_owned(),
                    value: format!("[{}]", items.join(", ")),
                    source,
                });
                Some(lists.into_iter().flatten().collect())
            }
            Err(complaint) => {
                self.complain(key, Some(shown(&value)), source, complaint);
                None
            }
        }
    }

    /// Whether a key that may be one value or a table is a table; names what may be in it.
    pub(super) fn is_table(&mut self, key: &str, names: &[&str]) -> bool {
        self.asked.insert(key.to_owned(), Shape::Either);
        for name in names {
            self.asked.insert(format!("{key}.{name}"), Shape::Leaf);
        }
        matches!(self.root.find_ref(key), Some(Value::Dict(..)))
    }

    /// Whether anything is given for a key.
    pub(super) fn has(&mut self, key: &str) -> bool {
        self.asked.entry(key.to_owned()).or_insert(Shape::Leaf);
        self.root.find_ref(key).is_some()
    }

    /// A table of any names, each entry read by `parse`.
    pub(super) fn entries<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str, &str) -> Result<T, Complaint>,
    ) -> Option<Vec<T>> {
        self.asked.insert(key.to_owned(), Shape::Open);
        let value = self.root.find_ref(key)?.clone();
        let dict = value.as_dict()?;
        let mut all = Some(Vec::new());
        for (name, value) in dict {
            let entry = format!("{key}.{name}");
            let source = self.source_of(value);
            let parsed = scalar(value)
                .ok_or_else(|| Complaint::new("it is not a text", "give it one text in quotes"))
                .and_then(|text| parse(name, &text));
            match parsed {
                Ok(parsed) => {
                    self.effective.push(Effective {
                        key: entry,
                        value: shown(value),
                        source,
                    });
                    if let Some(all) = &mut all {
                        all.push(parsed);
                    }
                }
                Err(complaint) => {
                    self.complain(&entry, Some(shown(value)), source, complaint);
                    all = None;
                }
            }
        }
        if dict.is_empty() {
            self.effective.push(Effective {
                key: key.to_owned(),
                value: "{}".to_owned(),
                source: self.source_of(&value),
            });
        }
        all
    }

    /// Adds what a value came to, in brackets, to what is shown of it.
    pub(super) fn came_to(&mut self, key: &str, meaning: &str) {
        if let Some(effective) = self.effective.iter_mut().find(|one| one.key == key) {
            effective.value = format!("{} ({meaning})", effective.value);
        }
    }

    /// A problem with a key that could be read, or that is missing.
    pub(super) fn problem(&mut self, key: &str, complaint: Complaint) {
        let (value, source) = self.described(key);
        self.complain(key, value, source, complaint);
    }

    /// The same as a warning, which the caller keeps.
    pub(super) fn warning(&self, key: &str, complaint: Complaint) -> Problem {
        let (value, source) = self.described(key);
        Problem {
            key: key.to_owned(),
            value,
            source,
            problem: complaint.problem,
            remedy: complaint.remedy,
        }
    }

    /// Everything found, after a look at every layer for keys that nobody asked for.
    pub(super) fn finish(mut self, layers: &[Layer]) -> (Vec<Effective>, Vec<Problem>) {
        for layer in layers {
            self.look_for_strangers(&layer.source, "", &layer.dict);
        }
        (self.effective, self.problems)
    }

    /// Only what was wrong with the keys that were asked for.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The keys that were asked for.
    #[cfg(test)]
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.keys().cloned().collect()
    }

    fn look_for_strangers(&mut self, source: &str, prefix: &str, dict: &Dict) {
        for (name, value) in dict {
            let key = match prefix {
                "" => name.clone(),
                _ => format!("{prefix}.{name}"),
            };
            if name.contains('.') {
                // `find` would take the dot for a step: the value would silently be nothing.
                let complaint = Complaint::new(
                    "a dot inside a quoted name is no path, so this sets nothing",
                    "write a table and the name in it: [queue], and below it max_wait = \"1s\"",
                );
                self.complain(&key, Some(shown(value)), source.to_owned(), complaint);
                continue;
            }
            let inside = format!("{key}.");
            match (self.asked.get(&key), value) {
                (Some(Shape::Either), Value::Dict(_, inner)) => {
                    self.look_for_strangers(source, &key, inner);
                }
                // Whether the content fits was said when it was read; an open table that is none
                // was not, because there was nothing to read.
                (Some(Shape::Open), Value::Dict(..)) | (Some(Shape::Leaf | Shape::Either), _) => {}
                (None, Value::Dict(_, inner)) if self.is_a_table(&inside) => {
                    self.look_for_strangers(source, &key, inner);
                }
                (None, _) if !self.is_a_table(&inside) => self.stranger(source, key, value),
                (Some(Shape::Open) | None, _) => {
                    let complaint = Complaint::new(
                        "it is a table of settings, not one value",
                        format!("set the keys in it, such as {}", self.example_in(&inside)),
                    );
                    self.complain(&key, Some(shown(value)), source.to_owned(), complaint);
                }
            }
        }
    }

    fn stranger(&mut self, source: &str, mut key: String, mut value: &Value) {
        // `[queu]` with one key in it is told by that key, which says more.
        while let Value::Dict(_, inner) = value {
            let mut entries = inner.iter();
            let (Some((name, inner)), None) = (entries.next(), entries.next()) else {
                break;
            };
            key = format!("{key}.{name}");
            value = inner;
        }
        let kind = match value {
            Value::Dict(..) => "table",
            _ => "key",
        };
        // What nobody reads needs no search for what it may have meant.
        let near = Some(&key).filter(|_| self.problems.len() < TOLD);
        let remedy = match near.and_then(|key| self.nearest(key)) {
            Some(near) => format!("did you mean {near}? If not, remove it"),
            None => "remove it; `weir check` then lists every key".to_owned(),
        };
        let complaint = Complaint::new(format!("there is no such {kind}"), remedy);
        self.complain(&key, Some(shown(value)), source.to_owned(), complaint);
    }

    fn is_a_table(&self, inside: &str) -> bool {
        self.asked.keys().any(|key| key.starts_with(inside))
    }

    fn example_in(&self, inside: &str) -> String {
        let example = self.asked.keys().find(|key| key.starts_with(inside));
        example.cloned().unwrap_or_else(|| format!("{inside}NAME"))
    }

    /// The known key that was probably meant: the same name in another table, or one that differs
    /// in a few letters.
    fn nearest(&self, key: &str) -> Option<&str> {
        if key.len() > LONGEST_KEY {
            return None;
        }
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let tables = self
            .asked
            .keys()
            .filter_map(|key| key.rsplit_once('.').map(|(table, _)| table));
        let same_name = self.asked.keys().find(|known| last(known) == last(key));
        let close = (key.len() / 4).clamp(1, 4);
        self.asked
            .keys()
            .map(String::as_str)
            .chain(tables)
            .map(|known| (distance(known, key), known))
            .filter(|(distance, _)| *distance <= close)
            .min()
            .map(|(_, known)| known)
            .or_else(|| same_name.map(String::as_str))
    }

    fn described(&self, key: &str) -> (Option<String>, String) {
        match self.root.find_ref(key) {
            Some(value) => (Some(shown(value)), self.source_of(value)),
            None => (None, "not set".to_owned()),
        }
    }

    fn source_of(&self, value: &Value) -> String {
        match self.figment.get_metadata(value.tag()) {
            Some(metadata) => metadata.name.clone().into_owned(),
            None => BUILT_IN.to_owned(),
        }
    }

    fn complain(&mut self, key: &str, value: Option<String>, source: String, complaint: Complaint) {
        self.problems.push(Problem {
            key: shown_key(key),
            value,
            source,
            problem: complaint.problem,
            remedy: complaint.remedy,
        });
    }
}
