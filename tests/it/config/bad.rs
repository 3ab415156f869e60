//! Configurations that are refused: one message on one screen, with key, value, source, remedy.

use std::process::Command;

use weir::config::{Machine, Problem, Problems, Sources, load_on};

use super::{BASE_ENV, file, machine, owned, with_env, with_sets};

/// How the bad value is given.
enum Given {
    /// A file of this name and content.
    File(&'static str, &'static [u8]),
    /// A variable.
    Env(&'static str, &'static str),
    /// A `--set`.
    Set(&'static str),
}
use Given::{Env, File, Set};

struct Row {
    given: Given,
    key: &'static str,
    value: &'static str,
    remedy: &'static str,
}

const fn row(given: Given, key: &'static str, value: &'static str, remedy: &'static str) -> Row {
    Row {
        given,
        key,
        value,
        remedy,
    }
}

const fn toml(text: &'static str) -> Given {
    File("weir.toml", text.as_bytes())
}

const FACTOR: &str = "above 0 and at most 1";

/// Each with exactly one problem, on any machine.
const ROWS: &[Row] = &[
    // Quantities.
    row(
        toml("memory = { target_memory = \"512MB\" }"),
        "memory.target_memory",
        "512MB",
        "such as 512Mi",
    ),
    row(
        toml("memory = { target_memory = \"512mi\" }"),
        "memory.target_memory",
        "512mi",
        "such as 512Mi",
    ),
    row(
        toml("memory = { target_memory = \"\" }"),
        "memory.target_memory",
        "\"\"",
        "give it a value",
    ),
    row(
        toml("memory = { target_memory = \"0\" }"),
        "memory.target_memory",
        "0",
        "quantity",
    ),
    row(
        toml("memory = { target_memory = -1 }"),
        "memory.target_memory",
        "-1",
        "quantity",
    ),
    row(
        toml("memory = { target_memory = true }"),
        "memory.target_memory",
        "true",
        "quantity",
    ),
    row(
        toml("memory = { target_memory = [1] }"),
        "memory.target_memory",
        "[1]",
        "single value",
    ),
    row(
        Set("memory.target_memory=512m"),
        "memory.target_memory",
        "512m",
        "write 512Mi",
    ),
    row(
        Set("memory.target_memory=16Ei"),
        "memory.target_memory",
        "16Ei",
        "quantity",
    ),
    row(
        Set("memory.target_memory=99999999999999999999999"),
        "memory.target_memory",
        "99999999999999999999999",
        "quantity",
    ),
    row(
        Set("memory.target_memory=1 Gi"),
        "memory.target_memory",
        "1 Gi",
        "quantity",
    ),
    row(
        Env("WEIR__MEMORY__MEMORY_PER_TASK", "16MB"),
        "memory.memory_per_task",
        "16MB",
        "such as 512Mi",
    ),
    row(
        Env("WEIR__MEMORY__MEMORY_PER_TASK", "-16Mi"),
        "memory.memory_per_task",
        "-16Mi",
        "quantity",
    ),
    row(
        Env("WEIR__MEMORY__MEMORY_PER_TASK", ""),
        "memory.memory_per_task",
        "\"\"",
        "give it a value",
    ),
    row(
        Set("memory.memory_per_task={a=1}"),
        "memory.memory_per_task",
        "a = 1",
        "single value",
    ),
    // The formula.
    row(
        Set("memory.target_memory=1Mi"),
        "memory.target_memory",
        "1Mi",
        "lower memory.memory_per_task",
    ),
    row(
        Set("memory.memory_per_task=1"),
        "memory.target_memory",
        "512Mi",
        "check the suffix",
    ),
    row(
        Set("memory.safety_factor=0"),
        "memory.safety_factor",
        "0",
        FACTOR,
    ),
    row(
        Set("memory.safety_factor=1.01"),
        "memory.safety_factor",
        "1.01",
        FACTOR,
    ),
    row(
        Set("memory.safety_factor=-0.5"),
        "memory.safety_factor",
        "-0.5",
        FACTOR,
    ),
    row(
        Set("memory.safety_factor=80%"),
        "memory.safety_factor",
        "80%",
        FACTOR,
    ),
    row(
        toml("memory = { safety_factor = nan }"),
        "memory.safety_factor",
        "NaN",
        FACTOR,
    ),
    // A target from a file.
    row(
        Set("memory.target_memory={file=/nowhere/mem_limit, baseline=1Mi}"),
        "memory.target_memory.file",
        "/nowhere/mem_limit",
        "downward API",
    ),
    row(
        Set("memory.target_memory={file=/, baseline=1Mi}"),
        "memory.target_memory.file",
        "\"/\"",
        "downward API",
    ),
    row(
        Set("memory.target_memory={file=/proc/self/cmdline, baseline=1Mi}"),
        "memory.target_memory.file",
        "/proc/self/cmdline",
        "downward API",
    ),
    row(
        Set("memory.target_memory={fraction=0.9, baseline=1Mi}"),
        "memory.target_memory.file",
        "not set",
        "/etc/podinfo/mem_limit",
    ),
    row(
        Set("memory.target_memory={path=/a, file=/proc/self/cmdline}"),
        "memory.target_memory.path",
        "/a",
        "remove it",
    ),
    // Unknown keys at each level.
    row(
        toml("mode = \"enforce\""),
        "mode",
        "enforce",
        "config/default.toml",
    ),
    row(
        toml("Listen = \"0.0.0.0:1\""),
        "Listen",
        "0.0.0.0:1",
        "did you mean listen?",
    ),
    row(
        toml("[queue]\nmax_wiat = \"1s\""),
        "queue.max_wiat",
        "1s",
        "did you mean queue.max_wait?",
    ),
    row(
        toml("[queu]\nmax_wait = \"1s\"\norder = \"fifo\""),
        "queu",
        "max_wait = \"1s\"",
        "did you mean queue?",
    ),
    row(
        toml("max_wait = \"1s\""),
        "max_wait",
        "1s",
        "did you mean queue.max_wait?",
    ),
    row(
        toml("[[route]]\npath = \"/\""),
        "route",
        "path = \"/\"",
        "remove it",
    ),
    row(
        toml("[queue.codel]\ntarget = \"5ms\""),
        "queue.codel.target",
        "5ms",
        "remove it",
    ),
    row(
        toml("\"queue.max_wait\" = \"1s\""),
        "queue.max_wait",
        "1s",
        "write a table",
    ),
    row(
        Env("WEIR__QUEU__MAX_WAIT", "1s"),
        "queu.max_wait",
        "1s",
        "did you mean queue.max_wait?",
    ),
    row(Env("WEIR__", "1s"), "WEIR__", "1s", "WEIR__QUEUE__MAX_WAIT"),
    row(
        Env("WEIR__QUEUE____MAX_WAIT", "1s"),
        "queue..max_wait",
        "1s",
        "WEIR__QUEUE__MAX_WAIT",
    ),
    row(
        Set("queue.max_wait.long=1s"),
        "queue.max_wait",
        "long = \"1s\"",
        "single value",
    ),
    // Wrong shapes.
    row(toml("queue = 5"), "queue", "5", "set the keys in it"),
    row(
        toml("[listen]\nport = 1"),
        "listen",
        "port = 1",
        "single value",
    ),
    row(
        File("weir.yaml", b"queue:\n"),
        "queue",
        "nothing",
        "set the keys in it",
    ),
    row(
        File("weir.json", b"{\"listen\": null}"),
        "listen",
        "nothing",
        "remove the line",
    ),
    row(
        toml("[reject]\nheaders = \"x: y\""),
        "reject.headers",
        "x: y",
        "set the keys in it",
    ),
    // Durations.
    row(
        toml("[timeouts]\nsniff = 10"),
        "timeouts.sniff",
        "10",
        "add a unit, such as 10s",
    ),
    row(
        toml("[timeouts]\nhead = \"10 seconds\""),
        "timeouts.head",
        "10 seconds",
        "such as 250ms",
    ),
    row(
        toml("[timeouts]\nconnect = \"-1s\""),
        "timeouts.connect",
        "-1s",
        "from 1ms to 7d",
    ),
    row(
        toml("[timeouts]\nbody_idle = \"0s\""),
        "timeouts.body_idle",
        "0s",
        "from 1ms to 7d",
    ),
    row(
        toml("[timeouts]\nh2_ping = \"10ms\""),
        "timeouts.h2_ping",
        "10ms",
        "from 1s to 7d",
    ),
    row(
        toml("[timeouts]\nconnection_age = \"10ms\""),
        "timeouts.connection_age",
        "10ms",
        "0s for no bound",
    ),
    row(
        Set("queue.max_wait=99999999999999999999s"),
        "queue.max_wait",
        "99999999999999999999s",
        "from 1ms to 1h",
    ),
    row(
        Set("queue.max_wait=0s"),
        "queue.max_wait",
        "0s",
        "from 1ms to 1h",
    ),
    row(
        Set("queue.max_wait=1m30"),
        "queue.max_wait",
        "1m30",
        "such as 250ms",
    ),
    // Numbers, words and flags.
    row(
        toml("workers = 0"),
        "workers",
        "0",
        "from 1 to 256; or \"auto\"",
    ),
    row(
        Set("workers=many"),
        "workers",
        "many",
        "from 1 to 256; or \"auto\"",
    ),
    row(
        Set("queue.max_depth=-1"),
        "queue.max_depth",
        "-1",
        "from 0 to 16777215",
    ),
    row(
        Set("queue.max_depth=4294967296"),
        "queue.max_depth",
        "4294967296",
        "from 0 to 16777215",
    ),
    row(
        Set("queue.max_depth=1.5"),
        "queue.max_depth",
        "1.5",
        "whole number",
    ),
    row(
        Set("queue.max_bytes=1Ki"),
        "queue.max_bytes",
        "1Ki",
        "from 64Ki to 512Gi",
    ),
    row(
        Set("queue.order=filo"),
        "queue.order",
        "filo",
        "did you mean \"fifo\"?",
    ),
    row(
        Set("queue.strategy=Queue"),
        "queue.strategy",
        "Queue",
        "did you mean \"queue\"?",
    ),
    row(
        Set("limits.max_connections=0"),
        "limits.max_connections",
        "0",
        "from 1 to 1000000",
    ),
    row(
        Set("limits.h2_streams=10001"),
        "limits.h2_streams",
        "10001",
        "from 1 to 10000",
    ),
    row(
        Set("limits.header_bytes=4Ki"),
        "limits.header_bytes",
        "4Ki",
        "from 8Ki to 1Mi",
    ),
    row(
        Set("limits.header_fields=1"),
        "limits.header_fields",
        "1",
        "from 10 to 1000",
    ),
    row(
        Set("admin.remote_control=yes"),
        "admin.remote_control",
        "yes",
        "true or false",
    ),
    row(Set("log.level=inof"), "log.level", "inof", "info"),
    row(
        Set("log.level=weir=loud"),
        "log.level",
        "weir=loud",
        "debug",
    ),
    row(Set("log.format=xml"), "log.format", "xml", "\"json\""),
    row(
        Set("trust.forwarded=keep"),
        "trust.forwarded",
        "keep",
        "\"append\" or \"replace\"",
    ),
    // What refused clients are told.
    row(
        Set("reject.status=200"),
        "reject.status",
        "200",
        "from 400 to 599",
    ),
    row(
        Set("reject.status=600"),
        "reject.status",
        "600",
        "from 400 to 599",
    ),
    row(
        Set("reject.grpc_status=0"),
        "reject.grpc_status",
        "0",
        "from 1 to 16",
    ),
    row(
        Set("reject.grpc_status=UNAVAILABLE"),
        "reject.grpc_status",
        "UNAVAILABLE",
        "from 1 to 16",
    ),
    row(
        Set("reject.retry_after=1500ms"),
        "reject.retry_after",
        "1500ms",
        "whole seconds",
    ),
    row(
        Set("reject.headers.content-length=0"),
        "reject.headers.content-length",
        "0",
        "name of your own",
    ),
    row(
        Set("reject.headers.Connection=close"),
        "reject.headers.Connection",
        "close",
        "name of your own",
    ),
    row(
        Set("reject.headers.retry-after=5"),
        "reject.headers.retry-after",
        "5",
        "reject.retry_after",
    ),
    row(
        Set("reject.headers.x y=z"),
        "reject.headers.x y",
        "z",
        "letters, digits and hyphens",
    ),
    row(
        toml("[reject]\nheaders = { x-a = \"b\\r\\nc: d\" }"),
        "reject.headers.x-a",
        "b\\r\\nc: d",
        "visible ASCII",
    ),
    // Addresses.
    row(toml("listen = 8000"), "listen", "8000", "0.0.0.0:8000"),
    row(Set("listen=:8000"), "listen", ":8000", "0.0.0.0:8000"),
    row(
        Set("listen=localhost:8000"),
        "listen",
        "localhost:8000",
        "0.0.0.0:8000",
    ),
    row(
        Set("listen=0.0.0.0:70000"),
        "listen",
        "0.0.0.0:70000",
        "0.0.0.0:8000",
    ),
    row(
        Set("upstream=127.0.0.1:8080"),
        "upstream",
        "127.0.0.1:8080",
        "http://127.0.0.1:8080",
    ),
    row(
        Set("upstream=https://app:443"),
        "upstream",
        "https://app:443",
        "http://127.0.0.1:8080",
    ),
    row(
        Set("upstream=http://app:8080/api"),
        "upstream",
        "http://app:8080/api",
        "http://127.0.0.1:8080",
    ),
    row(
        Set("upstream=http://app:0"),
        "upstream",
        "http://app:0",
        "http://127.0.0.1:8080",
    ),
    row(
        Set("upstream=http://:80"),
        "upstream",
        "http://:80",
        "http://127.0.0.1:8080",
    ),
    row(
        Set("upstream=unix:app.sock"),
        "upstream",
        "unix:app.sock",
        "unix:/run/app.sock",
    ),
    row(
        Set("upstream_protocol=h2"),
        "upstream_protocol",
        "h2",
        "\"http2\"",
    ),
    // Contradictions.
    row(
        Set("upstream=http://127.0.0.1:8000"),
        "upstream",
        "http://127.0.0.1:8000",
        "backend listens on",
    ),
    row(
        Set("upstream=http://localhost:9900"),
        "upstream",
        "http://localhost:9900",
        "backend listens on",
    ),
    row(
        Set("upstream=http://[::1]:8000"),
        "upstream",
        "http://[::1]:8000",
        "backend listens on",
    ),
    row(
        Set("admin.listen=127.0.0.1:8000"),
        "admin.listen",
        "127.0.0.1:8000",
        "another number",
    ),
    row(
        Set("drain.lame_duck=10s"),
        "drain.grace",
        "30s",
        "raise drain.grace to 31s",
    ),
    row(
        Env("WEIR__QUEUE__MAX_WAIT", "21s"),
        "queue.max_wait",
        "21s",
        "raise drain.timeout to at least 21s",
    ),
    // The file itself.
    row(
        File("weir.toml", b""),
        "--config",
        "weir.toml",
        "write the settings into it",
    ),
    row(
        File("weir.toml", b"  \n\n"),
        "--config",
        "weir.toml",
        "write the settings into it",
    ),
    row(
        File("weir.toml", b"# caf\xe9\n"),
        "--config",
        "weir.toml",
        "save it as UTF-8",
    ),
    row(
        File("weir.toml", b"[queue\nmax_wait = 1"),
        "--config",
        "line 1, column 7",
        "correct this place",
    ),
    row(
        File("weir.toml", b"a = 1\na = 2"),
        "--config",
        "line 2, column 1",
        "correct this place",
    ),
    row(
        File("weir.yaml", b"queue:\n  max_wait: [1\n"),
        "--config",
        "line 3, column 1",
        "correct this place",
    ),
    row(
        File("weir.yaml", b"- a\n"),
        "--config",
        "weir.yaml",
        "correct this place",
    ),
    row(
        File("weir.json", b"{\"queue\": }"),
        "--config",
        "line 1, column 11",
        "correct this place",
    ),
    row(
        File("weir.conf", b"listen"),
        "--config",
        "weir.conf",
        "ends in .toml, .yaml, .yml or .json",
    ),
    row(
        File("weir", b"listen"),
        "--config",
        "weir",
        "ends in .toml, .yaml, .yml or .json",
    ),
];

/// Where the value of a row was given, as messages name it.
fn source_of(given: &Given) -> String {
    match given {
        File(name, _) => (*name).to_owned(),
        Env(name, _) => format!("environment variable {name}"),
        Set(_) => "--set".to_owned(),
    }
}

fn sources_of(given: &Given) -> (Option<tempfile::TempDir>, Sources) {
    let mut sources = Sources {
        env: owned(&BASE_ENV),
        ..Sources::default()
    };
    let mut dir = None;
    match given {
        File(name, content) => {
            // What the file says about memory must not be hidden by the base.
            sources.env.retain(|(name, _)| {
                !(name.ends_with("TARGET_MEMORY")
                    && String::from_utf8_lossy(content).contains("target_memory"))
            });
            let (held, path) = file(name, content);
            dir = Some(held);
            sources.file = Some(path);
        }
        Env(name, value) => {
            sources.env.retain(|(known, _)| known != name);
            sources.env.push(((*name).to_owned(), (*value).to_owned()));
        }
        Set(set) => sources.sets.push((*set).to_owned()),
    }
    (dir, sources)
}

/// One screen, and everything that somebody needs who has to correct it.
fn assert_message(message: &str, problem: &Problem, row: &Row) {
    assert_eq!(problem.key, row.key, "{message}");
    let unwrapped = message.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [row.key, row.value, row.remedy, "Remedy: "] {
        assert!(
            unwrapped.contains(part.trim()),
            "no {part:?} in:\n{message}"
        );
    }
    let lines: Vec<&str> = message.lines().collect();
    assert!(lines.len() <= 24, "{} lines:\n{message}", lines.len());
    let widest = lines.iter().map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|columns| columns <= 120), "{message}");
}

