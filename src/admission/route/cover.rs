//! Routes that can never be taken, and those that share requests with an earlier one.
//!
//! What is said here is certain: a route is called hidden only if each of its paths and methods is
//! taken by some earlier route, as far as one look at the two can tell.

use super::when::is_in;
use super::{FieldTest, PathRule, Routes, When};

/// A route that no request can reach, or no request by one of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Which, by its place in the list.
    pub route: usize,
    /// The one of its path rules that is never the one; `None` if it is all of the route.
    pub path: Option<usize>,
    /// The earlier routes that take its requests.
    pub by: Vec<usize>,
}

/// Two routes that both take some requests, of which the earlier one gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// By its place in the list.
    pub earlier: usize,
    /// By its place in the list.
    pub later: usize,
}

impl Routes {
    /// Every route, or path of a route, that can never be the first.
    #[must_use]
    pub fn hidden(&self) -> Vec<Hidden> {
        let mut all = Vec::new();
        for (route, later) in self.list.iter().enumerate() {
            let hidden: Vec<Option<Vec<usize>>> = paths(later)
                .map(|path| self.takers(route, later, path))
                .collect();
            if hidden.iter().all(Option::is_some) {
                let mut by: Vec<usize> = hidden.into_iter().flatten().flatten().collect();
                by.sort_unstable();
                by.dedup();
                let path = None;
                all.push(Hidden { route, path, by });
                continue;
            }
            let some = hidden.into_iter().enumerate();
            all.extend(some.filter_map(|(path, by)| {
                let path = Some(path);
                by.map(|by| Hidden { route, path, by })
            }));
        }
        all
    }

    /// Pairs that share requests, where the earlier is not just the special case of the later.
    #[must_use]
    pub fn overlaps(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (later, b) in self.list.iter().enumerate() {
            for (earlier, a) in self.list[..later].iter().enumerate() {
                if meet(a, b) && !takes_all(b, a) && !takes_all(a, b) {
                    pairs.push(Pair { earlier, later });
                }
            }
        }
        pairs
    }

    /// The earlier routes that together take everything that comes by one path rule of a route;
    /// `None` if something is left.
    fn takers(&self, route: usize, later: &When, path: Option<&PathRule>) -> Option<Vec<usize>> {
        let taker = |method: Option<&str>| {
            self.list[..route]
                .iter()
                .position(|earlier| takes(earlier, later, path, method))
        };
        methods(later).map(taker).collect()
    }
}

/// The path rules of a route, or one that stands for every path.
fn paths(when: &When) -> impl Iterator<Item = Option<&PathRule>> {
    let any = when.paths.is_empty().then_some(None);
    any.into_iter().chain(when.paths.iter().map(Some))
}

/// The same for methods.
fn methods(when: &When) -> impl Iterator<Item = Option<&str>> {
    let any = when.methods.is_any().then_some(None);
    any.into_iter().chain(when.methods.listed().map(Some))
}

/// Whether one route takes every request that another does.
fn takes_all(wide: &When, narrow: &When) -> bool {
    paths(narrow).all(|path| methods(narrow).all(|method| takes(wide, narrow, path, method)))
}

/// Whether a route takes what another does by one path rule with one method.
fn takes(wide: &When, narrow: &When, path: Option<&PathRule>, method: Option<&str>) -> bool {
    let path_fits = wide.paths.is_empty()
        || path.is_some_and(|path| wide.paths.iter().any(|rule| includes(rule, path)));
    let method_fits =
        wide.methods.is_any() || method.is_some_and(|method| wide.methods.has(method));
    let fields_fit = wide.fields.iter().all(|rule| {
        let mut same = narrow
            .fields
            .iter()
            .filter(|other| other.field == rule.field);
        same.any(|other| implies(&other.test, &rule.test))
    });
    path_fits
        && method_fits
        && fields_fit
        && (narrow.is_grpc || !wide.is_grpc)
        && (narrow.is_trusted || !wide.is_trusted)
}

/// Whether whoever passes one test passes the other.
fn implies(strict: &FieldTest, loose: &FieldTest) -> bool {
    match (strict, loose) {
        (_, FieldTest::Present) => true,
        (FieldTest::Is(value), test) => test.passes(value.as_bytes()),
        (FieldTest::Begins(long), FieldTest::Begins(short)) => long.starts_with(&**short),
        (FieldTest::Present | FieldTest::Begins(_), _) => false,
    }
}

/// Whether every path of one rule is one of another.
fn includes(wide: &PathRule, narrow: &PathRule) -> bool {
    if wide == narrow {
        return true;
    }
    match (wide, narrow) {
        (wide, PathRule::Exact(path)) => wide.fits(path),
        (PathRule::Prefix(prefix), PathRule::Prefix(longer)) => is_in(longer, prefix),
        // A pattern that goes on right behind the prefix may leave its segment.
        (PathRule::Prefix(prefix), PathRule::Glob(glob)) => {
            let head = glob.head();
            is_in(head, prefix) && (head.len() > prefix.len() || prefix.ends_with('/'))
        }
        (PathRule::Glob(glob), narrow) => glob.only_head().is_some_and(|head| match narrow {
            PathRule::Prefix(text) => text.starts_with(head),
            PathRule::Glob(other) => other.head().starts_with(head),
            PathRule::Exact(_) => false,
        }),
        (PathRule::Exact(_), _) => false,
    }
}

/// Whether there is a request that both take. Not found for some patterns.
fn meet(a: &When, b: &When) -> bool {
    let paths_meet = a.paths.is_empty()
        || b.paths.is_empty()
        || a.paths.iter().any(|one| {
            let mut others = b.paths.iter();
            others.any(|other| one.fits(&example(other)) || other.fits(&example(one)))
        });
    let methods_meet =
        a.methods.is_any() || methods(b).any(|method| method.is_none_or(|it| a.methods.has(it)));
    let fields_meet = a.fields.iter().all(|rule| {
        let mut same = b.fields.iter().filter(|other| other.field == rule.field);
        same.all(|other| implies(&rule.test, &other.test) || implies(&other.test, &rule.test))
    });
    paths_meet && methods_meet && fields_meet
}

/// A path that a rule takes.
fn example(rule: &PathRule) -> String {
    match rule {
        PathRule::Exact(text) | PathRule::Prefix(text) => text.to_string(),
        PathRule::Glob(glob) => glob.text().replace('*', "x"),
    }
}
