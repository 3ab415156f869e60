//! Four layers, the later one wins, and every value knows where it was given.

use std::time::Duration;

use weir::config::{Sources, admin_address, load_on};
use weir::proxy::UpstreamAddress;

use super::{BASE_ENV, effective, file, load_file, machine, owned, with_env, with_sets};

#[test]
fn later_layers_win_and_each_value_names_its_source() {
    let text = "[memory]\ntarget_memory = \"1Gi\"\n[queue]\nmax_wait = \"2s\"\nmax_depth = 7\n\
                order = \"lifo\"\n";
    let (_dir, path) = file("weir.toml", text);
    let sources = Sources {
        file: Some(path.clone()),
        sets: vec![
            "queue.max_wait=4s".to_owned(),
            "queue.max_wait = 5s".to_owned(),
        ],
        env: owned(&[
            ("WEIR__QUEUE__MAX_WAIT", "3s"),
            ("WEIR__QUEUE__MAX_DEPTH", "9"),
            ("WEIR__MEMORY__MEMORY_PER_TASK", "16Mi"),
        ]),
    };
    let loaded = load_on(&sources, &machine()).expect("valid");
    let from_file = format!("file {}", path.display());
    let expected = [
        ("queue.strategy", "queue", "built-in default"),
        ("queue.order", "lifo", &*from_file),
        ("memory.target_memory", "1Gi", &*from_file),
        (
            "queue.max_depth",
            "9",
            "environment variable WEIR__QUEUE__MAX_DEPTH",
        ),
        (
            "memory.memory_per_task",
            "16Mi",
            "environment variable WEIR__MEMORY__MEMORY_PER_TASK",
        ),
        ("queue.max_wait", "5s", "--set"),
    ];
    for (key, value, source) in expected {
        assert_eq!(effective(&loaded, key), (value, source), "{key}");
    }
    assert_eq!(
        loaded.config.rules.policy.classes[0].max_wait.at_first(),
        Duration::from_secs(5)
    );
    assert_eq!(loaded.config.rules.max_depth, 9);
    assert_eq!(loaded.config.budget.target_memory(), 1 << 30);
}

#[test]
fn every_format_says_the_same() {
    let toml = "listen = \"127.0.0.1:1\"\n[memory]\ntarget_memory = 1000000\nmemory_per_task = 10\n\
                safety_factor = 0.29\n[log]\naccess = true\n";
    let yaml = "listen: 127.0.0.1:1\nmemory:\n  target_memory: 1000000\n  memory_per_task: 10\n  \
                safety_factor: 0.29\nlog: {access: true}\n";
    let json = r#"{"listen": "127.0.0.1:1", "memory": {"target_memory": 1000000,
                "memory_per_task": 10, "safety_factor": 0.29}, "log": {"access": true}}"#;
    let load = |name: &str, text: &str| {
        let (_dir, path) = file(name, text);
        load_file(&path).expect(name).config
    };
    let config = load("a.toml", toml);
    assert_eq!(config.budget.permit_limit(), 29_000);
    assert!(config.log.access);
    assert_eq!(load("a.yaml", yaml), config);
    assert_eq!(load("a.yml", yaml), config);
    assert_eq!(load("a.json", json), config);
}

#[test]
fn tables_and_quoted_texts_can_come_from_the_environment() {
    let (_dir, limit) = file("mem_limit", "4294967296\n");
    let table = format!("{{file={}, fraction=0.9, baseline=2Gi}}", limit.display());
    let loaded = with_env(&[
        ("WEIR__MEMORY__TARGET_MEMORY", &table),
        ("WEIR__LISTEN", "\"127.0.0.1:81\""),
        ("WEIR__REJECT__HEADERS", "{x-shed-by=weir}"),
    ])
    .expect("valid");
    // floor(4Gi × 0.9) − 2Gi
    assert_eq!(loaded.config.budget.target_memory(), 1_717_986_918);
    assert_eq!(loaded.config.listen.to_string(), "127.0.0.1:81");
    assert_eq!(loaded.config.proxy.reject.headers.len(), 1);
    assert_eq!(
        effective(&loaded, "reject.headers.x-shed-by"),
        ("\"weir\"", "environment variable WEIR__REJECT__HEADERS")
    );
    let (value, source) = effective(&loaded, "memory.target_memory.file");
    assert!(value.ends_with("(it holds 4Gi)"), "{value}");
    assert_eq!(source, "environment variable WEIR__MEMORY__TARGET_MEMORY");
}

