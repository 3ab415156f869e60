//! Routes, classes and what is said of requests: from files of every format to `--explain`.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::{BASE_ENV, effective, file, load_file, with_env, with_sets};
use weir::admission::{DEFAULT_CLASS, Discipline, MaxWait};
use weir::config::Loaded;

const TOML: &str = r#"
[memory]
target_memory = "512Mi"
memory_per_task = "16Mi"

[[class]]
name = "batch"
weight = 3
importance = 20
order = "adaptive"
codel = true
max_wait = "5s"
status = 429

[[class]]
name = "vital"
importance = 100

[[route]]
name = "probe"
path = ["/healthz", "/readyz"]
class = "vital"
cost = "1Mi"

[[route]]
path_prefix = "/upload"
methods = ["POST", "PUT"]
headers = { x-tier = "gold*", x-batch = "*" }
class = "batch"
cost = { base = "8Mi", factor = 2.5, max = "256Mi" }
deadline = "10s"
oversize = "reject"

[[route]]
grpc = "shop.v1.Orders"
class = "vital"

[tenant]
headers = ["x-tenant"]
rate = 5

[cost]
headers = ["x-request-cost"]
"#;

const YAML: &str = r"
memory: {target_memory: 512Mi, memory_per_task: 16Mi}
class:
  - name: batch
    weight: 3
    importance: 20
    order: adaptive
    codel: true
    max_wait: 5s
    status: 429
  - {name: vital, importance: 100}
route:
  - name: probe
    path: [/healthz, /readyz]
    class: vital
    cost: 1Mi
  - path_prefix: /upload
    methods: [POST, PUT]
    headers: {x-tier: gold*, x-batch: '*'}
    class: batch
    cost: {base: 8Mi, factor: 2.5, max: 256Mi}
    deadline: 10s
    oversize: reject
  - grpc: shop.v1.Orders
    class: vital
tenant: {headers: [x-tenant], rate: 5}
cost: {headers: [x-request-cost]}
";

const JSON: &str = r#"{
"memory": {"target_memory": "512Mi", "memory_per_task": "16Mi"},
"class": [
  {"name": "batch", "weight": 3, "importance": 20, "order": "adaptive", "codel": true, "max_wait": "5s",
   "status": 429},
  {"name": "vital", "importance": 100}
],
"route": [
  {"name": "probe", "path": ["/healthz", "/readyz"], "class": "vital", "cost": "1Mi"},
  {"path_prefix": "/upload", "methods": ["POST", "PUT"],
   "headers": {"x-tier": "gold*", "x-batch": "*"}, "class": "batch",
   "cost": {"base": "8Mi", "factor": 2.5, "max": "256Mi"}, "deadline": "10s", "oversize": "reject"},
  {"grpc": "shop.v1.Orders", "class": "vital"}
],
"tenant": {"headers": ["x-tenant"], "rate": 5},
"cost": {"headers": ["x-request-cost"]}
}"#;

