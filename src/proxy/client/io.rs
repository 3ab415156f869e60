//! The IO of one client connection that hyper reads and writes.
//!
//! Takes note of what comes in, says why when hyper refuses a head, gives up on a client that does
//! not read or that floods, and keeps a refused upload from destroying its answer.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::proxy::client::Client;
use crate::proxy::client::frame_watch::{FLOOD, FrameWatch, GOAWAY};
use crate::proxy::client::linger::Linger;
use crate::proxy::client::tls::TlsStream;
use crate::proxy::client::wire::Wire;
use crate::telemetry::{ConnectionError, events};

/// The IO that hyper reads and writes.
#[derive(Debug)]
pub(in crate::proxy) struct ClientIo {
    wire: Wire,
    client: Arc<Client>,
    /// What the sniff has read ahead.
    ahead: Bytes,
    write_stall: Duration,
    /// Runs while a write waits for the client to read.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set once hyper shuts the connection down with a body unread.
    linger: Option<Box<Linger>>,
    /// On HTTP/2.
    frames: Option<Box<FrameWatch>>,
}

impl ClientIo {
    pub(in crate::proxy) fn new(
        wire: Wire,
        client: Arc<Client>,
        ahead: Bytes,
        write_stall: Duration,
    ) -> Self {
        if !ahead.is_empty() {
            client.begin_head();
        }
        let frames = client
            .is_h2
            .then(|| Box::new(FrameWatch::new(std::time::Instant::now())));
        Self {
            wire,
            client,
            ahead,
            write_stall,
            stalled: None,
            linger: None,
            frames,
        }
    }

    fn socket(&self) -> &TcpStream {
        self.client.socket()
    }

    /// Whether hyper is about to refuse a head that it cannot read: then it writes, and no request
    /// that it has passed on is unanswered.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        !self.client.is_answering() && !self.client.is_h2 && bytes.starts_with(b"HTTP/1.1 4")
    }

    /// Writes hyper's bare refusal with a reason in it. What a bare socket does not take is lost.
    fn poll_refusal(&mut self, cx: &mut Context<'_>, bare: &[u8]) -> Poll<io::Result<usize>> {
        let said = with_reason(bare);
        match self.poll_session(cx, |session, cx| session.poll_write(cx, &said)) {
            Some(written) => drop(ready!(written)?),
            None => self.client.write_raw(&said),
        }
        self.client.note_refused_head();
        Poll::Ready(Ok(bare.len()))
    }

    /// Writes as soon as the socket takes something, and gives up on a client that does not read.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.socket().poll_write_ready(cx)?.is_pending() {
                return self.poll_stalled(cx);
            }
            match write(self.socket()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.unstall();
                    return Poll::Ready(written);
                }
            }
        }
    }

    /// The same through a session, which takes more than it sends: what counts is what the kernel
    /// has taken of it.
    fn poll_session<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TlsStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Option<Poll<io::Result<T>>> {
        let Wire::Tls(session) = &mut self.wire else {
            return None;
        };
        let before = session.get_ref().0.written();
        let polled = poll(Pin::new(session), cx);
        let (socket, tls) = session.get_ref();
        if socket.written() != before || !tls.wants_write() {
            self.unstall();
        }
        Some(match polled {
            Poll::Pending => self.poll_stalled(cx),
            ready @ Poll::Ready(_) => ready,
        })
    }

    /// Cuts off a client that floods. What does not fit of the goodbye is lost.
    fn end_flood(&mut self, cx: &mut Context<'_>, read: &[u8]) -> io::Result<()> {
        let Some(watch) = &mut self.frames else {
            return Ok(());
        };
        if watch.admits(read, std::time::Instant::now) {
            return Ok(());
        }
        if watch.is_between_frames() {
            match self.poll_session(cx, |session, cx| session.poll_write(cx, &GOAWAY)) {
                Some(_) => {
                    let _ = self.poll_session(cx, TlsStream::poll_flush);
                }
                None => self.client.write_raw(&GOAWAY),
            }
        }
        Err(io::Error::other(FLOOD))
    }

    /// Takes note of what was written of these.
    fn note_written(&mut self, bufs: &[io::IoSlice<'_>], written: &Poll<io::Result<usize>>) {
        let (Some(watch), Poll::Ready(Ok(written))) = (&mut self.frames, written) else {
            return;
        };
        let (mut left, mut is_progress, mut malformed) = (*written, false, 0);
        for buf in bufs {
            let part = left.min(buf.len());
            let found = watch.note_written(&buf[..part]);
            is_progress |= found.is_progress;
            malformed += found.malformed;
            left -= part;
        }
        self.client.signs.note_sent(is_progress, watch.is_sending());
        let telemetry = self.client.place.telemetry();
        for _ in 0..malformed {
            let detail = "a stream was reset as malformed";
            events::connection_error(
                telemetry,
                ConnectionError::H2,
                Some(self.client.peer),
                &detail,
                &[],
            );
        }
    }

    /// Something was written.
    fn unstall(&mut self) {
        if self.stalled.take().is_some() {
            self.client.set_stalled(false);
        }
    }

    fn poll_stalled<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let client = &self.client;
        let stalled = self.stalled.get_or_insert_with(|| {
            client.set_stalled(true);
            Box::pin(tokio::time::sleep_until(Instant::now() + self.write_stall))
        });
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, WRITE_STALL)))
    }
}

