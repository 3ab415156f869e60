//! The open connections of the admin port: so many and no more, and **always room for one more**.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

/// Whether a connection is being answered now.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<AtomicBool>);

/// Until it is dropped, the connection is busy.
pub(super) struct Answering(Busy);

impl Busy {
    /// Between the head of a request and the making of its answer; **not while the answer is
    /// being taken**, for which a client may take its time.
    pub(super) fn begin(&self) -> Answering {
        self.0.store(true, Ordering::Relaxed);
        Answering(self.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// The open connections, oldest first.
pub(super) struct Ring {
    places: usize,
    connections: VecDeque<(AbortHandle, Busy)>,
}

impl Ring {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            connections: VecDeque::with_capacity(places),
        }
    }

    /// Adds one. Into a full ring, at the cost of the oldest that is not being answered, or of
    /// the oldest if all are: whoever only holds connections loses them to whoever comes to ask.
    pub(super) fn add(&mut self, connection: AbortHandle, busy: Busy) {
        self.connections.retain(|(old, _)| !old.is_finished());
        if self.connections.len() >= self.places {
            let idle = |(_, busy): &(_, Busy)| !busy.0.load(Ordering::Relaxed);
            let at = self.connections.iter().position(idle).unwrap_or(0);
            if let Some((old, _)) = self.connections.remove(at) {
                old.abort();
            }
        }
        self.connections.push_back((connection, busy));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinHandle;

    use super::*;
    use crate::admin::tests::within;

    fn add(ring: &mut Ring, busy: &Busy) -> JoinHandle<()> {
        let task = tokio::spawn(pending());
        ring.add(task.abort_handle(), busy.clone());
        task
    }

    async fn closed(task: JoinHandle<()>) {
        let error = within(task).await.expect_err("it never ends by itself");
        assert!(error.is_cancelled());
    }

    #[tokio::test]
    async fn the_oldest_that_is_idle_makes_room_and_else_the_oldest() {
        let mut ring = Ring::new(2);
        let (first, second, third) = (Busy::default(), Busy::default(), Busy::default());
        let answering = first.begin();
        let one = add(&mut ring, &first);
        let two = add(&mut ring, &second);
        let three = add(&mut ring, &third);
        closed(two).await;
        let _also = third.begin();
        let _four = add(&mut ring, &Busy::default());
        closed(one).await;
        drop(answering);
        assert!(!three.is_finished());
    }

    #[tokio::test]
    async fn what_has_ended_costs_nobody_a_place() {
        let mut ring = Ring::new(2);
        let one = add(&mut ring, &Busy::default());
        let two = add(&mut ring, &Busy::default());
        two.abort();
        closed(two).await;
        let _three = add(&mut ring, &Busy::default());
        tokio::task::yield_now().await;
        assert!(!one.is_finished());
    }
}
