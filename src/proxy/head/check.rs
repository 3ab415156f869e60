//! Whether a request head can be forwarded at all: what peers could read in two ways is refused.
//! Pure.
//!
//! **Nothing that a client sends decides where weir connects**: the target and the host are checked
//! so that the backend and everybody between understand the same by them.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, request};

use crate::proxy::head::fields::Found;
use crate::proxy::head::headers::{CheckedHead, Hop};
use crate::proxy::head::scan::{EXCERPT_BYTES, Flaw};
use crate::telemetry::Rule;

/// Why a request is refused before anything else is considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Refusal {
    /// Which rule it broke.
    pub(in crate::proxy) rule: Rule,
    /// The beginning of what broke it, as the client wrote it.
    pub(in crate::proxy) excerpt: Vec<u8>,
}

impl Refusal {
    fn new(rule: Rule, offending: &[u8]) -> Self {
        // One byte more than is shown, so that it is seen to be cut.
        let len = offending.len().min(EXCERPT_BYTES + 1);
        Self {
            rule,
            excerpt: offending[..len].to_vec(),
        }
    }

    /// What was found in the bytes, and cannot be seen in the head.
    pub(in crate::proxy) fn of(flaw: Flaw, head: &request::Parts) -> Self {
        let (rule, field) = match flaw {
            Flaw::LengthBesideCoding => (Rule::LengthBesideCoding, TRANSFER_ENCODING),
            Flaw::RepeatedLength => (Rule::LengthRepeated, CONTENT_LENGTH),
            Flaw::Fragment => {
                return Self::new(Rule::TargetFragment, target_of(&head.uri).as_bytes());
            }
        };
        let value = head.headers.get(field).map(HeaderValue::as_bytes);
        Self::new(rule, value.unwrap_or_default())
    }

    /// What the client gets.
    pub(in crate::proxy) fn status(&self) -> StatusCode {
        match self.rule {
            Rule::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Rule::HeaderFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Rule::TargetLength => StatusCode::URI_TOO_LONG,
            Rule::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Rule::TargetForm
            | Rule::TargetFragment
            | Rule::Scheme
            | Rule::HostMissing
            | Rule::HostRepeated
            | Rule::HostInvalid
            | Rule::LengthBesideCoding
            | Rule::LengthRepeated => StatusCode::BAD_REQUEST,
        }
    }
}

/// Checks a head as it arrived. `flaw` is asked what is not seen of it any more, if it has framing.
pub(in crate::proxy) fn check(
    head: request::Parts,
    hop: &Hop<'_>,
    flaw: impl FnOnce() -> Option<Flaw>,
) -> Result<CheckedHead, Refusal> {
    let headers = &head.headers;
    if head.method == Method::CONNECT {
        let to = head.uri.authority().map_or("", Authority::as_str);
        return Err(Refusal::new(Rule::Connect, to.as_bytes()));
    }
    if headers.len() > hop.max_fields {
        let count = headers.len().to_string();
        return Err(Refusal::new(Rule::HeaderFields, count.as_bytes()));
    }
    check_target(&head.method, &head.uri, head.version, hop)?;
    let found = Found::of(headers);
    if found.has(Found::TRANSFER_ENCODING | Found::CONTENT_LENGTH) {
        check_framing(headers)?;
        if let Some(flaw) = flaw() {
            return Err(Refusal::of(flaw, &head));
        }
    }
    let host = the_one_host(&head.uri, head.version, headers, hop)?;
    Ok(CheckedHead { head, host, found })
}

/// A path with an optional query; as a whole URI too, whose host then wins; `*` for `OPTIONS` only.
fn check_target(
    method: &Method,
    uri: &Uri,
    version: Version,
    hop: &Hop<'_>,
) -> Result<(), Refusal> {
    let target = target_of(uri);
    if target.len() > hop.max_target {
        return Err(Refusal::new(Rule::TargetLength, target.as_bytes()));
    }
    let is_fit = match target.as_bytes() {
        [b'/', ..] => true,
        b"*" => method == Method::OPTIONS,
        // `http://host?query` has no path; it means the root.
        [b'?', ..] => version != Version::HTTP_2 && uri.scheme().is_some(),
        _ => false,
    };
    if !is_fit {
        let written = if target.is_empty() {
            uri.authority().map_or("", Authority::as_str)
        } else {
            target
        };
        return Err(Refusal::new(Rule::TargetForm, written.as_bytes()));
    }
    match uri.scheme_str() {
        None | Some("http" | "https") => Ok(()),
        Some(scheme) => Err(Refusal::new(Rule::Scheme, scheme.as_bytes())),
    }
}

