//! The door through which `benches/head.rs` reaches what is private to the proxy. Not for anybody else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderName, HeaderValue, Request, request};

use super::head::check::check;
use super::head::headers::{CheckedHead, Hop};
use super::head::trust::{Network, Trust};

/// A body that is none.
pub type Nothing = http_body_util::Empty<bytes::Bytes>;

/// A hop between a client and a backend.
#[derive(Debug)]
pub struct Heads {
    peer_ip: HeaderValue,
    upstream_host: HeaderValue,
    trust: Trust,
}

impl Default for Heads {
    /// Believes every peer, as that takes most work.
    fn default() -> Self {
        Self {
            peer_ip: HeaderValue::from_static("192.0.2.7"),
            upstream_host: HeaderValue::from_static("127.0.0.1:8080"),
            trust: Trust {
                proxies: Network::ANY.to_vec(),
                headers: [HeaderName::from_static("x-real-ip")].into(),
            },
        }
    }
}

impl Heads {
    fn hop(&self) -> Hop<'_> {
        Hop {
            peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 5000),
            peer_ip: &self.peer_ip,
            trust: &self.trust,
            upstream_host: &self.upstream_host,
            max_fields: 100,
            tls: None,
            max_target: 16 << 10,
        }
    }

    fn checked(&self, head: request::Parts) -> CheckedHead {
        check(head, &self.hop(), || None).expect("fit to be forwarded")
    }

    /// Checks a head, which must be a good one.
    #[must_use]
    pub fn check(&self, head: request::Parts) -> impl Sized + use<> {
        self.checked(head)
    }

    /// Checks it and rewrites it for a backend that speaks HTTP/1.1.
    #[must_use]
    pub fn to_http1(&self, head: request::Parts) -> Request<Nothing> {
        self.checked(head)
            .rewrite(&self.hop())
            .into_http1(Nothing::new())
    }

    /// The same for one that speaks HTTP/2.
    #[must_use]
    pub fn to_http2(&self, head: request::Parts) -> Request<Nothing> {
        self.checked(head)
            .rewrite(&self.hop())
            .into_http2(Nothing::new())
    }
}
