//! Which protocol a new connection speaks, decided by us and in bounded time: hyper's own
//! detection waits for ever.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// What an HTTP/2 client with prior knowledge says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for a usual request head, so that it is read in one go.
const READ_AHEAD: usize = 2 << 10;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Sniffed {
    /// Anything that is not HTTP/2; hyper says whether it is HTTP/1.
    Http1(Bytes),
    /// HTTP/2 with prior knowledge.
    Http2(Bytes),
    /// The client closed before it said anything.
    Closed,
    /// Not enough came in time.
    TimedOut,
}

/// Reads until it is clear what the client speaks; what was read comes back with the answer.
pub(in crate::proxy) async fn sniff(
    read: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> Sniffed {
    let mut ahead = BytesMut::with_capacity(READ_AHEAD);
    let reading = async {
        loop {
            match read.read_buf(&mut ahead).await {
                Ok(0) | Err(_) => return false,
                Ok(_) if is_decided(&ahead) => return true,
                Ok(_) => {}
            }
        }
    };
    match timeout(limit, reading).await {
        Ok(true) if ahead.starts_with(PREFACE) => Sniffed::Http2(ahead.freeze()),
        Ok(true) => Sniffed::Http1(ahead.freeze()),
        Ok(false) => Sniffed::Closed,
        Err(_) => Sniffed::TimedOut,
    }
}

/// Whether the bytes so far are the preface, or cannot become it.
fn is_decided(ahead: &[u8]) -> bool {
    ahead.len() >= PREFACE.len() || !PREFACE.starts_with(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_differs_decides() {
        assert!(is_decided(b"GET / HTTP/1.1\r\n"));
        assert!(is_decided(b"POST"));
        assert!(is_decided(PREFACE));
        assert!(!is_decided(b"P"));
        assert!(!is_decided(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"));
        assert!(is_decided(b"PRI * HTTP/1.1\r\n"));
    }
}
