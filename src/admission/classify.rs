//! From a request's head to what the gate is asked for: its route, and by that its class, cost and
//! deadline; its tenant, and whether it is a retry. Pure.
//!
//! | what | from | where that is missing or cannot be read |
//! |---|---|---|
//! | route | the first that fits | the class `default`, and what `[cost]` and `[deadline]` say |
//! | cost | a field of `cost.headers` from a believed peer, in place of the route's rule | the rule |
//! | deadline | **the smallest** of `grpc-timeout` (gRPC only) and the fields of `deadline.headers` | the route's, or the default |
//! | tenant | the first field of `tenant.headers` that is there, from a believed peer | nobody's |
//! | retry | any field of `retry_budget.headers` | a first attempt |
//!
//! Each party that states a time gives up when it is over, and work after that is for nobody: so
//! the smallest wins, and not the first. A client can only shorten its own time by it, so those
//! fields are taken from everybody. What could get a client more than its share (a low cost,
//! another's name) is taken from peers that are believed, and is not even looked at otherwise.
//!
//! A field that says what cannot be used, or that stands there twice, is as if it were not there,
//! and is [named](Classified::bad), for a metric.

mod cost;
mod hint;

use std::time::Duration;

pub use super::route::FieldId;
use super::route::{Asked, Fields, Routes};
pub use cost::{
    BodyLength, COST_FLOOR_BYTES, Cost, CostRule, CostSource, Oversize, TooLarge, units,
};
pub use hint::{
    Alone, GRPC_UNITS, Hint, Hints, TENANT_MAX, TIMEOUT_MAX, bytes, grpc_timeout, is_grpc, number,
    tenant, timeout,
};

/// The names of fields, each once, in lower case: a [`FieldId`] is a place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames(Vec<Box<str>>);

impl FieldNames {
    /// The place of a name, which is added if it is new.
    ///
    /// # Panics
    ///
    /// With more than 65,536 names: the configuration checks that.
    pub fn id(&mut self, name: &str) -> FieldId {
        let name = name.to_ascii_lowercase();
        let known = self.0.iter().position(|known| **known == *name);
        let at = known.unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        });
        FieldId(u16::try_from(at).expect("the reader bounds the fields"))
    }

    /// The name at a place.
    #[must_use]
    pub fn name(&self, field: FieldId) -> &str {
        &self.0[usize::from(field.0)]
    }

    /// Every name, in the order of the places.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

/// What a route gives to the requests that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The class, by its place in the configuration.
    pub class: u8,
    /// What they cost.
    pub cost: CostRule,
    /// How long their client waits if it does not say so.
    pub deadline: Option<Duration>,
}

/// Which fields are looked at for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HintFields {
    /// `grpc-timeout`, if calls are to have their deadline.
    pub grpc_timeout: Option<FieldId>,
    /// Times, and what a number alone is counted in.
    pub deadline: Vec<(FieldId, Alone)>,
    /// Costs in bytes. The first that is there counts.
    pub cost: Vec<FieldId>,
    /// Names of tenants. The first that is there counts.
    pub tenant: Vec<FieldId>,
    /// How often a request was sent, and what the first attempt has there.
    pub attempt: Vec<(FieldId, u64)>,
}

/// Who gives up on a request when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineSource {
    /// What this field says.
    Field(FieldId),
    /// The route's, or the default.
    Default,
}

/// What a request is to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified<'f> {
    /// The route, by its place in the configuration; `None` if no route takes it.
    pub route: Option<usize>,
    /// The class, by its place in the configuration.
    pub class: u8,
    /// What it is charged.
    pub cost: Cost,
    /// How long after its arrival somebody gives up on it, and who says so.
    pub deadline: Option<(Duration, DeadlineSource)>,
    /// Whose it is, as named by this field.
    pub tenant: Option<(FieldId, &'f [u8])>,
    /// The field by which it is not a first attempt.
    pub retry: Option<FieldId>,
    /// What it says and could not be used.
    pub bad: Hints,
}

/// Classifies requests. Compiled from the configuration, and replaced with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classifier {
    names: FieldNames,
    routes: Routes,
    /// One for each route, in the same order.
    plans: Vec<Plan>,
    /// For what no route takes.
    fallback: Plan,
    hints: HintFields,
}

