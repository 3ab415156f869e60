//! The head's rules, row by row.

use super::*;
use http::Response;

const PEER: &str = "192.0.2.7";

/// A head written as on the wire, without the last empty line; `version` decides the dialect.
fn parse(version: Version, text: &str) -> request::Parts {
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

fn prepared_with(
    forwarded: Forwarded,
    version: Version,
    text: &str,
) -> Result<ForwardHead, Refusal> {
    let hop = Hop {
        peer: "192.0.2.7:5000".parse().expect("an address"),
        peer_ip: &HeaderValue::from_static(PEER),
        forwarded,
        upstream_host: &HeaderValue::from_static("127.0.0.1:8080"),
        max_fields: 20,
        tls: None,
    };
    check(parse(version, text), &hop).map(|head| head.rewrite(&hop))
}

fn prepared(text: &str) -> ForwardHead {
    prepared_with(Forwarded::Append, Version::HTTP_11, text).expect("fit to be forwarded")
}

fn refusal(version: Version, text: &str) -> Option<u16> {
    prepared_with(Forwarded::Append, version, text)
        .err()
        .map(|refusal| refusal.status.as_u16())
}

fn field(head: &ForwardHead, name: &str) -> Vec<String> {
    head.headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    const HTTP_10: Version = Version::HTTP_10;
    const HTTP_11: Version = Version::HTTP_11;
    const HTTP_2: Version = Version::HTTP_2;
    let many = "\nx-field: v".repeat(21);
    let rows = [
        (HTTP_11, "GET /\nhost: a", None),
        (HTTP_11, "GET /\nhost:", None),
        (HTTP_11, "GET /\nhost: a:80", None),
        (HTTP_11, "GET /\nhost: [::1]:80", None),
        (HTTP_11, "GET /", Some(400)),
        (HTTP_10, "GET /", None),
        (HTTP_11, "GET /\nhost: a\nhost: a", Some(400)),
        (HTTP_11, "GET /\nhost: a\nhost: b", Some(400)),
        (HTTP_11, "GET /\nhost: a@b", Some(400)),
        (HTTP_11, "GET /\nhost: a/b", Some(400)),
        (HTTP_11, "GET /\nhost: a?b", Some(400)),
        (HTTP_11, "GET /\nhost: a b", Some(400)),
        (HTTP_11, "GET /\nhost: a, b", Some(400)),
        (HTTP_11, "GET http://u@b/\nhost: b", Some(400)),
        (HTTP_11, "CONNECT a:80\nhost: a:80", Some(405)),
        (HTTP_2, "CONNECT a:80", Some(405)),
        (HTTP_11, "POST /\nhost: a\ntransfer-encoding: chunked", None),
        (HTTP_11, "POST /\nhost: a\ntransfer-encoding: Chunked", None),
        (
            HTTP_11,
            "POST /\nhost: a\ntransfer-encoding: gzip, chunked",
            Some(501),
        ),
        (
            HTTP_11,
            "POST /\nhost: a\ntransfer-encoding: chunked\ntransfer-encoding: chunked",
            Some(501),
        ),
        (
            HTTP_11,
            "POST /\nhost: a\ntransfer-encoding: chunked\ncontent-length: 3",
            Some(400),
        ),
        (
            HTTP_11,
            "POST /\nhost: a\ncontent-length: 3\ncontent-length: 3",
            Some(400),
        ),
        (HTTP_2, "GET http://a/", None),
        (HTTP_2, "GET /", Some(400)),
    ];
    for (version, text, expected) in rows {
        assert_eq!(refusal(version, text), expected, "{version:?} {text}");
    }
    let text = format!("GET /\nhost: a{many}");
    assert_eq!(refusal(HTTP_11, &text), Some(431));
}

#[test]
fn the_authority_wins_over_the_host() {
    let head = prepared("GET http://b.example:81/x?y\nhost: a.example");
    assert_eq!(head.host, "b.example:81");
    let request = head.into_http1(());
    assert_eq!(request.uri().to_string(), "/x?y");
    assert_eq!(request.headers()["host"], "b.example:81");
}

#[test]
fn towards_http2_the_host_is_the_authority_and_no_field() {
    let head = prepared("GET /x\nhost: a.example:81");
    let request = head.into_http2(());
    assert_eq!(request.uri().to_string(), "http://a.example:81/x");
    assert!(!request.headers().contains_key("host"));
}

#[test]
fn targets_pass_byte_for_byte() {
    for target in ["//a/../%2e", "/?", "/a%00b?x=%zz", "/a;b=c//", "*"] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let head = prepared(&format!("{method} {target}\nhost: a"));
        assert_eq!(head.into_http1(()).uri().to_string(), target);
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
    let head = prepared(
        "GET /\nhost: a\nconnection: host, x-forwarded-for, authorization, cookie\n\
         x-forwarded-for: 198.51.100.1\nauthorization: Bearer x\ncookie: c=1",
    );
    assert_eq!(head.host, "a");
    assert_eq!(field(&head, "authorization"), ["Bearer x"]);
    assert_eq!(field(&head, "cookie"), ["c=1"]);
    assert_eq!(
        field(&head, "x-forwarded-for"),
        [format!("198.51.100.1, {PEER}")]
    );
}

#[test]
fn forwarding_fields_are_appended_or_replaced() {
    let text = "GET /\nhost: a\nx-forwarded-for: 1.1.1.1\nx-forwarded-for: 2.2.2.2\n\
                forwarded: for=1.1.1.1\nx-forwarded-proto: https\nx-forwarded-host: front\n\
                via: 1.1 edge";
    let head = prepared(text);
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
    assert_eq!(field(&head, "via"), ["1.1 edge", "1.1 weir"]);

    let head =
        prepared_with(Forwarded::Replace, Version::HTTP_11, text).expect("fit to be forwarded");
    assert_eq!(field(&head, "x-forwarded-for"), [PEER]);
    assert_eq!(field(&head, "forwarded"), Vec::<String>::new());
    assert_eq!(field(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(field(&head, "x-forwarded-host"), ["a"]);
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
    let request = prepared(&format!("GET /\nhost: a\n{asks}")).into_http1(());
    assert_eq!(request.headers()["connection"], "upgrade");
    assert_eq!(request.headers()["upgrade"], "websocket");
}

#[test]
fn cookie_crumbs_are_joined_for_http1() {
    let text = "GET http://a/\ncookie: a=1\ncookie: b=2\ncookie: c=3";
    let head =
        prepared_with(Forwarded::Append, Version::HTTP_2, text).expect("fit to be forwarded");
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
fn a_plain_host_is_one_that_the_grammar_knows() {
    for host in ["a", "a.b-c.example", "10.0.0.1:80", "x:65535", "-", "a..b"] {
        assert!(is_plain_host(host.as_bytes()), "{host}");
        assert!(Authority::try_from(host).is_ok(), "{host}");
    }
    for host in [
        "a:", "a:b", "a:1:2", "[::1]", "a b", "a@b", "a_b", "a%20", "a:123456",
    ] {
        assert!(!is_plain_host(host.as_bytes()), "{host}");
    }
}
