//! Who may change things: loopback only unless configured, and never a web page of another origin.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header};

/// Whether a request that changes something is refused, and why in plain words.
pub(super) fn refusal(
    peer: SocketAddr,
    remote_control: bool,
    headers: &HeaderMap,
) -> Option<&'static str> {
    if !remote_control && !peer.ip().to_canonical().is_loopback() {
        return Some(
            "changes are accepted only from loopback addresses; \
             set admin.remote_control = true to accept them from others\n",
        );
    }
    let foreign = headers.contains_key(header::ORIGIN) && !same_origin(headers);
    if foreign || sent_by_another_site(headers) {
        return Some("changes are not accepted from a web page of another origin\n");
    }
    None
}

/// Whether the browser says so, which some do where they leave out the origin. `none` is a user's
/// own doing.
fn sent_by_another_site(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| site != "same-origin" && site != "none")
}

/// Whether a page that says where it comes from comes from us.
///
/// The host must also be an address or `localhost`: behind any other name a page of a stranger
/// can hide, by pointing its own name at our address once it is loaded.
fn same_origin(headers: &HeaderMap) -> bool {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    let (Some(origin), Some(host)) = (one(header::ORIGIN), one(header::HOST)) else {
        return false;
    };
    let Some((_, from)) = origin.split_once("://") else {
        return false;
    };
    from.eq_ignore_ascii_case(host) && is_address(host)
}

/// Whether a `Host` is an IP address or `localhost`, with or without a port.
fn is_address(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || bare.is_some_and(|ip| ip.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, remote: bool, fields: &[(&'static str, &str)]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        refusal(peer.parse().expect("an address"), remote, &headers)
    }

    #[test]
    fn only_loopback_may_change_things_unless_configured() {
        for loopback in [
            "127.0.0.1:1",
            "127.8.9.1:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(check(loopback, false, &[]), None, "{loopback}");
        }
        for other in [
            "10.0.0.1:1",
            "[fe80::1]:1",
            "[::ffff:10.0.0.1]:1",
            "0.0.0.0:1",
        ] {
            let refused = check(other, false, &[]).expect("refused");
            assert!(refused.contains("admin.remote_control"), "{other}");
            assert_eq!(check(other, true, &[]), None, "{other}");
        }
    }

    #[test]
    fn pages_of_other_origins_may_not() {
        let from = |origin, host| check("127.0.0.1:1", true, &[("origin", origin), ("host", host)]);
        for (origin, host) in [
            ("http://127.0.0.1:9900", "127.0.0.1:9900"),
            ("http://localhost:9900", "LocalHost:9900"),
            ("http://[::1]:9900", "[::1]:9900"),
            ("http://[::1]", "[::1]"),
            ("http://10.1.2.3", "10.1.2.3"),
        ] {
            assert_eq!(from(origin, host), None, "{origin}");
        }
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:9900"),
            ("null", "127.0.0.1:9900"),
            ("", ""),
            ("http://", ""),
            ("http://127.0.0.1:8000", "127.0.0.1:9900"),
            ("http://evil.example:9900", "evil.example:9900"),
            ("http://localhost.evil.example", "localhost.evil.example"),
        ] {
            assert!(from(origin, host).is_some(), "{origin}");
        }
        let twice = [
            ("origin", "http://127.0.0.1"),
            ("origin", "http://evil.example"),
            ("host", "127.0.0.1"),
        ];
        assert!(check("127.0.0.1:1", true, &twice).is_some());
        assert!(check("127.0.0.1:1", true, &twice[..1]).is_some(), "no host");
    }

    #[test]
    fn nor_may_those_whose_browser_says_that_they_are_of_another_site() {
        let from = |sites: &[&str]| {
            let fields: Vec<_> = sites.iter().map(|site| ("sec-fetch-site", *site)).collect();
            check("127.0.0.1:1", true, &fields)
        };
        for other in ["cross-site", "same-site", "", "?"] {
            assert!(from(&[other]).is_some(), "{other}");
            assert!(from(&["same-origin", other]).is_some(), "{other}");
        }
        assert_eq!(from(&["same-origin"]), None);
        assert_eq!(from(&["none"]), None);
        let both = [
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1"),
            ("host", "127.0.0.1"),
        ];
        assert!(check("127.0.0.1:1", true, &both).is_some());
    }
}
