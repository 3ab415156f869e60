//! A [`Dispatcher`]: items go in without bound, and as many are worked on at once as there are
//! permits.
//!
//! It is the pattern that weir grew from, for work that is no HTTP: messages of a broker, jobs,
//! the commands of a game.
//!
//! ```
//! use weir::dispatcher::Dispatcher;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let squares = Dispatcher::new(4, async |item: u64| item * item).expect("more than no permit");
//! assert_eq!(squares.capacity(), 4);
//! assert_eq!(squares.submit(7).await, Ok(49));
//! # }
//! ```
//!
//! How long an item may wait, and who goes first, is for the [`Rules`] of the
//! gate to say; a budget by memory is for its [`Budget`]:
//!
//! ```
//! use std::time::Duration;
//! use weir::admission::{Budget, Decimal, Discipline, RejectReason};
//! use weir::dispatcher::{Dispatcher, Undone};
//! use weir::gate::{Cost, Gate, Rules};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! // 64 MiB at 16 MiB each, and a tenth of a second to wait.
//! let budget = Budget::new(64 << 20, 16 << 20, Decimal::ONE).expect("at least one permit");
//! let rules = Rules::of_one_class(Duration::from_millis(100), Discipline::Fifo);
//! let never = Dispatcher::over(Gate::new(budget, rules), async |()| {
//!     std::future::pending::<()>().await;
//! });
//!
//! let running: Vec<_> = (0..3).map(|_| never.submit(())).collect();
//! // Twice the cost of the others, and there is room for one of them only.
//! let large = never.submit_as(Cost::Bytes(32 << 20), ()).await;
//! assert!(matches!(large, Err(Undone::Rejected(no)) if no.reason == RejectReason::QueueWait));
//! assert_eq!(never.gate().snapshot().in_flight, 3);
//! # drop(running);
//! # }
//! ```
//!
//! # Where this differs from the pattern as it was published
//!
//! | there | here |
//! |---|---|
//! | `available_permits() == 0` at the door refuses; between that look and the consumer's acquire, any number may pass | the gate decides once, in one step: a permit, a place to wait, or a no |
//! | refused as soon as no permit is free | waits, as the rules say; [`Strategy::Immediate`](crate::gate::Strategy::Immediate) refuses at once |
//! | what is queued waits without end | each waits for so long at most, and all of them take so many bytes at most |
//! | "capacity exhausted" | a [reason](crate::admission::RejectReason), and when to come back where that is known |
//! | `submit` says whether the item was taken | it yields what became of it |
//! | a number of permits | a number, or memory and costs; both can be [changed](Gate::resize) while running |
//! | ends with its channel | [`close`](Dispatcher::close) and [`drain`](Dispatcher::drain) |
//!
//! # Cancel safety
//!
//! A [`Submission`] that is dropped while its item waits gives up the place, and the item is
//! dropped. Work that has begun goes on to its end and holds its permit until then: half of it
//! done may be worse than all of it. [`Submission::detach`] is for whom the result does not matter.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{oneshot, watch};

use crate::admission::{Budget, RejectReason};
use crate::gate::{Arrival, Ask, Cost, Gate, Permit, Rejected, Rules};
use crate::held::Held;

type Work<R> = Pin<Box<dyn Future<Output = R> + Send>>;
type Processor<T, R> = dyn Fn(T) -> Work<R> + Send + Sync;

/// Works on items, on as many at once as there are permits. Cheap to clone; all clones are the same
/// dispatcher.
///
/// It has no task of its own: each item that is let in or may wait gets one on the runtime that
/// [`submit`](Self::submit) is called in. Dropping the last clone stops nothing that was submitted.
pub struct Dispatcher<T, R = ()> {
    gate: Gate,
    processor: Arc<Processor<T, R>>,
    /// Whether it is closed. Everything that is under way holds a receiver, which is how a drain
    /// knows of it.
    closed: watch::Sender<bool>,
}

impl<T, R> Clone for Dispatcher<T, R> {
    fn clone(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            processor: self.processor.clone(),
            closed: self.closed.clone(),
        }
    }
}

