//! Who has a series, and what it counts.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;

fn send(tenants: &Tenants, name: &str, times: u64) {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let key = TenantKey::new(hasher.finish());
    for _ in 0..times {
        tenants.finished(tenants.row(key, name.as_bytes()));
    }
}

fn of(top: u32) -> (Tenants, Instant) {
    let tenants = Tenants::new();
    tenants.configure(Some(top));
    (tenants, Instant::now())
}

fn requests(tenants: &Tenants) -> Vec<(String, u64)> {
    let mut all: Vec<_> = tenants
        .all()
        .into_iter()
        .map(|(name, counts)| (name, counts.requests))
        .collect();
    all.sort();
    all
}

fn is(tenants: &Tenants, expected: &[(&str, u64)]) {
    let expected: Vec<(String, u64)> = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    assert_eq!(requests(tenants), expected);
}

#[test]
fn the_busiest_have_series_and_the_rest_is_other() {
    let (tenants, now) = of(2);
    is(&tenants, &[("other", 0)]);
    for (name, times) in [("a", 30), ("b", 3), ("c", 20)] {
        send(&tenants, name, times);
    }
    is(&tenants, &[("other", 53)]);
    tenants.tick(now);
    is(&tenants, &[("a", 0), ("c", 0), ("other", 53)]);
    for (name, times) in [("a", 4), ("b", 3), ("c", 2)] {
        send(&tenants, name, times);
    }
    is(&tenants, &[("a", 4), ("c", 2), ("other", 56)]);
    let row = tenants.row(TenantKey::new(7), b"d");
    tenants.rejected(row);
    let other = tenants.all().pop().expect("other");
    assert_eq!((other.0.as_str(), other.1.rejected), (OTHER, 1));
}

#[test]
fn who_falls_out_vanishes_and_nothing_jumps() {
    let (tenants, now) = of(1);
    send(&tenants, "a", 20);
    tenants.tick(now);
    send(&tenants, "a", 5);
    // Not enough to take the place.
    send(&tenants, "b", 40);
    tenants.tick(now);
    is(&tenants, &[("a", 5), ("other", 60)]);
    send(&tenants, "b", 40);
    tenants.tick(now);
    is(&tenants, &[("b", 0), ("other", 100)]);
    // And back: from 0, as a new series.
    send(&tenants, "a", 200);
    tenants.tick(now);
    send(&tenants, "a", 1);
    is(&tenants, &[("a", 1), ("other", 300)]);
}

#[test]
fn what_was_long_ago_is_forgotten() {
    let (tenants, now) = of(1);
    send(&tenants, "a", 10_000);
    tenants.tick(now);
    for minute in 1..=10 {
        tenants.tick(now + minute * HALF_LIFE);
    }
    is(&tenants, &[("a", 0), ("other", 10_000)]);
    send(&tenants, "b", 100);
    tenants.tick(now + 11 * HALF_LIFE);
    is(&tenants, &[("b", 0), ("other", 10_100)]);
}

#[test]
fn a_flood_of_names_takes_no_room_and_hides_no_busy_tenant() {
    let (tenants, now) = of(2);
    for round in 0..5_000_u64 {
        send(&tenants, &format!("once-{round}"), 3);
        send(&tenants, "busy", 1);
    }
    let followed = tenants.ranking().followed.len();
    assert!(followed <= FOLLOWED.1, "{followed}");
    tenants.tick(now);
    assert!(requests(&tenants).iter().any(|(name, _)| name == "busy"));
    // Changing places for ever does not use the rows up.
    for round in 0..3 * ROWS as u64 {
        send(&tenants, &format!("next-{round}"), 50 + 10 * round);
        tenants.tick(now);
        assert!(tenants.all().len() <= 3);
    }
    let sum: u64 = requests(&tenants).iter().map(|(_, count)| count).sum();
    assert!(sum >= 20_000, "other never falls: {sum}");
}

#[test]
fn names_are_cut_and_printable_and_each_stands_once() {
    let (tenants, now) = of(10);
    let long = "x".repeat(65);
    for name in ["other", "a\"b\\c\nd\u{e9}", long.as_str(), "plain name"] {
        send(&tenants, name, 2);
    }
    send(&tenants, &format!("{long}y"), 1);
    tenants.tick(now);
    let names: Vec<String> = requests(&tenants)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["a?b?c?d??", "other", "plain name", &"x".repeat(64)]);
}

#[test]
fn reloads_change_how_many_there_are() {
    let tenants = Tenants::new();
    let none = tenants.row(TenantKey::new(1), b"a");
    assert_eq!(none, TenantRow::NONE);
    tenants.finished(none);
    assert_eq!(tenants.all(), [], "nobody is told apart");
    let now = Instant::now();
    tenants.configure(Some(2));
    send(&tenants, "a", 9);
    send(&tenants, "b", 5);
    tenants.tick(now);
    tenants.configure(Some(1));
    send(&tenants, "b", 1);
    is(&tenants, &[("a", 0), ("other", 15)]);
    tenants.configure(Some(0));
    send(&tenants, "a", 1);
    tenants.tick(now);
    is(&tenants, &[("other", 16)]);
    tenants.configure(None);
    assert_eq!(tenants.all(), []);
}
