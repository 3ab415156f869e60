//! Where in its life weir is, and the signals that move it on. One way only.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How weir goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Still serving, but telling clients to go.
    pub lame_duck: Duration,
    /// Serving only what was accepted.
    pub timeout: Duration,
    /// What the platform grants for both; checked, not used.
    pub grace: Duration,
}

/// Where in its life weir is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving,
    /// Still serving, not ready, telling clients to go.
    LameDuck,
    /// No new connections; what was accepted is served.
    Draining,
    /// Over.
    Stopped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Serving, Self::LameDuck, Self::Draining, Self::Stopped];

    /// The metric label and what `/status` and `/readyz` say.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// The phase, published.
#[derive(Debug)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
        }
    }
}

impl Lifecycle {
    /// Moves on to a later phase. An earlier one is ignored: there is no way back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let moves = phase > *current;
            if moves {
                *current = phase;
            }
            moves
        });
    }

    /// To be told of each phase.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Resolves when this phase, or a later one, is entered.
    pub async fn reached(&self, phase: Phase) {
        // The sender is ours, so the wait cannot fail.
        let _ = self
            .phase
            .subscribe()
            .wait_for(|current| *current >= phase)
            .await;
    }
}

/// What the platform tells weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To go: SIGTERM or SIGINT.
    Terminate,
    /// To read its configuration again: SIGHUP.
    Reload,
}

/// The signals that weir listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from their default action.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel safe.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Terminate,
            _ = self.interrupt.recv() => Told::Terminate,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_way_back() {
        let lifecycle = Lifecycle::default();
        let seen = lifecycle.subscribe();
        lifecycle.enter(Phase::Draining);
        lifecycle.enter(Phase::LameDuck);
        assert_eq!(*seen.borrow(), Phase::Draining);
        lifecycle.enter(Phase::Stopped);
        assert_eq!(*seen.borrow(), Phase::Stopped);
    }
}
