//! What holds for the repository as text: who imports whom, sizes, words, and that what the
//! program has is what the documents say.

mod code;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use code::{Source, behind, block_end, first_word, is_word, rooms_named, shipped, sources, walk};

/// Who may name whom. `lib.rs` and `main.rs` stand above the table.
const IMPORTS: &[(&str, &[&str])] = &[
    ("admission", &[]),
    ("gate", &["admission", "sync"]),
    ("held", &["gate"]),
    ("dispatcher", &["gate", "admission", "held"]),
    ("tower", &["gate", "admission", "held"]),
    ("telemetry", &["admission"]),
    (
        "proxy",
        &["gate", "admission", "telemetry", "lifecycle", "platform"],
    ),
    ("lifecycle", &["platform"]),
    ("platform", &[]),
    ("sync", &[]),
    ("admin", &["gate", "telemetry", "lifecycle"]),
    ("load", &[]),
    (
        "config",
        &[
            "admin",
            "admission",
            "gate",
            "lifecycle",
            "proxy",
            "telemetry",
            "platform",
        ],
    ),
];
/// The rooms that put the others together, and may name everything.
const FREE: &[&str] = &["cli", "run"];

/// Rooms that know no library but the standard one, and those that know only these beside it.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("admission", &[]),
    ("platform", &[]),
    ("lifecycle", &["tokio"]),
];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with every finding at once.
#[track_caller]
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

fn dependencies() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let table = manifest
        .split("[dependencies]")
        .nth(1)
        .expect("there are dependencies");
    let table = table
        .split("\n[")
        .next()
        .expect("split yields one at least");
    table
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with(['#', ' ']))
        .map(|line| {
            line.split(['=', '.'])
                .next()
                .unwrap_or_default()
                .trim()
                .replace('-', "_")
        })
        .collect()
}

#[test]
fn rooms_import_what_the_table_says_and_nothing_else() {
    let all = sources();
    let rooms: BTreeSet<&str> = all
        .iter()
        .filter_map(|s| s.module.first())
        .map(String::as_str)
        .collect();
    let dependencies = dependencies();
    let test_only: BTreeSet<Vec<String>> = all
        .iter()
        .flat_map(|source| {
            let elsewhere = shipped(&source.code).1.into_iter();
            elsewhere.map(|name| [source.module.clone(), vec![name]].concat())
        })
        .collect();
    let mut findings = Vec::new();
    for source in &all {
        let Some(room) = source.module.first().map(String::as_str) else {
            continue;
        };
        let in_test = test_only
            .iter()
            .any(|module| source.module.starts_with(module));
        if room == "main" || FREE.contains(&room) || in_test {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == room) else {
            findings.push(format!(
                "src/{}: room `{room}` is not in the import table",
                source.path
            ));
            continue;
        };
        let code = shipped(&source.code).0;
        for other in rooms_named(source, &code) {
            if rooms.contains(other.as_str()) && other != room && !allowed.contains(&other.as_str())
            {
                findings.push(format!(
                    "src/{}: `{room}` must not name `{other}`",
                    source.path
                ));
            }
        }
        let Some((_, known)) = LIBRARIES.iter().find(|(name, _)| *name == room) else {
            continue;
        };
        for library in dependencies
            .iter()
            .filter(|library| !known.contains(&library.as_str()))
        {
            if behind(&code, &format!("{library}::")).next().is_some() {
                findings.push(format!(
                    "src/{}: `{room}` must not know {library}",
                    source.path
                ));
            }
        }
    }
    none(&findings);
}

#[test]
fn files_say_what_they_own_and_are_short() {
    let mut findings = Vec::new();
    for Source { path, text, .. } in sources() {
        if !text.starts_with("//!") {
            findings.push(format!("src/{path} does not open with `//!`"));
        }
        let lines = text.lines().count();
        let explained = text
            .lines()
            .take(10)
            .any(|line| line.contains("longer than"));
        if lines > FILE_LINES_MAX && !explained {
            findings.push(format!("src/{path} has {lines} lines and does not say why"));
        }
    }
    none(&findings);
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for Source { path, code, .. } in sources() {
        for (at, _) in code.match_indices("fn ") {
            let begins = !code[..at].chars().next_back().is_some_and(is_word);
            let name = first_word(&code[at + 3..]);
            // A declaration in a trait ends before a body opens.
            let body = code[at..].find('{').map(|open| at + open);
            let ends = code[at..].find(';').map(|end| at + end);
            let Some(body) = body.filter(|body| ends.is_none_or(|end| *body < end)) else {
                continue;
            };
            let lines = 1 + code[at..block_end(&code, body)].matches('\n').count();
            if begins && !name.is_empty() && lines > FUNCTION_LINES_MAX {
                findings.push(format!("src/{path}: `{name}` has {lines} lines"));
            }
        }
    }
    none(&findings);
}

