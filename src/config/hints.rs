//! Reads `[cost]`, `[deadline]`, `[tenant]` and `[retry_budget]`: what holds where no route says
//! otherwise, and which fields are looked at.

use std::time::Duration;

use super::conditions;
use super::parse::{self, Round};
use super::policy::{Given, Tenants};
use super::problem::quoted;
use super::quantity;
use super::reader::{Complaint, Reader};
use crate::admission::classify::{
    Alone, COST_FLOOR_BYTES, CostRule, FieldId, FieldNames, HintFields, Oversize, TIMEOUT_MAX,
};
use crate::admission::{Decimal, Doom, RetryLimits, TenantRate};

/// Fields that are looked at for one purpose.
const FIELDS_MAX: usize = 8;

const RATE_MAX: u32 = 1_000_000;

/// What could be read.
pub(super) struct Hints {
    pub(super) cost: Option<CostParts>,
    pub(super) deadline: Option<Patience>,
    pub(super) rest: Option<Rest>,
}

/// What is read whole or not at all.
pub(super) struct Rest {
    pub(super) fields: HintFields,
    pub(super) doom: Option<Doom>,
    pub(super) tenants: Option<Tenants>,
    pub(super) retries: RetryLimits,
}

/// How long a client waits that does not say so; `None`: for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(pub(super) Option<Duration>);

/// A cost rule before anybody has asked whether it is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct CostParts {
    pub(super) base: u64,
    pub(super) factor: Decimal,
    pub(super) max: Option<u64>,
    pub(super) oversize: Oversize,
}

pub(super) fn read(reader: &mut Reader, given: &Given<'_>, names: &mut FieldNames) -> Hints {
    let (parts, cost) = cost(reader, given, names);
    let deadlines = fields(reader, "deadline.headers", names, deadline_field);
    let default = reader.read("deadline.default", deadline);
    let doomed = reader.read("deadline.doomed", parse::flag);
    let tenant = tenant(reader, names);
    let share = reader.read("retry_budget.share", parse::share);
    let per_second = reader.read("retry_budget.per_second", |text| {
        parse::whole(text, &(0..=10_000))
    });
    let attempt = fields(
        reader,
        "retry_budget.headers",
        names,
        conditions::field_name,
    );
    let rest = || {
        let timed = |field: FieldId| (field, Alone::of(names.name(field)));
        let deadline = deadlines?.into_iter().map(timed).collect();
        let (tenant, tenants) = tenant?;
        // Envoy counts the first attempt, too.
        let first = |field| u64::from(names.name(field) == "x-envoy-attempt-count");
        let attempt = attempt?
            .into_iter()
            .map(|field| (field, first(field)))
            .collect();
        let retries = RetryLimits {
            share: share?,
            per_second: per_second?,
        };
        let fields = HintFields {
            grpc_timeout: None,
            deadline,
            cost: cost?,
            tenant,
            attempt,
        };
        Some(Rest {
            fields,
            doom: doomed?.then(Doom::default),
            tenants,
            retries,
        })
    };
    let mut rest = rest();
    if let Some(rest) = &mut rest {
        rest.fields.grpc_timeout = Some(names.id("grpc-timeout"));
    }
    Hints {
        cost: parts,
        deadline: default,
        rest,
    }
}

fn cost(
    reader: &mut Reader,
    given: &Given<'_>,
    names: &mut FieldNames,
) -> (Option<CostParts>, Option<Vec<FieldId>>) {
    // Without it nothing comes of the configuration anyway.
    let per_task = given.per_task.unwrap_or(1);
    let base = reader.read("cost.base", |text| match text {
        "auto" => Ok(None),
        _ => cost_bytes(text).map(Some).map_err(parse::or_auto),
    });
    if let (Some(None), Some(per_task)) = (base, given.per_task) {
        reader.came_to("cost.base", &quantity::show(per_task));
    }
    let factor = reader.read("cost.factor", cost_factor);
    let max = reader.read("cost.max", |text| match text {
        "auto" => Ok(None),
        _ => cost_bytes(text).map(Some).map_err(parse::or_auto),
    });
    let headers = fields(reader, "cost.headers", names, conditions::field_name);
    let oversize = reader.read("cost.oversize", oversize);
    let parts = || {
        Some(CostParts {
            base: base?.unwrap_or(per_task),
            factor: factor?,
            max: max?,
            oversize: oversize?,
        })
    };
    (parts(), headers)
}

impl CostParts {
    /// The rule that the parts make; what is wrong with them is told of the key of the maximum.
    pub(super) fn rule(self, reader: &mut Reader, max_key: &str) -> Option<CostRule> {
        let rule = self.rule_if_whole();
        if rule.is_none() {
            let complaint = match self.max {
                None => Complaint::new(
                    "it says no maximum, and there is a factor",
                    "set it to the most that such a request can cost: a body of unknown length is \
                     charged that, and none is charged more",
                ),
                Some(max) => Complaint::new(
                    format!(
                        "the most that a request costs ({}) is less than its base ({})",
                        quantity::show(max),
                        quantity::show(self.base)
                    ),
                    "raise max, or lower base",
                ),
            };
            reader.problem(max_key, complaint);
        }
        rule
    }

