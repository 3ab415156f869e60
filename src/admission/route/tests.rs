//! Routes one by one; `properties` has what holds for all of them.

use std::time::{Duration, Instant};

use super::*;

/// Three fields, each with its values.
#[derive(Clone, Debug)]
struct Head([Vec<&'static str>; 3]);

impl Fields for Head {
    fn values(&self, field: FieldId) -> impl Iterator<Item = &[u8]> {
        self.0[usize::from(field.0)]
            .iter()
            .map(|value| value.as_bytes())
    }
}

fn exact(path: &str) -> When {
    of(PathRule::Exact(path.into()))
}

fn prefix(path: &str) -> When {
    of(PathRule::Prefix(path.into()))
}

fn glob(pattern: &str) -> When {
    of(PathRule::Glob(Glob::new(pattern).expect("a pattern")))
}

fn of(rule: PathRule) -> When {
    When {
        paths: vec![rule],
        ..When::default()
    }
}

fn with_methods(when: When, methods: &[&str]) -> When {
    When {
        methods: Methods::of(methods.iter().copied()),
        ..when
    }
}

fn with_field(when: When, test: FieldTest) -> When {
    When {
        fields: vec![FieldRule {
            field: FieldId(0),
            test,
        }],
        ..when
    }
}

fn find(routes: &Routes, method: &str, path: &str) -> Option<usize> {
    routes.find(&Asked {
        method,
        path,
        is_grpc: false,
        is_trusted: false,
        fields: &Head(Default::default()),
    })
}

#[test]
fn the_first_that_fits_wins_however_it_is_found() {
    let routes = Routes::new(vec![
        with_methods(exact("/a/b"), &["POST"]),
        glob("/a/*"),
        exact("/a/b"),
        prefix("/a"),
        with_methods(When::default(), &["DELETE"]),
        prefix("/a/deep/one"),
        prefix("/b/"),
    ]);
    for (method, path, expected) in [
        ("POST", "/a/b", Some(0)),
        ("GET", "/a/b", Some(1)),
        ("GET", "/a/b/c", Some(3)),
        ("GET", "/a", Some(3)),
        ("GET", "/a/", Some(1)),
        ("GET", "/ab", None),
        ("DELETE", "/ab", Some(4)),
        ("DELETE", "/a/b", Some(1)),
        ("GET", "/a/deep/one", Some(3)),
        ("GET", "/b", None),
        ("GET", "/b/", Some(6)),
        ("GET", "/b/c", Some(6)),
        ("GET", "/A/b", None),
        ("GET", "/%61/b", None),
        ("OPTIONS", "*", None),
        ("get", "/b/c", Some(6)),
        ("delete", "/c", None),
    ] {
        assert_eq!(find(&routes, method, path), expected, "{method} {path}");
    }
    assert_eq!(find(&Routes::default(), "GET", "/"), None);
}

#[test]
fn what_sorts_between_a_prefix_and_what_is_below_it_hides_nothing() {
    // In bytes, `-` and `.` stand before `/`, and `0` behind it.
    let routes = Routes::new(vec![
        prefix("/a-b"),
        prefix("/a.b"),
        prefix("/a"),
        prefix("/a0"),
    ]);
    assert_eq!(find(&routes, "GET", "/a-b/x"), Some(0));
    assert_eq!(find(&routes, "GET", "/a-"), None);
    assert_eq!(find(&routes, "GET", "/a-bc"), None);
    assert_eq!(find(&routes, "GET", "/a/z"), Some(2));
    assert_eq!(find(&routes, "GET", "/a0/z"), Some(3));
    let routes = Routes::new(vec![prefix("/a"), prefix("/a/v-"), prefix("/a/v/w")]);
    assert_eq!(find(&routes, "GET", "/a/v/x"), Some(0));
}

#[test]
fn conditions_are_all_of_them_and_a_repeated_field_passes_by_any_value() {
    let when = When {
        methods: Methods::of(["GET", "PURGE"]),
        is_grpc: true,
        is_trusted: true,
        fields: vec![
            FieldRule {
                field: FieldId(1),
                test: FieldTest::Begins("go".into()),
            },
            FieldRule {
                field: FieldId(2),
                test: FieldTest::Present,
            },
        ],
        ..prefix("/a")
    };
    let routes = Routes::new(vec![when.clone()]);
    let ask = |method, path, is_grpc, is_trusted, fields: &Head| {
        let asked = Asked {
            method,
            path,
            is_grpc,
            is_trusted,
            fields,
        };
        let mismatch = when.mismatch(&asked);
        assert_eq!(routes.find(&asked).is_some(), mismatch.is_none());
        mismatch
    };
    let good = Head([vec![], vec!["silver", "gold"], vec![""]]);
    let bad = Head([vec!["gold"], vec!["Gold", "a gold"], vec![]]);
    assert_eq!(ask("PURGE", "/a", true, true, &good), None);
    assert_eq!(ask("PURGE", "/b", true, true, &good), Some(Mismatch::Path));
    assert_eq!(ask("PUT", "/a", true, true, &good), Some(Mismatch::Method));
    assert_eq!(
        ask("GET", "/a", false, true, &good),
        Some(Mismatch::NotGrpc)
    );
    assert_eq!(
        ask("GET", "/a", true, false, &good),
        Some(Mismatch::NotTrusted)
    );
    assert_eq!(ask("GET", "/a", true, true, &bad), Some(Mismatch::Field(0)));
}

#[test]
fn stars_stay_in_their_segment_and_double_stars_do_not() {
    for (pattern, path, fits) in [
        ("/a/*", "/a/b", true),
        ("/a/*", "/a/", true),
        ("/a/*", "/a", false),
        ("/a/*", "/a/b/c", false),
        ("/a/**", "/a/b/c", true),
        ("/a/***", "/a/b/c", true),
        ("/a**", "/abc/d", true),
        ("/a*", "/abc/d", false),
        ("*.jpg", "x.jpg", true),
        ("/*.jpg", "/a/x.jpg", false),
        ("/**.jpg", "/a/x.jpg", true),
        ("/**.jpg", "/.jpg", true),
        ("/v*/img/*", "/v1/img/2", true),
        ("/v*/img/*", "/v1/x/img/2", false),
        ("/v**/img/*", "/v1/x/img/2", true),
        ("/v**/img/*", "/v1/img/x/img/2", true),
        ("/*/*/c", "/a/b/c", true),
        ("/*/*/c", "/a/b/d/c", false),
        ("/a*a", "/a", false),
        ("/a*a", "/aa", true),
        ("/*a*a*", "/aa", true),
        ("/*a*b*", "/ba", false),
        ("/**a*/b/**", "/x/a/c/ab/b/c", true),
    ] {
        let glob = Glob::new(pattern).expect("a pattern");
        assert_eq!(glob.fits(path), fits, "{pattern} {path}");
    }
    assert_eq!(Glob::new("/a"), Err(GlobError::NoWildcard));
    let long = format!("*{}*", "a".repeat(Glob::LONGEST - 2));
    assert!(Glob::new(&long).expect("just fits").fits(&long));
    assert_eq!(
        Glob::new(&format!("*a{}", &long[1..])),
        Err(GlobError::TooLong)
    );
}

/// The classic that takes backtracking matchers hours.
#[test]
fn no_path_takes_long() {
    let pattern = format!("/{}b", "**a*".repeat(30));
    let glob = Glob::new(&pattern).expect("a pattern");
    let path = format!("/{}", "a/".repeat(8 << 10));
    let start = Instant::now();
    assert!(!glob.fits(&path) && !glob.fits(&format!("{path}c")));
    assert!(!glob.fits(&format!("{path}c/b/d")));
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// Which routes hide the last one of a list; no other one is hidden.
#[track_caller]
fn hidden(list: &[When]) -> Option<Vec<usize>> {
    let mut hidden = Routes::new(list.to_vec()).hidden();
    let one = hidden.pop()?;
    assert_eq!(
        (hidden.len(), one.route, one.path),
        (0, list.len() - 1, None)
    );
    Some(one.by)
}

fn gold(when: When) -> When {
    with_field(when, FieldTest::Is("gold".into()))
}

fn any() -> When {
    When::default()
}

#[test]
fn a_route_whose_paths_are_taken_is_hidden() {
    for (earlier, later, is_hidden) in [
        (any(), exact("/a"), true),
        (prefix("/a"), exact("/a"), true),
        (prefix("/a"), exact("/ab"), false),
        (prefix("/a"), prefix("/a/b"), true),
        (prefix("/a/"), prefix("/a"), false),
        (prefix("/a/b"), prefix("/a"), false),
        (prefix("/a"), glob("/a/*"), true),
        (prefix("/a/"), glob("/a/*"), true),
        (prefix("/a"), glob("/a*"), false),
        (glob("/a*"), exact("/ab"), true),
        (glob("/a**"), glob("/a*/b"), true),
        (glob("/a**"), prefix("/ab"), true),
        (glob("/a*"), prefix("/ab"), false),
        (glob("/a*"), glob("/a*"), true),
    ] {
        let expected = is_hidden.then(|| vec![0]);
        assert_eq!(
            hidden(&[earlier.clone(), later.clone()]),
            expected,
            "{earlier:?} {later:?}"
        );
    }
    let both = When {
        paths: [exact("/a").paths, exact("/b").paths].concat(),
        ..any()
    };
    assert_eq!(hidden(&[exact("/a"), exact("/b"), both]), Some(vec![0, 1]));
    let mixed = When {
        paths: [exact("/b").paths, exact("/a/b").paths].concat(),
        ..any()
    };
    let hidden = Routes::new(vec![prefix("/a"), mixed]).hidden();
    let expected = Hidden {
        route: 1,
        path: Some(1),
        by: vec![0],
    };
    assert_eq!(hidden, [expected]);
}

#[test]
fn a_route_whose_other_conditions_are_taken_is_hidden() {
    let get = |when| with_methods(when, &["GET"]);
    let begins = |when| with_field(when, FieldTest::Begins("go".into()));
    let present = |when| with_field(when, FieldTest::Present);
    let grpc = |when| When {
        is_grpc: true,
        ..when
    };
    let trusted = |when| When {
        is_trusted: true,
        ..when
    };
    for (earlier, later, is_hidden) in [
        (get(any()), exact("/a"), false),
        (any(), get(any()), true),
        (gold(any()), any(), false),
        (any(), gold(any()), true),
        (gold(any()), gold(exact("/a")), true),
        (begins(any()), gold(any()), true),
        (gold(any()), begins(any()), false),
        (present(any()), gold(any()), true),
        (begins(any()), present(any()), false),
        (grpc(any()), exact("/a"), false),
        (grpc(any()), grpc(exact("/a")), true),
        (trusted(any()), any(), false),
        (any(), trusted(any()), true),
    ] {
        let expected = is_hidden.then(|| vec![0]);
        assert_eq!(
            hidden(&[earlier.clone(), later.clone()]),
            expected,
            "{earlier:?} {later:?}"
        );
    }
    let list = [
        get(any()),
        with_methods(any(), &["POST", "PUT"]),
        with_methods(any(), &["GET", "PUT"]),
    ];
    assert_eq!(hidden(&list), Some(vec![0, 1]));
}

#[test]
fn overlaps_are_told_where_neither_is_a_case_of_the_other() {
    let overlaps = |list: &[When]| {
        let pairs = Routes::new(list.to_vec()).overlaps();
        pairs
            .iter()
            .map(|pair| (pair.earlier, pair.later))
            .collect::<Vec<_>>()
    };
    let post = |when| with_methods(when, &["POST"]);
    let tin = |when| with_field(when, FieldTest::Is("tin".into()));
    assert_eq!(overlaps(&[post(prefix("/a")), prefix("/a/b")]), [(0, 1)]);
    assert_eq!(overlaps(&[gold(When::default()), exact("/a")]), [(0, 1)]);
    assert_eq!(overlaps(&[glob("/*/b"), glob("/x/*")]), [(0, 1)]);
    assert_eq!(overlaps(&[glob("/*/b"), prefix("/a/b")]), [(0, 1)]);
    assert_eq!(
        overlaps(&[exact("/a/b"), prefix("/a"), When::default()]),
        []
    );
    assert_eq!(overlaps(&[prefix("/a"), prefix("/b")]), []);
    assert_eq!(overlaps(&[gold(prefix("/a")), tin(prefix("/a/b"))]), []);
    assert_eq!(
        overlaps(&[post(prefix("/a")), with_methods(prefix("/a/b"), &["PUT"])]),
        []
    );
}

mod properties;
