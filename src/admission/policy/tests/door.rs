//! Who is refused before waiting, and why.

use super::super::super::pressure::Ramp;
use super::super::super::retry_budget::RetryLimits;
use super::super::super::settings::{Discipline, Doom, MaxWait, Switch, TenantSettings};
use super::super::super::tenant::TenantKey;
use super::super::super::token_bucket::TenantRate;
use super::*;

/// A gate that knows: sixty requests of 100 ms are over.
fn measured(settings: Settings, permits: u32) -> Gate {
    let mut gate = Gate::new(settings, permits);
    for _ in 0..60 {
        gate.send(Request::default(), 100 * MILLI);
        gate.pass(100 * MILLI);
    }
    assert!(gate.waiting.is_empty());
    gate
}

fn before(gate: &Gate, millis: u32) -> Request {
    Request {
        deadline: Some(gate.now + millis * MILLI),
        ..Request::default()
    }
}

fn refusal(gate: &Gate, number: usize) -> Option<RejectReason> {
    match gate.fate(number) {
        Some(Fate::Refused(refusal)) => Some(refusal),
        Some(Fate::Granted) | None => None,
    }
}

fn doom() -> Settings {
    Settings {
        doom: Some(Doom::default()),
        ..Settings::default()
    }
}

#[test]
fn doomed_work_is_refused_at_the_door() {
    let mut gate = measured(doom(), 1);
    gate.send(Request::default(), 100 * MILLI);
    gate.send(Request::default(), 100 * MILLI);
    // Two are ahead: about 200 ms, and 100 ms of its own.
    let late = before(&gate, 280);
    let late = gate.send(late, 100 * MILLI);
    assert_eq!(refusal(&gate, late), Some(RejectReason::Doomed));
    let in_time = before(&gate, 450);
    let in_time = gate.send(in_time, 100 * MILLI);
    gate.pass(Duration::from_secs(1));
    assert_eq!(gate.fate(in_time), Some(Fate::Granted));
}

#[test]
fn with_a_permit_free_nobody_is_doomed_or_a_slow_time_would_never_end() {
    let mut gate = measured(doom(), 1);
    for _ in 0..200 {
        let tight = before(&gate, 50);
        let tight = gate.send(tight, MILLI);
        assert_eq!(gate.fate(tight), Some(Fate::Granted));
        gate.pass(10 * MILLI);
    }
    // By now it is known to be fast, and whoever waits for one more has time enough.
    gate.send(Request::default(), MILLI);
    let tight = before(&gate, 50);
    let tight = gate.send(tight, MILLI);
    gate.pass(10 * MILLI);
    assert_eq!(gate.fate(tight), Some(Fate::Granted));
}

#[test]
fn nothing_is_doomed_before_it_is_measured() {
    let mut gate = Gate::new(doom(), 1);
    gate.send(Request::default(), 100 * MILLI);
    let tight = before(&gate, 1);
    let tight = gate.send(tight, MILLI);
    assert_eq!(gate.fate(tight), None, "it waits");
    let gone = before(&gate, 0);
    let gone = gate.send(gone, MILLI);
    assert_eq!(refusal(&gate, gone), Some(RejectReason::Expired));
    gate.pass(2 * MILLI);
    assert_eq!(refusal(&gate, tight), Some(RejectReason::Expired));
}

#[test]
fn retries_beyond_the_budget_are_refused_while_others_wait() {
    let settings = Settings {
        retries: Some(RetryLimits {
            share: "0.2".parse().expect("a decimal"),
            per_second: 0,
        }),
        ..Settings::default()
    };
    let mut gate = Gate::new(settings, 100);
    for _ in 0..100 {
        gate.send(Request::default(), Duration::from_secs(5));
    }
    let retries: Vec<_> = (0..30).map(|_| gate.send(retry(), MILLI)).collect();
    let refused: Vec<_> = retries
        .iter()
        .filter_map(|number| refusal(&gate, *number))
        .collect();
    assert_eq!(
        refused,
        vec![RejectReason::RetryBudget; 10],
        "a fifth of a hundred waits"
    );
    let Verdict::Reject(RejectReason::RetryBudget, pushback) =
        gate.policy.arrive(gate.now, &retry(), gate.room())
    else {
        panic!("the budget is empty")
    };
    assert_eq!(pushback.grpc_millis(), -1);
    gate.pass(Duration::from_secs(20));
    let calm = gate.send(retry(), MILLI);
    assert_eq!(
        gate.fate(calm),
        Some(Fate::Granted),
        "nobody waits: it is let in"
    );
}

#[test]
fn the_unimportant_are_cut_first() {
    let important = |importance| ClassSettings {
        importance,
        ..ClassSettings::default()
    };
    let settings = Settings {
        classes: vec![important(100), important(50), important(5)],
        cut_off: Switch::On,
        ..Settings::default()
    };
    let mut gate = measured(settings, 1);
    let refused = |gate: &mut Gate, place| {
        let number = gate.send(of_class(place), 100 * MILLI);
        refusal(gate, number) == Some(RejectReason::ClassShare)
    };
    let mut first = [None; 3];
    for _ in 0..20 {
        let queued = gate.waiting.len();
        for place in [2, 1, 0] {
            if refused(&mut gate, place) {
                first[usize::from(place)].get_or_insert(queued);
            }
        }
    }
    // A tenth of a second each: the wait is half of `max_wait` with five, all of it with ten.
    assert_eq!(first[0], None, "never");
    assert!(
        first[2].is_some_and(|queued| (5..9).contains(&queued)),
        "{first:?}"
    );
    assert!(
        first[1].is_some_and(|queued| (8..11).contains(&queued)),
        "{first:?}"
    );
}

