//! What `/status` tells, and the figures that gauges are set from.

use serde_json::{Map, Value, json};

use super::Admin;
use crate::gate::Gate;
use crate::lifecycle::Phase;
use crate::telemetry::{Figures, PolicyFigures};

/// The gate's figures in the form that telemetry takes.
#[must_use]
pub fn figures(gate: &Gate, phase: Phase) -> Figures {
    let now = gate.snapshot();
    let budget = gate.budget();
    Figures {
        permit_limit: now.permit_limit,
        permit_limit_configured: budget.permit_limit(),
        limit_units_configured: budget.limit_units(),
        available_units: now.available_units,
        in_flight: now.in_flight,
        in_flight_units: now.in_flight_units,
        queued: now.queued,
        queued_bytes: now.queued_bytes,
        queue_oldest: now.oldest_wait,
        target_memory: budget.target_memory(),
        memory_per_task: budget.memory_per_task(),
        phase: phase.label(),
        policy: policy(gate),
    }
}

/// What the gate says of its policy.
fn policy(gate: &Gate) -> PolicyFigures {
    let classes = gate.classes();
    PolicyFigures {
        is_shadow: gate.is_shadow(),
        shadow_rejected: classes.iter().map(|class| class.shadow_rejected).collect(),
        enough_units: gate.enough_units(),
        prediction: gate.prediction_error(),
        service: classes.iter().map(|class| class.service).collect(),
    }
}

/// The answer of `/status`.
pub(super) fn status(admin: &Admin) -> Value {
    let phase = *admin.phase.borrow();
    let totals = admin.telemetry.totals();
    let figures = figures(&admin.gate, phase);
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": phase.label(),
        "uptime_seconds": admin.started.elapsed().as_secs(),
        "gate": gate(admin, &figures),
        "budget": budget(&admin.gate),
        "mode": if figures.policy.is_shadow { "shadow" } else { "enforce" },
        "classes": classes(admin, &figures),
        "requests": counts(totals.by_outcome()),
        "rejected": counts(totals.by_reason()),
        "service": {
            "count": totals.service_count,
            "sum_seconds": totals.service_sum.as_secs_f64(),
        },
        "connections": totals.connections,
        "tunnels": totals.tunnels,
        "connection_errors": totals.connection_errors,
        "upstream": {
            "connections": totals.upstream_connections,
            "errors": totals.upstream_errors,
            "retries": totals.upstream_retries,
            "retries_denied": totals.upstream_retries_denied,
        },
        "reload": {
            "last_ok": totals.last_reload_ok,
            "succeeded": totals.reloads_ok,
            "failed": totals.reloads_failed,
        },
        "panics": totals.panics,
    });
    if let (Value::Object(status), Value::Object(extra)) =
        (&mut status, (admin.hooks.status_extra)())
    {
        status.extend(extra);
    }
    status
}

fn gate(admin: &Admin, figures: &Figures) -> Value {
    let snapshot = admin.gate.snapshot();
    json!({
        "permit_limit": figures.permit_limit,
        "available_permits": figures.available_permits(),
        "in_flight": figures.in_flight,
        "queued": figures.queued,
        "queued_bytes": figures.queued_bytes,
        "oldest_wait_seconds": figures.queue_oldest.as_secs_f64(),
        "limit_units": snapshot.limit_units,
        "available_units": snapshot.available_units,
        "in_flight_units": snapshot.in_flight_units,
        "debt_units": snapshot.debt_units,
        "reserved_memory_bytes": figures.reserved_memory(),
        "utilization_ratio": figures.utilization(),
        "demand_ratio": admin.telemetry.demand_ratio(),
        "overloaded": admin.telemetry.is_overloaded(),
        "broken": admin.gate.is_broken(),
    })
}

/// For each class what is guaranteed to it and what became of its requests.
fn classes(admin: &Admin, figures: &Figures) -> Vec<Value> {
    let classes = admin.gate.classes();
    let weights: u32 = classes.iter().map(|class| class.weight).sum();
    let counted = admin.telemetry.classes(&figures.policy);
    let each = counted.iter().zip(&classes);
    each.map(|((name, counts), class)| {
        let share = f64::from(class.weight) / f64::from(weights.max(1));
        json!({
            "name": &**name,
            "share": share,
            "permits": share * f64::from(figures.permit_limit),
            "finished": counts.finished(),
            "served": counts.served(),
            "rejected": counts.rejects(),
            "shadow_rejected": counts.shadow_rejects(),
            "service_p50_seconds": class.service.map(|known| known.p50.as_secs_f64()),
        })
    })
    .collect()
}

/// The numbers and how the limit comes from them.
fn budget(gate: &Gate) -> Value {
    let budget = gate.budget();
    json!({
        "target_memory_bytes": budget.target_memory(),
        "memory_per_task_bytes": budget.memory_per_task(),
        "safety_factor": budget.safety_factor().to_string(),
        "budget_bytes": budget.bytes(),
        "permit_limit": budget.permit_limit(),
        "arithmetic": format!(
            "floor({} / {} × {}) = {}",
            budget.target_memory(),
            budget.memory_per_task(),
            budget.safety_factor(),
            budget.permit_limit()
        ),
    })
}

fn counts(counts: impl Iterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    counts
        .map(|(label, count)| (label.to_owned(), count.into()))
        .collect()
}
