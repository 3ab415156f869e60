//! After a matching 101: bytes both ways, until one side is done. The permit stays held, unless
//! `tunnel.permit` releases it.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use crate::proxy::answer::respond::ResponseBody;
use crate::proxy::forward::exchange::Exchange;
use crate::proxy::head::headers::prepare_response;
use crate::proxy::settings::{Settings, TunnelPermit};
use crate::proxy::stage::Stage;
use crate::telemetry::Metrics;

/// Read at a time, in each direction.
const CHUNK: usize = 16 << 10;

/// How long the second direction may be silent after the first has ended.
const AFTER_END_MILLIS: u64 = 1000;

/// Whether a 101 answers what the client asked for: the same protocol, on a request that asked.
pub(in crate::proxy) fn is_wanted(wanted: Option<&HeaderValue>, response: &HeaderMap) -> bool {
    match (wanted, response.get(UPGRADE)) {
        (Some(wanted), Some(given)) => wanted
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(given.as_bytes())),
        _ => false,
    }
}

/// Passes the 101 on, and tunnels once both sides have switched.
pub(in crate::proxy) fn open(
    settings: &Settings,
    mut exchange: Exchange,
    on_upgrade: OnUpgrade,
    mut response: Response<Incoming>,
) -> Response<ResponseBody> {
    exchange.connection().client.begin_tunnel();
    let upstream = hyper::upgrade::on(&mut response);
    let idle = settings.timeouts.tunnel_idle;
    let permit = settings.tunnel_permit;
    tokio::spawn(async move {
        let connection = exchange.connection().clone();
        let client = &connection.client;
        match tokio::try_join!(on_upgrade, upstream) {
            Ok((downstream, upstream)) => {
                let _counted = Counted::new(&connection.shared.telemetry.metrics);
                if permit == TunnelPermit::Release {
                    exchange.release();
                }
                let mut stage = connection.shared.progress.changes();
                let ended = relay(
                    TokioIo::new(downstream),
                    TokioIo::new(upstream),
                    idle,
                    async move {
                        // An error says that weir is gone, and the tunnel with it.
                        let _ = stage.wait_for(|stage| *stage >= Stage::Parting).await;
                    },
                )
                .await;
                if let Err(error) = ended {
                    tracing::debug!(%error, client = %client.peer, "a tunnel broke");
                }
                exchange.tunnel_ended();
            }
            // The client left between the 101 and the switch: the drop counts it.
            Err(error) => tracing::debug!(%error, client = %client.peer, "no tunnel after a 101"),
        }
    });
    let (mut head, _) = response.into_parts();
    prepare_response(&mut head, true);
    Response::from_parts(head, ResponseBody::Own(None))
}

/// An open tunnel in the metrics.
struct Counted<'a>(&'a Metrics);

impl<'a> Counted<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.tunnel_opened();
        Self(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.tunnel_closed();
    }
}

/// When a byte last passed in either direction, and how long silence may last.
struct Activity {
    epoch: Instant,
    last_millis: AtomicU64,
    idle_millis: AtomicU64,
}

impl Activity {
    fn note(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(now, Ordering::Relaxed);
    }

    fn deadline(&self) -> Instant {
        let last = self.last_millis.load(Ordering::Relaxed);
        let idle = self.idle_millis.load(Ordering::Relaxed);
        self.epoch + Duration::from_millis(last) + Duration::from_millis(idle)
    }

    /// Resolves when nothing has passed for as long as silence may last.
    async fn silence(&self) {
        while self.deadline() > Instant::now() {
            let soon = Instant::now() + Duration::from_millis(AFTER_END_MILLIS);
            sleep_until(self.deadline().min(soon)).await;
        }
    }
}

/// Copies both ways until both have ended, an error, or silence. When told to go, both peers see
/// an end of stream and may finish.
async fn relay<A, B>(
    downstream: A,
    upstream: B,
    idle: Duration,
    told_to_go: impl Future<Output = ()>,
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let activity = Activity {
        epoch: Instant::now(),
        last_millis: AtomicU64::new(0),
        idle_millis: AtomicU64::new(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)),
    };
    let (mut from_client, mut to_client) = tokio::io::split(downstream);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    {
        let both = async {
            tokio::try_join!(
                copy(&mut from_client, &mut to_upstream, &activity),
                copy(&mut from_upstream, &mut to_client, &activity),
            )
        };
        tokio::select! {
            ended = both => return ended.map(|_| ()),
            () = activity.silence() => return Ok(()),
            () = told_to_go => {}
        }
    }
    to_client.shutdown().await?;
    to_upstream.shutdown().await?;
    activity.note();
    activity
        .idle_millis
        .store(AFTER_END_MILLIS, Ordering::Relaxed);
    // What they still say has nowhere to go; that they have ended is what counts.
    let (mut nowhere, mut nowhere_either) = (tokio::io::sink(), tokio::io::sink());
    let both_ended = async {
        tokio::join!(
            tokio::io::copy(&mut from_client, &mut nowhere),
            tokio::io::copy(&mut from_upstream, &mut nowhere_either),
        )
    };
    tokio::select! {
        _ = both_ended => {}
        () = activity.silence() => {}
    }
    Ok(())
}

/// Copies one direction and passes its end on.
async fn copy<R, W>(from: &mut R, to: &mut W, activity: &Activity) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut chunk = vec![0; CHUNK];
    loop {
        let len = from.read(&mut chunk).await?;
        if len == 0 {
            break;
        }
        activity.note();
        to.write_all(&chunk[..len]).await?;
        to.flush().await?;
        activity.note();
    }
    activity
        .idle_millis
        .store(AFTER_END_MILLIS, Ordering::Relaxed);
    to.shutdown().await
}
