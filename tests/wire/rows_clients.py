"""Rows about clients: slow and silent ones, and uploads that are refused."""

import concurrent.futures
import struct
import time

import peers
from backends import pattern
from board import GOOD, HARM, OTHER, Row, Seen
from frames import DATA, Frames, block, frame, headers
from harness import Failure, eventually
from raw import Raw, get, post
from rows_leave import Holder

# How late a timer may be on a busy machine.
SLACK = 2.0


def timed(peer, begin, after=0.0):
    """How the connection of a client ends that `begin` has sent something on."""
    raw = Raw(peer.port, within=8)
    try:
        started = time.monotonic()
        keep_on = begin(raw) or (lambda: None)
        deadline = started + peers.TIMER + after + SLACK
        while time.monotonic() < deadline:
            keep_on()
            raw.sock.settimeout(0.1)
            try:
                data = raw.sock.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            raw.buffer += data
            if not data:
                said = raw.buffer[9:12].decode("latin-1") if raw.buffer.startswith(b"HTTP/") else "closed"
                early = time.monotonic() - started < after + peers.TIMER - 0.15
                return f"{said}, before the timer" if early else f"{said}, at the timer"
        return "still open 2 s after the timer"
    finally:
        raw.close()


def slow(name, promise, begin, target="", after=0.0):
    def act(peer):
        said = timed(peer, begin, after)
        if target and any(got.target == target and got.whole for got in peer.recorder.since(0)):
            said += "; reached the backend"
        return Seen(GOOD if said.endswith("at the timer") else HARM if "still open" in said else OTHER, said)

    return Row(name, promise, act)


def drip(data):
    """One byte of it each 0.1 s, for ever."""

    def begin(raw):
        raw.push(data)
        return lambda: raw.push("x")

    return begin


def slow_reader(peer):
    """Asks for much and reads nothing. A client's window is full; the backend's stays open."""

    def handler(x):
        if x.request.target != "/much":
            return peer.recorder.answer(x)
        x.head(200, [("Content-Length", 60_000_000)])
        for _ in range(600):
            x.send(b"x" * 100_000)
        return None

    peer.recorder.handler = handler
    raw = Raw(peer.port, receive_buffer=16_384, within=8)
    try:
        raw.send(get("/much"))
        try:
            eventually("it is being sent", lambda: peer.recorder.busy == 1, 2)
            eventually("the backend is let go", lambda: peer.recorder.busy == 0, peers.TIMER + 2 * SLACK)
        except Failure:
            return Seen(HARM, "the backend is still held 4 s after the timer")
        return Seen(GOOD, "cut off at the timer")
    finally:
        raw.close()


def h2_idle(first, mute=False):
    def act(peer):
        connection = Frames(peer.h2_port, mute=mute)
        try:
            if first:
                connection.push(first)
                connection.answered(1)
            started = time.monotonic()
            connection.until(lambda: connection.ended, peers.TIMER + SLACK)
            if not connection.ended:
                return Seen(HARM, "still open 2 s after the timer")
            return Seen(GOOD if time.monotonic() - started > peers.TIMER - 0.3 else OTHER, "closed, at the timer")
        finally:
            connection.close()

    return act


def h2_shut_window(peer):
    """A window of 0 and a response that cannot be sent: the place must come free."""

    def handler(x):
        if x.request.target != "/much":
            return peer.recorder.answer(x)
        x.head(200, [("Content-Length", 10_000_000)])
        for _ in range(100):
            x.send(b"x" * 100_000)
        return None

    peer.recorder.handler = handler
    connection = Frames(peer.h2_port, settings=struct.pack(">HI", 4, 0))
    try:
        connection.push(headers(1, block(path="/much")))
        try:
            eventually("it is being sent", lambda: peer.recorder.busy == 1, 2)
            eventually("the backend is let go", lambda: peer.recorder.busy == 0, peers.TIMER + 2 * SLACK)
        except Failure:
            return Seen(HARM, "the backend is still held 4 s after the timer")
        return Seen(GOOD, "cut off at the timer")
    finally:
        connection.close()


