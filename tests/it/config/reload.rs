//! What a poller sees, and what a reload would change.

use weir::config::{Changes, Sources, TargetSource, changes, load_on};

use super::{file, machine, with_sets};

#[test]
fn changes_are_told_apart_by_whether_they_need_a_restart() {
    let old = with_sets(&[]).expect("valid");
    let new = with_sets(&[
        "memory.target_memory=1Gi",
        "queue.max_wait=2s",
        "reject.headers.x-a=b",
        "log.level=debug",
        "listen=0.0.0.0:8001",
        "workers=1",
        "admin.remote_control=true",
        "upstream=http://127.0.0.1:8081",
        "upstream_protocol=http2",
        "limits.max_connections=5",
        "limits.h2_streams=5",
        "log.format=json",
    ])
    .expect("valid");
    let found = changes(&old, &new);
    assert_eq!(
        found.applied,
        [
            "limits.h2_streams",
            "log.level",
            "memory.target_memory",
            "queue.max_wait",
            "reject.headers",
            "reject.headers.x-a",
        ]
    );
    assert_eq!(
        found.needs_restart,
        [
            "admin.remote_control",
            "limits.max_connections",
            "listen",
            "log.format",
            "upstream",
            "upstream_protocol",
            "workers",
        ]
    );
    assert_eq!(changes(&old, &old), Changes::default());
}

#[test]
fn the_fingerprint_follows_the_content_of_both_files() {
    let (_dir, limit) = file("mem_limit", "1Gi");
    let text = |wait: &str| {
        format!(
            "[queue]\nmax_wait = \"{wait}\"\n[memory]\nmemory_per_task = \"1Mi\"\n\
             target_memory = {{ file = {limit:?}, baseline = \"1Mi\" }}\n"
        )
    };
    let (_dir, path) = file("weir.toml", text("1s"));
    let sources = Sources {
        file: Some(path.clone()),
        ..Sources::default()
    };
    let first = sources.fingerprint();
    assert_eq!(sources.fingerprint(), first);
    let old = load_on(&sources, &machine()).expect("valid");

    std::fs::write(&limit, "2Gi").expect("written");
    let second = sources.fingerprint();
    assert_ne!(second, first);
    let new = load_on(&sources, &machine()).expect("valid");
    assert_eq!(new.config.budget.target_memory(), (2 << 30) - (1 << 20));
    assert!(matches!(new.config.target, TargetSource::File { content, .. } if content == 2 << 30));
    assert_eq!(changes(&old, &new).applied, ["memory.target_memory.file"]);

    // Rewritten with the same content, as a ConfigMap swap that changes another key does.
    std::fs::write(&limit, "2Gi").expect("written");
    assert_eq!(sources.fingerprint(), second);

    std::fs::write(&path, text("2s")).expect("written");
    let third = sources.fingerprint();
    assert!(third != second && third != first);

    // Gone is another state, and a broken file is watched too.
    std::fs::write(&path, "broken = ").expect("written");
    let broken = sources.fingerprint();
    assert_ne!(broken, third);
    std::fs::remove_file(&path).expect("removed");
    assert_ne!(sources.fingerprint(), broken);
}