#[test]
fn every_row_is_refused_with_one_message() {
    assert!(ROWS.len() >= 40);
    for row in ROWS {
        let (_dir, sources) = sources_of(&row.given);
        let Problems(problems) = match load_on(&sources, &machine()) {
            Err(problems) => problems,
            Ok(_) => panic!("{} = {} was taken", row.key, row.value),
        };
        let message = Problems(problems.clone()).to_string();
        assert_eq!(problems.len(), 1, "{} = {}:\n{message}", row.key, row.value);
        assert_message(&message, &problems[0], row);
        let contradiction = ["drain.grace", "memory.target_memory"].contains(&row.key);
        let missing = row.value == "not set";
        if !contradiction && !missing {
            let source = source_of(&row.given);
            assert!(
                problems[0].source.contains(&source),
                "no {source:?} in:\n{message}"
            );
        }
    }
}

/// Runs the real `weir check` on the same inputs.
fn check(sources: &Sources) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("check").env_clear();
    command.envs(sources.env.iter().map(|(name, value)| (name, value)));
    if let Some(path) = &sources.file {
        command.arg("--config").arg(path);
    }
    for set in &sources.sets {
        command.arg("--set").arg(set);
    }
    command.output().expect("weir check runs")
}

#[test]
fn the_binary_says_the_same_and_ends_with_1() {
    for row in ROWS {
        let (_dir, sources) = sources_of(&row.given);
        let problems = load_on(&sources, &machine()).expect_err(row.key);
        let output = check(&sources);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        // The message of /proc/self/cmdline is that of another process.
        if !row.value.starts_with("/proc/self") {
            assert_eq!(message, problems.to_string());
        }
    }
}

