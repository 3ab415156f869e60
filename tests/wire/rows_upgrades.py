"""Rows about upgrades and tunnels."""

import selectors
import time

from backends import pattern
from board import GOOD, HARM, OTHER, Row, Seen
from harness import Failure, eventually
from raw import Raw, get
from rows_backend import OK, outcome

WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
SECRET = "GET /secret HTTP/1.1\r\nHost: weir.test\r\n\r\n"


def echo(x):
    x.send(SWITCH)
    while data := x.sock.recv(65536):
        x.send(data)
    x.keep = False


def tunnel(peer):
    """Bytes of every value, both ways; then the end of the one is the end of the other."""
    peer.recorder.handler = echo
    raw = Raw(peer.port, within=4)
    data = bytes(range(256)) * 400
    try:
        raw.send(get("/ws", *WEBSOCKET))
        status = raw.response().status
        if status != 101:
            return Seen(OTHER, str(status))
        raw.send(data)
        back = raw.take(len(data), time.monotonic() + 4)
    except (EOFError, Failure):
        return Seen(HARM, "101, then bytes were lost")
    finally:
        raw.close()
    try:
        eventually("the backend's side is closed", lambda: peer.recorder.busy == 0, 2)
    except Failure:
        return Seen(HARM, "101, bytes pass; the backend's side stays open")
    return Seen(GOOD if back == data else HARM, "101, bytes pass, closed on both sides" if back == data else "101, bytes changed")


class Tunnel:
    """One of many: sends a megabyte of its own again and again, and compares what comes back."""

    PERIOD = 1 << 20
    DATA = pattern(PERIOD) * 2

    def __init__(self, peer, number):
        self.raw = Raw(peer.port, within=10)
        self.raw.send(get("/ws", *WEBSOCKET))
        self.status = self.raw.response().status
        self.offset = number * 1000  # or one could not be told from another
        self.sent = self.received = 0
        self.equal = self.status == 101
        self.raw.sock.setblocking(False)

    def part(self, at, size):
        start = self.offset + at % self.PERIOD
        return self.DATA[start : start + size]

    def write(self):
        self.sent += self.raw.sock.send(self.part(self.sent, min(65536, TUNNEL_BYTES - self.sent)))

    def read(self):
        data = self.raw.sock.recv(65536)
        self.equal &= bool(data) and data == self.part(self.received, len(data))
        self.received += len(data)

    def over(self):
        return not self.equal or self.received == TUNNEL_BYTES


TUNNELS, TUNNEL_BYTES = 50, 10 << 20


def many_tunnels(peer):
    """All at once, by one thread; nobody's timer may take a crowded machine for silence."""
    peer = peer.again(idle=20, server="20s")
    peer.recorder.handler = echo
    tunnels, selector = [], selectors.DefaultSelector()
    try:
        for number in range(TUNNELS):
            tunnels.append(Tunnel(peer, number))
            selector.register(tunnels[-1].raw.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, tunnels[-1])
        deadline, going = time.monotonic() + 60, TUNNELS
        while going and time.monotonic() < deadline:
            for key, events in selector.select(1):
                one = key.data
                if events & selectors.EVENT_WRITE:
                    one.write()
                if one.sent == TUNNEL_BYTES and key.events & selectors.EVENT_WRITE:
                    selector.modify(key.fileobj, selectors.EVENT_READ, one)
                if events & selectors.EVENT_READ:
                    one.read()
                if one.over():
                    selector.unregister(key.fileobj)
                    going -= 1
        whole = not going and all(one.equal for one in tunnels)
    except OSError:
        whole = False
    finally:
        for one in tunnels:
            one.raw.close()
    return Seen(GOOD if whole else HARM, "all bytes come back" if whole else "bytes are lost or changed")


def tunnel_behind(name, answer, fields, want, promise, version="HTTP/1.1", method="GET", early_bytes=False):
    """The client asks for an upgrade and sends a request as if it were in the tunnel: `want` are
    the statuses it may get, and the request must never reach the backend past the proxy."""

    def handler(x):
        x.read_body()
        if x.request.target == "/secret":
            x.reply(200, [("X-Saw", "/secret")], b"secret")
            return
        x.send(answer)

    def act(peer):
        mark = peer.recorder.mark()
        peer.recorder.handler = handler
        raw = Raw(peer.port, within=2.5)
        try:
            head = get("/ws", *fields, method=method).replace("HTTP/1.1", version)
            raw.send(head + (SECRET if early_bytes else ""))
            said, _ = outcome(raw, within=2.5)
        finally:
            raw.close()
        peer.recorder.quiet(2)
        got = peer.recorder.since(mark)
        first = got[0] if got else None
        asked = " + ".join(first.field("upgrade")) if first else ""
        secret = [one for one in got if one.target == "/secret"]
        # As a request of its own, through the proxy, it would have been given its fields.
        past = [one for one in secret if not (one.field("via") or one.field("x-forwarded-for"))]
        text = said + (f"; asked for {asked}" if asked else "; not asked") + ("; a request went past" if past else "")
        return Seen(HARM if past else GOOD if text in want else OTHER, text)

    return Row(name, promise, act)


def upgrades():
    yield Row("WebSocket", "byte-transparent, ends on both sides", tunnel)
    yield Row("50 WebSockets of 10 MB each way at once", "every byte comes back", many_tunnels)
    refused = OK.replace(b"200 OK", b"403 No")
    yield tunnel_behind("WebSocket that the backend declines", refused, WEBSOCKET, ("403; asked for websocket",), "its answer; no tunnel")
    yield tunnel_behind("bytes behind the head, the backend declines", refused, WEBSOCKET, ("403; asked for websocket",),
                        "no request reaches the backend past the proxy", early_bytes=True)
    other = SWITCH.replace(b"websocket", b"other")
    yield tunnel_behind("101 to another protocol than asked", other, WEBSOCKET, ("502; asked for websocket",), "502")
    bare = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n"
    yield tunnel_behind("101 without Upgrade", bare, WEBSOCKET, ("502; asked for websocket",), "502")
    h2c = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    yield tunnel_behind("h2c", OK, h2c, ("200, whole; not asked",), "not passed on")
    both = (*WEBSOCKET[2:], "Connection: Upgrade", "Upgrade: websocket, h2c")
    yield tunnel_behind("websocket and h2c", OK, both, ("200, whole; not asked",), "not passed on")
    yield tunnel_behind("h2c with a body", OK, (*h2c, "Content-Length: 0"), ("200, whole; not asked",), "not passed on", method="POST")
    yield tunnel_behind("Upgrade without Connection", OK, WEBSOCKET[1:], ("200, whole; not asked",), "not passed on")
    yield tunnel_behind("Upgrade on HTTP/1.0", OK, WEBSOCKET, ("200, whole; not asked",), "not passed on", version="HTTP/1.0")
    yield tunnel_behind("Upgrade of a POST", OK, (*WEBSOCKET, "Content-Length: 0"), ("200, whole; not asked",), "not passed on", method="POST")


ROWS = list(upgrades())
