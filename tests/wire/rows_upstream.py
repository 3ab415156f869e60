"""Rows about the connection to the backend: none to be had, gone stale, and HTTP/2 on it."""

import contextlib
import socket
import struct
import time

import hpack

from backends import Plain
from board import GOOD, HARM, OTHER, Row, Seen
from frames import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST, SETTINGS, Frames, block, frame, headers, literal
from harness import Failure
from raw import Raw, get, post
from recorder import Got

# None to be had. These peers have an upstream of their own: `peer.target`.


def timed_ask(peer, request, within=4.0):
    raw = Raw(peer.port, within=within)
    try:
        raw.send(request)
        started = time.monotonic()
        status = raw.response().status
        return str(status), time.monotonic() - started
    except Failure:
        return "no answer", within
    finally:
        raw.close()


def refused(peer):
    said, seconds = timed_ask(peer, get("/"))
    late = seconds > 2
    return Seen(GOOD if said == "502" and not late else OTHER, said + (", late" if late else ""))


def comes_back(peer):
    """Nobody listens, then somebody does: the next request is served."""
    before, _ = timed_ask(peer, get("/"))
    backend = Plain(port=peer.target)
    try:
        after, _ = timed_ask(peer, get("/"))
    finally:
        backend.close()
    fits = (before, after) == ("502", "200")
    return Seen(GOOD if fits else OTHER, f"{before}, then {after}")


REFUSED_ROWS = [
    Row("refuses the connection", "502 at once", refused),
    Row("refuses, then listens", "502, then served at once", comes_back),
]


def black_hole(peer):
    said, seconds = timed_ask(peer, get("/"))
    early, late = seconds < 0.2, seconds > 2.5
    text = said + (", before the timer" if early else ", late" if late else ", at the timer")
    return Seen(GOOD if text == "504, at the timer" else OTHER, text)


HOLE_ROWS = [Row("swallows the connection", "504 at the connect timer", black_hole)]


# Stale connections.


def stale(request, count, closes, once):
    """`count` requests over one client connection to a backend whose kept connections are stale:
    how many are served, and whether one reaches the backend twice."""

    def handler(x):
        x.read_body()
        if closes == "later" and x.request.reused:
            x.keep = False  # without a word
            return
        x.reply(200, [("X-Saw", x.request.target)], b"ok")
        x.keep = closes == "later"

    def act(peer):
        peer.recorder.handler = handler
        mark = peer.recorder.mark()
        served = 0
        raw = None
        for number in range(count):
            raw = raw or Raw(peer.port, within=5)
            try:
                raw.send(request(f"/{number}"))
                response = raw.response()
                served += response.status == 200
                if "close" in response.field("connection"):
                    raise Failure("told to go")
            except Failure:
                raw.close()
                raw = None
        if raw:
            raw.close()
        targets = [got.target for got in peer.recorder.since(mark)]
        twice = len(targets) != len(set(targets))
        everyone = "all served" if served == count else "some fail"
        if once:
            return Seen(HARM if twice else GOOD, "sent twice" if twice else "never sent twice")
        return Seen(GOOD if served == count else OTHER, everyone)

    return act


STALE_ROWS = [
    Row("GET, closed behind each answer", "all served", stale(get, 30, "at once", False)),
    Row("GET, closed at the next request", "all served, by one retry", stale(get, 30, "later", False)),
    Row("OPTIONS, closed at the next request", "all served, by one retry",
        stale(lambda path: get(path, method="OPTIONS"), 30, "later", False)),
    Row("POST, closed behind each answer", "never sent twice", stale(lambda path: post(path, b"abc"), 30, "at once", True)),
    Row("POST, closed at the next request", "never sent twice", stale(lambda path: post(path, b"abc"), 30, "later", True)),
    Row("POST without a body, closed at the next request", "never sent twice",
        stale(lambda path: get(path, "Content-Length: 0", method="POST"), 30, "later", True)),
    Row("PATCH, closed at the next request", "never sent twice",
        stale(lambda path: get(path, "Content-Length: 0", method="PATCH"), 30, "later", True)),
]


# HTTP/2 to the backend.


class H2Recorder(Plain):
    """A backend of frames: a handler answers each request on a socket, as it likes."""

    def __init__(self):
        self.tapes, self.busy = [], 0
        self.resets = 0
        super().__init__(self.answer)

    @staticmethod
    def answer(sock, stream, got):
        body = literal("x-saw", got.target)
        sock.sendall(frame(HEADERS, END_HEADERS, stream, bytes([0x88]) + body) + frame(DATA, END_STREAM, stream, b"ok"))

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = sock.makefile("rb")
        try:
            with contextlib.suppress(OSError, EOFError, ValueError):
                stream.read(len(PREFACE))
                sock.sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20)))
                self.frames(sock, stream)
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()
            stream.close()

    def frames(self, sock, stream):
        decoder, number = hpack.Decoder(), self.accepted
        while head := stream.read(9):
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload, of = stream.read(size), int.from_bytes(head[5:9], "big")
            if kind == SETTINGS and not flags & 1:
                sock.sendall(frame(SETTINGS, 1, 0))
            elif kind == PING and not flags & 1:
                sock.sendall(frame(PING, 1, 0, payload))
            elif kind == RST:
                self.resets += 1
            elif kind == HEADERS:
                fields = dict(decoder.decode(payload))
                if ":path" not in fields:
                    continue
                line = f"{fields[':method']} {fields[':path']} HTTP/1.1\r\n\r\n"
                got = Got(line.encode(), number, of > 1)
                got.whole, got.fields = bool(flags & END_STREAM), list(fields.items())
                with self.lock:
                    self.requests.append(got)
                if self.handler(sock, of, got):
                    return

    def mark(self):
        return len(self.requests)

    def since(self, mark):
        return list(self.requests[mark:])

    def quiet(self, within=0):
        pass


GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
OK_HEAD = bytes([0x88]) + literal("content-type", "application/grpc")


def h2_backend(name, answer, want, promise, harm=("200 and a clean end",), client="h1"):
    """`answer` gives the frames that a stream is answered with; None ends the connection there."""

    def act(peer):
        def handler(sock, stream, got):
            if got.target != "/hostile":
                return H2Recorder.answer(sock, stream, got)
            data, ends = answer(stream)
            sock.sendall(data)
            return ends

        peer.recorder.handler = handler
        if client == "h1":
            raw = Raw(peer.port, within=4)
            try:
                raw.send(get("/hostile"))
                response = raw.response()
                said = str(response.status) if response.status >= 400 else f"200 and {'a clean end' if response.complete else 'cut off'}"
            except Failure:
                said = "closed without an answer"
            finally:
                raw.close()
            if len(want) > 1 and said in want:
                # How much of it came through before the end is the moment's.
                return Seen(GOOD, "502 or cut off")
        else:
            connection = Frames(peer.h2_port)
            try:
                connection.push(headers(1, block(*GRPC, method="POST", path="/hostile"), end=False) + frame(DATA, END_STREAM, 1, b"\0\0\0\0\0"))
                connection.answered(1)
                http = connection.statuses.get(1, 200)
                status = dict(connection.fields.get(1, [])).get("grpc-status") or connection.trailers.get(1, {}).get("grpc-status")
                said = f"HTTP {http}" if http != 200 else f"grpc-status {status}" if status else "reset" if 1 in connection.resets else "a clean end" if 1 in connection.over else "closed"
            finally:
                connection.close()
            said = "reset" if said == "closed" else said
        return Seen(GOOD if said in want else HARM if said in harm else OTHER, said)

    return Row(name, promise, act)


def h2_rows():
    head = lambda s: frame(HEADERS, END_HEADERS, s, bytes([0x88]) + literal("content-length", "1000"))  # noqa: E731
    bare = lambda s: frame(HEADERS, END_HEADERS, s, bytes([0x88]))  # noqa: E731
    grpc = lambda s: frame(HEADERS, END_HEADERS, s, OK_HEAD) + frame(DATA, 0, s, b"\0\0\0\0\2ab")  # noqa: E731
    part = lambda s: frame(DATA, 0, s, b"x" * 100)  # noqa: E731
    reset = lambda s, why=2: frame(RST, 0, s, struct.pack(">I", why))  # noqa: E731
    cut = ("200 and cut off", "502", "closed without an answer")
    never = "cut off or 502, never a clean end"
    yield h2_backend("resets the stream before its head", lambda s: (reset(s), False), ("502",), "502")
    yield h2_backend("resets the stream inside the body", lambda s: (bare(s) + part(s) + reset(s), False), cut, never)
    yield h2_backend("resets with NO_ERROR inside the body", lambda s: (bare(s) + part(s) + reset(s, 0), False), cut, never)
    yield h2_backend("closes inside the body", lambda s: (bare(s) + part(s), True), cut, never)
    yield h2_backend("GOAWAY inside the body, then closes", lambda s: (bare(s) + part(s) + frame(GOAWAY, 0, 0, struct.pack(">II", s, 0)), True), cut, never)
    yield h2_backend("a body shorter than its content-length", lambda s: (head(s) + frame(DATA, END_STREAM, s, b"x"), False), cut, never)
    yield h2_backend("a body longer than its content-length", lambda s: (frame(HEADERS, END_HEADERS, s, bytes([0x88]) + literal("content-length", "1"))
                     + frame(DATA, END_STREAM, s, b"xyz"), False), cut, never)
    yield h2_backend("transfer-encoding in a response", lambda s: (frame(HEADERS, END_HEADERS | END_STREAM, s, bytes([0x88]) + literal("transfer-encoding", "chunked")), False),
                     ("502",), "502", harm=())
    yield h2_backend("CR LF in a value", lambda s: (frame(HEADERS, END_HEADERS | END_STREAM, s, bytes([0x88]) + literal("x-a", "1\r\nx-b: 2")), False),
                     ("502",), "502")
    yield h2_backend("no :status", lambda s: (frame(HEADERS, END_HEADERS | END_STREAM, s, literal("x-a", "1")), False), ("502",), "502")
    yield h2_backend("a 101", lambda s: (frame(HEADERS, END_HEADERS, s, literal(":status", "101")), False), ("502",), "502")
    yield h2_backend("a frame of 100 KB", lambda s: (bare(s) + frame(DATA, 0, s, b"x" * 100_000), False), cut, never)
    yield h2_backend("a broken field block", lambda s: (frame(HEADERS, END_HEADERS, s, b"\xff" * 12), False), ("502",), "502")
    yield h2_backend("gRPC: dies inside a message stream", lambda s: (grpc(s), True), ("reset", "closed", "grpc-status 14"), "reset, or UNAVAILABLE", client="grpc",
                     harm=("a clean end",))
    yield h2_backend("gRPC: resets inside a message stream", lambda s: (grpc(s) + reset(s), False), ("reset", "closed", "grpc-status 14"), "reset, or UNAVAILABLE", client="grpc",
                     harm=("a clean end",))
    yield h2_backend("gRPC: closes before its head", lambda s: (b"", True), ("grpc-status 14",), "UNAVAILABLE", client="grpc", harm=("a clean end",))


H2_ROWS = list(h2_rows())
