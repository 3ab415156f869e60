//! Commands whose output cannot be written end as they would have ended anyway.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::support::{SOON, Setup, backend};

/// Output that always fails: nothing has room here.
fn full() -> Stdio {
    let device = File::options().write(true).open("/dev/full");
    device.expect("a full device").into()
}

fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR__") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The exit code with nowhere to write to.
#[track_caller]
fn assert_ends_with(code: i32, arguments: &[&str]) {
    let ended = weir(arguments).stdout(full()).stderr(full()).status();
    let ended = ended.expect("the binary under test starts");
    assert_eq!(ended.code(), Some(code), "{arguments:?}: {ended}");
}

#[test]
fn what_needs_no_weir() {
    assert_ends_with(0, &["version"]);
    assert_ends_with(0, &["--version"]);
    assert_ends_with(0, &["help"]);
    assert_ends_with(2, &["dance"]);
    let valid = ["memory.target_memory=2Mi", "memory.memory_per_task=1Mi"];
    assert_ends_with(0, &["check", "--set", valid[0], "--set", valid[1]]);
    assert_ends_with(1, &["check", "--set", "queue.max_wait=soon"]);
    assert_ends_with(1, &["run", "--set", "queue.max_wait=soon"]);
    assert_ends_with(1, &["healthcheck", "--set", "admin.listen=here"]);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound");
    let sets = [
        valid[0],
        valid[1],
        &format!("listen={listen}"),
        "admin.listen=127.0.0.1:0",
    ];
    let sets = sets.map(|set| format!("--set={set}"));
    let mut arguments = vec!["run"];
    arguments.extend(sets.iter().map(String::as_str));
    assert_ends_with(3, &arguments);
}

#[tokio::test]
async fn what_asks_a_weir() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("drain.lame_duck", "0s")
        .start()
        .await;
    let admin = weir.admin.to_string();
    assert_ends_with(0, &["healthcheck", "--admin", &admin]);
    assert_ends_with(0, &["healthcheck", "--live", "--admin", &admin]);
    assert_ends_with(0, &["drain", "--wait", "--admin", &admin]);
    assert_eq!(weir.exit_code(SOON).await, 0);
    assert_ends_with(1, &["healthcheck", "--admin", &admin]);
    assert_ends_with(1, &["drain", "--admin", &admin]);
}

#[test]
fn a_demo_that_nobody_reads_ends_at_once_and_says_nothing() {
    let begun = Instant::now();
    let mut demo = weir(&["demo", "--seconds", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    drop(demo.stdout.take());
    let ended = demo.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert!(begun.elapsed() < SOON);
}

#[test]
fn every_way_to_ask_for_the_version_says_the_same() {
    let said = format!("weir {}\n", env!("CARGO_PKG_VERSION"));
    for way in ["version", "--version", "-V"] {
        let output = weir(&[way]).output().expect("the binary under test starts");
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{way}");
        assert!(output.status.success());
    }
}
