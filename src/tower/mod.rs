//! The gate as a [`tower`](https://docs.rs/tower) layer: for services that are built of them, with
//! axum, tonic or hyper. With the feature `tower`.
//!
//! A request that gets a permit goes on to the service. The permit is held **to the end of the
//! response's body**: until the service says that it has ended, it fails, or the server drops it
//! because its client left. One that gets none is [answered](Answer) here, or is an
//! [error](Fail).
//!
//! ```
//! use axum::Router;
//! use axum::routing::get;
//! use weir::Gate;
//! use weir::admission::Budget;
//! use weir::gate::Rules;
//! use weir::tower::GateLayer;
//!
//! let budget = Budget::of_permits(100).expect("more than no permit");
//! let gate = Gate::new(budget, Rules::default());
//! let app: Router = Router::new()
//!     .route("/", get(async || "a page"))
//!     .layer(GateLayer::new(gate.clone()))
//!     // Below the layer, so without a permit: a probe must be answered under any load.
//!     .route("/healthz", get(async || "ok"));
//! ```
//!
//! Who gets which permit is for a closure to say:
//!
//! ```
//! use weir::gate::{Ask, Cost};
//! # use weir::{Gate, admission::Budget, gate::Rules, tower::GateLayer};
//! # let gate = Gate::new(Budget::of_permits(1).expect("not none"), Rules::default());
//!
//! let layer = GateLayer::new(gate).classify(|request: &axum::extract::Request| {
//!     let is_report = request.uri().path().starts_with("/report/");
//!     Ask::from(if is_report { Cost::Bytes(64 << 20) } else { Cost::Task })
//! });
//! # let _ = layer;
//! ```
//!
//! # Why it is always ready
//!
//! A service may say "not yet" before it is given a request. To wait for a permit there would put
//! the queue where nobody sees it: in whatever the server in front does with requests that it
//! cannot hand over, without an order, a bound, a count or an answer. So `poll_ready` is always
//! ready, requests wait in the gate, and the service within is waited for with the permit in hand.
//!
//! # What it does not see
//!
//! * A body that is one chunk has ended when the server has taken that chunk, though the client may
//!   not have read it yet: large responses are better streamed.
//! * An upgraded connection (WebSocket) outlives its response, which holds the permit. Let the
//!   handler of the connection [admit](crate::gate::Gate::admit) it, and keep the permit.
//! * Work that a handler spawns and does not wait for.

mod answer;
mod body;

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use answer::{Answer, Dialect, Fail, GateError, OnReject};
pub use body::GateBody;

use crate::gate::{Ask, Gate};
use crate::held::Held;

/// Says what a request asks for. Any `Fn(&Request<B>) -> Ask` does.
pub trait Classify<B> {
    /// What this request asks for.
    fn classify(&self, request: &Request<B>) -> Ask;
}

impl<B, F: Fn(&Request<B>) -> Ask> Classify<B> for F {
    fn classify(&self, request: &Request<B>) -> Ask {
        self(request)
    }
}

/// Every request is like any other: [`Ask::default`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Alike;

impl<B> Classify<B> for Alike {
    fn classify(&self, _: &Request<B>) -> Ask {
        Ask::default()
    }
}

/// Puts a [`Gate`] in front of a service. All services that it makes share the gate.
#[derive(Clone, Debug)]
pub struct GateLayer<C = Alike, R = Answer> {
    gate: Gate,
    classify: C,
    on_reject: PhantomData<fn() -> R>,
}

impl GateLayer {
    /// Every request is like any other, and a reject is [answered](Answer).
    #[must_use]
    pub fn new(gate: Gate) -> Self {
        Self {
            gate,
            classify: Alike,
            on_reject: PhantomData,
        }
    }
}

impl<C, R> GateLayer<C, R> {
    /// With this closure, which says what each request asks for. It is called before the request
    /// waits and must not take long.
    #[must_use]
    pub fn classify<F>(self, classify: F) -> GateLayer<F, R> {
        GateLayer {
            gate: self.gate,
            classify,
            on_reject: PhantomData,
        }
    }

    /// With a reject as an [error](GateError) instead of an answer.
    #[must_use]
    pub fn fail(self) -> GateLayer<C, Fail> {
        GateLayer {
            gate: self.gate,
            classify: self.classify,
            on_reject: PhantomData,
        }
    }
}

impl<S, C: Clone, R> Layer<S> for GateLayer<C, R> {
    type Service = GateService<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        GateService {
            inner,
            gate: self.gate.clone(),
            classify: self.classify.clone(),
            on_reject: PhantomData,
        }
    }
}

/// A service behind a gate; see [`GateLayer`].
#[derive(Clone, Debug)]
pub struct GateService<S, C = Alike, R = Answer> {
    inner: S,
    gate: Gate,
    classify: C,
    on_reject: PhantomData<fn() -> R>,
}

impl<S, C, R, B, D> Service<Request<B>> for GateService<S, C, R>
where
    S: Service<Request<B>, Response = Response<D>> + Clone + Send + 'static,
    S::Future: Send,
    C: Classify<B>,
    R: OnReject<S::Error, D>,
    B: Send + 'static,
    D: Body,
{
    type Response = Response<GateBody<D>>;
    type Error = R::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Always ready: see [above](self#why-it-is-always-ready).
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ask = self.classify.classify(&request);
        let gate = self.gate.clone();
        // A clone that nobody has made ready: it is, below, before it is called.
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let permit = match gate.admit(ask).await {
                Ok(permit) => permit,
                Err(rejected) => return R::reject(&gate, Dialect::of(&request), rejected),
            };
            let held = Held::new(permit);
            let ready = poll_fn(|cx| inner.poll_ready(cx)).await;
            ready.map_err(R::inner)?;
            let response = inner.call(request).await.map_err(R::inner)?;
            Ok(response.map(|body| GateBody::held(body, held)))
        })
    }
}
