//! The backend does what its query says, and counts it.

use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A client connection of either protocol.
enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("h1");
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("h2");
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    async fn both(backend: &Backend) -> [Self; 2] {
        [
            Self::http1(connect(backend).await).await,
            Self::http2(connect(backend).await).await,
        ]
    }

    async fn send(
        &mut self,
        target: &str,
        body: &'static str,
    ) -> hyper::Result<Response<Incoming>> {
        let request = |uri: String| {
            let request = Request::post(uri).header("x-one", "1").header("x-two", "2");
            request
                .body(Full::new(Bytes::from(body)))
                .expect("a valid request")
        };
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request(target.into())).await
            }
            Self::Http2(sender) => {
                sender
                    .send_request(request(format!("http://test{target}")))
                    .await
            }
        }
    }

    async fn content(&mut self, target: &str, body: &'static str) -> String {
        let response = self.send(target, body).await.expect("a response");
        let content = response
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        String::from_utf8(content.into()).expect("UTF-8")
    }
}

async fn connect(backend: &Backend) -> TcpStream {
    TcpStream::connect(backend.address())
        .await
        .expect("the backend listens")
}

async fn backend() -> Backend {
    Backend::on_loopback(BackendSettings::default())
        .await
        .expect("a free port")
}

/// Waits for a condition, for at most five seconds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < limit, "not within five seconds: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn both_protocols_are_served_on_one_port() {
    let backend = backend().await;
    for mut client in Client::both(&backend).await {
        assert_eq!(client.content("/any?bytes=5", "").await, ".....");
    }
    assert_eq!(backend.stats().served, 2);
}

#[tokio::test]
async fn a_unix_socket_is_served_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("backend.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let _backend = Backend::start_unix(listener, BackendSettings::default());
    let mut http1 = Client::http1(UnixStream::connect(&path).await.expect("a stream")).await;
    assert_eq!(http1.content("/?bytes=2", "").await, "..");
    let mut http2 = Client::http2(UnixStream::connect(&path).await.expect("a stream")).await;
    assert_eq!(http2.content("/?bytes=2", "").await, "..");
}

#[tokio::test]
async fn a_preface_in_pieces_is_still_http2() {
    let backend = backend().await;
    let mut stream = connect(&backend).await;
    for piece in ["PRI * HT", "TP/2.0\r\n\r\nSM", "\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.expect("written");
        stream.flush().await.expect("flushed");
        tokio::task::yield_now().await;
    }
    stream
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .expect("empty settings");
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await.expect("a frame");
    assert_eq!(answer[3], 4, "the server's settings: {answer:?}");
}

