//! The pump: from the channel to the policy, and from the policy to whom it picks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::ask::Rejected;
use super::permit::Right;
use super::rules::{Rules, Strategy, micros};
use super::sampling::Sampling;
use super::shadow::Beside;
use super::ticket::Ticket;
use super::{BROKEN, Core, Permit};
use crate::admission::{
    Charge, ClassId, Policy, Pushback, Queued, RejectReason, Request, Room, Sample, Settings, Turn,
    Verdict,
};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, TryLockError, UnboundedReceiver};

/// Answers gathered under the lock before they are handed out without it.
const BATCH: usize = 32;

/// How often the oldest is looked for where that is a look at each who waits.
const OLDEST_EVERY: Duration = Duration::from_millis(100);

/// What the policy is told, in order.
#[derive(Debug)]
pub(super) enum Message {
    /// Somebody is at the door, and has room in the ledger.
    Arrived(Queued<Ticket>),
    /// A permit came back.
    Finished(Finished),
    /// Somebody passed in the shadow, with this number, then.
    Passed(u64, Instant, Request),
    /// There are new rules, and a limit of so many units.
    Rules(Box<Rules>, u32),
    /// The limit is now so many units.
    Resized(u32),
}

/// A permit that came back.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) class: ClassId,
    pub(super) units: u32,
    pub(super) right: Right,
    pub(super) since: Instant,
    pub(super) sample: Sample,
    /// For how many it speaks of which nothing else is told.
    pub(super) stands_for: u32,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Queue {
    receiver: UnboundedReceiver<Message>,
    policy: Policy<Ticket>,
    strategy: Strategy,
    max_depth: u32,
    beside: Option<Beside>,
    /// When the oldest was last looked for.
    looked: Instant,
    sampling: Sampling,
}

impl Queue {
    pub(super) fn new(
        receiver: UnboundedReceiver<Message>,
        rules: &Rules,
        limit_units: u32,
        now: Instant,
    ) -> Self {
        Self {
            receiver,
            policy: Policy::new(rules.policy.clone(), now),
            strategy: rules.strategy,
            max_depth: rules.max_depth,
            beside: Beside::new(rules, limit_units, now),
            looked: now,
            sampling: Sampling::new(now),
        }
    }
}

type Answers = Vec<(Ticket, Result<Permit, Rejected>)>;

impl Core {
    /// Looks at who is next, after anything has changed: an arrival, a departure, a permit that
    /// came back while somebody waits, a resize.
    ///
    /// One step leaves a mark and says whether the turn was free. Who finds it taken leaves; who
    /// has it gives it up only when no mark is left that came after its last round began. So no
    /// change goes unseen, nobody waits, and no thread is special.
    pub(super) fn pump(self: &Arc<Self>) {
        self.pump_at(None);
    }

    /// The same for who has just looked at the clock.
    pub(super) fn pump_at(self: &Arc<Self>, mut now: Option<Instant>) {
        loop {
            // All steps on `marks` read and write, so each sees what came before all earlier ones.
            if self.marks.fetch_add(1, Ordering::AcqRel) > 0 {
                return;
            }
            let answers = self.take_turn(now.take());
            let full = answers.len() == BATCH;
            let returned = hand_out(answers);
            if !full && !returned {
                return;
            }
        }
    }

    /// Goes round until every mark is served or the batch is full, and gives the turn up.
    fn take_turn(self: &Arc<Self>, mut now: Option<Instant>) -> Answers {
        let mut answers = Answers::new();
        let mut served = 1;
        loop {
            // The turn is ours, and the lock is given back before it: only a bug can hold it.
            match self.queue.try_lock() {
                Ok(mut queue) => self.guarded_round(&mut queue, &mut answers, now.take()),
                Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => self.break_down(),
            }
            if answers.len() == BATCH {
                // `pump` comes back for the marks that are wiped away here.
                self.marks.swap(0, Ordering::AcqRel);
                return answers;
            }
            match self
                .marks
                .compare_exchange(served, 0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return answers,
                Err(marks) => served = marks,
            }
        }
    }

