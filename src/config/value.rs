//! A value as text: what a reader parses, and what a message shows.

use figment::value::Value;

use super::problem::{quoted, shown_key};

/// Longer tables and lists are cut in messages.
const SHOWN_CHARS: usize = 200;

/// The text of a single value. A float gives its shortest exact text, which is what was typed.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, char) => Some(char.to_string()),
        Value::Bool(_, bool) => Some(bool.to_string()),
        Value::Num(_, num) => Some(if let Some(float) = num.to_f64() {
            float.to_string()
        } else if let Some(unsigned) = num.to_u128() {
            unsigned.to_string()
        } else {
            num.to_i128().unwrap_or_default().to_string()
        }),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

/// A value as messages show it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(_, dict) => {
            if let Some(date) = toml_date(value) {
                return date.to_owned();
            }
            let parts: Vec<String> = dict
                .iter()
                .take(4)
                .map(|(name, value)| format!("{} = {}", shown_key(name), shown(value)))
                .collect();
            cut(format!("{{ {} }}", parts.join(", ")))
        }
        Value::Array(_, values) => {
            let parts: Vec<String> = values.iter().take(4).map(shown).collect();
            cut(format!("[{}]", parts.join(", ")))
        }
        Value::Char(..) | Value::Bool(..) | Value::Num(..) => {
            scalar(value).expect("a single value has a text")
        }
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A date without quotes, which figment gets from TOML as a table of this one name.
pub(super) fn toml_date(value: &Value) -> Option<&str> {
    value.as_dict()?.get("$__toml_private_datetime")?.as_str()
}

/// The value at a path of names, of which `name[2]` is the second of a list.
pub(super) fn find<'a>(root: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(root, |value, part| {
        let row = part.strip_suffix(']').and_then(|part| part.split_once('['));
        let Some((name, number)) = row else {
            return value.as_dict()?.get(part);
        };
        let number: usize = number.parse().ok()?;
        let rows = value.as_dict()?.get(name)?.as_array()?;
        rows.get(number.checked_sub(1)?)
    })
}

/// The key with `[]` for `[2]`: what holds for each row of a list.
pub(super) fn any_row(key: &str) -> String {
    let row = key.split_once('[').and_then(|(list, rest)| {
        let (number, rest) = rest.split_once(']')?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| format!("{list}[]{rest}"))
    });
    row.unwrap_or_else(|| key.to_owned())
}

/// How many letters to insert, delete or replace between two words.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[other.len()]
}
