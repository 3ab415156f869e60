//! A head as the classifier sees it: its fields by names that are prepared once.

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, request};

use crate::admission::classify::{self, Classifier, FieldId};
use crate::admission::route::{Asked, Fields};

/// A classifier with the names of the fields that it asks for. Replaced on reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadClassifier {
    classifier: Classifier,
    names: Box<[HeaderName]>,
    /// The [`bit`] of each; 0 for the host, which may stand elsewhere.
    bits: Box<[u64]>,
    /// Whether it matters what a peer is believed.
    asks_for_trust: bool,
}

/// The fields of one head. `host` is what names the host, wherever it stands: on HTTP/2 that is
/// `:authority`.
#[derive(Debug)]
pub struct HeadFields<'a> {
    names: &'a [HeaderName],
    bits: &'a [u64],
    head: &'a request::Parts,
    /// The [`bit`]s of all names that are there: most fields that are asked for are not, and a
    /// look-up hashes the whole name.
    there: u64,
}

impl HeadClassifier {
    /// Prepares the look-ups of a classifier.
    ///
    /// # Panics
    ///
    /// If one of its names is not that of a field: the configuration checks that.
    #[must_use]
    pub fn new(classifier: Classifier) -> Self {
        let name = |name: &str| HeaderName::try_from(name).expect("checked by the configuration");
        let names: Box<[_]> = classifier.names().iter().map(name).collect();
        let hints = classifier.hints();
        let mut routes = classifier.routes().list().iter();
        Self {
            bits: names
                .iter()
                .map(|name| if *name == HOST { 0 } else { bit(name) })
                .collect(),
            names,
            asks_for_trust: !hints.cost.is_empty()
                || !hints.tenant.is_empty()
                || routes.any(|when| when.is_trusted),
            classifier,
        }
    }

    /// Whether it matters what a peer is believed.
    pub(in crate::proxy) fn asks_for_trust(&self) -> bool {
        self.asks_for_trust
    }

    /// What decides.
    #[must_use]
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// The name of a field.
    pub(in crate::proxy) fn name(&self, field: FieldId) -> &HeaderName {
        &self.names[usize::from(field.0)]
    }

    /// The fields of a head.
    #[must_use]
    pub fn fields<'a>(&'a self, head: &'a request::Parts) -> HeadFields<'a> {
        let names = head.headers.keys();
        HeadFields {
            names: &self.names,
            bits: &self.bits,
            head,
            there: names.fold(0, |there, name| there | bit(name)),
        }
    }
}

impl Fields for HeadFields<'_> {
    fn may_have(&self, field: FieldId) -> bool {
        let bit = self.bits[usize::from(field.0)];
        bit == 0 || self.there & bit != 0
    }

    fn values(&self, field: FieldId) -> impl Iterator<Item = &[u8]> {
        let name = &self.names[usize::from(field.0)];
        let uri = &self.head.uri;
        let authority = uri.authority().filter(|_| *name == HOST);
        let values = self.head.headers.get_all(name).into_iter();
        let values = values.filter(move |_| authority.is_none());
        let authority = authority.map(|authority| authority.as_str().as_bytes());
        authority
            .into_iter()
            .chain(values.map(HeaderValue::as_bytes))
    }
}

/// One of 64 bits, by a name's length and ends.
fn bit(name: &HeaderName) -> u64 {
    let name = name.as_str().as_bytes();
    let ends = match name {
        [first, .., last] => usize::from(*first) + 2 * usize::from(*last),
        _ => 0,
    };
    1 << ((7 * name.len() + ends) % 64)
}

/// A request as routes see it.
#[must_use]
pub fn asked<'a>(
    fields: &'a HeadFields<'a>,
    is_grpc: bool,
    is_trusted: bool,
) -> Asked<'a, HeadFields<'a>> {
    Asked {
        method: fields.head.method.as_str(),
        path: fields.head.uri.path(),
        is_grpc,
        is_trusted,
        fields,
    }
}

/// Whether a head is that of a gRPC call.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| classify::is_grpc(kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::admission::classify::{BodyLength, CostRule, FieldNames, HintFields, Plan};
    use crate::admission::route::{FieldRule, FieldTest, Routes, When};

    /// One route, for a host, and a tenant's field.
    fn classifier() -> HeadClassifier {
        let mut names = FieldNames::default();
        let when = When {
            fields: vec![FieldRule {
                field: names.id("host"),
                test: FieldTest::Is("a.example".into()),
            }],
            ..When::default()
        };
        let hints = HintFields {
            tenant: vec![names.id("X-Tenant")],
            ..HintFields::default()
        };
        let plan = Plan {
            class: 1,
            cost: CostRule::flat(1 << 20),
            deadline: None,
        };
        let fallback = Plan { class: 0, ..plan };
        let routes = Routes::new(vec![when]);
        HeadClassifier::new(Classifier::new(names, routes, vec![plan], fallback, hints))
    }

    #[test]
    fn the_host_is_found_where_it_stands_and_fields_in_any_case() {
        let classifier = classifier();
        for (uri, host, class) in [
            ("/x", Some("a.example"), 1),
            ("http://a.example/x", None, 1),
            // A whole URI wins over the field.
            ("http://a.example/x", Some("b.example"), 1),
            ("http://b.example/x", Some("a.example"), 0),
            ("/x", None, 0),
        ] {
            let mut request = Request::get(uri).header("X-TENANT", "acme");
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let (head, ()) = request.body(()).expect("a request").into_parts();
            let fields = classifier.fields(&head);
            let asked = asked(&fields, false, true);
            assert_eq!(asked.path, "/x");
            let body = BodyLength::Known(0);
            let found = classifier.classifier().classify(&asked, body);
            assert_eq!(found.class, class, "{uri} {host:?}");
            assert_eq!(found.tenant.map(|(_, name)| name), Some(&b"acme"[..]));
        }
    }

    proptest! {
        #[test]
        fn every_field_is_found_that_is_there_and_no_other(
            there in prop::collection::vec(("[a-c-]{1,3}", "[a-z]{0,3}"), 0..6),
            asked in "[a-c-]{1,3}",
        ) {
            let mut names = FieldNames::default();
            let field = names.id(&asked);
            let plan = Plan { class: 0, cost: CostRule::flat(1), deadline: None };
            let routes = Routes::new(Vec::new());
            let hints = HintFields::default();
            let classifier = Classifier::new(names, routes, Vec::new(), plan, hints);
            let classifier = HeadClassifier::new(classifier);
            let mut request = Request::get("/");
            for (name, value) in &there {
                request = request.header(name, value);
            }
            let (head, ()) = request.body(()).expect("a request").into_parts();
            let fields = classifier.fields(&head);
            let found: Vec<_> = fields.values(field).collect();
            prop_assert!(fields.may_have(field) || found.is_empty());
            let said = there.iter().filter(|(name, _)| *name == asked);
            let said: Vec<_> = said.map(|(_, value)| value.as_bytes()).collect();
            prop_assert_eq!(found, said);
        }
    }
}
