//! The policy against what it is to guarantee.

mod door;
mod fair;
mod fickle;
mod invariants;
mod plain;
mod shadow;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use super::super::request::Request;
use super::super::settings::ClassSettings;
use super::super::tenant::TenantKey;
use super::super::units::UNITS_PER_TASK;
use super::*;

const MILLI: Duration = Duration::from_millis(1);

/// Waits until the flag says otherwise; the number tells them apart.
#[derive(Clone, Debug)]
struct Client(usize, Rc<Cell<bool>>);

impl Client {
    fn new(number: usize) -> Self {
        Self(number, Rc::new(Cell::new(true)))
    }
}

impl Waiter for Client {
    fn is_waiting(&self) -> bool {
        self.1.get()
    }
}

/// A gate round a policy, with a backend that takes as long as it is told.
struct Gate {
    policy: Policy<Client>,
    now: Instant,
    limit: u32,
    held: u32,
    /// By number.
    waiting: BTreeMap<usize, (Client, Request, Instant)>,
    /// The ends of waits, also of those that are over.
    ends: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By the end, earliest first.
    running: BinaryHeap<Reverse<(Instant, usize)>>,
    charges: BTreeMap<usize, (Charge, Instant)>,
    services: BTreeMap<usize, Duration>,
    sent: usize,
    events: Vec<(Instant, usize, Fate)>,
    fates: BTreeMap<usize, Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Granted,
    Refused(RejectReason),
}

impl Gate {
    fn new(settings: Settings, permits: u32) -> Self {
        let now = Instant::now();
        Self {
            policy: Policy::new(settings, now),
            now,
            limit: permits * UNITS_PER_TASK,
            held: 0,
            waiting: BTreeMap::new(),
            ends: BinaryHeap::new(),
            running: BinaryHeap::new(),
            charges: BTreeMap::new(),
            services: BTreeMap::new(),
            sent: 0,
            events: Vec::new(),
            fates: BTreeMap::new(),
        }
    }

    fn room(&self) -> Room {
        Room {
            free: self.limit - self.held,
            limit: self.limit,
            waiting: u32::try_from(self.waiting.len()).expect("few"),
        }
    }

    fn send(&mut self, request: Request, service: Duration) -> usize {
        let number = self.sent;
        self.sent += 1;
        self.services.insert(number, service);
        match self.policy.arrive(self.now, &request, self.room()) {
            Verdict::Admit(charge) => self.start(number, charge),
            Verdict::Queue(predicted) => self.queue(number, request, predicted),
            Verdict::Reject(refusal, _) => self.ended(number, Fate::Refused(refusal)),
        }
        self.pump();
        number
    }

    /// It waits, whatever the door would say.
    fn send_past_the_door(&mut self, request: Request, service: Duration) -> usize {
        let number = self.sent;
        self.sent += 1;
        self.services.insert(number, service);
        self.queue(number, request, None);
        self.pump();
        number
    }

    fn queue(&mut self, number: usize, request: Request, predicted: Option<Duration>) {
        let client = Client::new(number);
        let until = self.now + self.policy.max_wait(request.class);
        let entry = Queued {
            predicted,
            ..Queued::new(client.clone(), request, self.now, until)
        };
        self.ends.push(Reverse((entry.ends(), number)));
        self.waiting.insert(number, (client, request, entry.ends()));
        self.policy.push(entry);
    }

    fn ended(&mut self, number: usize, fate: Fate) {
        self.events.push((self.now, number, fate));
        self.fates.insert(number, fate);
    }

    fn start(&mut self, number: usize, charge: Charge) {
        self.held += charge.units();
        assert!(self.held <= self.limit, "more granted than there is");
        self.running
            .push(Reverse((self.now + self.services[&number], number)));
        self.charges.insert(number, (charge, self.now));
        self.ended(number, Fate::Granted);
    }

    fn pump(&mut self) {
        loop {
            let Room { free, limit, .. } = self.room();
            match self.policy.pick(self.now, free, limit) {
                Turn::Grant(entry, charge) => {
                    let (_, _, ends) = self.waiting.remove(&entry.waiter.0).expect("it waits");
                    assert!(ends > self.now, "dispatched after its wait");
                    self.start(entry.waiter.0, charge);
                }
                Turn::Refuse(entry, refusal) => {
                    self.waiting.remove(&entry.waiter.0).expect("it waits");
                    self.ended(entry.waiter.0, Fate::Refused(refusal));
                }
                Turn::Hold { .. } => {
                    assert!(!self.waiting.is_empty(), "held for nobody");
                    break;
                }
                Turn::Empty => {
                    assert!(
                        self.waiting.is_empty(),
                        "{:?} are forgotten",
                        self.waiting.keys()
                    );
                    break;
                }
            }
        }
        self.policy.purge_if_mostly_husks(self.room().waiting);
    }

    /// Lets time pass until then, and everything happen that is due.
    fn run_until(&mut self, then: Instant) {
        loop {
            let ends = self
                .running
                .peek()
                .map(|Reverse((at, number))| (*at, *number));
            while let Some(Reverse((_, number))) = self.ends.peek()
                && !self.waiting.contains_key(number)
            {
                self.ends.pop();
            }
            let waits = self.ends.peek().map(|Reverse(wait)| *wait);
            let due = |event: Option<(Instant, usize)>| event.filter(|(at, _)| *at <= then);
            match (due(ends), due(waits)) {
                (Some((at, number)), waits) if waits.is_none_or(|(ends, _)| at <= ends) => {
                    self.now = at;
                    self.running.pop();
                    let (charge, since) = self.charges.remove(&number).expect("it runs");
                    self.held -= charge.units();
                    self.policy.finished(at, charge, at - since, Sample::Served);
                }
                (_, Some((at, number))) => {
                    self.now = at;
                    let (client, request, _) = self.waiting.remove(&number).expect("it waits");
                    client.1.set(false);
                    let expired = request.deadline.is_some_and(|deadline| deadline <= at);
                    let refusal = if expired {
                        RejectReason::Expired
                    } else {
                        RejectReason::QueueWait
                    };
                    self.ended(number, Fate::Refused(refusal));
                }
                (_, None) => break,
            }
            self.pump();
        }
        self.now = then;
    }

    fn pass(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn fate(&self, number: usize) -> Option<Fate> {
        self.fates.get(&number).copied()
    }

    /// How many of those were granted.
    fn granted(&self, numbers: &[usize]) -> usize {
        numbers
            .iter()
            .filter(|n| self.fate(**n) == Some(Fate::Granted))
            .count()
    }
}

fn class(weight: u32) -> ClassSettings {
    ClassSettings {
        weight,
        ..ClassSettings::default()
    }
}

fn of_class(place: u8) -> Request {
    Request {
        class: ClassId(place),
        ..Request::default()
    }
}

fn retry() -> Request {
    Request {
        attempt: Attempt::Retry,
        ..Request::default()
    }
}

/// One class with this changed.
fn one_class(change: impl FnOnce(&mut ClassSettings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings.classes[0]);
    settings
}
