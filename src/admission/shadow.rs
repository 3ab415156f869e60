//! Shadow mode: everything passes, and beside it goes a queue that decides as the real one would.
//!
//! The shadow has the same policy, a limit, and a virtual queue. A request that passes is also
//! granted, queued or refused here. What it takes is known when it really ends; a request that was
//! granted late here ends late here by as much, and it was known in time, for nothing ends here
//! before it really does. **So the shadow decides exactly what the gate would, as long as the
//! backend takes as long as it would then**; with more at once than the limit it may take longer,
//! and the shadow errs on the side of refusing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::policy::{Policy, Room, Turn, Verdict};
use super::reason::RejectReason;
use super::request::{Charge, ClassId, Queued, Request, Sample, end_of_wait};
use super::settings::Settings;
use super::waiter::Waiter;
use super::what_if::WhatIf;

/// A request that has passed, until it has ended.
#[derive(Debug)]
#[must_use = "a passage that is not reported as finished holds its virtual permit for ever"]
pub struct Passage(u32);

/// One that waits in the shadow.
#[derive(Debug)]
struct Ghost {
    place: u32,
    waiting: Arc<AtomicBool>,
}

impl Waiter for Ghost {
    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
enum Stage {
    /// Its place may be another's when the end of its wait comes up: the number tells.
    Waiting(Arc<AtomicBool>, u64),
    Granted(Instant, Charge),
    Refused,
}

/// What is known of a request that passed.
#[derive(Debug)]
struct Place {
    request: Request,
    stage: Stage,
    /// What it took, once it has really ended.
    took: Option<(Duration, Sample)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(u32),
    WaitEnds(u32, u64),
}

/// Decides beside a gate that lets everything pass.
#[derive(Debug)]
pub struct Shadow {
    policy: Policy<Ghost>,
    queues: bool,
    limit: u32,
    held: u64,
    waiting: u32,
    places: Vec<Option<Place>>,
    vacant: Vec<u32>,
    /// What will happen here, by time and in the order it was planned in.
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    planned: u64,
    refused: Vec<[u64; RejectReason::ALL.len()]>,
    what_if: WhatIf,
}

impl Shadow {
    /// With a limit in units. If nobody `queues`, whoever would have to wait is refused at once.
    ///
    /// # Panics
    ///
    /// As [`Policy::new`] does.
    #[must_use]
    pub fn new(settings: Settings, queues: bool, limit_units: u32, now: Instant) -> Self {
        Self {
            refused: vec![[0; RejectReason::ALL.len()]; settings.classes.len()],
            policy: Policy::new(settings, now),
            queues,
            limit: limit_units,
            held: 0,
            waiting: 0,
            places: Vec::new(),
            vacant: Vec::new(),
            events: BinaryHeap::new(),
            planned: 0,
            what_if: WhatIf::new(limit_units, now),
        }
    }

    /// A request passes. What would have become of it is decided now or later.
    pub fn pass(&mut self, now: Instant, request: Request) -> Passage {
        self.advance(now);
        let verdict = self.policy.arrive(now, &request, self.room());
        let id = self.vacancy();
        let stage = match verdict {
            Verdict::Admit(charge) => {
                self.held += u64::from(charge.units());
                Stage::Granted(now, charge)
            }
            Verdict::Queue(predicted) if self.queues => self.queue(now, id, request, predicted),
            Verdict::Queue(_) => {
                self.count(request.class, RejectReason::NoPermit);
                Stage::Refused
            }
            Verdict::Reject(refusal, _) => {
                self.count(request.class, refusal);
                Stage::Refused
            }
        };
        self.places[id as usize] = Some(Place {
            request,
            stage,
            took: None,
        });
        self.pump(now);
        Passage(id)
    }

