"""Rows about what HTTP/2 requests may say, and about how they become HTTP/1.1."""

import struct

from board import GOOD, HARM, OTHER, Row, Seen
from frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, PUSH, RST, SETTINGS, WINDOW
from frames import Frames, block, frame, headers, literal
from harness import eventually


def view(got):
    return f"{got.method} {got.target[:30]}, Host {' + '.join(got.field('host')) or 'none'}"


def ask(peer, data, stream=1, within=3.0):
    """Sends frames; says what became of the stream, and what the backend got."""
    mark = peer.recorder.mark()
    connection = Frames(peer.h2_port, within=within)
    try:
        connection.push(data)
        verdict = connection.answered(stream)
    finally:
        connection.close()
    peer.recorder.quiet(1.5)
    return verdict, peer.recorder.since(mark), connection


def refused(name, data, stream=1, head_may_pass=False):
    """`head_may_pass`: without a body, as the field says, where the contradiction comes behind it."""

    def act(peer):
        verdict, requests, _ = ask(peer, data, stream)
        if head_may_pass and len(requests) == 1 and requests[0].framing == "length" and not requests[0].body:
            requests = []
        whole = [got for got in requests if got.whole]
        # The GOAWAY before an end may be lost with it.
        verdict = "connection error" if verdict == "closed" else verdict
        odd = any(got.odd or got.framing == "ambiguous" for got in requests) or len(whole) > 1
        if verdict in ("stream error", "connection error") or verdict[:3] in ("400", "405"):
            # What passed before the fault showed was cut off, or it was whole without what was wrong.
            mark = HARM if odd else OTHER if whole else GOOD
            return Seen(mark, verdict + (f"; backend: {view(whole[0])}" if whole else ""))
        return Seen(HARM if odd else OTHER, f"{verdict}" + (f"; backend: {view(requests[0])}" if requests else ""))

    promise = "refused: 400, 405, or an error of the stream or connection"
    return Row(name, promise + ("; at most its head has passed" if head_may_pass else ""), act)


def passed(name, data, want, promise, show=view, bad=(), stream=1):
    def act(peer):
        verdict, requests, _ = ask(peer, data, stream)
        if verdict != "200" or len(requests) != 1:
            return Seen(OTHER, verdict + (f"; backend: {len(requests)} requests" if requests else ""))
        said = show(requests[0])
        return Seen(GOOD if said == want else HARM if said in bad else OTHER, said)

    return Row(name, promise, act)


