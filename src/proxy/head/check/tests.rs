//! What is refused and what is not, row by row.

use super::*;
use crate::proxy::head::headers::tests::{HTTP_2, HTTP_10, HTTP_11, hop_of, parse, trust};

fn refusal(version: Version, text: &str) -> Option<Rule> {
    let trust = trust(&["any"]);
    check(parse(version, text), &hop_of(&trust), || None)
        .err()
        .map(|refusal| refusal.rule)
}

fn check_rows(rows: &[(Version, &str, Option<Rule>)]) {
    for (version, text, expected) in rows {
        assert_eq!(refusal(*version, text), *expected, "{version:?} {text}");
    }
}

#[test]
fn there_is_exactly_one_valid_host() {
    check_rows(&[
        (HTTP_11, "GET /\nhost: a", None),
        (HTTP_11, "GET /\nhost:", None),
        (HTTP_11, "GET /\nhost: a:80", None),
        (HTTP_11, "GET /\nhost: a_b.c~d:80", None),
        (HTTP_11, "GET /\nhost: [::1]:80", None),
        (HTTP_11, "GET /\nhost: [::ffff:10.0.0.1]", None),
        (HTTP_11, "GET /", Some(Rule::HostMissing)),
        (HTTP_10, "GET /", None),
        (HTTP_10, "GET /\nhost: a\nhost: a", Some(Rule::HostRepeated)),
        (HTTP_11, "GET /\nhost: a\nhost: a", Some(Rule::HostRepeated)),
        (HTTP_11, "GET /\nhost: a\nhost: b", Some(Rule::HostRepeated)),
        (HTTP_11, "GET /\nhost: a\nhost:", Some(Rule::HostRepeated)),
        (HTTP_11, "GET /\nhost: a@b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a/b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a?b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a#b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a\\b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a\tb", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a, b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a%2fb", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a:b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a:", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: :80", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a:80:80", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: a:123456", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: [::1", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: [::1]a", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: [a@b:c]", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: http://a", Some(Rule::HostInvalid)),
        (HTTP_11, "GET /\nhost: ä", Some(Rule::HostInvalid)),
    ]);
}

#[test]
fn an_authority_needs_no_host_on_http2_only() {
    check_rows(&[
        (HTTP_11, "GET http://b/\nhost: a", None),
        (HTTP_11, "GET http://b/", Some(Rule::HostMissing)),
        (
            HTTP_11,
            "GET http://b/\nhost: a\nhost: b",
            Some(Rule::HostRepeated),
        ),
        (HTTP_11, "GET http://b/\nhost: a b", Some(Rule::HostInvalid)),
        (HTTP_11, "GET http://u@b/\nhost: b", Some(Rule::HostInvalid)),
        (
            HTTP_11,
            "GET http://u:p@b/\nhost: b",
            Some(Rule::HostInvalid),
        ),
        (HTTP_10, "GET http://b/", None),
        (HTTP_2, "GET http://a/", None),
        (HTTP_2, "GET https://a/", None),
        (HTTP_2, "GET http://a/\nhost: b", None),
        (HTTP_2, "GET /\nhost: b", None),
        (HTTP_2, "GET http://u@a/", Some(Rule::HostInvalid)),
        (
            HTTP_2,
            "GET http://a/\nhost: b\nhost: b",
            Some(Rule::HostRepeated),
        ),
        (HTTP_2, "GET /", Some(Rule::HostMissing)),
    ]);
}

#[test]
fn a_target_has_one_of_the_forms() {
    let long = |len: usize| format!("GET /{}\nhost: a", "x".repeat(len - 1));
    check_rows(&[
        (HTTP_11, "GET //a/../%2e?x=//\nhost: a", None),
        (HTTP_11, "GET http://b?x\nhost: a", None),
        (HTTP_11, "GET http://b\nhost: a", None),
        (HTTP_11, "GET HTTPS://b/\nhost: a", None),
        (HTTP_11, "OPTIONS *\nhost: a", None),
        (HTTP_2, "OPTIONS *\nhost: a", None),
        (HTTP_11, "GET *\nhost: a", Some(Rule::TargetForm)),
        (HTTP_2, "GET *\nhost: a", Some(Rule::TargetForm)),
        (HTTP_11, "GET a:80\nhost: a", Some(Rule::TargetForm)),
        (HTTP_11, "GET a\nhost: a", Some(Rule::TargetForm)),
        (
            HTTP_11,
            "OPTIONS a.example\nhost: a",
            Some(Rule::TargetForm),
        ),
        (HTTP_2, "GET http://a?x", Some(Rule::TargetForm)),
        (HTTP_2, "GET http://a/ä", None),
        (HTTP_11, "GET ftp://b/\nhost: a", Some(Rule::Scheme)),
        (HTTP_2, "GET ftp://b/", Some(Rule::Scheme)),
        (HTTP_11, "CONNECT a:80\nhost: a:80", Some(Rule::Connect)),
        (HTTP_11, "CONNECT /\nhost: a", Some(Rule::Connect)),
        (HTTP_2, "CONNECT a:80", Some(Rule::Connect)),
        (HTTP_11, &long(100), None),
        (HTTP_11, &long(101), Some(Rule::TargetLength)),
        (HTTP_2, &long(101), Some(Rule::TargetLength)),
    ]);
}

#[test]
fn there_is_one_framing() {
    let post = |fields: &str| format!("POST /\nhost: a\n{fields}");
    let rows = [
        ("content-length: 3", None),
        ("transfer-encoding: chunked", None),
        ("transfer-encoding: Chunked", None),
        (
            "transfer-encoding: gzip, chunked",
            Some(Rule::TransferCoding),
        ),
        (
            "transfer-encoding: chunked, chunked",
            Some(Rule::TransferCoding),
        ),
        ("transfer-encoding: , chunked", Some(Rule::TransferCoding)),
        ("transfer-encoding: chunked;q=1", Some(Rule::TransferCoding)),
        (
            "transfer-encoding: chunked\ntransfer-encoding: chunked",
            Some(Rule::TransferCoding),
        ),
        (
            "transfer-encoding: chunked\ncontent-length: 3",
            Some(Rule::LengthBesideCoding),
        ),
        (
            "content-length: 3\ncontent-length: 3",
            Some(Rule::LengthRepeated),
        ),
    ];
    for (fields, expected) in rows {
        check_rows(&[(HTTP_11, &post(fields), expected)]);
    }
    check_rows(&[(HTTP_11, "GET /\nhost: a\ncontent-length: 3", None)]);
}

#[test]
fn there_are_not_too_many_fields() {
    let fields = |count: usize| format!("GET /\nhost: a{}", "\nx-field: v".repeat(count - 1));
    check_rows(&[
        (HTTP_11, &fields(20), None),
        (HTTP_11, &fields(21), Some(Rule::HeaderFields)),
        (HTTP_2, &fields(21), Some(Rule::HeaderFields)),
    ]);
}

#[test]
fn a_refusal_shows_the_beginning_of_what_broke_the_rule() {
    let trust = trust(&["any"]);
    let excerpt = |text: &str| {
        let refusal = check(parse(HTTP_11, text), &hop_of(&trust), || None).expect_err("refused");
        String::from_utf8(refusal.excerpt).expect("text")
    };
    assert_eq!(excerpt("GET /\nhost: a@b"), "a@b");
    assert_eq!(excerpt("GET /\nhost: a\nhost: b"), "b");
    assert_eq!(excerpt("CONNECT a:80\nhost: a"), "a:80");
    let long = format!("POST /\nhost: a\ntransfer-encoding: {}", "x".repeat(500));
    assert_eq!(excerpt(&long), "x".repeat(EXCERPT_BYTES + 1));
}

#[test]
fn what_the_scan_found_is_refused_with_its_rule() {
    let head = |text: &str| parse(HTTP_11, text);
    let rows = [
        (
            Flaw::LengthBesideCoding,
            "POST /\nhost: a\ntransfer-encoding: chunked",
            Rule::LengthBesideCoding,
            "chunked",
        ),
        (
            Flaw::RepeatedLength,
            "POST /\nhost: a\ncontent-length: 3",
            Rule::LengthRepeated,
            "3",
        ),
        (
            Flaw::Fragment,
            "GET /a\nhost: a",
            Rule::TargetFragment,
            "/a",
        ),
    ];
    for (flaw, text, rule, excerpt) in rows {
        let refusal = Refusal::of(flaw, &head(text));
        if rule != Rule::TargetFragment {
            let trust = trust(&[]);
            let checked = check(head(text), &hop_of(&trust), || Some(flaw));
            assert_eq!(checked.expect_err("refused"), refusal);
        }
        assert_eq!(refusal.rule, rule);
        assert_eq!(refusal.excerpt, excerpt.as_bytes());
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn a_host_is_one_that_an_authority_can_carry() {
    for host in ["a", "a.b-c.example", "10.0.0.1:80", "x:65535", "-", "a..b"] {
        assert!(is_plain_host(host.as_bytes()), "{host}");
    }
    for host in [
        "", "a:", "a:b", "a:1:2", "[::1]", "a b", "a@b", "a_b", "a%20", "a:65536", "a:123456",
    ] {
        assert!(!is_plain_host(host.as_bytes()), "{host}");
    }
    // Every byte in every place of a host, and every pair of odd ones.
    let bytes = (0..=u8::MAX).collect::<Vec<_>>();
    let mut accepted = 0;
    for first in &bytes {
        for second in &bytes {
            for host in [
                vec![*first, *second],
                vec![b'a', *first, *second, b':', b'1'],
                vec![b'[', b':', *first, *second, b']'],
            ] {
                if is_host(&host) {
                    accepted += 1;
                    assert!(Authority::try_from(&host[..]).is_ok(), "{host:?}");
                }
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}