/// What git tracks, or, outside a repository, what lies here but for `target`.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    if let Some(listed) = listed.ok().filter(|listed| listed.status.success()) {
        let names = String::from_utf8(listed.stdout).expect("tracked names are UTF-8");
        let paths = names.split_terminator('\0').map(|name| root().join(name));
        return paths.filter(|path| path.is_file()).collect();
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_file() {
            found.push(path);
        } else if !["target", ".git"].iter().any(|name| path.ends_with(name)) {
            walk(&path, &mut |path| found.push(path.to_owned()));
        }
    }
    found
}

/// Every tracked text file with its path below the root.
fn texts() -> Vec<(String, String)> {
    tracked()
        .into_iter()
        .filter_map(|path| {
            let below = path
                .strip_prefix(root())
                .ok()?
                .to_string_lossy()
                .into_owned();
            Some((below, fs::read_to_string(path).ok()?))
        })
        .collect()
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, or this file would be a finding.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!"),
        concat!("un", "implemented!"),
        concat!("db", "g!"),
        concat!("#[", "ignore"),
    ];
    let mut findings = Vec::new();
    for (path, text) in texts() {
        let source = ["rs", "py", "toml", "sh", "yaml"]
            .iter()
            .any(|e| path.ends_with(&format!(".{e}")));
        if !source {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            for word in words.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{path}:{number}: {word}"));
            }
        }
        for kind in ["allow(", "expect("] {
            for opening in [concat!("#", "["), concat!("#", "![")] {
                for (at, _) in text.match_indices(&format!("{opening}{kind}")) {
                    let attribute = text[at..].split(")]").next().unwrap_or_default();
                    if !attribute.contains("reason =") {
                        findings.push(format!("{path}: {} gives no reason", attribute.trim()));
                    }
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let places = [
        concat!("/", "work/"),
        concat!("/", "root/"),
        concat!("/tmp", "/wt"),
    ];
    let mut findings = Vec::new();
    for (path, text) in texts() {
        for (number, line) in (1..).zip(text.lines()) {
            // The root that a process of `/proc` sees, and the like, are other places.
            let named = places.iter().filter(|place| {
                let mut at = line.match_indices(**place);
                at.any(|(at, _)| !line[..at].ends_with(|c: char| is_word(c) || ">}.*".contains(c)))
            });
            findings.extend(named.map(|place| format!("{path}:{number}: {place}")));
        }
    }
    none(&findings);
}

/// Every word of the text that begins with `prefix`.
fn words_with(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c| !is_word(c))
        .filter(|w| w.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

#[test]
fn metrics_are_documented_and_documented_metrics_exist() {
    let table = read("src/telemetry/names.rs");
    let named: BTreeSet<String> = table
        .split('"')
        .filter(|word| word.starts_with("weir_") && word.chars().all(is_word))
        .map(str::to_owned)
        .collect();
    assert!(named.len() > 20, "only {} metrics in names.rs", named.len());
    let documented = words_with(&read("README.md"), "weir_");
    let missing = named
        .difference(&documented)
        .map(|name| format!("README.md lacks {name}"));
    let mut findings: Vec<_> = missing.collect();
    for word in documented.difference(&named) {
        let parts = ["_bucket", "_sum", "_count"];
        let series = parts.iter().find_map(|part| word.strip_suffix(part));
        if !series.is_some_and(|name| named.contains(name)) {
            findings.push(format!("README.md names {word}, which does not exist"));
        }
    }
    none(&findings);
}

/// The keys of a TOML file as dotted names, also those that are only commented out because they
/// have no default.
fn config_keys(text: &str) -> Vec<String> {
    let mut keys = vec![
        "memory.target_memory".to_owned(),
        "memory.memory_per_task".to_owned(),
    ];
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line
            .split_once(" = ")
            .filter(|(key, _)| key.chars().all(is_word))
        {
            keys.push(format!("{table}{key}"));
        }
    }
    keys
}

#[test]
fn config_keys_are_documented() {
    let keys = config_keys(&read("config/default.toml"));
    assert!(
        keys.len() > 30,
        "only {} keys in config/default.toml",
        keys.len()
    );
    let readme = read("README.md");
    let rows: String = readme
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    let missing = keys
        .iter()
        .filter(|key| !rows.contains(&format!("`{key}`")));
    none(
        &missing
            .map(|key| format!("README.md's tables lack `{key}`"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_changelog_knows_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        read("CHANGELOG.md").contains(version),
        "CHANGELOG.md does not mention {version}"
    );
}
