//! Heads on their way through: a checked request's for the backend, a response's for the client.
//! Pure.
//!
//! **Nothing that speaks of one connection survives onto the next** (RFC 9110, section 7.6.1), and
//! nobody can say for whom a request is made but peers that are believed.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderName,
    ORIGIN, PROXY_AUTHORIZATION, RANGE, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, request, response};
use http_body::Body;

use crate::proxy::client::tls::{TlsPeer, say_client_cert};
use crate::proxy::head::fields::{Found, reads_like};
use crate::proxy::head::trust::Trust;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that nobody may have removed by naming them in `Connection`: they say who is asking and
/// for what, not how this hop works.
const NEVER_NOMINATED: [HeaderName; 10] = [
    HOST,
    VIA,
    FORWARDED,
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    SET_COOKIE,
    CACHE_CONTROL,
    ORIGIN,
    RANGE,
];

/// The same for all whose names begin like this.
const NEVER_NOMINATED_PREFIXES: [&str; 5] = ["content-", "x-forwarded-", "grpc-", "weir-", "if-"];

/// Fields that a request's trailers may not bring.
const NEVER_IN_TRAILERS: [HeaderName; 9] = [
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    FORWARDED,
    HOST,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
];

/// What the rewriting needs to know of the connection that the request came on.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Hop<'a> {
    pub(in crate::proxy) peer: SocketAddr,
    pub(in crate::proxy) peer_ip: &'a HeaderValue,
    pub(in crate::proxy) trust: &'a Trust,
    /// What names the backend when the client names nothing.
    pub(in crate::proxy) upstream_host: &'a HeaderValue,
    pub(in crate::proxy) max_fields: usize,
    pub(in crate::proxy) tls: Option<&'a TlsPeer>,
    pub(in crate::proxy) max_target: usize,
}

/// A request head fit to be forwarded over HTTP/1.1 or HTTP/2.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct ForwardHead {
    method: Method,
    target: PathAndQuery,
    /// The one host that the request is for.
    host: HeaderValue,
    /// What goes for it over HTTP/2 if it is empty, which an authority may not be.
    authority: Option<HeaderValue>,
    pub(in crate::proxy) headers: HeaderMap,
    has_te: bool,
    /// The protocol that the client asks to switch to.
    pub(in crate::proxy) upgrade: Option<HeaderValue>,
}

/// A request head that can be forwarded, as it arrived. A request that is refused or lets go of its
/// place is never rewritten, and one that waits holds no more than the client sent.
#[derive(Debug)]
pub(in crate::proxy) struct CheckedHead {
    pub(in crate::proxy) head: request::Parts,
    /// The one host that the request is for.
    pub(in crate::proxy) host: HeaderValue,
    pub(in crate::proxy) found: Found,
}

impl CheckedHead {
    /// Rewrites the head for the backend: strip first, then add.
    pub(in crate::proxy) fn rewrite(self, hop: &Hop<'_>) -> ForwardHead {
        let Self { head, host, found } = self;
        let request::Parts {
            method,
            uri,
            version,
            mut headers,
            ..
        } = head;
        let upgrade = wanted_upgrade(&method, version, &headers, found);
        let wants_trailers = found.has(Found::TE) && lists(&headers, &TE, b"trailers");
        strip(&mut headers, found, &hop.trust.headers);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if version == Version::HTTP_2 && found.has(Found::COOKIE) {
            join_cookies(&mut headers);
        }
        let is_believed = hop.trust.believes(hop.peer.ip());
        if !is_believed {
            remove_where(&mut headers, |name| is_claim(name, &hop.trust.headers));
        }
        add_forwarding(&mut headers, &host, hop, found, is_believed);
        headers.append(VIA, via(version));
        ForwardHead {
            method,
            target: target(&uri),
            authority: host.is_empty().then(|| hop.upstream_host.clone()),
            host,
            headers,
            has_te: wants_trailers,
            upgrade,
        }
    }
}

