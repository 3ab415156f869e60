//! What is known of the client at the other end of a connection, and whether it is still there.
//!
//! **hyper does not look at a socket while a request body is unread**, so a client that hung up would keep
//! its place in the queue. The second handle sees the FIN or reset behind unread bytes, by the
//! reactor's readiness alone: no system call, no unsafe code.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Sleep, sleep};

use crate::proxy::client::parting::Signs;
use crate::proxy::client::place::Place;
use crate::proxy::client::stall::Pulse;
use crate::proxy::client::tls::TlsPeer;
use crate::proxy::head::scan::{Flaw, Scan};

/// How soon a departure is noticed that unread bytes hide: half of what is promised.
const LOOK_AGAIN: Duration = Duration::from_millis(125);

/// Between requests.
const IDLE: u8 = 0;
/// Some bytes of a head have come.
const HEAD: u8 = 1;
/// A request is being served.
const BUSY: u8 = 2;

/// What is known of the client at the other end of one connection.
#[derive(Debug)]
pub(in crate::proxy) struct Client {
    /// Where it connects from.
    pub(in crate::proxy) peer: SocketAddr,
    /// Its address as a header value, made once.
    pub(in crate::proxy) peer_ip: HeaderValue,
    /// Whether it speaks HTTP/2.
    pub(in crate::proxy) is_h2: bool,
    /// Who it is by its certificate; `None` without TLS.
    pub(in crate::proxy) tls: Option<Box<TlsPeer>>,
    /// `None` only while it is dropped.
    socket: Option<OwnedWriteHalf>,
    /// Its close is to be a reset.
    is_reset: AtomicBool,
    /// Given up when the last who knows the client lets go: a tunnel outlives its connection.
    pub(in crate::proxy) place: Place,
    stage: AtomicU8,
    /// Requests in progress: more than one only on HTTP/2.
    active: AtomicU32,
    /// Requests that have begun on this connection.
    begun: AtomicU32,
    /// A look at what hyper reads, on HTTP/1.
    scan: Mutex<Scan>,
    /// In which request hyper will mend something, and what.
    flaw: OnceLock<(u32, Flaw)>,
    /// How the head begins that hyper refused by itself.
    refused_head: OnceLock<Box<[u8]>>,
    /// A request has begun whose answer is not flushed yet.
    is_answering: AtomicBool,
    /// Something waits to be written until it reads.
    is_stalled: AtomicBool,
    /// What comes are no requests any more.
    is_tunnel: AtomicBool,
    /// When the last request ended, or the connection began; in ms since the proxy's start.
    ended_at: AtomicU64,
    /// It is to go: its connection has grown old.
    is_leaving: AtomicBool,
    /// A request's body has not been read to its end, so closing at once could destroy the answer.
    upload_open: AtomicBool,
    /// Bytes came after the end of the request that is being served: of the next one's head.
    head_ahead: AtomicBool,
    /// The last four bytes that were read.
    last_read: AtomicU32,
    /// The watch over the stream whose service was called last, on its way to the executor.
    next_pulse: Mutex<Option<Arc<Pulse>>>,
    /// Runs on between requests.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
    /// What a session is to end with, past hyper.
    last_words: Mutex<Option<&'static [u8]>>,
    /// On HTTP/2.
    pub(in crate::proxy) signs: Signs,
}

impl Client {
    pub(in crate::proxy) fn new(
        peer: SocketAddr,
        socket: OwnedWriteHalf,
        is_h2: bool,
        tls: Option<Box<TlsPeer>>,
        place: Place,
        now_millis: u64,
    ) -> Self {
        let peer_ip = HeaderValue::try_from(peer.ip().to_canonical().to_string())
            .expect("an address is a valid header value");
        Self {
            peer,
            peer_ip,
            is_h2,
            tls,
            socket: Some(socket),
            is_reset: AtomicBool::new(false),
            place,
            stage: AtomicU8::new(IDLE),
            active: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            scan: Mutex::default(),
            flaw: OnceLock::new(),
            refused_head: OnceLock::new(),
            is_answering: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
            ended_at: AtomicU64::new(now_millis),
            is_leaving: AtomicBool::new(false),
            upload_open: AtomicBool::new(false),
            head_ahead: AtomicBool::new(false),
            last_read: AtomicU32::new(0),
            next_pulse: Mutex::new(None),
            timer: Mutex::new(None),
            last_words: Mutex::new(None),
            signs: Signs::default(),
        }
    }