    /// The same without a word.
    pub(super) fn rule_if_whole(self) -> Option<CostRule> {
        let max = self.max.or(self.factor.is_zero().then_some(self.base));
        let max_bytes = max.filter(|max| *max >= self.base)?;
        Some(CostRule {
            base_bytes: self.base,
            factor: self.factor,
            max_bytes,
            oversize: self.oversize,
        })
    }
}

pub(super) fn cost_bytes(text: &str) -> Result<u64, Complaint> {
    parse::bytes(text, Round::Up, &(COST_FLOOR_BYTES..=u64::MAX))
}

/// Bytes of memory for each byte of a body.
pub(super) fn cost_factor(text: &str) -> Result<Decimal, Complaint> {
    const MOST: u64 = 1000;
    let remedy =
        "write a decimal from 0 to 1000, such as 2.5: bytes of memory for each byte of body";
    let decimal: Decimal = text
        .parse()
        .map_err(|wrong| Complaint::new(format!("it is {wrong}"), remedy))?;
    if decimal.of(MOST) <= MOST * MOST {
        Ok(decimal)
    } else {
        Err(Complaint::new("it is out of range", remedy))
    }
}

pub(super) fn oversize(text: &str) -> Result<Oversize, Complaint> {
    let choices = [("solo", Oversize::Solo), ("reject", Oversize::Reject)];
    parse::one_of(text, &choices)
}

/// A deadline, or zero for none.
pub(super) fn deadline(text: &str) -> Result<Patience, Complaint> {
    let time = parse::duration(text, &(Duration::ZERO..=TIMEOUT_MAX))?;
    if time.is_zero() {
        Ok(Patience(None))
    } else if time < Duration::from_millis(1) {
        Err(Complaint::new(
            "it is out of range",
            "write 0s for none, or a duration from 1ms to 24h",
        ))
    } else {
        Ok(Patience(Some(time)))
    }
}

fn deadline_field(text: &str) -> Result<String, Complaint> {
    let name = conditions::field_name(text)?;
    if name == "grpc-timeout" {
        return Err(Complaint::new(
            "grpc-timeout is always looked at in gRPC calls, and has a grammar of its own",
            "remove it from the list",
        ));
    }
    Ok(name)
}

/// Where a tenant's name is, and how tenants share if there is such a place.
fn tenant(reader: &mut Reader, names: &mut FieldNames) -> Option<(Vec<FieldId>, Option<Tenants>)> {
    let headers = fields(reader, "tenant.headers", names, conditions::field_name);
    let rate = reader.read("tenant.rate", |text| parse::whole(text, &(0..=RATE_MAX)));
    let burst = reader.read("tenant.burst", |text| match text {
        "auto" => Ok(None),
        _ => parse::whole(text, &(1..=RATE_MAX))
            .map(Some)
            .map_err(parse::or_auto),
    });
    if let (Some(None), Some(rate @ 1..)) = (burst, rate) {
        reader.came_to("tenant.burst", &rate.to_string());
    }
    let exact = reader.read("tenant.exact", |text| parse::whole(text, &(1..=100_000)));
    let top = reader.read("tenant.top", |text| parse::whole(text, &(0..=100)));
    let nobody = headers.as_ref().is_some_and(Vec::is_empty);
    if nobody && rate.is_some_and(|rate| rate > 0) {
        let complaint = Complaint::new(
            "tenants are not told apart, so none has a rate",
            "name the field that says whose a request is in tenant.headers, or write 0",
        );
        reader.problem("tenant.rate", complaint);
    }
    let per_second = rate?;
    let burst = burst?.unwrap_or(per_second.max(1));
    let rate = (per_second > 0).then_some(TenantRate { per_second, burst });
    let tenants = Tenants {
        rate,
        exact: exact?,
        top: top?,
    };
    Some((headers?, (!nobody).then_some(tenants)))
}

/// A list of field names.
fn fields(
    reader: &mut Reader,
    key: &str,
    names: &mut FieldNames,
    parse: impl Fn(&str) -> Result<String, Complaint>,
) -> Option<Vec<FieldId>> {
    let list = reader.list(key, |text| parse(text).map(|name| vec![name]))?;
    if list.len() > FIELDS_MAX {
        let complaint = Complaint::new(
            format!("it names {} fields", list.len()),
            format!("name at most {FIELDS_MAX}: each is looked for in every request"),
        );
        reader.problem(key, complaint);
        return None;
    }
    for (at, name) in list.iter().enumerate() {
        if list[..at].contains(name) {
            let complaint = Complaint::new(
                format!("it names {} twice", quoted(name)),
                "remove one of the two",
            );
            reader.problem(key, complaint);
            return None;
        }
    }
    Some(list.iter().map(|name| names.id(name)).collect())
}
