//! The exchange: one request's occupation of the backend.
//!
//! **The permit comes back only when the backend is done with the request**: its response has
//! ended and its upload has ended, or the connection that carried both is closed. Whatever ends
//! an exchange, and in whatever order its parts are dropped, goes through [`Exchange::drop`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::admission::{ClassId, Outcome};
use crate::gate::Permit;
use crate::proxy::Connection;
use crate::proxy::answer::error::ProxyError;
use crate::proxy::forward::upload::UploadState;
use crate::proxy::record::Record;
use crate::proxy::settings::CancelGrace;
use crate::proxy::upstream::{Http1, Stream};
use crate::telemetry::{UpstreamError, events};

/// How long a backend that has answered already may take over the rest of an upload.
const FLUSH: Duration = Duration::from_secs(30);

/// What of the upstream an exchange holds.
#[derive(Debug)]
pub(in crate::proxy) enum Link {
    /// Nothing yet, or not any more.
    None,
    /// A connection of its own.
    Http1(Http1),
    /// A stream of a shared one.
    Http2(Stream),
}

/// One request's occupation of the backend.
#[derive(Debug)]
pub(in crate::proxy) struct Exchange {
    connection: Arc<Connection>,
    permit: Option<Permit>,
    link: Link,
    upload: Option<Arc<UploadState>>,
    /// Counts the request when it is dropped.
    record: Option<Record>,
    class: ClassId,
    /// How long the permit outlives the connection when the client left; `None` once the client
    /// leaving is not what ends it.
    cancel_grace: Option<CancelGrace>,
    /// The response has ended before the rest of an upload that is all there was written.
    is_flushing: bool,
    /// It was served to its end: how long it took tells how fast the backend is.
    is_served: bool,
}

impl Exchange {
    pub(in crate::proxy) fn new(
        permit: Permit,
        record: Record,
        class: ClassId,
        cancel_grace: CancelGrace,
    ) -> Self {
        Self {
            connection: record.connection().clone(),
            permit: Some(permit),
            link: Link::None,
            upload: None,
            record: Some(record),
            class,
            cancel_grace: Some(cancel_grace),
            is_flushing: false,
            is_served: false,
        }
    }

    /// The client connection that the request came on.
    pub(in crate::proxy) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(in crate::proxy) fn record(&mut self) -> &mut Record {
        self.record.as_mut().expect("taken only by the drop")
    }

    /// Takes hold of a connection; what was held before is let go of.
    pub(in crate::proxy) fn hold_http1(
        &mut self,
        connection: Http1,
        upload: Option<Arc<UploadState>>,
    ) -> &mut Http1 {
        self.upload = upload;
        self.link = Link::Http1(connection);
        match &mut self.link {
            Link::Http1(connection) => connection,
            Link::Http2(_) | Link::None => unreachable!("it was put there just now"),
        }
    }

    /// The same with a stream of a shared one.
    pub(in crate::proxy) fn hold_http2(
        &mut self,
        stream: Stream,
        upload: Option<Arc<UploadState>>,
    ) {
        self.upload = upload;
        self.link = Link::Http2(stream);
    }

    /// The response has begun. From now on the client's pace is that of the response; what else
    /// there is to do on the connection must not wait for it. Nor is a connection used again on which
    /// a response is framed in two ways (RFC 9112, section 6.3): from a task it does not come back.
    pub(in crate::proxy) fn answered<B>(&mut self, response: &Response<B>) {
        let headers = response.headers();
        let is_ambiguous =
            headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
        let is_switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if (is_switching || is_ambiguous || !self.is_upload_over())
            && let Link::Http1(connection) = &mut self.link
        {
            connection.go_on_alone();
        }
    }

    /// Lets go of a stream whose connection is not to be used again.
    pub(in crate::proxy) fn retire_link(&mut self) {
        if let Link::Http2(stream) = &self.link {
            stream.retire();
        }
        self.drop_link();
    }

    /// Lets go of a connection that turned out dead before the request was on it.
    pub(in crate::proxy) fn drop_link(&mut self) {
        self.link = Link::None;
    }

