//! What the scan finds, row by row, however the bytes are cut.

use super::*;

const PLAIN: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const BOTH: &str =
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";

/// What is found when the bytes come in pieces of this size, and are looked at in the end.
fn found(text: &str, piece: usize) -> Option<(u32, Flaw)> {
    let mut scan = Scan::default();
    text.as_bytes()
        .chunks(piece)
        .find_map(|piece| scan.note(piece, None))
        .or_else(|| scan.settle())
}

/// The same if they are looked at whenever some come.
fn found_at_once(text: &str, piece: usize) -> Option<(u32, Flaw)> {
    let mut scan = Scan::default();
    text.as_bytes()
        .chunks(piece)
        .find_map(|piece| scan.read(piece))
}

fn check(text: &str, expected: Option<(u32, Flaw)>) {
    for piece in [1, 2, 3, 7, 16, 61, usize::MAX] {
        let what = format!("in pieces of {piece}: {text:?}");
        assert_eq!(found(text, piece), expected, "{what}");
        assert_eq!(found_at_once(text, piece), expected, "{what}");
    }
}

#[test]
fn one_head_with_one_framing_has_no_flaw() {
    for text in [
        PLAIN,
        "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\ncontent-length: 3\n\nabc",
        "GET / HTTP/1.1\r\nx-content-length: 3\r\nx: content-length: 4\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length-x: 3\r\ncontent-length-x: 3\r\n\r\n",
    ] {
        check(text, None);
    }
}

#[test]
fn what_hyper_mends_is_found() {
    use Flaw::{Fragment, LengthBesideCoding, RepeatedLength};
    let rows = [
        (
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            LengthBesideCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            LengthBesideCoding,
        ),
        (
            "tRANSFER-eNCODING: chunked\r\ncONTENT-lENGTH:3",
            LengthBesideCoding,
        ),
        (
            "transfer-encoding:chunked\ncontent-length:3",
            LengthBesideCoding,
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: x",
            LengthBesideCoding,
        ),
        ("content-length: 3\r\ncontent-length: 3", RepeatedLength),
        (
            "content-length: 3\r\nx: y\r\nContent-Length:    3",
            RepeatedLength,
        ),
        ("content-length: 3\r\ncontent-length: 4", RepeatedLength),
    ];
    for (fields, flaw) in rows {
        let text = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n");
        check(&text, Some((1, flaw)));
    }
    check("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", Some((1, Fragment)));
    check("GET /a HTTP/1.1\r\nhost: a\r\nx: #\r\n\r\n", None);
    let padded = format!(
        "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length:{}3\r\n\r\n",
        " ".repeat(400)
    );
    check(&padded, Some((1, RepeatedLength)));
}

#[test]
fn heads_behind_bodies_are_found() {
    let before = [
        (PLAIN, 1),
        ("\r\n\nGET / HTTP/1.1\r\n\r\n", 1),
        ("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 1),
        ("POST / HTTP/1.1\r\ncontent-length: 005\r\n\r\n\r\n\r\n!", 1),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            1,
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
             0A;x=1\r\nab\r\n\r\ncd\r\n\r\n1 \r\ne\r\n000\r\nx: y\r\n\r\n",
            1,
        ),
        (
            "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab",
            3,
        ),
    ];
    for (before, heads) in before {
        check(before, None);
        check(
            &format!("{before}{BOTH}"),
            Some((heads + 1, Flaw::LengthBesideCoding)),
        );
    }
}

#[test]
fn bodies_are_no_heads() {
    let length = BOTH.len();
    check(
        &format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{BOTH}{PLAIN}"),
        None,
    );
    check(
        &format!(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{BOTH}\r\n0\r\n\r\n{PLAIN}"
        ),
        None,
    );
}

#[test]
fn after_a_flaw_or_the_stop_nothing_is_looked_at() {
    let mut scan = Scan::default();
    assert!(scan.read(BOTH.as_bytes()).is_some());
    assert_eq!(scan.read(BOTH.as_bytes()), None);
    let mut scan = Scan::default();
    assert_eq!(scan.read(PLAIN.as_bytes()), None);
    scan.stop();
    assert_eq!(scan.read(BOTH.as_bytes()), None);
}

#[test]
fn lines_are_kept_within_bounds() {
    let mut scan = Scan::default();
    for _ in 0..1000 {
        assert_eq!(scan.read(&[b'x'; 100]), None);
    }
    assert!(scan.line.capacity() <= 2 * LINE_BYTES);
    assert_eq!(scan.excerpt().len(), EXCERPT_BYTES);
}

#[test]
fn the_excerpt_is_the_last_heads_beginning() {
    let mut scan = Scan::default();
    scan.read(PLAIN.as_bytes());
    scan.read(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab");
    assert!(scan.excerpt().starts_with(b"POST / HTTP/1.1\r\n"));
    scan.read(b"\r\n\x01\x02 nonsense\r\n");
    assert!(scan.excerpt().starts_with(b"\x01\x02 nonsense"));
    scan.read(b"\r\n");
    assert!(scan.excerpt().starts_with(b"\x01\x02 nonsense"));
}

#[test]
fn requests_without_a_body_are_forgotten_when_they_are_over() {
    let mut scan = Scan::default();
    for begun in 0..1000 {
        assert_eq!(scan.note(PLAIN.as_bytes(), Some(begun)), None);
        assert_eq!(scan.held, PLAIN.as_bytes());
    }
    assert_eq!(scan.note(BOTH.as_bytes(), Some(1000)), None);
    assert_eq!(scan.settle(), Some((1001, Flaw::LengthBesideCoding)));

    // Not over: two in one piece, and the next before they are answered.
    let mut scan = Scan::default();
    assert_eq!(scan.note(PLAIN.repeat(2).as_bytes(), Some(7)), None);
    assert_eq!(scan.note(BOTH.as_bytes(), None), None);
    assert_eq!(scan.settle(), Some((10, Flaw::LengthBesideCoding)));
}

#[test]
fn what_is_too_much_to_hold_is_looked_at() {
    let mut scan = Scan::default();
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(HELD_BYTES));
    for begun in 0..10 {
        assert_eq!(scan.note(long.as_bytes(), Some(begun)), None);
        assert!(scan.held.is_empty());
    }
    assert_eq!(
        scan.note(format!("{long}{BOTH}").as_bytes(), None),
        Some((12, Flaw::LengthBesideCoding))
    );
    let mut scan = Scan::default();
    for _ in 0..100 {
        scan.note(PLAIN.as_bytes(), None);
        assert!(scan.held.len() <= HELD_BYTES);
    }
}
