//! A message that one side breaks off never looks whole to the other, also when the stream that
//! carried it is reset with `NO_ERROR`, which hyper takes for its end.

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::support::client::{Client, get};
use super::support::raw::RawBackend;
use super::support::{Setup, Weir};

/// Fails when such an upload is passed on as complete (tried): the backend gets a last chunk.
#[tokio::test]
async fn an_upload_that_is_reset() {
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let (ended, mut has_ended) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut raw, _| {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            raw.try_head().await.expect("a head");
            raw.take(b"4\r\nhalf\r\n".len()).await;
            begun.send(()).expect("the test waits");
            ended.send(raw.rest().await).expect("the test waits");
        }
    })
    .await;
    let weir = Setup::to(&backend.upstream(), 1).start().await;

    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        let mut upload = upload(&weir).await;
        has_begun.recv().await.expect("half of it");
        upload.send_reset(reason);
        let rest = has_ended.recv().await.expect("an end");
        assert_eq!(rest, b"", "{reason:?}");
    }
    weir.assert_at_rest(2).await;
    assert_eq!(weir.outcome("cancelled").await, 2);
}

/// An HTTP/2 upload that has begun.
async fn upload(weir: &Weir) -> h2::SendStream<Bytes> {
    let socket = TcpStream::connect(weir.data).await.expect("it listens");
    let (client, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut client = client.ready().await.expect("room for a stream");
    let request = Request::post("http://test/").body(()).expect("a request");
    let (_, mut upload) = client.send_request(request, false).expect("a stream");
    upload.send_data("half".into(), false).expect("a window");
    upload
}

/// Fails when such a response is passed on as complete (tried).
#[tokio::test]
async fn a_response_that_is_reset() {
    for reason in [Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let upstream = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("weir comes");
            let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
            let mut responses = Vec::new();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut response = respond
                    .send_response(Response::new(()), false)
                    .expect("a stream");
                response
                    .send_data(Bytes::from_static(b"half"), false)
                    .expect("a window");
                response.reserve_capacity(1);
                responses.push(tokio::spawn(async move {
                    // Gone once what was sent before has left.
                    std::future::poll_fn(|cx| response.poll_capacity(cx)).await;
                    response.send_reset(reason);
                }));
            }
        });
        let weir = Setup::to(&upstream, 1)
            .set("upstream_protocol", "http2")
            .start()
            .await;
        for is_h2 in [false, true] {
            let mut client = Client::of(is_h2, weir.data).await;
            let whole = match client.send(get("/")).await {
                Ok(response) => response.into_body().collect().await.map(|_| ()),
                Err(error) => Err(error),
            };
            assert!(whole.is_err(), "{reason:?}, h2: {is_h2}");
        }
        weir.assert_at_rest(2).await;
        assert_eq!(weir.outcome("failed").await, 2, "{reason:?}");
    }
}
