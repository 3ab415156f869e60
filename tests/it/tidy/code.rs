//! Rust source as the tidy rules see it: code without comments and literals, without what only
//! tests see, and the paths that it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::root;

/// A source file: its path below `src`, its module path, its text, and its text as code only.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) module: Vec<String>,
    pub(super) text: String,
    pub(super) code: String,
}

pub(super) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join("src"), &mut |path| {
        if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(path).expect("sources are UTF-8");
            let below = path.strip_prefix(root().join("src")).expect("below src");
            let mut module: Vec<_> = below
                .with_extension("")
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            if module
                .last()
                .is_some_and(|last| last == "mod" || last == "lib")
            {
                module.pop();
            }
            let path = below.to_string_lossy().into_owned();
            let code = code_only(&text);
            found.push(Source {
                path,
                module,
                text,
                code,
            });
        }
    });
    assert!(found.len() > 10, "no sources found");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

pub(super) fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}

/// The text with comments and the contents of strings and characters blanked, line by line the
/// same, so that braces and paths in it are code.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + blank_length(&text[at..], out.chars().next_back());
        if end == at {
            let next = text[at..].chars().next().expect("inside the text");
            out.push(next);
            at += next.len_utf8();
        } else {
            out.extend(
                text[at..end]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// How many bytes of a comment, string or character literal begin here; 0 for code.
fn blank_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let hashes = rest[1.min(rest.len())..]
        .bytes()
        .take_while(|b| *b == b'#')
        .count();
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        rest.find("*/").map_or(rest.len(), |end| end + 2)
    } else if rest.starts_with('r') && !in_word && rest[1 + hashes..].starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        let open = 2 + hashes;
        rest[open..]
            .find(&close)
            .map_or(rest.len(), |end| open + end + close.len())
    } else if rest.starts_with('"') {
        quoted(rest, '"')
    } else if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') && rest.starts_with('\'')
    {
        quoted(rest, '\'')
    } else {
        0
    }
}

/// The length of a literal up to its closing quote, past escaped ones.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// Where the brace that opens at or after `from` closes, as an offset.
pub(super) fn block_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return from + at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// The code without what only tests see, and the names of the modules in other files that only
/// tests see.
pub(super) fn shipped(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut elsewhere, mut rest) = (String::new(), Vec::new(), code);
    while let Some(at) = rest.find(TEST_ONLY) {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let opens = item.find('{').unwrap_or(item.len());
        let ends = item.find(';').unwrap_or(item.len());
        if ends < opens {
            if let Some((_, name)) = item[..ends].split_once("mod ") {
                elsewhere.push(name.trim().to_owned());
            }
            rest = &item[(ends + 1).min(item.len())..];
        } else {
            rest = &item[(block_end(item, opens) + 1).min(item.len())..];
        }
    }
    kept.push_str(rest);
    (kept, elsewhere)
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub(super) fn first_word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// The rest of the code behind each occurrence of `path` that begins a path.
pub(super) fn behind<'a>(code: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(path).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        (!before.is_some_and(|c| is_word(c) || c == ':')).then(|| &code[at + path.len()..])
    })
}

/// The first segments that a path may go on with: one, or those of a braced group.
fn heads(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![first_word(rest).to_owned()];
    };
    let (mut depth, mut found, mut item) = (0_usize, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(std::mem::take(&mut item)),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    found.push(item);
    found
        .iter()
        .map(|item| first_word(item.trim()).to_owned())
        .collect()
}

/// Every room of ours that a file names, however it spells the path.
pub(super) fn rooms_named(source: &Source, code: &str) -> BTreeSet<String> {
    let mut named: BTreeSet<String> = behind(code, "crate::").flat_map(heads).collect();
    for mut rest in behind(code, "super::") {
        let mut up = 1;
        while let Some(further) = rest.strip_prefix("super::") {
            rest = further;
            up += 1;
        }
        if up >= source.module.len() {
            named.extend(heads(rest));
        }
    }
    named.remove("");
    named
}
