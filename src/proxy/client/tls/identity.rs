//! Who a client is by its certificate, in the words of `x-forwarded-client-cert`.
//!
//! The form is Envoy's: `Hash=…;Subject="…";URI=…;DNS=…`, the subject as RFC 2253 writes it and
//! OpenSSL prints it. **No name in a certificate can add an element or a key of its own**: values
//! with separators are quoted, and a name that no quoting would hold is left out.

use std::fmt::Write as _;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};
use x509_cert::Certificate;
use x509_cert::der::asn1::Any;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::hex;
use crate::proxy::head::fields::{Found, is_client_cert};

const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// A certificate with more names than fit is told by those that do: backends refuse long heads.
const MAX_LEN: usize = 8 << 10;

/// The short names of attributes, as OpenSSL prints them. Others are shown by number.
const ATTRIBUTES: [(&str, &str); 16] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.97", "organizationIdentifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// What is known of the other end of a TLS connection.
#[derive(Debug, Default)]
pub(in crate::proxy) struct TlsPeer {
    /// What its verified certificate says of it; `None` if it showed none.
    pub(in crate::proxy) certificate: Option<HeaderValue>,
}

impl TlsPeer {
    /// Who showed this certificate, which was verified.
    pub(super) fn verified(der: &[u8]) -> Self {
        Self {
            certificate: HeaderValue::try_from(element(der)).ok(),
        }
    }
}

/// Says to the backend who the client is by its certificate. Whatever it says of that itself is
/// dropped, with TLS or without: no backend could tell it from the truth.
pub(in crate::proxy) fn say_client_cert(
    headers: &mut HeaderMap,
    peer: Option<&TlsPeer>,
    found: Found,
) {
    if found.has(Found::X_FORWARDED_CLIENT_CERT) {
        let all: Vec<_> = headers.keys().cloned().collect();
        for claim in all.iter().filter(|name| is_client_cert(name.as_str())) {
            headers.remove(claim);
        }
    }
    if let Some(certificate) = peer.and_then(|peer| peer.certificate.as_ref()) {
        headers.insert(X_FORWARDED_CLIENT_CERT, certificate.clone());
    }
}

/// One element of `x-forwarded-client-cert`. What cannot be read has no more than its hash.
fn element(der: &[u8]) -> String {
    let mut element = format!("Hash={}", hex(digest(&SHA256, der).as_ref()));
    let Ok(certificate) = Certificate::from_der(der) else {
        return element;
    };
    let certificate = certificate.tbs_certificate();
    let _ = write!(element, ";Subject=\"{}\"", subject(certificate.subject()));
    let names = match certificate.get_extension::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0,
        _ => Vec::new(),
    };
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(("URI", uri.as_str())),
        _ => None,
    });
    let hosts = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(host) => Some(("DNS", host.as_str())),
        _ => None,
    });
    for (key, name) in uris.chain(hosts) {
        if element.len() + name.len() > MAX_LEN {
            break;
        }
        push(&mut element, key, name);
    }
    element
}

fn push(element: &mut String, key: &str, name: &str) {
    let holds = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !name.bytes().all(holds) {
        return;
    }
    let quote = if name.contains([',', ';', '=']) {
        "\""
    } else {
        ""
    };
    let _ = write!(element, ";{key}={quote}{name}{quote}");
}

/// A name as RFC 2253 writes it: the last part first, and nothing but visible ASCII.
pub(super) fn subject(name: &Name) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        let attributes: Vec<_> = part.iter().collect();
        for (at, attribute) in attributes.into_iter().rev().enumerate() {
            if !text.is_empty() {
                text.push(if at == 0 { ',' } else { '+' });
            }
            let oid = attribute.oid.to_string();
            let known = ATTRIBUTES.iter().find(|(known, _)| *known == oid);
            let value = known.and_then(|_| words(&attribute.value));
            let name = known.map_or(oid.as_str(), |(_, name)| name);
            if let Some(value) = value {
                let _ = write!(text, "{name}={}", escaped(&value));
            } else {
                let der = attribute.value.to_der().unwrap_or_default();
                let _ = write!(text, "{name}=#{}", hex(&der).to_ascii_uppercase());
            }
        }
    }
    text
}

/// The text of an attribute, if it is one.
fn words(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::VisibleString
        | Tag::NumericString => String::from_utf8(bytes.to_vec()).ok(),
        // Latin-1, as everybody reads it.
        Tag::TeletexString => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units = bytes.chunks_exact(2);
            let units: Vec<u16> = units
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// With everything escaped that separates, and everything that is not visible ASCII.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, byte) in value.bytes().enumerate() {
        let is_edge = at == 0 || at + 1 == value.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if is_edge => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
