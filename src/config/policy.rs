//! Routes and classes as they were configured: who is what to the gate, and by which rules it goes.

use http::StatusCode;

use super::classes;
use super::hints;
use super::problem::Problem;
use super::queue::{self, QueueSettings};
use super::reader::{Complaint, Reader};
use super::{route_table, routes};
use crate::admission::classify::{Classifier, FieldNames};
use crate::admission::{
    Budget, ClassSettings, Discipline, Doom, MaxWait, Ramp, RetryLimits, Settings, Switch,
    TenantRate, TenantSettings,
};
use crate::gate::{Mode, Rules};
use crate::lifecycle::DrainSettings;
use crate::proxy::{Reject, Trust};

/// What decides about requests beyond their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Says what a request is. Its classes are places in `classes`.
    pub classifier: Classifier,
    /// The name of each route, where it has one.
    pub routes: Vec<Option<String>>,
    /// Every class, [`DEFAULT_CLASS`](crate::admission::DEFAULT_CLASS) first.
    pub classes: Vec<Class>,
    /// How tenants share; `None` if they are not told apart.
    pub tenants: Option<Tenants>,
    /// How many requests may say that they are retries.
    pub retries: RetryLimits,
    /// Whether and how those are refused at the door whose deadline would pass.
    pub doom: Option<Doom>,
}

/// Requests that are to be treated alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Which `[[class]]` it is, from 1; 0 for the default class, if none is.
    pub row: usize,
    /// How metrics and logs call it.
    pub name: String,
    /// Its share of the permits relative to that of the others: guaranteed while it wants them,
    /// lent to the others while it does not.
    pub weight: u32,
    /// How late it is cut under pressure, from 0 (first) to 100.
    pub importance: u8,
    /// Who of those that wait is next.
    pub order: Discipline,
    /// The longest wait for a permit.
    pub max_wait: MaxWait,
    /// Whether a queue that stands is cut.
    pub codel: Switch,
    /// Whether arrivals are refused by chance as its queue fills.
    pub ramp: Option<Ramp>,
    /// What a refused client is told: 4xx or 5xx.
    pub status: StatusCode,
}

/// How tenants share a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenants {
    /// Requests per second and at once that each may send; `None` for any number.
    pub rate: Option<TenantRate>,
    /// Up to how many are told apart exactly.
    pub exact: u32,
    /// How many have metrics of their own.
    pub top: u32,
}

/// What the rest of the configuration says that matters here; `None` where it could not be read.
pub(super) struct Given<'a> {
    pub(super) per_task: Option<u64>,
    pub(super) budget: Option<&'a Budget>,
    pub(super) queue: Option<&'a QueueSettings>,
    pub(super) reject: Option<&'a Reject>,
}

pub(super) fn read(
    reader: &mut Reader,
    given: &Given<'_>,
    warnings: &mut Vec<Problem>,
) -> Option<Policy> {
    let mut names = FieldNames::default();
    let classes = classes::read(reader, given, warnings);
    let routes = routes::read(reader, &mut names);
    let hints = hints::read(reader, given, &mut names);
    let defaults = (hints.cost, hints.deadline);
    let names_of_classes = classes.names();
    let compiled =
        route_table::compile(reader, routes, &names_of_classes, defaults, given, warnings);
    classes.warn_of_unused(reader, compiled.as_ref(), warnings);
    let compiled = compiled?;
    let rest = hints.rest?;
    let fallback = compiled.fallback(hints.deadline?);
    Some(Policy {
        routes: compiled.names,
        classes: classes.all?,
        classifier: Classifier::new(
            names,
            compiled.routes,
            compiled.plans,
            fallback,
            rest.fields,
        ),
        tenants: rest.tenants,
        retries: rest.retries,
        doom: rest.doom,
    })
}

impl Policy {
    /// What the gate is told.
    pub(super) fn rules(&self, mode: Mode, queue: &QueueSettings) -> Rules {
        let class = |class: &Class| ClassSettings {
            weight: class.weight,
            importance: class.importance,
            discipline: class.order,
            max_wait: class.max_wait,
            codel: class.codel,
            ramp: class.ramp,
        };
        Rules {
            strategy: queue.strategy,
            mode,
            max_depth: queue.max_depth,
            max_bytes: queue.max_bytes,
            policy: Settings {
                classes: self.classes.iter().map(class).collect(),
                tenants: self.tenants.map(|tenants| TenantSettings {
                    exact_max: tenants.exact,
                    rate: tenants.rate,
                }),
                retries: Some(self.retries),
                doom: self.doom,
                cut_off: if self.tells_importance_apart() {
                    queue.cut_off
                } else {
                    Switch::Off
                },
                backfill_percent: queue.backfill_percent,
                ..Settings::default()
            },
        }
    }

    /// Where all are alike, a cut by importance would only be a shorter `max_wait`.
    fn tells_importance_apart(&self) -> bool {
        let (first, others) = self.classes.split_first().expect("there is the default");
        let mut others = others.iter();
        others.any(|other| other.importance != first.importance)
    }

    /// The policy against settings that are read after it.
    pub(super) fn check(
        &self,
        reader: &mut Reader,
        trust: &Trust,
        drain: &DrainSettings,
        warnings: &mut Vec<Problem>,
    ) {
        check_waits(reader, self, drain, warnings);
        warn_of_disbelief(reader, self, trust, warnings);
    }
}

/// The waits of the classes against the drain.
fn check_waits(
    reader: &mut Reader,
    policy: &Policy,
    drain: &DrainSettings,
    warnings: &mut Vec<Problem>,
) {
    for class in policy.classes.iter().filter(|class| class.row > 0) {
        let key = format!("class[{}].max_wait", class.row);
        // Where it is not set, it is that of the queue, of which the same is told.
        if reader.has(&key) {
            queue::check_wait(reader, &key, class.max_wait, drain.timeout, warnings);
        }
    }
}

/// What is believed from some peers only, where no peer is.
fn warn_of_disbelief(reader: &Reader, policy: &Policy, trust: &Trust, warnings: &mut Vec<Problem>) {
    if !trust.proxies.is_empty() {
        return;
    }
    let hints = policy.classifier.hints();
    let routes = policy.classifier.routes().list().iter();
    let rows = (1..).zip(routes).filter(|(_, when)| when.is_trusted);
    let keys = rows.map(|(row, _)| format!("route[{row}].trusted"));
    let fields = [
        ("cost.headers", hints.cost.is_empty()),
        ("tenant.headers", hints.tenant.is_empty()),
    ];
    let fields = fields.into_iter().filter(|(_, is_empty)| !is_empty);
    for key in fields.map(|(key, _)| key.to_owned()).chain(keys) {
        let complaint = Complaint::new(
            "nobody is believed, because trust.proxies is []: it has no effect",
            "name the proxies in front of weir in trust.proxies",
        );
        warnings.push(reader.warning(&key, complaint));
    }
}
