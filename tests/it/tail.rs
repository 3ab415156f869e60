//! The tail of a message: all of it has been handed over, and not all of it written yet.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::oneshot;

use super::support::raw::Raw;
use super::support::{SOON, Setup, Weir, backend, eventually};

/// A response that fits into what weir keeps for a stream, so that it is served as soon as it is there.
const RESPONSE: usize = 20_000;

/// A client that has room for a little of it, and answers pings.
struct SlowReader {
    body: RecvStream,
    got: usize,
}

impl SlowReader {
    async fn start(weir: &Weir) -> Self {
        let socket = TcpStream::connect(weir.data).await.expect("it listens");
        let (client, connection) = h2::client::Builder::new()
            .initial_window_size(1_000)
            .handshake::<_, Bytes>(socket)
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("room for a stream");
        let uri = format!("http://test/?bytes={RESPONSE}");
        let request = Request::get(uri).body(()).expect("a request");
        let (response, _) = client.send_request(request, true).expect("a stream");
        let body = response.await.expect("a response").into_body();
        weir.assert_at_rest(1).await;
        assert_eq!(weir.outcome("served").await, 1, "as far as weir goes");
        Self { body, got: 0 }
    }

    /// Takes what there is room for, and the rest.
    async fn take_all(&mut self) {
        while let Some(piece) = self.body.data().await {
            let length = piece.expect("nothing is broken off").len();
            self.got += length;
            let window = self.body.flow_control();
            window.release_capacity(length).expect("it was received");
        }
        assert_eq!(self.got, RESPONSE);
    }
}

/// Fails when a drain gives who still reads a second, as it once did (tried).
#[tokio::test]
async fn a_drain_waits_for_who_still_takes_it() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("drain.lame_duck", "0s")
        .set("drain.timeout", "20s")
        .start()
        .await;
    let mut slow = SlowReader::start(&weir).await;
    weir.signal("TERM");
    // Nothing tells from outside that it would have been cut off: that is what the time is for.
    tokio::time::sleep(Duration::from_secs(3)).await;
    slow.take_all().await;
    drop(slow);
    assert_eq!(weir.exit_code(SOON).await, 0);
}

/// Fails when whoever idles and is silent is closed, whatever it has still to get (tried).
#[tokio::test]
async fn the_idle_timer_waits_for_who_still_takes_it() {
    let backend = backend().await;
    let weir = Setup::new(&backend, 1)
        .set("timeouts.h2_idle", "100ms")
        .start()
        .await;
    let mut slow = SlowReader::start(&weir).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    slow.take_all().await;
}

/// More than a Unix socket holds (`net.core.wmem_default`, 212,992 bytes, and one piece), less than it and hyper
/// hold together.
const UPLOAD: usize = 300_000;

/// Fails when a connection is cut as soon as its response has ended (tried).
#[tokio::test]
async fn an_upload_that_is_whole_gets_there_behind_its_response() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (answer, may_answer) = oneshot::channel();
    let (read_on, may_read_on) = oneshot::channel();
    let backend = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("weir comes");
        let mut read = Vec::new();
        while !read.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).await.expect("a head");
            read.push(byte[0]);
        }
        may_answer.await.expect("the test runs");
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        socket.write_all(response).await.expect("weir reads");
        may_read_on.await.expect("the test runs");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.expect("an end");
        rest.len()
    });
    let weir = Setup::to(&format!("unix:{}", path.display()), 1)
        .start()
        .await;
    let mut client = Raw::connect(weir.data).await;
    let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {UPLOAD}\r\n\r\n");
    client.send(head).await;
    client.send("u".repeat(UPLOAD)).await;
    eventually("weir has read all of it", SOON, || {
        let waiting = socket_bytes(weir.data.port());
        !waiting.is_empty() && waiting.iter().all(|bytes| *bytes == 0)
    })
    .await;
    answer.send(()).expect("the backend runs");
    assert_eq!(client.response().await.0.status, 200);
    read_on.send(()).expect("the backend runs");
    assert_eq!(backend.await.expect("no panic"), UPLOAD);
    weir.assert_at_rest(1).await;
}

/// How many bytes wait in the kernel on each connection to that port, in either direction.
fn socket_bytes(port: u16) -> Vec<u64> {
    const ESTABLISHED: &str = "01";
    let ends_so = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.len() > 4 && row[3] == ESTABLISHED)
        .filter(|row| row[1].ends_with(&ends_so) || row[2].ends_with(&ends_so))
        .flat_map(|row| row[4].split(':').map(|hex| u64::from_str_radix(hex, 16)))
        .map(|bytes| bytes.expect("a number"))
        .collect()
}