#[test]
fn a_quantity_takes_the_place_of_a_table_and_a_table_that_of_a_quantity() {
    let (_dir, limit) = file("mem_limit", "1Gi");
    let text = format!(
        "[memory]\nmemory_per_task = \"1Mi\"\ntarget_memory = {{ file = {limit:?}, baseline = \"1Mi\" }}\n"
    );
    let (_dir, path) = file("weir.toml", text);
    let load = |sets: &[&str]| {
        let sources = Sources {
            file: Some(path.clone()),
            sets: sets.iter().map(|set| (*set).to_owned()).collect(),
            env: Vec::new(),
        };
        let loaded = load_on(&sources, &machine()).expect("valid");
        loaded.config.budget.target_memory()
    };
    assert_eq!(load(&[]), (1 << 30) - (1 << 20));
    // What is idle is rounded up.
    assert_eq!(load(&["memory.target_memory.baseline=1.5"]), (1 << 30) - 2);
    assert_eq!(load(&["memory.target_memory=64Mi"]), 64 << 20);
    assert_eq!(
        load(&["memory.target_memory.fraction=0.5"]),
        (1 << 29) - (1 << 20)
    );
    assert_eq!(
        load(&[
            "memory.target_memory=64Mi",
            "memory.target_memory.baseline=0",
            &format!("memory.target_memory.file={}", limit.display())
        ]),
        1 << 30
    );
}