    /// It has really ended.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a passage ends once: it is used up, though nothing of it is kept"
    )]
    pub fn finished(&mut self, now: Instant, passage: Passage, took: Duration, sample: Sample) {
        self.advance(now);
        let Passage(id) = passage;
        let Some(place) = &mut self.places[id as usize] else {
            return;
        };
        place.took = Some((took, sample));
        let request = place.request;
        match place.stage {
            Stage::Waiting(..) => {}
            Stage::Granted(at, _) => self.plan(at + took, Event::Ends(id)),
            Stage::Refused => self.vacate(id),
        }
        let tolerates = self.policy.tolerated_wait(request.class);
        self.what_if.observe(now, request.units, took, tolerates);
        self.advance(now);
    }

    /// Lets everything happen here that was to happen until now.
    pub fn advance(&mut self, now: Instant) {
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at <= now
        {
            let Some(Reverse((at, _, event))) = self.events.pop() else {
                return;
            };
            match event {
                Event::Ends(id) => self.ends(at, id),
                Event::WaitEnds(id, number) => self.wait_ends(at, id, number),
            }
        }
    }

    /// How many of a class would have been refused for a reason.
    #[must_use]
    pub fn refused(&self, class: ClassId, refusal: RejectReason) -> u64 {
        let counts = self
            .refused
            .get(usize::from(class.0))
            .unwrap_or(&self.refused[0]);
        counts[refusal as usize]
    }

    /// The limit in units that would have been enough: see [`WhatIf::enough`].
    #[must_use]
    pub fn enough(&self, now: Instant) -> Option<u64> {
        self.what_if.enough(now)
    }

    /// A new limit, in units. What the ladder knew is forgotten.
    pub fn resize(&mut self, now: Instant, limit_units: u32) {
        self.advance(now);
        self.limit = limit_units;
        self.what_if = WhatIf::new(limit_units, now);
        self.pump(now);
    }

    fn vacancy(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).expect("fewer requests at once than 2^32")
        })
    }

    fn room(&self) -> Room {
        let free = u64::from(self.limit).saturating_sub(self.held);
        Room {
            free: u32::try_from(free).expect("at most the limit"),
            limit: self.limit,
            waiting: self.waiting,
        }
    }

    fn queue(
        &mut self,
        now: Instant,
        place: u32,
        request: Request,
        predicted: Option<Duration>,
    ) -> Stage {
        let waiting = Arc::new(AtomicBool::new(true));
        let ghost = Ghost {
            place,
            waiting: waiting.clone(),
        };
        let until = end_of_wait(now, self.policy.max_wait(request.class));
        let entry = Queued {
            predicted,
            ..Queued::new(ghost, request, now, until)
        };
        let number = self.planned;
        self.plan(entry.ends(), Event::WaitEnds(place, number));
        self.policy.push(entry);
        self.waiting += 1;
        Stage::Waiting(waiting, number)
    }

    fn plan(&mut self, at: Instant, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((at, self.planned, event)));
    }

    fn count(&mut self, class: ClassId, refusal: RejectReason) {
        let class = if usize::from(class.0) < self.refused.len() {
            class.0
        } else {
            0
        };
        self.refused[usize::from(class)][refusal as usize] += 1;
    }

    /// Picks until nobody who is next fits, as the gate's pump does.
    fn pump(&mut self, now: Instant) {
        loop {
            let Room { free, limit, .. } = self.room();
            match self.policy.pick(now, free, limit) {
                Turn::Grant(entry, charge) => self.granted(now, entry.waiter.place, charge),
                Turn::Refuse(entry, refusal) => self.let_go(entry.waiter.place, refusal),
                Turn::Hold { .. } | Turn::Empty => break,
            }
        }
        self.policy.purge_if_mostly_husks(self.waiting);
    }

    fn granted(&mut self, now: Instant, id: u32, charge: Charge) {
        self.waiting -= 1;
        self.held += u64::from(charge.units());
        let Some(place) = &mut self.places[id as usize] else {
            return;
        };
        let took = place.took;
        place.stage = Stage::Granted(now, charge);
        if let Some((took, _)) = took {
            self.plan(now + took, Event::Ends(id));
        }
    }

    fn let_go(&mut self, id: u32, refusal: RejectReason) {
        self.waiting -= 1;
        let Some(place) = &mut self.places[id as usize] else {
            return;
        };
        let (class, over) = (place.request.class, place.took.is_some());
        place.stage = Stage::Refused;
        self.count(class, refusal);
        if over {
            self.vacate(id);
        }
    }

    fn ends(&mut self, at: Instant, id: u32) {
        let place = self.places[id as usize].take();
        self.vacant.push(id);
        if let Some(Place {
            stage: Stage::Granted(_, charge),
            took: Some((took, sample)),
            ..
        }) = place
        {
            self.held -= u64::from(charge.units());
            self.policy.finished(at, charge, took, sample);
        }
        self.pump(at);
    }

    fn wait_ends(&mut self, at: Instant, id: u32, number: u64) {
        let Some(place) = &self.places[id as usize] else {
            return;
        };
        let Stage::Waiting(waiting, planned) = &place.stage else {
            return;
        };
        if *planned != number {
            return;
        }
        waiting.store(false, Ordering::Relaxed);
        let refusal = match place.request.deadline {
            Some(deadline) if deadline <= at => RejectReason::Expired,
            _ => RejectReason::QueueWait,
        };
        self.let_go(id, refusal);
        self.pump(at);
    }

    fn vacate(&mut self, id: u32) {
        self.places[id as usize] = None;
        self.vacant.push(id);
    }
}
