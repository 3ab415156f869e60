//! What can be set about the data path.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use super::client::tls::Tls;
use super::head::classify::HeadClassifier;
use super::head::trust::Trust;
use crate::admission::RetryLimits;

/// Everything that the data path reads. Replaced as a whole on reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where admitted requests go.
    pub upstream: Upstream,
    /// What client connections are accepted with; `None` without TLS.
    pub tls: Option<Tls>,
    /// What a refused client is told.
    pub reject: Reject,
    /// How long each party may take.
    pub timeouts: Timeouts,
    /// How many, how large.
    pub limits: Limits,
    /// Says what a request is to the gate.
    pub classifier: Arc<HeadClassifier>,
    /// For each class the status for lack of capacity: 4xx or 5xx.
    pub statuses: Vec<StatusCode>,
    /// Which peers are believed what they say of others.
    pub trust: Trust,
    /// What becomes of the permit of a request that switched protocols.
    pub tunnel_permit: TunnelPermit,
    /// How many requests may be sent again, all together.
    pub retries: RetryLimits,
    /// How long a permit stays after a client that left mid-request: memory is not free at
    /// disconnect.
    pub cancel_grace: CancelGrace,
}

/// How long a permit stays after a client that left mid-request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelGrace {
    /// So long.
    Fixed(Duration),
    /// For as long as the backend is likely to go on:
    /// [`Quantiles::cancel_grace`](crate::admission::Quantiles::cancel_grace) of the request's
    /// class. Not at all while nothing is measured.
    Auto,
}

/// The one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: UpstreamAddress,
    /// What it speaks.
    pub protocol: UpstreamProtocol,
}

/// Where the backend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// An address.
    Socket(SocketAddr),
    /// A host name and port, looked up at each connect.
    Name(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Upstream {
    /// What names the backend as a host, where a client named none.
    pub(super) fn host(&self) -> HeaderValue {
        let host = match &self.address {
            UpstreamAddress::Socket(address) => address.to_string(),
            UpstreamAddress::Name(host, port) => format!("{host}:{port}"),
            UpstreamAddress::Unix(_) => "localhost".to_owned(),
        };
        HeaderValue::try_from(host).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
    }
}

/// What the backend speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/2 for gRPC, HTTP/1.1 for everything else.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// What a refused client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status for lack of capacity: 4xx or 5xx.
    pub status: StatusCode,
    /// The same for gRPC clients.
    pub grpc_status: u16,
    /// When to come back.
    pub retry_after: RetryAfter,
    /// The field by which Envoy tells why, added where there was no room or too much was sent.
    pub envoy: EnvoyField,
    /// Fields added to every reject.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// By which field of Envoy's a reject says that it is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnvoyField {
    /// None.
    #[default]
    None,
    /// `x-envoy-overloaded: true`.
    Overloaded,
    /// `x-envoy-ratelimited: true`: Envoy does not retry it.
    RateLimited,
}

/// When a refused client is told to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// From what is in flight and queued and how fast it drains, with jitter.
    Auto,
    /// Always so many seconds.
    Fixed(Duration),
}

/// What becomes of the permit of a request that switched protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelPermit {
    /// Held until the tunnel ends: an open tunnel costs the backend as much as a request.
    #[default]
    Hold,
    /// Returned once both sides have switched; the tunnel does not count from then on.
    Release,
}

/// How long each party may take. Zero never means "for ever" except where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// From accept, or the end of the TLS handshake, to the first bytes of a protocol.
    pub sniff: Duration,
    /// A request head, from its first byte.
    pub head: Duration,
    /// Between bytes of a request body.
    pub body_idle: Duration,
    /// To connect to the upstream.
    pub connect: Duration,
    /// From a request sent to its response head.
    pub response_head: Duration,
    /// Between bytes of a response body.
    pub response_idle: Duration,
    /// Between bytes of a tunnel, in either direction.
    pub tunnel_idle: Duration,
    /// A client that does not read what is sent to it.
    pub write_stall: Duration,
    /// A client connection between requests, on HTTP/1.1.
    pub keep_alive_idle: Duration,
    /// A client connection without streams, on HTTP/2.
    pub h2_idle: Duration,
    /// Between pings on HTTP/2; half as long for the answer, at most 10 s.
    pub h2_ping: Duration,
    /// How old a client connection may grow; zero for no bound.
    pub connection_age: Duration,
    /// An upstream connection between requests; keep it below the backend's own.
    pub upstream_idle: Duration,
}

/// How many, how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Concurrent streams on one HTTP/2 connection.
    pub h2_streams: u32,
    /// Bytes of a request head.
    pub header_bytes: u32,
    /// Bytes of a request's path and query.
    pub target_bytes: usize,
    /// Fields of a request head.
    pub header_fields: usize,
}
