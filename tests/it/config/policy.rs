//! What each setting of the policy makes of the gate's rules.

use std::process::Command;
use std::time::Duration;

use super::{BASE_ENV, effective, with_sets};
use weir::admission::{
    ClassSettings, Discipline, Doom, MaxWait, Ramp, RetryLimits, Settings, Switch, TenantRate,
    TenantSettings,
};
use weir::config::Config;
use weir::gate::{Mode, Rules, Strategy};
use weir::proxy::{CancelGrace, EnvoyField};

fn config(sets: &[&str]) -> Config {
    let loaded = with_sets(sets).unwrap_or_else(|problems| panic!("{sets:?}: {problems}"));
    loaded.config
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let expected = Rules {
        strategy: Strategy::Queue,
        mode: Mode::Enforce,
        max_depth: 0,
        max_bytes: 64 << 20,
        policy: Settings {
            classes: vec![ClassSettings {
                weight: 1,
                importance: 50,
                discipline: Discipline::Adaptive,
                max_wait: MaxWait::Fixed(Duration::from_secs(1)),
                codel: Switch::On,
                ramp: None,
            }],
            tenants: None,
            retries: Some(RetryLimits {
                share: "0.2".parse().expect("a decimal"),
                per_second: 1,
            }),
            doom: Some(Doom { wait_percent: 100 }),
            cut_off: Switch::Off,
            backfill_percent: 25,
            seed: 0,
        },
    };
    assert_eq!(config(&[]).rules, expected);
}

/// Each differs from the defaults in this alone.
#[test]
fn every_key_makes_its_rule_and_no_other() {
    type Change = fn(&mut Rules);
    let rows: [(&str, Change); 19] = [
        ("mode=shadow", |rules| rules.mode = Mode::Shadow),
        ("queue.strategy=immediate", |rules| {
            rules.strategy = Strategy::Immediate;
        }),
        ("queue.max_wait=2s", |rules| {
            rules.policy.classes[0].max_wait = MaxWait::Fixed(Duration::from_secs(2));
        }),
        ("queue.max_wait=auto", |rules| {
            rules.policy.classes[0].max_wait = MaxWait::Auto;
        }),
        ("queue.max_depth=9", |rules| rules.max_depth = 9),
        ("queue.max_bytes=1Mi", |rules| rules.max_bytes = 1 << 20),
        ("queue.order=lifo", |rules| {
            rules.policy.classes[0].discipline = Discipline::Lifo;
        }),
        ("queue.order=fifo", |rules| {
            rules.policy.classes[0].discipline = Discipline::Fifo;
        }),
        ("queue.codel=false", |rules| {
            rules.policy.classes[0].codel = Switch::Off;
        }),
        ("queue.ramp=true", |rules| {
            rules.policy.classes[0].ramp = Some(Ramp {
                from_thousandths: 2000,
                to_thousandths: 3000,
            });
        }),
        ("queue.backfill=0", |rules| {
            rules.policy.backfill_percent = 0;
        }),
        ("queue.backfill=0.369", |rules| {
            rules.policy.backfill_percent = 36;
        }),
        ("queue.backfill=1", |rules| {
            rules.policy.backfill_percent = 100;
        }),
        ("deadline.doomed=false", |rules| rules.policy.doom = None),
        ("retry_budget.per_second=7", |rules| {
            rules.policy.retries.as_mut().expect("on").per_second = 7;
        }),
        ("retry_budget.share=0", |rules| {
            rules.policy.retries.as_mut().expect("on").share = "0".parse().expect("a decimal");
        }),
        ("tenant.headers=x-tenant", |rules| {
            rules.policy.tenants = Some(TenantSettings {
                exact_max: 1024,
                rate: None,
            });
        }),
        ("class=[{name = default, weight = 7}]", |rules| {
            rules.policy.classes[0].weight = 7;
        }),
        ("class=[{name = default, importance = 7}]", |rules| {
            rules.policy.classes[0].importance = 7;
        }),
    ];
    let plain = config(&[]).rules;
    for (set, change) in rows {
        let mut expected = plain.clone();
        change(&mut expected);
        assert_ne!(expected, plain, "{set}");
        assert_eq!(config(&[set]).rules, expected, "{set}");
    }
    let tenants = config(&["tenant.headers=x", "tenant.rate=5", "tenant.exact=9"]).rules;
    let rate = TenantRate {
        per_second: 5,
        burst: 5,
    };
    let expected = TenantSettings {
        exact_max: 9,
        rate: Some(rate),
    };
    assert_eq!(tenants.policy.tenants, Some(expected));
}

