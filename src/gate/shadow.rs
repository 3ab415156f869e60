//! `Mode::Shadow`: everybody passes, and the shadow is told.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::ask::Ask;
use super::permit::{Permit, Right};
use super::pump::Message;
use super::rules::{Board, Rules, Strategy};
use super::{Core, Mode};
use crate::admission::{ClassId, Passage, RejectReason, Request, Sample, Shadow};
use crate::sync::Arc;

/// What decides beside a gate that lets everybody pass.
#[derive(Debug)]
pub(super) struct Beside {
    shadow: Shadow,
    /// Who has passed, by number.
    passages: HashMap<u64, Passage>,
    /// What is on the board already, class by class.
    told: Vec<[u64; RejectReason::ALL.len()]>,
}

impl Beside {
    /// `None` if the rules are enforced.
    pub(super) fn new(rules: &Rules, limit_units: u32, now: Instant) -> Option<Self> {
        if rules.mode == Mode::Enforce {
            return None;
        }
        let queues = rules.strategy == Strategy::Queue;
        Some(Self {
            shadow: Shadow::new(rules.policy.clone(), queues, limit_units, now),
            passages: HashMap::new(),
            told: vec![[0; RejectReason::ALL.len()]; rules.policy.classes.len()],
        })
    }

    pub(super) fn passed(&mut self, id: u64, at: Instant, request: Request) {
        self.passages.insert(id, self.shadow.pass(at, request));
    }

    pub(super) fn finished(&mut self, now: Instant, id: u64, held: Duration, sample: Sample) {
        if let Some(passage) = self.passages.remove(&id) {
            self.shadow.finished(now, passage, held, sample);
        }
    }

    pub(super) fn resize(&mut self, now: Instant, limit_units: u32) {
        self.shadow.resize(now, limit_units);
    }

    /// Lets everything happen that was to happen until now, and puts it on the board.
    pub(super) fn tell(&mut self, now: Instant, board: &Board) {
        self.shadow.advance(now);
        for (class, told) in (0..).map(ClassId).zip(&mut self.told) {
            for (reason, told) in RejectReason::ALL.into_iter().zip(told) {
                let refused = self.shadow.refused(class, reason);
                if refused > *told {
                    let more = refused - *told;
                    board
                        .shadow(class, reason)
                        .fetch_add(more, Ordering::Relaxed);
                    *told = refused;
                }
            }
        }
        let enough = self.shadow.enough(now).unwrap_or(u64::MAX);
        board.enough_units.store(enough, Ordering::Relaxed);
    }
}

impl Core {
    /// Lets somebody pass.
    pub(super) fn pass(self: &Arc<Self>, now: Instant, ask: &Ask, units: u32) -> Permit {
        let id = self.passes.fetch_add(1, Ordering::Relaxed);
        let request = ask.request(units);
        self.send(Message::Passed(id, now, request));
        // More than all the memory there is can pass: then what is over is not reckoned.
        let units = if self.held.try_add(u64::from(units), 0, u64::MAX).is_ok() {
            units
        } else {
            self.held.add(1);
            1
        };
        self.pump_at(Some(now));
        self.permit(units, now, Right::Passed(id))
            .of_class(ask.class)
            .in_hand()
    }
}
