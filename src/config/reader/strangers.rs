//! What nobody asked for: unknown keys, and tables where none are meant.

use figment::value::{Dict, Value};

use super::super::problem::TOLD;
use super::super::value::{any_row, distance, shown};
use super::{Complaint, Reader, Shape};

/// Far longer than any key: what is longer was not meant to be one.
const LONGEST_KEY: usize = 100;

impl Reader {
    pub(super) fn look_for_strangers(&mut self, source: &str, prefix: &str, dict: &Dict) {
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
            let inside = format!("{}.", any_row(&key));
            match (self.asked.get(&any_row(&key)), value) {
                (Some(Shape::Rows), Value::Array(_, rows)) => {
                    self.look_into_rows(source, &key, rows);
                }
                (Some(Shape::Rows), _) => self.no_rows(source, &key, value),
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

    fn look_into_rows(&mut self, source: &str, key: &str, rows: &[Value]) {
        for (number, row) in (1..).zip(rows) {
            let row_key = format!("{key}[{number}]");
            match row {
                Value::Dict(_, inner) => self.look_for_strangers(source, &row_key, inner),
                _ => self.no_rows(source, &row_key, row),
            }
        }
    }

    fn no_rows(&mut self, source: &str, key: &str, value: &Value) {
        let list = any_row(key);
        let list = list.trim_end_matches("[]");
        let (problem, remedy) = match value {
            // `--set route.1.class=a`: it has hidden the list of the layers below.
            Value::Dict(..) => (
                "it is one table, not a list of them; single settings in a list cannot be given",
                format!("give the whole list, as {list} = [{{ … }}, {{ … }}]"),
            ),
            _ => (
                "it is not a list of tables",
                format!("write [[{list}]] and its settings on the lines below, once for each"),
            ),
        };
        let complaint = Complaint::new(problem, remedy);
        self.complain(key, Some(shown(value)), source.to_owned(), complaint);
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
        let near = Some(any_row(&key)).filter(|_| self.problems.len() < TOLD);
        let row = key
            .split_inclusive(']')
            .next()
            .and_then(|list| list.split('[').nth(1));
        let row = row.map_or(String::from("[]"), |row| format!("[{row}"));
        let near = near.as_deref().and_then(|key| self.nearest(key));
        let remedy = match near.map(|near| near.replace("[]", &row)) {
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
        let same_name = self.asked.keys().filter(|known| last(known) == last(key));
        let same_name = same_name.min_by_key(|known| known.contains("[]") != key.contains("[]"));
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
}
