//! What a head says, and what a request is by it.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::admission::Budget;
use crate::admission::route::{PathRule, When};

const MIB: u64 = 1 << 20;

/// Fields by the places of their names.
#[derive(Debug, Default)]
struct Head(HashMap<u16, Vec<Vec<u8>>>);

impl Fields for Head {
    fn values(&self, field: FieldId) -> impl Iterator<Item = &[u8]> {
        self.0
            .get(&field.0)
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
    }
}

fn rule(factor: &str, oversize: Oversize) -> CostRule {
    CostRule {
        base_bytes: 4 * MIB,
        factor: factor.parse().expect("a decimal"),
        max_bytes: 64 * MIB,
        oversize,
    }
}

/// One route, `/up`, and every kind of hint.
fn classifier() -> Classifier {
    let mut names = FieldNames::default();
    let hints = HintFields {
        grpc_timeout: Some(names.id("grpc-timeout")),
        deadline: ["x-envoy-expected-rq-timeout-ms", "X-Request-Timeout"]
            .map(|name| (names.id(name), Alone::of(name)))
            .to_vec(),
        cost: vec![names.id("x-request-cost")],
        tenant: vec![names.id("x-tenant"), names.id("x-api-key")],
        attempt: vec![
            (names.id("x-envoy-attempt-count"), 1),
            (names.id("grpc-previous-rpc-attempts"), 0),
        ],
    };
    let up = When {
        paths: vec![PathRule::Prefix("/up".into())],
        ..When::default()
    };
    let plan = Plan {
        class: 1,
        cost: rule("2.5", Oversize::Solo),
        deadline: Some(Duration::from_secs(7)),
    };
    let fallback = Plan {
        class: 0,
        cost: CostRule::flat(MIB),
        deadline: None,
    };
    Classifier::new(names, Routes::new(vec![up]), vec![plan], fallback, hints)
}

struct Ask<'a> {
    path: &'a str,
    is_grpc: bool,
    is_trusted: bool,
    body: BodyLength,
}

const PLAIN: Ask<'_> = Ask {
    path: "/",
    is_grpc: false,
    is_trusted: true,
    body: BodyLength::Known(0),
};

/// What a request with these fields is, in a form that can be compared.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    class: u8,
    cost: u64,
    deadline_millis: Option<u128>,
    tenant: Option<String>,
    is_retry: bool,
    bad: Vec<Hint>,
}

fn classify(ask: &Ask<'_>, fields: &[(&str, &str)]) -> Found {
    let classifier = classifier();
    let mut names = classifier.names().clone();
    let mut head = Head::default();
    for (name, value) in fields {
        let values = head.0.entry(names.id(name).0).or_default();
        values.push(value.as_bytes().to_vec());
    }
    let asked = Asked {
        method: "POST",
        path: ask.path,
        is_grpc: ask.is_grpc,
        is_trusted: ask.is_trusted,
        fields: &head,
    };
    let found = classifier.classify(&asked, ask.body);
    assert_eq!(found.route, (found.class == 1).then_some(0));
    let name = |name: &[u8]| String::from_utf8(name.to_vec()).expect("text");
    Found {
        class: found.class,
        cost: found.cost.bytes,
        deadline_millis: found.deadline.map(|(after, _)| after.as_millis()),
        tenant: found.tenant.map(|(_, tenant)| name(tenant)),
        is_retry: found.retry.is_some(),
        bad: found.bad.iter().collect(),
    }
}

#[test]
fn without_a_word_the_plan_holds() {
    let nothing = Found {
        class: 0,
        cost: MIB,
        deadline_millis: None,
        tenant: None,
        is_retry: false,
        bad: vec![],
    };
    assert_eq!(classify(&PLAIN, &[]), nothing);
    let up = Ask {
        path: "/up/x",
        body: BodyLength::Known(2 * MIB),
        ..PLAIN
    };
    let found = classify(&up, &[]);
    assert_eq!(
        (found.class, found.cost, found.deadline_millis),
        (1, 9 * MIB, Some(7000))
    );
}

/// A request, its fields, its deadline in milliseconds, and what of it is bad.
type Row<'a> = (Ask<'a>, &'a [(&'a str, &'a str)], u128, &'a [Hint]);

