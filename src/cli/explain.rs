//! `weir check --explain`: what a request would be to the gate, and why.
//!
//! The same code decides here as for requests; what is said of routes that do not fit is asked of
//! each one by itself.

mod ask;
mod conditions;

use std::fmt;

pub(super) use ask::{Ask, parse};
use conditions::{conditions, mismatch};

use crate::admission::classify::{
    BodyLength, Classified, Cost, CostSource, DeadlineSource, FieldId, Hint,
};
use crate::admission::route::{Asked, Fields, Mismatch};
use crate::admission::{Budget, Discipline, Switch, UNITS_PER_TASK};
use crate::config::{Config, Policy, show_duration, show_max_wait, show_quantity};
use crate::gate::Mode;
use crate::proxy::{HeadClassifier, HeadFields, asked, is_grpc};

/// Earlier routes that are told one by one.
const TOLD: usize = 8;

/// What one request would be, in a few lines.
pub(super) struct Explanation<'a> {
    pub(super) config: &'a Config,
    pub(super) ask: &'a Ask,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, ask } = self;
        let classifier = HeadClassifier::new(config.policy.classifier.clone());
        let fields = classifier.fields(&ask.head);
        let is_trusted = config.proxy.trust.believes(ask.peer);
        let is_grpc = is_grpc(&ask.head.headers);
        let seen = Seen {
            policy: &config.policy,
            budget: &config.budget,
            found: classifier
                .classifier()
                .classify(&asked(&fields, is_grpc, is_trusted), ask.body),
            asked: asked(&fields, is_grpc, is_trusted),
        };
        let believed = if is_trusted { "in" } else { "not in" };
        let body = match ask.body {
            BodyLength::Known(0) => "no body".to_owned(),
            BodyLength::Known(bytes) => format!("a body of {bytes} bytes"),
            BodyLength::Unknown => "a body of unknown length".to_owned(),
        };
        let head = &ask.head;
        writeln!(f, "{} {} with {body}", head.method, head.uri)?;
        line(
            f,
            "peer",
            &format!("{} ({believed} trust.proxies)", ask.peer),
        )?;
        seen.route(f)?;
        line(f, "class", &seen.class())?;
        line(f, "cost", &seen.cost(ask.body))?;
        line(f, "deadline", &seen.deadline())?;
        line(f, "tenant", &seen.tenant())?;
        line(f, "retry", &seen.retry())?;
        for hint in seen.found.bad.iter() {
            line(f, "ignored", &seen.bad(hint))?;
        }
        if config.rules.mode == Mode::Shadow {
            line(f, "mode", "shadow: it goes to the backend at once")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {what:9} {text}")
}

struct Seen<'a> {
    policy: &'a Policy,
    budget: &'a Budget,
    asked: Asked<'a, HeadFields<'a>>,
    found: Classified<'a>,
}

