//! Connections of the admin port: HTTP/1.1, few, and none for ever.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Admin, endpoints};

/// Open connections; further ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;

/// For a request head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// After which a connection is told to end, however busy it is.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

/// What a connection that was told to end is given to finish its last answer.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after a failed accept: most often there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on the admin port until `shutdown`, then finishes what it is answering.
///
/// Dropping the future ends every connection at once.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, shutdown: impl Future) {
    let (ending, ended) = watch::channel(());
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            _ = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer, place)) => {
                let connection = connection(stream, peer, Arc::clone(&admin), ended.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(ending);
    // Each connection bounds its own end.
    while connections.join_next().await.is_some() {}
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, Place)> {
    let place = Arc::clone(room)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// One connection, to its end. What goes wrong on it concerns nobody but its client.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    admin: Arc<Admin>,
    mut ended: watch::Receiver<()>,
) {
    let service = service_fn(move |request| endpoints::answer(Arc::clone(&admin), peer, request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        // The sender is only ever dropped.
        _ = ended.changed() => {}
        () = tokio::time::sleep(CONNECTION_AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FINISH_TIMEOUT, connection).await;
}