#[test]
fn a_full_queue_refuses_by_chance_before_it_refuses_all() {
    let settings = one_class(|class| class.ramp = Some(Ramp::default()));
    let mut gate = Gate::new(settings, 10);
    let numbers: Vec<_> = (0..200)
        .map(|_| gate.send(Request::default(), Duration::from_secs(9)))
        .collect();
    let refused = |from: usize, to: usize| {
        numbers[from..to]
            .iter()
            .filter(|n| refusal(&gate, **n) == Some(RejectReason::QueueDepth))
            .count()
    };
    assert_eq!(refused(0, 30), 0, "ten run and twenty wait");
    assert!(refused(30, 200) >= 160, "never more than thirty wait");
    assert!(
        gate.waiting.len() > 22 && gate.waiting.len() <= 30,
        "{}",
        gate.waiting.len()
    );
}

#[test]
fn no_tenant_has_more_than_half_of_a_long_queue_while_others_wait() {
    let settings = Settings {
        tenants: Some(TenantSettings::default()),
        ..Settings::default()
    };
    let mut gate = Gate::new(settings, 2);
    let of = |tenant| Request {
        tenant: Some(TenantKey::new(tenant)),
        ..Request::default()
    };
    for _ in 0..2 {
        gate.send(of(1), Duration::from_secs(9));
    }
    for _ in 0..20 {
        let alone = gate.send(of(1), MILLI);
        assert_eq!(refusal(&gate, alone), None, "alone it may have all");
    }
    let other = gate.send(of(2), MILLI);
    assert_eq!(refusal(&gate, other), None);
    let more = gate.send(of(1), MILLI);
    assert_eq!(refusal(&gate, more), Some(RejectReason::TenantShare));
}

#[test]
fn a_tenant_beyond_its_rate_is_told_when_to_come_back() {
    let rate = TenantRate {
        per_second: 1,
        burst: 2,
    };
    let settings = Settings {
        tenants: Some(TenantSettings {
            rate: Some(rate),
            ..TenantSettings::default()
        }),
        ..Settings::default()
    };
    let mut gate = Gate::new(settings, 9);
    let request = Request {
        tenant: Some(TenantKey::new(7)),
        ..Request::default()
    };
    assert_eq!(
        [0; 2]
            .map(|_| gate.send(request, MILLI))
            .map(|n| refusal(&gate, n)),
        [None; 2]
    );
    let Verdict::Reject(RejectReason::TenantRate, pushback) =
        gate.policy.arrive(gate.now, &request, gate.room())
    else {
        panic!("the burst is over")
    };
    assert!((1000..=1500).contains(&pushback.grpc_millis()));
    let nobody_s = gate.send(Request::default(), MILLI);
    assert_eq!(gate.fate(nobody_s), Some(Fate::Granted));
}

#[test]
fn a_standing_queue_lets_go_of_the_oldest_but_never_of_the_last() {
    let settings = one_class(|class| {
        class.codel = Switch::On;
        class.discipline = Discipline::Adaptive;
    });
    let mut gate = measured(settings, 1);
    let mut flood = Vec::new();
    for _ in 0..400 {
        flood.push(gate.send(Request::default(), 100 * MILLI));
        gate.pass(20 * MILLI);
    }
    let codel = flood
        .iter()
        .filter(|n| refusal(&gate, **n) == Some(RejectReason::Codel))
        .count();
    assert!(codel > 100, "{codel} of 400 at five times the capacity");
    gate.pass(Duration::from_secs(2));
    // Two wait far longer than the limit: the younger one is served.
    gate.send(Request::default(), 900 * MILLI);
    let pair = [0; 2].map(|_| gate.send(Request::default(), 100 * MILLI));
    gate.pass(Duration::from_secs(1));
    assert!(gate.granted(&pair) >= 1);
}

#[test]
fn auto_follows_the_measure() {
    let settings = one_class(|class| class.max_wait = MaxWait::Auto);
    let mut gate = Gate::new(settings, 1);
    assert_eq!(gate.policy.max_wait(ClassId(0)), 1000 * MILLI);
    for _ in 0..60 {
        gate.send(Request::default(), Duration::from_secs(4));
        gate.pass(Duration::from_secs(4));
    }
    let auto = gate.policy.max_wait(ClassId(0));
    assert!(
        auto > Duration::from_secs(7) && auto < Duration::from_secs(9),
        "{auto:?}"
    );
    let known = gate.policy.service(ClassId(0)).expect("sixty");
    assert_eq!(known.cancel_grace(Duration::from_secs(60)), Duration::ZERO);
}

#[test]
fn what_a_stall_doomed_may_wait_again_after_it() {
    let mut gate = measured(doom(), 1);
    gate.send(Request::default(), Duration::from_secs(20));
    for _ in 0..180 {
        gate.send(Request::default(), 100 * MILLI);
        gate.pass(100 * MILLI);
    }
    // The last of them gives up before the stall is over: nobody waits then.
    gate.pass(Duration::from_secs(2));
    assert!(gate.waiting.is_empty());
    let mut waited = 0;
    for _ in 0..100 {
        let tight = before(&gate, 800);
        gate.send(tight, 100 * MILLI);
        waited += usize::from(!gate.waiting.is_empty());
        gate.pass(50 * MILLI);
    }
    assert!(
        waited > 50,
        "{waited} of 100 at twice the capacity found a queue"
    );
}
