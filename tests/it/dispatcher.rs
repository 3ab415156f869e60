//! The dispatcher: no more at once than there are permits, and every item comes to an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir::Dispatcher;
use weir::admission::{Budget, Discipline, RejectReason};
use weir::dispatcher::Undone;
use weir::gate::{Cost, Gate, Rules, Strategy};

use super::support::{SOON, on_threads};

const MINUTE: Duration = Duration::from_secs(60);

fn gate(permits: u32, max_wait: Duration) -> Gate {
    let budget = Budget::of_permits(permits).expect("more than no permit");
    Gate::new(budget, Rules::of_one_class(max_wait, Discipline::Fifo))
}

/// Items that say when they are begun, and end when they are let go.
struct Held {
    dispatcher: Dispatcher<u32, u32>,
    begun: mpsc::UnboundedReceiver<u32>,
    go_on: Arc<Semaphore>,
}

impl Held {
    fn over(gate: Gate) -> Self {
        let (say, begun) = mpsc::unbounded_channel();
        let go_on = Arc::new(Semaphore::new(0));
        let told = go_on.clone();
        let dispatcher = Dispatcher::over(gate, move |item| {
            let (say, told) = (say.clone(), told.clone());
            async move {
                say.send(item).expect("the test listens");
                told.acquire().await.expect("never closed").forget();
                item
            }
        });
        Self {
            dispatcher,
            begun,
            go_on,
        }
    }

    async fn next(&mut self) -> u32 {
        let next = timeout(SOON, self.begun.recv()).await;
        next.expect("one is begun").expect("the processor lives")
    }

    /// In flight and queued.
    fn figures(&self) -> (u32, u32) {
        let now = self.dispatcher.gate().snapshot();
        (now.in_flight, now.queued)
    }

    async fn until(&self, figures: (u32, u32)) {
        let reached = async {
            while self.figures() != figures {
                tokio::task::yield_now().await;
            }
        };
        let reached = timeout(SOON, reached).await;
        reached.unwrap_or_else(|_| panic!("{:?}, not {figures:?}", self.figures()));
    }
}

