//! The head of a request: checked, then rewritten for the backend. Pure.
//!
//! **Nothing that a client sends decides where weir connects**, and nothing that names one
//! connection's framing survives onto the next (RFC 9110, section 7.6.1).

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderName, TE, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, request, response};

use super::fields::Found;
use super::settings::Forwarded;
use super::tls::{TlsPeer, say_client_cert};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that a client may not have removed by naming them in `Connection`: they say who is
/// asking and for what, not how this hop works.
const NEVER_NOMINATED: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    http::header::AUTHORIZATION,
    COOKIE,
];

/// Why a request is refused before anything else is considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What the client gets.
    pub(super) status: StatusCode,
    /// Which rule it broke.
    pub(super) rule: &'static str,
}

const fn bad_request(rule: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        rule,
    }
}

/// What the rewriting needs to know of the connection that the request came on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a> {
    pub(super) peer: SocketAddr,
    pub(super) peer_ip: &'a HeaderValue,
    pub(super) forwarded: Forwarded,
    /// What names the backend when an HTTP/1.0 client names nothing.
    pub(super) upstream_host: &'a HeaderValue,
    pub(super) max_fields: usize,
    pub(super) tls: Option<&'a TlsPeer>,
}

/// A request head fit to be forwarded over HTTP/1.1 or HTTP/2.
#[derive(Clone, Debug)]
pub(super) struct ForwardHead {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    /// The one host that the request is for.
    pub(super) host: HeaderValue,
    pub(super) headers: HeaderMap,
    /// The protocol that the client asks to switch to.
    pub(super) upgrade: Option<HeaderValue>,
}

/// A request head that can be forwarded, as it arrived. A request that is refused or lets go of its
/// place is never rewritten, and one that waits holds no more than the client sent.
#[derive(Debug)]
pub(super) struct CheckedHead {
    pub(super) head: request::Parts,
    /// The one host that the request is for.
    host: HeaderValue,
    found: Found,
}

/// Checks a head as it arrived: what peers could read in two ways is refused.
pub(super) fn check(head: request::Parts, hop: &Hop<'_>) -> Result<CheckedHead, Refusal> {
    let headers = &head.headers;
    if head.method == Method::CONNECT {
        return Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            rule: "CONNECT is not served",
        });
    }
    if headers.len() > hop.max_fields {
        return Err(Refusal {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            rule: "more fields than limits.header_fields",
        });
    }
    let found = Found::of(headers);
    check_framing(headers, found)?;
    let host = the_one_host(&head.uri, head.version, headers, hop)?;
    Ok(CheckedHead { head, host, found })
}

impl CheckedHead {
    /// Rewrites the head for the backend: strip first, then add.
    pub(super) fn rewrite(self, hop: &Hop<'_>) -> ForwardHead {
        let Self { head, host, found } = self;
        let request::Parts {
            method,
            uri,
            version,
            mut headers,
            ..
        } = head;
        let target = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        let upgrade = wanted_upgrade(&method, version, &headers, found);
        let wants_trailers = found.has(Found::TE) && lists(&headers, &TE, b"trailers");
        strip(&mut headers, found);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if version == Version::HTTP_2 && found.has(Found::COOKIE) {
            join_cookies(&mut headers);
        }
        add_forwarding(&mut headers, &host, hop, found);
        headers.append(VIA, via(version));
        ForwardHead {
            method,
            target,
            host,
            headers,
            upgrade,
        }
    }
}

impl ForwardHead {
    /// As an HTTP/1.1 request: origin form, with `Host`.
    pub(super) fn into_http1<B>(mut self, body: B) -> http::Request<B> {
        self.headers.insert(HOST, self.host);
        if let Some(protocol) = self.upgrade {
            self.headers.insert(UPGRADE, protocol);
            self.headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(self.target);
        *request.headers_mut() = self.headers;
        request
    }

    /// As an HTTP/2 request: the host is the authority.
    pub(super) fn into_http2<B>(mut self, body: B) -> http::Request<B> {
        // `Host` beside `:authority` is one too many for some servers, nginx among them.
        self.headers.remove(HOST);
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Authority::try_from(self.host.as_bytes()).ok();
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
pub(super) fn prepare_response(head: &mut response::Parts, switching: bool) {
    let found = Found::of(&head.headers);
    let upgrade = switching
        .then(|| head.headers.get(UPGRADE).cloned())
        .flatten();
    if found.has(Found::TRANSFER_ENCODING) {
        // Its framing was chunked; a length beside it was void (RFC 9112, section 6.3).
        head.headers.remove(CONTENT_LENGTH);
    }
    strip(&mut head.headers, found);
    if let Some(protocol) = upgrade {
        head.headers.insert(UPGRADE, protocol);
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    head.version = Version::HTTP_11;
}

/// Removes what speaks of this connection only.
fn strip(headers: &mut HeaderMap, found: Found) {
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
            .filter(|name| !NEVER_NOMINATED.contains(name))
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

/// One framing that everybody reads alike. hyper has refused contradicting lengths by now.
fn check_framing(headers: &HeaderMap, found: Found) -> Result<(), Refusal> {
    if !found.has(Found::TRANSFER_ENCODING | Found::CONTENT_LENGTH) {
        return Ok(());
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal {
                status: StatusCode::NOT_IMPLEMENTED,
                rule: "a transfer coding other than one chunked",
            });
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(bad_request("Content-Length beside Transfer-Encoding"));
        }
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(bad_request("more than one Content-Length"));
    }
    Ok(())
}

/// The authority of the target if it has one, else the one `Host` (RFC 9112, section 3.2.2).
fn the_one_host(
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    hop: &Hop<'_>,
) -> Result<HeaderValue, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad_request("more than one Host"));
    }
    if let Some(host) = host
        && !is_host(host.as_bytes())
    {
        return Err(bad_request("a Host that is no host"));
    }
    if let Some(authority) = uri.authority() {
        if !is_host(authority.as_str().as_bytes()) {
            return Err(bad_request("an authority that is no host"));
        }
        return HeaderValue::from_str(authority.as_str())
            .map_err(|_| bad_request("an authority that is no host"));
    }
    match host {
        Some(host) => Ok(host.clone()),
        None if version == Version::HTTP_10 => Ok(hop.upstream_host.clone()),
        None => Err(bad_request("no Host")),
    }
}

/// A host and an optional port, without user information, path, query or spaces. An empty host is
/// what RFC 9112 prescribes for targets without authority.
fn is_host(bytes: &[u8]) -> bool {
    if bytes.is_empty() || is_plain_host(bytes) {
        return true;
    }
    !bytes.iter().any(|byte| {
        matches!(
            byte,
            b'@' | b'/' | b'?' | b'#' | b'\\' | b' ' | b'\t' | b','
        )
    }) && Authority::try_from(bytes).is_ok()
}

/// What nearly every host looks like, told without an allocation.
fn is_plain_host(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == b':');
    let is_name = |name: &[u8]| {
        name.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    let is_port =
        |port: &[u8]| (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(is_name) && parts.next().is_none_or(is_port)
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
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, element: &[u8]) -> bool {
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

/// Says for whom the request is made. `Forwarded` is kept in step where the client uses it.
fn add_forwarding(headers: &mut HeaderMap, host: &HeaderValue, hop: &Hop<'_>, found: Found) {
    say_client_cert(headers, hop.tls, found);
    let proto = hop.tls.map_or("http", |_| "https");
    let kept = |field| hop.forwarded != Forwarded::Replace && found.has(field);
    if hop.forwarded == Forwarded::Replace && found.has(Found::FORWARDED) {
        headers.remove(FORWARDED);
    }
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
mod tests;
