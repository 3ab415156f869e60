//! Connections of the admin port: HTTP/1.1, few, and none for ever.
//!
//! **Nobody can hold the port**: a newcomer always has a place, if need be that of an idle
//! connection, so that probes are answered whoever else has connected.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::bounded::Bounded;
use super::ring::{Busy, Ring};
use super::{Admin, endpoints};

/// Open connections; each further one costs an older one its place.
const CONNECTIONS_MAX: usize = 64;

/// For a request head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For a client to take an answer, from its first byte to its last.
const TAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the kernel may hold for a connection, each way; it takes twice that. Left to itself it
/// would hold megabytes of answers that nobody takes, and charge them to weir's container.
const SOCKET_BYTES: usize = 32 << 10;

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
    let mut ring = Ring::new(CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            _ = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let busy = Busy::default();
                let (admin, ended) = (Arc::clone(&admin), ended.clone());
                let connection = connection(stream, peer, admin, busy.clone(), ended);
                ring.add(connections.spawn(connection), busy);
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

/// One connection, to its end. What goes wrong on it concerns nobody but its client.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    admin: Arc<Admin>,
    busy: Busy,
    mut ended: watch::Receiver<()>,
) {
    let service = service_fn(move |request| {
        let answering = busy.begin();
        let answer = endpoints::answer(Arc::clone(&admin), peer, request);
        async move {
            let answer = answer.await;
            drop(answering);
            answer
        }
    });
    let socket = SockRef::from(&stream);
    // At worst they stay as they are.
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let stream = Bounded::new(stream, TAKE_TIMEOUT);
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
