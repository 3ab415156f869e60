//! The head's rules, row by row.

use super::*;
use crate::proxy::head::check::check;
use crate::proxy::head::trust::Network;
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::{Empty, Full};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

const PEER: &str = "192.0.2.7";

pub(in crate::proxy) const HTTP_10: Version = Version::HTTP_10;
pub(in crate::proxy) const HTTP_11: Version = Version::HTTP_11;
pub(in crate::proxy) const HTTP_2: Version = Version::HTTP_2;

static PEER_IP: HeaderValue = HeaderValue::from_static(PEER);
static UPSTREAM_HOST: HeaderValue = HeaderValue::from_static("127.0.0.1:8080");

/// A head written as on the wire, without the last empty line; `version` decides the dialect.
pub(in crate::proxy) fn parse(version: Version, text: &str) -> request::Parts {
    let mut lines = text.lines();
    let (method, target) = lines
        .next()
        .and_then(|line| line.split_once(' '))
        .expect("a request line");
    let mut request = http::Request::builder()
        .method(method)
        .uri(target)
        .version(version);
    for line in lines {
        let (name, value) = line.split_once(':').expect("a field");
        request = request.header(name, value.trim());
    }
    request.body(()).expect("a head").into_parts().0
}

/// Believes these peers, and has one field that only those may send.
pub(in crate::proxy) fn trust(proxies: &[&str]) -> Trust {
    let networks = |text: &&str| match *text {
        "any" => Network::ANY.to_vec(),
        text => vec![text.parse().expect("a network")],
    };
    Trust {
        proxies: proxies.iter().flat_map(networks).collect(),
        headers: [HeaderName::from_static("x-real-ip")].into(),
    }
}

pub(in crate::proxy) fn hop_of(trust: &Trust) -> Hop<'_> {
    Hop {
        peer: "192.0.2.7:5000".parse().expect("an address"),
        peer_ip: &PEER_IP,
        trust,
        upstream_host: &UPSTREAM_HOST,
        max_fields: 20,
        tls: None,
        max_target: 100,
    }
}

fn prepared_by(trust: &Trust, version: Version, text: &str) -> ForwardHead {
    let hop = hop_of(trust);
    check(parse(version, text), &hop, || None)
        .expect("fit to be forwarded")
        .rewrite(&hop)
}

fn prepared_as(version: Version, text: &str) -> ForwardHead {
    prepared_by(&trust(&["any"]), version, text)
}

fn prepared(text: &str) -> ForwardHead {
    prepared_as(HTTP_11, text)
}

fn none() -> Empty<Bytes> {
    Empty::new()
}

fn field(head: &ForwardHead, name: &str) -> Vec<String> {
    head.headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

#[test]
fn the_authority_wins_over_the_host() {
    let head = prepared("GET http://b.example:81/x?y\nhost: a.example");
    assert_eq!(head.host, "b.example:81");
    let request = head.into_http1(none());
    assert_eq!(request.uri().to_string(), "/x?y");
    assert_eq!(request.headers()["host"], "b.example:81");
}

#[test]
fn towards_http2_the_host_is_the_authority_and_no_field() {
    let head = prepared("GET /x\nhost: a.example:81");
    let request = head.into_http2(none());
    assert_eq!(request.uri().to_string(), "http://a.example:81/x");
    assert!(!request.headers().contains_key("host"));
}

#[test]
fn targets_pass_byte_for_byte() {
    for target in ["//a/../%2e", "/?", "/a%00b?x=%zz", "/a;b=c//", "*"] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let head = prepared(&format!("{method} {target}\nhost: a"));
        assert_eq!(head.into_http1(none()).uri().to_string(), target);
    }
}

#[test]
fn what_speaks_of_one_connection_stays_on_it() {
    let head = prepared(
        "GET /\nhost: a\nconnection: x-one, close\nconnection: X-Two\nx-one: 1\nx-two: 2\n\
         keep-alive: timeout=5\nproxy-connection: keep-alive\nte: trailers, deflate\n\
         upgrade: h2c\nhttp2-settings: AAA\nexpect: 100-continue\nx-stays: 3",
    );
    for gone in [
        "connection",
        "x-one",
        "x-two",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
        "expect",
    ] {
        assert_eq!(field(&head, gone), Vec::<String>::new(), "{gone}");
    }
    assert_eq!(field(&head, "te"), ["trailers"]);
    assert_eq!(field(&head, "x-stays"), ["3"]);
    assert_eq!(head.upgrade, None);
}

