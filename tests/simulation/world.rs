//! The simulated world: discrete events on a virtual clock, in µs since the start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::backend::{Backend, BackendSpec};
use super::chance::Chance;
use super::clients::{Arrivals, Source};
use super::server::{Action, Server};
use super::tally::Tally;

/// A request, by its place in the world's list.
pub(crate) type Id = u32;

pub(crate) const SECOND: u64 = 1_000_000;
/// How often the server is told the time.
const TICK: u64 = SECOND / 4;

/// What a client sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template {
    pub(crate) class: u8,
    pub(crate) tenant: u64,
    /// In permits.
    pub(crate) cost: f64,
    /// What it takes at full speed, in µs.
    pub(crate) work: u64,
    /// After how long the client goes, in µs.
    pub(crate) patience: u64,
    /// Whether the server is told of it.
    pub(crate) says_deadline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Running,
    Over,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) sent: Template,
    pub(crate) source: u32,
    pub(crate) attempt: u32,
    pub(crate) arrived: u64,
    pub(crate) started: u64,
    pub(crate) state: State,
    pub(crate) client_left: bool,
}

impl Request {
    pub(crate) fn deadline(&self) -> u64 {
        self.arrived + self.sent.patience
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next of a source.
    Arrival(u32),
    /// One more try of what this request was.
    Retry(Id),
    /// The wait at the server ends.
    WaitEnds(Id),
    /// The client has waited enough.
    Impatient(Id),
    /// The backend's next end, as of this version.
    Ended(u64),
    /// The n-th change of speed.
    Speed(u32),
    Restarted,
    Tick,
}

/// What happens in a run, beside the clients.
pub(crate) struct Plan {
    pub(crate) backend: BackendSpec,
    pub(crate) sources: Vec<Source>,
    /// From this second on, this speed.
    pub(crate) speeds: Vec<(f64, f64)>,
    pub(crate) seconds: f64,
    /// What happens before this second does not count.
    pub(crate) warm_up: f64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    planned: u64,
    pub(crate) requests: Vec<Request>,
    server: Box<dyn Server>,
    backend: Backend,
    /// What `Ended` event is on its way, so that it is not planned twice.
    ending: Option<u64>,
    plan: Plan,
    chance: Chance,
    pub(crate) tally: Tally,
}

/// Runs a plan against a server to its end.
pub(crate) fn run(plan: Plan, server: Box<dyn Server>, seed: u64) -> Tally {
    let mut world = World {
        now: 0,
        events: BinaryHeap::new(),
        planned: 0,
        requests: Vec::new(),
        server,
        backend: Backend::new(plan.backend),
        ending: None,
        tally: Tally::new(plan.backend.capacity, plan.warm_up, plan.seconds),
        plan,
        chance: Chance::new(seed),
    };
    world.start();
    let end = micros(world.plan.seconds);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        if at > end {
            break;
        }
        world.now = at;
        world.happens(event);
        world.settle();
    }
    let World {
        server, mut tally, ..
    } = world;
    server.report(&mut tally);
    tally
}