    /// The next frame of the response, which on a connection of its own the exchange itself reads.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.link {
            Link::Http1(connection) => connection.poll_frame(body, cx),
            Link::Http2(_) | Link::None => Pin::new(body).poll_frame(cx),
        }
    }

    /// Whether it is a stream of a shared connection.
    pub(in crate::proxy) fn is_over_http2(&self) -> bool {
        matches!(self.link, Link::Http2(_))
    }

    /// Whether nothing more of the request is to be sent.
    pub(in crate::proxy) fn is_upload_over(&self) -> bool {
        let is_written = || match &self.link {
            Link::Http1(connection) => !connection.is_blocked(),
            Link::Http2(_) | Link::None => true,
        };
        self.upload
            .as_ref()
            .is_none_or(|upload| upload.is_complete() && is_written())
    }

    /// The response has been passed on to its end: the connection can serve the next request,
    /// unless its upload is still open (hyper would neither finish nor close it: hyper#4176).
    pub(in crate::proxy) fn complete(mut self) {
        let ended = self.record().finish(Outcome::Served);
        self.is_served = true;
        if self.is_upload_over() {
            self.upload = None;
            match std::mem::replace(&mut self.link, Link::None) {
                Link::Http1(link) if link.is_at_rest() => {
                    let now = tokio::time::Instant::from_std(ended);
                    let connection = &self.connection;
                    let pool = &connection.shared.pool;
                    pool.put_back(connection.worker, link, now);
                }
                // Its socket is closed before the permit comes back.
                Link::Http1(link) => self.link = Link::Http1(link),
                Link::Http2(_) | Link::None => {}
            }
        } else {
            let upload = self.upload.as_ref();
            self.is_flushing = upload.is_some_and(|upload| upload.is_complete());
        }
        self.cancel_grace = None;
    }

    /// The request failed with an answer of weir's own.
    pub(in crate::proxy) fn fail(mut self, error: &ProxyError, status: StatusCode) {
        self.record().fail(error, status.as_u16());
        self.cancel_grace = None;
    }

    /// A tunnel that goes on without a permit: neither it nor its connection to the backend counts
    /// any longer. First the connection, so that who gets the permit finds room for one.
    pub(in crate::proxy) fn release(&mut self) {
        if let Link::Http1(connection) = &self.link {
            connection.vacate();
        }
        self.record().finish(Outcome::Served);
        self.cancel_grace = None;
        self.permit = None;
    }

    /// The tunnel is over.
    pub(in crate::proxy) fn tunnel_ended(mut self) {
        self.record().finish(Outcome::Served);
        self.cancel_grace = None;
    }

    /// The upstream broke off mid-response.
    pub(in crate::proxy) fn break_off(
        mut self,
        kind: UpstreamError,
        detail: &dyn std::fmt::Display,
    ) {
        events::upstream_error(&self.connection.shared.telemetry, kind, detail);
        self.record().finish(Outcome::Failed);
        self.cancel_grace = None;
    }

    /// How long the permit is to outlive the connection, if it ends now.
    fn grace(&self) -> Duration {
        match (self.cancel_grace, &self.record) {
            (Some(CancelGrace::Fixed(grace)), _) => grace,
            (Some(CancelGrace::Auto), Some(record)) => {
                let shared = &self.connection.shared;
                let elapsed = shared.now().saturating_duration_since(record.admitted_at());
                let known = shared.gate.service(self.class);
                known.map_or(Duration::ZERO, |known| known.cancel_grace(elapsed))
            }
            (Some(CancelGrace::Auto), None) | (None, _) => Duration::ZERO,
        }
    }
}

impl Drop for Exchange {
    /// Ends what is still open towards the backend, and returns the permit once it has ended.
    fn drop(&mut self) {
        let grace = self.grace();
        drop(self.record.take());
        let mut permit = self.permit.take();
        if let Some(permit) = permit.as_mut().filter(|_| !self.is_served) {
            permit.cut();
        }
        let link = match std::mem::replace(&mut self.link, Link::None) {
            Link::Http1(connection) if connection.ends_by_drop() => Link::None,
            link => link,
        };
        let upload = self.upload.take().filter(|upload| !upload.is_complete());
        if let Some(upload) = &upload {
            upload.cut();
        }
        if matches!(link, Link::None) && grace.is_zero() {
            return;
        }
        let flush = if self.is_flushing {
            FLUSH
        } else {
            Duration::ZERO
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let _permit = permit;
            match link {
                Link::Http1(connection) => connection.cut(flush).await,
                Link::Http2(stream) => {
                    if let Some(upload) = upload {
                        upload.released().await;
                    }
                    drop(stream);
                }
                Link::None => {}
            }
            if !grace.is_zero() {
                tokio::time::sleep(grace).await;
            }
        });
    }
}
