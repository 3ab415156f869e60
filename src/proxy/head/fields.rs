//! Which header fields of a head concern weir. Pure.

use http::HeaderMap;
use http::header::{CONNECTION, EXPECT, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Which of the fields that weir looks at are there. One pass finds out: to look each of them up
/// would take most of the time that a head costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Found(u16);

impl Found {
    pub(in crate::proxy) const CONNECTION: u16 = 1;
    /// Fields that speak of one connection only, or of what weir does itself.
    pub(in crate::proxy) const KEEP_ALIVE: u16 = 1 << 1;
    pub(in crate::proxy) const PROXY_CONNECTION: u16 = 1 << 2;
    pub(in crate::proxy) const TRANSFER_ENCODING: u16 = 1 << 3;
    pub(in crate::proxy) const UPGRADE: u16 = 1 << 4;
    pub(in crate::proxy) const TE: u16 = 1 << 5;
    pub(in crate::proxy) const HTTP2_SETTINGS: u16 = 1 << 6;
    pub(in crate::proxy) const EXPECT: u16 = 1 << 7;
    /// Fields that are rewritten.
    pub(in crate::proxy) const CONTENT_LENGTH: u16 = 1 << 8;
    pub(in crate::proxy) const COOKIE: u16 = 1 << 9;
    pub(in crate::proxy) const FORWARDED: u16 = 1 << 10;
    pub(in crate::proxy) const X_FORWARDED_FOR: u16 = 1 << 11;
    pub(in crate::proxy) const X_FORWARDED_HOST: u16 = 1 << 12;
    pub(in crate::proxy) const X_FORWARDED_PROTO: u16 = 1 << 13;
    /// Never passed on as it came.
    pub(in crate::proxy) const X_FORWARDED_CLIENT_CERT: u16 = 1 << 15;
    /// Nobody has one, but `Connection: close` names it.
    pub(in crate::proxy) const CLOSE: u16 = 1 << 14;

    /// What never passes, besides what `Connection` names.
    pub(in crate::proxy) const HOP_BY_HOP: [(u16, HeaderName); 8] = [
        (Self::CONNECTION, CONNECTION),
        (Self::KEEP_ALIVE, KEEP_ALIVE),
        (Self::PROXY_CONNECTION, PROXY_CONNECTION),
        (Self::TRANSFER_ENCODING, TRANSFER_ENCODING),
        (Self::UPGRADE, UPGRADE),
        (Self::TE, TE),
        (Self::HTTP2_SETTINGS, HTTP2_SETTINGS),
        (Self::EXPECT, EXPECT),
    ];

    pub(in crate::proxy) fn of(headers: &HeaderMap) -> Self {
        let all = headers.keys().fold(0, |all, name| {
            all | match name.as_str() {
                "connection" => Self::CONNECTION,
                "keep-alive" => Self::KEEP_ALIVE,
                "proxy-connection" => Self::PROXY_CONNECTION,
                "transfer-encoding" => Self::TRANSFER_ENCODING,
                "upgrade" => Self::UPGRADE,
                "te" => Self::TE,
                "http2-settings" => Self::HTTP2_SETTINGS,
                "expect" => Self::EXPECT,
                "content-length" => Self::CONTENT_LENGTH,
                "cookie" => Self::COOKIE,
                "forwarded" => Self::FORWARDED,
                "x-forwarded-for" => Self::X_FORWARDED_FOR,
                "x-forwarded-host" => Self::X_FORWARDED_HOST,
                "x-forwarded-proto" => Self::X_FORWARDED_PROTO,
                "close" => Self::CLOSE,
                name if is_client_cert(name) => Self::X_FORWARDED_CLIENT_CERT,
                _ => 0,
            }
        });
        Self(all)
    }

    /// Whether one of these is there.
    pub(in crate::proxy) fn has(self, field: u16) -> bool {
        self.0 & field != 0
    }
}

/// Whether a field is `x-forwarded-client-cert`, or what many backends take for it.
pub(in crate::proxy) fn is_client_cert(name: &str) -> bool {
    const NAME: &str = "x-forwarded-client-cert";
    name.len() == NAME.len() && reads_like(name, NAME)
}

/// Whether a field's name begins like this to a backend that hands fields over as variables: to
/// those, `_` and `-` are one.
pub(in crate::proxy) fn reads_like(name: &str, wanted: &str) -> bool {
    name.len() >= wanted.len()
        && std::iter::zip(name.bytes(), wanted.bytes())
            .all(|(byte, wanted)| byte == wanted || (byte == b'_' && wanted == b'-'))
}
