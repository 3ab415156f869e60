//! HTTP clients of both protocols, for tests that want whole answers and open streams.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::SOON;

/// What is sent: given whole, or piece by piece through a channel.
pub(crate) enum Content {
    Whole(Option<Bytes>),
    Pieces(mpsc::UnboundedReceiver<Bytes>),
}

impl Content {
    pub(crate) fn none() -> Self {
        Self::Whole(None)
    }

    /// An upload that is open until the sender is dropped.
    pub(crate) fn pieces() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self::Pieces(receiver))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}

/// A connection of either protocol; on HTTP/2 clones share it.
pub(crate) enum Client {
    Http1(http1::SendRequest<Content>),
    Http2(http2::SendRequest<Content>),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) async fn http1(to: SocketAddr) -> Self {
        let (sender, connection) = http1::handshake(io(to).await).await.expect("h1");
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2(to: SocketAddr) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io(to).await)
            .await
            .expect("h2");
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    pub(crate) async fn of(is_h2: bool, to: SocketAddr) -> Self {
        if is_h2 {
            Self::http2(to).await
        } else {
            Self::http1(to).await
        }
    }

    /// Another handle to the same HTTP/2 connection.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Http2(sender) => Self::Http2(sender.clone()),
            Self::Http1(_) => panic!("an HTTP/1.1 connection has one user"),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// The same, but `None` where nothing of the request was sent: the connection was on its way
    /// out, and any client would take another one.
    pub(crate) async fn answer_unless_told_to_go(
        &mut self,
        mut request: Request<Content>,
    ) -> Option<hyper::Result<Answer>> {
        let sent = match self {
            Self::Http1(sender) => {
                sender.ready().await.ok()?;
                let headers = request.headers_mut();
                headers.insert("host", http::HeaderValue::from_static("test"));
                sender.try_send_request(request).await
            }
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await.ok()?;
                let uri = format!("http://test{}", request.uri());
                *request.uri_mut() = uri.parse().expect("a path");
                sender.try_send_request(request).await
            }
        };
        match sent {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let body = body.collect().await;
                Some(body.map(|body| Answer {
                    status: head.status,
                    headers: head.headers,
                    body: body.to_bytes(),
                }))
            }
            Err(mut error) => match error.take_message() {
                Some(_unsent) => None,
                None => Some(Err(error.into_error())),
            },
        }
    }

    /// Sends, and waits for the response head.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Content>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                let headers = request.headers_mut();
                headers.insert("host", http::HeaderValue::from_static("test"));
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                let uri = format!("http://test{}", request.uri());
                *request.uri_mut() = uri.parse().expect("a path");
                sender.send_request(request).await
            }
        }
    }

    /// A whole answer, in time.
    pub(crate) async fn answer(&mut self, request: Request<Content>) -> hyper::Result<Answer> {
        let whole = async {
            let (head, body) = self.send(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        timeout(SOON * 12, whole).await.expect("an answer in time")
    }

    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<Answer> {
        self.answer(get(path)).await
    }
}

pub(crate) fn get(path: &str) -> Request<Content> {
    Request::get(path).body(Content::none()).expect("a path")
}

pub(crate) fn post(path: &str, body: Content) -> Request<Content> {
    Request::post(path).body(body).expect("a path")
}

async fn io(to: SocketAddr) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(to).await.expect("it listens");
    stream.set_nodelay(true).expect("a connected socket");
    TokioIo::new(stream)
}
