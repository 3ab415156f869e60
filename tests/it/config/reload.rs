//! What a poller sees, and what a reload would change.

use weir::config::{Changes, Sources, TargetSource, changes, load_watched};

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
fn both_files_are_watched_by_content() {
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
    let load = || load_watched(&sources, &machine());
    let (watched, old) = load();
    let old = old.expect("valid");
    assert!(!watched.has_changed());

    std::fs::write(&limit, "2Gi").expect("written");
    assert!(watched.has_changed());
    let (watched, new) = load();
    let new = new.expect("valid");
    assert_eq!(new.config.budget.target_memory(), (2 << 30) - (1 << 20));
    assert!(matches!(new.config.target, TargetSource::File { content, .. } if content == 2 << 30));
    assert_eq!(changes(&old, &new).applied, ["memory.target_memory.file"]);

    // Rewritten with the same content, as a ConfigMap swap that changes another key does.
    std::fs::write(&limit, "2Gi").expect("written");
    assert!(!watched.has_changed());

    std::fs::write(&path, text("2s")).expect("written");
    assert!(watched.has_changed());
}

#[test]
fn what_is_wrong_is_watched_too() {
    let (dir, path) = file("weir.toml", "broken = ");
    let sources = Sources {
        file: Some(path.clone()),
        ..Sources::default()
    };
    let load = || {
        let (watched, loaded) = load_watched(&sources, &machine());
        assert!(loaded.is_err() && !watched.has_changed());
        watched
    };
    let broken = load();
    std::fs::remove_file(&path).expect("removed");
    assert!(broken.has_changed(), "gone is another state");

    // A target file that a new configuration names and that is not there yet.
    let gone = load();
    let limit = dir.path().join("mem_limit");
    let text = format!("[memory]\ntarget_memory = {{ file = {limit:?} }}\n");
    std::fs::write(&path, text).expect("written");
    assert!(gone.has_changed());
    let waiting = load();
    std::fs::write(&limit, "1Gi").expect("written");
    assert!(waiting.has_changed());
}
