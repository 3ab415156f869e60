//! Fair shares between the tenants of a class: deficit round robin, in cost × time.
//!
//! Each tenant that waits is a **flow** in a ring. A flow is served while its *credit* is above
//! zero; each grant takes the work it is expected to be, units × the measured service time, and
//! when it has finished the difference to what it was is settled. A flow without credit gets one
//! *quantum*, the work of a default request, and goes to the back of the ring. (Shreedhar and
//! Varghese 1995, in the form that lets a flow overdraw, as in Linux' `fq_codel`.)
//!
//! * **Fair to one quantum**: between two flows that both wait all the time, finished work differs
//!   by at most a quantum, the largest single request, and what is in flight.
//! * **Nothing is saved up**: who comes back to the ring has a quantum at most. Debts are kept, and
//!   forgiven by a quantum for each round that the others went.
//! * **Cost**: each step round the ring hands out a quantum, and is paid for by the work that spent
//!   it: O(1) per grant over time. When a whole turn finds nobody with credit, as many rounds as
//!   the least indebted needs are handed out at once, so no decision takes more than three turns.

use std::collections::VecDeque;
use std::time::Instant;

use super::codel::Codel;
use super::flow::{Flow, Next, Rules};
use super::line::Line;
use super::request::Queued;
use super::settings::Discipline;
use super::tenant::{Table, TenantKey};
use super::waiter::{Order, Waiter};

/// Room kept for the only flow of a class without tenants.
const ROOM_ALONE: usize = 64;
/// Room kept for each of many.
const ROOM_EACH: usize = 0;

/// The flows of one class and rank.
#[derive(Debug)]
pub(super) struct Ring<W> {
    /// First the flow of those without a tenant, then the table's slots, then the buckets.
    flows: Vec<Flow<W>>,
    ring: VecDeque<u32>,
    table: Option<Table>,
    slots_max: u32,
    /// Quanta that a flow would have got that had been in the ring all the time.
    rounds: u64,
    steps: usize,
    len: usize,
    units: u64,
}

impl<W: Waiter> Ring<W> {
    /// With tenants told apart, exactly up to so many; or one flow for all.
    pub(super) fn new(exact_max: Option<u32>, seed: u64) -> Self {
        Self {
            flows: Vec::new(),
            ring: VecDeque::new(),
            table: exact_max.map(|max| Table::new(max, seed)),
            slots_max: exact_max.unwrap_or_default(),
            rounds: 0,
            steps: 0,
            len: 0,
            units: 0,
        }
    }

    /// Entries held, husks included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Their units.
    pub(super) fn units(&self) -> u64 {
        self.units
    }

    /// How many flows wait.
    pub(super) fn flows(&self) -> u64 {
        self.ring.len() as u64
    }

    /// The units that wait in a flow.
    pub(super) fn flow_units(&self, flow: u32) -> u64 {
        self.flows
            .get(flow as usize)
            .map_or(0, |flow| flow.line.units())
    }

    /// Whether the newest of a flow goes first now.
    pub(super) fn order(&self, flow: u32, discipline: Discipline) -> Order {
        let codel = self.flows.get(flow as usize).map(|flow| &flow.codel);
        discipline.order(codel.is_some_and(Codel::is_standing))
    }

    /// The flow of a tenant.
    pub(super) fn flow_of(&mut self, tenant: Option<TenantKey>, quantum: u64) -> u32 {
        let (Some(table), Some(tenant)) = (&mut self.table, tenant) else {
            return 0;
        };
        let (flows, rounds) = (&self.flows, self.rounds);
        let forgettable = |slot: u32| {
            let flow = flows.get(slot as usize + 1);
            flow.is_none_or(|flow| flow.is_forgettable(rounds, quantum))
        };
        if let Some(slot) = table.slot(tenant, forgettable) {
            return slot + 1;
        }
        let first = self.slots_max + 1;
        let load = |bucket: u32| {
            flows
                .get((first + bucket) as usize)
                .map_or(0, |flow| flow.line.units())
        };
        first + table.bucket(tenant, load)
    }

    pub(super) fn push(&mut self, flow: u32, entry: Queued<W>, quantum: u64) {
        self.grown(&entry);
        self.enter(flow, quantum).line.push(entry);
    }

