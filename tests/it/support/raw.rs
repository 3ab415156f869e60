//! Bytes on sockets: a client that does exactly what a test says, and a backend that does.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::SOON;

/// Asks the load backend for a tunnel.
pub(crate) const UPGRADE: &str = "GET /?upgrade=1 HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\n\r\n";

/// A socket that speaks no protocol by itself.
pub(crate) struct Raw {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// A response head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
}

impl Raw {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).await.expect("it listens")
    }

    pub(crate) async fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        Ok(Self::of(stream))
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a connected socket");
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Connects and sends.
    pub(crate) async fn with(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::connect(to).await;
        raw.send(bytes).await;
        raw
    }

    /// Connects and sends a GET.
    pub(crate) async fn get(to: SocketAddr, path: &str) -> Self {
        Self::with(to, get(path)).await
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the peer reads");
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Up to and with the empty line, in time; `None` if the peer closed first.
    pub(crate) async fn try_head(&mut self) -> Option<String> {
        let reading = async {
            loop {
                if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                    let rest = self.ahead.split_off(end + 4);
                    let head = std::mem::replace(&mut self.ahead, rest);
                    return Some(String::from_utf8_lossy(&head).into_owned());
                }
                if self.stream.read_buf(&mut self.ahead).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        timeout(SOON * 2, reading).await.expect("a head in time")
    }

    /// A response head.
    pub(crate) async fn head(&mut self) -> Head {
        let text = self.try_head().await.expect("a head before the end");
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {text}"));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Head { status, headers }
    }

    /// Exactly so many bytes.
    pub(crate) async fn take(&mut self, len: usize) -> Vec<u8> {
        let reading = async {
            while self.ahead.len() < len {
                let read = self.stream.read_buf(&mut self.ahead).await;
                assert!(read.is_ok_and(|read| read > 0), "ended before {len} bytes");
            }
        };
        timeout(SOON, reading).await.expect("bytes in time");
        self.ahead.drain(..len).collect()
    }

    /// Says that nothing more comes, and goes on reading.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("a connected socket");
    }

    /// Everything until the peer's end, whether orderly or not.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.ahead);
        let reading = async {
            // A reset is an end as well.
            let _ = self.stream.read_to_end(&mut all).await;
        };
        timeout(SOON * 2, reading).await.expect("an end in time");
        all
    }

    /// A response with its length, whole.
    pub(crate) async fn response(&mut self) -> (Head, Vec<u8>) {
        let head = self.head().await;
        let len = head
            .headers
            .get("content-length")
            .map_or(0, |len| len.parse().expect("a length"));
        let body = self.take(len).await;
        (head, body)
    }

    /// Leaves with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        let now = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        now.expect("a connected socket");
    }

    /// Leaves in the way that a test is about.
    pub(crate) fn leave(self, by: Leave) {
        match by {
            Leave::Fin => drop(self),
            Leave::Reset => self.reset(),
        }
    }
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    Fin,
    Reset,
}

impl Leave {
    pub(crate) const BOTH: [Self; 2] = [Self::Fin, Self::Reset];
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

/// A backend of raw sockets: `serve` gets each connection with its number. Dropping it closes the
/// listener and every connection.
pub(crate) struct RawBackend {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl RawBackend {
    pub(crate) async fn start<F>(serve: impl Fn(Raw, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let accepting = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(Raw::of(stream), number));
                number += 1;
            }
        });
        Self { address, accepting }
    }

    pub(crate) fn upstream(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for RawBackend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
