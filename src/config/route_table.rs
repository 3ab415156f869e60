//! Checks routes against classes, budget and each other, and makes the table of them.

use super::hints::{CostParts, Patience};
use super::policy::Given;
use super::problem::{Problem, quoted};
use super::quantity;
use super::reader::{Complaint, Maybe, Reader};
use super::routes::{Typed, TypedCost};
use super::value::distance;
use crate::admission::classify::{CostRule, Oversize, Plan};
use crate::admission::route::{Hidden, Routes};
use crate::admission::{Budget, DEFAULT_CLASS, Decimal};

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
    pub(super) fn fallback(&self, deadline: Patience) -> Plan {
        Plan {
            class: 0,
            cost: self.cost,
            deadline: deadline.0,
        }
    }
}

/// The table, if nothing is wrong with any route.
pub(super) fn compile(
    reader: &mut Reader,
    typed: Vec<Typed>,
    classes: &[String],
    defaults: (Option<CostParts>, Option<Patience>),
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
    (cost, deadline): (Option<CostParts>, Option<Patience>),
    given: &Given<'_>,
    warnings: &mut Vec<Problem>,
) -> Option<Plan> {
    let class = match &route.class {
        Maybe::Wrong => None,
        Maybe::Absent => class_named(reader, route.row, DEFAULT_CLASS, classes),
        Maybe::Given(name) => class_named(reader, route.row, name, classes),
    };
    let rule = plan_cost(reader, route, cost);
    if let Some(rule) = &rule {
        let key = match route.cost {
            Some(TypedCost::Parts { base: Some(_), .. }) => "cost.base",
            Some(TypedCost::Fixed(_) | TypedCost::Parts { .. }) => "cost",
            // Told of `[cost]` itself, unless this route refuses what that lets run alone.
            _ if matches!(route.oversize, Maybe::Given(Oversize::Reject)) => "oversize",
            _ => "",
        };
        if !key.is_empty() {
            let key = format!("route[{}].{key}", route.row);
            against_budget(reader, &key, rule, given, warnings);
        }
    }
    Some(Plan {
        class: class?,
        cost: rule?,
        deadline: route.deadline.or(deadline?)?.0,
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
    parts.oversize = route.oversize.or(parts.oversize)?;
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
