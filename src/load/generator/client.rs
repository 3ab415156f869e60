//! The client side: connections, and one exchange on them.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::plan::{Plan, Protocol};
use super::report::{FailureKind, Outcome};

/// How weir says why it refused.
const REJECT_REASON: &str = "weir-reject-reason";

pub(super) type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// The connections of one run. Dropping it closes them.
pub(super) struct Client {
    target: SocketAddr,
    request: Request<Full<Bytes>>,
    pool: Pool,
    /// What moves the bytes of each connection.
    drivers: Mutex<JoinSet<()>>,
}

enum Pool {
    /// Those without a request, the latest last: it is the least likely to have been closed.
    Http1(Mutex<Vec<Http1>>),
    /// Each is made by the first who needs it, and made anew when it has ended.
    Http2 {
        connections: Vec<tokio::sync::Mutex<Option<Http2>>>,
        next: AtomicUsize,
    },
}

impl Client {
    pub(super) fn new(plan: &Plan) -> Self {
        let pool = match plan.protocol {
            Protocol::Http1 => Pool::Http1(Mutex::new(Vec::new())),
            Protocol::Http2 { connections } => Pool::Http2 {
                connections: (0..connections.max(1))
                    .map(|_| tokio::sync::Mutex::new(None))
                    .collect(),
                next: AtomicUsize::new(0),
            },
        };
        Self {
            target: plan.target,
            request: request(plan),
            pool,
            drivers: Mutex::new(JoinSet::new()),
        }
    }

    /// Sends the request and reads the whole answer. What comes with it is for [`Client::keep`].
    pub(super) async fn exchange(&self) -> (Outcome, Option<Http1>) {
        let result = match &self.pool {
            Pool::Http1(idle) => self.exchange_http1(idle).await,
            Pool::Http2 { connections, next } => {
                let turn = next.fetch_add(1, Ordering::Relaxed) % connections.len();
                let outcome = self.exchange_http2(&connections[turn]).await;
                outcome.map(|outcome| (outcome, None))
            }
        };
        result.unwrap_or_else(|kind| (Outcome::Failed(kind), None))
    }

    /// Keeps a connection for another exchange. It may still be busy: an answer can be complete
    /// before the request is.
    pub(super) async fn keep(&self, mut connection: Http1) {
        if connection.ready().await.is_ok()
            && let Pool::Http1(idle) = &self.pool
        {
            idle.lock().expect(POOL).push(connection);
        }
    }

    async fn exchange_http1(
        &self,
        idle: &Mutex<Vec<Http1>>,
    ) -> Result<(Outcome, Option<Http1>), FailureKind> {
        let mut request = self.request.clone();
        loop {
            let (mut connection, reused) = match take_idle(idle) {
                Some(connection) => (connection, true),
                None => (self.connect_http1().await?, false),
            };
            match connection.try_send_request(request).await {
                Ok(response) => {
                    let outcome = read(response).await?;
                    return Ok((outcome, Some(connection)));
                }
                // The server closed it while it was idle, and nothing was sent: not its failure.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(FailureKind::Broken),
                },
            }
        }
    }

    async fn exchange_http2(
        &self,
        slot: &tokio::sync::Mutex<Option<Http2>>,
    ) -> Result<Outcome, FailureKind> {
        let mut connection = {
            let mut slot = slot.lock().await;
            match slot.as_ref().filter(|connection| !connection.is_closed()) {
                Some(connection) => connection.clone(),
                None => slot.insert(self.connect_http2().await?).clone(),
            }
        };
        connection.ready().await.map_err(|_| FailureKind::Broken)?;
        let response = connection.send_request(self.request.clone()).await;
        read(response.map_err(|_| FailureKind::Broken)?).await
    }

    async fn connect_http1(&self) -> Result<Http1, FailureKind> {
        let (sender, connection) = http1::handshake(self.connect().await?)
            .await
            .map_err(|_| FailureKind::Connect)?;
        self.drive(connection);
        Ok(sender)
    }

    async fn connect_http2(&self) -> Result<Http2, FailureKind> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(self.connect().await?)
            .await
            .map_err(|_| FailureKind::Connect)?;
        self.drive(connection);
        Ok(sender)
    }

    async fn connect(&self) -> Result<TokioIo<TcpStream>, FailureKind> {
        let stream = TcpStream::connect(self.target).await;
        let stream = stream.map_err(|_| FailureKind::Connect)?;
        stream.set_nodelay(true).map_err(|_| FailureKind::Connect)?;
        Ok(TokioIo::new(stream))
    }

    fn drive<E>(&self, connection: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Send + 'static,
    {
        let mut drivers = self.drivers.lock().expect(POOL);
        while drivers.try_join_next().is_some() {}
        // How a connection ends is seen by the requests on it.
        drivers.spawn(async move { drop(connection.await) });
    }
}

const POOL: &str = "no holder of this lock panics";

fn take_idle(idle: &Mutex<Vec<Http1>>) -> Option<Http1> {
    let mut idle = idle.lock().expect(POOL);
    while let Some(connection) = idle.pop() {
        if connection.is_ready() {
            return Some(connection);
        }
    }
    None
}

async fn read(response: Response<Incoming>) -> Result<Outcome, FailureKind> {
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| FailureKind::BodyBroken)?;
    }
    let status = head.status.as_u16();
    Ok(match head.headers.get(REJECT_REASON) {
        Some(reason) => Outcome::Rejected(
            status,
            String::from_utf8_lossy(reason.as_bytes()).into_owned(),
        ),
        None => Outcome::Answered(status),
    })
}

/// HTTP/1.1 wants the target in origin form and a `host`, HTTP/2 the whole URI.
fn request(plan: &Plan) -> Request<Full<Bytes>> {
    let template = &plan.request;
    let uri = match plan.protocol {
        Protocol::Http1 => template.path.clone(),
        Protocol::Http2 { .. } => format!("http://{}{}", plan.target, template.path),
    };
    let mut request = Request::new(Full::new(template.body.clone()));
    *request.method_mut() = template.method.clone();
    *request.uri_mut() = uri
        .parse::<Uri>()
        .expect("the path of a plan is a valid target");
    *request.headers_mut() = template.headers.clone();
    if plan.protocol == Protocol::Http1 && !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(&plan.target.to_string());
        request
            .headers_mut()
            .insert(HOST, host.expect("an address is a valid host"));
    }
    request
}