fn reason(undone: Result<u32, Undone>) -> RejectReason {
    match undone {
        Err(Undone::Rejected(rejected)) => rejected.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn items_beyond_the_permits_wait_in_order() {
    let mut held = Held::over(gate(2, MINUTE));
    assert_eq!(held.dispatcher.capacity(), 2);
    let all: Vec<_> = (0..5).map(|item| held.dispatcher.submit(item)).collect();
    assert_eq!(held.figures(), (2, 3));
    for item in 0..5 {
        assert_eq!(held.next().await, item);
        if item > 0 {
            held.go_on.add_permits(1);
        }
    }
    held.go_on.add_permits(1);
    for (item, submission) in (0..).zip(all) {
        assert_eq!(submission.await, Ok(item));
    }
    assert_eq!(held.figures(), (0, 0));
}

/// Panics, of the closure itself and of what it returns, and submissions given up before and while
/// they are worked on, on all threads at once.
///
/// Fails when the work begins before its permit is there, and when a panic keeps it (tried).
#[tokio::test]
async fn never_more_at_once_than_permits_and_none_is_lost() {
    const PERMITS: u32 = 3;
    let seats = Arc::new(Semaphore::new(PERMITS as usize));
    let crowded = Arc::new(AtomicU32::new(0));
    let (theirs, noted) = (seats.clone(), crowded.clone());
    let dispatcher = Dispatcher::over(gate(PERMITS, MINUTE), move |item: u32| {
        let seat = theirs.clone().try_acquire_owned();
        if seat.is_err() {
            noted.fetch_add(1, Ordering::Relaxed);
        }
        assert!(!item.is_multiple_of(7), "panics on purpose");
        async move {
            let _seat = seat;
            for _ in 0..item % 5 {
                tokio::task::yield_now().await;
            }
            assert!(!item.is_multiple_of(11), "panics on purpose");
            item
        }
    });
    on_threads(async |thread| {
        let mut all = JoinSet::new();
        for item in (thread * 500..).take(500) {
            let submission = dispatcher.submit(item);
            all.spawn(async move {
                if item.is_multiple_of(3) {
                    for _ in 0..item % 4 {
                        tokio::task::yield_now().await;
                    }
                    drop(submission);
                    return;
                }
                let is_broken = item.is_multiple_of(7) || item.is_multiple_of(11);
                let expected = if is_broken {
                    Err(Undone::Lost)
                } else {
                    Ok(item)
                };
                assert_eq!(submission.await, expected, "{item}");
            });
        }
        while let Some(done) = timeout(SOON, all.join_next()).await.expect("all end") {
            done.expect("as expected");
        }
    });
    timeout(SOON, dispatcher.drain())
        .await
        .expect("nothing is left");
    assert_eq!(crowded.load(Ordering::Relaxed), 0, "more than {PERMITS}");
    assert_eq!(seats.available_permits(), PERMITS as usize);
    let after = dispatcher.gate().snapshot();
    assert_eq!((after.in_flight, after.queued), (0, 0));
    assert_eq!(after.available_units, u64::from(after.limit_units));
}

/// Fails when a waiting item does not look whether anybody waits for it (tried).
#[tokio::test]
async fn a_submission_dropped_while_it_waits_gives_up_its_place() {
    let mut held = Held::over(gate(1, MINUTE));
    let first = held.dispatcher.submit(0);
    let given_up = held.dispatcher.submit(1);
    let last = held.dispatcher.submit(2);
    assert_eq!(held.next().await, 0);
    assert_eq!(held.figures(), (1, 2));
    drop(given_up);
    held.until((1, 1)).await;
    held.go_on.add_permits(2);
    assert_eq!(first.await, Ok(0));
    assert_eq!(last.await, Ok(2));
    assert_eq!(held.next().await, 2);
}

/// Fails when work that has begun ends with its submission (tried).
#[tokio::test]
async fn work_that_has_begun_goes_on_and_holds_its_permit() {
    let mut held = Held::over(gate(1, MINUTE));
    let begun = held.dispatcher.submit(0);
    assert_eq!(held.next().await, 0);
    drop(begun);
    let next = held.dispatcher.submit(1);
    tokio::task::yield_now().await;
    assert_eq!(held.figures(), (1, 1));
    held.go_on.add_permits(2);
    assert_eq!(next.await, Ok(1));
    assert_eq!(held.go_on.available_permits(), 0, "both went to their ends");
}

#[tokio::test]
async fn a_detached_item_has_its_turn() {
    let mut held = Held::over(gate(1, MINUTE));
    let first = held.dispatcher.submit(0);
    held.dispatcher.submit(1).detach();
    held.go_on.add_permits(2);
    assert_eq!(first.await, Ok(0));
    assert_eq!(held.next().await, 0);
    assert_eq!(held.next().await, 1);
}

#[tokio::test]
async fn rejects_arrive_with_their_reasons() {
    let held = Held::over(gate(1, Duration::ZERO));
    let running = held.dispatcher.submit(0);
    assert_eq!(
        reason(held.dispatcher.submit(1).await),
        RejectReason::QueueWait
    );
    held.dispatcher.gate().set_rules(Rules {
        strategy: Strategy::Immediate,
        ..Rules::default()
    });
    assert_eq!(
        reason(held.dispatcher.submit(2).await),
        RejectReason::NoPermit
    );
    // Two items in the queue, by their own size.
    held.dispatcher.gate().set_rules(Rules {
        max_bytes: 2 * size_of::<u32>() as u64,
        ..Rules::of_one_class(MINUTE, Discipline::Fifo)
    });
    let queued = [held.dispatcher.submit(3), held.dispatcher.submit(4)];
    assert_eq!(
        reason(held.dispatcher.submit(5).await),
        RejectReason::QueueBytes
    );
    held.go_on.add_permits(3);
    assert_eq!(running.await, Ok(0));
    for (item, submission) in (3..).zip(queued) {
        assert_eq!(submission.await, Ok(item));
    }
}

#[tokio::test]
async fn an_item_is_charged_what_it_is_said_to_cost() {
    let mut held = Held::over(gate(3, MINUTE));
    let large = held.dispatcher.submit_as(Cost::Bytes(2), 0);
    let small = held.dispatcher.submit(1);
    let waits = held.dispatcher.submit(2);
    assert_eq!((held.next().await, held.next().await), (0, 1));
    assert_eq!(held.figures(), (2, 1));
    held.go_on.add_permits(3);
    assert_eq!(large.await, Ok(0));
    assert_eq!(small.await, Ok(1));
    assert_eq!(waits.await, Ok(2));
}

/// Fails when a drain does not wait for what is queued, or not for what is worked on (tried).
#[tokio::test]
async fn a_drain_ends_with_the_last_item_and_takes_no_new_one() {
    let shared = gate(1, MINUTE);
    let mut held = Held::over(shared.clone());
    let running = held.dispatcher.submit(0);
    let queued = held.dispatcher.submit(1);
    assert_eq!(held.next().await, 0);
    let dispatcher = held.dispatcher.clone();
    let ended = Arc::new(Notify::new());
    let tell = ended.clone();
    let drain = tokio::spawn(async move {
        dispatcher.drain().await;
        tell.notify_one();
    });
    while !held.dispatcher.is_closed() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        reason(held.dispatcher.submit(2).await),
        RejectReason::Draining
    );
    held.go_on.add_permits(1);
    assert_eq!(running.await, Ok(0));
    assert_eq!(held.next().await, 1);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!drain.is_finished(), "the queued item is worked on");
    held.go_on.add_permits(1);
    assert_eq!(queued.await, Ok(1));
    timeout(SOON, ended.notified()).await.expect("it ends");
    // The gate is not the dispatcher's alone.
    assert!(shared.admit(Cost::Task).await.is_ok());
}

/// How long it took until it broke says nothing of how long such work takes.
///
/// Fails when the permit of a panic is given back as that of a whole item (tried).
#[tokio::test]
async fn a_panic_is_no_measure_of_service_time() {
    let dispatcher = Dispatcher::over(gate(1, MINUTE), async |panics: bool| {
        assert!(!panics, "panics on purpose");
    });
    for _ in 0..200 {
        assert_eq!(dispatcher.submit(true).await, Err(Undone::Lost));
    }
    let class = weir::admission::ClassId::default();
    assert_eq!(dispatcher.gate().service(class), None);
    for _ in 0..200 {
        assert_eq!(dispatcher.submit(false).await, Ok(()));
    }
    assert!(dispatcher.gate().service(class).is_some());
}
