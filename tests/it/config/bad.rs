//! Configurations that are refused: one message on one screen, with key, value, source, remedy.

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir::config::{Machine, Problem, Problems, Sources, load_on};

use super::{BASE_ENV, effective, file, load_file, machine, owned, with_env, with_sets};

/// A line of the table.
struct Row {
    given: &'static str,
    text: &'static str,
    key: &'static str,
    value: &'static str,
    remedy: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("bad.txt").lines();
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [given, text, key, value, remedy] = cells[..] else {
            panic!("not five cells: {line}");
        };
        Row {
            given,
            text,
            key,
            value,
            remedy,
        }
    })
    .collect()
}

impl Row {
    /// The inputs, and what has to live as long as they do.
    fn sources(&self) -> (Option<TempDir>, Sources) {
        let mut sources = Sources {
            env: owned(&BASE_ENV),
            ..Sources::default()
        };
        match self.given {
            "env" => {
                let (name, value) = self.text.split_once('=').expect("a variable");
                sources.env.retain(|(known, _)| known != name);
                sources.env.push((name.to_owned(), value.to_owned()));
                (None, sources)
            }
            "set" => {
                sources.sets.push(self.text.to_owned());
                (None, sources)
            }
            name => {
                // The base would win over what the file says about memory.
                if self.text.contains("target_memory") {
                    sources
                        .env
                        .retain(|(name, _)| !name.ends_with("TARGET_MEMORY"));
                }
                let (dir, path) = file(name, unescaped(self.text));
                sources.file = Some(path);
                (Some(dir), sources)
            }
        }
    }

    /// Where the value was given, as the message names it. A contradiction names the source of
    /// the key that it is told by, and what is not set has none.
    fn source(&self) -> &'static str {
        match (self.given, self.key) {
            (_, "drain.grace" | "cost.max") => "built-in default",
            ("set", "memory.target_memory") if self.text.contains("per_task") => {
                "environment variable WEIR__MEMORY__TARGET_MEMORY"
            }
            _ if self.value == "not set" => "not set",
            ("env", _) => "environment variable WEIR__",
            ("set", _) => "--set",
            (name, _) => name,
        }
    }
}

/// `\n` and `\xNN` are what they are in Rust; other escapes are for the format of the file.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit().expect("a digit"), digit().expect("a digit"));
                bytes.push(u8::try_from(high * 16 + low).expect("two digits"));
            }
            Some(other) => bytes.extend([b'\\', other]),
            None => bytes.push(b'\\'),
        }
    }
    bytes
}

/// One screen, and everything that somebody needs who has to correct it.
fn assert_message(message: &str, problem: &Problem, row: &Row) {
    assert_eq!(problem.key, row.key, "{message}");
    assert!(problem.source.contains(row.source()), "{message}");
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
    let rows = rows();
    assert!(rows.len() >= 40);
    for row in rows {
        let (_dir, sources) = row.sources();
        let Err(problems) = load_on(&sources, &machine()) else {
            panic!("{} = {} was taken", row.key, row.value);
        };
        let message = problems.to_string();
        assert_eq!(problems.0.len(), 1, "{}: {message}", row.text);
        assert_message(&message, &problems.0[0], &row);
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
    for row in rows() {
        let (_dir, sources) = row.sources();
        let problems = load_on(&sources, &machine()).expect_err(row.key);
        let output = check(&sources);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        assert_eq!(message, problems.to_string());
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
    has(&["queue.order", "adaptive", "built-in", "default"]);
    assert!(text.contains("536870912 × 0.9 ÷ 1000000 = 483.183, so 483 requests run at once"));
    assert!(text.contains("up to 73 requests on HTTP/1.1"), "{text}");
    assert!(text.contains("or 256 on HTTP/2"), "{text}");
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
    std::fs::write(&large, "#".repeat((256 << 10) + 1)).expect("written");
    assert!(load(&large).0.contains("larger than 256 KiB"));
    std::fs::write(&large, "#".repeat(256 << 10)).expect("written");
    assert!(load_file(&large).is_err_and(|problems| problems.0[0].key.starts_with("memory")));
    let dangling = dir.path().join("link.toml");
    std::os::unix::fs::symlink("/proc/self/mem", &dangling).expect("linked");
    assert!(load(&dangling).0.contains("cannot be read"));
    for (name, target) in [("null.toml", "/dev/null"), ("tty.yaml", "/dev/zero")] {
        let device = dir.path().join(name);
        std::os::unix::fs::symlink(target, &device).expect("linked");
        assert!(load(&device).0.contains("not a regular file"));
    }
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe.toml");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let table = format!(
        "memory.target_memory={{file={}, baseline=1}}",
        pipe.display()
    );
    let (tell, told) = std::sync::mpsc::channel();
    // A thread of its own: one that waits would wait for ever.
    std::thread::spawn(move || {
        let _ = tell.send((load_file(&pipe), with_sets(&[&table])));
    });
    let (config, target) = told
        .recv_timeout(Duration::from_secs(10))
        .expect("refused at once");
    for (refused, key) in [(config, "--config"), (target, "memory.target_memory.file")] {
        let problems = refused.expect_err("a pipe").0;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, key);
        assert!(problems[0].problem.contains("not a regular file"));
    }
}