pub(crate) fn micros(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

impl World {
    fn start(&mut self) {
        for source in 0..self.plan.sources.len() as u32 {
            match self.plan.sources[source as usize].arrivals {
                Arrivals::Closed { users, think } => {
                    for _ in 0..users {
                        let at = micros(self.chance.exponential(think));
                        self.later(at, Event::Arrival(source));
                    }
                }
                _ => self.next_arrival(source),
            }
        }
        for (at, (from, _)) in (0..).zip(self.plan.speeds.clone()) {
            self.later(micros(from), Event::Speed(at));
        }
        self.later(TICK, Event::Tick);
    }

    fn later(&mut self, after: u64, event: Event) {
        self.planned += 1;
        self.events
            .push(Reverse((self.now + after, self.planned, event)));
    }

    fn next_arrival(&mut self, source: u32) {
        let seconds = self.now as f64 / SECOND as f64;
        let gap = self.plan.sources[source as usize]
            .arrivals
            .gap(seconds, &mut self.chance);
        if let Some(gap) = gap {
            self.later(micros(gap), Event::Arrival(source));
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrival(source) => self.arrival(source),
            Event::Retry(id) => {
                let before = self.requests[id as usize];
                self.send(before.sent, before.source, before.attempt + 1);
            }
            Event::WaitEnds(id) => {
                if self.requests[id as usize].state == State::Waiting {
                    self.server.left(self.now, id);
                    self.refused(id, "queue_wait");
                }
            }
            Event::Impatient(id) => self.impatient(id),
            Event::Ended(version) => {
                if version == self.backend.version {
                    self.ended();
                }
            }
            Event::Speed(at) => {
                let speed = self.plan.speeds[at as usize].1;
                self.backend.set_speed(self.now, speed);
            }
            Event::Restarted => self.backend.set_speed(self.now, 1.0),
            Event::Tick => {
                self.server.tick(self.now);
                self.later(TICK, Event::Tick);
            }
        }
    }

    fn arrival(&mut self, source: u32) {
        let now = self.now as f64 / SECOND as f64;
        let count = match self.plan.sources[source as usize].arrivals {
            Arrivals::Bursts { size, .. } => size,
            Arrivals::Poisson(_) | Arrivals::Closed { .. } => 1,
        };
        let source_of = &self.plan.sources[source as usize];
        let sent: Vec<_> = (0..count)
            .map(|_| (source_of.template)(now, &mut self.chance))
            .collect();
        for template in sent {
            self.send(template, source, 1);
        }
        if !matches!(
            self.plan.sources[source as usize].arrivals,
            Arrivals::Closed { .. }
        ) {
            self.next_arrival(source);
        }
    }

    fn send(&mut self, sent: Template, source: u32, attempt: u32) {
        let id = self.requests.len() as Id;
        self.requests.push(Request {
            sent,
            source,
            attempt,
            arrived: self.now,
            started: 0,
            state: State::Waiting,
            client_left: false,
        });
        self.tally.sent(self.now, &self.requests[id as usize]);
        self.later(sent.patience, Event::Impatient(id));
        let request = self.requests[id as usize];
        match self.server.arrive(self.now, id, &request) {
            Action::Run => self.run_request(id),
            Action::Refuse(reason) => self.refused(id, reason),
            Action::Wait(Some(until)) => {
                self.later(until.saturating_sub(self.now), Event::WaitEnds(id));
            }
            Action::Wait(None) => {}
        }
    }

    fn run_request(&mut self, id: Id) {
        let request = &mut self.requests[id as usize];
        debug_assert_eq!(request.state, State::Waiting, "it runs once");
        request.state = State::Running;
        request.started = self.now;
        let request = *request;
        self.tally.dispatched(self.now, &request);
        self.backend
            .start(self.now, id, request.sent.work, request.sent.cost);
        if self.backend.is_out_of_memory() {
            self.tally.kills += 1;
            for id in self.backend.kill(self.now) {
                self.over(id, false);
            }
            self.backend.set_speed(self.now, 0.0);
            self.later(micros(self.backend.spec.restart), Event::Restarted);
        }
    }

    fn impatient(&mut self, id: Id) {
        match self.requests[id as usize].state {
            State::Waiting => {
                self.server.left(self.now, id);
                self.requests[id as usize].state = State::Over;
                self.failed(id, "timeout");
            }
            // The backend does not notice, and works on.
            State::Running => {
                self.requests[id as usize].client_left = true;
                self.failed(id, "timeout");
            }
            State::Over => {}
        }
    }

    fn ended(&mut self) {
        loop {
            let requests = &self.requests;
            let ended = self
                .backend
                .ended(self.now, |id| requests[id as usize].sent.cost);
            let Some(id) = ended else { return };
            self.over(id, true);
        }
    }

    /// A request has left the backend.
    fn over(&mut self, id: Id, served: bool) {
        let request = &mut self.requests[id as usize];
        request.state = State::Over;
        let request = *request;
        self.server.finished(self.now, id, &request, served);
        if served {
            self.tally.finished(self.now, &request);
        }
        if !request.client_left {
            if served {
                self.tally.good(self.now, &request);
                self.think(request.source);
            } else {
                self.failed(id, "killed");
            }
        }
    }

    fn refused(&mut self, id: Id, reason: &'static str) {
        self.requests[id as usize].state = State::Over;
        self.failed(id, reason);
    }

    fn failed(&mut self, id: Id, reason: &'static str) {
        let request = self.requests[id as usize];
        self.tally.failed(self.now, &request, reason);
        let source = &self.plan.sources[request.source as usize];
        if request.attempt < source.tries {
            // Exponential from 100 ms, with full jitter, as clients do.
            let most = 0.1 * f64::from(1_u32 << request.attempt.min(10));
            let after = micros(self.chance.between(most / 2.0, most * 1.5));
            self.later(after, Event::Retry(id));
        } else {
            self.think(request.source);
        }
    }

    /// A user of a closed loop goes on after a while.
    fn think(&mut self, source: u32) {
        if let Arrivals::Closed { think, .. } = self.plan.sources[source as usize].arrivals {
            let after = micros(self.chance.exponential(think));
            self.later(after, Event::Arrival(source));
        }
    }

    /// Does what the server has decided, and plans the backend's next end.
    fn settle(&mut self) {
        while let Some((id, action)) = self.server.next(self.now) {
            match action {
                Action::Run => self.run_request(id),
                Action::Refuse(reason) => self.refused(id, reason),
                Action::Wait(_) => {}
            }
        }
        if self.ending != Some(self.backend.version)
            && let Some(at) = self.backend.next_end()
        {
            self.ending = Some(self.backend.version);
            self.later(
                at.saturating_sub(self.now),
                Event::Ended(self.backend.version),
            );
        }
    }
}
