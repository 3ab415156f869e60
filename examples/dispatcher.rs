//! Items of work without HTTP: a queue without bound in front, permits behind.
//!
//! Run it with `cargo run --example dispatcher`.
//!
//! Five hundred messages come in at once where four may be worked on, each of which takes 10 ms. Who
//! would have to wait for longer than a quarter of a second is told so. Then the dispatcher is
//! drained: what was taken on is finished, and nothing new is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weir::Dispatcher;
use weir::admission::{Budget, Discipline, RejectReason};
use weir::dispatcher::Undone;
use weir::gate::{Gate, Rules};

#[derive(Debug, Default)]
struct Seen {
    now: AtomicU32,
    most: AtomicU32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let budget = Budget::of_permits(4).expect("more than no permit");
    let rules = Rules::of_one_class(Duration::from_millis(250), Discipline::Fifo);
    let seen = Arc::new(Seen::default());
    let watched = seen.clone();
    let dispatcher = Dispatcher::over(Gate::new(budget, rules), move |message: String| {
        let seen = watched.clone();
        async move {
            let now = seen.now.fetch_add(1, Ordering::Relaxed) + 1;
            seen.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            seen.now.fetch_sub(1, Ordering::Relaxed);
            message.len()
        }
    });

    // Whoever submits is never held up: what becomes of the item is another question.
    let submitted: Vec<_> = (0..500)
        .map(|number| dispatcher.submit(format!("message {number}")))
        .collect();
    let (mut served, mut rejected) = (0, 0);
    for submission in submitted {
        match submission.await {
            Ok(length) => {
                assert!(length >= "message 0".len());
                served += 1;
            }
            Err(Undone::Rejected(no)) => {
                assert_eq!(no.reason, RejectReason::QueueWait);
                rejected += 1;
            }
            Err(Undone::Lost) => unreachable!("no message panics"),
        }
    }
    let most = seen.most.load(Ordering::Relaxed);
    println!("served: {served}, rejected: {rejected}, at once: {most}");
    assert_eq!(served + rejected, 500);
    assert!(served > 0 && rejected > 0);
    assert_eq!(most, dispatcher.capacity());

    let last = dispatcher.submit("the last one".to_owned());
    dispatcher.drain().await;
    assert_eq!(last.await, Ok("the last one".len()));
    let Err(Undone::Rejected(no)) = dispatcher.submit("too late".to_owned()).await else {
        unreachable!("it is drained");
    };
    println!("after the drain: {}", no.reason.label());
    assert_eq!(no.reason, RejectReason::Draining);
}
