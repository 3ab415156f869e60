//! How one request wants to be answered.

use std::time::Duration;

use http::StatusCode;

/// What the query of a request asks of the backend. Unknown names are ignored, so that tests may
/// send any query; a known name with a bad value is answered with 400, or the test would pass for
/// the wrong reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one switch of the query"
)]
pub struct Options {
    /// `sleep_ms=N`: the service time of this request.
    pub sleep: Option<Duration>,
    /// `memory=N`: the bytes that this request occupies.
    pub memory_bytes: Option<u64>,
    /// `status=N`: the status of the answer.
    pub status: Option<StatusCode>,
    /// `bytes=N`: the length of the answer.
    pub bytes: Option<usize>,
    /// `chunks=N`: the answer comes in so many pieces, and is still in flight until the last.
    pub chunks: Option<u32>,
    /// `gap_ms=N`: the time between two pieces.
    pub gap: Option<Duration>,
    /// `echo=1` or `echo=head`: answer with what arrived.
    pub echo: Option<Echo>,
    /// `close=1`: ask for the connection to be closed.
    pub close: bool,
    /// `abort=1`: break off after half of the answer.
    pub abort: bool,
    /// `early=1`: answer without reading the request body.
    pub early: bool,
    /// `trailers=1`: end with the trailers `grpc-status: 0` and `x-trailer: end`.
    pub trailers: bool,
    /// `upgrade=1`: answer an `Upgrade` with 101, then send back what comes through the tunnel.
    pub upgrade: bool,
}

/// What to send back of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The body as the body, with its trailers, and the head as JSON in `x-request-head`.
    Body,
    /// The head as JSON in the body.
    Head,
}

impl Options {
    /// Reads a query such as `sleep_ms=20&bytes=100`.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "1"));
            options
                .set(name, value)
                .ok_or_else(|| format!("the backend does not understand {name}={value}"))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "sleep_ms" => self.sleep = Some(millis(value)?),
            "memory" => self.memory_bytes = Some(value.parse().ok()?),
            "status" => self.status = Some(value.parse().ok()?),
            "bytes" => self.bytes = Some(value.parse().ok()?),
            "chunks" => self.chunks = Some(value.parse().ok().filter(|&chunks| chunks > 0)?),
            "gap_ms" => self.gap = Some(millis(value)?),
            "echo" => {
                self.echo = Some(match value {
                    "1" | "body" => Echo::Body,
                    "head" => Echo::Head,
                    _ => return None,
                });
            }
            "close" => self.close = flag(value)?,
            "abort" => self.abort = flag(value)?,
            "early" => self.early = flag(value)?,
            "trailers" => self.trailers = flag(value)?,
            "upgrade" => self.upgrade = flag(value)?,
            _ => {}
        }
        Some(())
    }
}

fn millis(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_millis)
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}
