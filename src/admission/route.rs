//! Which route a request takes: the first of the list whose conditions all hold. Pure.
//!
//! The list is compiled once. A path that a route names exactly is found by its hash; any other one
//! by the longest of the prefixes that it is in, in a sorted table. Each of the two knows its
//! **candidates**, the routes that can take such a path at all, in the order of the list and no
//! further than one that takes every such path; only the other conditions, and patterns, are
//! looked at for each request. **The first route of the list still wins.**

mod cover;
mod glob;
mod when;

use std::collections::HashMap;

pub use cover::{Hidden, Pair};
pub use glob::{Glob, GlobError};
pub use when::{FieldRule, FieldTest, Methods, Mismatch, PathRule, When};
use when::{is_in, method_bit};

/// A field by its place in a list of names that the caller keeps, so that it can prepare its
/// look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldId(pub u16);

/// The fields of a request's head.
pub trait Fields {
    /// False if this field is surely not there; cheaper than a look.
    fn may_have(&self, _: FieldId) -> bool {
        true
    }

    /// Every value of a field.
    fn values(&self, field: FieldId) -> impl Iterator<Item = &[u8]>;
}

/// A request, as far as routes look at it.
#[derive(Debug)]
pub struct Asked<'a, F> {
    /// Its method. Case matters.
    pub method: &'a str,
    /// Its path without the query, as it was sent.
    pub path: &'a str,
    /// Whether it is a gRPC call.
    pub is_grpc: bool,
    /// Whether its peer is believed what it says of others.
    pub is_trusted: bool,
    /// Its fields.
    pub fields: &'a F,
}

/// Routes in order, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    list: Vec<When>,
    exact: HashMap<Box<str>, Candidates>,
    longest_exact: usize,
    /// Sorted by text.
    prefixes: Vec<Prefix>,
    /// For a path that is none of the above.
    rest: Candidates,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefix {
    text: Box<str>,
    /// The longest other one that this one begins with, be it in whole segments or not.
    shorter: Option<usize>,
    candidates: Candidates,
}

/// In the order of the list.
type Candidates = Box<[Candidate]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    route: u16,
    /// The path is one of those that the route takes, and need not be looked at.
    path_fits: bool,
}

/// Whether a rule takes the paths of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Takes {
    None,
    Some,
    All,
}

impl Routes {
    /// The most routes there can be.
    pub const MOST: usize = u16::MAX as usize;

    /// Compiles a list.
    ///
    /// # Panics
    ///
    /// With more than [`MOST`](Self::MOST) routes: the configuration checks that.
    #[must_use]
    pub fn new(list: Vec<When>) -> Self {
        assert!(list.len() <= Self::MOST, "the reader bounds the routes");
        let rules = || list.iter().flat_map(|when| &when.paths);
        let exact: HashMap<Box<str>, Candidates> = rules()
            .filter_map(|rule| match rule {
                PathRule::Exact(path) => Some((path.clone(), of_path(&list, path))),
                PathRule::Prefix(_) | PathRule::Glob(_) => None,
            })
            .collect();
        let mut texts: Vec<&str> = rules()
            .filter_map(|rule| match rule {
                PathRule::Prefix(prefix) => Some(&**prefix),
                PathRule::Exact(_) | PathRule::Glob(_) => None,
            })
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let prefixes = texts.iter().enumerate().map(|(at, text)| Prefix {
            text: (*text).into(),
            shorter: texts[..at]
                .iter()
                .rposition(|other| text.starts_with(other)),
            candidates: of_prefix(&list, text),
        });
        Self {
            longest_exact: exact.keys().map(|path| path.len()).max().unwrap_or(0),
            prefixes: prefixes.collect(),
            rest: of_prefix(&list, ""),
            exact,
            list,
        }
    }

    /// The first route that takes a request, by its place in the list.
    #[must_use]
    pub fn find<F: Fields>(&self, asked: &Asked<'_, F>) -> Option<usize> {
        let candidates = self.candidates(asked.path);
        let first = candidates.first()?;
        // Often there is nothing more to look at.
        if first.path_fits && self.list[usize::from(first.route)].is_path_only() {
            return Some(usize::from(first.route));
        }
        let bit = method_bit(asked.method);
        let mut seen = None;
        let found = candidates.iter().find(|candidate| {
            let when = &self.list[usize::from(candidate.route)];
            when.methods.has_bit(bit, asked.method)
                && (asked.is_grpc || !when.is_grpc)
                && (asked.is_trusted || !when.is_trusted)
                && (candidate.path_fits || when.path_fits(asked.path))
                && when
                    .fields
                    .iter()
                    .all(|rule| rule.holds_again(asked.fields, &mut seen))
        });
        found.map(|candidate| usize::from(candidate.route))
    }

    /// The conditions of each, in order.
    #[must_use]
    pub fn list(&self) -> &[When] {
        &self.list
    }

    fn candidates(&self, path: &str) -> &[Candidate] {
        // What is longer than any is not hashed: the client chose it.
        if path.len() <= self.longest_exact
            && let Some(candidates) = self.exact.get(path)
        {
            return candidates;
        }
        // Of the texts that the path begins with, the longest is the last one that does not sort
        // behind the path, or one that this one begins with.
        let behind = self
            .prefixes
            .partition_point(|prefix| *prefix.text <= *path);
        let mut at = behind.checked_sub(1);
        while let Some(prefix) = at.map(|at| &self.prefixes[at]) {
            if is_in(path, &prefix.text) {
                return &prefix.candidates;
            }
            at = prefix.shorter;
        }
        &self.rest
    }
}

/// The candidates for one path.
fn of_path(list: &[When], path: &str) -> Candidates {
    candidates(list, |rule| {
        if rule.fits(path) {
            Takes::All
        } else {
            Takes::None
        }
    })
}

/// The candidates for paths of which this is the longest prefix that any route names, or "" if
/// there is none, and that no route names exactly.
fn of_prefix(list: &[When], longest: &str) -> Candidates {
    candidates(list, |rule| match rule {
        PathRule::Prefix(prefix) if is_in(longest, prefix) => Takes::All,
        PathRule::Exact(_) | PathRule::Prefix(_) => Takes::None,
        PathRule::Glob(glob) => {
            let begins = longest.starts_with(glob.head());
            match glob.only_head() {
                Some(_) if begins => Takes::All,
                _ if begins || glob.head().starts_with(longest) => Takes::Some,
                _ => Takes::None,
            }
        }
    })
}

fn candidates(list: &[When], takes: impl Fn(&PathRule) -> Takes) -> Candidates {
    let mut candidates = Vec::new();
    for (route, when) in (0..).zip(list) {
        let takes = when.paths.iter().map(&takes).max();
        let takes = takes
            .filter(|_| !when.paths.is_empty())
            .unwrap_or(Takes::All);
        if takes == Takes::None {
            continue;
        }
        candidates.push(Candidate {
            route,
            path_fits: takes == Takes::All,
        });
        if takes == Takes::All && when.is_path_only() {
            break;
        }
    }
    candidates.into()
}

#[cfg(test)]
mod tests;
