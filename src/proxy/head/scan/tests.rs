//! What the scan finds, row by row, however the bytes are cut.

use std::fmt::Write;

use proptest::prelude::*;

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

/// The same for every way to cut the bytes in two.
fn check_cuts(text: &str, expected: Option<(u32, Flaw)>) {
    for at in 0..=text.len() {
        let (start, end) = text.as_bytes().split_at(at);
        let what = format!("cut at {at}: {text:?}");
        let mut scan = Scan::default();
        let found = scan.read(start).or_else(|| scan.read(end));
        assert_eq!(found, expected, "{what}");
        let mut scan = Scan::default();
        let found = scan.note(start, None).or_else(|| scan.note(end, None));
        assert_eq!(found.or_else(|| scan.settle()), expected, "held, {what}");
    }
    check(text, expected);
}

#[test]
fn trailers_end_where_hyper_ends_them() {
    let long = format!("x: {}\r\n", "y".repeat(2 * LINE_BYTES));
    let hidden = "POST /x HTTP/1.1\nContent-Length: 100000\r\n\r\n";
    for trailers in [
        format!("A: b\n\n{hidden}"),
        format!("A: b\n\r\n{hidden}"),
        format!("\n\n{hidden}"),
        format!("\n\r\n{hidden}"),
        format!("A: b\r\n\n{hidden}"),
        format!("{long}\n\r\n{hidden}"),
        format!("{long}{long}\r\n"),
        "\r\n".to_owned(),
    ] {
        let one = format!(
            "POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}"
        );
        check_cuts(&one, None);
        let two = format!("{one}{BOTH}");
        check_cuts(&two, Some((2, Flaw::LengthBesideCoding)));
    }
}

#[test]
fn behind_trailers_that_hyper_refuses_nothing_passes() {
    for trailers in ["A: b\rc\r\n\r\n", "\rA: b\r\n\r\n", "A: b\r\r\n\r\n"] {
        let text = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{trailers}");
        check_cuts(&text, Some((2, Flaw::LengthBesideCoding)));
    }
}

#[test]
fn a_padded_length_is_read_to_its_end() {
    let body = "POST /x HTTP/1.1\r\nContent-Length: 9999\r\n\r\n";
    let pad = "x".repeat(HELD_BYTES + 76);
    let (spaces, tabs, zeros) = (" ".repeat(300), " \t".repeat(150), "0".repeat(300));
    let length = body.len();
    for value in [
        format!("{spaces}{length}"),
        format!("{tabs}{length}{tabs}"),
        format!("{zeros}{length}"),
        format!("{spaces}{zeros}{length}{spaces}"),
    ] {
        let one = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Pad: {pad}\r\nContent-Length:{value}\r\n\r\n{body}"
        );
        check_cuts(&one, None);
        check_cuts(&format!("{one}{BOTH}"), Some((2, Flaw::LengthBesideCoding)));
    }
}

#[test]
fn a_length_that_cannot_be_read_is_a_flaw() {
    let digits = "1".repeat(300);
    let zeros = format!("{}x{}", "0".repeat(300), "0".repeat(300));
    let inner = format!("4{}4", " ".repeat(300));
    for value in ["", "x", "+3", "-3", "3,3", "3 3", &digits, &zeros, &inner] {
        check_cuts(
            &format!("POST / HTTP/1.1\r\ncontent-length: {value}\r\n\r\n{PLAIN}"),
            Some((1, Flaw::RepeatedLength)),
        );
    }
}

#[test]
fn a_fragment_is_found_however_long_the_target_is() {
    let path = "a".repeat(2 * LINE_BYTES);
    check_cuts(
        &format!("{PLAIN}GET /{path}#b HTTP/1.1\r\nhost: a\r\n\r\n"),
        Some((2, Flaw::Fragment)),
    );
    check_cuts(
        &format!("GET /{path} HTTP/1.1\r\nx: {path}#\r\n\r\n{PLAIN}"),
        None,
    );
}

/// A request that is as it should be.
fn legal() -> impl Strategy<Value = String> {
    let pad = prop_oneof![Just(0_usize), 0..20_usize, 200..300_usize, 0..1500_usize];
    let chunk = (1..40_usize, "(;[a-z]{1,9}(=[a-z]{1,9})?| )?");
    let field = ("[a-z#:]{0,20}", pad.clone());
    let length = (0..60_usize, "[ \t]{0,3}|[ ]{250,300}", 0..4_usize);
    let framing = prop_oneof![
        Just("\r\n".to_owned()),
        length.prop_map(|(length, space, zeros)| {
            let (zeros, body) = ("0".repeat(zeros), "\r\n\r\nGET #".repeat(9));
            let body = &body[..length];
            format!("Content-Length:{space}{zeros}{length}{space}\r\n\r\n{body}")
        }),
        (
            prop::collection::vec(chunk, 0..4),
            prop::collection::vec(field.clone(), 0..3)
        )
            .prop_map(|(chunks, fields)| {
                let mut text = "transfer-encoding: chunked\r\n\r\n".to_owned();
                for (size, extension) in chunks {
                    let data = &"\r\n0\r\n\r\n#\n".repeat(9)[..size];
                    write!(text, "{size:X}{extension}\r\n{data}\r\n").expect("a string takes all");
                }
                text += "0\r\n";
                for (value, pad) in fields {
                    write!(text, "t: {value}{}\r\n", "p".repeat(pad)).expect("a string takes all");
                }
                text + "\r\n"
            }),
    ];
    ("[a-z]{0,9}", pad, field, framing).prop_map(|(path, pad, (value, value_pad), framing)| {
        let (path_pad, value_pad) = ("p".repeat(pad), " ".repeat(value_pad));
        format!("PUT /{path}{path_pad} HTTP/1.1\r\nhost: a\r\nx: {value_pad}{value}\r\n{framing}")
    })
}

proptest! {
    #[test]
    fn legal_requests_have_no_flaw_however_they_are_cut(
        requests in prop::collection::vec(legal(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = format!("{}{BOTH}", requests.concat());
        let legal_bytes = stream.len() - BOTH.len();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([legal_bytes, stream.len()]);
        cuts.sort_unstable();
        let (mut held, mut at_once) = (Scan::default(), Scan::default());
        let (mut from, mut found) = (0, (None, None));
        for to in cuts {
            let piece = &stream.as_bytes()[from..to];
            found.0 = found.0.or_else(|| held.note(piece, None));
            found.1 = found.1.or_else(|| at_once.read(piece));
            from = to;
            if to <= legal_bytes {
                prop_assert_eq!(found, (None, None));
            }
        }
        // And it is known where the next begins.
        let heads = u32::try_from(requests.len()).expect("a few");
        let flaw = Some((heads + 1, Flaw::LengthBesideCoding));
        prop_assert_eq!((found.0.or_else(|| held.settle()), found.1), (flaw, flaw));
    }
}
