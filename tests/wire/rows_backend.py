"""Rows about backends that misbehave, over HTTP/1.1."""

import socket
import statistics
import time

from board import GOOD, HARM, OTHER, Row, Seen
from harness import Failure
from raw import Raw, get

# When weir's permit is promised to be back, behind what a backend did.
BACK_WITHIN = 0.1

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def outcome(raw, method="GET", within=4.0):
    """What a client makes of the answer: its status and whether it looks whole, and its body."""
    try:
        response = raw.response(method, within)
    except Failure:
        return ("closed without an answer" if raw.ended else "no answer"), b""
    except (ValueError, IndexError):
        return "nonsense", b""
    if 400 <= response.status < 600:
        return str(response.status), response.body
    return f"{response.status}, {'whole' if response.complete else 'cut off'}", response.body


def reused(peer, mark):
    """Whether the next request goes over the connection that the backend misbehaved on."""
    peer.recorder.handler = peer.recorder.answer
    connections = {got.connection for got in peer.recorder.since(mark)}
    raw = Raw(peer.port, within=4)
    try:
        raw.send(get("/after"))
        after, body = outcome(raw)
    finally:
        raw.close()
    later = [got for got in peer.recorder.since(mark) if got.target == "/after"]
    if after != "200, whole" or body != b"saw GET /after\n":
        return f"the next one got {after}"
    return "connection reused" if later and later[-1].connection in connections else ""


def held_for(peer, most=2.0):
    """How long weir's permit is out still, by when the look began that saw it back. What others hold
    shows with the next row."""
    started = time.monotonic()
    while peer.weir and (looked := time.monotonic()) - started < most:
        if not peer.weir.in_flight():
            return looked - started
        time.sleep(0.002)
    return most if peer.weir else 0.0


def is_late(peer, first, trial):
    """Whether the permit comes back too late: the median of five trials counts, so that one late
    look of a busy machine does not; of three where a timer runs in each."""
    if not peer.weir:
        return False
    started = time.monotonic()
    held = [first, trial(), trial()]
    if time.monotonic() - started < 1:
        held += [trial(), trial()]
    return statistics.median(held) > BACK_WITHIN


def hostile(name, answer, want, promise, harm=(), keep=True, method="GET", body=None, reuse=False):
    """A row whose backend sends `answer` (bytes, or a handler) to the first request. Good: what the
    client sees is in `want`, and the connection is not used again."""

    def handler(x):
        x.read_body()
        x.send(answer)
        x.keep = keep

    def once(peer):
        mark = peer.recorder.mark()
        peer.recorder.handler = answer if callable(answer) else handler
        raw = Raw(peer.port, within=5)
        try:
            raw.push(get("/hostile", method=method))
            said, got = outcome(raw, method)
            held = held_for(peer)
        finally:
            raw.close()
        peer.recorder.release.set()
        again = reused(peer, mark)
        peer.recorder.release.clear()
        return said, got, held, again

    def act(peer):
        said, got, held, again = once(peer)
        held = is_late(peer, held, lambda: once(peer)[2])
        fits = said in (*want, "502 or cut off") and (body is None or not said.startswith("200") or got == body)
        loose = said in harm or (body is not None and said == "200, whole" and got != body)
        if want is ABORTED and said in ABORTED:
            # How much of it came through before the end is the moment's.
            said = "502 or cut off"
        again = "" if reuse and again == "connection reused" else again
        text = "; ".join(part for part in (said, again, "permit not back in time" if held else "") if part)
        if again:
            fits, loose = False, loose or again != "connection reused"
        return Seen(GOOD if fits and not held else HARM if loose or held else OTHER, text)

    return Row(name, promise, act)


REFUSED = ("502",)
ABORTED = ("200, cut off", "502", "closed without an answer")
TRUNCATED = ("200, whole",)


