//! The gate as a tower layer: a permit is held to the end of a response's body, and rejects are
//! answered.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;
use weir::admission::{Budget, ClassId, Discipline, RejectReason};
use weir::gate::{Ask, Cost, Gate, Permit, Rules};
use weir::tower::{GateError, GateLayer, GateService};

use super::support::client::Client;
use super::support::{SOON, on_threads};

const MINUTE: Duration = Duration::from_secs(60);

fn gate(permits: u32, max_wait: Duration) -> Gate {
    let budget = Budget::of_permits(permits).expect("more than no permit");
    Gate::new(budget, Rules::of_one_class(max_wait, Discipline::Fifo))
}

async fn only_permit(gate: &Gate) -> Permit {
    gate.admit(Cost::Task).await.expect("it is free")
}

async fn until(gate: &Gate, in_flight: u32, queued: u32) {
    let figures = || (gate.snapshot().in_flight, gate.snapshot().queued);
    let reached = async {
        while figures() != (in_flight, queued) {
            tokio::task::yield_now().await;
        }
    };
    let reached = timeout(SOON, reached).await;
    reached.unwrap_or_else(|_| panic!("{:?}, not {:?}", figures(), (in_flight, queued)));
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken on purpose")]
struct Broken;

/// A body of the frames that are sent to it; of a known length if it is given one.
#[derive(Debug)]
struct Frames {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, Broken>>,
    left: Option<usize>,
}

type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, Broken>>;

impl Frames {
    fn new(length: Option<usize>) -> (Sender, Self) {
        let (sender, frames) = mpsc::unbounded_channel();
        let left = length;
        (sender, Self { frames, left })
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = self.frames.poll_recv(cx);
        if let (Some(left), Poll::Ready(Some(Ok(frame)))) = (&mut self.left, &frame) {
            *left -= frame.data_ref().map_or(0, Bytes::len);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = SizeHint::with_exact;
        self.left
            .map_or_else(SizeHint::default, |left| hint(left as u64))
    }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// A service of this function. It must be made ready before each call, as some must, and never is
/// at the first look.
struct Of<F> {
    answer: F,
    looks: u32,
}

fn of<F>(answer: F) -> Of<F> {
    Of { answer, looks: 0 }
}

impl<F: Clone> Clone for Of<F> {
    fn clone(&self) -> Self {
        of(self.answer.clone())
    }
}

impl<F, W, D, E> Service<Request<()>> for Of<F>
where
    F: Fn(Request<()>) -> W,
    W: Future<Output = Result<Response<D>, E>>,
{
    type Response = Response<D>;
    type Error = E;
    type Future = W;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.looks += 1;
        if self.looks == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> W {
        assert!(self.looks > 1, "called before it was ready");
        (self.answer)(request)
    }
}

fn request() -> Request<()> {
    Request::new(())
}

fn grpc() -> Request<()> {
    let mut request = request();
    let kind = "application/grpc+proto".parse().expect("a value");
    request.headers_mut().insert("content-type", kind);
    request
}

async fn empty(_: Request<()>) -> Result<Response<Empty<Bytes>>, Infallible> {
    Ok(Response::default())
}

async fn text(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new("text".into()))
}

/// A service whose responses have the bodies that are put into the channel.
fn streams(
    gate: &Gate,
) -> (
    mpsc::UnboundedSender<Frames>,
    impl Service<
        Request<()>,
        Response = Response<impl Body<Data = Bytes, Error = Broken> + Unpin>,
        Error = Infallible,
    >,
) {
    let (bodies, next) = mpsc::unbounded_channel();
    let next = Arc::new(tokio::sync::Mutex::new(next));
    let service = of(move |_| {
        let next = next.clone();
        async move {
            let body = next.lock().await.recv().await;
            Ok::<_, Infallible>(Response::new(body.expect("one for each request")))
        }
    });
    (bodies, GateLayer::new(gate.clone()).layer(service))
}

/// However a body ends, the permit is held until then and not longer.
///
/// Fails when the permit is let go of with the response's head (tried).
#[tokio::test]
async fn the_permit_lives_to_the_end_of_the_body() {
    let gate = gate(1, MINUTE);
    let (bodies, mut service) = streams(&gate);
    for (length, ends_by) in [
        (None, "its end"),
        (Some(8), "its length"),
        (None, "trailers"),
        (None, "an error"),
        (None, "a drop"),
    ] {
        let (frames, body) = Frames::new(length);
        bodies.send(body).expect("the service lives");
        let response = service.call(request()).await.expect("a response");
        let mut body = response.into_body();
        assert_eq!(gate.snapshot().in_flight, 1, "{ends_by}: at the head");
        frames.send(Ok(data("half"))).expect("the body lives");
        let half = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(half.into_data().expect("data"), "half");
        let next = tokio::spawn({
            let gate = gate.clone();
            async move { only_permit(&gate).await }
        });
        until(&gate, 1, 1).await;
        assert!(!next.is_finished(), "{ends_by}: in the middle");
        match ends_by {
            "its end" => {
                drop(frames);
                assert!(body.frame().await.is_none());
            }
            "its length" => {
                frames.send(Ok(data("half"))).expect("the body lives");
                assert!(body.frame().await.expect("a frame").is_ok());
                assert!(body.is_end_stream());
            }
            "trailers" => {
                let trailers = Ok(Frame::trailers(HeaderMap::new()));
                frames.send(trailers).expect("the body lives");
                let last = body.frame().await.expect("a frame").expect("no error");
                assert!(last.is_trailers());
            }
            "an error" => {
                frames.send(Err(Broken)).expect("the body lives");
                assert_eq!(body.frame().await.expect("a frame").err(), Some(Broken));
            }
            _ => drop(body),
        }
        let permit = timeout(SOON, next).await;
        drop(permit.unwrap_or_else(|_| panic!("{ends_by}: never")));
        assert_eq!(gate.snapshot().in_flight, 0);
    }
}

/// Servers do not ask for a body that is not there.
#[tokio::test]
async fn a_response_without_a_body_holds_no_permit() {
    let gate = gate(1, MINUTE);
    let mut service = GateLayer::new(gate.clone()).layer(of(empty));
    let response = service.call(request()).await.expect("a response");
    assert_eq!(gate.snapshot().in_flight, 0);
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn bodies_pass_as_they_are() {
    let mut service = GateLayer::new(gate(1, MINUTE)).layer(of(text));
    let response = service.call(request()).await.expect("a response");
    assert_eq!(response.body().size_hint().exact(), Some(4));
    let whole = response.into_body().collect().await.expect("no error");
    assert_eq!(whole.to_bytes(), "text");
}

/// Whether service times are measured of what ends like this.
async fn is_measured<W: Future<Output = ()>>(gate: &Gate, mut one: impl FnMut() -> W) -> bool {
    for _ in 0..200 {
        one().await;
        assert_eq!(gate.snapshot().in_flight, 0);
    }
    gate.service(ClassId::default()).is_some()
}

/// Fails when no permit goes back as cut, and when the failure of a body, a dropped call or an error
/// of the service is taken for an end (each tried).
#[tokio::test]
async fn only_whole_responses_tell_how_long_they_take() {
    let of_kind = async |kind: &'static str| {
        let gate = gate(1, MINUTE);
        let (bodies, service) = streams(&gate);
        let service = Arc::new(tokio::sync::Mutex::new(service));
        let one = || async {
            let (frames, body) = Frames::new(None);
            if kind == "a dropped call" {
                let mut service = service.lock().await;
                let mut call = std::pin::pin!(service.call(request()));
                let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
                assert!(first.is_pending() && gate.snapshot().in_flight == 1);
                return;
            }
            bodies.send(body).expect("the service lives");
            let response = service.lock().await.call(request()).await;
            let mut body = response.expect("a response").into_body();
            match kind {
                "a whole body" => drop(frames),
                "a failed body" => frames.send(Err(Broken)).expect("the body lives"),
                _ => return,
            }
            let _ = body.frame().await;
        };
        is_measured(&gate, one).await
    };
    assert!(of_kind("a whole body").await);
    assert!(!of_kind("a failed body").await);
    assert!(!of_kind("a dropped body").await);
    assert!(!of_kind("a dropped call").await);

    let gate = gate(1, MINUTE);
    let broken = of(async |_| Err::<Response<Empty<Bytes>>, _>(Broken));
    let service = GateLayer::new(gate.clone()).layer(broken);
    let one = || async {
        let mut service = service.clone();
        assert_eq!(service.call(request()).await.err(), Some(Broken));
    };
    assert!(!is_measured(&gate, one).await);
}

#[track_caller]
fn field<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    let value = response.headers().get(name)?;
    Some(value.to_str().expect("text"))
}

#[tokio::test]
async fn a_reject_is_answered() {
    let gate = gate(1, Duration::ZERO);
    let mut service = GateLayer::new(gate.clone()).layer(of(text));
    let held = only_permit(&gate).await;
    let response = service.call(request()).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(&response, "weir-reject-reason"), Some("queue_wait"));
    assert_eq!(field(&response, "connection"), None);
    let after = field(&response, "retry-after").expect("when to come back");
    assert!((1..=2).contains(&after.parse::<u32>().expect("a number")));
    let words = response.into_body().collect().await.expect("no error");
    assert_eq!(words.to_bytes(), "weir: rejected (queue_wait)\n");

    gate.refuse_new();
    let response = service.call(request()).await.expect("an answer");
    assert_eq!(field(&response, "weir-reject-reason"), Some("draining"));
    assert_eq!(field(&response, "connection"), Some("close"));
    drop(held);
}

