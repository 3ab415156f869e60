//! The cases: what is sent to whom, what is shown of it, and what weir must reach.

mod classes;
mod deadlines;
mod overload;
mod shocks;
mod sizes;

use super::chance::{Chance, Service};
use super::clients::{Arrivals, Source};
use super::systems::System;
use super::tally::Tally;
use super::world::{Template, micros};

/// One line of the table of goals.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Who is compared.
    pub(crate) systems: &'static [System],
    pub(crate) run: fn(System, u64) -> Tally,
    /// What is shown.
    pub(crate) figures: fn(&Tally) -> Vec<(&'static str, f64)>,
    /// What must hold for `weir, all on`, whatever the seed.
    pub(crate) goal: fn(&Tally) -> Result<(), String>,
    /// What must hold on average over the seeds, by the figure's name: at least.
    pub(crate) on_average: &'static [(&'static str, f64)],
    /// What the table does not say by itself, and where weir is not the best.
    pub(crate) note: &'static str,
    /// Whether the goodput over time is worth a plot.
    pub(crate) plot: bool,
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = overload::cases();
    cases.extend(shocks::cases());
    cases.extend(classes::cases());
    cases.extend(deadlines::cases());
    cases.extend(sizes::cases());
    cases
}

/// A request of the first class that costs one permit.
pub(super) fn plain(mean: f64, service: Service, patience: f64, chance: &mut Chance) -> Template {
    Template {
        class: 0,
        tenant: 0,
        cost: 1.0,
        work: micros(service.draw(mean, chance)).max(1),
        patience: micros(patience),
        says_deadline: false,
    }
}

/// Clients that send plain requests at a steady rate, once.
pub(super) fn open_loop(per_second: f64, mean: f64, service: Service, patience: f64) -> Source {
    Source {
        arrivals: Arrivals::steady(per_second),
        template: Box::new(move |_, chance| plain(mean, service, patience, chance)),
        tries: 1,
    }
}

fn at_least(what: &str, found: f64, goal: f64) -> Result<(), String> {
    if found >= goal {
        return Ok(());
    }
    Err(format!(
        "{what} is {found:.4}, and should be at least {goal}"
    ))
}

fn at_most(what: &str, found: f64, goal: f64) -> Result<(), String> {
    if found <= goal {
        return Ok(());
    }
    Err(format!(
        "{what} is {found:.4}, and should be at most {goal:.4}"
    ))
}