def heads():
    bad = {
        "nonsense": b"\0\1\2\r\n\r\n",
        "another protocol": b"220 mail.test ESMTP\r\n\r\n",
        "two different Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "a Content-Length of `+2`": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "a Content-Length of `-2`": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "a Content-Length over 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok",
        "Transfer-Encoding of `gzip, chunked`": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding of `chunked, identity`": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "a space in a field name": b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nok",
        "a NUL in a value": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "a bare CR in a value": b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\nok",
        "a line without a colon": b"HTTP/1.1 200 OK\r\nnothing\r\nContent-Length: 2\r\n\r\nok",
        "a folded field": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        "a status of 99": b"HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok",
        "a status of `abc`": b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
        "a head of 1 MB": b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * (1 << 20) + b"\r\nContent-Length: 2\r\n\r\nok",
        "an unasked 101": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    }
    for name, answer in bad.items():
        yield hostile(name, answer, REFUSED, "502, connection not reused", harm=("101, whole",))
    yield hostile("Content-Length beside chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                  ("502", "200, whole"), "502, or the coding alone counts; connection not reused", body=b"ok")
    yield hostile("two equal Content-Length", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
                  ("502", "200, whole"), "502, or taken as one", body=b"ok", reuse=True)
    yield hostile("a head that never ends", endless, ("502", "504"), "502 or 504, connection not reused")
    yield hostile("1,000 interim responses", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 1000 + OK, ("200, whole", "502"),
                  "the final one is found, or 502", body=b"ok", reuse=True)
    yield hostile("100 that nobody asked for", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, ("200, whole",), "the final one is passed on",
                  body=b"ok", reuse=True)
    yield hostile("103, then 200", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + OK, ("200, whole",), "the final one is passed on",
                  body=b"ok", reuse=True)
    yield hostile("no body length, ended by the close", b"HTTP/1.1 200 OK\r\n\r\nok", ("200, whole",), "passed on", body=b"ok", keep=False)


def endless(x):
    x.read_body()
    x.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(40_000):
        x.send(b"X-%d: %s\r\n" % (number, b"a" * 100))
    x.keep = False


def surplus():
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    yield hostile("a second response behind the first", OK + evil, ("200, whole", "502"), "nobody's answer; connection not reused", body=b"ok")
    yield hostile("bytes behind the body", OK + b"evil", ("200, whole", "502"), "dropped; connection not reused", body=b"ok")
    yield hostile("a body with a 204", b"HTTP/1.1 204 No\r\n\r\n" + evil, ("204, whole", "502"), "dropped; connection not reused")
    yield hostile("a body with a 304", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n" + evil, ("304, whole", "502"), "dropped; connection not reused")
    yield hostile("a body for HEAD", OK, ("200, whole", "502"), "dropped; connection not reused", method="HEAD")


def broken():
    cut = "cut off or 502, never a clean end"
    part = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n"
    yield hostile("closes before its head", b"", ("502",), "502", keep=False)
    yield hostile("closes inside its head", b"HTTP/1.1 200 OK\r\nContent-Le", ("502",), "502", keep=False)
    yield hostile("dies inside a Content-Length body", part, ABORTED, cut, TRUNCATED, keep=False)
    yield hostile("dies inside a chunked body", chunk, ABORTED, cut, TRUNCATED, keep=False)
    yield hostile("dies inside a chunk", chunk[:-50], ABORTED, cut, TRUNCATED, keep=False)
    yield hostile("dies before the last chunk's end", chunk + b"0\r\n", ABORTED, cut, TRUNCATED, keep=False)
    yield hostile("resets inside a body", reset, ABORTED, cut, TRUNCATED)
    yield hostile("a bad chunk size", chunk + b"zz\r\nabc\r\n", ABORTED, cut, TRUNCATED)
    yield hostile("a chunk longer than its size", chunk + b"3\r\nabcd\r\n0\r\n\r\n", ABORTED, cut, TRUNCATED)
    yield hostile("a chunk size over 64 bits", chunk + b"10000000000000003\r\nabc\r\n0\r\n\r\n", ABORTED, cut, TRUNCATED)
    yield hostile("falls silent inside a body", silent(part), ABORTED, cut + ", at the timer", TRUNCATED)
    yield hostile("falls silent before its head", silent(b""), ("504",), "504 at the timer")
    yield Row("answers early to an upload that never ends", "the answer, then the end; connection not reused", early)
    yield Row("answers early and closes, the client writes on", "the answer; connection not reused", early_close)
    yield Row("answers early and resets, the client writes on", "the answer or an error; connection not reused", early_reset)


def silent(data):
    def handler(x):
        x.read_body()
        x.send(data)
        x.hold()
        x.keep = False

    return handler


def reset(x):
    x.read_body()
    x.head(200, [("Content-Length", 1000)])
    x.send(b"x" * 100)
    x.reset()


def early(peer):
    def handler(x):
        x.reply(200, [("X-Saw", "early")], b"enough")
        x.hold()
        x.keep = False

    return after_upload(peer, handler, b"x" * 1000, ("200, whole",))


def early_close(peer):
    def handler(x):
        x.reply(413, [("X-Saw", "early")], b"too much")
        x.sock.shutdown(socket.SHUT_WR)
        # What still comes is read, or the close would be a reset, which destroys the answer.
        while x.sock.recv(65536):
            pass
        x.keep = False

    return after_upload(peer, handler, b"x" * 300_000, ("413",))


def early_reset(peer):
    def handler(x):
        x.reply(413, [("X-Saw", "early")], b"too much")
        x.keep = False

    seen = after_upload(peer, handler, b"x" * 300_000, ("413", "502", "closed without an answer"))
    return Seen(seen.mark, "the answer or an error") if seen.mark == GOOD else seen


def after_upload(peer, handler, part, want):
    def once():
        mark = peer.recorder.mark()
        peer.recorder.handler = handler
        raw = Raw(peer.port, within=4)
        try:
            raw.push(get("/early", "Content-Length: 10000000", method="POST").encode() + part)
            said, _ = outcome(raw)
            # The upload is stalled, and its permit must not wait for it.
            held = held_for(peer)
        finally:
            raw.close()
        peer.recorder.release.set()
        again = reused(peer, mark)
        peer.recorder.release.clear()
        return said, held, again

    said, held, again = once()
    held = is_late(peer, held, lambda: once()[1])
    text = "; ".join(part for part in (said, again, "permit not back in time" if held else "") if part)
    return Seen(GOOD if said in want and not again and not held else HARM if held or again else OTHER, text)


ROWS = [*heads(), *surplus(), *broken()]