def heads():
    field = lambda *fields, **pseudo: headers(1, block(*fields, **pseudo))  # noqa: E731
    yield passed(":authority beside another host", field(("host", "other.test"), authority="a.test"), "GET /, Host a.test",
                 ":authority wins", bad=("GET /, Host other.test", "GET /, Host a.test + other.test"))
    yield passed("host without :authority", field(("host", "a.test"), authority=None), "GET /, Host a.test", "Host is the host")
    yield refused("neither :authority nor host", field(authority=None))
    yield refused(":authority with user information", field(authority="u@a.test"))
    yield refused(":authority with a path", field(authority="a.test/b"))
    yield passed("cookies in crumbs", field(("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")), "a=1; b=2; c=3",
                 "joined with `; ` (RFC 9113, 8.2.3)", lambda got: " + ".join(got.field("cookie")))
    yield passed("te: trailers", field(("te", "trailers")), "trailers", "passed on: gRPC needs it", lambda got: "".join(got.field("te")) or "none")
    for name, value in (("connection", "x"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("keep-alive", "1"),
                        ("proxy-connection", "x"), ("te", "gzip")):
        yield refused(f"`{name}: {value}`", field((name, value)))
    yield refused("a name in capitals", field(("X-A", "1")))
    yield refused("a name with a space", field(("x a", "1")))
    yield refused("a name with a colon", field(("x:a", "1")))
    yield refused("an empty name", field(("", "1")))
    yield refused("CR LF in a value", field(("x-a", "1\r\nx-b: 2")))
    yield refused("LF in a value", field(("x-a", "1\nx-b: 2")))
    yield refused("NUL in a value", field(("x-a", "1\0")))
    yield refused("CR LF in a name", field(("x-a: 1\r\nx-b", "2")))
    yield refused("CR LF in :path", field(path="/ HTTP/1.1\r\nX-B: 2"))
    yield refused("a space in :path", field(path="/a b"))
    yield refused("a space in :method", field(method="GET /evil HTTP/1.1"))
    yield refused("CR LF in :authority", field(authority="a.test\r\nx-b: 2"))
    yield refused("an empty :path", field(path=""))
    yield refused(":path without a slash", field(path="a"))
    yield refused(":path `*` of a GET", field(path="*"))
    yield refused("an absolute :path", field(path="http://a.test/"))
    yield refused("another :scheme", field(scheme="ftp"))
    yield refused("no :method", field(method=None))
    yield refused("no :path", field(path=None))
    yield refused("no :scheme", field(scheme=None))
    yield refused("two :path", field((":path", "/evil")))
    yield refused(":status in a request", field((":status", "200")))
    yield refused("an unknown pseudo-field", field((":x", "1")))
    yield refused("a pseudo-field behind a field", headers(1, literal("x-a", "1") + block()))
    yield refused("CONNECT", headers(1, literal(":method", "CONNECT") + literal(":authority", "a.test:443")))
    extended = [literal(":method", "CONNECT"), literal(":protocol", "websocket"), literal(":scheme", "http"),
                literal(":authority", "a.test"), literal(":path", "/")]
    yield refused("extended CONNECT without our leave", headers(1, b"".join(extended), end=False))


def bodies():
    post = lambda *fields: headers(1, block(*fields, method="POST"), end=False)  # noqa: E731
    three = frame(DATA, END_STREAM, 1, b"abc")
    yield refused("content-length longer than the body (H2.CL)", post(("content-length", "10")) + three)
    yield refused("content-length shorter than the body (H2.CL)", post(("content-length", "1")) + three)
    yield refused("content-length: 0 and a request as the body", post(("content-length", "0"))
                  + frame(DATA, END_STREAM, 1, b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"), head_may_pass=True)
    yield refused("two different content-length", post(("content-length", "3"), ("content-length", "4")) + three)
    yield refused("content-length and no body", headers(1, block(("content-length", "3"), method="POST")))
    yield passed("a body without content-length", post() + three, "POST / (chunked 3)", "chunked", str)
    yield passed("GET with a body of unknown length", headers(1, end=False) + three, "GET / (chunked 3)", "passed on with its body", str)
    trailers = headers(1, literal("x-sum", "42"))
    yield passed("trailers behind the body", post() + frame(DATA, 0, 1, b"abc") + trailers, "POST / (chunked 3)", "served", str)
    yield refused("a pseudo-field in trailers", post() + frame(DATA, 0, 1, b"abc") + headers(1, literal(":path", "/evil")))
    yield refused("trailers that do not end the stream", post() + frame(DATA, 0, 1, b"abc") + headers(1, literal("x-a", "1"), end=False))
    yield cut_upload("an upload reset with CANCEL", 8)
    yield cut_upload("an upload reset with NO_ERROR", 0)


def cut_upload(name, reason):
    """An upload that its client resets half-way: it must never end as if it were whole."""

    def act(peer):
        mark = peer.recorder.mark()
        connection = Frames(peer.h2_port)
        try:
            connection.push(headers(1, block(method="POST", path="/cut"), end=False) + frame(DATA, 0, 1, b"x" * 1000))
            # It is on its way, so that the reset meets it in the middle.
            eventually("it is at the backend", lambda: peer.recorder.mark() > mark, 1.5)
            connection.push(frame(RST, 0, 1, struct.pack(">I", reason)))
            connection.push(frame(PING, 0, 0, b"12345678"))
            peer.recorder.quiet(2.5)
        finally:
            connection.close()
        whole = [got for got in peer.recorder.since(mark) if got.whole]
        return Seen(HARM if whole else GOOD, "looks whole to the backend" if whole else "cut off")

    return Row(name, "cut off, never a clean end", act)


def broken_frames():
    ping = frame(PING, 0, 0, b"12345678")
    half = frame(HEADERS, END_STREAM, 1, block()[:10])
    bad = {
        "DATA on an idle stream": frame(DATA, END_STREAM, 1, b"abc"),
        "HEADERS on stream 0": headers(0),
        "HEADERS on an even stream": headers(2),
        "a stream below an earlier one": headers(5) + headers(3),
        "DATA behind END_STREAM": headers(1) + frame(DATA, 0, 1, b"abc"),
        "HEADERS cut by another frame": half + ping,
        "HEADERS cut by another stream's CONTINUATION": half + frame(CONTINUATION, END_HEADERS, 3, block()[10:]),
        "CONTINUATION without HEADERS": frame(CONTINUATION, END_HEADERS, 1, block()),
        "RST_STREAM on an idle stream": frame(RST, 0, 1, b"\0\0\0\x08"),
        "PING of 7 bytes": frame(PING, 0, 0, b"1234567"),
        "PING on a stream": frame(PING, 0, 1, b"12345678"),
        "SETTINGS of 5 bytes": frame(SETTINGS, 0, 0, b"12345"),
        "SETTINGS on a stream": frame(SETTINGS, 0, 1, b""),
        "SETTINGS acknowledged with a payload": frame(SETTINGS, 1, 0, b"123456"),
        "an initial window over 2³¹−1": frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)),
        "a frame size of 16 bytes": frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 16)),
        "WINDOW_UPDATE of 0 on the connection": frame(WINDOW, 0, 0, b"\0\0\0\0"),
        "windows that add up to over 2³¹−1": frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 2,
        "a frame over 16,384 bytes": frame(DATA, 0, 1, b"x" * 16_385),
        "PUSH_PROMISE from a client": frame(PUSH, END_HEADERS, 1, b"\0\0\0\2" + block()),
        "padding longer than the frame": frame(DATA, 8, 1, b"\xffabc"),
        "a broken field block": headers(1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        "PRIORITY of 4 bytes": headers(1, end=False) + frame(PRIORITY, 0, 1, b"1234"),
    }
    for name, data in bad.items():
        yield error(name, data)

    def preface(peer):
        connection = Frames(peer.h2_port, preface=b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", within=3)
        try:
            connection.until(lambda: connection.ended)
            return Seen(GOOD if connection.ended else OTHER, "closed" if connection.ended else "open")
        finally:
            connection.close()

    yield Row("a preface that is none", "closed", preface)


def error(name, data):
    """A connection error (RFC 9113): GOAWAY or the end; a stream error where that is allowed."""

    def act(peer):
        mark = peer.recorder.mark()
        connection = Frames(peer.h2_port, within=2.5)
        try:
            connection.push(data)
            broken = lambda: connection.ended or connection.goaway not in (None, "NO_ERROR") or connection.resets  # noqa: E731
            connection.until(broken)
            # The GOAWAY before an end may be lost with it.
            if connection.ended or connection.goaway not in (None, "NO_ERROR"):
                verdict = "connection error"
            else:
                verdict = "stream error" if connection.resets else "taken"
        finally:
            connection.close()
        peer.recorder.quiet(1.5)
        assert len(peer.recorder.since(mark)) <= 2
        return Seen(OTHER if verdict == "taken" else GOOD, verdict)

    return Row(name, "a connection or stream error", act)


ROWS = [*heads(), *bodies()]
FRAME_ROWS = list(broken_frames())
