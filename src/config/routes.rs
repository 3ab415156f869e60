//! Reads `[[route]]`, row by row.

use std::collections::BTreeSet;

use super::conditions;
use super::hints::{self, Patience};
use super::parse;
use super::reader::{Complaint, Maybe, Reader};
use crate::admission::Decimal;
use crate::admission::classify::{FieldNames, Oversize};
use crate::admission::route::{FieldRule, Methods, PathRule, When};

/// More routes are another program's work.
const ROUTES_MAX: usize = 500;

/// Conditions on fields of one route.
const FIELDS_MAX: usize = 16;

/// Path rules of all routes together: the table has a list of routes for each.
const PATHS_MAX: usize = 2000;

const NAMES: [&str; 12] = [
    "name",
    "path",
    "path_prefix",
    "path_glob",
    "grpc",
    "methods",
    "headers",
    "trusted",
    "class",
    "cost",
    "deadline",
    "oversize",
];

/// A route as it was typed: what could be read of it.
pub(super) struct Typed {
    pub(super) row: usize,
    pub(super) name: Option<String>,
    pub(super) when: Option<When>,
    pub(super) class: Maybe<String>,
    pub(super) cost: Option<TypedCost>,
    pub(super) deadline: Maybe<Patience>,
    pub(super) oversize: Maybe<Oversize>,
}

#[derive(Clone, Copy)]
pub(super) enum TypedCost {
    /// As in `[cost]`.
    Inherited,
    Fixed(u64),
    /// What is not given is as in `[cost]`.
    Parts {
        base: Option<u64>,
        factor: Option<Decimal>,
        max: Option<u64>,
    },
}

/// Everything that stands in the list.
pub(super) fn read(reader: &mut Reader, names: &mut FieldNames) -> Vec<Typed> {
    let count = reader.rows("route", &NAMES);
    let cost_names = ["base", "factor", "max"];
    // What can stand in a row is known also when there is none.
    reader.is_table("route[].cost", &cost_names);
    reader.open_table("route[].headers");
    if count > ROUTES_MAX {
        let complaint = Complaint::new(
            format!("there are {count} routes"),
            format!(
                "write at most {ROUTES_MAX}; a path_prefix or path_glob can stand for many paths"
            ),
        );
        reader.problem("route", complaint);
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let rows = 1..=count;
    let routes: Vec<Typed> = rows.map(|row| one(reader, row, names, &mut seen)).collect();
    let whens = routes.iter().filter_map(|route| route.when.as_ref());
    let paths: usize = whens.map(|when| when.paths.len()).sum();
    if paths > PATHS_MAX {
        let complaint = Complaint::new(
            format!("its routes name {paths} paths together"),
            format!(
                "name at most {PATHS_MAX}; a path_prefix or path_glob can stand for many paths"
            ),
        );
        reader.problem("route", complaint);
        return Vec::new();
    }
    routes
}

fn one(
    reader: &mut Reader,
    row: usize,
    names: &mut FieldNames,
    seen: &mut BTreeSet<String>,
) -> Typed {
    let key = |name: &str| format!("route[{row}].{name}");
    let name = reader.optional(&key("name"), |text| name(text, seen));
    let when = when(reader, row, names);
    let class = reader.optional(&key("class"), |text| Ok(text.to_owned()));
    let cost = cost(reader, &key("cost"));
    let deadline = reader.optional(&key("deadline"), hints::deadline);
    let oversize = reader.optional(&key("oversize"), hints::oversize);
    Typed {
        row,
        name: name.given(),
        when,
        class,
        cost,
        deadline,
        oversize,
    }
}

fn name(text: &str, seen: &mut BTreeSet<String>) -> Result<String, Complaint> {
    if text.len() > 64 || text.chars().any(char::is_control) {
        return Err(Complaint::new(
            "it is no name for a route",
            "write at most 64 bytes, without control characters",
        ));
    }
    if seen.insert(text.to_owned()) {
        Ok(text.to_owned())
    } else {
        Err(Complaint::new(
            "an earlier route has the same name",
            "give it another one, or none",
        ))
    }
}

fn when(reader: &mut Reader, row: usize, names: &mut FieldNames) -> Option<When> {
    let key = |name: &str| format!("route[{row}].{name}");
    let path = reader.texts(&key("path"), conditions::exact);
    let prefix = reader.texts(&key("path_prefix"), conditions::prefix);
    let glob = reader.texts(&key("path_glob"), conditions::glob);
    let grpc = reader.texts(&key("grpc"), conditions::grpc);
    let methods = reader.texts(&key("methods"), conditions::method);
    let fields = if reader.has(&key("headers")) {
        reader.entries(&key("headers"), conditions::field)
    } else {
        Some(Vec::new())
    };
    let is_trusted = reader.optional(&key("trusted"), parse::flag);
    let (grpc, methods) = (grpc?, methods?);
    let paths: Vec<PathRule> = [path?, prefix?, glob?].concat();
    let is_grpc = !grpc.is_empty();
    if is_grpc && !(paths.is_empty() && methods.is_empty()) {
        let complaint = Complaint::new(
            "a route for gRPC has no other paths, and all its calls are POST",
            "remove path, path_prefix, path_glob and methods, or write a route of its own for them",
        );
        reader.problem(&key("grpc"), complaint);
        return None;
    }
    let fields = fields?;
    if fields.len() > FIELDS_MAX {
        let complaint = Complaint::new(
            format!("it has {} fields", fields.len()),
            format!("name at most {FIELDS_MAX}"),
        );
        reader.problem(&key("headers"), complaint);
        return None;
    }
    let rules = fields.into_iter().map(|(name, test)| FieldRule {
        field: names.id(&name),
        test,
    });
    Some(When {
        fields: rules.collect(),
        paths: [paths, grpc].concat(),
        methods: Methods::of(methods.iter().map(String::as_str)),
        is_grpc,
        is_trusted: is_trusted.or(false)?,
    })
}

fn cost(reader: &mut Reader, key: &str) -> Option<TypedCost> {
    if !reader.is_table(key, &["base", "factor", "max"]) {
        return match reader.optional(key, hints::cost_bytes) {
            Maybe::Wrong => None,
            Maybe::Absent => Some(TypedCost::Inherited),
            Maybe::Given(bytes) => Some(TypedCost::Fixed(bytes)),
        };
    }
    let base = reader.optional(&format!("{key}.base"), hints::cost_bytes);
    let factor = reader.optional(&format!("{key}.factor"), hints::cost_factor);
    let max = reader.optional(&format!("{key}.max"), hints::cost_bytes);
    let is_wrong = matches!((base, max), (Maybe::Wrong, _) | (_, Maybe::Wrong))
        || matches!(factor, Maybe::Wrong);
    (!is_wrong).then_some(TypedCost::Parts {
        base: base.given(),
        factor: factor.given(),
        max: max.given(),
    })
}
