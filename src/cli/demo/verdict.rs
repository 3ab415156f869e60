//! What the two halves showed.

use std::fmt::Write as _;
use std::time::Duration;

use super::half::Half;
use super::setup::{Setup, mib};
use crate::load::generator::{FailureKind, Report};

/// The remedy for requests that were not sent.
const TOO_BUSY: &str = ". What was not sent would have been too many at once: this machine is too \
                        busy for the demo; try again when it has a core to spare";

/// The closing table.
pub(super) fn table(setup: &Setup, ungated: &Half, gated: &Half) -> String {
    let target = setup.target_bytes;
    let mut table = format!("{:<34}{:>16}{:>16}\n", "", "without weir", "with weir");
    let mut row = |name: &str, value: &dyn Fn(&Half) -> String| {
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "{name:<34}{:>16}{:>16}",
            value(ungated),
            value(gated)
        );
    };
    row("peak memory, kernel high-water", &|half| {
        mib(half.peak_bytes)
    });
    row("  less the idle backend", &|half| mib(half.baseline_bytes));
    row("  = peak memory of requests", &|half| {
        mib(half.requests_bytes())
    });
    row(
        &format!("  share of the target, {}", mib(target)),
        &|half| format!("{} %", percent(half.requests_bytes(), target)),
    );
    row("  target first exceeded after", &|half| {
        half.crossed_after.map_or("never seen".into(), |after| {
            format!("{:.2} s", after.as_secs_f64())
        })
    });
    row("requests sent", &|half| half.report.sent.to_string());
    row("served (2xx)", &|half| half.report.ok.to_string());
    row("goodput", &|half| format!("{:.0}/s", half.report.goodput()));
    row("p50 / p99 of served, ms", &|half| {
        let quantile = |at| half.report.latency_us.value_at_quantile(at) / 1_000;
        format!("{} / {}", quantile(0.5), quantile(0.99))
    });
    row("rejected (503)", &|half| half.report.rejects().to_string());
    row("p99 of rejects, ms", &|half| match half.report.rejects() {
        0 => String::from("-"),
        _ => (half.report.reject_latency_us.value_at_quantile(0.99) / 1_000).to_string(),
    });
    row("failed", &|half| half.report.failures().to_string());
    table
}

/// What a reader should take home.
pub(super) fn sentence(setup: &Setup, ungated: &Half, gated: &Half) -> String {
    let crossed = ungated.crossed_after.unwrap_or(Duration::ZERO);
    format!(
        "Without weir the requests took {} where {} were allowed: in a container of that size the \
         kernel\nwould have killed the backend after {:.1} s, and everything on it. With weir they \
         never took more than\n{}, and it served {:.0} of the {:.0} requests/s that fit; the others \
         were told in time with a 503.",
        mib(ungated.requests_bytes()),
        mib(setup.target_bytes),
        crossed.as_secs_f64(),
        mib(gated.requests_bytes()),
        gated.report.goodput(),
        setup.capacity_per_second(),
    )
}

/// Why the demo did not show what it should; nothing if it did.
pub(super) fn problems(setup: &Setup, ungated: &Half, gated: &Half) -> Vec<String> {
    let target = mib(setup.target_bytes);
    let mut problems = Vec::new();
    if ungated.requests_bytes() <= setup.target_bytes {
        let used = mib(ungated.requests_bytes());
        problems.push(format!(
            "without weir the requests took only {used} of the {target} target, so there was \
             nothing to protect from"
        ));
    }
    if gated.requests_bytes() > setup.target_bytes {
        let used = mib(gated.requests_bytes());
        problems.push(format!(
            "with weir the requests took {used}, above the {target} target"
        ));
    }
    for (half, report) in [("without", &ungated.report), ("with", &gated.report)] {
        if report.failures() > 0 {
            problems.push(format!("{half} weir {}", failures(report)));
        }
    }
    problems
}

fn failures(report: &Report) -> String {
    let mut text = format!(
        "{} requests failed other than by a reject:",
        report.failures()
    );
    for (kind, count) in &report.failed {
        let _ = write!(text, " {count} {};", kind.label());
    }
    let _ = write!(text, " all answers by status: {:?}", report.by_status);
    if report.failed.contains_key(&FailureKind::NotSent) {
        text.push_str(TOO_BUSY);
    }
    text
}

fn percent(part: u64, whole: u64) -> u64 {
    part * 100 / whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(requests_mib: u64) -> Half {
        Half {
            report: Report::default(),
            baseline_bytes: 5 << 20,
            peak_bytes: (5 + requests_mib) << 20,
            crossed_after: None,
        }
    }

    #[test]
    fn over_without_and_under_with_is_what_should_be_seen() {
        let setup = Setup::for_tests();
        assert_eq!(problems(&setup, &half(65), &half(64)), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_went_wrong_is_named() {
        let setup = Setup::for_tests();
        let found = problems(&setup, &half(64), &half(65));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("only 64 MiB of the 64 MiB target"),
            "{found:?}"
        );
        assert!(
            found[1].contains("with weir the requests took 65 MiB"),
            "{found:?}"
        );

        let mut broken = half(193);
        broken.report.sent = 3;
        broken.report.failed.insert(FailureKind::Broken, 2);
        broken.report.by_status.insert(502, 1);
        let found = problems(&setup, &broken, &half(50));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("without weir 3 requests failed"),
            "{found:?}"
        );
        assert!(
            found[0].contains("2 broken") && found[0].contains("502: 1"),
            "{found:?}"
        );
    }

    #[test]
    fn rejects_are_not_failures() {
        let mut gated = half(50);
        gated.report.sent = 1;
        gated.report.rejected.insert("queue_wait".into(), 1);
        assert!(problems(&Setup::for_tests(), &half(500), &gated).is_empty());
    }

    #[test]
    fn the_table_compares_the_memory_of_requests_with_the_target() {
        let table = table(&Setup::for_tests(), &half(128), &half(32));
        let line = table
            .lines()
            .find(|line| line.contains("share"))
            .expect("the row");
        assert!(line.contains("200 %") && line.contains("50 %"), "{line}");
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
    }
}