/// Empty for a target that is only an authority.
fn target_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", PathAndQuery::as_str)
}

/// One framing that everybody reads alike: exactly one length, or one `chunked`. hyper has refused
/// lengths that are no numbers by now, and what it has mended was found by the scan of the bytes.
fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::new(Rule::TransferCoding, coding.as_bytes()));
        }
        if let Some(second) = codings.next() {
            return Err(Refusal::new(Rule::TransferCoding, second.as_bytes()));
        }
        if let Some(length) = headers.get(CONTENT_LENGTH) {
            return Err(Refusal::new(Rule::LengthBesideCoding, length.as_bytes()));
        }
    }
    match headers.get_all(CONTENT_LENGTH).iter().nth(1) {
        Some(second) => Err(Refusal::new(Rule::LengthRepeated, second.as_bytes())),
        None => Ok(()),
    }
}

/// The authority of the target if it has one, else the one `Host` (RFC 9112, section 3.2.2). Also
/// where the authority wins, HTTP/1.1 must have one valid `Host`.
fn the_one_host(
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    hop: &Hop<'_>,
) -> Result<HeaderValue, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if let Some(second) = hosts.next() {
        return Err(Refusal::new(Rule::HostRepeated, second.as_bytes()));
    }
    if let Some(host) = host
        && !is_host(host.as_bytes())
    {
        return Err(Refusal::new(Rule::HostInvalid, host.as_bytes()));
    }
    if host.is_none() && version == Version::HTTP_11 {
        return Err(Refusal::new(Rule::HostMissing, b""));
    }
    if let Some(authority) = uri.authority() {
        let authority = authority.as_str();
        return match HeaderValue::from_str(authority) {
            Ok(value) if !authority.is_empty() && is_host(authority.as_bytes()) => Ok(value),
            _ => Err(Refusal::new(Rule::HostInvalid, authority.as_bytes())),
        };
    }
    match host {
        Some(host) => Ok(host.clone()),
        None if version == Version::HTTP_10 => Ok(hop.upstream_host.clone()),
        None => Err(Refusal::new(Rule::HostMissing, b"")),
    }
}

/// A host and an optional port, without user information, path, query or spaces. An empty host is
/// what RFC 9112 prescribes for targets without authority.
fn is_host(bytes: &[u8]) -> bool {
    bytes.is_empty() || is_plain_host(bytes) || is_odd_host(bytes)
}

/// What nearly every host looks like.
fn is_plain_host(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == b':');
    let is_name = |name: &[u8]| {
        !name.is_empty()
            && name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    parts.next().is_some_and(is_name) && parts.next().is_none_or(is_port)
}

fn is_port(port: &[u8]) -> bool {
    // No more than fit into the sum below.
    (1..=5).contains(&port.len())
        && port.iter().all(u8::is_ascii_digit)
        && port
            .iter()
            .fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0'))
            <= 65_535
}

/// An IPv6 literal, or a name with the other signs that RFC 3986 allows in one and that mean
/// nothing elsewhere. Percent signs and commas are for nobody's benefit but an attacker's.
fn is_odd_host(bytes: &[u8]) -> bool {
    let (host, port) = if let [b'[', rest @ ..] = bytes {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else {
            return false;
        };
        (&rest[..end], &rest[end + 1..])
    } else {
        let end = bytes.iter().position(|byte| *byte == b':');
        bytes.split_at(end.unwrap_or(bytes.len()))
    };
    let is_host = if bytes.starts_with(b"[") {
        host.contains(&b':')
            && host
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
    } else {
        !host.is_empty()
            && host
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte))
    };
    is_host && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

#[cfg(test)]
mod tests;
