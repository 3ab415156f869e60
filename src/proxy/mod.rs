//! The data path: from a client's connection to the backend and back.
//!
//! # The life of a request
//!
//! ```text
//! accept → TLS, if it is set → sniff (h1 | h2) → read head → check
//!    → gate ── permit at once ────────────────┐
//!         └─ waits in the queue ──────────────┤→ rewrite → forward → stream both bodies → permit returned
//!         └─ reject (503, linger if needed)   │
//!    every exit: exactly one outcome counted, one access-log line at most
//! ```
//!
//! `handle` is that list as code. A `Record` counts the request when it is dropped, and an
//! `Exchange` returns the permit when the backend is done, whatever ends them.
//!
//! # Rooms
//!
//! | module | owns |
//! |---|---|
//! | `client` | one connection of a client: protocol, TLS, timers, floods, its end |
//! | `head` | message heads: what is refused, who is believed, what is written instead; pure |
//! | `forward` | the exchange with the backend: both bodies, tunnels, when the permit returns |
//! | `upstream` | connections to the backend and their pool |
//! | `answer` | what weir says itself |
//!
//! # Invariants
//!
//! * **Nothing is forwarded without a [`Permit`](crate::gate::Permit)**: an exchange cannot be
//!   made without one.
//! * **Nothing that a client sends decides where weir connects.** There is one upstream.
//! * **A response that the backend broke off never ends cleanly** for the client.
//! * One worker's connections live on its thread; workers share the gate, the metrics, and the
//!   bound on upstream connections.

mod answer;
#[doc(hidden)]
pub mod bench;
mod client;
mod drain;
mod forward;
mod guarded;
mod handle;
mod head;
mod listen;
mod pace;
mod record;
mod settings;
mod stage;
mod upstream;
mod worker;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::admission::{RetryBudget, TenantKey};
use crate::gate::Gate;
use crate::telemetry::Telemetry;
use client::Client;
pub use client::tls::{
    Authorities, CertificateInfo, ClientAuth, Fault, File, Instead, MinVersion, Tls, TlsError,
    TlsSource,
};
pub use handle::{QUEUED_BYTES_HTTP1, QUEUED_BYTES_HTTP2, QUEUED_BYTES_TLS};
pub use head::classify::{HeadClassifier, HeadFields, asked, is_grpc};
use head::headers::Hop;
pub use head::trust::{Network, NetworkError, Trust};
pub use listen::bind;
use pace::Pace;
pub use settings::{
    CancelGrace, EnvoyField, Limits, Reject, RetryAfter, Settings, Timeouts, TunnelPermit,
    Upstream, UpstreamAddress, UpstreamProtocol,
};
use stage::{Progress, Stage};
use upstream::pool::Pool;
use worker::Worker;

/// A worker that has not moved for so long is stuck: its liveness is gone.
const STUCK: Duration = Duration::from_secs(30);

/// The proxy in front of one backend.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
}

/// What all connections of all workers share.
#[derive(Debug)]
struct Shared {
    gate: Gate,
    telemetry: Arc<Telemetry>,
    settings: ArcSwap<Settings>,
    pool: Arc<Pool>,
    pace: Pace,
    retries: Mutex<RetryBudget>,
    progress: Progress,
    /// Requests in progress: neither answered nor let go.
    requests: AtomicU64,
    /// A client connection has ended.
    place_freed: Notify,
    /// What names the backend to itself when the client names nothing.
    upstream_host: HeaderValue,
    /// What names of tenants are hashed by: nobody outside can choose two that meet.
    tenants: RandomState,
    clock: fn() -> Instant,
    epoch: Instant,
}

/// One client connection, as its requests see it.
#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    worker: usize,
    client: Arc<Client>,
}

impl Connection {
    /// Since when no request has been in progress or on its way.
    fn idle_since(&self) -> Option<Instant> {
        let millis = self.client.idle_since()?;
        Some(self.shared.epoch + Duration::from_millis(millis))
    }

    /// Whether its peer is believed what it says of others.
    fn is_trusted(&self, settings: &Settings) -> bool {
        settings.trust.believes(self.client.peer.ip())
    }

