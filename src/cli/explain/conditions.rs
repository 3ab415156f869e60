//! Conditions of routes in words.

use crate::admission::classify::FieldId;
use crate::admission::route::{Asked, FieldTest, Fields, Mismatch, PathRule, When};

/// Every condition of a route, as it was met.
pub(super) fn conditions<'n>(when: &When, name: &impl Fn(FieldId) -> &'n str) -> String {
    let mut all = Vec::new();
    if !when.paths.is_empty() {
        all.push(format!("the path is {}", paths(when)));
    }
    if !when.methods.is_any() {
        all.push(format!("the method is {}", methods(when)));
    }
    if when.is_grpc {
        all.push("it is a gRPC call".to_owned());
    }
    if when.is_trusted {
        all.push("the peer is in trust.proxies".to_owned());
    }
    all.extend(when.fields.iter().map(|rule| {
        let name = name(rule.field);
        match &rule.test {
            FieldTest::Present => format!("{name} is there"),
            FieldTest::Is(text) => format!("{name} is {text:?}"),
            FieldTest::Begins(text) => format!("{name} begins with {text:?}"),
        }
    }));
    if all.is_empty() {
        "it takes everything".to_owned()
    } else {
        all.join("; ")
    }
}

/// Why a route does not take a request.
pub(super) fn mismatch<'n, F: Fields>(
    when: &When,
    mismatch: Mismatch,
    asked: &Asked<'_, F>,
    name: &impl Fn(FieldId) -> &'n str,
) -> String {
    match mismatch {
        Mismatch::Path => format!("the path is not {}", paths(when)),
        Mismatch::Method => format!("the method {} is not {}", asked.method, methods(when)),
        Mismatch::NotGrpc => "it is no gRPC call".to_owned(),
        Mismatch::NotTrusted => "the peer is not in trust.proxies".to_owned(),
        Mismatch::Field(place) => {
            let rule = &when.fields[place];
            let name = name(rule.field);
            let values: Vec<String> = asked
                .fields
                .values(rule.field)
                .map(|value| format!("{:?}", String::from_utf8_lossy(value)))
                .collect();
            if values.is_empty() {
                return format!("{name} is not there");
            }
            let values = values.join(" and ");
            match &rule.test {
                FieldTest::Present => format!("{name} is not there"),
                FieldTest::Is(text) => format!("{name} is {values}, not {text:?}"),
                FieldTest::Begins(text) => {
                    format!("{name} is {values}, which does not begin with {text:?}")
                }
            }
        }
    }
}

fn paths(when: &When) -> String {
    const SHOWN: usize = 4;
    let rule = |rule: &PathRule| match rule {
        PathRule::Exact(text) => format!("{text:?}"),
        PathRule::Prefix(text) => format!("{text:?} or below it"),
        PathRule::Glob(glob) => format!("like {:?}", glob.text()),
    };
    let mut all: Vec<String> = when.paths.iter().take(SHOWN).map(rule).collect();
    if when.paths.len() > SHOWN {
        all.push(format!("one of {} more", when.paths.len() - SHOWN));
    }
    all.join(", or ")
}

fn methods(when: &When) -> String {
    when.methods.listed().collect::<Vec<_>>().join(" or ")
}