/// hyper's bare refusal, with its reason.
fn with_reason(bare: &[u8]) -> Vec<u8> {
    let rule = match bare.get(9..12).unwrap_or_default() {
        b"414" => "target_length",
        b"431" => "too_large",
        _ => "parse",
    };
    let line_end = bare.iter().position(|byte| *byte == b'\n');
    let (line, rest) = bare.split_at(line_end.map_or(0, |end| end + 1));
    let reason = format!("proxy-status: weir; error=http_request_error; details=\"{rule}\"\r\n");
    [line, reason.as_bytes(), rest].concat()
}

/// What the IO error of a client that does not read says.
pub(in crate::proxy) const WRITE_STALL: &str = "the client does not read (timeouts.write_stall)";

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let part = self.ahead.len().min(buf.remaining());
            let taken = self.ahead.split_to(part);
            self.client.note_last(&taken);
            self.client.scan_read(&taken, false);
            self.end_flood(cx, &taken)?;
            buf.put_slice(&taken);
            if self.ahead.is_empty() {
                // An empty rest would still hold the whole buffer.
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        if let Wire::Tls(session) = &mut this.wire
            && let Some(words) = this.client.take_last_words()
        {
            let mut session = Pin::new(&mut **session);
            // What does not fit is lost.
            let _ = session.as_mut().poll_write(cx, words);
            let _ = session.poll_shutdown(cx);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.client.note_read(&buf.filled()[before..]);
            self.end_flood(cx, &buf.filled()[before..])?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_refusal(buf) {
            return self.poll_refusal(cx, buf);
        }
        let polled = match self.poll_session(cx, |session, cx| session.poll_write(cx, buf)) {
            Some(polled) => polled,
            None => self.poll_write_with(cx, |socket| socket.try_write(buf)),
        };
        self.note_written(&[io::IoSlice::new(buf)], &polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [first, ..] = bufs
            && self.is_refusal(first)
        {
            let said: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            return self.poll_refusal(cx, &said);
        }
        let polled =
            match self.poll_session(cx, |session, cx| session.poll_write_vectored(cx, bufs)) {
                Some(polled) => polled,
                None => self.poll_write_with(cx, |socket| match bufs {
                    // The kernel takes a while longer for a list, even of one.
                    [one] => socket.try_write(one),
                    _ => socket.try_write_vectored(bufs),
                }),
            };
        self.note_written(bufs, &polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.note_flushed();
        if let Some(watch) = &mut self.frames {
            // h2 flushes once everything that it had made is written.
            watch.note_flushed();
        }
        let polled = self.poll_session(cx, TlsStream::poll_flush);
        polled.unwrap_or(Poll::Ready(Ok(())))
    }

    /// Half-closes, a session with its goodbye first; with a body unread it then lingers, or the
    /// kernel would answer the bytes still coming with a reset that destroys the response on its way.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(linger) = &mut this.linger {
            return linger.poll(this.wire.raw(), cx).map(Ok);
        }
        if let Wire::Tls(session) = &mut this.wire
            && let Some(words) = this.client.take_last_words()
        {
            // What does not fit is lost.
            let _ = Pin::new(&mut **session).poll_write(cx, words);
        }
        let closed = match this.poll_session(cx, TlsStream::poll_shutdown) {
            Some(polled) => ready!(polled),
            None => socket2::SockRef::from(this.socket()).shutdown(Shutdown::Write),
        };
        if closed.is_err() || !this.client.is_upload_open() {
            return Poll::Ready(Ok(()));
        }
        let linger = this.linger.insert(Box::new(Linger::new()));
        linger.poll(this.wire.raw(), cx).map(Ok)
    }
}
