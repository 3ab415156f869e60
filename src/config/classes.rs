//! Reads `[[class]]`.

use std::collections::BTreeSet;

use http::StatusCode;

use super::parse;
use super::policy::{Class, Given};
use super::problem::{Problem, quoted};
use super::queue::{self, AUTO_WAIT};
use super::reader::{Complaint, Maybe, Reader};
use super::route_table::Compiled;
use crate::admission::{CLASSES_MAX, DEFAULT_CLASS, Discipline, MaxWait, Switch};

const WEIGHT_MAX: u32 = 10_000;

const NAMES: [&str; 8] = [
    "name",
    "weight",
    "importance",
    "order",
    "max_wait",
    "codel",
    "ramp",
    "status",
];

/// What could be read of the classes.
pub(super) struct Classes {
    /// `None` if anything is wrong with any of them.
    pub(super) all: Option<Vec<Class>>,
    /// Where each stands, and its name if it has a good one: routes are checked against it also
    /// when something else is wrong.
    rows: Vec<(Option<String>, usize)>,
}

/// A weight as it was written.
#[derive(Clone, Copy)]
enum Weight {
    /// Relative to the others.
    Relative(u32),
    /// So many percent of all.
    Percent(u32),
}

impl Weight {
    fn number(self) -> u32 {
        match self {
            Self::Relative(number) | Self::Percent(number) => number,
        }
    }
}

pub(super) fn read(reader: &mut Reader, given: &Given<'_>, warnings: &mut Vec<Problem>) -> Classes {
    let count = reader.rows("class", &NAMES);
    if count > CLASSES_MAX {
        let complaint = Complaint::new(
            format!("there are {count} classes"),
            format!("write at most {CLASSES_MAX}; requests of one kind can share a class"),
        );
        reader.problem("class", complaint);
        return Classes {
            all: None,
            rows: Vec::new(),
        };
    }
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    let mut all = Some(Vec::new());
    let mut weights = Vec::new();
    for row in 1..=count {
        let name = name(reader, row, &mut seen);
        let weight = reader.optional(&format!("class[{row}].weight"), weight);
        weights.push(weight);
        let class = one(reader, row, name.clone(), weight, given);
        match (&mut all, class) {
            (Some(all), Some(class)) => all.push(class),
            _ => all = None,
        }
        rows.push((name, row));
    }
    let add_up = check_shares(reader, &weights, seen.contains(DEFAULT_CLASS));
    let all = all.filter(|_| add_up).map(|all| with_default(all, given));
    if let Some(all) = &all {
        warn_of_small_shares(reader, all, &rows, given, warnings);
        warn_of_order(reader, all, warnings);
    }
    Classes { all, rows }
}

impl Classes {
    /// The names of the classes, each at its class's place.
    pub(super) fn names(&self) -> Vec<String> {
        if let Some(all) = &self.all {
            return all.iter().map(|class| class.name.clone()).collect();
        }
        let named = self.rows.iter().filter_map(|(name, _)| name.clone());
        [DEFAULT_CLASS.to_owned()]
            .into_iter()
            .chain(named)
            .collect()
    }

    /// A class that no route gives is one that somebody thinks is in effect.
    pub(super) fn warn_of_unused(
        &self,
        reader: &Reader,
        routes: Option<&Compiled>,
        warnings: &mut Vec<Problem>,
    ) {
        let (Some(all), Some(routes)) = (&self.all, routes) else {
            return;
        };
        for (name, row) in &self.rows {
            let place = all
                .iter()
                .position(|class| Some(&class.name) == name.as_ref());
            let is_used = place.is_some_and(|place| routes.uses(place));
            if !is_used && name.as_deref() != Some(DEFAULT_CLASS) {
                let complaint = Complaint::new(
                    "no route gives this class: no request is ever in it",
                    "name it in a [[route]], or remove it",
                );
                warnings.push(reader.warning(&format!("class[{row}].name"), complaint));
            }
        }
    }
}

fn one(
    reader: &mut Reader,
    row: usize,
    name: Option<String>,
    weight: Maybe<Weight>,
    given: &Given<'_>,
) -> Option<Class> {
    let key = |name: &str| format!("class[{row}].{name}");
    let importance = reader.optional(&key("importance"), |text| parse::whole(text, &(0..=100)));
    let order = reader.optional(&key("order"), queue::discipline);
    let max_wait = reader.optional(&key("max_wait"), queue::max_wait);
    if max_wait.given() == Some(MaxWait::Auto) {
        reader.came_to(&key("max_wait"), AUTO_WAIT);
    }
    let codel = reader.optional(&key("codel"), queue::switch);
    let ramp = reader.optional(&key("ramp"), queue::ramp);
    let status = reader.optional(&key("status"), |text| {
        let code = parse::whole(text, &(400..=599_u16))?;
        Ok(StatusCode::from_u16(code).expect("within the range"))
    });
    let default = default_class(given);
    Some(Class {
        row,
        name: name?,
        weight: weight.or(Weight::Relative(default.weight))?.number(),
        importance: importance.or(default.importance)?,
        order: order.or(default.order)?,
        max_wait: max_wait.or(default.max_wait)?,
        codel: codel.or(default.codel)?,
        ramp: ramp.or(default.ramp)?,
        status: status.or(default.status)?,
    })
}

/// What a class is that says nothing.
fn default_class(given: &Given<'_>) -> Class {
    Class {
        row: 0,
        name: DEFAULT_CLASS.to_owned(),
        weight: 1,
        importance: 50,
        order: given
            .queue
            .map_or(Discipline::default(), |queue| queue.order),
        max_wait: given.queue.map_or(MaxWait::Auto, |queue| queue.max_wait),
        codel: given.queue.map_or(Switch::default(), |queue| queue.codel),
        ramp: given.queue.and_then(|queue| queue.ramp),
        status: given
            .reject
            .map_or(StatusCode::SERVICE_UNAVAILABLE, |reject| reject.status),
    }
}