#[tokio::test]
async fn what_is_larger_than_the_budget_is_told_so() {
    let oversize = |_: &Request<()>| Ask {
        cost: Cost::Bytes(2),
        oversize: weir::admission::classify::Oversize::Reject,
        ..Ask::default()
    };
    let layer = GateLayer::new(gate(1, MINUTE)).classify(oversize);
    let response = layer.layer(of(text)).call(request()).await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(field(&response, "weir-reject-reason"), Some("oversize"));
}

/// Trailers-only: one block of fields and no body.
#[tokio::test]
async fn a_grpc_call_is_answered_in_its_own_way() {
    let gate = gate(1, MINUTE);
    let soon = |_: &Request<()>| Ask {
        deadline: Some(Instant::now() + Duration::from_millis(1)),
        ..Ask::default()
    };
    let held = only_permit(&gate).await;
    let layer = GateLayer::new(gate.clone()).classify(soon);
    let expired = layer.layer(of(text)).call(grpc()).await.expect("an answer");
    assert_eq!(field(&expired, "grpc-status"), Some("4"));

    gate.set_rules(Rules::of_one_class(Duration::ZERO, Discipline::Fifo));
    let mut service = GateLayer::new(gate.clone()).layer(of(text));
    let full = service.call(grpc()).await.expect("an answer");
    assert_eq!(full.status(), StatusCode::OK);
    assert_eq!(field(&full, "content-type"), Some("application/grpc"));
    assert_eq!(field(&full, "grpc-status"), Some("8"));
    assert_eq!(
        field(&full, "grpc-message"),
        Some("weir: rejected (queue_wait)")
    );
    assert_eq!(field(&full, "weir-reject-reason"), Some("queue_wait"));
    let pushback = field(&full, "grpc-retry-pushback-ms").expect("when to come back");
    assert!((500..=1500).contains(&pushback.parse::<u32>().expect("a number")));
    assert!(full.body().is_end_stream());
    gate.refuse_new();
    let draining = service.call(grpc()).await.expect("an answer");
    assert_eq!(field(&draining, "grpc-status"), Some("14"));
    drop(held);
}

