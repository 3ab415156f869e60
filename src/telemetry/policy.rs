//! What a scrape tells of the policy: every metric with labels that the configuration names.
//!
//! The exporter cannot take a series back, and some of these come and go with a reload; so they are
//! written here. Which series there are depends on the configuration and never on what is sent, but
//! for the names of tenants.

use std::sync::Arc;
use std::time::Duration;

use super::classes::{ByReason, ClassCounts};
use super::histogram::amount;
use super::metrics::Metrics;
use super::names::{self, MetricSpec, Unit};
use super::tenants::TenantCounts;
use crate::admission::{Outcome, PredictionError, Quantiles, RejectReason, UNITS_PER_TASK};

/// What the gate says of its policy. Classes stand in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyFigures {
    /// Whether everybody passes and rejects are only counted.
    pub is_shadow: bool,
    /// For each class what would have been rejected so far.
    pub shadow_rejected: Vec<ByReason>,
    /// The limit that would have been enough, in units; `u64::MAX` for more than can be told.
    pub enough_units: u64,
    /// How far predicted waits were off.
    pub prediction: PredictionError,
    /// For each class how long requests take, where enough were measured.
    pub service: Vec<Option<Quantiles>>,
}

impl PolicyFigures {
    /// The permits that would have been enough, rounded up; infinite for more than can be told,
    /// `None` outside of shadow mode.
    #[must_use]
    pub fn sufficient_permits(&self) -> Option<f64> {
        self.is_shadow.then(|| match self.enough_units {
            u64::MAX => f64::INFINITY,
            units => units.div_ceil(u64::from(UNITS_PER_TASK)) as f64,
        })
    }
}

/// A series: the values of its labels, which hold nothing that would have to be escaped, and its own.
type Series<'a> = (Vec<&'a str>, String);

/// The text of the metrics of this module.
pub(super) fn render(metrics: &Metrics, figures: &PolicyFigures) -> String {
    let configured = metrics.classes().configured();
    let service = configured.iter().enumerate().flat_map(|(at, (class, _))| {
        let known = figures.service.get(at).copied().flatten();
        let series = |(quantile, seconds)| (vec![&**class, quantile], number(seconds));
        quantiles(known).map(series)
    });
    let enough = figures.sufficient_permits();
    let enough = enough.map(|permits| (Vec::new(), number(permits)));
    [
        classes(&metrics.classes().all()),
        tenants(&metrics.tenants().all()),
        prediction(&figures.prediction),
        family(&names::SHADOW_SUFFICIENT_PERMITS, enough),
        family(&names::SERVICE_QUANTILE_SECONDS, service),
    ]
    .concat()
}

fn classes(all: &[(Arc<str>, ClassCounts)]) -> String {
    let requests = all.iter().flat_map(|(class, counts)| {
        let counts = Outcome::ALL.into_iter().zip(counts.requests);
        counts.map(|(outcome, count)| (vec![&**class, outcome.label()], count.to_string()))
    });
    let by_reason = |spec, pick: fn(&ClassCounts) -> &ByReason| {
        let series = all.iter().flat_map(|(class, counts)| {
            let counts = RejectReason::ALL.into_iter().zip(pick(counts));
            counts.map(|(reason, count)| (vec![&**class, reason.label()], count.to_string()))
        });
        family(spec, series)
    };
    [
        family(&names::REQUESTS_TOTAL, requests),
        by_reason(&names::REJECTED_TOTAL, |counts| &counts.rejected),
        by_reason(&names::SHADOW_REJECTED_TOTAL, |counts| {
            &counts.shadow_rejected
        }),
    ]
    .concat()
}

fn tenants(all: &[(String, TenantCounts)]) -> String {
    let by_name = |spec, pick: fn(&TenantCounts) -> u64| {
        let series = all.iter();
        let series = series.map(|(name, counts)| (vec![name.as_str()], pick(counts).to_string()));
        family(spec, series)
    };
    [
        by_name(&names::TENANT_REQUESTS_TOTAL, |counts| counts.requests),
        by_name(&names::TENANT_REJECTED_TOTAL, |counts| counts.rejected),
    ]
    .concat()
}

/// The exporter's counters are whole numbers, and whole seconds are too coarse here.
fn prediction(error: &PredictionError) -> String {
    let seconds = |micros: u64| amount(micros.saturating_mul(1000), Unit::Seconds);
    let errors = [
        (vec!["longer"], seconds(error.longer_micros)),
        (vec!["shorter"], seconds(error.shorter_micros)),
    ];
    let count = [(Vec::new(), error.count.to_string())];
    [
        family(&names::PREDICTED_WAIT_ERROR_SECONDS_TOTAL, errors),
        family(&names::PREDICTED_WAITS_TOTAL, count),
    ]
    .concat()
}

/// The values of the `quantile` label, and what they are in seconds: NaN while that is not known, as
/// those of a summary are that has seen nothing.
fn quantiles(known: Option<Quantiles>) -> [(&'static str, f64); 3] {
    let seconds = |pick: fn(Quantiles) -> Duration| {
        let time = known.map(pick);
        time.map_or(f64::NAN, |time| time.as_secs_f64())
    };
    [
        ("0.1", seconds(|known| known.p10)),
        ("0.5", seconds(|known| known.p50)),
        ("0.9", seconds(|known| known.p90)),
    ]
}

/// One metric, if it has any series.
fn family<'a>(spec: &MetricSpec, series: impl IntoIterator<Item = Series<'a>>) -> String {
    let MetricSpec {
        name, help, kind, ..
    } = *spec;
    let kind = kind.label();
    let mut lines = Vec::new();
    for (values, value) in series {
        debug_assert_eq!(values.len(), spec.labels.len(), "{name}");
        let labels = spec.labels.iter().zip(values);
        let labels: Vec<String> = labels
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        lines.push(match labels.as_slice() {
            [] => format!("{name} {value}\n"),
            labels => format!("{name}{{{}}} {value}\n", labels.join(",")),
        });
    }
    match lines.concat() {
        none if none.is_empty() => none,
        lines => format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}\n"),
    }
}

/// A number as the text format has it.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else {
        value.to_string()
    }
}
