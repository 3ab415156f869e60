//! Reads `[[route]]`, and makes the table of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::conditions;
use super::hints::{self, CostParts};
use super::parse;
use super::policy::{DEFAULT_CLASS, Given};
use super::problem::{Problem, quoted};
use super::quantity;
use super::reader::{Complaint, Reader};
use super::value::distance;
use crate::admission::classify::{CostRule, FieldNames, Oversize, Plan};
use crate::admission::route::{FieldRule, Hidden, Methods, PathRule, Routes, When};
use crate::admission::{Budget, Decimal};

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
    row: usize,
    name: Option<String>,
    when: Option<When>,
    class: Option<Option<String>>,
    cost: Option<TypedCost>,
    /// A deadline, or none at all, if it says so.
    deadline: Option<Option<Option<Duration>>>,
    oversize: Option<Option<Oversize>>,
}

#[derive(Clone, Copy)]
enum TypedCost {
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

/// The table, and what belongs to each route of it.
pub(super) struct Compiled {
    pub(super) routes: Routes,
    pub(super) plans: Vec<Plan>,
    pub(super) names: Vec<Option<String>>,
    /// What a request costs that no route takes.
    cost: CostRule,
}

impl Compiled {
    /// Whether a route gives this class.
    pub(super) fn uses(&self, class: usize) -> bool {
        self.plans
            .iter()
            .any(|plan| usize::from(plan.class) == class)
    }

    /// What a request gets that no route takes.
    pub(super) fn fallback(&self, deadline: Option<Duration>) -> Plan {
        Plan {
            class: 0,
            cost: self.cost,
            deadline,
        }
    }
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
        name: name.flatten(),
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
        is_trusted: is_trusted?.unwrap_or(false),
    })
}

fn cost(reader: &mut Reader, key: &str) -> Option<TypedCost> {
    if !reader.is_table(key, &["base", "factor", "max"]) {
        let cost = reader.optional(key, hints::cost_bytes)?;
        return Some(cost.map_or(TypedCost::Inherited, TypedCost::Fixed));
    }
    let base = reader.optional(&format!("{key}.base"), hints::cost_bytes);
    let factor = reader.optional(&format!("{key}.factor"), hints::cost_factor);
    let max = reader.optional(&format!("{key}.max"), hints::cost_bytes);
    Some(TypedCost::Parts {
        base: base?,
        factor: factor?,
        max: max?,
    })
}

