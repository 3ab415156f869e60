//! Every endpoint and every refusal, over a real socket with a real gate behind it.

mod connections;
mod port;

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::admission::{ClassId, ClassSettings, MaxWait, RejectReason, Settings};
use crate::gate::{Arrival, Ask, Cost, Mode, Rules, Strategy};
use crate::lifecycle::Phase;
use crate::telemetry::{Account, Labels, PolicyFigures, names};
use port::{CLOCK_BROKEN, header};
pub(crate) use port::{Port, within};

#[tokio::test]
async fn readiness_follows_the_phase_and_never_the_load() {
    let port = Port::open().await;
    let permits: Vec<_> = (0..2)
        .map(|_| port.gate.arrive_now(&Ask::new(Cost::Task, 0)))
        .collect();
    let queued = port.gate.arrive_now(&Ask::new(Cost::Task, 10));
    assert!(matches!(queued, Arrival::Queued(_)), "the gate is full");
    for _ in 0..1000 {
        port.telemetry
            .metrics
            .rejected(Account::default(), RejectReason::QueueWait);
    }
    let ready = port.ask(Method::GET, "/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "serving\n"));
    assert_eq!(header(&ready, "weir-admin"), env!("CARGO_PKG_VERSION"));
    for phase in [Phase::LameDuck, Phase::Draining, Phase::Stopped] {
        port.phase.send_replace(phase);
        let ready = port.ask(Method::GET, "/readyz").await;
        assert_eq!(
            (ready.status, ready.body),
            (503, format!("{}\n", phase.label()))
        );
        assert_eq!(
            port.ask(Method::GET, "/livez").await.status,
            200,
            "and yet alive"
        );
    }
    drop((permits, queued));
    port.close().await;
}

#[tokio::test]
async fn liveness_tells_what_is_wrong() {
    let port = Port::open().await;
    let live = port.ask(Method::GET, "/livez").await;
    assert_eq!((live.status, live.body.as_str()), (200, "ok\n"));
    *port.seen.trouble.lock().expect("not poisoned") = Some("worker 1 has not moved".to_owned());
    let live = port.ask(Method::GET, "/livez").await;
    assert_eq!(
        (live.status, live.body.as_str()),
        (503, "worker 1 has not moved\n")
    );
    *port.seen.trouble.lock().expect("not poisoned") = None;

    // A bug that closes the gate: its clock panics in the middle of a round.
    let holding = [(); 2].map(|()| port.gate.arrive_now(&Ask::new(Cost::Task, 0)));
    let queued = port.gate.arrive_now(&Ask::new(Cost::Task, 0));
    CLOCK_BROKEN.set(true);
    drop(holding);
    CLOCK_BROKEN.set(false);
    let live = port.ask(Method::GET, "/livez").await;
    assert_eq!(live.status, 503);
    assert!(live.body.contains("the gate is closed"), "{}", live.body);
    drop(queued);
    port.close().await;
}

#[tokio::test]
async fn metrics_are_in_the_text_format_and_fresh() {
    let port = Port::open().await;
    let Arrival::Admitted(permit) = port.gate.arrive_now(&Ask::new(Cost::Task, 0)) else {
        panic!("a permit is free");
    };
    let metrics = port.ask(Method::GET, "/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(header(&metrics, "content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "weir_in_flight 1",
        "weir_available_permits 1",
        "weir_utilization_ratio 0.5",
        "weir_permit_limit_configured 2",
        "weir_reserved_memory_bytes 1048576",
        "weir_phase{phase=\"serving\"} 1",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line}");
    }
    drop(permit);
    let metrics = port.ask(Method::GET, "/metrics").await;
    assert!(metrics.body.lines().any(|line| line == "weir_in_flight 0"));
    port.close().await;
}

