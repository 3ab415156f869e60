//! What the policy decides reaches whoever asks the gate: classes, retries, deadlines, tenants,
//! costs, and the shadow. The rules themselves are tested where they are.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use weir::admission::classify::Oversize;
use weir::admission::{
    Attempt, Budget, ClassId, ClassSettings, Discipline, Doom, MaxWait, RejectReason, RetryLimits,
    Settings, Switch, TenantKey, TenantRate, TenantSettings,
};
use weir::gate::{Arrival, Ask, Cost, Gate, Mode, Permit, Rejected, Rules, Strategy, Waiting};

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

const MILLI: Duration = Duration::from_millis(1);

fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

fn gate(permits: u32, rules: Rules) -> Gate {
    let budget = Budget::of_permits(permits).expect("permits");
    Gate::with_clock(budget, rules, || NOW.get())
}

fn rules(policy: Settings) -> Rules {
    Rules {
        policy,
        ..Rules::default()
    }
}

fn admitted(gate: &Gate, ask: &Ask) -> Permit {
    match gate.arrive_now(ask) {
        Arrival::Admitted(permit) => permit,
        other => panic!("not admitted: {other:?}"),
    }
}

fn queued(gate: &Gate, ask: &Ask) -> Waiting {
    match gate.arrive_now(ask) {
        Arrival::Queued(waiting) => waiting,
        other => panic!("not queued: {other:?}"),
    }
}

fn rejected(gate: &Gate, ask: &Ask) -> Rejected {
    match gate.arrive_now(ask) {
        Arrival::Rejected(rejected) => rejected,
        other => panic!("not rejected: {other:?}"),
    }
}

