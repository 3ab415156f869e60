//! The simple ones: no gate, the check-then-act gate that weir grew from, and queues in order of
//! arrival with a bound on their depth or on the wait.

use std::collections::VecDeque;

use super::{Action, Server};
use crate::world::{Id, Request};

/// Everything is passed on.
pub(crate) struct NoGate;

impl Server for NoGate {
    fn arrive(&mut self, _: u64, _: Id, _: &Request) -> Action {
        Action::Run
    }

    fn next(&mut self, _: u64) -> Option<(Id, Action)> {
        None
    }

    fn finished(&mut self, _: u64, _: Id, _: &Request, _: bool) {}

    fn left(&mut self, _: u64, _: Id) {}
}

/// The seed: refused while no permit is free. Between its check and its act lies a gap; here it
/// does no harm, for nothing happens at the same time.
pub(crate) struct CheckThenAct {
    pub(crate) free: u32,
}

impl Server for CheckThenAct {
    fn arrive(&mut self, _: u64, _: Id, _: &Request) -> Action {
        if self.free == 0 {
            return Action::Refuse("no_permit");
        }
        self.free -= 1;
        Action::Run
    }

    fn next(&mut self, _: u64) -> Option<(Id, Action)> {
        None
    }

    fn finished(&mut self, _: u64, _: Id, _: &Request, _: bool) {
        self.free += 1;
    }

    fn left(&mut self, _: u64, _: Id) {}
}

/// First come, first served. With a depth it is the usual bounded queue; with a wait it is
/// `HAProxy`'s `maxconn` and `timeout queue`, which also lets go of clients that left.
pub(crate) struct Fifo {
    free: u32,
    depth: usize,
    max_wait: Option<u64>,
    queue: VecDeque<Id>,
    /// By request: whether it waits.
    waiting: Vec<bool>,
    depth_now: usize,
}

impl Fifo {
    pub(crate) fn with_depth(permits: u32, depth: usize) -> Self {
        Self {
            free: permits,
            depth,
            max_wait: None,
            queue: VecDeque::new(),
            waiting: Vec::new(),
            depth_now: 0,
        }
    }

    pub(crate) fn haproxy(maxconn: u32, timeout_queue: u64) -> Self {
        Self {
            max_wait: Some(timeout_queue),
            ..Self::with_depth(maxconn, usize::MAX)
        }
    }
}

impl Server for Fifo {
    fn arrive(&mut self, now: u64, id: Id, _: &Request) -> Action {
        if self.depth_now == 0 && self.free > 0 {
            self.free -= 1;
            return Action::Run;
        }
        if self.depth_now >= self.depth {
            return Action::Refuse("queue_depth");
        }
        self.queue.push_back(id);
        self.depth_now += 1;
        self.waiting
            .resize(self.waiting.len().max(id as usize + 1), false);
        self.waiting[id as usize] = true;
        Action::Wait(self.max_wait.map(|wait| now + wait))
    }

    fn next(&mut self, _: u64) -> Option<(Id, Action)> {
        while self.free > 0 {
            let id = self.queue.pop_front()?;
            if std::mem::take(&mut self.waiting[id as usize]) {
                self.free -= 1;
                self.depth_now -= 1;
                return Some((id, Action::Run));
            }
        }
        None
    }

    fn finished(&mut self, _: u64, _: Id, _: &Request, _: bool) {
        self.free += 1;
    }

    fn left(&mut self, _: u64, id: Id) {
        self.waiting[id as usize] = false;
        self.depth_now -= 1;
    }
}