    /// Somebody of this flow gave up who is not in its line.
    pub(super) fn refused(&mut self, now: Instant, flow: u32) {
        if let Some(flow) = self.flows.get_mut(flow as usize) {
            flow.codel.gave_up(now);
        }
    }

    fn grown(&mut self, entry: &Queued<W>) {
        self.len += 1;
        self.units += u64::from(entry.request.units);
    }

    /// The flow, put at the back of the ring if it is not in it.
    fn enter(&mut self, flow: u32, quantum: u64) -> &mut Flow<W> {
        let at = flow as usize;
        let room = if self.table.is_some() {
            ROOM_EACH
        } else {
            ROOM_ALONE
        };
        if at >= self.flows.len() {
            self.flows.resize_with(at + 1, || Flow::new(room));
        }
        let entered = &mut self.flows[at];
        if !entered.in_ring {
            entered.credit = entered.credit_after(self.rounds, quantum);
            entered.in_ring = true;
            entered.was_served = false;
            self.ring.push_back(flow);
        }
        entered
    }

    /// Whose turn it is, and who of that flow is next. Husks met on the way are dropped.
    pub(super) fn next(&mut self, rules: &Rules) -> (u32, Next) {
        while let Some(flow) = self.turn(rules.quantum) {
            let (before, units) = self.size(flow);
            let next = self.flows[flow as usize].next(rules);
            self.shrunk(flow, before, units);
            if !matches!(next, Next::Nobody) {
                return (flow, next);
            }
        }
        (0, Next::Nobody)
    }

    /// When the wait of a flow's head ends. Husks before it are dropped.
    pub(super) fn head_ends(&mut self, flow: u32, order: Order) -> Option<Instant> {
        let (before, units) = self.size(flow);
        let ends = self.flows[flow as usize].line.next(order).map(Queued::ends);
        self.shrunk(flow, before, units);
        ends
    }

    /// Takes the one at that end of a flow's line.
    pub(super) fn take(&mut self, flow: u32, order: Order) -> Option<Queued<W>> {
        let (before, units) = self.size(flow);
        let taken = self.flows[flow as usize].line.take(order);
        self.shrunk(flow, before, units);
        taken
    }

    /// Keeps a flow its tenant's, though it may be empty.
    pub(super) fn pin(&mut self, flow: u32) {
        self.flows[flow as usize].charges += 1;
    }

    /// Ends a [`pin`](Self::pin).
    pub(super) fn unpin(&mut self, flow: u32) {
        self.flows[flow as usize].charges -= 1;
    }

    /// Takes somebody of this flow who fits, though the head does not.
    pub(super) fn take_fitting(&mut self, flow: u32, rules: &Rules) -> Option<Queued<W>> {
        let order = self.order(flow, rules.discipline);
        let (before, units) = self.size(flow);
        let line = &mut self.flows[flow as usize].line;
        let found = line.take_fitting(rules.now, order, rules.free, rules.limit);
        self.shrunk(flow, before, units);
        found
    }

    fn size(&self, flow: u32) -> (usize, u64) {
        let line = &self.flows[flow as usize].line;
        (line.len(), line.units())
    }

    /// Keeps the sums after a line got shorter.
    fn counted(&mut self, at: u32, len: usize, units: u64) {
        let line = &self.flows[at as usize].line;
        self.len -= len - line.len();
        self.units -= units - line.units();
    }

    /// Whether a flow is to leave the ring, because its line is empty now.
    fn left_ring(&mut self, at: u32) -> bool {
        let flow = &mut self.flows[at as usize];
        let leaves = flow.line.is_empty() && flow.in_ring;
        if leaves {
            flow.in_ring = false;
            flow.left = self.rounds;
            flow.codel.emptied();
        }
        leaves
    }

    /// Looks at every line in the ring, of which some get shorter, and takes the empty ones out of it
    /// in one go: one by one would take as long as there are flows, for each.
    fn sweep(&mut self, mut look: impl FnMut(&mut Line<W>)) {
        let ring = std::mem::take(&mut self.ring);
        let stays = |at: &u32| {
            let (len, units) = self.size(*at);
            look(&mut self.flows[*at as usize].line);
            self.counted(*at, len, units);
            !self.left_ring(*at)
        };
        self.ring = ring.into_iter().filter(stays).collect();
    }

