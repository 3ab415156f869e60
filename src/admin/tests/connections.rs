//! Connections are kept for a while, and nobody can hold the port with them.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::port::{Port, within};

async fn connect(at: SocketAddr) -> TcpStream {
    TcpStream::connect(at).await.expect("accepted")
}

/// One more `/livez` on a connection that stays open.
async fn ask(stream: &mut TcpStream) {
    let ask = b"GET /livez HTTP/1.1\r\nhost: weir\r\n\r\n";
    stream.write_all(ask).await.expect("sent");
    let mut answer = [0; 15];
    within(stream.read_exact(&mut answer))
        .await
        .expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    while !answer.ends_with(b"ok\n") {
        answer.rotate_left(1);
        within(stream.read_exact(&mut answer[14..]))
            .await
            .expect("the rest");
    }
}

async fn assert_closed(stream: &mut TcpStream) {
    let end = within(stream.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "closed");
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nhost: weir\r\n\r\n";

/// One that can hold little, so that what is not read soon stands.
async fn connect_small(at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.set_send_buffer_size(4096).expect("a small buffer");
    socket.connect(at).await.expect("accepted")
}

#[tokio::test]
async fn connections_are_kept_and_a_newcomer_takes_the_place_of_the_oldest() {
    let port = Port::open().await;
    let mut kept = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(port.at).await;
        ask(&mut stream).await;
        ask(&mut stream).await;
        kept.push(stream);
    }
    let mut late = connect(port.at).await;
    ask(&mut late).await;
    assert_closed(&mut kept.remove(0)).await;
    for stream in &mut kept {
        ask(stream).await;
    }
    port.close().await;
    for stream in &mut kept {
        assert_closed(stream).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_five_seconds() {
    let port = Port::open().await;
    let (mut silent, mut idle) = (connect(port.at).await, connect(port.at).await);
    ask(&mut idle).await;
    let begun = Instant::now();
    assert_closed(&mut silent).await;
    assert_closed(&mut idle).await;
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4), "{took:?}");
    port.close().await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_cut_off_after_five_seconds() {
    let port = Port::open().await;
    let stream = connect_small(port.at).await;
    let begun = Instant::now();
    let scrapes = SCRAPE.repeat(100);
    // Takes requests until its answers stand, and then none until the end.
    loop {
        within(stream.writable()).await.expect("it can be told");
        match stream.try_write(scrapes.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4), "{took:?}");
    port.close().await;
}

#[tokio::test]
async fn liveness_is_answered_whoever_else_is_connected() {
    let port = Port::open().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect(port.at).await);
    }
    let mut deaf = Vec::new();
    for _ in 0..64 {
        let stream = connect_small(port.at).await;
        // What does not fit is not sent: this client does nothing but hold.
        let _ = stream.try_write(SCRAPE.repeat(400).as_bytes());
        deaf.push(stream);
    }
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(port.ask(Method::GET, "/livez").await.status, 200);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    for stream in &mut idle {
        assert_closed(stream).await;
    }
    port.close().await;
}