    /// One round that closes the gate rather than poison it, should the policy panic.
    fn guarded_round(
        self: &Arc<Self>,
        queue: &mut Queue,
        answers: &mut Answers,
        now: Option<Instant>,
    ) {
        if self.state.load(Ordering::Acquire) != BROKEN {
            let round = catch_unwind(AssertUnwindSafe(|| self.round(queue, answers, now)));
            if round.is_ok() {
                return;
            }
            self.break_down();
        }
        // Dropping a ticket ends its wait as `Internal`.
        while queue.receiver.try_recv().is_ok() {}
        queue.policy = Policy::new(Settings::default(), self.epoch);
        queue.beside = None;
    }

    fn break_down(&self) {
        self.state.store(BROKEN, Ordering::Release);
    }

    fn round(self: &Arc<Self>, queue: &mut Queue, answers: &mut Answers, now: Option<Instant>) {
        let now = now.unwrap_or_else(self.clock);
        while answers.len() < BATCH
            && let Ok(message) = queue.receiver.try_recv()
        {
            match message {
                Message::Arrived(entry) => self.at_the_door(queue, answers, now, entry),
                Message::Finished(finished) => self.finished(queue, now, finished),
                Message::Passed(id, at, request) => {
                    if let Some(beside) = &mut queue.beside {
                        beside.passed(id, at, request);
                    }
                }
                Message::Rules(rules, limit_units) => {
                    queue.strategy = rules.strategy;
                    queue.max_depth = rules.max_depth;
                    queue.beside = Beside::new(&rules, limit_units, now);
                    queue.policy.reconfigure(now, rules.policy);
                    self.tell_waits(&queue.policy);
                }
                Message::Resized(limit_units) => {
                    if let Some(beside) = &mut queue.beside {
                        beside.resize(now, limit_units);
                    }
                }
            }
        }
        queue.policy.tick(now);
        while answers.len() < BATCH {
            let room = self.room();
            match queue.policy.pick(now, room.free, room.limit) {
                Turn::Empty | Turn::Hold { .. } => break,
                Turn::Refuse(entry, reason) => {
                    let request = entry.request;
                    let pushback = queue.policy.pushback_for(&request, reason, room);
                    self.refuse(answers, entry.waiter, reason, Some(pushback));
                }
                Turn::Grant(entry, charge) => {
                    let Some(permit) = self.try_permit(charge.units(), now) else {
                        // An arrival that read an empty ledger was quicker. It pumps when done.
                        queue.policy.put_back(now, entry, charge);
                        break;
                    };
                    self.grant(queue, answers, now, entry, permit, charge);
                }
            }
        }
        self.tell(queue, now);
    }

    /// Lets in who is at the door, or queues or refuses it.
    fn at_the_door(
        self: &Arc<Self>,
        queue: &mut Queue,
        answers: &mut Answers,
        now: Instant,
        mut entry: Queued<Ticket>,
    ) {
        let mut room = self.room();
        // In the ledger are also this one and those who have not come yet, and in the policy those
        // who have left.
        room.waiting = room.waiting.saturating_sub(1);
        if room.waiting == 0 {
            queue.policy.purge();
        }
        let held = u32::try_from(queue.policy.len()).unwrap_or(u32::MAX);
        room.waiting = room.waiting.min(held);
        entry.predicted = match queue.policy.arrive(now, &entry.request, room) {
            Verdict::Admit(charge) => {
                if let Some(permit) = self.try_permit(charge.units(), now) {
                    return self.grant(queue, answers, now, entry, permit, charge);
                }
                queue.policy.undo(charge);
                None
            }
            Verdict::Queue(predicted) => predicted,
            Verdict::Reject(reason, pushback) => {
                return self.refuse(answers, entry.waiter, reason, Some(pushback));
            }
        };
        if queue.strategy == Strategy::Immediate {
            self.refuse(answers, entry.waiter, RejectReason::NoPermit, None);
        } else if queue.max_depth > 0 && room.waiting >= queue.max_depth {
            self.refuse(answers, entry.waiter, RejectReason::QueueDepth, None);
        } else {
            queue.policy.push(entry);
        }
    }