    /// A request's head is complete.
    pub(in crate::proxy) fn begin_request(&self) {
        self.stage.store(BUSY, Ordering::Relaxed);
        self.head_ahead.store(false, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.is_answering.store(true, Ordering::Relaxed);
    }

    /// Its response has been handed to hyper to the end.
    pub(in crate::proxy) fn end_request(&self, now_millis: u64) {
        self.ended_at.store(now_millis, Ordering::Relaxed);
        if self.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            let is_next_begun = self.head_ahead.load(Ordering::Relaxed);
            let stage = if is_next_begun { HEAD } else { IDLE };
            self.stage.store(stage, Ordering::Relaxed);
        }
    }

    /// Whether a head has begun to arrive and is not complete.
    pub(in crate::proxy) fn is_sending_head(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == HEAD
    }

    /// Since when no request has been in progress or on its way, in ms since the proxy's start.
    pub(in crate::proxy) fn idle_since(&self) -> Option<u64> {
        let is_idle = self.active.load(Ordering::Relaxed) == 0 && !self.is_sending_head();
        is_idle.then(|| self.ended_at.load(Ordering::Relaxed))
    }

    /// Whether a request has ever begun here.
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Looks at what hyper is about to read, which is the begin of a head if nothing was under way.
    pub(in crate::proxy) fn scan_read(&self, read: &[u8], is_idle: bool) {
        if self.is_h2 {
            return;
        }
        let mut scan = self.scan.lock().expect("nothing panics under it");
        if self.is_tunnel.load(Ordering::Relaxed) {
            return scan.stop();
        }
        let begun = is_idle.then(|| self.begun.load(Ordering::Relaxed));
        if let Some(flaw) = scan.note(read, begun) {
            // Nothing is served behind the first.
            let _ = self.flaw.set(flaw);
        }
    }

    /// What hyper has mended in the request that has just begun, as far as it has been looked at.
    pub(in crate::proxy) fn flaw(&self) -> Option<Flaw> {
        let (number, flaw) = self.flaw.get()?;
        (*number == self.begun.load(Ordering::Relaxed)).then_some(*flaw)
    }

    /// The same after a look at everything that has come: for requests with a body.
    pub(in crate::proxy) fn flaw_of_framed(&self) -> Option<Flaw> {
        if self.is_h2 {
            return None;
        }
        let mut scan = self.scan.lock().expect("nothing panics under it");
        if let Some(flaw) = scan.settle() {
            let _ = self.flaw.set(flaw);
        }
        self.flaw()
    }