#[test]
fn a_class_is_as_the_queue_says_unless_it_says_otherwise() {
    let rules = config(&[
        "queue.max_wait=auto",
        "queue.order=adaptive",
        "queue.codel=true",
        "queue.ramp=true",
        "class=[{name = a, max_wait = 3s, order = fifo, codel = false, ramp = false}, {name = b}]",
        "route=[{path = /a, class = a}, {path = /b, class = b}]",
        "drain.timeout=30s",
        "drain.grace=40s",
    ])
    .rules;
    let [default, a, b] = &rules.policy.classes[..] else {
        panic!("{rules:?}");
    };
    assert_eq!(default, b);
    assert_eq!(
        (b.max_wait, b.discipline, b.codel, b.ramp),
        (
            MaxWait::Auto,
            Discipline::Adaptive,
            Switch::On,
            Some(Ramp::default())
        )
    );
    assert_eq!(
        (a.max_wait, a.discipline, a.codel, a.ramp),
        (
            MaxWait::Fixed(Duration::from_secs(3)),
            Discipline::Fifo,
            Switch::Off,
            None
        )
    );
}

#[test]
fn importance_cuts_only_where_it_differs() {
    let of = |importance: u8, cut_off: &str| {
        let class = format!("class=[{{name = a, importance = {importance}}}]");
        let cut_off = format!("queue.cut_off={cut_off}");
        config(&[&class, "route=[{class = a}]", &cut_off])
            .rules
            .policy
            .cut_off
    };
    assert_eq!(of(51, "true"), Switch::On);
    assert_eq!(of(51, "false"), Switch::Off);
    // One like the others would only wait for less long than it may.
    assert_eq!(of(50, "true"), Switch::Off);
}

#[test]
fn what_auto_comes_to_is_shown() {
    let loaded = with_sets(&[
        "queue.max_wait=auto",
        "drain.cancel_grace=auto",
        "class=[{name = default, max_wait = auto}]",
        "drain.timeout=30s",
        "drain.grace=40s",
    ])
    .expect("valid");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.proxy.cancel_grace, CancelGrace::Auto);
    for key in ["queue.max_wait", "class[1].max_wait"] {
        let (value, source) = effective(&loaded, key);
        assert_eq!(
            value, "auto (2 × the median service time, from 1s to 30s)",
            "{key}"
        );
        assert_eq!(source, "--set", "{key}");
    }
    let (value, _) = effective(&loaded, "drain.cancel_grace");
    assert!(value.starts_with("auto (the service time's"), "{value}");
    let fixed = config(&["drain.cancel_grace=3s"]).proxy.cancel_grace;
    assert_eq!(fixed, CancelGrace::Fixed(Duration::from_secs(3)));
}

#[test]
fn envoy_is_told_what_is_wanted() {
    for (word, field) in [
        ("none", EnvoyField::None),
        ("overloaded", EnvoyField::Overloaded),
        ("ratelimited", EnvoyField::RateLimited),
    ] {
        let config = config(&[&format!("reject.envoy={word}")]);
        assert_eq!(config.proxy.reject.envoy, field);
    }
    assert_eq!(config(&[]).proxy.reject.envoy, EnvoyField::None);
}

#[test]
fn what_is_unwise_is_a_warning() {
    let rows: [(&[&str], &str, &str, &str); 5] = [
        (
            &["mode=shadow"],
            "mode",
            "nothing is refused and nothing waits",
            "\"enforce\"",
        ),
        (
            &["class=[{name = default, order = adaptive, codel = false}]"],
            "class[1].order",
            "CoDel is off",
            "class[1].codel = true",
        ),
        (
            &["queue.max_wait=auto"],
            "queue.max_wait",
            "it can come to 30s, which is longer than drain.timeout (20s)",
            "at least 30s",
        ),
        (
            &["class=[{name = default, max_wait = auto}]"],
            "class[1].max_wait",
            "longer than drain.timeout (20s)",
            "at least 30s",
        ),
        // Of what a class takes from the queue, the queue is told, and that once.
        (
            &[
                "queue.max_wait=auto",
                "class=[{name = a}]",
                "route=[{class = a}]",
            ],
            "queue.max_wait",
            "longer than drain.timeout (20s)",
            "at least 30s",
        ),
    ];
    for (sets, key, problem, remedy) in rows {
        let loaded = with_sets(sets).unwrap_or_else(|problems| panic!("{sets:?}: {problems}"));
        let [warning] = &loaded.warnings[..] else {
            panic!("{sets:?}: {:?}", loaded.warnings);
        };
        assert_eq!(warning.key, key);
        assert!(warning.problem.contains(problem), "{warning}");
        assert!(warning.remedy.contains(remedy), "{warning}");
    }
}

#[test]
fn check_says_plainly_that_shadow_mode_refuses_nothing() {
    let check = |sets: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("check").env_clear().envs(BASE_ENV);
        for set in sets {
            command.args(["--set", set]);
        }
        let output = command.output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0), "{text}");
        text
    };
    let text = check(&["mode=shadow"]);
    assert!(text.contains("\nWarning: mode"), "{text}");
    let line = "\nmode: shadow; nothing waits and nothing is refused for want of room";
    assert!(text.contains(line), "{text}");
    let text = check(&[]);
    assert!(!text.contains("shadow"), "{text}");
}
