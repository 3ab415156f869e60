//! The upstream connections of all workers, within one common bound.
//!
//! Each worker has a shard of its own and looks there first. Busy and idle connections of all
//! shards together never exceed the permits, so that a backend that serves one connection per
//! process is never starved by idle ones: at the bound, a worker takes an idle connection off
//! another's shard rather than open one more. Where requests cost less than a permit, or pass in
//! the shadow, there may be as many as requests in flight.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, timeout};

use crate::gate::Gate;
use crate::proxy::answer::error::ProxyError;
use crate::proxy::settings::Settings;
use crate::proxy::upstream::{Http1, Http2, Stream, connect_http1, connect_http2};
use crate::telemetry::Metrics;

/// Requests on one HTTP/2 connection before another is opened.
pub(in crate::proxy) const STREAMS_PER_CONNECTION: u32 = 100;

/// All upstream connections.
#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    shards: Vec<Shard>,
    /// Connections open, busy and idle.
    open: AtomicUsize,
    /// How many may be is as many as permits, or requests that hold one.
    gate: Gate,
    /// A connection was put back or closed.
    freed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Shard {
    idle: Mutex<Vec<Http1>>,
    shared: Mutex<Vec<Arc<Http2>>>,
    /// Held while an HTTP/2 connection is made, so that a burst makes one and not a hundred.
    connecting: tokio::sync::Mutex<()>,
}

/// The right to have one upstream connection open. Dropped when its socket is closed.
#[derive(Debug)]
pub(in crate::proxy) struct Room {
    pool: Arc<Pool>,
    is_vacated: AtomicBool,
}

impl Room {
    /// Gives the right to another connection although this one stays open: a tunnel without a
    /// permit.
    pub(in crate::proxy) fn vacate(&self) {
        if !self.is_vacated.swap(true, Ordering::AcqRel) {
            self.pool.open.fetch_sub(1, Ordering::AcqRel);
            self.pool.freed.notify_one();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.pool.metrics.upstream_closed();
        self.vacate();
    }
}

impl Pool {
    pub(in crate::proxy) fn new(workers: usize, gate: Gate, metrics: Arc<Metrics>) -> Self {
        Self {
            shards: (0..workers).map(|_| Shard::default()).collect(),
            open: AtomicUsize::new(0),
            gate,
            freed: Notify::new(),
            metrics,
        }
    }

    /// How many connections may be open.
    fn limit(&self) -> usize {
        let (permits, in_flight) = self.gate.occupancy();
        permits.max(in_flight) as usize
    }

    /// Closes idle connections above the limit, which has become smaller.
    pub(in crate::proxy) fn shrink(&self) {
        let limit = self.limit();
        for shard in &self.shards {
            let mut idle = shard.idle.lock().expect("nothing panics under it");
            while self.open.load(Ordering::Acquire) > limit && idle.pop().is_some() {}
        }
    }

    /// An HTTP/1.1 connection for a worker that has no idle one: a new one, another's idle one, one
    /// in place of an idle HTTP/2 connection, or the next that comes free; in this order.
    pub(in crate::proxy) async fn http1(
        self: &Arc<Self>,
        settings: &Settings,
    ) -> Result<Http1, ProxyError> {
        self.new_http1(settings, || {
            let elsewhere = self.take_any_idle(settings);
            if elsewhere.is_none() {
                // Whoever waits then has a permit, so that not every connection can be busy.
                self.close_idle_http2();
            }
            elsewhere
        })
        .await
    }

    /// A connection that has not been used yet, for a request that met a stale one.
    pub(in crate::proxy) async fn fresh_http1(
        self: &Arc<Self>,
        settings: &Settings,
    ) -> Result<Http1, ProxyError> {
        self.new_http1(settings, || {
            // Some idle connection, stale as the last one most likely, gives up its room.
            if !self.close_idle_http1(settings) {
                self.close_idle_http2();
            }
            None
        })
        .await
    }

    /// A new connection; at the bound what there is `instead`, or else room for one once some comes
    /// free.
    async fn new_http1(
        self: &Arc<Self>,
        settings: &Settings,
        instead: impl Fn() -> Option<Http1>,
    ) -> Result<Http1, ProxyError> {
        self.within(settings, async {
            loop {
                let freed = self.next_freed();
                if let Some(room) = self.try_room() {
                    return connect_http1(settings, room).await;
                }
                if let Some(connection) = instead() {
                    return Ok(connection);
                }
                freed.await;
            }
        })
        .await
    }

    /// Puts a connection whose exchange is over on the worker's shard.
    pub(in crate::proxy) fn put_back(&self, worker: usize, mut connection: Http1, now: Instant) {
        if self.open.load(Ordering::Acquire) > self.limit() {
            return;
        }
        connection.is_reused = true;
        connection.idle_since = now;
        self.shards[worker]
            .idle
            .lock()
            .expect("nothing panics under it")
            .push(connection);
        self.freed.notify_one();
    }

    /// A stream on one of the worker's HTTP/2 connections that is not full.
    pub(in crate::proxy) fn open_http2(&self, worker: usize) -> Option<Stream> {
        self.shards[worker].open_stream(STREAMS_PER_CONNECTION)
    }