#[tokio::test]
async fn the_shadow_and_the_classes_are_shown() {
    let port = Port::open().await;
    let class = |weight| ClassSettings {
        weight,
        max_wait: MaxWait::Fixed(Duration::ZERO),
        ..ClassSettings::default()
    };
    port.gate.set_rules(Rules {
        strategy: Strategy::Immediate,
        mode: Mode::Shadow,
        policy: Settings {
            classes: vec![class(1), class(3)],
            ..Settings::default()
        },
        ..Rules::default()
    });
    let labels = Labels {
        classes: vec!["default".to_owned(), "gold".to_owned()],
        tenants: None,
    };
    let before = PolicyFigures::default();
    port.telemetry.set_labels(&labels, &before);
    let ask = Ask {
        class: ClassId(1),
        ..Ask::default()
    };
    let passed: Vec<_> = (0..5).map(|_| port.gate.arrive_now(&ask)).collect();
    port.gate.tick();
    let answer = port.ask(Method::GET, "/status").await;
    let status: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(status["mode"], "shadow");
    let gold = &status["classes"][1];
    assert_eq!(
        (&gold["name"], &gold["share"]),
        (&"gold".into(), &0.75.into())
    );
    assert_eq!(
        (&gold["permits"], &gold["shadow_rejected"]),
        (&1.5.into(), &3.into())
    );
    let metrics = port.ask(Method::GET, "/metrics").await;
    let line = "weir_shadow_rejected_total{class=\"gold\",reason=\"no_permit\"} 3";
    assert!(
        metrics.body.lines().any(|found| found == line),
        "{}",
        metrics.body
    );
    let gauge = "weir_shadow_sufficient_permits ";
    assert!(metrics.body.lines().any(|line| line.starts_with(gauge)));
    drop(passed);
    port.close().await;
}

#[tokio::test]
async fn status_shows_the_gate_and_the_arithmetic() {
    let port = Port::open().await;
    let arrivals: Vec<_> = (0..3)
        .map(|_| port.gate.arrive_now(&Ask::new(Cost::Task, 10)))
        .collect();
    port.telemetry
        .metrics
        .rejected(Account::default(), RejectReason::QueueDepth);
    let answer = port.ask(Method::GET, "/status").await;
    assert_eq!(
        (answer.status, header(&answer, "content-type")),
        (200, "application/json")
    );
    let status: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(status["phase"], "serving");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["gate"]["in_flight"], 2);
    assert_eq!(status["gate"]["queued"], 1);
    assert_eq!(status["gate"]["queued_bytes"], 10);
    assert_eq!(status["gate"]["available_permits"], 0);
    assert_eq!(status["budget"]["budget_bytes"], 2 << 20);
    let arithmetic = "floor(4194304 / 1048576 × 0.5) = 2";
    assert_eq!(status["budget"]["arithmetic"], arithmetic);
    assert_eq!(status["rejected"]["queue_depth"], 1);
    assert_eq!(status["requests"]["served"], 0);
    assert_eq!(status["mode"], "enforce");
    let class = &status["classes"][0];
    assert_eq!(
        (&class["name"], &class["rejected"]),
        (&"default".into(), &1.into())
    );
    assert_eq!(
        (&class["share"], &class["permits"]),
        (&1.0.into(), &2.0.into())
    );
    assert!(
        class["service_p50_seconds"].is_null(),
        "nothing is measured"
    );
    assert_eq!(status["reload"]["last_ok"], true);
    assert_eq!(status["listen"], "somewhere", "what others add");
    drop(arrivals);
    port.close().await;
}

#[tokio::test]
async fn the_page_is_self_contained_and_the_config_is_passed_on() {
    let port = Port::open().await;
    let page = port.ask(Method::GET, "/").await;
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    assert!(page.body.contains("fetch(\"status\""));
    for outside in ["src=", "http:", "https:", "@import", "url("] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    let status = port.ask(Method::GET, "/status").await;
    let status: Value = serde_json::from_str(&status.body).expect("JSON");
    for (object, prefix) in [(&status, " now."), (&status["gate"], " gate.")] {
        let mut read = 0;
        for found in page.body.replace('(', " ").split(prefix).skip(1) {
            let end = found.find(|c: char| !c.is_alphanumeric() && c != '_');
            let field = &found[..end.unwrap_or(found.len())];
            assert!(
                object.get(field).is_some(),
                "the page reads {prefix}{field}"
            );
            read += 1;
        }
        assert!(read > 5, "{prefix}");
    }
    let config = port.ask(Method::GET, "/config").await;
    assert_eq!(config.body, "{\"queue.order\":\"fifo\"}");
    assert_eq!(header(&config, "content-type"), "application/json");
    port.close().await;
}

