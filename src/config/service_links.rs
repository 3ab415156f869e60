//! Variables that Kubernetes sets for each Service of a namespace, unasked.
//!
//! A Service named `weir--a` makes `WEIR__A_SERVICE_HOST` and half a dozen more, which would be
//! unknown keys: somebody else's Service must not keep weir from starting.

use std::collections::BTreeMap;

use super::problem::{Problem, quoted};
use super::source::ENV_PREFIX;

/// The variables that are none of those, and for each Service a warning.
pub(super) fn set_aside<'a>(
    variables: impl Iterator<Item = &'a (String, String)>,
    warnings: &mut Vec<Problem>,
) -> Vec<(&'a str, &'a str)> {
    let all: Vec<_> = variables.collect();
    let services: BTreeMap<&str, &(String, String)> = all
        .iter()
        .filter_map(|variable| Some((service(variable)?, *variable)))
        .collect();
    warnings.extend(services.values().map(|(name, value)| warning(name, value)));
    all.into_iter()
        .filter(|(name, _)| !services.keys().any(|service| is_of(name, service)))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// What stands for the Service in a variable that only Kubernetes writes like this.
fn service((name, value): &(String, String)) -> Option<&str> {
    let has_scheme = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let service = name
        .strip_suffix("_SERVICE_HOST")
        .or_else(|| name.strip_suffix("_SERVICE_PORT"))
        .or_else(|| name.strip_suffix("_PORT").filter(|_| has_scheme))?;
    (service.len() > ENV_PREFIX.len()).then_some(service)
}

/// `_SERVICE_HOST`, `_SERVICE_PORT_HTTP`, `_PORT`, `_PORT_80_TCP_ADDR` and their like.
fn is_of(name: &str, service: &str) -> bool {
    name.strip_prefix(service).is_some_and(|rest| {
        rest == "_PORT" || rest.starts_with("_PORT_") || rest.starts_with("_SERVICE_")
    })
}

fn warning(name: &str, value: &str) -> Problem {
    Problem {
        key: name.to_owned(),
        value: Some(quoted(value)),
        source: format!("environment variable {name}"),
        problem: "it is what Kubernetes sets for a Service of this name, and its like are \
                  ignored; a setting of weir begins with the same letters"
            .to_owned(),
        remedy: "set enableServiceLinks: false in the pod, or rename the Service".to_owned(),
    }
}

#[cfg(test)]
pub(super) fn looks_like_one(name: &str) -> bool {
    let variable = (name.to_owned(), "tcp://10.0.0.1:80".to_owned());
    service(&variable).is_some()
}