impl Classifier {
    /// A classifier for these routes. The names are those that routes and hints were made with.
    ///
    /// # Panics
    ///
    /// If there are not as many plans as routes.
    #[must_use]
    pub fn new(
        names: FieldNames,
        routes: Routes,
        plans: Vec<Plan>,
        fallback: Plan,
        hints: HintFields,
    ) -> Self {
        assert_eq!(routes.list().len(), plans.len(), "each route has a plan");
        Self {
            names,
            routes,
            plans,
            fallback,
            hints,
        }
    }

    /// The fields that a look at a request may ask for, so that its head can be prepared for them.
    #[must_use]
    pub fn names(&self) -> &FieldNames {
        &self.names
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What a route gives, or with `None`, what a request gets that no route takes.
    #[must_use]
    pub fn plan(&self, route: Option<usize>) -> &Plan {
        route.map_or(&self.fallback, |route| &self.plans[route])
    }

    /// Which fields are looked at for what.
    #[must_use]
    pub fn hints(&self) -> &HintFields {
        &self.hints
    }

    /// Says what a request is. `body` is what its head says of its length.
    pub fn classify<'f, F: Fields>(
        &self,
        asked: &Asked<'f, F>,
        body: BodyLength,
    ) -> Classified<'f> {
        let route = self.routes.find(asked);
        let plan = self.plan(route);
        let mut bad = Hints::default();
        let (mut cost, mut tenant) = (None, None);
        if asked.is_trusted {
            cost = first(
                asked.fields,
                &self.hints.cost,
                hint::bytes,
                Hint::Cost,
                &mut bad,
            );
            let names = &self.hints.tenant;
            tenant = first(asked.fields, names, hint::tenant, Hint::Tenant, &mut bad);
        }
        let said = self.said(asked, &mut bad);
        let default = || Some((plan.deadline?, DeadlineSource::Default));
        Classified {
            route,
            class: plan.class,
            cost: plan.cost.cost(body, cost),
            deadline: said.or_else(default),
            tenant,
            retry: self.retry(asked.fields, &mut bad),
            bad,
        }
    }

    /// The smallest of the times that are stated.
    fn said<F: Fields>(
        &self,
        asked: &Asked<'_, F>,
        bad: &mut Hints,
    ) -> Option<(Duration, DeadlineSource)> {
        let grpc = self.hints.grpc_timeout.filter(|_| asked.is_grpc);
        let grpc = grpc.and_then(|field| {
            let timeout = one(
                asked.fields,
                field,
                hint::grpc_timeout,
                Hint::GrpcTimeout,
                bad,
            )?;
            Some((timeout, DeadlineSource::Field(field)))
        });
        let mut least = grpc;
        for (field, alone) in &self.hints.deadline {
            let read = |value| hint::timeout(value, *alone);
            if let Some(timeout) = one(asked.fields, *field, read, Hint::Deadline, bad)
                && least.is_none_or(|(least, _)| timeout < least)
            {
                least = Some((timeout, DeadlineSource::Field(*field)));
            }
        }
        least
    }

    /// The first field that counts more attempts than one.
    fn retry<F: Fields>(&self, fields: &F, bad: &mut Hints) -> Option<FieldId> {
        let mut all = self.hints.attempt.iter();
        let found = all.find(|(field, first)| {
            one(fields, *field, hint::number, Hint::Attempt, bad).is_some_and(|said| said > *first)
        });
        found.map(|(field, _)| *field)
    }
}

/// What the first of these fields says that is there.
fn first<'f, F: Fields, T>(
    fields: &'f F,
    names: &[FieldId],
    read: impl Fn(&'f [u8]) -> Option<T>,
    hint: Hint,
    bad: &mut Hints,
) -> Option<(FieldId, T)> {
    let mut there = names.iter();
    let field = there.find(|field| fields.values(**field).next().is_some())?;
    one(fields, *field, read, hint, bad).map(|said| (*field, said))
}

/// What a field says that is there once.
fn one<'f, F: Fields, T>(
    fields: &'f F,
    field: FieldId,
    read: impl Fn(&'f [u8]) -> Option<T>,
    hint: Hint,
    bad: &mut Hints,
) -> Option<T> {
    if !fields.may_have(field) {
        return None;
    }
    let mut values = fields.values(field);
    let value = values.next()?;
    let read = read(value).filter(|_| values.next().is_none());
    if read.is_none() {
        bad.insert(hint);
    }
    read
}

#[cfg(test)]
mod tests;
