//! The life of one request at the backend.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, TRAILER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::Shared;
use super::body::{End, Paced};
use super::counters::InFlight;
use super::memory;
use super::options::{Echo, Options};

/// Where `echo=1` says what head arrived.
const REQUEST_HEAD: HeaderName = HeaderName::from_static("x-request-head");

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// Does the work and answers. An error means that the client broke off while sending.
pub(super) async fn handle(
    mut request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Answer, hyper::Error> {
    if request.uri().path() == "/__stats" {
        return Ok(json(&shared.counters.stats().to_json()));
    }
    let options = match Options::parse(request.uri().query().unwrap_or_default()) {
        Ok(options) => options,
        Err(problem) => return Ok(plain(StatusCode::BAD_REQUEST, problem)),
    };
    let in_flight = shared.counters.begin();
    let head = options.echo.map(|_| describe(&request));
    if options.upgrade && request.headers().contains_key(UPGRADE) {
        return Ok(tunnel(&mut request, &shared, in_flight));
    }
    let received = if options.early {
        drop(request);
        Collected::default()
    } else {
        request.into_body().collect().await?
    };
    work(&options, &shared).await;

    let (content, end) = content(&options, &shared, head.as_ref(), received);
    let gap = options.gap.unwrap_or(Duration::ZERO);
    let body = Paced::new(content, options.chunks.unwrap_or(1), gap, end, in_flight);
    let mut response = Response::new(BodyExt::boxed(body));
    *response.status_mut() = options.status.unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    if options.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if options.trailers {
        headers.insert(TRAILER, HeaderValue::from_static("grpc-status, x-trailer"));
    }
    if let (Some(Echo::Body), Some(head)) = (options.echo, &head) {
        let value = HeaderValue::from_bytes(head.to_string().as_bytes());
        headers.insert(
            REQUEST_HEAD,
            value.expect("JSON escapes control characters"),
        );
    }
    Ok(response)
}

async fn work(options: &Options, shared: &Shared) {
    let bytes = options.memory_bytes.unwrap_or(shared.settings.memory_bytes);
    let service = options.sleep.unwrap_or(shared.settings.service);
    let memory = (bytes > 0).then(|| memory::occupy(bytes));
    if !service.is_zero() {
        tokio::time::sleep(service).await;
    }
    // Given back before the answer begins: who has the answer may send the next request.
    drop(memory);
}

/// What to answer with.
fn content(
    options: &Options,
    shared: &Shared,
    head: Option<&serde_json::Value>,
    received: Collected<Bytes>,
) -> (Bytes, End) {
    let received_trailers = received.trailers().cloned();
    let content = match (options.echo, head) {
        (Some(Echo::Head), Some(head)) => head.to_string().into(),
        (Some(Echo::Body), _) => received.to_bytes(),
        _ => vec![b'.'; options.bytes.unwrap_or(shared.settings.response_bytes)].into(),
    };
    let end = match (options.abort, options.trailers, received_trailers) {
        (true, _, _) => End::Abort,
        (_, true, _) => End::Trailers(trailers()),
        (_, _, Some(trailers)) if options.echo == Some(Echo::Body) => End::Trailers(trailers),
        _ => End::Plain,
    };
    (content, end)
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-trailer", HeaderValue::from_static("end"));
    trailers
}

/// The head that arrived. Names are in lower case; fields keep their order, except that those of
/// one name stand together, as hyper has them.
fn describe(request: &Request<Incoming>) -> serde_json::Value {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            [
                name.as_str().into(),
                String::from_utf8_lossy(value.as_bytes()),
            ]
        })
        .collect();
    serde_json::json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "version": version(request.version()),
        "headers": headers,
    })
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => "other",
    }
}

/// Switches protocols; in flight until the tunnel is closed.
fn tunnel(request: &mut Request<Incoming>, shared: &Shared, in_flight: InFlight) -> Answer {
    let protocol = request.headers()[UPGRADE].clone();
    let upgrade = hyper::upgrade::on(request);
    let echo = async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
            in_flight.served();
        }
    };
    let mut tunnels = shared
        .tunnels
        .lock()
        .expect("no holder of this lock panics");
    while tunnels.try_join_next().is_some() {}
    tunnels.spawn(echo);
    drop(tunnels);
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    response
}

fn json(value: &serde_json::Value) -> Answer {
    let mut response = plain(StatusCode::OK, value.to_string());
    let value = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

fn plain(status: StatusCode, content: String) -> Answer {
    let body = Full::new(Bytes::from(content)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response
}