#[tokio::test]
async fn a_reject_is_an_error_by_choice() {
    let gate = gate(1, Duration::ZERO);
    let held = only_permit(&gate).await;
    let layer = GateLayer::new(gate.clone()).fail();
    let mut service = layer.layer(of(async |_| Err::<Response<Empty<Bytes>>, _>(Broken)));
    match service.call(request()).await {
        Err(GateError::Rejected(no)) => assert_eq!(no.reason, RejectReason::QueueWait),
        other => panic!("{other:?}"),
    }
    drop(held);
    match service.call(request()).await {
        Err(GateError::Inner(Broken)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_charged_what_the_closure_says() {
    let gate = gate(4, MINUTE);
    let by_path = |request: &Request<()>| match request.uri().path() {
        "/large" => Ask::from(Cost::Bytes(3)),
        _ => Ask::default(),
    };
    let forever = of(async |_| pending::<Result<Response<Empty<Bytes>>, Infallible>>().await);
    let layer = GateLayer::new(gate.clone()).classify(by_path);
    let mut calls = JoinSet::new();
    for path in ["/large", "/small"] {
        let mut service = layer.layer(forever.clone());
        let request = Request::get(path).body(()).expect("a request");
        calls.spawn(async move { service.call(request).await });
    }
    until(&gate, 2, 0).await;
    let now = gate.snapshot();
    assert_eq!(now.in_flight_units, u64::from(now.limit_units));
    calls.shutdown().await;
}

/// A full gate, and a service that is never ready, are no reason to say "not yet".
#[tokio::test]
async fn it_is_always_ready() {
    let gate = gate(1, MINUTE);
    let held = only_permit(&gate).await;
    let mut service: GateService<_> = GateLayer::new(gate.clone()).layer(of(text));
    let ready = poll_fn(|cx| Poll::Ready(Service::<Request<()>>::poll_ready(&mut service, cx)));
    assert!(ready.await.is_ready());
    drop(held);
}

/// Calls that are dropped in the queue, in the service and in the body; on all threads.
///
/// Fails when each call has a gate of its own (tried).
#[test]
fn never_more_at_once_than_permits_and_none_is_lost() {
    const PERMITS: u32 = 3;
    let gate = gate(PERMITS, MINUTE);
    let (now, crowded) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counted, noted) = (now.clone(), crowded.clone());
    let service = of(move |_| {
        let (now, noted) = (counted.clone(), noted.clone());
        async move {
            if now.fetch_add(1, Ordering::SeqCst) >= PERMITS {
                noted.store(true, Ordering::SeqCst);
            }
            let leave = Leave(now);
            tokio::task::yield_now().await;
            drop(leave);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"text"))))
        }
    });
    let layer = GateLayer::new(gate.clone());
    on_threads(async |_| {
        let mut calls = JoinSet::new();
        for number in 0..500_u32 {
            let mut service = layer.layer(service.clone());
            calls.spawn(async move {
                let mut call = service.call(request());
                if number.is_multiple_of(3) {
                    for _ in 0..number % 4 {
                        // Over or not: it is dropped.
                        let look = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready()));
                        if look.await {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    return;
                }
                let response = call.await.expect("a response");
                if number.is_multiple_of(2) {
                    let whole = response.into_body().collect().await.expect("no error");
                    assert_eq!(whole.to_bytes(), "text");
                }
            });
        }
        while let Some(done) = timeout(SOON, calls.join_next()).await.expect("all end") {
            done.expect("as expected");
        }
    });
    assert!(!crowded.load(Ordering::SeqCst), "more than {PERMITS}");
    let after = gate.snapshot();
    assert_eq!((after.in_flight, after.queued), (0, 0));
    assert_eq!(after.available_units, u64::from(after.limit_units));
}