impl<T, R> fmt::Debug for Dispatcher<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("gate", &self.gate.snapshot())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static, R: Send + 'static> Dispatcher<T, R> {
    /// Works on up to `max_concurrent` items at once; the others wait by the default [`Rules`]: a
    /// second, oldest first. `None` if that is no number of permits: see [`Budget::of_permits`].
    #[must_use]
    pub fn new<F, W>(max_concurrent: u32, processor: F) -> Option<Self>
    where
        F: Fn(T) -> W + Send + Sync + 'static,
        W: Future<Output = R> + Send + 'static,
    {
        let budget = Budget::of_permits(max_concurrent)?;
        Some(Self::over(Gate::new(budget, Rules::default()), processor))
    }

    /// The same over a gate of one's own, with its budget and rules. Others may use it, too: what
    /// they hold is not free for the items.
    #[must_use]
    pub fn over<F, W>(gate: Gate, processor: F) -> Self
    where
        F: Fn(T) -> W + Send + Sync + 'static,
        W: Future<Output = R> + Send + 'static,
    {
        Self {
            gate,
            processor: Arc::new(move |item| Box::pin(processor(item))),
            closed: watch::Sender::new(false),
        }
    }

    /// Submits an item like any other. What becomes of it is decided now, whether or not the
    /// [`Submission`] is awaited. While it waits it is charged its own size, without what it owns
    /// elsewhere.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn submit(&self, item: T) -> Submission<R> {
        let bytes = u64::try_from(size_of::<T>()).unwrap_or(u64::MAX);
        self.submit_as(Ask::new(Cost::Task, bytes), item)
    }

    /// Submits an item of this cost or class, of this tenant, with this deadline.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn submit_as(&self, ask: impl Into<Ask>, item: T) -> Submission<R> {
        let under_way = self.closed.subscribe();
        // In this order: a drain that this does not see sees it.
        if *under_way.borrow() {
            return Submission::rejected(RejectReason::Draining.into());
        }
        let arrival = self.gate.arrive_now(&ask.into());
        if let Arrival::Rejected(rejected) = arrival {
            return Submission::rejected(rejected);
        }
        let processor = self.processor.clone();
        let (mut answer, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let _under_way = under_way;
            let done = match permit(arrival, &mut answer).await {
                Some(Ok(permit)) => {
                    let held = Held::new(permit);
                    let done = processor(item).await;
                    held.whole();
                    Ok(done)
                }
                Some(Err(rejected)) => Err(rejected),
                None => return,
            };
            // Nobody may want to know.
            let _ = answer.send(done);
        });
        Submission(Stage::UnderWay(receiver))
    }

    /// Closes it, and resolves once nothing is queued and nothing is worked on any more. Dropped
    /// before that, it stays closed. Items wait no longer than their rules say, but work takes as
    /// long as it takes: [`tokio::time::timeout`] bounds it.
    pub async fn drain(&self) {
        self.close();
        self.closed.closed().await;
    }
}

impl<T, R> Dispatcher<T, R> {
    /// How many items of the default cost are worked on at once at most.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.gate.budget().permit_limit()
    }

    /// The gate: for its [figures](Gate::snapshot), another [budget](Gate::resize), other
    /// [rules](Gate::set_rules).
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// From now on items are refused: [`RejectReason::Draining`]. What is queued still gets its
    /// turn. Others that use the same gate are not concerned.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

/// The permit for what has arrived; `None` if nobody waits for the answer any more.
async fn permit<R>(
    arrival: Arrival,
    answer: &mut oneshot::Sender<Result<R, Rejected>>,
) -> Option<Result<Permit, Rejected>> {
    let waiting = match arrival {
        Arrival::Admitted(permit) => return Some(Ok(permit)),
        Arrival::Rejected(rejected) => return Some(Err(rejected)),
        Arrival::Queued(waiting) => waiting,
    };
    tokio::select! {
        biased;
        // First, or a permit would be taken for whom nobody waits.
        () = answer.closed() => None,
        permit = waiting.until_deadline() => Some(permit),
    }
}

/// What becomes of an item: resolves to what the processor made of it.
#[derive(Debug)]
#[must_use = "dropping it gives up the item's place in the queue; `detach` does not"]
pub struct Submission<R>(Stage<R>);

#[derive(Debug)]
enum Stage<R> {
    /// Refused at once.
    Rejected(Rejected),
    /// Queued or worked on.
    UnderWay(oneshot::Receiver<Result<R, Rejected>>),
}

impl<R> Submission<R> {
    fn rejected(rejected: Rejected) -> Self {
        Self(Stage::Rejected(rejected))
    }
}

impl<R: Send + 'static> Submission<R> {
    /// Lets the item have its turn without anybody who waits for it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn detach(self) {
        if let Stage::UnderWay(answer) = self.0 {
            tokio::spawn(answer);
        }
    }
}

impl<R> Future for Submission<R> {
    type Output = Result<R, Undone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Stage::Rejected(rejected) => Poll::Ready(Err(Undone::Rejected(*rejected))),
            Stage::UnderWay(answer) => Pin::new(answer).poll(cx).map(|answer| match answer {
                Ok(done) => done.map_err(Undone::Rejected),
                Err(_) => Err(Undone::Lost),
            }),
        }
    }
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// The item got no permit, and was dropped.
    #[error("rejected ({})", .0.reason.label())]
    Rejected(Rejected),
    /// The processor panicked, or the runtime ended.
    #[error("the work was begun and not finished")]
    Lost,
}