    fn grant(
        &self,
        queue: &mut Queue,
        answers: &mut Answers,
        now: Instant,
        entry: Queued<Ticket>,
        permit: Permit,
        charge: Charge,
    ) {
        if entry.waiter.grant() {
            self.queued.sub(entry.waiter.bytes());
            let permit = permit.charged(entry.request.class, charge);
            answers.push((entry.waiter, Ok(permit)));
        } else {
            permit.give_back_quietly();
            queue
                .policy
                .finished(now, charge, Duration::ZERO, Sample::Cut);
        }
    }

    fn refuse(
        &self,
        answers: &mut Answers,
        ticket: Ticket,
        reason: RejectReason,
        pushback: Option<Pushback>,
    ) {
        if ticket.refuse() {
            self.queued.sub(ticket.bytes());
            answers.push((ticket, Err(Rejected { reason, pushback })));
        }
    }

    fn finished(&self, queue: &mut Queue, now: Instant, finished: Finished) {
        let Finished {
            class,
            units,
            since,
            sample,
            stands_for,
            ..
        } = finished;
        // Not read where it came back: it is as good as now, and the clock may be a bug's.
        let held = now.saturating_duration_since(since);
        match finished.right {
            Right::Free => {
                queue.sampling.told();
                queue
                    .policy
                    .observed(now, class, units, held, sample, stands_for);
            }
            Right::Charged(charge) => queue.policy.finished(now, charge, held, sample),
            Right::Passed(id) => {
                // The gate learns from it, too, for when the rules are enforced.
                queue.policy.observed(now, class, units, held, sample, 1);
                if let Some(beside) = &mut queue.beside {
                    beside.finished(now, id, held, sample);
                }
            }
        }
        if let Some(known) = queue.policy.service(class)
            && self.board.service(class) != Some(known)
        {
            self.board.set_service(class, known);
            self.live
                .load()
                .set_max_wait(class, queue.policy.max_wait(class));
        }
    }

    /// How long each class waits at most now.
    fn tell_waits(&self, policy: &Policy<Ticket>) {
        let live = self.live.load();
        for class in (0..policy.classes()).map(ClassId) {
            live.set_max_wait(class, policy.max_wait(class));
        }
    }

    /// What there is.
    fn room(&self) -> Room {
        let idle = self.semaphore.available_permits();
        Room {
            free: u32::try_from(idle).unwrap_or(u32::MAX),
            limit: self.limit_units(),
            waiting: self.queued.read().0,
        }
    }

    /// Clears up, and puts what can be seen from outside where it is read.
    fn tell(&self, queue: &mut Queue, now: Instant) {
        let policy = &mut queue.policy;
        policy.purge_if_mostly_husks(self.queued.read().0);
        if !policy.tells_tenants_apart()
            || now.saturating_duration_since(queue.looked) >= OLDEST_EVERY
        {
            queue.looked = now;
            let oldest = policy.oldest().map_or(u64::MAX, |arrived| {
                micros(arrived.saturating_duration_since(self.epoch))
            });
            self.oldest.store(oldest, Ordering::Release);
        }
        self.board.set_prediction(policy.prediction_error());
        let one_in = queue.sampling.one_in(now, policy.overall().is_some());
        self.one_in_tells.store(one_in, Ordering::Relaxed);
        if let Some(beside) = &mut queue.beside {
            beside.tell(now, &self.board);
        }
    }
}

/// Hands the answers out, without the lock. True if a permit came back because its client left
/// after it was chosen: then somebody else is to have it.
fn hand_out(answers: Answers) -> bool {
    let mut returned = false;
    for (ticket, answer) in answers {
        if let Err(permit) = ticket.answer(answer) {
            permit.give_back_quietly();
            returned = true;
        }
    }
    returned
}
