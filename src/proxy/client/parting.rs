//! Seeing off an HTTP/2 client that was told to go: one that is silent and has got everything is not
//! waited for, and one that does not take the rest of its responses not for ever.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::client::Client;

/// How long an idle client that is told to go may take to give a sign of life. hyper by itself would wait
/// for the answer to a ping until `timeouts.h2_ping` runs out.
const PATIENCE: Duration = Duration::from_millis(750);

/// What shows that a client lives, and reads.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Signs {
    /// Reads that brought something.
    reads: AtomicU32,
    /// Writes that took something of a response along.
    writes: AtomicU32,
    /// A response has begun and is not written to its end.
    is_sending: AtomicBool,
}

impl Signs {
    /// Something came from the client.
    pub(super) fn note_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was written.
    pub(super) fn note_sent(&self, is_progress: bool, is_sending: bool) {
        self.writes.fetch_add(is_progress.into(), Ordering::Relaxed);
        self.is_sending.store(is_sending, Ordering::Relaxed);
    }

    fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    fn writes(&self) -> u32 {
        self.writes.load(Ordering::Relaxed)
    }
}

/// A client that was told to go.
#[derive(Debug)]
pub(super) struct Parting {
    /// When to look next.
    pub(super) look_at: Instant,
    reads: u32,
    writes: u32,
    /// When something of a response was written last, as far as was seen.
    moved_at: Instant,
    write_stall: Duration,
}

/// What a look at such a client comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is being seen off: look again.
    Wait,
    /// It is silent.
    Silent,
    /// It has not read for `timeouts.write_stall`.
    Stalled,
}

impl Parting {
    /// It is told now.
    pub(super) fn begin(client: &Client, write_stall: Duration) -> Self {
        let now = Instant::now();
        Self {
            look_at: now + PATIENCE,
            reads: client.signs.reads(),
            writes: client.signs.writes(),
            moved_at: now,
            write_stall,
        }
    }

    /// What has become of it.
    pub(super) fn look(&mut self, client: &Client) -> Look {
        let now = Instant::now();
        self.look_at = now + PATIENCE;
        let signs = &client.signs;
        if client.is_stalled() || client.idle_since().is_none() {
            // There is a timer for either.
            return Look::Wait;
        }
        if signs.is_sending.load(Ordering::Relaxed) {
            if signs.writes() != self.writes {
                self.writes = signs.writes();
                self.moved_at = now;
            }
            let has_stalled = now.duration_since(self.moved_at) >= self.write_stall;
            return if has_stalled {
                Look::Stalled
            } else {
                Look::Wait
            };
        }
        if signs.reads() == self.reads {
            return Look::Silent;
        }
        self.reads = signs.reads();
        Look::Wait
    }
}