/// What a wait has come to by now.
fn answer(waiting: &mut Waiting) -> Option<Result<Permit, Rejected>> {
    match Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn granted(waiting: &mut Waiting) -> Permit {
    answer(waiting).expect("decided").expect("granted")
}

fn of_class(class: u8) -> Ask {
    Ask {
        class: ClassId(class),
        ..Ask::default()
    }
}

/// Requests that take so long each, one after the other.
fn serve(gate: &Gate, requests: u32, took: Duration) {
    for _ in 0..requests {
        let permit = admitted(gate, &Ask::default());
        pass(took);
        drop(permit);
    }
}

#[test]
fn a_class_gets_its_share_however_long_the_line_of_another() {
    let gate = gate(
        2,
        rules(Settings {
            classes: vec![ClassSettings::default(), ClassSettings::default()],
            ..Settings::default()
        }),
    );
    let held = [0; 2].map(|class| admitted(&gate, &of_class(class)));
    let mut first = [0; 3].map(|class| queued(&gate, &of_class(class)));
    let mut second = queued(&gate, &of_class(1));
    let [one, two] = held;
    drop(one);
    let _its_own = granted(&mut second);
    assert!(answer(&mut first[0]).is_none(), "it holds half already");
    drop(two);
    let _next = granted(&mut first[0]);
}

#[test]
fn a_retry_waits_for_first_attempts() {
    let gate = gate(1, Rules::default());
    let held = admitted(&gate, &Ask::default());
    let retry = Ask {
        attempt: Attempt::Retry,
        ..Ask::default()
    };
    let mut retry = queued(&gate, &retry);
    let mut fresh = queued(&gate, &Ask::default());
    drop(held);
    let fresh = granted(&mut fresh);
    assert!(answer(&mut retry).is_none());
    drop(fresh);
    let _retry = granted(&mut retry);
}

#[test]
fn retries_over_the_budget_are_told_never_to_come_again() {
    let retries = RetryLimits {
        share: "0.1".parse().expect("a decimal"),
        per_second: 0,
    };
    let gate = gate(
        1,
        rules(Settings {
            retries: Some(retries),
            ..Settings::default()
        }),
    );
    // Not one of them is charged by the policy, and yet they are what the budget is a share of.
    serve(&gate, 30, MILLI);
    let _held = admitted(&gate, &Ask::default());
    let retry = Ask {
        attempt: Attempt::Retry,
        ..Ask::default()
    };
    let _allowed = [(); 3].map(|()| queued(&gate, &retry));
    let no = rejected(&gate, &retry);
    assert_eq!(no.reason, RejectReason::RetryBudget);
    let pushback = no.pushback.expect("the policy's own no");
    assert_eq!(pushback.grpc_millis(), -1);
}

#[test]
fn a_deadline_that_cannot_be_met_is_told_at_once_and_never_dispatched() {
    let gate = gate(
        1,
        rules(Settings {
            doom: Some(Doom::default()),
            ..Settings::default()
        }),
    );
    let within = |time: Duration| Ask {
        deadline: Some(NOW.get() + time),
        ..Ask::default()
    };
    assert_eq!(
        rejected(&gate, &within(Duration::ZERO)).reason,
        RejectReason::Expired
    );
    drop(admitted(&gate, &within(MILLI)));
    serve(&gate, 60, 100 * MILLI);
    let known = gate.service(ClassId(0)).expect("sixty were served");
    assert!(
        known.p50 > 90 * MILLI && known.p50 < 110 * MILLI,
        "{known:?}"
    );
    // Nothing was ever served so fast; but nobody waits, and it may show that this is over.
    drop(admitted(&gate, &within(50 * MILLI)));
    let held = admitted(&gate, &within(150 * MILLI));
    let no = rejected(&gate, &within(150 * MILLI));
    assert_eq!(no.reason, RejectReason::Doomed, "it would wait first");
    assert!(no.pushback.is_some());
    let mut late = queued(&gate, &within(500 * MILLI));
    pass(501 * MILLI);
    drop(held);
    let no = answer(&mut late).expect("decided").expect_err("too late");
    assert_eq!(no.reason, RejectReason::Expired);
    assert_eq!(gate.snapshot().in_flight, 0);
}

#[test]
fn a_tenant_over_its_rate_is_told_when_it_may_come_again() {
    let rate = TenantRate {
        per_second: 1,
        burst: 2,
    };
    let gate = gate(
        8,
        rules(Settings {
            tenants: Some(TenantSettings {
                rate: Some(rate),
                ..TenantSettings::default()
            }),
            ..Settings::default()
        }),
    );
    let of = |tenant| Ask {
        tenant: Some(TenantKey::new(tenant)),
        ..Ask::default()
    };
    let _two = [1; 2].map(|tenant| admitted(&gate, &of(tenant)));
    let no = rejected(&gate, &of(1));
    assert_eq!(no.reason, RejectReason::TenantRate);
    let seconds = no.pushback.expect("its own bucket says").seconds();
    assert!((1..=2).contains(&seconds), "{seconds}");
    let _another = admitted(&gate, &of(2));
    pass(Duration::from_secs(1));
    let _later = admitted(&gate, &of(1));
}

#[test]
fn what_costs_more_than_all_there_is_runs_alone_or_is_refused() {
    let gate = gate(4, Rules::default());
    let bytes = 2 * gate.budget().bytes();
    let large = |oversize| Ask {
        cost: Cost::Bytes(bytes),
        oversize,
        ..Ask::default()
    };
    assert_eq!(
        rejected(&gate, &large(Oversize::Reject)).reason,
        RejectReason::Oversize
    );
    let alone = admitted(&gate, &large(Oversize::Solo));
    assert_eq!(gate.snapshot().available_units, 0);
    drop(alone);
}

#[test]
fn the_wait_follows_the_service_if_it_is_to() {
    let gate = gate(
        1,
        rules(Settings {
            classes: vec![ClassSettings {
                max_wait: MaxWait::Auto,
                ..ClassSettings::default()
            }],
            ..Settings::default()
        }),
    );
    assert_eq!(gate.longest_wait(), Duration::from_secs(1));
    serve(&gate, 60, Duration::from_secs(2));
    let wait = gate.longest_wait().as_secs_f64();
    assert!((3.7..4.3).contains(&wait), "{wait}");
    let _held = admitted(&gate, &Ask::default());
    let waiting = queued(&gate, &Ask::default());
    let given = waiting.deadline() - waiting.arrived();
    assert!((given.as_secs_f64() - wait).abs() < 1e-3);
}

#[test]
fn where_everybody_is_asked_the_bounds_still_hold_and_nobody_is_refused_for_others_on_their_way() {
    let two = Settings {
        classes: vec![ClassSettings::default(), ClassSettings::default()],
        ..Settings::default()
    };
    let depth = Rules {
        max_depth: 1,
        ..rules(two.clone())
    };
    let gate_ = gate(1, depth);
    let _held = admitted(&gate_, &of_class(1));
    let _queued = queued(&gate_, &of_class(0));
    assert_eq!(
        rejected(&gate_, &of_class(1)).reason,
        RejectReason::QueueDepth
    );
    let immediate = Rules {
        strategy: Strategy::Immediate,
        ..rules(two)
    };
    let gate_ = gate(1, immediate);
    let _held = admitted(&gate_, &of_class(1));
    assert_eq!(
        rejected(&gate_, &of_class(0)).reason,
        RejectReason::NoPermit
    );
    assert_eq!(gate_.snapshot().queued, 0);
}

#[test]
fn the_shadow_refuses_nobody_and_counts_whom_it_would() {
    let shadow = Rules {
        mode: Mode::Shadow,
        ..Rules::of_one_class(100 * MILLI, Discipline::Fifo)
    };
    let gate = gate(2, shadow.clone());
    let permits: Vec<_> = (0..10).map(|_| admitted(&gate, &Ask::default())).collect();
    let now = gate.snapshot();
    assert_eq!((now.in_flight, now.available_units), (10, 0));
    let refused = || gate.shadow_rejected(ClassId(0), RejectReason::QueueWait);
    assert_eq!(refused(), 0, "eight wait in the shadow");
    pass(101 * MILLI);
    gate.tick();
    assert_eq!(refused(), 8);
    drop(permits);
    assert_eq!(gate.snapshot().in_flight, 0);
    // Ten at once for 101 ms, and nobody waits for more than 100: no fewer than ten would have done.
    let enough = gate.enough_units() / 1024;
    assert!((8..=12).contains(&enough), "{enough}");

    // Enforced from now on; what is counted stays.
    let passed = {
        gate.set_rules(shadow.clone());
        admitted(&gate, &Ask::default())
    };
    gate.set_rules(Rules {
        mode: Mode::Enforce,
        ..shadow
    });
    let _two = [(); 2].map(|()| admitted(&gate, &Ask::default()));
    let _third = queued(&gate, &Ask::default());
    drop(passed);
    assert_eq!(gate.snapshot().queued, 1, "it held nothing that came free");
    assert_eq!(refused(), 8);
}

#[test]
fn who_waits_keeps_its_place_when_the_rules_change() {
    let gate = gate(1, Rules::default());
    let held = admitted(&gate, &Ask::default());
    let mut waiting = [(); 3].map(|()| {
        pass(MILLI);
        queued(&gate, &Ask::default())
    });
    gate.set_rules(rules(Settings {
        classes: vec![ClassSettings::default(), ClassSettings::default()],
        tenants: Some(TenantSettings::default()),
        ..Settings::default()
    }));
    let mut last = held;
    for waiting in &mut waiting {
        drop(last);
        last = granted(waiting);
    }
    gate.set_rules(Rules::default());
    drop(last);
    let now = gate.snapshot();
    assert_eq!((now.in_flight, now.queued), (0, 0));
    drop(admitted(&gate, &Ask::default()));
}

/// Mutation: a permit tells of a service from the moment it is granted: red.
#[test]
fn a_grant_that_nobody_took_tells_nothing_of_the_service() {
    let gate = gate(1, Rules::default());
    serve(&gate, 60, 100 * MILLI);
    for _ in 0..200 {
        let held = admitted(&gate, &Ask::default());
        let waiting = queued(&gate, &Ask::default());
        pass(100 * MILLI);
        drop(held);
        drop(waiting);
    }
    let known = gate.service(ClassId(0)).expect("sixty were served");
    assert!(known.p10 > 90 * MILLI, "{known:?}");
}

/// A backend whose every answer comes too late for whoever came first: the newest go first also
/// before anything is measured. Mutation: no rule until then: nobody is served after the first.
#[test]
fn clients_that_give_up_do_not_keep_the_backend_from_being_measured() {
    let classes = vec![ClassSettings {
        codel: Switch::On,
        discipline: Discipline::Adaptive,
        ..ClassSettings::default()
    }];
    let gate = gate(
        1,
        rules(Settings {
            classes,
            ..Settings::default()
        }),
    );
    // One request every 50 ms, 200 ms of service, and clients that leave after a second in all.
    let mut waiting: Vec<(Instant, Waiting)> = Vec::new();
    let mut running: Option<(Instant, Instant, Permit)> = None;
    let mut served = 0;
    for _ in 0..400 {
        let now = NOW.get();
        match gate.arrive_now(&Ask::default()) {
            Arrival::Admitted(permit) => running = Some((now, now, permit)),
            Arrival::Queued(place) => waiting.push((now, place)),
            Arrival::Rejected(_) => {}
        }
        pass(50 * MILLI);
        let now = NOW.get();
        waiting.retain(|(came, _)| now - *came < Duration::from_secs(1));
        if let Some((came, began, mut permit)) = running.take() {
            let in_time = now - came < Duration::from_secs(1);
            if in_time && now - began < 200 * MILLI {
                running = Some((came, began, permit));
            } else {
                served += u32::from(in_time);
                if !in_time {
                    permit.cut();
                }
                drop(permit);
            }
        }
        waiting.retain_mut(|(came, place)| match answer(place) {
            Some(Ok(permit)) => {
                running = Some((*came, now, permit));
                false
            }
            Some(Err(_)) => false,
            None => true,
        });
    }
    assert!(served > 60, "{served} of 100");
}

/// A grant whose client has left, and one whose client leaves with it in hand, are paid back to
/// their class: nothing is charged for ever.
#[test]
fn what_is_given_back_is_charged_to_nobody() {
    let gate = gate(
        2,
        rules(Settings {
            classes: vec![ClassSettings::default(), ClassSettings::default()],
            ..Settings::default()
        }),
    );
    for _ in 0..50 {
        let held = [0, 1].map(|class| admitted(&gate, &of_class(class)));
        let waiting = queued(&gate, &of_class(0));
        drop(held);
        // Granted, not collected.
        drop(waiting);
        assert_eq!(gate.snapshot().in_flight, 0);
    }
    // Both have their share, as at the beginning.
    let held = [0; 2].map(|class| admitted(&gate, &of_class(class)));
    let mut first = queued(&gate, &of_class(0));
    let mut second = queued(&gate, &of_class(1));
    let [one, _two] = held;
    drop(one);
    let _its_own = granted(&mut second);
    assert!(answer(&mut first).is_none(), "it holds half already");
}