#[test]
fn the_binary_prints_values_with_sources_and_the_arithmetic_and_ends_with_0() {
    let (_dir, path) = file(
        "weir.toml",
        "[memory]\ntarget_memory = \"512Mi\"\nmemory_per_task = \"1M\"\nsafety_factor = 0.9\n",
    );
    let output = check(&Sources {
        file: Some(path.clone()),
        sets: vec!["queue.max_bytes=1Mi".to_owned()],
        env: owned(&[
            ("WEIR_PORT", "tcp://10.0.0.1:8000"),
            ("WEIR__LOG__LEVEL", "warn"),
        ]),
    });
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let has = |words: &[&str]| {
        let found = |line: &str| line.split_whitespace().collect::<Vec<_>>() == words;
        assert!(text.lines().any(found), "no {words:?} in:\n{text}");
    };
    let path = path.display().to_string();
    has(&["memory.target_memory", "512Mi", "file", &path]);
    has(&[
        "log.level",
        "warn",
        "environment",
        "variable",
        "WEIR__LOG__LEVEL",
    ]);
    has(&["queue.max_bytes", "1Mi", "--set"]);
    has(&["queue.order", "fifo", "built-in", "default"]);
    assert!(text.contains("536870912 × 0.9 ÷ 1000000 = 483.183, so 483 requests run at once"));
    assert!(text.contains("up to 102 requests on HTTP/1.1"), "{text}");
    assert!(text.contains("or 341 on HTTP/2"), "{text}");
}

