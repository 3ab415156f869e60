//! How far the proxy is on its way out, and how its connections learn of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Context;

use tokio::sync::watch;
use tokio::task::coop::has_budget_remaining;

/// How far the proxy is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Serving.
    Serving,
    /// Serving, and telling clients to go.
    Leaving,
    /// The same without new connections.
    Draining,
    /// Tunnels are told to end.
    Parting,
    /// New requests are refused.
    Refusing,
    /// What idles is closed.
    Closing,
}

const ALL: [Stage; 6] = [
    Stage::Serving,
    Stage::Leaving,
    Stage::Draining,
    Stage::Parting,
    Stage::Refusing,
    Stage::Closing,
];

/// The stage that the proxy is at.
#[derive(Debug)]
pub(super) struct Progress {
    /// Beside the channel, whose lock is too dear to be taken with every request.
    now: AtomicU8,
    changes: watch::Sender<Stage>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            now: AtomicU8::new(Stage::Serving as u8),
            changes: watch::Sender::new(Stage::Serving),
        }
    }

    /// Where it is now. Costs next to nothing.
    pub(super) fn now(&self) -> Stage {
        ALL[usize::from(self.now.load(Ordering::Acquire))]
    }

    /// Goes on to the next.
    pub(super) fn enter(&self, stage: Stage) {
        // First, so that whoever is woken by the channel finds it.
        self.now.store(stage as u8, Ordering::Release);
        self.changes.send_replace(stage);
    }

    /// Resolves once it is there.
    pub(super) async fn reached(&self, stage: Stage) {
        // It ends with the proxy, whose runtime ends who waits for it.
        let _ = self.changes.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Tells of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<Stage> {
        self.changes.subscribe()
    }
}

/// Follows the progress on behalf of one task that is woken often.
pub(super) struct Follower<'a> {
    progress: &'a Progress,
    /// Resolves at the next change.
    changed: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
    is_listening: bool,
}

impl<'a> Follower<'a> {
    pub(super) fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            changed: next_change(progress),
            is_listening: false,
        }
    }

    /// Another waker is to be woken from now on.
    pub(super) fn forget_waker(&mut self) {
        self.is_listening = false;
    }

    /// The stage now; the task is woken when it changes. While weir is serving, this looks at
    /// one word and no more. From then on it listens anew each time: the word changes before the
    /// channel tells of it, and what it tells must not be taken for old.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Stage {
        let stage = self.progress.now();
        if self.is_listening && stage == Stage::Serving {
            return stage;
        }
        // Without it, tokio would have the task come back rather than listen now.
        self.is_listening = has_budget_remaining();
        while self.changed.as_mut().poll(cx).is_ready() {
            self.changed = next_change(self.progress);
        }
        // It may have gone on before that.
        self.progress.now()
    }
}

fn next_change<'a>(progress: &'a Progress) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    let mut changes = progress.changes();
    Box::pin(async move {
        if changes.changed().await.is_err() {
            // weir is gone; its runtime ends this task.
            std::future::pending::<()>().await;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// A task may look between the two steps of `enter`. Fails when the follower then takes what
    /// the channel tells for old and listens no more (tried).
    #[test]
    fn a_look_in_the_middle_of_a_change_misses_none_after_it() {
        let progress = Progress::new();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut follower = Follower::new(&progress);
        assert_eq!(follower.poll(&mut cx), Stage::Serving);
        progress.now.store(Stage::Leaving as u8, Ordering::Release);
        assert_eq!(follower.poll(&mut cx), Stage::Leaving);
        progress.changes.send_replace(Stage::Leaving);
        for stage in &ALL[2..] {
            assert!(woken.0.swap(false, Ordering::SeqCst), "before {stage:?}");
            assert!(follower.poll(&mut cx) < *stage);
            progress.enter(*stage);
        }
        assert!(woken.0.swap(false, Ordering::SeqCst), "at the end");
    }
}