#[test]
fn who_asks_and_for_what_cannot_be_nominated_away() {
    let stays = [
        "authorization",
        "cookie",
        "via",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-anything",
        "forwarded",
        "x-real-ip",
        "content-type",
        "content-length",
        "grpc-timeout",
        "if-match",
        "range",
        "origin",
        "cache-control",
    ];
    let fields: Vec<String> = stays.iter().map(|name| format!("{name}: 1")).collect();
    let nominated = stays.join(", ");
    let text = format!(
        "GET /\nhost: a\nconnection: Host, {nominated}\n{}",
        fields.join("\n")
    );
    let head = prepared(&text);
    assert_eq!(head.host, "a");
    for name in stays {
        assert!(field(&head, name)[0].starts_with('1'), "{name}");
    }
}

const SPEAKS_FOR_OTHERS: &str = "GET /\nhost: a\nx-forwarded-for: 1.1.1.1\n\
    x-forwarded-for: 2.2.2.2\nforwarded: for=1.1.1.1\nx-forwarded-proto: https\n\
    x-forwarded-host: front\nx-real-ip: 1.1.1.1\nvia: 1.1 edge";

#[test]
fn a_peer_that_is_believed_speaks_for_others() {
    for proxies in [&["any"][..], &["10.0.0.0/8", "192.0.2.0/29"]] {
        let head = prepared_by(&trust(proxies), HTTP_11, SPEAKS_FOR_OTHERS);
        assert_eq!(
            field(&head, "x-forwarded-for"),
            [format!("1.1.1.1, 2.2.2.2, {PEER}")]
        );
        assert_eq!(
            field(&head, "forwarded"),
            [format!("for=1.1.1.1, for={PEER};proto=http")]
        );
        assert_eq!(field(&head, "x-forwarded-proto"), ["https"]);
        assert_eq!(field(&head, "x-forwarded-host"), ["front"]);
        assert_eq!(field(&head, "x-real-ip"), ["1.1.1.1"]);
        assert_eq!(field(&head, "via"), ["1.1 edge", "1.1 weir"]);
    }
}