#[tokio::test]
async fn changes_are_made_from_loopback() {
    let port = Port::open().await;
    assert_eq!(port.ask(Method::POST, "/drain").await.status, 202);
    assert_eq!(port.seen.drains.load(Ordering::Relaxed), 1);

    let reload = port.ask(Method::POST, "/reload").await;
    assert_eq!(reload.status, 200);
    assert!(reload.body.contains("queue.max_wait"));
    let reload = port.ask(Method::POST, "/reload").await;
    assert_eq!((reload.status, reload.body.contains("soon")), (422, true));
    assert_eq!(
        port.ask(Method::POST, "/reload").await.status,
        500,
        "it panicked"
    );

    let level = |body: &'static str| port.send("POST /loglevel HTTP/1.1\r\nhost: x\r\n", body);
    let set = level(" weir=debug,info\n").await;
    assert_eq!((set.status, set.body.as_str()), (200, "weir=debug,info\n"));
    let refused = level("loud").await;
    assert_eq!(
        (refused.status, refused.body.contains("`loud`")),
        (400, true)
    );
    let long: &'static str = "x".repeat(2000).leak();
    assert_eq!(level(long).await.status, 400);
    let levels = port.seen.levels.lock().expect("not poisoned").clone();
    assert_eq!(levels, ["weir=debug,info"]);
    port.close().await;
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let port = Port::open().await;
    for path in ["/drain", "/reload", "/loglevel"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\norigin: http://evil.example\r\n",
            port.at
        );
        let answer = port.send(&head, "debug").await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("another origin"), "{}", answer.body);
    }
    assert_eq!(port.seen.drains.load(Ordering::Relaxed), 0);
    let head = format!(
        "POST /drain HTTP/1.1\r\nhost: {0}\r\norigin: http://{0}\r\n",
        port.at
    );
    assert_eq!(port.send(&head, "").await.status, 202, "our own page may");
    port.close().await;
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_what_is_right() {
    let port = Port::open().await;
    for path in ["/livez", "/readyz", "/metrics", "/status", "/config", "/"] {
        let answer = port.ask(Method::POST, path).await;
        assert_eq!(
            (answer.status, header(&answer, "allow")),
            (405, "GET, HEAD"),
            "{path}"
        );
        let got = port.ask(Method::GET, path).await;
        let head = port.ask(Method::HEAD, path).await;
        assert_eq!(
            (head.status, head.body.as_str()),
            (got.status, ""),
            "{path}"
        );
        assert_eq!(header(&head, "content-type"), header(&got, "content-type"));
    }
    for path in ["/drain", "/reload", "/loglevel"] {
        let answer = port.ask(Method::GET, path).await;
        assert_eq!(
            (answer.status, header(&answer, "allow")),
            (405, "POST"),
            "{path}"
        );
    }
    assert_eq!(port.seen.drains.load(Ordering::Relaxed), 0);
    let answer = port.ask(Method::GET, "/livez/").await;
    assert_eq!(answer.status, 404);
    for path in [
        "/livez", "/readyz", "/metrics", "/status", "/config", "/drain", "/reload",
    ] {
        assert!(answer.body.contains(path), "{path}");
    }
    assert_eq!(port.ask(Method::GET, "/readyz?verbose").await.status, 200);
    port.close().await;
}

#[test]
fn the_phases_are_those_of_the_metric() {
    assert_eq!(Phase::ALL.map(Phase::label), names::PHASES);
}