def slow_upload_h2(peer):
    """An upload over HTTP/2 that stops: the stream must end, and the place come free."""
    connection = Frames(peer.h2_port, within=peers.TIMER + SLACK)
    try:
        connection.push(headers(1, block(("content-length", "100"), method="POST"), end=False) + frame(DATA, 0, 1, b"some"))
        started = time.monotonic()
        verdict = connection.answered(1)
        if verdict == "no answer":
            return Seen(HARM, "still open 2 s after the timer")
        early = time.monotonic() - started < peers.TIMER - 0.15
        return Seen(OTHER if early else GOOD, verdict + (", before the timer" if early else ", at the timer"))
    finally:
        connection.close()


def slow_rows():
    ended = "ended at its timer"
    yield slow("silent from the start", ended, lambda raw: None)
    yield slow("part of an HTTP/2 preface", ended, lambda raw: raw.push("PRI * HT"))
    yield slow("a head that stops", ended, lambda raw: raw.push("GET /stops HTTP/1.1\r\nHost: a"), "/stops")
    yield slow("a head in drops", ended, drip("GET /drops HTTP/1.1\r\nX-A: "), "/drops")
    yield slow("a body that stops", ended, lambda raw: raw.push(get("/body", "Content-Length: 100", method="POST") + "some"), "/body")
    yield slow("a chunked body that stops", ended, lambda raw: raw.push(get("/chunks", "Transfer-Encoding: chunked", method="POST") + "5\r\nab"), "/chunks")
    yield slow("idle between requests", ended, lambda raw: (raw.send(get("/idle")), None)[1])
    yield slow("a second head that stops", ended, lambda raw: (raw.ask(get("/one")), raw.push("GET /sec"))[1], "/sec")
    yield Row("reads nothing of a large response", "cut off at its timer", slow_reader)
    yield Row("idle on HTTP/2 from the start", ended, h2_idle(b""))
    yield Row("idle on HTTP/2 behind a request", ended, h2_idle(headers(1)))
    yield Row("idle on HTTP/2, answers no PING", ended, h2_idle(headers(1), mute=True))
    yield Row("an upload over HTTP/2 that stops", ended, slow_upload_h2)
    yield Row("an HTTP/2 window of 0", "cut off at its timer", h2_shut_window)


# Uploads that are refused while the client writes.


def upload(size, count, chunked=False):
    body = pattern(size)
    if chunked:
        parts = [body[at : at + 50_000] for at in range(0, size, 50_000)]
        data = get("/up", "Transfer-Encoding: chunked", method="POST").encode()
        data += b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        data = post("/up", body)

    def one(port):
        raw = Raw(port, within=8)
        try:
            raw.send(data)
            response = raw.response()
            return response.status == 503 and response.complete
        except (Failure, OSError):
            return False
        finally:
            raw.close()

    def act(peer):
        holder = Holder(peer)
        mark = peer.recorder.mark()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            told = sum(pool.map(one, [peer.port] * count))
        peer.arrived += count
        text = words(told, count)
        if any(got.whole for got in peer.recorder.since(mark)):
            text += "; some run as requests"
        if not holder.let_go():
            text += "; the one before was lost"
        good = told >= 0.995 * count and ";" not in text
        return Seen(GOOD if good else HARM, text)

    name = f"{size:,} bytes" + (", chunked" if chunked else "")
    return Row(name, "at least 99.5 % read the 503", act)


def words(told, count):
    if told >= 0.995 * count:
        return "at least 99.5 % read it"
    if told == 0:
        return "none reads it"
    return "some do not read it"


UPLOAD_ROWS = [
    *(upload(size, count) for size, count in ((1000, 300), (16_000, 300), (60_000, 300), (300_000, 200), (1_000_000, 200), (3_000_000, 200))),
    upload(3_000_000, 200, chunked=True),
]
SLOW_ROWS = list(slow_rows())