/// With the default class first, which is added if it is not there.
fn with_default(mut all: Vec<Class>, given: &Given<'_>) -> Vec<Class> {
    let listed = all.iter().position(|class| class.name == DEFAULT_CLASS);
    let default = match listed {
        Some(place) => all.remove(place),
        None => default_class(given),
    };
    all.insert(0, default);
    all
}

fn name(reader: &mut Reader, row: usize, seen: &mut BTreeSet<String>) -> Option<String> {
    let key = format!("class[{row}].name");
    if !reader.has(&key) {
        let complaint = Complaint::new(
            "it is not set",
            "give the class a name, such as name = \"background\", by which routes and metrics call it",
        );
        reader.problem(&key, complaint);
        return None;
    }
    reader.read(&key, |text| {
        let is_name = text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
            });
        if !is_name {
            return Err(Complaint::new(
                "it is no name for a class",
                "write at most 32 lower-case letters, digits, hyphens and underscores, a letter \
                 first: it is a label of metrics",
            ));
        }
        if seen.insert(text.to_owned()) {
            Ok(text.to_owned())
        } else {
            Err(Complaint::new(
                "an earlier class has the same name",
                "give it another one, or remove one of the two",
            ))
        }
    })
}

fn weight(text: &str) -> Result<Weight, Complaint> {
    let (number, percent) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let most = if percent { 100 } else { WEIGHT_MAX };
    let number = parse::whole(number, &(1..=most)).map_err(|complaint| {
        let problem = match number {
            "0" => "a class of no weight would get no permit while others want them",
            _ => &complaint.problem,
        };
        Complaint::new(
            problem,
            format!(
                "write a whole number from 1 to {WEIGHT_MAX}, or for all classes percentages that \
                 add up to 100%; to cut a class first under pressure, lower its importance"
            ),
        )
    })?;
    Ok(if percent {
        Weight::Percent(number)
    } else {
        Weight::Relative(number)
    })
}

/// Percentages are those of all: every class has one, and they make a hundred.
fn check_shares(reader: &mut Reader, weights: &[Maybe<Weight>], lists_default: bool) -> bool {
    let is_percent = |weight: &Maybe<Weight>| matches!(weight, Maybe::Given(Weight::Percent(_)));
    let Some(first) = weights.iter().position(is_percent) else {
        return true;
    };
    if weights.iter().any(|weight| matches!(weight, Maybe::Wrong)) {
        // What cannot be read was told; what the others add up to says nothing.
        return false;
    }
    let key = format!("class[{}].weight", first + 1);
    if let Some(other) = weights.iter().position(|weight| !is_percent(weight)) {
        let complaint = Complaint::new(
            format!(
                "it is a percentage, and the weight of class[{}] is not",
                other + 1
            ),
            "write percentages for all classes, or for none",
        );
        reader.problem(&key, complaint);
        return false;
    }
    if !lists_default {
        let complaint = Complaint::new(
            format!(
                "it is a percentage of all, and the class {} has none",
                quoted(DEFAULT_CLASS)
            ),
            "add a [[class]] with name = \"default\" and its percentage: requests that no route \
             takes are in it",
        );
        reader.problem(&key, complaint);
        return false;
    }
    let given = weights.iter().filter_map(|weight| weight.given());
    let sum: u32 = given.map(Weight::number).sum();
    if sum != 100 {
        let complaint = Complaint::new(
            format!("the shares of all classes add up to {sum}%"),
            "make them add up to 100%, or write weights without %",
        );
        reader.problem(&key, complaint);
    }
    sum == 100
}

/// What is said of an order that needs `CoDel`.
fn without_codel(codel: &str) -> Complaint {
    Complaint::new(
        "newest first begins when CoDel finds that the queue stands, and CoDel is off: it is as \
         \"fifo\"",
        format!("set {codel} = true, or write \"fifo\""),
    )
}

/// An order that is not what it says.
fn warn_of_order(reader: &mut Reader, all: &[Class], warnings: &mut Vec<Problem>) {
    let is_fifo =
        |class: &&Class| class.order == Discipline::Adaptive && class.codel == Switch::Off;
    for class in all.iter().filter(|class| class.row > 0).filter(is_fifo) {
        let [order, codel] = ["order", "codel"].map(|name| format!("class[{}].{name}", class.row));
        // Where it does not say so itself, it is a default, with which nobody is misled.
        if reader.has(&order) {
            warnings.push(reader.warning(&order, without_codel(&codel)));
        }
    }
}

/// A share of less than a permit is served in turns, which few expect who give a share.
fn warn_of_small_shares(
    reader: &Reader,
    all: &[Class],
    rows: &[(Option<String>, usize)],
    given: &Given<'_>,
    warnings: &mut Vec<Problem>,
) {
    let Some(budget) = given.budget else {
        return;
    };
    let sum: u64 = all.iter().map(|class| u64::from(class.weight)).sum();
    let permits = u64::from(budget.permit_limit());
    for (name, row) in rows {
        let class = all.iter().find(|class| Some(&class.name) == name.as_ref());
        let Some(class) = class.filter(|class| permits * u64::from(class.weight) < sum) else {
            continue;
        };
        let complaint = Complaint::new(
            format!(
                "its guaranteed share is less than one permit: {permits} permits × {} ÷ {sum}, the \
                 sum of all weights; while the others want theirs, it waits for its turn",
                class.weight
            ),
            "raise it, have fewer classes, or raise memory.target_memory",
        );
        warnings.push(reader.warning(&format!("class[{row}].weight"), complaint));
    }
}