impl ForwardHead {
    /// As an HTTP/1.1 request: origin form, with `Host`.
    pub(in crate::proxy) fn into_http1<B: Body>(mut self, body: B) -> http::Request<B> {
        self.headers.insert(HOST, self.host);
        // hyper would take such a body for none, and leave it out.
        if matches!(self.method, Method::GET | Method::HEAD)
            && !body.is_end_stream()
            && body.size_hint().exact().is_none()
        {
            self.headers
                .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // Who sends `TE` must say that it is meant for this hop (RFC 9110, section 10.1.4).
        let options = match (self.upgrade.is_some(), self.has_te) {
            (true, true) => Some("upgrade, te"),
            (true, false) => Some("upgrade"),
            (false, true) => Some("te"),
            (false, false) => None,
        };
        if let Some(options) = options {
            self.headers
                .insert(CONNECTION, HeaderValue::from_static(options));
        }
        if let Some(protocol) = self.upgrade {
            self.headers.insert(UPGRADE, protocol);
        }
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(self.target);
        *request.headers_mut() = self.headers;
        request
    }

    /// As an HTTP/2 request: the host is the authority.
    pub(in crate::proxy) fn into_http2<B>(mut self, body: B) -> http::Request<B> {
        // `Host` beside `:authority` is one too many for some servers, nginx among them.
        self.headers.remove(HOST);
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        let host = self.authority.as_ref().unwrap_or(&self.host);
        uri.authority = Authority::try_from(host.as_bytes()).ok();
        uri.path_and_query = Some(self.target);
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Rewrites a response head for the client. `switching` keeps what a 101 needs.
pub(in crate::proxy) fn prepare_response(head: &mut response::Parts, switching: bool) {
    let found = Found::of(&head.headers);
    let upgrade = switching
        .then(|| head.headers.get(UPGRADE).cloned())
        .flatten();
    if found.has(Found::TRANSFER_ENCODING) {
        // Its framing was chunked; a length beside it was void (RFC 9112, section 6.3).
        head.headers.remove(CONTENT_LENGTH);
    }
    strip(&mut head.headers, found, &[]);
    if let Some(protocol) = upgrade {
        head.headers.insert(UPGRADE, protocol);
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    head.version = Version::HTTP_11;
}

/// The target in origin form. What has no path means the root.
fn target(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        Some(target) if !target.as_str().starts_with('?') => target.clone(),
        Some(query) => PathAndQuery::try_from(format!("/{}", query.as_str()))
            .unwrap_or_else(|_| PathAndQuery::from_static("/")),
        None => PathAndQuery::from_static("/"),
    }
}

/// Removes what speaks of this connection only. What is trusted cannot be nominated either.
fn strip(headers: &mut HeaderMap, found: Found, trusted: &[HeaderName]) {
    if found.has(Found::CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            // What nearly everybody says: the one goes anyway, the other is hardly ever a field.
            .filter(|name| {
                !name.eq_ignore_ascii_case(b"keep-alive")
                    && (!name.eq_ignore_ascii_case(b"close") || found.has(Found::CLOSE))
            })
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .filter(|name| !is_end_to_end(name) && !trusted.contains(name))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
    for (field, name) in Found::HOP_BY_HOP {
        if found.has(field) {
            headers.remove(name);
        }
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    let begins = |prefix: &&str| name.as_str().starts_with(*prefix);
    NEVER_NOMINATED.contains(name) || NEVER_NOMINATED_PREFIXES.iter().any(begins)
}

/// Takes out of a request's trailers what only a head may say: framing, routing, who asks (RFC 9110,
/// section 6.5.1). A backend that merges them into the head would believe it.
pub(in crate::proxy) fn strip_trailers(trailers: &mut HeaderMap, trusted: &[HeaderName]) {
    remove_where(trailers, |name| {
        NEVER_IN_TRAILERS.contains(name)
            || name.as_str().starts_with("weir-")
            || is_claim(name, trusted)
    });
}

/// Whether a field says for whom a request is made, or is believed by the backend for another reason.
fn is_claim(name: &HeaderName, trusted: &[HeaderName]) -> bool {
    let is =
        |wanted: &str| name.as_str().len() == wanted.len() && reads_like(name.as_str(), wanted);
    reads_like(name.as_str(), "x-forwarded-")
        || *name == FORWARDED
        || trusted.iter().any(|trusted| is(trusted.as_str()))
}

fn remove_where(headers: &mut HeaderMap, is_out: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_out(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// The protocol of an upgrade that is passed on: on HTTP/1.1, asked for by both fields, on a
/// request without a body, and not to h2c, which would tunnel requests past the gate.
fn wanted_upgrade(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    found: Found,
) -> Option<HeaderValue> {
    if version != Version::HTTP_11
        || method != Method::GET
        || !found.has(Found::UPGRADE)
        || found.has(Found::CONTENT_LENGTH | Found::TRANSFER_ENCODING)
        || !lists(headers, &CONNECTION, b"upgrade")
    {
        return None;
    }
    let protocol = headers.get(UPGRADE)?;
    (!lists(headers, &UPGRADE, b"h2c") && !lists(headers, &UPGRADE, b"h2"))
        .then(|| protocol.clone())
}

/// Whether a comma-separated list field has this element.
pub(in crate::proxy) fn lists(headers: &HeaderMap, name: &HeaderName, element: &[u8]) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(element))
}

/// HTTP/2 splits `Cookie` into crumbs; HTTP/1.1 has one line of them (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    let mut joined = first.as_bytes().to_vec();
    let mut is_split = false;
    for crumb in crumbs {
        is_split = true;
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if is_split && let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// Says for whom the request is made: kept and extended if the peer is believed, else said anew.
/// `Forwarded` is kept in step where it is used.
fn add_forwarding(
    headers: &mut HeaderMap,
    host: &HeaderValue,
    hop: &Hop<'_>,
    found: Found,
    is_believed: bool,
) {
    say_client_cert(headers, hop.tls, found);
    let proto = hop.tls.map_or("http", |_| "https");
    let kept = |field| is_believed && found.has(field);
    let list = kept(Found::X_FORWARDED_FOR)
        .then(|| appended(headers, &X_FORWARDED_FOR, hop.peer_ip.as_bytes()))
        .flatten();
    headers.insert(X_FORWARDED_FOR, list.unwrap_or_else(|| hop.peer_ip.clone()));
    if kept(Found::FORWARDED) {
        let element = match hop.peer.ip().to_canonical() {
            IpAddr::V6(ip) => format!("for=\"[{ip}]\";proto={proto}"),
            IpAddr::V4(ip) => format!("for={ip};proto={proto}"),
        };
        if let Some(list) = appended(headers, &FORWARDED, element.as_bytes()) {
            headers.insert(FORWARDED, list);
        }
    }
    if !kept(Found::X_FORWARDED_HOST) {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    if !kept(Found::X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
}

/// All lines of a list field with one more element; `None` if there is no such field.
fn appended(headers: &HeaderMap, name: &HeaderName, element: &[u8]) -> Option<HeaderValue> {
    let mut list = Vec::new();
    for line in headers.get_all(name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        return None;
    }
    list.extend_from_slice(element);
    HeaderValue::from_bytes(&list).ok()
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 weir",
        Version::HTTP_10 => "1.0 weir",
        _ => "1.1 weir",
    })
}

#[cfg(test)]
pub(in crate::proxy) mod tests;