impl Seen<'_> {
    fn route(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.policy.classifier.routes().list();
        let name = |field| self.name(field);
        let taken = match self.found.route {
            Some(route) => {
                format!(
                    "{}: {}",
                    self.called(route),
                    conditions(&list[route], &name)
                )
            }
            None if list.is_empty() => "none: there are none".to_owned(),
            None => "none: no route takes it".to_owned(),
        };
        line(f, "route", &taken)?;
        let earlier = &list[..self.found.route.unwrap_or(list.len())];
        let whys: Vec<(usize, Mismatch)> = earlier
            .iter()
            .enumerate()
            .filter_map(|(route, when)| Some((route, when.mismatch(&self.asked)?)))
            .collect();
        // Who asks why is served best by those that fit but for one thing.
        let is_near = |why: &&(usize, Mismatch)| whys.len() <= TOLD || why.1 != Mismatch::Path;
        let told: Vec<_> = whys.iter().filter(is_near).take(TOLD).collect();
        for (route, why) in &told {
            let why = mismatch(&list[*route], *why, &self.asked, &name);
            line(f, "", &format!("not {}: {why}", self.called(*route)))?;
        }
        match whys.len() - told.len() {
            0 => {}
            others => line(f, "", &format!("nor {others} others before it"))?,
        }
        let later = (0..list.len()).skip(self.found.route.map_or(list.len(), |route| route + 1));
        let fits = |route: &usize| list[*route].mismatch(&self.asked).is_none();
        let later: Vec<String> = later.filter(fits).map(|route| self.called(route)).collect();
        match later.len() {
            0 => Ok(()),
            1..=TOLD => {
                let later = later.join(", ");
                line(
                    f,
                    "",
                    &format!("would fit, too, but later in the list: {later}"),
                )
            }
            many => line(
                f,
                "",
                &format!("{many} routes would fit, too, but later in the list"),
            ),
        }
    }

    fn class(&self) -> String {
        let classes = &self.policy.classes;
        let class = &classes[usize::from(self.found.class)];
        let sum: u64 = classes.iter().map(|class| u64::from(class.weight)).sum();
        let order = match class.order {
            Discipline::Fifo => "fifo",
            Discipline::Lifo => "lifo",
            Discipline::Adaptive => "adaptive",
        };
        let codel = match class.codel {
            Switch::On => ", cut by CoDel while it stands",
            Switch::Off => "",
        };
        let row = match class.row {
            0 => String::new(),
            row => format!(" (class[{row}])"),
        };
        format!(
            "{}{row}: weight {} of {sum}, importance {}, {order}{codel}, waits {} at most, refused with {}",
            class.name,
            class.weight,
            class.importance,
            show_max_wait(class.max_wait),
            class.status.as_u16()
        )
    }

    fn cost(&self, body: BodyLength) -> String {
        let cost = &self.found.cost;
        let bytes = shown_bytes(cost.bytes);
        let why = self.why(cost, body);
        let Ok(units) = cost.units(self.budget) else {
            let budget = shown_bytes(self.budget.bytes());
            return format!("{bytes}: {why}; refused with 413, as the budget is {budget}");
        };
        let charged = if cost.bytes > self.budget.bytes() {
            "it runs alone".to_owned()
        } else {
            let permits = self.budget.permit_limit();
            format!("{} of {permits} permits", thousandths(units))
        };
        format!("{bytes}, {charged}: {why}")
    }

    fn why(&self, cost: &Cost, body: BodyLength) -> String {
        let rule = &self.policy.classifier.plan(self.found.route).cost;
        let (base, max) = (shown_bytes(rule.base_bytes), shown_bytes(rule.max_bytes));
        let length = match body {
            BodyLength::Known(bytes) => bytes,
            BodyLength::Unknown => 0,
        };
        match cost.source {
            CostSource::Hint(field) => format!("{} says so", self.name(field)),
            CostSource::Rule if rule.factor.is_zero() => "fixed".to_owned(),
            CostSource::Rule => format!("{base} + {} × {length}", rule.factor),
            CostSource::Capped => {
                format!(
                    "{base} + {} × {length} is more than max, {max}",
                    rule.factor
                )
            }
            CostSource::Unknown => format!("max, {max}, as the length is unknown"),
        }
    }

    fn deadline(&self) -> String {
        match self.found.deadline {
            None => "none".to_owned(),
            Some((after, source)) => {
                let after = show_duration(after);
                match source {
                    DeadlineSource::Field(field) => {
                        format!("{after}: {} says so", self.name(field))
                    }
                    DeadlineSource::Default => format!("{after}: the default here"),
                }
            }
        }
    }

    fn tenant(&self) -> String {
        let fields = &self.policy.classifier.hints().tenant;
        match self.found.tenant {
            Some((field, name)) => {
                let name = String::from_utf8_lossy(name);
                format!("{name:?}: {} says so", self.name(field))
            }
            None if fields.is_empty() => "none: tenant.headers is []".to_owned(),
            None if !self.asked.is_trusted => "none: the peer is not believed".to_owned(),
            None => {
                let names: Vec<_> = fields.iter().map(|field| self.name(*field)).collect();
                format!("none: {} does not say", names.join(" or "))
            }
        }
    }

    fn retry(&self) -> String {
        match self.found.retry {
            Some(field) => format!("yes: {} says so", self.name(field)),
            None => "no".to_owned(),
        }
    }

    /// What was not understood.
    fn bad(&self, hint: Hint) -> String {
        let hints = self.policy.classifier.hints();
        let fields: Vec<FieldId> = match hint {
            Hint::Cost => hints.cost.clone(),
            Hint::Deadline => hints.deadline.iter().map(|(field, _)| *field).collect(),
            Hint::GrpcTimeout => hints.grpc_timeout.into_iter().collect(),
            Hint::Tenant => hints.tenant.clone(),
            Hint::Attempt => hints.attempt.iter().map(|(field, _)| *field).collect(),
        };
        let there = fields.into_iter().flat_map(|field| {
            let values = self.asked.fields.values(field);
            values.map(move |value| {
                let value = String::from_utf8_lossy(value);
                format!("{}: {value}", self.name(field))
            })
        });
        let there: Vec<String> = there.collect();
        format!(
            "what it says of its {}, or a part of it ({})",
            match hint {
                Hint::Cost => "cost",
                Hint::Deadline => "deadline",
                Hint::GrpcTimeout => "gRPC deadline",
                Hint::Tenant => "tenant",
                Hint::Attempt => "attempts",
            },
            there.join(", ")
        )
    }

    fn called(&self, route: usize) -> String {
        match &self.policy.routes[route] {
            Some(name) => format!("route[{}] {name:?}", route + 1),
            None => format!("route[{}]", route + 1),
        }
    }

    fn name(&self, field: FieldId) -> &str {
        self.policy.classifier.names().name(field)
    }
}

fn shown_bytes(bytes: u64) -> String {
    let short = show_quantity(bytes);
    if short.len() <= 7 {
        short
    } else {
        format!("{bytes} bytes")
    }
}

/// Units as permits.
fn thousandths(units: u32) -> String {
    let thousandths = u64::from(units) * 1000 / u64::from(UNITS_PER_TASK);
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}