/// Checks the routes against classes, budget and each other, and makes the table.
pub(super) fn compile(
    reader: &mut Reader,
    typed: Vec<Typed>,
    classes: &[String],
    defaults: (Option<CostParts>, Option<Option<Duration>>),
    given: &Given<'_>,
    warnings: &mut Vec<Problem>,
) -> Option<Compiled> {
    let fallback = defaults.0.and_then(|parts| parts.rule(reader, "cost.max"));
    if let Some(rule) = fallback {
        against_budget(reader, "cost.base", &rule, given, warnings);
    }
    let count = typed.len();
    let mut rows = Vec::new();
    let (mut whens, mut plans, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for route in typed {
        let plan = plan(reader, &route, classes, defaults, given, warnings);
        names.push(route.name);
        plans.extend(plan);
        if let Some(when) = route.when {
            rows.push(route.row);
            whens.push(when);
        }
    }
    let routes = Routes::new(whens);
    let hidden = routes.hidden();
    for one in &hidden {
        tell_hidden(reader, one, &routes, &rows, &names, warnings);
    }
    let is_whole = hidden.iter().all(|one| one.path.is_some());
    let cost = fallback?;
    let is_complete = is_whole && plans.len() == count && rows.len() == count;
    is_complete.then_some(Compiled {
        routes,
        plans,
        names,
        cost,
    })
}

fn plan(
    reader: &mut Reader,
    route: &Typed,
    classes: &[String],
    (cost, deadline): (Option<CostParts>, Option<Option<Duration>>),
    given: &Given<'_>,
    warnings: &mut Vec<Problem>,
) -> Option<Plan> {
    let class = route.class.as_ref().map(|class| {
        let name = class.as_deref().unwrap_or(DEFAULT_CLASS);
        class_named(reader, route.row, name, classes)
    });
    let rule = plan_cost(reader, route, cost);
    if let Some(rule) = &rule {
        let key = match route.cost {
            Some(TypedCost::Parts { base: Some(_), .. }) => "cost.base",
            Some(TypedCost::Fixed(_) | TypedCost::Parts { .. }) => "cost",
            // Told of `[cost]` itself, unless this route refuses what that lets run alone.
            _ if rule.oversize == Oversize::Reject => "oversize",
            _ => "",
        };
        if !key.is_empty() {
            let key = format!("route[{}].{key}", route.row);
            against_budget(reader, &key, rule, given, warnings);
        }
    }
    Some(Plan {
        class: class??,
        cost: rule?,
        deadline: match route.deadline? {
            Some(deadline) => deadline,
            None => deadline?,
        },
    })
}

fn plan_cost(reader: &mut Reader, route: &Typed, default: Option<CostParts>) -> Option<CostRule> {
    let mut parts = default?;
    match route.cost? {
        TypedCost::Inherited => {}
        TypedCost::Fixed(bytes) => {
            parts.base = bytes;
            parts.factor = Decimal::ZERO;
            parts.max = None;
        }
        TypedCost::Parts { base, factor, max } => {
            parts.base = base.unwrap_or(parts.base);
            parts.factor = factor.unwrap_or(parts.factor);
            parts.max = max.or(parts.max);
        }
    }
    parts.oversize = route.oversize?.unwrap_or(parts.oversize);
    match route.cost? {
        // What is wrong with it is told of `[cost]`.
        TypedCost::Inherited => parts.rule_if_whole(),
        _ => parts.rule(reader, &format!("route[{}].cost.max", route.row)),
    }
}

fn class_named(reader: &mut Reader, row: usize, name: &str, classes: &[String]) -> Option<u8> {
    if let Some(place) = classes.iter().position(|class| class == name) {
        return u8::try_from(place).ok();
    }
    let near = classes
        .iter()
        .map(|class| (distance(class, name), class))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let names: Vec<String> = classes.iter().map(|class| quoted(class)).collect();
    let mut remedy = format!(
        "name a class that there is ({}), or add a [[class]] of this name",
        names.join(", ")
    );
    if let Some((_, near)) = near {
        remedy = format!("{remedy}; did you mean {}?", quoted(near));
    }
    let key = format!("route[{row}].class");
    reader.problem(&key, Complaint::new("there is no such class", remedy));
    None
}

/// What costs more than there is: every request of it would run alone, or none could be served.
fn against_budget(
    reader: &mut Reader,
    key: &str,
    rule: &CostRule,
    given: &Given<'_>,
    warnings: &mut Vec<Problem>,
) {
    let budget = given.budget.map(Budget::bytes);
    let Some(budget) = budget.filter(|budget| rule.base_bytes > *budget) else {
        return;
    };
    let above = format!(
        "each request costs {} or more, and the budget is {} (memory.target_memory × \
         memory.safety_factor)",
        quantity::show(rule.base_bytes),
        quantity::show(budget)
    );
    match rule.oversize {
        Oversize::Reject => {
            let complaint = Complaint::new(
                format!("{above}: all of them would be refused"),
                "lower the cost, raise the budget, or write oversize = \"solo\"",
            );
            reader.problem(key, complaint);
        }
        Oversize::Solo => warnings.push(reader.warning(
            key,
            Complaint::new(
                format!("{above}: each runs alone"),
                "lower the cost, or raise the budget, if that is not meant",
            ),
        )),
    }
}

/// A route that can never be taken is a mistake; a path of one that cannot may be a habit.
fn tell_hidden(
    reader: &mut Reader,
    hidden: &Hidden,
    routes: &Routes,
    rows: &[usize],
    names: &[Option<String>],
    warnings: &mut Vec<Problem>,
) {
    let called = |place: &usize| match &names[rows[*place] - 1] {
        Some(name) => format!("route[{}] {}", rows[*place], quoted(name)),
        None => format!("route[{}]", rows[*place]),
    };
    let by: Vec<String> = hidden.by.iter().map(called).collect();
    let takes = match by.len() {
        1 => format!("{} takes", by[0]),
        _ => format!("{} together take", by.join(" and ")),
    };
    let key = format!("route[{}]", rows[hidden.route]);
    let remedy = format!(
        "the first route that fits wins: move this one before {}, narrow that one, or remove this \
         one",
        by[0]
    );
    match hidden.path {
        None => {
            let problem = format!("it can never be taken: {takes} everything that it would");
            reader.problem(&key, Complaint::new(problem, remedy));
        }
        Some(path) => {
            let text = routes.list()[hidden.route].paths[path].text();
            let problem = format!(
                "by its path {} it can never be taken: {takes} everything that it would",
                quoted(text)
            );
            warnings.push(reader.warning(&key, Complaint::new(problem, remedy)));
        }
    }
}