#[test]
fn brackets_upon_brackets_are_refused_before_they_are_parsed() {
    let text = format!("a: {}", "[".repeat(250_000));
    let (_dir, path) = file("weir.yaml", &text);
    let problems = load_file(&path).expect_err("no configuration").0;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].problem.contains("256 opening brackets"));
    // Fewer are the parser's to judge, as deep as they are and however much is inside.
    let text = format!("a: {}{}", "[".repeat(256), "b,".repeat(120_000));
    let (_dir, path) = file("weir.yaml", &text);
    let problems = load_file(&path).expect_err("never closed").0;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(!problems[0].problem.contains("opening brackets"));
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
fn a_slip_inside_the_target_table_is_told_beside_what_is_missing() {
    let table = "memory.target_memory={pth=/etc/podinfo/mem_limit, baseline=1Mi}";
    let Problems(problems) = with_sets(&[table]).expect_err("no file");
    let told: Vec<_> = problems.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(
        told,
        ["memory.target_memory.file", "memory.target_memory.pth"]
    );
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
    let loaded = load(&small, &fits).expect("valid");
    assert_eq!(loaded.config.proxy.limits.max_connections, 950);
    let (value, source) = effective(&loaded, "limits.max_connections");
    assert_eq!(value, "10000 (950 by the descriptor limit of 1024)");
    assert_eq!(source, "built-in default");
    let remedy = &loaded.warnings[1].remedy;
    assert!(remedy.contains("10074") && remedy.contains("lower the value to 950"));
    let exact = [fits[0], "queue.max_bytes=1Mi", "limits.max_connections=950"];
    assert_eq!(warned(&small, &exact), [""; 0]);
    let auto = [
        fits[0],
        "queue.max_bytes=auto",
        "limits.max_connections=auto",
    ];
    assert_eq!(warned(&small, &auto), [""; 0]);
    assert_eq!(warned(&machine(), &fits), [""; 0]);

    let tiny = Machine {
        descriptor_limit: Some(65),
        ..small
    };
    let warnings = load(&tiny, &auto).expect("valid").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        warnings[0].remedy,
        "raise the limit to at least 66 (ulimit -n)"
    );
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

#[test]
fn thousands_of_slips_are_found_at_once_and_told_on_a_few_screens() {
    let many: Vec<String> = (0..2900)
        .map(|n| format!("{}{n} = 1", "k".repeat(80)))
        .collect();
    let (_dir, path) = file("weir.toml", many.join("\n"));
    let begun = Instant::now();
    let problems = load_file(&path).expect_err("unknown keys");
    let taken = begun.elapsed();
    assert!(problems.0.len() >= 2900);
    // A tenth of a second; with a search for each key, a quarter of a minute.
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    let text = problems.to_string();
    assert!(text.lines().count() < 150, "{text}");
    assert!(text.contains("more\n"), "{text}");
}

#[test]
fn a_long_or_hostile_key_is_shown_cut_and_escaped() {
    let text = format!("{{\"a\\u001b[31m\\n{}\": 1}}", "x".repeat(200_000));
    let (_dir, path) = file("weir.json", text);
    let problems = load_file(&path).expect_err("unknown key").to_string();
    assert!(problems.contains("a\\u{1b}[31m\\nxxx"), "{problems}");
    assert!(problems.len() < 2000, "{problems}");

    let text = format!("[{}]", "[1, 2, 3, 4],".repeat(4)).replace(",]", "]");
    let text = format!(
        "{{\"listen\": {}}}",
        text.replace(['1', '2', '3', '4'], &text)
    );
    let (_dir, path) = file("weir.json", text);
    let problems = load_file(&path).expect_err("a list").to_string();
    assert!(
        problems.contains("1, 2, 3, 4], [") && problems.contains('…'),
        "{problems}"
    );
    assert!(problems.len() < 2000, "{problems}");
}

#[test]
fn one_key_from_two_variables_is_refused() {
    let problems = with_env(&[
        ("WEIR__QUEUE__MAX_WAIT", "1s"),
        ("weir__queue__max_wait", "2s"),
    ])
    .expect_err("twice")
    .0;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "weir__queue__max_wait");
    assert!(problems[0].problem.contains("WEIR__QUEUE__MAX_WAIT"));
    let alone = with_env(&[("weir__queue__max_wait", "2s")]).expect("any case will do");
    assert_eq!(
        alone.config.rules.policy.classes[0].max_wait.at_first(),
        Duration::from_secs(2)
    );
}

#[test]
fn a_flood_of_variables_or_sets_is_refused_without_merging_it() {
    let sources = Sources {
        sets: (0..20_000).map(|n| format!("log.level=debug{n}")).collect(),
        env: (0..20_000)
            .map(|n| (format!("WEIR__K{n}"), "1".to_owned()))
            .collect(),
        ..Sources::default()
    };
    let begun = Instant::now();
    let problems = load_on(&sources, &machine()).expect_err("too many").0;
    let taken = begun.elapsed();
    assert_eq!(problems[0].key, "environment");
    assert_eq!(problems[1].key, "--set");
    assert!(problems[0].problem.contains("20000"));
    // A second; merged, it takes minutes.
    assert!(taken < Duration::from_secs(20), "{taken:?}");
}
