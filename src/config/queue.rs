//! Reads `[queue]`: what happens when no permit is free.

use std::time::Duration;

use super::Machine;
use super::parse::{self, HOUR, Round};
use super::problem::Problem;
use super::quantity;
use super::reader::{Complaint, Reader};
use super::settings::{MI, auto_or};
use super::{checks, duration};
use crate::admission::{Discipline, MaxWait, Ramp, Switch};
use crate::gate::Strategy;

/// The gate's ledger counts no further.
const MAX_DEPTH: u32 = (1 << 24) - 1;

/// What `[queue]` says.
#[derive(Clone, Debug)]
pub(super) struct QueueSettings {
    pub(super) strategy: Strategy,
    pub(super) max_wait: MaxWait,
    pub(super) max_depth: u32,
    pub(super) max_bytes: u64,
    pub(super) order: Discipline,
    pub(super) codel: Switch,
    pub(super) ramp: Option<Ramp>,
    pub(super) backfill_percent: u8,
    pub(super) cut_off: Switch,
}

pub(super) fn read(
    reader: &mut Reader,
    machine: &Machine,
    warnings: &mut Vec<Problem>,
) -> Option<QueueSettings> {
    let strategy = reader.read("queue.strategy", |text| {
        let choices = [
            ("queue", Strategy::Queue),
            ("immediate", Strategy::Immediate),
        ];
        parse::one_of(text, &choices)
    });
    let max_wait = reader.read("queue.max_wait", max_wait);
    if max_wait == Some(MaxWait::Auto) {
        reader.came_to("queue.max_wait", AUTO_WAIT);
    }
    let max_depth = reader.read("queue.max_depth", |text| {
        parse::whole(text, &(0..=MAX_DEPTH))
    });
    let max_bytes = max_bytes(reader, machine, warnings);
    let order = reader.read("queue.order", discipline);
    let codel = reader.read("queue.codel", switch);
    let ramp = reader.read("queue.ramp", ramp);
    let backfill_percent = reader.read("queue.backfill", percent);
    let cut_off = reader.read("queue.cut_off", switch);
    Some(QueueSettings {
        strategy: strategy?,
        max_wait: max_wait?,
        max_depth: max_depth?,
        max_bytes: max_bytes?,
        order: order?,
        codel: codel?,
        ramp: ramp?,
        backfill_percent: backfill_percent?,
        cut_off: cut_off?,
    })
}

fn max_bytes(reader: &mut Reader, machine: &Machine, warnings: &mut Vec<Problem>) -> Option<u64> {
    let key = "queue.max_bytes";
    let max_bytes = auto_or(
        reader,
        key,
        auto_queue_bytes(machine.own_memory_limit),
        |bytes| quantity::show(*bytes),
        |text| parse::bytes(text, Round::Down, &(64 << 10..=512 << 30)),
    );
    let room = machine
        .own_memory_limit
        .map(|limit| limit.saturating_sub(32 * MI));
    if let (Some(bytes), Some(room)) = (max_bytes, room)
        && bytes > room.max(16 * MI)
    {
        warnings.push(reader.warning(
            key,
            Complaint::new(
                format!(
                    "weir's own memory limit leaves about {} for the queue; a full one may get \
                     weir killed",
                    quantity::show(room)
                ),
                "lower it, write \"auto\", or raise the memory limit of weir's container",
            ),
        ));
    }
    max_bytes
}

/// Half of weir's own memory less 32 MiB for everything else, at least 16 MiB.
fn auto_queue_bytes(own_memory_limit: Option<u64>) -> u64 {
    match own_memory_limit {
        Some(limit) => (limit / 2).saturating_sub(32 * MI).max(16 * MI),
        None => 64 * MI,
    }
}

/// In what order those who wait are served.
pub(super) fn discipline(text: &str) -> Result<Discipline, Complaint> {
    let choices = [
        ("fifo", Discipline::Fifo),
        ("lifo", Discipline::Lifo),
        ("adaptive", Discipline::Adaptive),
    ];
    parse::one_of(text, &choices)
}

/// How long a request waits at most.
pub(super) fn max_wait(text: &str) -> Result<MaxWait, Complaint> {
    if text == "auto" {
        return Ok(MaxWait::Auto);
    }
    parse::duration(text, &(Duration::from_millis(1)..=HOUR))
        .map(MaxWait::Fixed)
        .map_err(parse::or_auto)
}

/// What `auto` comes to as a longest wait.
pub(super) const AUTO_WAIT: &str = "2 × the median service time, from 1s to 30s";

/// The most that `auto` comes to.
const AUTO_WAIT_MAX: Duration = Duration::from_secs(30);

/// A longest wait as people write it, and what it means.
#[must_use]
pub(crate) fn show_max_wait(wait: MaxWait) -> String {
    match wait {
        MaxWait::Fixed(wait) => duration::show(wait),
        MaxWait::Auto => AUTO_WAIT.to_owned(),
    }
}

/// A longest wait against the end of a drain: an error if it is longer, a warning if it can
/// become so.
pub(super) fn check_wait(
    reader: &mut Reader,
    key: &str,
    wait: MaxWait,
    timeout: Duration,
    warnings: &mut Vec<Problem>,
) {
    match wait {
        MaxWait::Fixed(wait) if wait > timeout => {
            let complaint = checks::outlasts_drain(("it is", "lower it"), wait, timeout);
            reader.problem(key, complaint);
        }
        MaxWait::Auto if AUTO_WAIT_MAX > timeout => {
            let can = "for a slow backend it can come to 30s, which is";
            let words = (can, "write a duration instead");
            let complaint = checks::outlasts_drain(words, AUTO_WAIT_MAX, timeout);
            warnings.push(reader.warning(key, complaint));
        }
        MaxWait::Fixed(_) | MaxWait::Auto => {}
    }
}

/// `true` or `false` for a rule of the policy.
pub(super) fn switch(text: &str) -> Result<Switch, Complaint> {
    parse::flag(text).map(|is_on| if is_on { Switch::On } else { Switch::Off })
}

/// `true` for the ramp of two to three times the limit.
pub(super) fn ramp(text: &str) -> Result<Option<Ramp>, Complaint> {
    parse::flag(text).map(|is_on| is_on.then(Ramp::default))
}

/// A share in whole percent, rounded down.
fn percent(text: &str) -> Result<u8, Complaint> {
    let percent = parse::share(text)?.of(100);
    Ok(u8::try_from(percent).expect("a share is at most one"))
}