struct Leave(Arc<AtomicU32>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The same over sockets: axum, a client that reads half of a stream, and one that leaves.
#[tokio::test]
async fn axum_streams_with_the_permit_held_and_stops_when_asked() {
    let gate = gate(1, Duration::ZERO);
    let (bodies, next) = mpsc::unbounded_channel::<Frames>();
    let next = Arc::new(tokio::sync::Mutex::new(next));
    let stream = async move || {
        let body = next.lock().await.recv().await.expect("one is ready");
        Response::new(axum::body::Body::new(body))
    };
    let app = Router::new()
        .route("/", get(stream))
        .layer(GateLayer::new(gate.clone()))
        .route("/healthz", get(async || "ok"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let server =
        axum::serve(listener, app).with_graceful_shutdown(async move { stopped.notified().await });
    let server = tokio::spawn(async move { server.await });

    for leaves in [false, true] {
        let (frames, body) = Frames::new(None);
        bodies.send(body).expect("the app lives");
        let mut client = Client::http1(address).await;
        let get = super::support::client::get;
        let mut body = client.send(get("/")).await.expect("a head").into_body();
        frames.send(Ok(data("half"))).expect("the body lives");
        let half = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(half.into_data().expect("data"), "half");

        let mut other = Client::http1(address).await;
        let refused = other.get("/").await.expect("an answer");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let probe = other.get("/healthz").await.expect("an answer");
        assert_eq!(probe.status, StatusCode::OK);
        if leaves {
            drop((body, client));
            until(&gate, 0, 0).await;
            assert!(frames.is_closed(), "the body was dropped");
        } else {
            drop(frames);
            assert!(body.frame().await.is_none());
            until(&gate, 0, 0).await;
        }
    }
    stop.notify_one();
    let ended = timeout(SOON, server).await.expect("it stops");
    ended.expect("no panic").expect("no error");
}
