//! The worked files in `config/`.

use std::path::Path;

use super::{BASE_ENV, load_file, machine, owned, with_sets};
use weir::config::{Sources, load_on};

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

#[test]
fn each_loads_cleanly_and_makes_the_permits_that_it_says() {
    for (name, permits) in [
        ("steady.toml", 25),
        ("bursty-strict-memory.toml", 22),
        ("multi-tenant.toml", 51),
        ("edge.toml", 2),
    ] {
        let loaded =
            load_file(&shipped(name)).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(loaded.warnings, [], "{name}");
        assert_eq!(loaded.config.budget.permit_limit(), permits, "{name}");
        let text = std::fs::read_to_string(shipped(name)).expect("readable");
        assert!(text.contains(&format!("# {permits} permits")), "{name}");
    }
}

#[test]
fn every_file_in_config_is_known_here() {
    let mut names: Vec<_> = std::fs::read_dir(shipped(""))
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    let known = [
        "bursty-strict-memory.toml",
        "default.toml",
        "edge.toml",
        "multi-tenant.toml",
        "steady.toml",
    ];
    assert_eq!(names, known);
}

#[test]
fn the_reference_equals_the_built_in_defaults() {
    let sources = Sources {
        file: Some(shipped("default.toml")),
        sets: Vec::new(),
        env: owned(&BASE_ENV),
    };
    let from_file = load_on(&sources, &machine()).expect("valid");
    assert_eq!(from_file.config, with_sets(&[]).expect("valid").config);
    assert_eq!(from_file.warnings, []);
}