    /// Whether hyper has an answer to write, as far as requests go that it has passed on.
    pub(in crate::proxy) fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Relaxed)
    }

    /// Everything that hyper had to write is written.
    pub(in crate::proxy) fn note_flushed(&self) {
        if self.active.load(Ordering::Relaxed) == 0 {
            self.is_answering.store(false, Ordering::Relaxed);
        }
    }

    /// hyper refuses the head that has come last, and more of it may come.
    pub(in crate::proxy) fn note_refused_head(&self) {
        let mut scan = self.scan.lock().expect("nothing panics under it");
        scan.settle();
        let _ = self.refused_head.set(scan.excerpt().into());
        self.set_upload_open(true);
    }

    /// How the head began that hyper refused.
    pub(in crate::proxy) fn refused_head(&self) -> &[u8] {
        self.refused_head.get().map_or(&[], |head| head)
    }

    /// From now on no requests come.
    pub(in crate::proxy) fn begin_tunnel(&self) {
        self.is_tunnel.store(true, Ordering::Relaxed);
    }

    /// The timer of the last who waited for the backend on behalf of this client.
    pub(in crate::proxy) fn take_timer(&self) -> Option<Pin<Box<Sleep>>> {
        self.timer.lock().expect("nothing panics under it").take()
    }

    /// Keeps it for the next: setting up a timer with each request would cost more than all that
    /// is waited for.
    pub(in crate::proxy) fn keep_timer(&self, timer: Pin<Box<Sleep>>) {
        *self.timer.lock().expect("nothing panics under it") = Some(timer);
    }

    /// From now on responses tell it to go.
    pub(in crate::proxy) fn set_leaving(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Whether responses tell it to go.
    pub(in crate::proxy) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Makes the close of its connection a reset, which nobody takes for the end of a response.
    pub(in crate::proxy) fn reset_at_close(&self) {
        // A socket that is gone already needs no reset.
        let _ = socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
        self.is_reset.store(true, Ordering::Relaxed);
    }

    /// The second handle to the socket.
    pub(in crate::proxy) fn socket(&self) -> &TcpStream {
        self.socket
            .as_ref()
            .expect("taken only by the drop")
            .as_ref()
    }

    /// The request that has begun has no body: what was read beyond its head is the next one's.
    pub(in crate::proxy) fn begin_without_body(&self) {
        if self.is_h2 {
            return;
        }
        let last = self.last_read.load(Ordering::Relaxed).to_be_bytes();
        let is_all = last.ends_with(b"\n\r\n") || last.ends_with(b"\n\n");
        self.head_ahead.store(!is_all, Ordering::Relaxed);
    }

    /// The first bytes of a head have come. On HTTP/2 they may be of anything.
    pub(in crate::proxy) fn begin_head(&self) {
        if self.is_h2 {
            return;
        }
        self.stage.store(HEAD, Ordering::Relaxed);
    }

    /// Bytes of a new head start its clock; at once, or when the request before it is over.
    pub(in crate::proxy) fn note_read(&self, read: &[u8]) {
        let stage = self.stage.load(Ordering::Relaxed);
        self.signs.note_read();
        self.scan_read(read, stage == IDLE);
        match stage {
            IDLE => self.begin_head(),
            BUSY if !self.is_h2 && !self.is_upload_open() => {
                self.head_ahead.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        self.note_last(read);
    }

    /// Remembers how what was read ends.
    pub(in crate::proxy) fn note_last(&self, read: &[u8]) {
        let tail = &read[read.len().saturating_sub(4)..];
        let joined = tail
            .iter()
            .fold(self.last_read.load(Ordering::Relaxed), |last, byte| {
                last << 8 | u32::from(*byte)
            });
        self.last_read.store(joined, Ordering::Relaxed);
    }

    /// Whether a request body is left unread.
    pub(in crate::proxy) fn is_upload_open(&self) -> bool {
        self.upload_open.load(Ordering::Relaxed)
    }

    /// Says whether a request body is left unread.
    pub(in crate::proxy) fn set_upload_open(&self, open: bool) {
        self.upload_open.store(open, Ordering::Relaxed);
    }

    pub(in crate::proxy) fn leave_pulse(&self, pulse: Arc<Pulse>) {
        *self.next_pulse.lock().expect("nothing panics under it") = Some(pulse);
    }

    pub(in crate::proxy) fn take_pulse(&self) -> Option<Arc<Pulse>> {
        self.next_pulse
            .lock()
            .expect("nothing panics under it")
            .take()
    }

    /// Whether the client has closed or reset its side, as far as the reactor knows by now.
    /// On HTTP/2 always false: there hyper reads all the time and sees it itself.
    pub(in crate::proxy) fn is_gone(&self) -> bool {
        if self.is_h2 {
            return false;
        }
        let ready = pin!(self.socket().ready(Interest::READABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Resolves when the client has closed or reset its side.
    pub(in crate::proxy) async fn gone(&self) {
        if self.is_h2 {
            return std::future::pending().await;
        }
        while let Ok(ready) = self.socket().ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether something waits to be written until the client reads.
    pub(in crate::proxy) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Says whether something waits to be written until the client reads.
    pub(in crate::proxy) fn set_stalled(&self, stalled: bool) {
        self.is_stalled.store(stalled, Ordering::Relaxed);
    }

    /// Writes past hyper, where hyper has nothing to say any more. What does not fit is lost. A
    /// session's words are left for the next read, which then finds its end.
    pub(in crate::proxy) fn write_past(&self, bytes: &'static [u8]) {
        if self.tls.is_some() {
            *self.last_words.lock().expect("nothing panics under it") = Some(bytes);
        } else {
            self.write_raw(bytes);
        }
    }

    /// Writes what fits to the socket; never into the middle of what hyper has said.
    pub(in crate::proxy) fn write_raw(&self, bytes: &[u8]) {
        if !self.is_stalled() {
            let _ = self.socket().try_write(bytes);
        }
    }

    /// What a session is to end with.
    pub(in crate::proxy) fn take_last_words(&self) -> Option<&'static [u8]> {
        (self.last_words.lock().expect("nothing panics under it")).take()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.is_reset.load(Ordering::Relaxed)
            && let Some(socket) = self.socket.take()
        {
            // Or it would be shut down first, which looks like a clean end.
            socket.forget();
        }
    }
}