    /// Keeps the sums after a line got shorter, and the ring free of empty ones.
    fn shrunk(&mut self, at: u32, len: usize, units: u64) {
        self.counted(at, len, units);
        if self.left_ring(at) {
            // Nearly always the front; a purge or an entry taken out of turn may empty another.
            if self.ring.front() == Some(&at) {
                self.ring.pop_front();
            } else {
                self.ring.retain(|flow| *flow != at);
            }
        }
    }

    /// Undoes a pick: to its old place, at the front of the ring.
    pub(super) fn put_back(&mut self, flow: u32, entry: Queued<W>, order: Order, quantum: u64) {
        self.grown(&entry);
        if !self.flows[flow as usize].in_ring {
            // It never left.
            self.flows[flow as usize].was_served = false;
            self.enter(flow, quantum);
            self.ring.rotate_right(1);
        }
        self.flows[flow as usize].line.put_back(entry, order);
    }

    /// Takes work off a flow's credit, and remembers that it is to be settled.
    pub(super) fn charge(&mut self, flow: u32, work: u64) {
        if self.table.is_none() {
            return;
        }
        let flow = &mut self.flows[flow as usize];
        flow.credit = flow.credit.saturating_sub_unsigned(work);
        flow.was_served = true;
        flow.charges += 1;
    }

    /// Settles a charge: what it was thought to be against what it was.
    pub(super) fn settle(&mut self, flow: u32, charged: u64, work: u64) {
        if self.table.is_none() {
            return;
        }
        let flow = &mut self.flows[flow as usize];
        flow.charges -= 1;
        flow.credit = flow
            .credit
            .saturating_add_unsigned(charged)
            .saturating_sub_unsigned(work);
    }

    /// The flow whose turn it is: the first with credit.
    fn turn(&mut self, quantum: u64) -> Option<u32> {
        if self.table.is_none() {
            // One flow: its credit is nobody else's loss.
            return self.ring.front().copied();
        }
        let quantum = i64::try_from(quantum.max(1)).unwrap_or(i64::MAX);
        let mut looked = 0;
        loop {
            let at = *self.ring.front()?;
            if self.flows[at as usize].credit > 0 {
                return Some(at);
            }
            if looked == self.ring.len() {
                self.hand_out_rounds(quantum);
                looked = 0;
                continue;
            }
            looked += 1;
            let flow = &mut self.flows[at as usize];
            flow.credit = flow.credit.saturating_add(quantum);
            self.steps += 1;
            if self.steps >= self.ring.len() {
                self.steps = 0;
                self.rounds += 1;
            }
            self.ring.rotate_left(1);
        }
    }

    /// After a turn that found nobody: as many rounds as bring the least indebted up to a credit.
    fn hand_out_rounds(&mut self, quantum: i64) {
        let highest = self
            .ring
            .iter()
            .map(|flow| self.flows[*flow as usize].credit)
            .max();
        let missing = 1_i64.saturating_sub(highest.unwrap_or(1)).max(0);
        let rounds = missing.div_euclid(quantum) + i64::from(missing.rem_euclid(quantum) > 0);
        for flow in &self.ring {
            let flow = &mut self.flows[*flow as usize];
            flow.credit = flow.credit.saturating_add(quantum.saturating_mul(rounds));
        }
        self.rounds += rounds.unsigned_abs();
    }

    /// Everybody who waits, line by line.
    pub(super) fn into_entries(self) -> Vec<Queued<W>> {
        let lines = self.flows.into_iter().map(|flow| flow.line);
        lines.flat_map(Line::into_entries).collect()
    }

    /// Lets go of every husk.
    pub(super) fn purge(&mut self) {
        self.sweep(Line::purge);
    }

    /// When the one who has waited longest arrived: a look at each flow that waits.
    pub(super) fn oldest(&mut self) -> Option<Instant> {
        if self.table.is_none() {
            let flow = *self.ring.front()?;
            let (before, units) = self.size(flow);
            let arrived = self.flows[flow as usize].line.oldest();
            self.shrunk(flow, before, units);
            return arrived;
        }
        let mut oldest = None::<Instant>;
        self.sweep(|line| {
            oldest = oldest.into_iter().chain(line.oldest()).min();
        });
        oldest
    }
}

#[cfg(test)]
mod tests;
