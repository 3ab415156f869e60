//! What it costs to say what a request is, with a hundred routes.
//!
//! `cargo bench --bench classify` runs all of it in about a minute.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, request};
use std::hint::black_box;
use weir::admission::classify::{
    Alone, BodyLength, Classifier, CostRule, FieldNames, HintFields, Plan,
};
use weir::admission::route::{FieldRule, FieldTest, Glob, Methods, PathRule, Routes, When};
use weir::proxy::{HeadClassifier, asked, is_grpc};

fn of(rule: PathRule) -> When {
    When {
        paths: vec![rule],
        ..When::default()
    }
}

fn glob(pattern: &str) -> When {
    of(PathRule::Glob(Glob::new(pattern).expect("a pattern")))
}

fn by_field(names: &mut FieldNames, value: usize) -> When {
    When {
        fields: vec![FieldRule {
            field: names.id("x-tier"),
            test: FieldTest::Is(format!("t{value}").into()),
        }],
        ..When::default()
    }
}

/// 40 exact paths, 45 prefixes of which 30 for one method, 10 patterns, 4 fields, and a last route
/// for everything.
fn mixed(names: &mut FieldNames) -> Vec<When> {
    let exact = |n| of(PathRule::Exact(format!("/api/v1/item{n}/detail").into()));
    let upload = |n| When {
        methods: Methods::of(["POST"]),
        ..of(PathRule::Prefix(format!("/svc{n}/upload").into()))
    };
    let prefix = |n| of(PathRule::Prefix(format!("/svc{n}").into()));
    let mut list: Vec<When> = (0..40).map(exact).collect();
    list.extend((0..30).map(upload));
    list.extend((0..15).map(prefix));
    list.extend((0..10).map(|n| glob(&format!("/media/*/size{n}/*.jpg"))));
    list.extend((0..4).map(|n| by_field(names, n)));
    list.push(When::default());
    list
}

fn classifier(mut names: FieldNames, list: Vec<When>) -> HeadClassifier {
    let plan = Plan {
        class: 0,
        cost: CostRule::flat(16 << 20),
        deadline: None,
    };
    // What the shipped configuration looks at.
    let envoy = "x-envoy-expected-rq-timeout-ms";
    let hints = HintFields {
        grpc_timeout: Some(names.id("grpc-timeout")),
        deadline: vec![(names.id(envoy), Alone::of(envoy))],
        attempt: vec![
            (names.id("x-envoy-attempt-count"), 1),
            (names.id("grpc-previous-rpc-attempts"), 0),
            (names.id("x-retry-attempt"), 0),
        ],
        ..HintFields::default()
    };
    let plans = vec![plan; list.len()];
    HeadClassifier::new(Classifier::new(
        names,
        Routes::new(list),
        plans,
        plan,
        hints,
    ))
}

/// A head with a dozen fields.
fn head(method: &str, path: &str) -> request::Parts {
    let mut request = Request::builder().method(method).uri(path);
    for name in [
        "host",
        "user-agent",
        "accept",
        "accept-language",
        "accept-encoding",
        "referer",
        "cookie",
        "traceparent",
        "x-request-id",
        "priority",
        "x-forwarded-proto",
    ] {
        request = request.header(name, "a value of common length, more or less");
    }
    let request = request.header("x-tier", "t99").body(());
    request.expect("a request").into_parts().0
}

fn classify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classify");
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    let mut names = FieldNames::default();
    let list = mixed(&mut names);
    let hundred = classifier(names, list);
    let none = classifier(FieldNames::default(), Vec::new());
    let mut names = FieldNames::default();
    let list = (0..100).map(|n| by_field(&mut names, n)).collect();
    let by_field = classifier(names, list);
    let globs = (0..100)
        .map(|n| glob(&format!("/*/img/**/size{n}/*")))
        .collect();
    let globs = classifier(FieldNames::default(), globs);
    let rows = [
        ("no routes", &none, head("GET", "/other/path"), None),
        (
            "an exact path",
            &hundred,
            head("GET", "/api/v1/item39/detail"),
            Some(39),
        ),
        (
            "a prefix and a method",
            &hundred,
            head("POST", "/svc29/upload/a/b"),
            Some(69),
        ),
        (
            "a prefix",
            &hundred,
            head("GET", "/svc14/list/of/things"),
            Some(84),
        ),
        (
            "the last of ten patterns",
            &hundred,
            head("GET", "/media/may/size9/beach.jpg"),
            Some(94),
        ),
        (
            "nothing but the last route",
            &hundred,
            head("GET", "/other/path"),
            Some(99),
        ),
        (
            "the last of 100 values of a field",
            &by_field,
            head("GET", "/x"),
            Some(99),
        ),
        (
            "the last of 100 patterns",
            &globs,
            head("GET", "/eu/img/2026/11/size99/x"),
            Some(99),
        ),
    ];
    for (name, classifier, head, expected) in &rows {
        let look = || {
            let fields = classifier.fields(black_box(head));
            let asked = asked(&fields, is_grpc(&head.headers), true);
            let found = classifier
                .classifier()
                .classify(&asked, BodyLength::Known(0));
            black_box(found.route)
        };
        assert_eq!(look(), *expected, "{name}");
        group.bench_function(*name, |bencher| bencher.iter(look));
    }
    group.finish();
}

criterion_group!(benches, classify);
criterion_main!(benches);