#[test]
fn the_smallest_deadline_wins_wherever_it_stands() {
    let envoy = "x-envoy-expected-rq-timeout-ms";
    let other = "x-request-timeout";
    let grpc = "grpc-timeout";
    let call = || Ask {
        is_grpc: true,
        path: "/up",
        ..PLAIN
    };
    let plain = || Ask {
        path: "/up",
        ..PLAIN
    };
    let rows: [Row<'_>; 10] = [
        (
            call(),
            &[(grpc, "250m"), (envoy, "300"), (other, "1")],
            250,
            &[],
        ),
        (
            call(),
            &[(grpc, "500m"), (envoy, "300"), (other, "1")],
            300,
            &[],
        ),
        (
            plain(),
            &[(grpc, "250m"), (envoy, "1500"), (other, "1")],
            1000,
            &[],
        ),
        // Longer than the route's default: the client's own word counts.
        (plain(), &[(other, "60")], 60_000, &[]),
        (call(), &[(grpc, "0m"), (envoy, "300")], 0, &[]),
        (call(), &[(grpc, "99999999H")], 99_999_999 * 3_600_000, &[]),
        (
            plain(),
            &[(envoy, "soon"), (other, "2")],
            2000,
            &[Hint::Deadline],
        ),
        (plain(), &[(envoy, "0")], 7000, &[Hint::Deadline]),
        (
            plain(),
            &[(envoy, "300"), (envoy, "300")],
            7000,
            &[Hint::Deadline],
        ),
        (
            call(),
            &[(grpc, "1x"), (envoy, "x")],
            7000,
            &[Hint::Deadline, Hint::GrpcTimeout],
        ),
    ];
    for (ask, fields, millis, bad) in rows {
        let found = classify(&ask, fields);
        assert_eq!(found.deadline_millis, Some(millis), "{fields:?}");
        assert_eq!(found.bad, bad, "{fields:?}");
    }
}

#[test]
fn cost_and_tenant_are_taken_from_those_who_are_believed() {
    let fields = [
        ("x-request-cost", "5000"),
        ("x-api-key", "k"),
        ("x-tenant", "acme"),
    ];
    let found = classify(&PLAIN, &fields);
    assert_eq!((found.cost, found.tenant.as_deref()), (5000, Some("acme")));
    let stranger = Ask {
        is_trusted: false,
        ..PLAIN
    };
    let found = classify(&stranger, &fields);
    assert_eq!((found.cost, found.tenant), (MIB, None));
    assert_eq!(found.bad, []);
    let long = "x".repeat(TENANT_MAX + 1);
    for (cost, tenant) in [("16Mi", ""), ("0", &long), ("-1", ""), ("1e6", &long)] {
        // A second field does not stand in for one that is there and says nothing.
        let found = classify(
            &PLAIN,
            &[
                ("x-request-cost", cost),
                ("x-tenant", tenant),
                ("x-api-key", "k"),
            ],
        );
        assert_eq!((found.cost, found.tenant), (MIB, None), "{cost}");
        assert_eq!(found.bad, [Hint::Cost, Hint::Tenant], "{cost}");
    }
    assert_eq!(
        classify(&PLAIN, &[("x-api-key", "k")]).tenant.as_deref(),
        Some("k")
    );
}

#[test]
fn attempts_are_counted_from_where_each_field_counts() {
    let envoy = "x-envoy-attempt-count";
    let grpc = "grpc-previous-rpc-attempts";
    for (fields, is_retry, is_bad) in [
        (vec![(envoy, "1")], false, false),
        (vec![(envoy, "2")], true, false),
        (vec![(grpc, "0")], false, false),
        (vec![(grpc, "1")], true, false),
        (vec![(envoy, "1"), (grpc, "1")], true, false),
        (vec![(envoy, "two"), (grpc, "1")], true, true),
        (vec![(envoy, "")], false, true),
    ] {
        let found = classify(&PLAIN, &fields);
        assert_eq!(
            (found.is_retry, !found.bad.is_empty()),
            (is_retry, is_bad),
            "{fields:?}"
        );
    }
}