#[tokio::test]
async fn echo_returns_the_head_and_the_body() {
    let backend = backend().await;
    for (mut client, version) in Client::both(&backend).await.into_iter().zip(["1.1", "2"]) {
        let response = client
            .send("/a%2Fb?echo=1&q", "hello")
            .await
            .expect("a response");
        let head = response.headers()["x-request-head"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let head: serde_json::Value = serde_json::from_str(&head).expect("JSON");
        assert_eq!(head["method"], "POST");
        assert_eq!(head["version"], version);
        assert!(
            head["target"]
                .as_str()
                .expect("a string")
                .ends_with("/a%2Fb?echo=1&q"),
            "{head}"
        );
        assert_eq!(head["headers"][0], serde_json::json!(["x-one", "1"]));
        assert_eq!(head["headers"][1], serde_json::json!(["x-two", "2"]));
        let content = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        assert_eq!(content, "hello");

        let in_body = client.content("/?echo=head", "").await;
        let in_body: serde_json::Value = serde_json::from_str(&in_body).expect("JSON");
        assert_eq!(in_body["version"], version);
    }
}

#[tokio::test]
async fn status_and_bad_values() {
    let backend = backend().await;
    for mut client in Client::both(&backend).await {
        let response = client.send("/?status=418", "").await.expect("a response");
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
        let response = client
            .send("/?sleep_ms=soon", "")
            .await
            .expect("a response");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(Options::parse("other=x&close=0"), Ok(Options::default()));
    assert!(Options::parse("chunks=0").is_err());
}

#[tokio::test]
async fn a_response_in_chunks_is_in_flight_until_its_last() {
    let backend = backend().await;
    for mut client in Client::both(&backend).await {
        let response = client
            .send("/?bytes=9&chunks=3&gap_ms=20", "")
            .await
            .expect("a head");
        assert_eq!(backend.stats().in_flight, 1);
        let begin = Instant::now();
        let content = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        assert_eq!(content.len(), 9);
        assert!(
            begin.elapsed() >= Duration::from_millis(30),
            "two gaps: {:?}",
            begin.elapsed()
        );
        assert_eq!(
            backend.stats().in_flight,
            0,
            "over before the last byte is sent"
        );
    }
    assert_eq!(backend.stats().served, 2);
}

#[tokio::test]
async fn trailers_arrive() {
    let backend = backend().await;
    let [_, mut http2] = Client::both(&backend).await;
    let response = http2.send("/?trailers=1", "").await.expect("a response");
    let collected = response.into_body().collect().await.expect("a body");
    assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
    assert_eq!(backend.stats().in_flight, 0);
}

#[tokio::test]
async fn abort_breaks_off_after_some_bytes() {
    let backend = backend().await;
    for mut client in Client::both(&backend).await {
        let response = client
            .send("/?bytes=100&abort=1", "")
            .await
            .expect("a head");
        let mut body = response.into_body();
        let first = body.frame().await.expect("a frame").expect("some bytes");
        assert_eq!(first.into_data().expect("data").len(), 50);
        assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
    }
    eventually("both ended", || backend.stats().in_flight == 0).await;
    assert_eq!(backend.stats().served, 0);
}

#[tokio::test]
async fn close_ends_the_connection_and_keep_alive_does_not() {
    let backend = backend().await;
    let mut client = Client::http1(connect(&backend).await).await;
    client.content("/", "").await;
    client.content("/?close=1", "").await;
    assert!(client.send("/", "").await.is_err());
    assert_eq!((backend.stats().served, backend.stats().accepted), (2, 1));
    eventually("closed", || backend.stats().connections == 0).await;
}

#[tokio::test]
async fn early_answers_before_the_body_has_arrived() {
    let backend = backend().await;
    let mut stream = connect(&backend).await;
    let head = "POST /?early=1&bytes=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn an_upgrade_is_in_flight_until_the_tunnel_closes() {
    let backend = backend().await;
    let mut stream = connect(&backend).await;
    let head =
        "GET /?upgrade=1 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a head"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    stream.write_all(b"ping").await.expect("written");
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.expect("an echo");
    assert_eq!(&echoed, b"ping");
    assert_eq!(backend.stats().in_flight, 1);
    drop(stream);
    eventually("tunnel closed", || backend.stats().served == 1).await;
    assert_eq!(backend.stats().in_flight, 0);
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_out() {
    let backend = backend().await;
    let mut stream = connect(&backend).await;
    let head = "GET /?sleep_ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    eventually("started", || backend.stats().in_flight == 1).await;
    drop(stream);
    eventually("cancelled", || backend.stats().in_flight == 0).await;
    let stats = backend.stats();
    assert_eq!(
        (stats.started, stats.served, stats.max_in_flight),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn stats_are_json_and_not_counted() {
    let backend = backend().await;
    let mut client = Client::http1(connect(&backend).await).await;
    client.content("/", "").await;
    let stats = client.content("/__stats", "").await;
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats, backend.stats().to_json());
    assert_eq!(stats["started"], 1);
    assert_eq!(stats["max_connections"], 1);
}

#[tokio::test]
async fn stopping_breaks_off_what_is_in_flight() {
    let backend = backend().await;
    let mut stream = connect(&backend).await;
    let head = "GET /?sleep_ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    eventually("started", || backend.stats().in_flight == 1).await;
    let address = backend.address();
    backend.stop().await;
    let mut rest = Vec::new();
    // An orderly end or a reset: both are an end.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn every_page_of_the_memory_is_resident() {
    const BLOCK_BYTES: u64 = 64 << 20;
    let block = memory::occupy(BLOCK_BYTES);
    assert_eq!(block.len() as u64, BLOCK_BYTES);
    // The mapping that holds the block, whatever else this process does meanwhile.
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("Linux");
    let address = block.as_ptr() as usize;
    let holds = |line: &&str| {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let range = range.map(|(low, high)| [low, high].map(|end| usize::from_str_radix(end, 16)));
        matches!(range, Some([Ok(low), Ok(high)]) if (low..high).contains(&address))
    };
    let resident_kib: u64 = smaps
        .lines()
        .skip_while(|line| !holds(line))
        .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse().ok())
        .expect("a mapping with the block");
    assert!(resident_kib * 1024 >= BLOCK_BYTES, "{resident_kib} KiB");
    drop(block);
}
