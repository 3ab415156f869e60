//! Worker threads: each has a current-thread runtime and serves the connections it is given.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::client::connection;
use super::client::place::Place;

/// How often a worker shows that it moves, and closes idle upstream connections.
const BEAT: Duration = Duration::from_secs(1);

/// A connection that was accepted, for a worker to serve.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

/// One worker thread.
#[derive(Debug)]
pub(super) struct Worker {
    inbox: mpsc::UnboundedSender<Accepted>,
    /// Connections it serves.
    load: Arc<AtomicUsize>,
    /// When it last moved, in ms since the proxy's epoch.
    beat: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(number: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let (inbox, accepted) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let beat = Arc::new(AtomicU64::new(shared.millis()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name(format!("weir-worker-{number}"))
            .spawn({
                let beat = beat.clone();
                move || {
                    runtime.block_on(async {
                        tokio::select! {
                            () = work(number, shared, accepted, beat) => {}
                            _ = stopped => {}
                        }
                    });
                    // Dropping the runtime drops what is left on it, and with it the permits.
                }
            })?;
        Ok(Self {
            inbox,
            load: Arc::default(),
            beat,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// When it last moved, in ms since the proxy's epoch.
    pub(super) fn last_beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    /// Hands over a connection.
    pub(super) fn give(&self, shared: &Arc<Shared>, stream: std::net::TcpStream, peer: SocketAddr) {
        let place = Place::take(shared.clone(), self.load.clone());
        // A worker that is gone drops the connection; `/livez` says why.
        let _ = self.inbox.send(Accepted {
            stream,
            peer,
            place,
        });
    }

    /// Ends the thread and everything that is left on it.
    pub(super) fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

async fn work(
    number: usize,
    shared: Arc<Shared>,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    beat: Arc<AtomicU64>,
) {
    let mut tick = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            next = accepted.recv() => {
                let Some(Accepted { stream, peer, place }) = next else { return };
                let Ok(stream) = TcpStream::from_std(stream) else { continue };
                tokio::spawn(connection::serve(shared.clone(), number, stream, peer, place));
            }
            _ = tick.tick() => {
                beat.store(shared.millis(), Ordering::Relaxed);
                let idle = shared.settings.load().timeouts.upstream_idle;
                shared.pool.expire(number, idle);
                shared.observe_requests();
            }
        }
    }
}