#[test]
fn another_peer_speaks_for_itself() {
    for proxies in [&[][..], &["192.0.2.8", "::/0"]] {
        let head = prepared_by(&trust(proxies), HTTP_11, SPEAKS_FOR_OTHERS);
        assert_eq!(field(&head, "x-forwarded-for"), [PEER]);
        assert_eq!(field(&head, "forwarded"), Vec::<String>::new());
        assert_eq!(field(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(field(&head, "x-forwarded-host"), ["a"]);
        assert_eq!(field(&head, "x-real-ip"), Vec::<String>::new());
        assert_eq!(field(&head, "via"), ["1.1 edge", "1.1 weir"]);
    }
}

#[test]
fn only_a_whole_upgrade_request_is_passed_on() {
    let upgrade = |text: &str| prepared(text).upgrade.is_some();
    let asks = "connection: keep-alive, Upgrade\nupgrade: websocket";
    assert!(upgrade(&format!("GET /\nhost: a\n{asks}")));
    assert!(!upgrade("GET /\nhost: a\nupgrade: websocket"));
    assert!(!upgrade("GET /\nhost: a\nconnection: upgrade"));
    assert!(!upgrade(&format!("POST /\nhost: a\n{asks}")));
    assert!(!upgrade(&format!(
        "GET /\nhost: a\ncontent-length: 3\n{asks}"
    )));
    assert!(!upgrade(
        "GET /\nhost: a\nconnection: upgrade\nupgrade: h2c"
    ));
    assert!(!upgrade(
        "GET /\nhost: a\nconnection: upgrade\nupgrade: websocket, h2c"
    ));
    let request = prepared(&format!("GET /\nhost: a\n{asks}")).into_http1(none());
    assert_eq!(request.headers()["connection"], "upgrade");
    assert_eq!(request.headers()["upgrade"], "websocket");
}

#[test]
fn cookie_crumbs_are_joined_for_http1() {
    let text = "GET http://a/\ncookie: a=1\ncookie: b=2\ncookie: c=3";
    let head = prepared_as(HTTP_2, text);
    assert_eq!(field(&head, "cookie"), ["a=1; b=2; c=3"]);
    assert_eq!(field(&head, "via"), ["2.0 weir"]);
}

#[test]
fn a_void_length_beside_chunked_framing_is_dropped_from_responses() {
    let (mut parts, ()) = Response::builder()
        .header("transfer-encoding", "chunked")
        .header("content-length", "5")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("x-stays", "2")
        .body(())
        .expect("a response")
        .into_parts();
    prepare_response(&mut parts, false);
    let left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["x-stays"]);
}

#[test]
fn an_empty_host_is_the_upstreams_over_http2() {
    let text = "GET /x?y\nhost:";
    let request = prepared(text).into_http2(none());
    assert_eq!(request.uri().to_string(), "http://127.0.0.1:8080/x?y");
    let request = prepared(text).into_http1(none());
    assert_eq!(request.uri().to_string(), "/x?y");
    assert_eq!(request.headers()["host"], "");
}

#[test]
fn the_asterisk_and_the_root_keep_their_forms() {
    let rows = [
        ("OPTIONS *\nhost: a", "*"),
        ("OPTIONS http://a/\nhost: a", "/"),
        ("GET http://a\nhost: a", "/"),
        ("GET http://a?x=1\nhost: a", "/?x=1"),
    ];
    for (text, target) in rows {
        assert_eq!(prepared(text).into_http1(none()).uri().to_string(), target);
        let request = prepared(text).into_http2(none());
        let path = request.uri().path_and_query().expect("a target");
        assert_eq!((path.as_str(), request.uri().host()), (target, Some("a")));
    }
}

#[test]
fn te_is_said_to_be_meant_for_this_hop() {
    let connection = |text: &str| {
        let request = prepared(text).into_http1(none());
        let value = request.headers().get("connection");
        value.map(|value| value.to_str().expect("ASCII").to_owned())
    };
    let get = "GET /\nhost: a";
    let upgrade = "connection: upgrade\nupgrade: websocket";
    assert_eq!(connection(get), None);
    assert_eq!(
        connection(&format!("{get}\nte: trailers")).as_deref(),
        Some("te")
    );
    assert_eq!(connection(&format!("{get}\nte: gzip")), None);
    assert_eq!(
        connection(&format!("{get}\nte: trailers\n{upgrade}")).as_deref(),
        Some("upgrade, te")
    );
}

/// A body whose length nobody knows.
struct Unknown;

impl Body for Unknown {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[test]
fn a_body_is_framed_whatever_the_method() {
    for method in ["GET", "HEAD"] {
        let head = || prepared(&format!("{method} /\nhost: a"));
        let coding = |headers: &HeaderMap| headers.contains_key("transfer-encoding");
        assert!(!coding(head().into_http1(none()).headers()));
        assert!(!coding(
            head().into_http1(Full::<Bytes>::from("abc")).headers()
        ));
        assert!(coding(head().into_http1(Unknown).headers()));
    }
}

/// Fails when trailers are passed on as they come (tried).
#[test]
fn trailers_say_nothing_of_who_asks() {
    let mut trailers = HeaderMap::new();
    for name in [
        "authorization",
        "content-length",
        "forwarded",
        "host",
        "x-forwarded-client-cert",
        "x_forwarded_client-cert",
        "x-forwarded-for",
        "weir-anything",
        "x_real-ip",
    ] {
        let name: HeaderName = name.parse().expect("a name");
        trailers.append(name, HeaderValue::from_static("forged"));
    }
    for name in ["content-digest", "grpc-status", "x-checksum"] {
        trailers.append(name, HeaderValue::from_static("fine"));
    }
    strip_trailers(&mut trailers, &[HeaderName::from_static("x-real-ip")]);
    assert_eq!(trailers.len(), 3, "{trailers:?}");
    assert!(trailers.values().all(|value| value == "fine"));
}