    /// A stream for a worker whose HTTP/2 connections are all full: on a new one, and at the bound
    /// on another worker's.
    pub(in crate::proxy) async fn http2(
        self: &Arc<Self>,
        worker: usize,
        settings: &Settings,
    ) -> Result<Stream, ProxyError> {
        let shard = &self.shards[worker];
        self.within(settings, async {
            let _one_at_a_time = shard.connecting.lock().await;
            loop {
                let freed = self.next_freed();
                if let Some(stream) = shard.open_stream(STREAMS_PER_CONNECTION) {
                    return Ok(stream);
                }
                if let Some(room) = self.try_room() {
                    let connection = Arc::new(connect_http2(settings, room).await?);
                    let stream = Stream::new(connection.clone());
                    shard
                        .shared
                        .lock()
                        .expect("nothing panics under it")
                        .push(connection);
                    return Ok(stream);
                }
                let elsewhere = |streams| self.shards.iter().find_map(|s| s.open_stream(streams));
                if let Some(stream) = elsewhere(STREAMS_PER_CONNECTION) {
                    return Ok(stream);
                }
                // An idle HTTP/1.1 connection makes room, or the streams crowd.
                if !self.close_idle_http1(settings)
                    && let Some(stream) = elsewhere(u32::MAX)
                {
                    return Ok(stream);
                }
                freed.await;
            }
        })
        .await
    }

    /// Closes what has been idle for too long. Called once a second per worker.
    pub(in crate::proxy) fn expire(&self, worker: usize, upstream_idle: Duration) {
        let now = Instant::now();
        let shard = &self.shards[worker];
        shard
            .idle
            .lock()
            .expect("nothing panics under it")
            .retain_mut(|connection| {
                now.saturating_duration_since(connection.idle_since) < upstream_idle
                    && connection.is_usable()
            });
        shard
            .shared
            .lock()
            .expect("nothing panics under it")
            .retain(|connection| {
                let idle_since = *connection
                    .idle_since
                    .lock()
                    .expect("nothing panics under it");
                !connection.sender.is_closed()
                    && (connection.streams.load(Ordering::Relaxed) > 0
                        || now - idle_since < upstream_idle)
            });
    }

    /// The newest idle HTTP/1.1 connection of a worker. Whether the backend has closed it in the
    /// meantime shows when a request is sent on it.
    pub(in crate::proxy) fn take_idle(
        &self,
        shard: usize,
        settings: &Settings,
        now: Instant,
    ) -> Option<Http1> {
        let mut idle = self.shards[shard]
            .idle
            .lock()
            .expect("nothing panics under it");
        while let Some(connection) = idle.pop() {
            if now.saturating_duration_since(connection.idle_since)
                < settings.timeouts.upstream_idle
            {
                return Some(connection);
            }
        }
        None
    }

    /// An idle HTTP/1.1 connection of whatever worker.
    fn take_any_idle(&self, settings: &Settings) -> Option<Http1> {
        let now = Instant::now();
        (0..self.shards.len()).find_map(|shard| self.take_idle(shard, settings, now))
    }

    /// Gives one up, whose room is then free once its socket is closed.
    fn close_idle_http1(&self, settings: &Settings) -> bool {
        self.take_any_idle(settings).is_some()
    }

    /// The same with one of HTTP/2 that carries no stream.
    fn close_idle_http2(&self) -> bool {
        self.shards.iter().any(Shard::close_idle)
    }

    /// What is freed from now on counts, also before this is awaited: two that come free at once
    /// leave one mark only, so that a second waiter would miss it.
    fn next_freed(&self) -> Pin<Box<Notified<'_>>> {
        let mut freed = Box::pin(self.freed.notified());
        freed.as_mut().enable();
        freed
    }

    fn try_room(self: &Arc<Self>) -> Option<Room> {
        let limit = self.limit();
        self.open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
                (open < limit).then_some(open + 1)
            })
            .ok()?;
        self.metrics.upstream_opened();
        Some(Room {
            pool: self.clone(),
            is_vacated: AtomicBool::new(false),
        })
    }

    async fn within<T>(
        &self,
        settings: &Settings,
        connecting: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ProxyError> {
        match timeout(settings.timeouts.connect, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(ProxyError::Connect(error)),
            Err(_) => Err(ProxyError::ConnectTimeout),
        }
    }
}

impl Shard {
    fn open_stream(&self, streams: u32) -> Option<Stream> {
        let mut shared = self.shared.lock().expect("nothing panics under it");
        shared.retain(|connection| {
            !connection.sender.is_closed() && !connection.is_retired.load(Ordering::Relaxed)
        });
        shared
            .iter()
            .filter(|connection| connection.streams.load(Ordering::Relaxed) < streams)
            .min_by_key(|connection| connection.streams.load(Ordering::Relaxed))
            .map(|connection| Stream::new(connection.clone()))
    }

    /// Streams are opened under the same lock, so that none begins on what is closed here.
    fn close_idle(&self) -> bool {
        let mut shared = self.shared.lock().expect("nothing panics under it");
        let idle = shared
            .iter()
            .position(|connection| connection.streams.load(Ordering::Relaxed) == 0);
        idle.map(|at| shared.swap_remove(at)).is_some()
    }
}
