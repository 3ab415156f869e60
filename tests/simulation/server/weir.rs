//! weir's admission code, driven as the gate drives it: arrive, push, pick until it holds, purge.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use weir::admission::{
    Charge, ClassId, Policy, Queued, RejectReason, Room, Sample, Settings, TenantKey, Turn,
    UNITS_PER_TASK, Verdict, Waiter,
};

use super::{Action, Server};
use crate::tally::Tally;
use crate::world::{Id, Request};

/// Of doomed refusals, one in so many is followed: it waits on as a ghost that costs next to
/// nothing, to see when it would have been dispatched.
const FOLLOWED: u64 = 5;

struct Client {
    id: Id,
    waiting: Rc<Cell<bool>>,
    /// If it is a ghost: its deadline and what it would have taken, in µs.
    ghost: Option<(u64, u64)>,
}

impl Waiter for Client {
    fn is_waiting(&self) -> bool {
        self.waiting.get()
    }
}

pub(crate) struct Weir {
    policy: Policy<Client>,
    start: Instant,
    limit: u32,
    held: u32,
    waiting: u32,
    /// By request.
    places: Vec<Option<Rc<Cell<bool>>>>,
    charges: Vec<Option<Charge>>,
    refused: u64,
    doomed: (u64, u64),
}

impl Weir {
    pub(crate) fn new(permits: u32, settings: Settings) -> Self {
        let start = Instant::now();
        Self {
            policy: Policy::new(settings, start),
            start,
            limit: permits * UNITS_PER_TASK,
            held: 0,
            waiting: 0,
            places: Vec::new(),
            charges: Vec::new(),
            refused: 0,
            doomed: (0, 0),
        }
    }

    fn at(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    fn micros(&self, at: Instant) -> u64 {
        (at - self.start).as_micros() as u64
    }

    fn room(&self) -> Room {
        Room {
            free: self.limit - self.held,
            limit: self.limit,
            waiting: self.waiting,
        }
    }

    fn request(&self, request: &Request) -> weir::admission::Request {
        let deadline = self.at(request.deadline());
        weir::admission::Request {
            class: ClassId(request.sent.class),
            tenant: Some(TenantKey::new(request.sent.tenant)),
            attempt: if request.attempt > 1 {
                weir::admission::Attempt::Retry
            } else {
                weir::admission::Attempt::First
            },
            units: (request.sent.cost * f64::from(UNITS_PER_TASK)) as u32,
            deadline: request.sent.says_deadline.then_some(deadline),
        }
    }

    fn grant(&mut self, id: Id, charge: Charge) {
        self.held += charge.units();
        assert!(self.held <= self.limit, "more granted than there is");
        self.charges[id as usize] = Some(charge);
    }

    fn queue(
        &mut self,
        client: Client,
        request: weir::admission::Request,
        now: u64,
        predicted: Option<Duration>,
    ) -> u64 {
        let until = self.at(now) + self.policy.max_wait(request.class);
        let mut entry = Queued::new(client, request, self.at(now), until);
        entry.predicted = predicted;
        let ends = self.micros(entry.ends());
        self.waiting += 1;
        self.policy.push(entry);
        ends
    }

    fn follow(&mut self, id: Id, request: &Request, now: u64) {
        self.refused += 1;
        if self.refused.is_multiple_of(FOLLOWED) {
            let ghost = Some((request.deadline(), request.sent.work));
            let client = Client {
                id,
                waiting: Rc::new(Cell::new(true)),
                ghost,
            };
            let asked = weir::admission::Request {
                units: 1,
                ..self.request(request)
            };
            self.queue(client, asked, now, None);
        }
    }

    /// A ghost that comes to an end shows whether it was refused rightly.
    fn judge(&mut self, ghost: (u64, u64), dispatched: Option<u64>) {
        let (deadline, work) = ghost;
        let late = dispatched.is_none_or(|at| at + work > deadline);
        self.doomed.0 += 1;
        self.doomed.1 += u64::from(late);
    }
}

impl Server for Weir {
    fn arrive(&mut self, now: u64, id: Id, request: &Request) -> Action {
        let places = self.places.len().max(id as usize + 1);
        self.places.resize_with(places, || None);
        self.charges.resize_with(places, || None);
        let asked = self.request(request);
        match self.policy.arrive(self.at(now), &asked, self.room()) {
            Verdict::Admit(charge) => {
                self.grant(id, charge);
                Action::Run
            }
            Verdict::Queue(predicted) => {
                let waiting = Rc::new(Cell::new(true));
                self.places[id as usize] = Some(waiting.clone());
                let client = Client {
                    id,
                    waiting,
                    ghost: None,
                };
                Action::Wait(Some(self.queue(client, asked, now, predicted)))
            }
            Verdict::Reject(refusal, _) => {
                if refusal == RejectReason::Doomed {
                    self.follow(id, request, now);
                }
                Action::Refuse(refusal.label())
            }
        }
    }

    fn next(&mut self, now: u64) -> Option<(Id, Action)> {
        loop {
            let Room { free, limit, .. } = self.room();
            match self.policy.pick(self.at(now), free, limit) {
                Turn::Grant(entry, charge) => {
                    self.waiting -= 1;
                    if let Some(ghost) = entry.waiter.ghost {
                        self.judge(ghost, Some(now));
                        let now = self.at(now);
                        self.policy
                            .finished(now, charge, Duration::ZERO, Sample::Cut);
                        continue;
                    }
                    let id = entry.waiter.id;
                    self.grant(id, charge);
                    self.places[id as usize] = None;
                    return Some((id, Action::Run));
                }
                Turn::Refuse(entry, refusal) => {
                    self.waiting -= 1;
                    if let Some(ghost) = entry.waiter.ghost {
                        self.judge(ghost, None);
                        continue;
                    }
                    self.places[entry.waiter.id as usize] = None;
                    return Some((entry.waiter.id, Action::Refuse(refusal.label())));
                }
                Turn::Hold { .. } | Turn::Empty => break,
            }
        }
        self.policy.purge_if_mostly_husks(self.waiting);
        None
    }

    fn finished(&mut self, now: u64, id: Id, request: &Request, served: bool) {
        let Some(charge) = self.charges[id as usize].take() else {
            panic!("{id} held no permit");
        };
        self.held -= charge.units();
        let held = Duration::from_micros(now - request.started);
        let sample = if served { Sample::Served } else { Sample::Cut };
        self.policy.finished(self.at(now), charge, held, sample);
    }

    fn left(&mut self, _: u64, id: Id) {
        if let Some(place) = self.places[id as usize].take() {
            place.set(false);
            self.waiting -= 1;
        }
    }

    fn tick(&mut self, now: u64) {
        self.policy.tick(self.at(now));
    }

    fn report(&self, tally: &mut Tally) {
        tally.doomed = self.doomed;
        let error = self.policy.prediction_error();
        let off = (error.longer_micros + error.shorter_micros) as f64;
        tally.prediction_error =
            (error.waited_micros > 0).then(|| off / error.waited_micros as f64);
    }
}
