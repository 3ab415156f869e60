//! How far the proxy is on its way out, and how its connections learn of it.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

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

    /// Tells of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<Stage> {
        self.changes.subscribe()
    }
}
