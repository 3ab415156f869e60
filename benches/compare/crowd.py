"""Clients that wait in great numbers: connections of HTTP/1.1, streams of HTTP/2.

Owns what holds thousands of requests open at a proxy and sees that all are answered in the end.
"""

import contextlib
import selectors
import socket
import time

import h2
import lab

# A head as a browser behind a login sends it; the cookie makes it up to its length.
HEAD_BYTES = 934


def head(port, path="/held", size=HEAD_BYTES):
    """A GET whose head has that many bytes."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "accept-language: en-GB,en;q=0.7,de;q=0.3",
        "accept-encoding: gzip, deflate, br",
        "sec-fetch-dest: document",
        "sec-fetch-mode: navigate",
        "x-request-id: 7f0c1f5e-5a0b-4a41-9d2e-0d7e5f1c2b3a",
        "cookie: session=",
    ]
    text = "\r\n".join(lines)
    return (text + "c" * max(0, size - len(text) - 4) + "\r\n\r\n").encode()


class Crowd:
    """Many connections, each with its requests, all waiting for their answers."""

    def __init__(self, port):
        self.port = port
        self.selector = selectors.DefaultSelector()
        self.states = {}
        self.wanted = self.good = 0

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def keep(self, connection, state):
        connection.setblocking(False)
        self.states[connection] = state
        self.selector.register(connection, selectors.EVENT_READ)

    def read(self, seconds):
        """Takes in what comes within so many seconds; returns early if nothing more is wanted."""
        until = time.monotonic() + seconds
        while self.good < self.wanted and (left := until - time.monotonic()) > 0:
            for key, _ in self.selector.select(min(left, 0.5)):
                data = key.fileobj.recv(65536)
                if not data:
                    raise lab.Untrusted("a connection with waiting requests was closed")
                self.take(key.fileobj, data)

    def take(self, connection, data):
        raise NotImplementedError

    def answered(self, within):
        """All of them got a 200."""
        self.read(within)
        if self.good != self.wanted:
            raise lab.Untrusted(f"{self.good} of {self.wanted} waiting requests were answered with 200")

    def close(self):
        for connection in self.states:
            connection.close()
        self.selector.close()
        self.states = {}


class H1Crowd(Crowd):
    """So many connections with a GET each."""

    def __init__(self, port, count):
        super().__init__(port)
        request = head(port)
        for _ in range(count):
            connection = self.connect()
            connection.sendall(request)
            self.keep(connection, bytearray())
        self.wanted = count

    def take(self, connection, data):
        state = self.states[connection]
        state += data
        # The answer of `backends.Holding`, whole.
        if state.endswith(b"\r\n\r\nok") or state.endswith(b"ok\r\n0\r\n\r\n"):
            if not state.startswith(b"HTTP/1.1 200 "):
                raise lab.Untrusted(f"a waiting request was answered with {bytes(state[:60])}")
            self.good += 1


class H2Crowd(Crowd):
    """So many connections with so many streams each, a GET on every one."""

    def __init__(self, port, connections, streams):
        super().__init__(port)
        for _ in range(connections):
            connection = self.connect()
            connection.sendall(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0))
            frames = h2.Frames()
            self.settle(connection, frames)
            authority = f"127.0.0.1:{port}"
            numbers = range(1, 2 * streams, 2)
            connection.sendall(b"".join(h2.request(n, "GET", authority, "/held") for n in numbers))
            self.keep(connection, (frames, set()))
        self.wanted = connections * streams

    def settle(self, connection, frames):
        """Until the server has told its settings, and they are acknowledged."""
        settled = False
        while not settled:
            data = connection.recv(65536)
            if not data:
                raise lab.Untrusted("an HTTP/2 connection was closed at its start")
            for kind, flags, _, _ in frames.feed(data):
                if kind == h2.SETTINGS and not flags & h2.ACK:
                    connection.sendall(h2.frame(h2.SETTINGS, h2.ACK, 0))
                    settled = True

    def take(self, connection, data):
        frames, good = self.states[connection]
        for kind, flags, stream, payload in frames.feed(data):
            if kind == h2.HEADERS and h2.says_200(payload):
                good.add(stream)
            elif kind in (h2.RESET, h2.GOAWAY, h2.HEADERS):
                raise lab.Untrusted(f"a waiting stream was refused, by a frame of kind {kind}")
            elif kind == h2.PING and not flags & h2.ACK:
                connection.sendall(h2.frame(h2.PING, h2.ACK, 0, payload))
            elif kind == h2.SETTINGS and not flags & h2.ACK:
                connection.sendall(h2.frame(h2.SETTINGS, h2.ACK, 0))
            if kind in (h2.DATA, h2.HEADERS) and flags & h2.END_STREAM and stream in good:
                self.good += 1


@contextlib.contextmanager
def occupied(running, backend, count):
    """Fills a proxy that has one permit with so many requests, which the backend keeps."""
    holders = []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", running.port), 10)
            connection.sendall(head(running.port, size=0))
            holders.append(connection)
            lab.eventually("the backend holds a request", lambda: backend.received >= 1, within=5)
        if count > 1:
            lab.eventually("the rest waits", lambda: running.queued() == count - 1, within=5)
        yield
    finally:
        for connection in holders:
            connection.close()


def grpc_probe(port, path, message):
    """One unary gRPC call: the answer must have a head, a message, and then trailers."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        fields = (("content-type", "application/grpc"), ("te", "trailers"))
        call = h2.request(1, "POST", f"127.0.0.1:{port}", path, fields, message)
        connection.sendall(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0) + call)
        frames, kinds, body = h2.Frames(), [], b""
        while data := connection.recv(65536):
            for kind, flags, stream, payload in frames.feed(data):
                if stream != 1 or kind not in (h2.DATA, h2.HEADERS, h2.RESET):
                    continue
                if kind == h2.DATA:
                    body += payload
                elif not kinds and not h2.says_200(payload):
                    raise lab.Untrusted("a gRPC call was not answered with 200")
                if not kinds or kinds[-1] != kind:
                    kinds.append(kind)
                if flags & h2.END_STREAM and kind != h2.RESET:
                    if kinds != [h2.HEADERS, h2.DATA, h2.HEADERS] or body != message:
                        raise lab.Untrusted(f"a gRPC call got frames {kinds} and {len(body)} bytes")
                    return
        raise lab.Untrusted("a gRPC call was broken off")
