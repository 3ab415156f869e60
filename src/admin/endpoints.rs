//! What each path of the admin port answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{Admin, VERSION, WEIR_ADMIN, guard, status};
use crate::lifecycle::Phase;

/// The longest body that is read, and for how long.
const BODY_BYTES_MAX: usize = 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers that are made off the thread at once: scrapers cannot take the processors from the
/// requests that weir is there for.
static MAKING: Semaphore = Semaphore::const_new(2);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
/// The Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const PAGE: &str = include_str!("page.html");

const ENDPOINTS: &str =
    "GET /livez /readyz /metrics /status /config /\nPOST /drain /reload /loglevel\n";

type Answer = Response<Full<Bytes>>;

/// What can be asked for.
#[derive(Clone, Copy)]
enum Endpoint {
    Livez,
    Readyz,
    Metrics,
    Status,
    Config,
    Page,
    Drain,
    Reload,
    LogLevel,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            "/metrics" => Some(Self::Metrics),
            "/status" => Some(Self::Status),
            "/config" => Some(Self::Config),
            "/" => Some(Self::Page),
            "/drain" => Some(Self::Drain),
            "/reload" => Some(Self::Reload),
            "/loglevel" => Some(Self::LogLevel),
            _ => None,
        }
    }

    fn changes_something(self) -> bool {
        matches!(self, Self::Drain | Self::Reload | Self::LogLevel)
    }
}

/// Answers one request. hyper leaves the body out for HEAD.
pub(super) async fn answer(
    admin: Arc<Admin>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let Some(endpoint) = Endpoint::at(request.uri().path()) else {
        let body = format!("no such endpoint; there are\n{ENDPOINTS}");
        return Ok(text(StatusCode::NOT_FOUND, body));
    };
    let allowed: &[Method] = if endpoint.changes_something() {
        &[Method::POST]
    } else {
        &[Method::GET, Method::HEAD]
    };
    if !allowed.contains(request.method()) {
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let names = names.join(", ");
        let mut answer = text(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("use {names} for this endpoint\n"),
        );
        let allow = HeaderValue::from_str(&names).expect("method names are ASCII");
        answer.headers_mut().insert(header::ALLOW, allow);
        return Ok(answer);
    }
    if endpoint.changes_something()
        && let Some(why) = guard::refusal(peer, admin.remote_control, request.headers())
    {
        tracing::warn!(%peer, path = request.uri().path(), "change refused on the admin port");
        return Ok(text(StatusCode::FORBIDDEN, why.to_owned()));
    }
    Ok(match endpoint {
        Endpoint::Livez => livez(&admin),
        Endpoint::Readyz => readyz(&admin),
        Endpoint::Page => typed(StatusCode::OK, HTML, PAGE.into()),
        Endpoint::Drain => {
            tracing::info!(%peer, "drain requested on the admin port");
            (admin.hooks.drain)();
            text(StatusCode::ACCEPTED, "draining\n".to_owned())
        }
        Endpoint::LogLevel => log_level(&admin, request.into_body()).await,
        Endpoint::Metrics => off_thread(admin, metrics).await,
        Endpoint::Status => off_thread(admin, |admin| json(&status::status(admin))).await,
        Endpoint::Config => off_thread(admin, config).await,
        Endpoint::Reload => off_thread(admin, reload).await,
    })
}

fn livez(admin: &Admin) -> Answer {
    let unhealthy = |why| text(StatusCode::SERVICE_UNAVAILABLE, why);
    if admin.gate.is_broken() {
        return unhealthy("the gate is closed by a bug of weir's own; see the log\n".to_owned());
    }
    match (admin.hooks.healthy)() {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(why) => unhealthy(format!("{why}\n")),
    }
}

/// By the phase alone: a weir that rejects is doing its work, and its peers would inherit the load.
fn readyz(admin: &Admin) -> Answer {
    let phase = *admin.phase.borrow();
    let status = match phase {
        Phase::Serving => StatusCode::OK,
        Phase::LameDuck | Phase::Draining | Phase::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, format!("{}\n", phase.label()))
}

/// For what reads files or walks over every series: not on a thread that others wait for.
async fn off_thread(admin: Arc<Admin>, make: fn(&Admin) -> Answer) -> Answer {
    let place = MAKING.acquire().await.expect("it is never closed");
    // With its place, which it keeps if the connection ends meanwhile.
    let making = move || {
        let answer = make(&admin);
        drop(place);
        answer
    };
    tokio::task::spawn_blocking(making)
        .await
        .unwrap_or_else(|_| {
            let body = "a bug of weir's own: the answer could not be made; see the log\n";
            text(StatusCode::INTERNAL_SERVER_ERROR, body.to_owned())
        })
}

fn metrics(admin: &Admin) -> Answer {
    let figures = status::figures(&admin.gate, *admin.phase.borrow());
    let body = admin.telemetry.render(&figures);
    typed(StatusCode::OK, METRICS, body.into())
}

fn config(admin: &Admin) -> Answer {
    typed(StatusCode::OK, JSON, (admin.hooks.config)().into())
}

fn reload(admin: &Admin) -> Answer {
    match (admin.hooks.reload)() {
        Ok(changes) => json(&changes),
        Err(problems) => text(StatusCode::UNPROCESSABLE_ENTITY, format!("{problems}\n")),
    }
}

async fn log_level(admin: &Admin, body: Incoming) -> Answer {
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
        let body = format!("the body must be a log level of at most {BODY_BYTES_MAX} bytes\n");
        return text(StatusCode::BAD_REQUEST, body);
    };
    let body = body.to_bytes();
    let level = String::from_utf8_lossy(&body);
    let level = level.trim();
    match (admin.hooks.set_level)(level) {
        Ok(()) => {
            tracing::info!(to = level, "log level changed");
            text(StatusCode::OK, format!("{level}\n"))
        }
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    typed(status, TEXT, body.into())
}

fn json(value: &Value) -> Answer {
    typed(StatusCode::OK, JSON, format!("{value:#}\n").into())
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(&WEIR_ADMIN, HeaderValue::from_static(VERSION));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}