#[test]
fn what_kubernetes_puts_into_the_environment_of_a_service_named_weir_is_harmless() {
    let plain = with_env(&[]).expect("valid");
    let linked = with_env(&[
        ("WEIR_PORT", "tcp://10.0.0.1:8000"),
        ("WEIR_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("WEIR_SERVICE_HOST", "10.0.0.1"),
        ("WEIR_SERVICE_PORT_HTTP", "8000"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(linked.expect("valid"), plain);
}

#[test]
fn a_service_whose_name_begins_like_a_setting_is_set_aside_with_a_warning() {
    let plain = with_env(&[]).expect("valid");
    let mut linked = with_env(&[
        ("WEIR__A_SERVICE_HOST", "10.0.0.1"),
        ("WEIR__A_SERVICE_PORT", "8000"),
        ("WEIR__A_SERVICE_PORT_HTTP", "8000"),
        ("WEIR__A_PORT", "tcp://10.0.0.1:8000"),
        ("WEIR__A_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("WEIR__A_PORT_8000_TCP_PROTO", "tcp"),
        ("WEIR__A_PORT_8000_TCP_PORT", "8000"),
        ("WEIR__A_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("WEIR__QUEUE__MAX_WAIT_PORT", "udp://10.0.0.2:53"),
    ])
    .expect("valid");
    let warnings = std::mem::take(&mut linked.warnings);
    assert_eq!(linked, plain);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].key.starts_with("WEIR__A_"));
    assert_eq!(warnings[1].key, "WEIR__QUEUE__MAX_WAIT_PORT");
    assert!(warnings[0].remedy.contains("enableServiceLinks: false"));

    for slip in [
        ("WEIR__A_PORT", "8000"),
        ("WEIR__SERVICE_HOST", "10.0.0.1"),
        ("WEIR__QUEUE__MAX_WAIT_SERVICE", "1s"),
    ] {
        assert_eq!(with_env(&[slip]).expect_err(slip.0).0.len(), 1);
    }
}

#[test]
fn field_names_have_no_case() {
    let (_dir, path) = file("weir.toml", "[reject.headers]\nX-Shed-By = \"file\"\n");
    let sources = Sources {
        file: Some(path),
        sets: vec!["reject.headers.x-SHED-by=set".to_owned()],
        env: owned(&BASE_ENV),
    };
    let loaded = load_on(&sources, &machine()).expect("valid");
    assert_eq!(
        effective(&loaded, "reject.headers.x-shed-by"),
        ("\"set\"", "--set")
    );
    let all = loaded.effective.iter().map(|one| &one.key);
    assert_eq!(
        all.filter(|key| key.starts_with("reject.headers")).count(),
        1
    );
    let headers = &loaded.config.proxy.reject.headers;
    assert_eq!(headers.len(), 1);
    assert_eq!(headers[0].1, "set");
}

#[test]
fn values_mean_what_they_say() {
    let loaded = with_sets(&[
        "upstream=unix:/run/app.sock",
        "workers=auto",
        "queue.max_wait=1m30s",
        "drain.timeout=2m",
        "drain.grace=3m",
        "queue.max_bytes=1.5Mi",
        "reject.retry_after=7s",
        "timeouts.connection_age=0",
        "limits.max_connections=auto",
        "limits.header_bytes=16384.9",
        "log.level=info,weir::gate=debug",
    ])
    .expect("valid");
    let config = &loaded.config;
    let socket = UpstreamAddress::Unix("/run/app.sock".into());
    assert_eq!(config.proxy.upstream.address, socket);
    assert_eq!(config.workers, 2);
    assert_eq!(
        config.rules.policy.classes[0].max_wait.at_first(),
        Duration::from_secs(90)
    );
    assert_eq!(config.rules.max_bytes, 1_572_864);
    assert_eq!(config.proxy.limits.max_connections, 1_000_000);
    assert_eq!(config.proxy.limits.header_bytes, 16_384);
    assert_eq!(config.proxy.timeouts.connection_age, Duration::ZERO);
    assert_eq!(effective(&loaded, "workers").0, "auto (2)");

    for (text, address) in [
        (
            "http://app:81/",
            UpstreamAddress::Name("app".to_owned(), 81),
        ),
        (
            "http://app.ns.svc",
            UpstreamAddress::Name("app.ns.svc".to_owned(), 80),
        ),
        (
            "http://10.1.2.3",
            UpstreamAddress::Socket(([10, 1, 2, 3], 80).into()),
        ),
        (
            "http://[::1]:82",
            UpstreamAddress::Socket("[::1]:82".parse().expect("an address")),
        ),
    ] {
        let config = with_sets(&[&format!("upstream={text}")])
            .expect(text)
            .config;
        assert_eq!(config.proxy.upstream.address, address);
    }
}

#[test]
fn auto_follows_the_machine() {
    let auto = |own_memory_limit, descriptor_limit, parallelism| {
        let machine = weir::config::Machine {
            total_memory: None,
            own_memory_limit,
            descriptor_limit,
            parallelism,
        };
        let sets = [
            "workers=auto",
            "queue.max_bytes=auto",
            "limits.max_connections=auto",
        ];
        let sources = Sources {
            file: None,
            sets: sets.map(str::to_owned).to_vec(),
            env: owned(&BASE_ENV),
        };
        let config = load_on(&sources, &machine).expect("valid").config;
        (
            config.workers,
            config.rules.max_bytes >> 20,
            config.proxy.limits.max_connections,
        )
    };
    assert_eq!(auto(None, None, 1), (1, 64, 10_000));
    assert_eq!(auto(Some(256 << 20), Some(1024), 2), (2, 96, 935));
    assert_eq!(auto(Some(64 << 20), Some(64), 64), (2, 16, 1));
}

#[test]
fn the_admin_address_is_known_without_the_memory_figures() {
    let address = |set: &str| {
        admin_address(&Sources {
            sets: vec![set.to_owned(), "queue.max_wait=5".to_owned()],
            ..Sources::default()
        })
    };
    let found = address("admin.listen=127.0.0.1:99").expect("an address");
    assert_eq!(found.to_string(), "127.0.0.1:99");
    let problems = address("admin.listen=here").expect_err("no address").0;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "admin.listen");
}

/// A list can be written as one, in every layer, or as one text with commas.
#[test]
fn lists_can_be_written_in_every_layer() {
    use weir::proxy::Network;
    let networks = |text: &str| text.parse::<Network>().expect("a network");
    let both = vec![networks("10.0.0.0/8"), networks("fd00::/8")];
    let (_dir, path) = file(
        "weir.toml",
        "[trust]\nproxies = [\"10.0.0.0/8\", \"fd00::/8\"]\n",
    );
    let trust = |sources: Sources| {
        let loaded = load_on(&sources, &machine()).expect("valid");
        let shown = effective(&loaded, "trust.proxies").0.to_owned();
        (loaded.config.proxy.trust.proxies, shown)
    };
    let base = Sources {
        env: owned(&BASE_ENV),
        ..Sources::default()
    };
    let shown = r#"["10.0.0.0/8", "fd00::/8"]"#.to_owned();
    let from_file = Sources {
        file: Some(path),
        ..base.clone()
    };
    assert_eq!(trust(from_file), (both.clone(), shown.clone()));
    for text in ["10.0.0.0/8, fd00::/8", r#"["10.0.0.0/8", "fd00::/8"]"#] {
        let set = Sources {
            sets: vec![format!("trust.proxies={text}")],
            ..base.clone()
        };
        assert_eq!(trust(set), (both.clone(), shown.clone()), "{text}");
        let mut env = base.clone();
        env.env
            .push(("WEIR__TRUST__PROXIES".to_owned(), text.to_owned()));
        assert_eq!(trust(env), (both.clone(), shown.clone()), "{text}");
    }
    let none = Sources {
        sets: vec!["trust.proxies=[]".to_owned()],
        ..base.clone()
    };
    assert_eq!(trust(none), (Vec::new(), "[]".to_owned()));
    let (private, shown) = trust(base);
    assert_eq!(
        (private, &*shown),
        (Network::PRIVATE.to_vec(), r#"["private"]"#)
    );
}
