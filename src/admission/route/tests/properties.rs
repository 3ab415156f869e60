//! The table and a loop over random lists and requests. The loop says the same in other words, and
//! as simply as can be.

use proptest::prelude::*;

use super::*;

/// By all ways to split, byte by byte.
fn naive_glob(pattern: &[u8], path: &[u8]) -> bool {
    let run = pattern.iter().take_while(|byte| **byte == b'*').count();
    if run == 0 {
        return match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((a, pattern)), Some((b, path))) => a == b && naive_glob(pattern, path),
            _ => false,
        };
    }
    (0..=path.len()).any(|len| {
        let may_run = run > 1 || !path[..len].contains(&b'/');
        may_run && naive_glob(&pattern[run..], &path[len..])
    })
}

fn naive_path(rule: &PathRule, path: &str) -> bool {
    match rule {
        PathRule::Exact(exact) => path == &**exact,
        PathRule::Prefix(prefix) => {
            let below = prefix.strip_suffix('/').unwrap_or(prefix);
            path == &**prefix || path.starts_with(&format!("{below}/"))
        }
        PathRule::Glob(glob) => naive_glob(glob.text().as_bytes(), path.as_bytes()),
    }
}

fn naive_takes(when: &When, asked: &Asked<'_, Head>) -> bool {
    let path = when.paths.is_empty() || when.paths.iter().any(|rule| naive_path(rule, asked.path));
    let listed: Vec<_> = when.methods.listed().collect();
    let method = listed.is_empty() || listed.contains(&asked.method);
    let grpc = !when.is_grpc || asked.is_grpc;
    let trusted = !when.is_trusted || asked.is_trusted;
    let fields = when.fields.iter().all(|rule| {
        asked.fields.0[usize::from(rule.field.0)]
            .iter()
            .any(|value| match &rule.test {
                FieldTest::Present => true,
                FieldTest::Is(text) => value == &&**text,
                FieldTest::Begins(text) => value.starts_with(&**text),
            })
    });
    path && method && grpc && trusted && fields
}

/// Few letters and short, so that much coincides.
fn any_path() -> impl Strategy<Value = String> {
    "(/[ab.-]{0,2}){0,4}".prop_filter("not empty", |path| !path.is_empty())
}

fn any_rule() -> impl Strategy<Value = PathRule> {
    prop_oneof![
        any_path().prop_map(|path| PathRule::Exact(path.into())),
        any_path().prop_map(|path| PathRule::Prefix(path.into())),
        "(/(\\*|\\*\\*|[ab.-]|a\\*){0,2}){1,4}".prop_map(|pattern| {
            let pattern = if pattern.contains('*') {
                pattern
            } else {
                format!("{pattern}*")
            };
            PathRule::Glob(Glob::new(&pattern).expect("a pattern"))
        }),
    ]
}

fn any_field_rule() -> impl Strategy<Value = FieldRule> {
    let value = || prop::sample::select(vec!["", "x", "xy", "y"]);
    let test = prop_oneof![
        Just(FieldTest::Present),
        value().prop_map(|text| FieldTest::Is(text.into())),
        value().prop_map(|text| FieldTest::Begins(text.into())),
    ];
    (0_u16..3, test).prop_map(|(field, test)| FieldRule {
        field: FieldId(field),
        test,
    })
}

const METHODS: [&str; 4] = ["GET", "POST", "PURGE", "get"];

fn any_when() -> impl Strategy<Value = When> {
    (
        prop::collection::vec(any_rule(), 0..3),
        prop::sample::subsequence(METHODS.to_vec(), 0..3),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::collection::vec(any_field_rule(), 0..2),
    )
        .prop_map(|(paths, methods, is_grpc, is_trusted, fields)| When {
            paths,
            methods: Methods::of(methods),
            is_grpc,
            is_trusted,
            fields,
        })
}

fn any_head() -> impl Strategy<Value = Head> {
    let values = || prop::collection::vec(prop::sample::select(vec!["", "x", "xy", "y"]), 0..3);
    [values(), values(), values()].prop_map(Head)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_table_finds_what_a_loop_finds(
        list in prop::collection::vec(any_when(), 0..12),
        paths in prop::collection::vec(any_path(), 1..12),
        head in any_head(),
        method in prop::sample::select(METHODS.to_vec()),
        is_grpc: bool,
        is_trusted: bool,
    ) {
        let routes = Routes::new(list.clone());
        // The rules' own texts are the paths that are most likely to be told apart wrongly.
        let texts = list.iter().flat_map(|when| &when.paths).map(|rule| rule.text().to_owned());
        for path in paths.into_iter().chain(texts) {
            let asked = Asked { method, path: &path, is_grpc, is_trusted, fields: &head };
            let expected = list.iter().position(|when| naive_takes(when, &asked));
            prop_assert_eq!(routes.find(&asked), expected, "{}", path);
            let first = list.iter().position(|when| when.mismatch(&asked).is_none());
            prop_assert_eq!(first, expected, "{}", path);
        }
    }

    /// What is called hidden is never found, and what never is found by chance is no proof.
    #[test]
    fn a_hidden_route_takes_nothing(
        list in prop::collection::vec(any_when(), 1..8),
        paths in prop::collection::vec(any_path(), 1..12),
        head in any_head(),
        method in prop::sample::select(METHODS.to_vec()),
        is_grpc: bool,
        is_trusted: bool,
    ) {
        let routes = Routes::new(list.clone());
        for hidden in routes.hidden() {
            let texts = list[hidden.route].paths.iter().map(|rule| rule.text().replace('*', "a"));
            for path in texts.chain(paths.iter().cloned()) {
                let asked = Asked { method, path: &path, is_grpc, is_trusted, fields: &head };
                let found = routes.find(&asked);
                let by_it = hidden.path.is_none_or(|rule| {
                    naive_path(&list[hidden.route].paths[rule], &path)
                });
                prop_assert!(found != Some(hidden.route) || !by_it, "{} {:?}", path, hidden);
                prop_assert!(hidden.by.iter().all(|by| *by < hidden.route));
            }
        }
    }
}
