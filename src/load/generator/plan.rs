//! What to send, where, how often.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

/// One run of the generator.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the requests go.
    pub target: SocketAddr,
    /// What they speak.
    pub protocol: Protocol,
    /// How many arrive per second, on average.
    pub rate_per_second: f64,
    /// How they are spread over time.
    pub arrivals: Arrivals,
    /// When the run ends.
    pub bound: Bound,
    /// What the arrivals are drawn from.
    pub seed: u64,
    /// The request, the same each time.
    pub request: Template,
    /// How long one exchange may take, from its scheduled arrival.
    pub timeout: Duration,
    /// How many may be on their way at once. What would be more is not sent and counts as failed:
    /// this bounds what a run can do to the machine, and is not meant to be reached.
    pub max_outstanding: usize,
}

impl Plan {
    /// `GET /` over HTTP/1.1, Poisson arrivals, seed 1, 30 s for each, at most 20,000 at once.
    #[must_use]
    pub fn new(target: SocketAddr, rate_per_second: f64, bound: Bound) -> Self {
        Self {
            target,
            protocol: Protocol::Http1,
            rate_per_second,
            arrivals: Arrivals::Poisson,
            bound,
            seed: 1,
            request: Template::default(),
            timeout: Duration::from_secs(30),
            max_outstanding: 20_000,
        }
    }
}

/// What the generator speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, on as many keep-alive connections as are needed at once.
    Http1,
    /// HTTP/2 with prior knowledge, streams spread over so many connections.
    Http2 {
        /// At least one.
        connections: usize,
    },
}

/// How requests are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Independent of one another, as those of many users are.
    Poisson,
    /// Evenly.
    Uniform,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// After so many requests.
    Count(u64),
    /// With the last arrival inside this time.
    Duration(Duration),
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct Template {
    /// The method.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Further fields; `host` is set from the target unless it is among them.
    pub headers: HeaderMap,
    /// The body, sent with its length.
    pub body: Bytes,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            method: Method::GET,
            path: String::from("/"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}
