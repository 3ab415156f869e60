//! Accepting: as many connections as the limit allows, each to the worker that has fewest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::Shared;
use super::worker::Worker;
use crate::telemetry::{ConnectionError, events};

/// Connections that the kernel keeps for us while we are busy or at the limit.
const BACKLOG: i32 = 4096;

/// The pause after an accept that failed for want of descriptors or memory: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Opens the data port.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] takes IPv4 as well, as the pod may have either.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until it is told to stop; then what the kernel has accepted already, and no more.
pub(super) async fn accept(
    shared: &Arc<Shared>,
    workers: &[Worker],
    listener: TcpListener,
    until: impl Future<Output = ()>,
) {
    tokio::select! {
        biased;
        () = until => {}
        () = accept_all(shared, workers, &listener) => {}
    }
    // Closing the port would reset who is in its backlog.
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok((stream, peer))) = listener.poll_accept(&mut cx) {
        give(shared, workers, stream, peer);
    }
}

fn give(shared: &Arc<Shared>, workers: &[Worker], stream: TcpStream, peer: SocketAddr) {
    let worker = workers.iter().min_by_key(|worker| worker.load());
    if let (Ok(stream), Some(worker)) = (stream.into_std(), worker) {
        worker.give(shared, stream, peer);
    }
}

async fn accept_all(shared: &Arc<Shared>, workers: &[Worker], listener: &TcpListener) {
    let mut pause = PAUSE_MIN;
    loop {
        wait_for_place(shared).await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                give(shared, workers, stream, peer);
            }
            // The client went away while it waited: no trouble of ours.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                events::connection_error(
                    &shared.telemetry,
                    ConnectionError::Accept,
                    None,
                    &error,
                    &[],
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn wait_for_place(shared: &Shared) {
    loop {
        let freed = shared.place_freed.notified();
        let open = usize::try_from(shared.telemetry.metrics.connections()).unwrap_or(usize::MAX);
        if open < shared.settings.load().limits.max_connections {
            return;
        }
        freed.await;
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