#[test]
fn a_set_without_a_value_is_a_matter_of_usage() {
    let output = check(&Sources {
        sets: vec!["queue.max_wait".to_owned()],
        ..Sources::default()
    });
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("KEY=VALUE"), "{message}");
    let problems = with_sets(&["queue.max_wait"]).expect_err("no value");
    assert!(problems.to_string().contains("key=value"), "{problems}");
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let load = |path: &std::path::Path| {
        let sources = Sources {
            file: Some(path.to_owned()),
            env: owned(&BASE_ENV),
            ..Sources::default()
        };
        let problems = load_on(&sources, &machine()).expect_err("not a file").0;
        assert_eq!(problems.len(), 1);
        let Problem {
            problem, remedy, ..
        } = problems[0].clone();
        (problem, remedy)
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (problem, remedy) = load(&dir.path().join("missing.toml"));
    assert!(problem.contains("No such file"), "{problem}");
    assert!(remedy.contains("mounted"), "{remedy}");
    let directory = dir.path().join("conf.toml");
    std::fs::create_dir(&directory).expect("created");
    assert!(load(&directory).0.contains("directory"));
    let large = dir.path().join("large.toml");
    std::fs::write(&large, "#".repeat((1 << 20) + 1)).expect("written");
    assert!(load(&large).0.contains("larger than 1 MiB"));
    let dangling = dir.path().join("link.toml");
    std::os::unix::fs::symlink("/proc/self/mem", &dangling).expect("linked");
    assert!(load(&dangling).0.contains("cannot be read"));
}

