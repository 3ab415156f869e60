//! An HTTP/1.1 connection, lent to one request at a time and **driven by the request that has it**.
//!
//! hyper's connection is a future that somebody must poll. In a task of its own it would cost every
//! request a change of tasks for its head, one for the response's, and one for each piece of body.
//! So the request polls it along with what it waits for, and what it waits for can become ready by
//! nothing else: it is polled after the connection, with a waker that wakes nobody. In the pool
//! nobody polls a connection; whoever takes one out looks whether it is still of use.
//!
//! A connection moves to a task only when both directions go on at their own pace: under a tunnel,
//! and when a response begins before its upload has ended. It does not come back from there.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::bell::Bell;
use super::socket;
use crate::proxy::forward::upload::Upload;
use crate::proxy::settings::Settings;
use crate::proxy::upstream::pool::Room;

/// hyper's read buffer for one response head; the backend is trusted with as much as a client.
const HEAD_BUFFER: usize = 64 << 10;

/// How often a connection is looked at that is to be flushed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A connection.
#[derive(Debug)]
pub(in crate::proxy) struct Http1 {
    sender: SendRequest<Upload>,
    driver: Driver,
    bell: Bell,
    /// The socket's.
    room: Weak<Room>,
    /// Whether the socket had no room for what was to be written last.
    is_blocked: Arc<AtomicBool>,
    /// Whether it has carried a request before, so that the backend may have closed it since.
    pub(in crate::proxy) is_reused: bool,
    pub(in crate::proxy) idle_since: Instant,
}

/// Who polls a connection.
enum Driver {
    /// Whoever has it.
    Holder(Connection),
    /// A task of its own.
    Task(JoinHandle<()>),
    /// Nobody: it has ended, and its socket is closed.
    Ended,
}

/// hyper's, whose type with upgrades has no name outside hyper.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Connects and shakes hands.
pub(in crate::proxy) async fn connect(settings: &Settings, room: Room) -> io::Result<Http1> {
    let room = Arc::new(room);
    let weak = Arc::downgrade(&room);
    let socket = socket::connect(&settings.upstream.address, room).await?;
    let is_blocked = socket.is_blocked();
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BUFFER)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(io::Error::other)?;
    Ok(Http1 {
        sender,
        driver: Driver::Holder(Box::pin(connection.with_upgrades())),
        bell: Bell::new(),
        room: weak,
        is_blocked,
        is_reused: false,
        idle_since: Instant::now(),
    })
}

impl Http1 {
    /// Hands a request over. It is on its way once the answer is [awaited](Self::drive).
    pub(in crate::proxy) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<>
    {
        let sent = Bell::while_still(|| self.sender.try_send_request(request));
        // It may not be told to come back later, for nobody would call it.
        tokio::task::unconstrained(sent)
    }

    /// Drives the connection until what comes out of it is there.
    pub(in crate::proxy) fn drive<'a, F: Future>(
        &'a mut self,
        mut answer: Pin<&'a mut F>,
    ) -> impl Future<Output = F::Output> + Unpin + 'a {
        std::future::poll_fn(move |cx| {
            self.poll(cx);
            Bell::while_still(|| answer.as_mut().poll(&mut nobody()))
        })
    }

    /// Drives the connection as far as the next frame of a response needs it.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<bytes::Bytes>>>> {
        let mut body = Pin::new(body);
        if !matches!(self.driver, Driver::Holder(_)) {
            return body.poll_frame(cx);
        }
        let frame = Bell::while_still(|| body.as_mut().poll_frame(&mut nobody()));
        if frame.is_ready() {
            return frame;
        }
        self.poll(cx);
        Bell::while_still(|| body.poll_frame(&mut nobody()))
    }

    /// Whether the next request can be sent on it. Looks at the socket, so that a backend that has
    /// closed it, or has said something unasked, is noticed.
    pub(in crate::proxy) fn is_usable(&mut self) -> bool {
        self.poll(&mut nobody());
        self.is_at_rest()
    }

    /// Whether the exchange on it is over, and it was still open when it was polled last.
    pub(in crate::proxy) fn is_at_rest(&self) -> bool {
        matches!(self.driver, Driver::Holder(_)) && self.sender.is_ready()
    }

    /// Goes on without its holder from now on.
    pub(in crate::proxy) fn go_on_alone(&mut self) {
        self.driver = match std::mem::replace(&mut self.driver, Driver::Ended) {
            Driver::Holder(connection) => Driver::Task(tokio::spawn(async move {
                report(connection.await);
            })),
            other => other,
        };
    }

    /// Counts no longer among the pool's connections.
    pub(in crate::proxy) fn vacate(&self) {
        if let Some(room) = self.room.upgrade() {
            room.vacate();
        }
    }

    /// Whether something of a request still waits to be written until the backend reads.
    pub(in crate::proxy) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// Cuts the connection and resolves once its socket is closed. What waits to be written gets so
    /// much time before.
    pub(in crate::proxy) async fn cut(self, flush: Duration) {
        if let Driver::Task(task) = self.driver {
            let until = Instant::now() + flush;
            while self.is_blocked.load(Ordering::Relaxed)
                && !task.is_finished()
                && Instant::now() < until
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            task.abort();
            // An error says that it was aborted, or had panicked; it is over in both cases.
            let _ = task.await;
        }
    }

    /// Whether dropping it closes its socket at once.
    pub(in crate::proxy) fn ends_by_drop(&self) -> bool {
        !matches!(self.driver, Driver::Task(_))
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Driver::Holder(connection) = &mut self.driver
            && let Poll::Ready(ended) = connection
                .as_mut()
                .poll(&mut self.bell.rings_for(cx.waker()))
        {
            report(ended);
            self.driver = Driver::Ended;
        }
    }
}

/// What a connection ends with shows at the request that was on it.
fn report(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "an upstream connection ended");
    }
}

/// For what only the connection makes ready: it is asked again after the connection was polled.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Holder(_) => "Holder",
            Self::Task(_) => "Task",
            Self::Ended => "Ended",
        })
    }
}
