//! A real HTTP backend: it truly occupies memory for every request, and counts what is in flight.
//!
//! It speaks HTTP/1.1 and HTTP/2 (prior knowledge) on one port or Unix socket. Any path does the
//! work and answers 200; the query says otherwise (see [`Options`]). `/__stats` answers with the
//! counters as JSON and is not counted itself.

mod body;
mod counters;
mod handle;
mod memory;
mod options;
mod sniff;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use counters::Counters;
pub use counters::Stats;
pub use options::{Echo, Options};

/// What a request costs when its query does not say otherwise.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// How long the work of one request takes.
    pub service: Duration,
    /// How much memory one request occupies for that long, every page of it touched.
    pub memory_bytes: u64,
    /// How long the answer is.
    pub response_bytes: usize,
    /// Concurrent streams that one HTTP/2 connection may carry.
    pub h2_streams: u32,
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            service: Duration::ZERO,
            memory_bytes: 0,
            response_bytes: 16,
            h2_streams: 1_000,
        }
    }
}

/// A running backend. Dropping it closes the listener and every connection at once, whatever was
/// being answered, as a crash would.
#[derive(Debug)]
pub struct Backend {
    address: Option<SocketAddr>,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

impl Backend {
    /// Serves a TCP listener on the current tokio runtime.
    #[must_use]
    pub fn start(listener: TcpListener, settings: BackendSettings) -> Self {
        let address = listener.local_addr().ok();
        Self::run(address, Listener::Tcp(listener), settings)
    }

    /// Serves a Unix listener on the current tokio runtime.
    #[must_use]
    pub fn start_unix(listener: UnixListener, settings: BackendSettings) -> Self {
        Self::run(None, Listener::Unix(listener), settings)
    }

    /// Serves a free port of the loopback address.
    pub async fn on_loopback(settings: BackendSettings) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self::start(listener, settings))
    }

    fn run(address: Option<SocketAddr>, listener: Listener, settings: BackendSettings) -> Self {
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(Shared {
            settings,
            counters: Arc::clone(&counters),
            tunnels: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared));
        Self {
            address,
            counters,
            accepting,
        }
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// When it listens on a Unix socket, whose path the caller chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address.expect("the backend listens on TCP")
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// Closes the listener and every connection, and waits until that is done.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The error says that it was aborted, which is what was asked for.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every request handler needs.
#[derive(Debug)]
struct Shared {
    settings: BackendSettings,
    counters: Arc<Counters>,
    /// Upgraded connections, which hyper has let go of; closed with the last holder of this.
    tunnels: Mutex<JoinSet<()>>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// The set of connections lives inside this task, so that aborting it closes them all.
async fn accept(listener: Listener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(Accepted::Tcp(stream)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                Ok(Accepted::Unix(stream)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                // Out of descriptors, most likely: some will be free again shortly.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve<S>(stream: S, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _connection = shared.counters.connect();
    let Ok((protocol, stream)) = sniff::sniff(stream).await else {
        return;
    };
    let streams = shared.settings.h2_streams;
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { handle::handle(request, shared).await }
    });
    let io = TokioIo::new(stream);
    // A connection that ends in an error was broken off by its client or by `abort=1`; the client
    // sees that, and the counters tell the rest.
    let _ = match protocol {
        sniff::Protocol::Http1 => {
            let connection = http1::Builder::new().serve_connection(io, service);
            connection.with_upgrades().await
        }
        sniff::Protocol::Http2 => {
            http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(streams)
                .serve_connection(io, service)
                .await
        }
    };
}

#[cfg(test)]
mod tests;