#[test]
fn a_cost_is_base_and_length_up_to_the_maximum() {
    let field = FieldId(0);
    let sized = rule("2.5", Oversize::Solo);
    let bytes = |length, hint| {
        let cost = sized.cost(length, hint);
        (cost.bytes, cost.source)
    };
    let known = BodyLength::Known;
    assert_eq!(bytes(known(0), None), (4 * MIB, CostSource::Rule));
    assert_eq!(bytes(known(3), None), (4 * MIB + 7, CostSource::Rule));
    assert_eq!(bytes(known(24 * MIB), None), (64 * MIB, CostSource::Rule));
    assert_eq!(
        bytes(known(24 * MIB + 1), None),
        (64 * MIB, CostSource::Capped)
    );
    assert_eq!(bytes(known(u64::MAX), None), (64 * MIB, CostSource::Capped));
    assert_eq!(
        bytes(BodyLength::Unknown, None),
        (64 * MIB, CostSource::Unknown)
    );
    assert_eq!(
        bytes(known(9), Some((field, 1))),
        (1, CostSource::Hint(field))
    );
    let flat = CostRule::flat(MIB);
    assert_eq!(
        flat.cost(BodyLength::Unknown, None).source,
        CostSource::Rule
    );
}

#[test]
fn a_cost_is_charged_between_a_kibibyte_and_the_budget() {
    let fraction = |text: &str| text.parse().expect("a decimal");
    let budget = Budget::new(100 * MIB, 10 * MIB, fraction("0.8")).expect("eight permits");
    let units = |bytes, oversize| {
        let cost = Cost {
            bytes,
            source: CostSource::Rule,
            oversize,
        };
        cost.units(&budget)
    };
    assert_eq!(units(10 * MIB, Oversize::Solo), Ok(1024));
    assert_eq!(units(1, Oversize::Solo), Ok(1));
    assert_eq!(units(80 * MIB, Oversize::Reject), Ok(budget.limit_units()));
    assert_eq!(units(u64::MAX, Oversize::Solo), Ok(budget.limit_units()));
    assert_eq!(
        units(80 * MIB + 1, Oversize::Reject),
        Err(TooLarge {
            cost_bytes: 80 * MIB + 1,
            budget_bytes: 80 * MIB
        })
    );
    // The floor is never above what a default request is charged, or the formula would not hold.
    let tiny = Budget::new(100, 10, fraction("1")).expect("ten permits");
    let cost = CostRule::flat(10).cost(BodyLength::Known(0), None);
    assert_eq!(cost.units(&tiny), Ok(1024));
    let large = Budget::new(100 * MIB, MIB, fraction("1")).expect("a hundred permits");
    let cost = CostRule::flat(1).cost(BodyLength::Known(0), None);
    assert_eq!(cost.units(&large), Ok(1));
    let small = Budget::new(MIB, 2 << 10, fraction("1")).expect("512 permits");
    assert_eq!(cost.units(&small), Ok(512));
}

proptest! {
    /// More body never costs less, and every cost can be had.
    #[test]
    fn costs_grow_with_the_body_and_stay_in_range(
        base in 0_u64..1 << 40,
        more in 0_u64..1 << 40,
        mut lengths in [any::<u64>(), any::<u64>()],
        hundredths in 0_u64..100_000,
    ) {
        let factor = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let rule = CostRule {
            base_bytes: base,
            max_bytes: base + more,
            factor: factor.parse().expect("a decimal"),
            oversize: Oversize::Solo,
        };
        let bytes = |length| rule.cost(length, None).bytes;
        lengths.sort_unstable();
        let [short, long] = lengths.map(BodyLength::Known).map(bytes);
        prop_assert!(short <= long);
        prop_assert!((base..=base + more).contains(&short));
        prop_assert!(bytes(BodyLength::Unknown) >= short || hundredths == 0);
        let budget = Budget::new(7 << 30, 1 << 30, "1".parse().expect("one")).expect("seven");
        let units = rule.cost(BodyLength::Unknown, None).units(&budget).expect("solo");
        prop_assert!((1..=budget.limit_units()).contains(&units));
    }

    #[test]
    fn no_field_makes_it_panic(value in prop::collection::vec(any::<u8>(), 0..24), is_grpc: bool) {
        let classifier = classifier();
        let fields = 0..u16::try_from(classifier.names().iter().count()).expect("a few");
        let head = Head(fields.map(|field| (field, vec![value.clone()])).collect());
        let asked = Asked { method: "GET", path: "/", is_grpc, is_trusted: true, fields: &head };
        let found = classifier.classify(&asked, BodyLength::Unknown);
        prop_assert!(found.deadline.is_none_or(|(after, _)| is_grpc || after <= TIMEOUT_MAX));
    }
}
