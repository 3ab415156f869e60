//! The worked files in `config/`.

use std::path::Path;

use super::{BASE_ENV, load_file, machine, owned, with_sets};
use weir::admission::{Discipline, MaxWait, Switch};
use weir::config::{Sources, load_on};
use weir::proxy::CancelGrace;

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

/// What each is for is in effect, not only its number of permits.
#[test]
fn each_does_what_its_situation_asks_for() {
    let load = |name: &str| load_file(&shipped(name)).expect("valid").config;
    let bursty = load("bursty-strict-memory.toml");
    let class = &bursty.rules.policy.classes[0];
    assert_eq!(
        (class.max_wait, class.discipline, class.codel),
        (MaxWait::Auto, Discipline::Adaptive, Switch::On)
    );
    assert_eq!(bursty.proxy.cancel_grace, CancelGrace::Auto);
    assert_eq!(bursty.rules.max_depth, 0);

    let many = load("multi-tenant.toml").rules.policy;
    let rate = many.tenants.expect("told apart").rate.expect("a rate");
    assert_eq!((rate.per_second, rate.burst), (100, 200));
    let weights: Vec<_> = many.classes.iter().map(|class| class.weight).collect();
    assert_eq!((&weights[..], many.cut_off), (&[4, 1][..], Switch::On));

    assert_eq!(load("steady.toml").rules.max_depth, 256);
    let edge = load("edge.toml");
    assert_eq!((edge.workers, edge.rules.max_depth), (1, 32));
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