#[test]
fn all_problems_are_told_at_once() {
    let (_dir, path) = file(
        "weir.toml",
        "colour = \"red\"\n[memory]\ntarget_memory = \"lots\"\n[queue]\nmax_wait = 5\n\
         [drain]\ngrace = \"10s\"\n",
    );
    let sources = Sources {
        file: Some(path),
        sets: vec!["reject.status=200".to_owned(), "novalue".to_owned()],
        env: owned(&[("WEIR__WORKERS", "none")]),
    };
    let Problems(problems) = load_on(&sources, &machine()).expect_err("invalid");
    let mut keys: Vec<_> = problems.iter().map(|one| one.key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "--set",
        "colour",
        "drain.grace",
        "memory.memory_per_task",
        "memory.target_memory",
        "queue.max_wait",
        "reject.status",
        "workers",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn without_the_two_numbers_it_says_how_to_find_them() {
    let problems = load_on(&Sources::default(), &machine()).expect_err("no defaults for these");
    let text = problems.to_string();
    assert_eq!(problems.0.len(), 2);
    for part in [
        "memory.target_memory",
        "memory.memory_per_task",
        "RSS when idle",
        "concurrent",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_machine_is_looked_at() {
    let load = |machine: &Machine, sets: &[&str]| {
        let sources = Sources {
            sets: sets.iter().map(|set| (*set).to_owned()).collect(),
            env: owned(&BASE_ENV),
            ..Sources::default()
        };
        load_on(&sources, machine)
    };
    let small = Machine {
        total_memory: Some(256 << 20),
        own_memory_limit: Some(64 << 20),
        descriptor_limit: Some(1024),
        parallelism: 1,
    };
    let problems = load(&small, &[]).expect_err("512Mi of 256Mi").0;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "memory.target_memory");
    assert!(problems[0].problem.contains("more than this machine has"));

    let fits = ["memory.target_memory=200Mi"];
    let warned = |machine: &Machine, sets: &[&str]| {
        let loaded = load(machine, sets).expect("valid");
        let keys = loaded.warnings.into_iter().map(|one| one.key);
        keys.collect::<Vec<_>>()
    };
    assert_eq!(
        warned(&small, &fits),
        ["queue.max_bytes", "limits.max_connections"]
    );
    let auto = [
        fits[0],
        "queue.max_bytes=auto",
        "limits.max_connections=auto",
    ];
    assert_eq!(warned(&small, &auto), [""; 0]);
    assert_eq!(warned(&machine(), &fits), [""; 0]);
}

#[test]
fn a_target_file_that_holds_the_nodes_memory_is_a_loud_warning() {
    let (_dir, limit) = file("mem_limit", (64_u64 << 30).to_string());
    let set = format!(
        "memory.target_memory={{file={}, fraction=0.5}}",
        limit.display()
    );
    let sources = Sources {
        sets: vec![set],
        env: owned(&BASE_ENV),
        ..Sources::default()
    };
    let node = Machine {
        total_memory: Some(64 << 30),
        ..machine()
    };
    let warnings = load_on(&sources, &node).expect("valid").warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(warnings[0].key, "memory.target_memory.baseline");
    assert_eq!(warnings[1].key, "memory.target_memory.file");
    assert!(warnings[1].problem.contains("no memory limit"));
    let roomy = load_on(&sources, &machine()).expect("valid").warnings;
    assert_eq!(roomy.len(), 1, "{roomy:?}");
}

#[test]
fn a_baseline_that_leaves_nothing_is_worked_out() {
    let (_dir, limit) = file("mem_limit", "1Gi");
    let table = format!("{{file={}, fraction=0.5, baseline=600Mi}}", limit.display());
    let problems = with_env(&[("WEIR__MEMORY__TARGET_MEMORY", &table)]).expect_err("nothing left");
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert!(
        problems.0[0]
            .problem
            .contains("1Gi × 0.5 less the baseline of 600Mi")
    );
}
