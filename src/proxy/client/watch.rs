//! The timers and signals of one client connection that hyper does not keep.
//!
//! It is polled whenever the connection's task was woken, several times per request, so it must
//! cost next to nothing then: a timer that runs is looked at only once it has run out, and the
//! idle timer runs on through requests instead of being set anew after each.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::proxy::Connection;
use crate::proxy::settings::Settings;
use crate::proxy::stage::{Follower, Stage};

/// Something other than the client's bytes that concerns its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Event {
    /// A head has been arriving for too long.
    HeadTimeout,
    /// The client is to be told to go.
    Leave,
    /// The connection is to end once what is on it is done.
    Close,
}

/// What is watched.
pub(in crate::proxy) struct Watch<'a> {
    connection: &'a Connection,
    stage: Follower<'a>,
    /// It was told to close.
    is_closing: bool,
    has_left: bool,
    head: Timer,
    idle: Timer,
    idle_limit: Duration,
    head_limit: Duration,
    /// How old the connection may become.
    age: Timer,
    /// Whom the timers and signals wake.
    waker: Option<Waker>,
}

impl<'a> Watch<'a> {
    pub(in crate::proxy) fn new(connection: &'a Connection, settings: &Settings) -> Self {
        let shared = &connection.shared;
        let timeouts = &settings.timeouts;
        let idle_limit = if connection.client.is_h2 {
            timeouts.h2_idle
        } else {
            timeouts.keep_alive_idle
        };
        let age = timeouts.connection_age;
        Self {
            connection,
            stage: Follower::new(&shared.progress),
            is_closing: false,
            has_left: false,
            head: Timer::default(),
            idle: Timer::after(idle_limit),
            idle_limit,
            head_limit: timeouts.head,
            age: if age.is_zero() {
                Timer::default()
            } else {
                Timer::after(shared.pace.jittered(age))
            },
            waker: None,
        }
    }

    /// Drives a connection until something happens, or to its end: then that is the error.
    pub(in crate::proxy) async fn drive<F: Future>(
        &mut self,
        mut serving: Pin<&mut F>,
    ) -> Result<Event, F::Output> {
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(ended)),
            Poll::Pending => self.poll(cx).map(Ok),
        })
        .await
    }

    /// Ready at the next event.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if !self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.waker = Some(cx.waker().clone());
            self.stage.forget_waker();
            self.head.is_registered = false;
            self.idle.is_registered = false;
            self.age.is_registered = false;
        }
        if let Some(event) = self.stage_event(cx) {
            return Poll::Ready(event);
        }
        if self.has_slow_head(cx) {
            return Poll::Ready(Event::HeadTimeout);
        }
        if self.is_idle_for_long(cx) {
            return Poll::Ready(Event::Close);
        }
        if self.age.has_run_out(cx) {
            self.age = Timer::default();
            return Poll::Ready(Event::Leave);
        }
        Poll::Pending
    }

    fn stage_event(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        let stage = self.stage.poll(cx);
        if stage >= Stage::Closing && !self.is_closing {
            self.is_closing = true;
            return Some(Event::Close);
        }
        // A client that has not asked for anything yet is let to: a GOAWAY before its first
        // request would look like a failure to it.
        if stage >= Stage::Leaving && !self.has_left && self.connection.client.has_begun() {
            self.has_left = true;
            return Some(Event::Leave);
        }
        None
    }

    fn has_slow_head(&mut self, cx: &mut Context<'_>) -> bool {
        let client = &self.connection.client;
        if client.is_h2 || !client.is_sending_head() {
            if self.head.is_set() {
                self.head = Timer::default();
            }
            return false;
        }
        if !self.head.is_set() {
            self.head = Timer::after(self.head_limit);
        }
        self.head.has_run_out(cx)
    }

    fn is_idle_for_long(&mut self, cx: &mut Context<'_>) -> bool {
        while self.idle.has_run_out(cx) {
            let now = Instant::now();
            let deadline = match self.connection.idle_since() {
                Some(since) => Instant::from_std(since) + self.idle_limit,
                None => now + self.idle_limit,
            };
            if deadline <= now {
                self.idle = Timer::default();
                return true;
            }
            self.idle.set(deadline);
        }
        false
    }
}

/// A timer that is polled once to be registered, and then only when it has run out.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    is_registered: bool,
}

impl Timer {
    fn after(limit: Duration) -> Self {
        Self {
            sleep: Some(Box::pin(sleep(limit))),
            is_registered: false,
        }
    }

    fn is_set(&self) -> bool {
        self.sleep.is_some()
    }

    fn set(&mut self, deadline: Instant) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.sleep = Some(Box::pin(sleep_until(deadline))),
        }
        self.is_registered = false;
    }

    fn has_run_out(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(sleep) = &mut self.sleep else {
            return false;
        };
        if self.is_registered && !sleep.is_elapsed() {
            return false;
        }
        // Without it, tokio would have the task come back rather than register now.
        self.is_registered = has_budget_remaining();
        sleep.as_mut().poll(cx).is_ready()
    }
}