    /// What a head's rewriting needs to know of this hop.
    fn hop<'a>(&'a self, settings: &'a Settings) -> Hop<'a> {
        Hop {
            peer: self.client.peer,
            peer_ip: &self.client.peer_ip,
            trust: &settings.trust,
            upstream_host: &self.shared.upstream_host,
            max_fields: settings.limits.header_fields,
            tls: self.client.tls.as_deref(),
            max_target: settings.limits.target_bytes,
        }
    }

    /// Whether responses tell the client to close the connection.
    fn tells_to_go(&self) -> bool {
        self.client.is_leaving() || self.shared.progress.now() >= Stage::Leaving
    }
}

impl Proxy {
    /// Starts the workers. `clock` is what requests are timed with.
    pub fn start(
        gate: Gate,
        telemetry: Arc<Telemetry>,
        settings: Settings,
        workers: usize,
        clock: fn() -> Instant,
    ) -> io::Result<Self> {
        let pool = Pool::new(workers, gate.clone(), telemetry.metrics.clone());
        let upstream_host = settings.upstream.host();
        tell_expiry(&telemetry, &settings);
        let shared = Arc::new(Shared {
            gate,
            telemetry,
            settings: ArcSwap::from_pointee(settings),
            pool: Arc::new(pool),
            pace: Pace::default(),
            retries: Mutex::default(),
            progress: Progress::new(),
            requests: AtomicU64::new(0),
            place_freed: Notify::new(),
            upstream_host,
            tenants: RandomState::new(),
            clock,
            epoch: clock(),
        });
        let workers = (0..workers)
            .map(|number| Worker::start(number, shared.clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self { shared, workers })
    }

    /// Accepts connections until it is told to stop, then closes the port.
    pub async fn accept(&self, listener: TcpListener, until: impl Future<Output = ()>) {
        listen::accept(&self.shared, &self.workers, listener, until).await;
    }

    /// Takes over new settings: requests that come see them at once, open connections keep the
    /// timers they have.
    pub fn reconfigure(&self, mut settings: Settings) {
        let before = self.shared.settings.load();
        if settings.tls == before.tls {
            // Sessions of before can be taken up again only with the keys of before.
            settings.tls.clone_from(&before.tls);
        }
        tell_expiry(&self.shared.telemetry, &settings);
        self.shared.settings.store(Arc::new(settings));
        self.shared.place_freed.notify_one();
    }

    /// Follows the gate after a resize: as many upstream connections as permits.
    pub fn follow_gate(&self) {
        self.shared.pool.shrink();
    }

    /// Whether every worker moves; else which one does not.
    pub fn health(&self) -> Result<(), String> {
        let now = self.shared.millis();
        for (number, worker) in self.workers.iter().enumerate() {
            let still = Duration::from_millis(now.saturating_sub(worker.last_beat()));
            if still > STUCK {
                let seconds = still.as_secs();
                return Err(format!("worker {number} has not moved for {seconds} s"));
            }
        }
        Ok(())
    }
}

fn tell_expiry(telemetry: &Telemetry, settings: &Settings) {
    let tls = settings.tls.as_ref();
    let expires = tls.map_or(0, |tls| tls.certificate.expires_unix());
    telemetry.metrics.tls_certificate_expires(expires);
}

impl Drop for Proxy {
    /// Ends the workers and everything that is left on them.
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stop();
        }
    }
}

impl Shared {
    fn now(&self) -> Instant {
        (self.clock)()
    }

    fn millis(&self) -> u64 {
        self.millis_at(Instant::now())
    }

    /// In milliseconds since the proxy's start.
    fn millis_at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// A tenant by its name.
    fn tenant_key(&self, name: &[u8]) -> TenantKey {
        TenantKey::new(self.tenants.hash_one(name))
    }

    /// When a refused client should come back, in seconds.
    fn retry_after_seconds(&self) -> u64 {
        let gate = self.gate.snapshot();
        let ahead = gate.in_flight.saturating_add(gate.queued);
        let wait = self.pace.predicted_wait(ahead, gate.permit_limit);
        self.pace.jittered_seconds(wait)
    }
}
