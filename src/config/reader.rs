//! Walks what figment merged, one call per key, and collects every problem on the way.
//!
//! serde would stop at the first value of the wrong type. Here a key that cannot be read leaves
//! a problem and `None`, and reading goes on. What no call asked for is an unknown key.
//!
//! A key is a path of names, `queue.max_wait`. In a list of tables each has its number, from 1:
//! `route[2].class`.

mod strangers;

use std::collections::BTreeMap;

use figment::Figment;
use figment::value::Value;

use super::problem::{Problem, quoted, shown_key};
use super::source::{self, BUILT_IN, Layer};
use super::value::{any_row, find, scalar, shown, toml_date};

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

/// What a key holds that need not be there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Maybe<T> {
    /// Nothing that can be read, which was told.
    Wrong,
    /// It is not there.
    Absent,
    /// This.
    Given(T),
}

impl<T> Maybe<T> {
    /// What it holds, or what it is to be if it is not there.
    pub(super) fn or(self, default: T) -> Option<T> {
        match self {
            Self::Wrong => None,
            Self::Absent => Some(default),
            Self::Given(value) => Some(value),
        }
    }

    /// What it holds.
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Wrong | Self::Absent => None,
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
    /// A list of tables of known names.
    Rows,
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
        self.ask(key);
        let value = find(&self.root, key)?.clone();
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

    /// The same for a key that need not be there.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Maybe<T> {
        if self.has(key) {
            self.read(key, parse).map_or(Maybe::Wrong, Maybe::Given)
        } else {
            Maybe::Absent
        }
    }

    /// A list: as such, or as one text with commas, as a variable has it. Each item is read by
    /// `parse`, which may make several of it.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<Vec<T>, Complaint>,
    ) -> Option<Vec<T>> {
        let split = |text: &str| text.split(',').map(str::to_owned).collect();
        self.items(key, split, parse)
    }

    /// A list, or one text that is all of it; empty if nothing is there.
    pub(super) fn texts<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Option<Vec<T>> {
        if !self.has(key) {
            return Some(Vec::new());
        }
        let one = |text: &str| vec![text.to_owned()];
        self.items(key, one, |text| parse(text).map(|item| vec![item]))
    }

    fn items<T>(
        &mut self,
        key: &str,
        split: impl Fn(&str) -> Vec<String>,
        parse: impl Fn(&str) -> Result<Vec<T>, Complaint>,
    ) -> Option<Vec<T>> {
        self.ask(key);
        let value = find(&self.root, key)?.clone();
        let source = self.source_of(&value);
        let items: Option<Vec<String>> = match &value {
            Value::Array(_, items) => items.iter().map(scalar).collect(),
            _ => scalar(&value).map(|text| split(&text)),
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
        self.asked.insert(any_row(key), Shape::Either);
        for name in names {
            self.ask(&format!("{key}.{name}"));
        }
        matches!(find(&self.root, key), Some(Value::Dict(..)))
    }

    /// How many tables a list of them has; names what may be in each. What is no such list is told
    /// by [`finish`](Self::finish).
    pub(super) fn rows(&mut self, key: &str, names: &[&str]) -> usize {
        self.asked.insert(key.to_owned(), Shape::Rows);
        for name in names {
            self.ask(&format!("{key}[].{name}"));
        }
        match find(&self.root, key) {
            Some(Value::Array(_, rows)) => rows.len(),
            _ => 0,
        }
    }

    /// Names a table of any names, which may not be there.
    pub(super) fn open_table(&mut self, key: &str) {
        self.asked.insert(any_row(key), Shape::Open);
    }

    /// Whether anything is given for a key.
    pub(super) fn has(&mut self, key: &str) -> bool {
        self.ask(key);
        find(&self.root, key).is_some()
    }

    /// A table of any names, each entry read by `parse`.
    pub(super) fn entries<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str, &str) -> Result<T, Complaint>,
    ) -> Option<Vec<T>> {
        self.open_table(key);
        let value = find(&self.root, key)?.clone();
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

    fn ask(&mut self, key: &str) {
        self.asked.entry(any_row(key)).or_insert(Shape::Leaf);
    }

    fn described(&self, key: &str) -> (Option<String>, String) {
        match find(&self.root, key) {
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