fn load(name: &str, text: &str) -> Loaded {
    let (_dir, path) = file(name, text);
    load_file(&path).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_format_says_the_same() {
    let toml = load("weir.toml", TOML);
    assert_eq!(toml.warnings, []);
    assert_eq!(load("weir.yaml", YAML).config, toml.config);
    assert_eq!(load("weir.json", JSON).config, toml.config);

    let policy = &toml.config.policy;
    let names: Vec<_> = policy
        .classes
        .iter()
        .map(|class| class.name.as_str())
        .collect();
    assert_eq!(names, [DEFAULT_CLASS, "batch", "vital"]);
    let [default, batch, vital] = &policy.classes[..] else {
        panic!("three classes");
    };
    assert_eq!(
        (default.row, default.weight, default.importance),
        (0, 1, 50)
    );
    assert_eq!(
        (batch.weight, batch.importance, batch.status.as_u16()),
        (3, 20, 429)
    );
    assert_eq!(
        (batch.order, batch.max_wait),
        (Discipline::Adaptive, MaxWait::Fixed(Duration::from_secs(5)))
    );
    assert_eq!((vital.row, vital.weight, vital.importance), (2, 1, 100));
    assert_eq!(
        (vital.status.as_u16(), vital.max_wait),
        (503, MaxWait::Fixed(Duration::from_secs(1)))
    );
    assert_eq!(policy.routes, [Some("probe".to_owned()), None, None]);
    let rate = policy.tenants.expect("told apart").rate.expect("a rate");
    assert_eq!((rate.per_second, rate.burst), (5, 5));
    let plan = policy.classifier.plan(Some(1));
    assert_eq!(
        (plan.class, plan.deadline),
        (1, Some(Duration::from_secs(10)))
    );
    assert_eq!(
        (plan.cost.base_bytes, plan.cost.max_bytes),
        (8 << 20, 256 << 20)
    );
}

#[test]
fn every_setting_of_a_row_is_shown_with_its_source() {
    let (_dir, path) = file("weir.toml", TOML);
    let loaded = load_file(&path).expect("valid");
    for (key, value) in [
        ("class[1].max_wait", "5s"),
        ("route[1].path", "[\"/healthz\", \"/readyz\"]"),
        ("route[2].headers.x-tier", "\"gold*\""),
        ("route[2].cost.factor", "2.5"),
        ("route[3].grpc", "[\"shop.v1.Orders\"]"),
        ("cost.base", "auto (16Mi)"),
        ("tenant.burst", "auto (5)"),
    ] {
        let (shown, source) = effective(&loaded, key);
        assert_eq!(shown, value, "{key}");
        let is_default = value.starts_with("auto");
        assert_eq!(source.contains("weir.toml"), !is_default, "{key}: {source}");
    }
}

#[test]
fn a_variable_or_a_flag_gives_the_whole_list() {
    let sets = [
        "class=[{name = \"a\"}, {name = \"b\", weight = 2}]",
        "route=[{path = \"/a\", class = \"a\"}]",
        "route=[{path = \"/b\", class = \"b\"}, {path_glob = \"/c/*\", class = \"a\"}]",
    ];
    let loaded = with_sets(&sets).unwrap_or_else(|problems| panic!("{problems}"));
    let policy = &loaded.config.policy;
    // The later one has replaced the earlier, and is not mixed with it.
    assert_eq!(policy.routes.len(), 2);
    assert_eq!(policy.classifier.plan(Some(0)).class, 2);
    assert_eq!(effective(&loaded, "route[1].path"), ("[\"/b\"]", "--set"));

    // More than a handful, in one variable.
    let routes: Vec<String> = (0..100)
        .map(|n| format!("{{path = \"/{n}\", cost = {{base = \"1Mi\"}}}}"))
        .collect();
    let value = format!("[{}]", routes.join(", "));
    let loaded = with_env(&[("WEIR__ROUTE", &value)]).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(loaded.config.policy.routes.len(), 100);
    assert!(
        effective(&loaded, "route[100].path")
            .1
            .contains("WEIR__ROUTE")
    );
}

#[test]
fn all_that_is_wrong_with_routes_is_told_at_once() {
    let text = "
[[class]]
name = \"a\"
weight = 0
[[class]]
name = \"b\"
[[route]]
path = \"x\"
class = \"c\"
[[route]]
path = \"/y\"
cost = { factor = 2 }
class = \"a\"
[[route]]
path = \"/y\"
class = \"b\"
[memory]
target_memory = \"512Mi\"
memory_per_task = \"16Mi\"
";
    let (_dir, path) = file("weir.toml", text);
    let problems = load_file(&path).expect_err("it is wrong");
    let keys: Vec<_> = problems
        .0
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    let expected = [
        "class[1].weight",
        "route[1].path",
        "route[1].class",
        "route[2].cost.max",
        "route[3]",
    ];
    assert_eq!(keys, expected, "{problems}");
}

#[test]
fn what_is_unwise_is_a_warning() {
    let rows: [(&[&str], &str, &str); 7] = [
        (&["class=[{name = a}]"], "class[1].name", "no route gives"),
        (
            &[
                "class=[{name = a, weight = 1}, {name = default, weight = 1000}]",
                "route=[{class = a}]",
            ],
            "class[1].weight",
            "less than one permit",
        ),
        (
            &["route=[{path = /a, cost = 1Gi}]"],
            "route[1].cost",
            "each runs alone",
        ),
        (&["cost.base=1Gi"], "cost.base", "each runs alone"),
        (
            &["route=[{path_prefix = /a},{path = [/b,/a/b]}]"],
            "route[2]",
            "by its path \"/a/b\" it can never be taken",
        ),
        (
            &["tenant.headers=x-tenant", "trust.proxies=[]"],
            "tenant.headers",
            "nobody is believed",
        ),
        (
            &["route=[{trusted = true}]", "trust.proxies=[]"],
            "route[1].trusted",
            "nobody is believed",
        ),
    ];
    for (sets, key, part) in rows {
        let loaded = with_sets(sets).unwrap_or_else(|problems| panic!("{sets:?}: {problems}"));
        let [warning] = &loaded.warnings[..] else {
            panic!("{sets:?}: {:?}", loaded.warnings);
        };
        assert_eq!(warning.key, key);
        assert!(warning.problem.contains(part), "{warning}");
    }
}

fn explain(config: &Path, requests: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("check").arg("--config").arg(config).env_clear();
    for request in requests {
        command.args(["--explain", request]);
    }
    command.output().expect("it runs")
}

/// One request, as lines of the output without the spaces around them.
fn explained(config: &Path, request: &str) -> Vec<String> {
    let output = explain(config, &[request]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{request}: {errors}");
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect()
}

#[test]
fn a_request_is_explained() {
    let (_dir, path) = file("weir.toml", TOML);
    let rows: [(&str, &[&str]); 5] = [
        (
            "GET /x -H 'x-request-cost: lots' --peer 203.0.113.7",
            &[
                "GET /x with no body",
                "peer 203.0.113.7 (not in trust.proxies)",
                "route none: no route takes it",
                "not route[1] \"probe\": the path is not \"/healthz\", or \"/readyz\"",
                "not route[2]: the path is not \"/upload\" or below it",
                "class default: weight 1 of 5, importance 50, adaptive, cut by CoDel while it stands, waits 1s at most, refused with 503",
                "cost 16Mi, 1.000 of 25 permits: fixed",
                "deadline none",
                "tenant none: the peer is not believed",
                "retry no",
            ],
        ),
        (
            "POST /upload/1?a=b -H x-batch: -H x-tier:golden -H content-length:4194304 -H x-tenant:acme",
            &[
                "POST /upload/1?a=b with a body of 4194304 bytes",
                "peer 127.0.0.1 (in trust.proxies)",
                "route route[2]: the path is \"/upload\" or below it; the method is POST or PUT; x-batch is there",
                "x-tier begins with \"gold\"",
                "class batch (class[1]): weight 3 of 5, importance 20, adaptive, cut by CoDel while it stands, waits 5s at most, \
                 refused with 429\n",
                "cost 18Mi, 1.125 of 25 permits: 8Mi + 2.5 × 4194304",
                "deadline 10s: the default here",
                "tenant \"acme\": x-tenant says so",
            ],
        ),
        (
            "PUT /upload -H x-batch:1 -H x-tier:silver",
            &[
                "not route[2]: x-tier is \"silver\", which does not begin with \"gold\"",
                "class default",
            ],
        ),
        (
            "grpc shop.v1.Orders/List -H grpc-timeout:250m -H x-envoy-expected-rq-timeout-ms:300 \
             -H grpc-previous-rpc-attempts:1",
            &[
                "POST /shop.v1.Orders/List with a body of unknown length",
                "route route[3]: the path is \"/shop.v1.Orders/\" or below it; it is a gRPC call",
                "deadline 250ms: grpc-timeout says so",
                "retry yes: grpc-previous-rpc-attempts says so",
            ],
        ),
        (
            "POST /shop.v1.Orders/List -H x-request-cost:900000000 -H x-retry-attempt:a",
            &[
                "not route[3]: it is no gRPC call",
                "cost 900M, it runs alone: x-request-cost says so",
                "ignored what it says of its attempts, or a part of it (x-retry-attempt: a)",
            ],
        ),
    ];
    for (request, expected) in rows {
        let lines = explained(&path, request);
        let text = lines.join("\n");
        for part in expected {
            assert!(text.contains(part), "{request}: no {part:?} in\n{text}");
        }
    }
}

#[test]
fn a_request_that_is_too_large_for_its_route_is_said_to_be_refused() {
    let (_dir, path) = file("weir.toml", TOML.replace("\"256Mi\"", "\"1Gi\""));
    let request = "PUT /upload -H x-batch:1 -H x-tier:gold --data-length unknown";
    let text = explained(&path, request).join("\n");
    assert!(
        text.contains("cost 1Gi: max, 1Gi, as the length is unknown; refused with 413"),
        "{text}"
    );
}

#[test]
fn what_would_fit_later_is_said() {
    let routes = "[[route]]\npath = \"/a/b\"\n[[route]]\npath_prefix = \"/a\"\n[[route]]\n";
    let base = "[memory]\ntarget_memory = \"512Mi\"\nmemory_per_task = \"16Mi\"\n";
    let (_dir, path) = file("weir.toml", format!("{base}{routes}"));
    let text = explained(&path, "/a/b").join("\n");
    assert!(
        text.contains("would fit, too, but later in the list: route[2], route[3]"),
        "{text}"
    );
    let text = explained(&path, "/b").join("\n");
    assert!(
        text.contains("route route[3]: it takes everything"),
        "{text}"
    );
    let both = explain(&path, &["/a/b", "/b"]);
    let both = String::from_utf8(both.stdout).expect("UTF-8");
    assert_eq!(both.matches("\n  class ").count(), 2, "{both}");
}

#[test]
fn a_slip_in_the_request_is_one_of_usage_and_one_in_the_file_is_told_first() {
    let (_dir, path) = file("weir.toml", TOML);
    let output = explain(&path, &["GET x"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("does not begin with a slash"), "{errors}");
    let (_dir, path) = file("weir.toml", TOML.replace("\"10s\"", "\"10\""));
    let output = explain(&path, &["GET /x"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("route[2].deadline"), "{errors}");
}

#[test]
fn routes_that_share_requests_are_named_by_check() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("check").env_clear().envs(BASE_ENV);
    command.args(["--set", "route=[{methods = [POST]},{path_prefix = /a}]"]);
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let expected = "some requests fit both route[1] and route[2]; route[1] gets them";
    assert!(text.contains(expected), "{text}");
}
