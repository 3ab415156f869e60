//! What is refused on the wire, and how: the status, the reason, one line in the log, and that
//! nothing of it reaches the backend.

use std::collections::HashSet;

use serde_json::Value;

use super::support::raw::{Head, Raw, RawBackend};
use super::support::{SOON, Setup, Weir, backend};

const POST: &str = "POST / HTTP/1.1\r\nhost: t\r\n";
const CHUNKED: &str = "transfer-encoding: chunked\r\n";

/// What the client sends, the status it gets, and the rule that `proxy-status` and the log name.
type Row = (String, u16, &'static str);

fn rows() -> Vec<Row> {
    [refused_by_weir(), refused_by_hyper()].concat()
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("{POST}{fields}\r\n{body}")
}

fn refused_by_weir() -> Vec<Row> {
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: t\r\n\r\n");
    let last_chunk = "0\r\n\r\n";
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    vec![
        (
            "CONNECT t:80 HTTP/1.1\r\nhost: t:80\r\n\r\n".into(),
            405,
            "connect",
        ),
        (get(""), 400, "host_missing"),
        ("GET http://t/ HTTP/1.1\r\n\r\n".into(), 400, "host_missing"),
        (get("host: t\r\nhost: t\r\n"), 400, "host_repeated"),
        (get("host: t\r\nhost: u\r\n"), 400, "host_repeated"),
        (get("host: u@t/c?d\r\n"), 400, "host_invalid"),
        (
            "GET http://u@t/ HTTP/1.1\r\nhost: t\r\n\r\n".into(),
            400,
            "host_invalid",
        ),
        (target("*"), 400, "target_form"),
        (target("t:80"), 400, "target_form"),
        (target("/a#b"), 400, "target_fragment"),
        (target("ftp://t/"), 400, "scheme"),
        (
            target(&format!("/{}", "x".repeat(2000))),
            414,
            "target_length",
        ),
        (
            post("transfer-encoding: gzip, chunked\r\n", last_chunk),
            501,
            "transfer_coding",
        ),
        (
            post("transfer-encoding: chunked, chunked\r\n", last_chunk),
            501,
            "transfer_coding",
        ),
        (post(&CHUNKED.repeat(2), last_chunk), 501, "transfer_coding"),
        (post(both, last_chunk), 400, "length_beside_coding"),
        (
            post(
                "Transfer-Encoding:chunked\r\nContent-Length:5\r\n",
                last_chunk,
            ),
            400,
            "length_beside_coding",
        ),
        (
            post(&"content-length: 3\r\n".repeat(2), "abc"),
            400,
            "length_repeated",
        ),
        (
            format!("{}{}", target("/"), post(both, last_chunk)),
            400,
            "length_beside_coding",
        ),
        (
            post(
                CHUNKED,
                &format!("3\r\nabc\r\n0\r\n\r\n{}", post(both, last_chunk)),
            ),
            400,
            "length_beside_coding",
        ),
    ]
}

fn refused_by_hyper() -> Vec<Row> {
    let last_chunk = "0\r\n\r\n";
    vec![
        (
            post("content-length: 3\r\ncontent-length: 4\r\n", "abcd"),
            400,
            "parse",
        ),
        (post("content-length: +3\r\n", "abc"), 400, "parse"),
        (post("content-length: -3\r\n", "abc"), 400, "parse"),
        (post("content-length: 3, 3\r\n", "abc"), 400, "parse"),
        (post("content-length: 0x3\r\n", "abc"), 400, "parse"),
        (post("content-length:\r\n", ""), 400, "parse"),
        (
            post("content-length: 99999999999999999999\r\n", ""),
            400,
            "parse",
        ),
        (post("transfer-encoding: identity\r\n", ""), 400, "parse"),
        (
            post("transfer-encoding: chunked, gzip\r\n", ""),
            400,
            "parse",
        ),
        (
            post("transfer-encoding : chunked\r\n", last_chunk),
            400,
            "parse",
        ),
        (
            format!("POST / HTTP/1.0\r\nhost: t\r\n{CHUNKED}\r\n{last_chunk}"),
            400,
            "parse",
        ),
        (get("host: t\r\nx y: 1\r\n"), 400, "parse"),
        (get("host: t\r\nx: 1\r\n folded\r\n"), 400, "parse"),
        (get("host: t\r\nx: a\0b\r\n"), 400, "parse"),
        (get("host: t\r\nx: a\rb\r\n"), 400, "parse"),
        ("GET /a b HTTP/1.1\r\nhost: t\r\n\r\n".into(), 400, "parse"),
        ("GET / HTTP/3.1\r\nhost: t\r\n\r\n".into(), 400, "parse"),
        ("\x01\x02\x03 nonsense\r\n\r\n".into(), 400, "parse"),
        (
            get(&format!("host: t\r\nx: {}\r\n", "x".repeat(9000))),
            431,
            "too_large",
        ),
        (
            get(&format!("host: t\r\n{}", "x: 1\r\n".repeat(30))),
            431,
            "too_large",
        ),
    ]
}

async fn start(upstream: &str) -> Weir {
    Setup::to(upstream, 10)
        .set("limits.target_bytes", "1Ki")
        .set("limits.header_bytes", "8Ki")
        .set("limits.header_fields", "20")
        .start()
        .await
}

/// The last answer on a connection that answers what came before with 200.
async fn last_answer(raw: &mut Raw) -> Head {
    loop {
        let (head, _) = raw.response().await;
        if head.status != 200 {
            return head;
        }
    }
}

fn log_lines(weir: &Weir) -> Vec<Value> {
    let log = weir.log();
    let lines = log.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("one object a line")
}

#[tokio::test]
async fn every_refusal_says_why_and_goes_no_further() {
    let backend = backend().await;
    let weir = start(&format!("http://{}", backend.address())).await;
    let mut served = 0;
    for (request, status, rule) in rows() {
        let mut raw = Raw::with(weir.data, &request).await;
        let before = backend.stats().started;
        let head = last_answer(&mut raw).await;
        assert_eq!(head.status, status, "{request:?}");
        assert_eq!(
            head.headers.get("proxy-status").map(String::as_str),
            Some(&*format!(
                "weir; error=http_request_error; details=\"{rule}\""
            )),
            "{request:?}"
        );
        assert_eq!(head.headers["connection"], "close", "{request:?}");
        raw.rest().await;
        served = served.max(before);
    }
    // Only the two that were in front of others on the same connection.
    assert_eq!(backend.stats().started, 2, "what reached the backend");
    let of_hyper = rows().iter().filter(|row| row.2 == "parse").count() as u64;
    // A connection's error counts when its task ends, which is after the client has seen the end.
    weir.until("what hyper refused is counted", SOON, async |weir| {
        let metrics = weir.metrics().await;
        let count = |kind| metrics.with("weir_connection_errors_total", kind);
        (count("parse"), count("too_large")) == (of_hyper, 2)
    })
    .await;
    let requests = rows().len() as u64 - of_hyper - 2 + 2;
    weir.assert_at_rest(requests).await;
    assert_eq!(weir.outcome("failed").await, requests - 2);

    let named: HashSet<String> = log_lines(&weir)
        .iter()
        .filter(|line| line["message"] == "request refused")
        .map(|line| line["rule"].as_str().expect("a rule").to_owned())
        .collect();
    for (request, _, rule) in rows() {
        assert!(named.contains(rule), "no line for {rule}: {request:?}");
    }
}

/// Only the first of the lines that come in one second is written, and a second is long.
#[tokio::test]
async fn no_input_makes_a_series_or_shapes_a_line() {
    let backend = backend().await;
    let weir = start(&format!("http://{}", backend.address())).await;
    let series = async || {
        let (_, text) = weir.get("/metrics").await;
        let names = text.lines().filter(|line| !line.starts_with('#'));
        names
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect::<HashSet<_>>()
    };
    let before = series().await;
    let mut sent = 0;
    for number in 0..200 {
        for request in [
            format!("GET /{number} HTTP/1.1\r\nhost: a@{number}\"\u{e4}\r\n\r\n"),
            format!("M{number} /{number} HTTP/1.1\r\nhost: h{number}\r\nx-{number}: 1\r\n\r\n"),
            format!("{number}\x1b[31m{{\"level\":\"ERROR\"}}\r\n\r\n"),
        ] {
            let mut raw = Raw::with(weir.data, request).await;
            raw.head().await;
            sent += 1;
        }
    }
    assert_eq!(series().await, before, "the series of /metrics");
    let lines = log_lines(&weir);
    let refused = lines
        .iter()
        .filter(|line| line["message"] == "request refused");
    let refused: Vec<_> = refused.collect();
    assert!(
        !refused.is_empty() && refused.len() < sent / 4,
        "{refused:?}"
    );
    for line in &refused {
        let excerpt = line["excerpt"].as_str().expect("what was refused");
        assert!(excerpt.len() < 300 && excerpt.is_ascii(), "{line}");
        assert!(!excerpt.contains('\x1b'), "{line}");
    }
    let rules: HashSet<_> = refused.iter().map(|line| line["rule"].as_str()).collect();
    assert_eq!(rules, HashSet::from([Some("parse"), Some("host_invalid")]));
    assert!(!lines.iter().any(|line| line["level"] == "ERROR"));
    assert!(!weir.log().contains('\x1b'));
}

/// A client that writes all of a large request before it reads gets the refusal of its head.
#[tokio::test]
async fn a_refusal_by_hyper_arrives() {
    let backend = backend().await;
    let weir = start(&format!("http://{}", backend.address())).await;
    for _ in 0..5 {
        let mut raw = Raw::connect(weir.data).await;
        let body = vec![b'x'; 2 << 20];
        // It may be closed half-way; what counts is what can be read then.
        let _ = raw
            .try_send(
                [
                    format!("{POST}content-length: +3\r\n\r\n").as_bytes(),
                    &body,
                ]
                .concat(),
            )
            .await;
        let head = raw.head().await;
        assert_eq!(head.status, 400);
        assert!(head.headers["proxy-status"].contains("parse"));
    }
}

/// A bad body is the client's, whether it is in one piece with its head or comes later.
#[tokio::test]
async fn a_body_that_breaks_its_framing_is_a_400() {
    let backend = backend().await;
    let weir = start(&format!("http://{}", backend.address())).await;
    let bodies = [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc",
    ];
    let head = format!("{POST}{CHUNKED}\r\n");
    for body in bodies {
        for is_late in [false, true] {
            let mut raw = Raw::connect(weir.data).await;
            if is_late {
                raw.send(&head).await;
                weir.until_at(1, 0).await;
                raw.send(body).await;
            } else {
                raw.send(format!("{head}{body}")).await;
            }
            let answer = raw.head().await;
            assert_eq!(answer.status, 400, "{body:?}, late: {is_late}");
            assert!(answer.headers["proxy-status"].ends_with("details=\"body\""));
        }
    }
    let metrics = weir.metrics().await;
    let all = bodies.len() as u64 * 2;
    assert_eq!(
        metrics.with("weir_connection_errors_total", "\"body\""),
        all
    );
    assert_eq!(metrics.sum("weir_upstream_errors_total"), 0);
    weir.assert_at_rest(all).await;
}

/// A body that ends too early is the client's fault, too, if it is still there to hear it.
#[tokio::test]
async fn a_body_that_ends_too_early_is_a_400() {
    let backend = backend().await;
    let weir = start(&format!("http://{}", backend.address())).await;
    let bodies = [
        "content-length: 10\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhe",
    ];
    for body in bodies {
        for is_late in [false, true] {
            let mut raw = Raw::with(weir.data, format!("{POST}{body}")).await;
            if is_late {
                weir.until_at(1, 0).await;
            }
            raw.half_close().await;
            let answer = raw.head().await;
            assert_eq!(answer.status, 400, "{body:?}, late: {is_late}");
            assert!(answer.headers["proxy-status"].ends_with("details=\"body\""));
        }
    }
    let metrics = weir.metrics().await;
    assert_eq!(metrics.with("weir_connection_errors_total", "\"body\""), 4);
    assert_eq!(metrics.sum("weir_upstream_errors_total"), 0);
    weir.assert_at_rest(4).await;
    assert_eq!(weir.outcome("cancelled").await, 4);
}

/// What behaves is not refused: requests one after another, bodies of both framings on methods of
/// all kinds, in pieces, pipelined.
#[tokio::test]
async fn whoever_behaves_is_served() {
    let backend = RawBackend::start(async |mut raw, _| {
        while let Some(head) = raw.try_head().await {
            let mut body = Vec::new();
            if head.contains("content-length: 5\r\n") {
                body = raw.take(5).await;
            } else if head.contains("transfer-encoding: chunked\r\n") {
                while !body.ends_with(b"0\r\n\r\n") {
                    body.extend(raw.take(1).await);
                }
            }
            let letters = body.iter().filter(|byte| byte.is_ascii_lowercase());
            let letters: Vec<u8> = letters.copied().collect();
            let is_whole = letters.is_empty() || letters == b"hello";
            let status = if is_whole { "200 OK" } else { "500 Broken" };
            raw.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
                .await;
        }
    })
    .await;
    let weir = start(&backend.upstream()).await;
    let mut all = Vec::new();
    for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "BREW"] {
        all.push(format!("{method} /a?b HTTP/1.1\r\nHost: t\r\n\r\n"));
        all.push(format!(
            "{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
        ));
        all.push(format!(
            "{method} / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n\
             2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n"
        ));
    }
    let mut count = 0;
    for piece in [1, 7, usize::MAX] {
        let mut raw = Raw::connect(weir.data).await;
        for request in &all {
            for part in request.as_bytes().chunks(piece) {
                raw.send(part).await;
            }
            assert_eq!(raw.head().await.status, 200, "in {piece}s: {request:?}");
            count += 1;
        }
    }
    let mut raw = Raw::with(weir.data, all.concat()).await;
    for request in &all {
        assert_eq!(raw.head().await.status, 200, "pipelined: {request:?}");
        count += 1;
    }
    weir.until("all served", SOON, async |weir| {
        weir.outcome("served").await == count
    })
    .await;
}
